//! Pages of a list that changes while it is walked.
//!
//! The order is (start, id): newest first with ties by ascending id, or exactly
//! the reverse. A cursor names the last item seen, not a count, so that what
//! comes or goes elsewhere moves nothing.

use model::{SandboxId, Timestamp};

/// Which end comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    NewestFirst,
    OldestFirst,
}

/// The place of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) started_at: Timestamp,
    pub(crate) sandbox_id: SandboxId,
}

/// Which page is wanted.
#[derive(Debug, Clone)]
pub(crate) struct PageRequest {
    pub(crate) order: Order,
    pub(crate) after: Option<Key>,
    pub(crate) limit: usize,
}

impl Key {
    fn cmp(&self, other: &Self, order: Order) -> std::cmp::Ordering {
        let newest_first =
            other.started_at.cmp(&self.started_at).then_with(|| self.sandbox_id.cmp(&other.sandbox_id));
        match order {
            Order::NewestFirst => newest_first,
            Order::OldestFirst => newest_first.reverse(),
        }
    }

    /// The text that names this place in this order.
    pub(crate) fn token(&self, order: Order) -> String {
        let order = match order {
            Order::NewestFirst => "d",
            Order::OldestFirst => "a",
        };
        format!("{order}_{}_{}", self.started_at.unix_micros(), self.sandbox_id)
    }

    /// Reads such a text; `None` if it is none, or one of the other order.
    pub(crate) fn from_token(token: &str, order: Order) -> Option<Self> {
        let mut parts = token.splitn(3, '_').skip(1);
        let started_at = Timestamp::from_unix_micros(parts.next()?.parse().ok()?);
        let key = Self { started_at, sandbox_id: parts.next()?.parse().ok()? };
        (key.token(order) == token).then_some(key)
    }
}

/// Sorts and cuts; the key is that of the last item if there are more.
pub(crate) fn cut<T>(
    mut items: Vec<T>,
    page: &PageRequest,
    key: impl Fn(&T) -> Key,
) -> (Vec<T>, Option<Key>) {
    items.sort_by(|a, b| key(a).cmp(&key(b), page.order));
    if let Some(after) = &page.after {
        items.retain(|item| key(item).cmp(after, page.order).is_gt());
    }
    let has_more = items.len() > page.limit;
    items.truncate(page.limit);
    let next = items.last().filter(|_| has_more).map(key);
    (items, next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn key(n: u8) -> Key {
        // Few distinct moments, so that ties are common.
        Key {
            started_at: Timestamp::from_unix_micros(i64::from(n % 5)),
            sandbox_id: format!("i{n}").parse().unwrap(),
        }
    }

    #[test]
    fn tokens_of_the_other_order_or_none_are_refused() {
        let token = key(7).token(Order::NewestFirst);
        assert_eq!(Key::from_token(&token, Order::NewestFirst), Some(key(7)));
        assert_eq!(Key::from_token(&token, Order::OldestFirst), None);
        for bad in ["", "d", "d_1", "d_x_i1", "d_1_", "d_01_i1", "d_1_I"] {
            assert_eq!(Key::from_token(bad, Order::NewestFirst), None, "{bad}");
        }
    }

    proptest! {
        /// Between two pages anything may come or go: who was there all along
        /// is seen exactly once, in order, and nobody twice.
        #[test]
        fn each_survivor_is_seen_exactly_once(
            survivors in proptest::collection::btree_set(any::<u8>(), 0..40),
            others in proptest::collection::vec(proptest::collection::btree_set(any::<u8>(), 0..20), 1..8),
            limit in 1_usize..7,
            newest_first in any::<bool>(),
        ) {
            let order = if newest_first { Order::NewestFirst } else { Order::OldestFirst };
            let mut page = PageRequest { order, after: None, limit };
            let mut seen = Vec::new();
            for round in 0.. {
                let here: BTreeSet<u8> = survivors.union(&others[round % others.len()]).copied().collect();
                let (items, next) = cut(here.into_iter().collect(), &page, |n| key(*n));
                seen.extend(items);
                let Some(next) = next else { break };
                page.after = Key::from_token(&next.token(order), order);
            }
            let distinct: BTreeSet<u8> = seen.iter().copied().collect();
            prop_assert_eq!(distinct.len(), seen.len());
            prop_assert!(survivors.is_subset(&distinct));
            prop_assert!(seen.windows(2).all(|pair| key(pair[0]).cmp(&key(pair[1]), order).is_lt()));
        }
    }
}
