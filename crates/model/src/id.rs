//! Identifiers: every kind is its own type, parsed once at the edge.
//!
//! Random bytes are handed in by the caller, so that this module needs neither
//! a random source nor a clock.

use std::fmt;
use std::str::FromStr;

/// The text is not an identifier of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid {kind} id {text:?}")]
pub struct InvalidId {
    /// Which kind was wanted, for example `sandbox`.
    pub kind: &'static str,
    /// What was given, cut to 64 characters.
    pub text: String,
}

impl InvalidId {
    fn new(kind: &'static str, text: &str) -> Self {
        Self { kind, text: text.chars().take(64).collect() }
    }
}

const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";

/// Spells random bytes in `[a-z0-9]`, one character a byte. The slight bias of
/// the remainder costs 0.03 bits a character; 20 of them keep over 103 bits.
fn spell(random: &[u8]) -> String {
    random.iter().map(|b| char::from(ALPHABET[usize::from(*b) % ALPHABET.len()])).collect()
}

fn is_lower_alphanumeric(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

/// Names one sandbox for its whole life; also a DNS label, so at most 57 characters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SandboxId(String);

impl SandboxId {
    /// The id that SDKs assume in debug mode. It does not match the syntax of
    /// ordinary ids (it has underscores), so it can never collide with one.
    pub const DEBUG: &'static str = "debug_sandbox_id";

    /// Makes an id (`i` and 20 characters) from 20 random bytes.
    pub fn from_random(random: [u8; 20]) -> Self {
        Self(format!("i{}", spell(&random)))
    }

    /// The text of the id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SandboxId {
    type Err = InvalidId;

    /// Accepts `[a-z0-9]{1,57}`, with an old client's `-suffix` cut off.
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let id = text.split_once('-').map_or(text, |(id, _)| id);
        if is_lower_alphanumeric(id) && id.len() <= 57 {
            Ok(Self(id.to_owned()))
        } else {
            Err(InvalidId::new("sandbox", text))
        }
    }
}

/// Names a template for its whole life, whatever its builds and names.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TemplateId(String);

impl TemplateId {
    /// Makes an id (20 characters) from 20 random bytes.
    pub fn from_random(random: [u8; 20]) -> Self {
        Self(spell(&random))
    }

    /// The text of the id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TemplateId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        if is_lower_alphanumeric(text) && text.len() <= 57 {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidId::new("template", text))
        }
    }
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(u128);

        impl $name {
            /// Makes a version 4 UUID from 16 random bytes.
            pub fn from_random(random: [u8; 16]) -> Self {
                let bits = u128::from_be_bytes(random);
                let cleared = bits & !(0xf << 76) & !(0b11 << 62);
                Self(cleared | (0x4 << 76) | (0b10 << 62))
            }

            /// Takes the UUID with exactly these bits (for fixed, well-known ids).
            pub const fn from_u128(bits: u128) -> Self {
                Self(bits)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let hex = format!("{:032x}", self.0);
                write!(f, "{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            /// Accepts the hyphenated form, in either case.
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let invalid = || InvalidId::new($kind, text);
                let groups: Vec<&str> = text.split('-').collect();
                let lengths: Vec<usize> = groups.iter().map(|g| g.len()).collect();
                if lengths != [8, 4, 4, 4, 12] || !text.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit()) {
                    return Err(invalid());
                }
                u128::from_str_radix(&groups.concat(), 16).map(Self).map_err(|_| invalid())
            }
        }
    };
}

uuid_id!(
    /// Names one build of a template; a sandbox starts from exactly one.
    BuildId,
    "build"
);
uuid_id!(
    /// Names one generation: the state of a sandbox as it was at one moment.
    GenerationId,
    "generation"
);
uuid_id!(
    /// Names a team: the owner of keys, templates and sandboxes.
    TeamId,
    "team"
);

uuid_id!(
    /// Names an API key or an access token, never the secret itself.
    KeyId,
    "key"
);
uuid_id!(
    /// Names a person who may log in and belongs to teams.
    UserId,
    "user"
);

macro_rules! text_display {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

text_display!(SandboxId, TemplateId);

/// A numbered place for one sandbox on a node: it fixes the sandbox's range of
/// user ids and its network address. Free again when the sandbox is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub u32);

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sandbox_id_accepts_old_suffix_and_refuses_the_rest() {
        assert_eq!("i1abc-6532622b".parse::<SandboxId>().unwrap().as_str(), "i1abc");
        for bad in ["", "-", "A", "i_1", "i.1", "ü", SandboxId::DEBUG, &"a".repeat(58)] {
            assert!(bad.parse::<SandboxId>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn random_ids_parse_back(a in any::<[u8; 20]>(), b in any::<[u8; 16]>()) {
            let sandbox = SandboxId::from_random(a);
            prop_assert_eq!(sandbox.as_str().len(), 21);
            prop_assert_eq!(sandbox.to_string().parse::<SandboxId>().unwrap(), sandbox);
            let build = BuildId::from_random(b);
            let text = build.to_string();
            prop_assert_eq!(&text[14..15], "4");
            prop_assert_eq!(text.parse::<BuildId>().unwrap(), build);
        }

        #[test]
        fn parsing_never_panics(text in ".*") {
            let _ = text.parse::<SandboxId>();
            let _ = text.parse::<BuildId>();
        }
    }
}
