//! Pages of a list that changes while it is walked.
//!
//! The order is (start, id): newest first with ties by ascending id, or exactly
//! the reverse. A cursor names the last item seen, not a count, so that what
//! comes or goes elsewhere moves nothing. The store reads from a place on; what
//! it does is held against a model in `store/tests/contract.rs`.

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

#[cfg(test)]
mod tests {
    use super::*;

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
}
