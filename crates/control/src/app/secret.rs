//! Keys and tokens as text: made of random bytes, found by a hash of these,
//! recognised by a mask, and never kept themselves.

use store::{KeyHash, KeyMask};

use super::{random, token};

/// What a secret is for; told by how it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A team's.
    ApiKey,
    /// A person's.
    AccessToken,
}

impl Kind {
    /// What every secret of this kind starts with.
    pub(crate) const fn prefix(self) -> &'static str {
        match self {
            Self::ApiKey => "e2b_",
            Self::AccessToken => "sk_e2b_",
        }
    }
}

/// A new secret with what is kept of it.
pub(super) fn make(kind: Kind) -> (String, KeyHash, KeyMask) {
    let text = spell(kind, random());
    let (hash, mask) = read(kind, &text).expect("what we spell, we read");
    (text, hash, mask)
}

/// Spells 20 secret bytes.
fn spell(kind: Kind, secret: [u8; 20]) -> String {
    format!("{}{}", kind.prefix(), token::hex(&secret))
}

/// The hash that a secret is found by and the mask it is recognised by; `None`
/// if the text is none. The hash is over the secret bytes, not their text.
pub(super) fn read(kind: Kind, text: &str) -> Option<(KeyHash, KeyMask)> {
    let value = text.strip_prefix(kind.prefix())?;
    if value.is_empty() || value.len() % 2 == 1 || value.len() > 256 {
        return None;
    }
    let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|n| u8::try_from(n).ok());
    let byte = |pair: &[u8]| Some(nibble(pair[0])? << 4 | nibble(pair[1])?);
    let secret: Vec<u8> = value.as_bytes().chunks_exact(2).map(byte).collect::<Option<_>>()?;
    let mask = KeyMask {
        prefix: value.chars().take(2).collect(),
        suffix: value.chars().skip(value.len().saturating_sub(4)).collect(),
        value_length: value.len() as u64,
    };
    Some((KeyHash(token::sha256(&secret)), mask))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_by_its_bytes() {
        let key = spell(Kind::ApiKey, [0xab; 20]);
        assert_eq!(key, format!("e2b_{}", "ab".repeat(20)));
        let (hash, mask) = read(Kind::ApiKey, &key).unwrap();
        assert_eq!(hash, read(Kind::ApiKey, &key.to_uppercase().replace("E2B_", "e2b_")).unwrap().0);
        assert_eq!((mask.prefix.as_str(), mask.suffix.as_str(), mask.value_length), ("ab", "abab", 40));
        for bad in ["", "e2b_", "e2b_a", "e2b_zz", "sk_e2b_00", "e2b_éé"] {
            assert!(read(Kind::ApiKey, bad).is_none(), "{bad}");
        }
        assert!(read(Kind::AccessToken, &spell(Kind::AccessToken, [1; 20])).is_some());
        assert!(read(Kind::AccessToken, &key).is_none());
    }
}
