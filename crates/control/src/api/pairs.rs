//! What a client may give a sandbox as names and values: what is kept with it, and
//! what its processes get.
//!
//! Metadata is kept with the sandbox, with each of its events, and told in every list.
//! The kernel starts no process whose variables are too long, so that with such ones
//! every command in the sandbox would fail.

use std::collections::BTreeMap;

use super::error::Failure;

type Pairs = BTreeMap<String, String>;

/// Names and values of a sandbox's metadata together.
const MAX_METADATA: usize = 64 << 10;

/// Of a variable as a process gets it, `NAME=VALUE` and a NUL: what the kernel takes
/// (`MAX_ARG_STRLEN`).
const MAX_VARIABLE: usize = 128 << 10;

/// All of them together. The kernel takes 2 MiB, which arguments and the variables of
/// a single command share.
const MAX_VARIABLES: usize = 1 << 20;

/// Refuses metadata that is too large.
pub(super) fn metadata(pairs: Option<Pairs>) -> Result<Option<Pairs>, Failure> {
    let size: usize = pairs.iter().flatten().map(|(name, value)| name.len() + value.len()).sum();
    if size > MAX_METADATA {
        let most = MAX_METADATA >> 10;
        return Err(Failure::bad_request(format!("metadata has {size} bytes; at most {most} KiB are kept")));
    }
    Ok(pairs)
}

/// Refuses variables with which no process could start.
pub(super) fn variables(pairs: Pairs) -> Result<Pairs, Failure> {
    let mut all = 0;
    for (name, value) in &pairs {
        let size = name.len() + "=".len() + value.len() + "\0".len();
        let shown: String = name.chars().take(64).collect();
        if name.contains('\0') || value.contains('\0') {
            let message = format!("envVars: {shown:?} contains a NUL, which no process can be given");
            return Err(Failure::bad_request(message));
        }
        if size > MAX_VARIABLE {
            let most = MAX_VARIABLE >> 10;
            let message = format!("envVars: {shown:?} has {size} bytes; a process takes {most} KiB of each");
            return Err(Failure::bad_request(message));
        }
        all += size;
    }
    if all > MAX_VARIABLES {
        let most = MAX_VARIABLES >> 10;
        return Err(Failure::bad_request(format!("envVars have {all} bytes; at most {most} KiB are taken")));
    }
    Ok(pairs)
}
