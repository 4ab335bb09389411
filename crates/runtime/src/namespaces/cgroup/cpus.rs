//! Lists of processors, as control groups write them.

/// Reads `0-2,5`. What is no number is passed over.
pub(super) fn parse(list: &str) -> Vec<u32> {
    let mut cpus = Vec::new();
    for part in list.trim().split(',') {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(low), Ok(high)) = (low.trim().parse(), high.trim().parse::<u32>()) {
            cpus.extend(low..=high.min(u32::from(u16::MAX)));
        }
    }
    cpus
}

/// Gives `n` of the host's processors to a slot, neighbours getting different ones.
pub(super) fn choose(host: &[u32], n: u32, slot: u32) -> String {
    let n = (n as usize).min(host.len());
    let start = slot as usize * n;
    let mut chosen: Vec<u32> = (start..start + n).map(|i| host[i % host.len()]).collect();
    chosen.sort_unstable();
    chosen.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_take_turns() {
        let host = parse("0-2,5\n");
        assert_eq!(host, [0, 1, 2, 5]);
        assert_eq!(choose(&host, 2, 0), "0,1");
        assert_eq!(choose(&host, 2, 1), "2,5");
        assert_eq!(choose(&host, 3, 1), "0,1,5");
        assert_eq!(choose(&host, 9, 7), "0,1,2,5");
        assert_eq!(parse("x,3,"), [3]);
    }
}
