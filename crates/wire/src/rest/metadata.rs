//! The metadata filter of lists: pairs that were encoded three times.
//!
//! A client percent-encodes each key and value, joins them as
//! `k1=v1&k2=v2` while form-encoding them again, and puts the result into a
//! query, which encodes it a third time. The functions here are about the text
//! of the query parameter after its own decoding.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The text is not such an encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the metadata filter is not a list of percent-encoded pairs")]
pub struct InvalidFilter;

/// Reads the pairs that a sandbox must have.
pub fn decode(parameter: &str) -> Result<BTreeMap<String, String>, InvalidFilter> {
    let once = unescape(parameter)?;
    once.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').ok_or(InvalidFilter)?;
            Ok((unescape(key)?, unescape(value)?))
        })
        .collect()
}

/// Writes pairs as clients do.
pub fn encode(pairs: &BTreeMap<String, String>) -> String {
    let twice = |text: &str| escape(&escape(text));
    let pairs: Vec<String> =
        pairs.iter().map(|(key, value)| format!("{}={}", twice(key), twice(value))).collect();
    pairs.join("&")
}

fn escape(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("writing to a string cannot fail");
        }
        out
    })
}

/// Strict, and `+` is a space, as in forms.
fn unescape(text: &str) -> Result<String, InvalidFilter> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => hex(bytes.next())? << 4 | hex(bytes.next())?,
            b'+' => b' ',
            other => other,
        });
    }
    String::from_utf8(out).map_err(|_| InvalidFilter)
}

fn hex(digit: Option<u8>) -> Result<u8, InvalidFilter> {
    let value = digit.and_then(|digit| char::from(digit).to_digit(16)).ok_or(InvalidFilter)?;
    u8::try_from(value).map_err(|_| InvalidFilter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_clients_send() {
        // `metadata=a%252520b%3Dc%252526d%25253D%2525C3%2525A9` on the wire.
        let pairs = decode("a%2520b=c%2526d%253D%25C3%25A9").unwrap();
        assert_eq!(pairs, BTreeMap::from([("a b".to_owned(), "c&d=é".to_owned())]));
        assert_eq!(decode("a=b&c=d&").unwrap().len(), 2);
        for bad in ["a", "a=%zz", "a=%2", "a%25=%25FF"] {
            assert_eq!(decode(bad), Err(InvalidFilter), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(pairs in proptest::collection::btree_map(".*", ".*", 0..4)) {
            prop_assert_eq!(decode(&encode(&pairs)).unwrap(), pairs);
        }

        #[test]
        fn reading_never_panics(text in ".*") {
            let _ = decode(&text);
        }
    }
}
