//! Which slot has which address: pure arithmetic, so nothing has to be remembered.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use model::Slot;

/// An IPv4 network, for example `10.213.0.0/16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    base: u32,
    prefix_len: u8,
}

/// The text is not a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no IPv4 network like 10.213.0.0/16 (the bits behind the prefix are zero)")]
pub struct InvalidRange(String);

impl Range {
    /// The network of this address with this many leading bits; `None` when
    /// there are more than 32 or a bit behind them is set.
    pub fn new(base: Ipv4Addr, prefix_len: u8) -> Option<Self> {
        let base = base.to_bits();
        let host_bits = u32::MAX.checked_shr(prefix_len.into()).unwrap_or(0);
        (prefix_len <= 32 && base & host_bits == 0).then_some(Self { base, prefix_len })
    }

    /// Whether an address lies in it.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        let differs = address.to_bits() ^ self.base;
        differs.checked_shr(32 - u32::from(self.prefix_len)).unwrap_or(0) == 0
    }

    /// Whether the two have an address in common.
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(Ipv4Addr::from_bits(other.base)) || other.contains(Ipv4Addr::from_bits(self.base))
    }
}

impl FromStr for Range {
    type Err = InvalidRange;

    fn from_str(text: &str) -> Result<Self, InvalidRange> {
        let parse = || {
            let (base, prefix_len) = text.split_once('/')?;
            Self::new(base.parse().ok()?, prefix_len.parse().ok()?)
        };
        parse().ok_or_else(|| InvalidRange(text.chars().take(64).collect()))
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from_bits(self.base), self.prefix_len)
    }
}

/// The addresses of a range, dealt out: `.0.1` is the host's own, and each block
/// of 256 gives 250 slots, so that nobody has an address ending in 0 or 255.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan(Range);

const SLOTS_PER_BLOCK: u32 = 250;

impl Plan {
    /// Needs a range of at least one block of 256 addresses.
    pub(super) fn new(range: Range) -> Option<Self> {
        (8..=24).contains(&range.prefix_len).then_some(Self(range))
    }

    pub(super) fn range(self) -> Range {
        self.0
    }

    /// How many slots have an address.
    pub(super) fn capacity(self) -> u32 {
        (1 << (24 - self.0.prefix_len)) * SLOTS_PER_BLOCK
    }

    /// The host's own address, where the name service listens.
    pub(super) fn service(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.0.base + 1)
    }

    pub(super) fn address(self, slot: Slot) -> Option<Ipv4Addr> {
        let (block, place) = (slot.0 / SLOTS_PER_BLOCK, slot.0 % SLOTS_PER_BLOCK);
        (slot.0 < self.capacity()).then(|| Ipv4Addr::from_bits(self.0.base + block * 256 + place + 2))
    }

    /// Whether an address is one that a slot may have.
    pub(super) fn is_slot(self, address: Ipv4Addr) -> bool {
        let place = address.to_bits() & 0xff;
        self.0.contains(address) && (2..2 + SLOTS_PER_BLOCK).contains(&place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(text: &str) -> Option<Plan> {
        Plan::new(text.parse().unwrap())
    }

    #[test]
    fn slots_have_distinct_ordinary_addresses() {
        let plan = plan("10.213.0.0/16").unwrap();
        assert_eq!(plan.service().to_string(), "10.213.0.1");
        assert_eq!(plan.capacity(), 64_000);
        let all: Vec<_> = (0..plan.capacity()).map(|i| plan.address(Slot(i)).unwrap()).collect();
        assert!(all.is_sorted() && all.iter().all(|a| plan.is_slot(*a)));
        assert_eq!((all[0].to_string(), all[250].to_string()), ("10.213.0.2".into(), "10.213.1.2".into()));
        assert_eq!(plan.address(Slot(plan.capacity())), None);
        for other in ["10.213.0.1", "10.213.0.0", "10.213.3.255", "10.214.0.2"] {
            assert!(!plan.is_slot(other.parse().unwrap()), "{other}");
        }
    }

    #[test]
    fn ranges_are_parsed_or_refused() {
        for bad in ["10.0.0.0", "10.0.0.1/16", "10.0.0.0/33", "::/0", "", "10.0.0.0/-1"] {
            assert!(bad.parse::<Range>().is_err(), "{bad}");
        }
        assert!(plan("10.213.0.0/25").is_none());
        let everything: Range = "0.0.0.0/0".parse().unwrap();
        let one: Range = "10.1.2.3/32".parse().unwrap();
        assert!(
            everything.overlaps(one) && one.overlaps(everything) && one.contains("10.1.2.3".parse().unwrap())
        );
        assert!(!one.contains("10.1.2.4".parse().unwrap()));
        assert!(!one.overlaps("10.213.0.0/16".parse().unwrap()));
    }
}
