//! Which trees of an image's lowest layers are worth keeping, and what they are
//! called. Pure.

use super::reference::Digest;

/// Trees kept of one image.
const MOST: usize = 8;
/// A tree is kept when the layers since the one before it are this large as they come.
const WORTH: u64 = 1 << 20;

/// The chain ids of an image's layers, lowest first: each says all layers up to its
/// own, by what they unpack to.
pub(super) fn chain(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chain: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let next = match chain.last() {
            None => diff_id.clone(),
            Some(below) => Digest::of(format!("{below} {diff_id}").as_bytes()),
        };
        chain.push(next);
    }
    chain
}

/// After how many layers trees are kept, fewest first, by the sizes of the layers,
/// lowest first. Of more than [`MOST`], those go that save the least.
pub(super) fn worth_keeping(sizes: &[u64]) -> Vec<usize> {
    let mut marks: Vec<(usize, u64)> = Vec::new();
    let mut since = 0_u64;
    for (index, size) in sizes.iter().enumerate() {
        since = since.saturating_add(*size);
        if since >= WORTH {
            marks.push((index + 1, since));
            since = 0;
        }
    }
    while marks.len() > MOST {
        let least = (0..marks.len()).min_by_key(|at| marks[*at].1).expect("there are some");
        let (_, bytes) = marks.remove(least);
        if let Some((_, next)) = marks.get_mut(least) {
            *next = next.saturating_add(bytes);
        }
    }
    marks.into_iter().map(|(depth, _)| depth).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn chain_ids_are_those_of_the_specification() {
        let diff = |digit: &str| format!("sha256:{}", digit.repeat(64)).parse::<Digest>().unwrap();
        let layers = [diff("a"), diff("b"), diff("c")];
        let chained = chain(&layers);
        assert_eq!(chained[0], layers[0]);
        assert_eq!(chained[1], Digest::of(format!("{} {}", layers[0], layers[1]).as_bytes()));
        assert_eq!(chained[2], Digest::of(format!("{} {}", chained[1], layers[2]).as_bytes()));
        assert_eq!(chain(&layers[..2]), chained[..2], "a common base has common ids");
    }

    #[test]
    fn small_layers_are_kept_with_the_next_large_one() {
        let mib = 1 << 20;
        assert_eq!(worth_keeping(&[30 * mib, 100, 5 * mib, 100]), [1, 3]);
        assert_eq!(worth_keeping(&[100, 200, 300]), [0_usize; 0]);
        let deep: Vec<u64> = (1..=100).map(|n| n * mib).collect();
        assert_eq!(worth_keeping(&deep).len(), MOST);
    }

    proptest! {
        #[test]
        fn trees_are_few_and_in_order_and_each_saves_something(
            sizes in proptest::collection::vec(0_u64..(8 << 20), 0..60)
        ) {
            let kept = worth_keeping(&sizes);
            prop_assert!(kept.len() <= MOST);
            let mut below = 0;
            for depth in kept {
                prop_assert!(depth > below && depth <= sizes.len());
                prop_assert!(sizes[below..depth].iter().sum::<u64>() >= WORTH);
                below = depth;
            }
            let all: u64 = sizes.iter().sum();
            let left: u64 = sizes[below..].iter().sum();
            prop_assert!(all < WORTH || left < all, "something is saved where there is something to save");
        }
    }
}
