//! Tokens derived from the server's seed: nothing to store, and the same for
//! as long as a sandbox's id lives.

use hmac::{Hmac, Mac as _};
use model::SandboxId;
use sha2::{Digest as _, Sha256};

use crate::Seed;

/// What a sandbox's daemon demands: `hex(HMAC-SHA256(seed, id))`.
pub(super) fn envd(seed: &Seed, sandbox: &SandboxId) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(seed.bytes()).expect("HMAC takes keys of any length");
    mac.update(sandbox.as_str().as_bytes());
    hex(&mac.finalize().into_bytes())
}

/// What lets somebody without a key upload one archive: over what is named, and
/// until when.
pub(super) fn upload(seed: &Seed, team: &str, hash: &str, expires: i64) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(seed.bytes()).expect("HMAC takes keys of any length");
    mac.update(format!("upload/{team}/{hash}/{expires}").as_bytes());
    hex(&mac.finalize().into_bytes())
}

/// Whether a token is the one that [`upload`] gives; takes the same time either way.
pub(super) fn is_upload(seed: &Seed, team: &str, hash: &str, expires: i64, token: &str) -> bool {
    let wanted = upload(seed, team, hash, expires);
    let differing = |(a, b): (u8, u8)| u32::from(a ^ b);
    wanted.len() == token.len() && wanted.bytes().zip(token.bytes()).map(differing).sum::<u32>() == 0
}

/// SHA-256 in hexadecimal.
pub(super) fn sha256(bytes: &[u8]) -> String {
    hex(&digest(bytes))
}

/// SHA-256.
pub(super) fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_reference_derivation() {
        // printf %s iabc | openssl dgst -sha256 -hmac seed
        let token = envd(&Seed::new(*b"seed"), &"iabc".parse().unwrap());
        assert_eq!(token.len(), 64);
        assert_eq!(token, include_str!("../../tests/data/envd-token.txt").trim());
    }
}
