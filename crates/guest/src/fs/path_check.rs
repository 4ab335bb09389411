//! What holds of every path of a request: for the tests, and for the target of
//! `fuzz/` that takes this file and its neighbour in.

use super::path::{base_name, resolve, resolve_cwd};
use crate::user::User;

/// What holds of every path, whoever sent it.
pub(crate) fn check(path: &str, user: &User) {
    for workdir in [None, Some("/work")] {
        let Ok(resolved) = resolve(path, user, workdir) else { continue };
        assert!(resolved.starts_with('/') && !resolved.contains('\0'), "{resolved}");
        if !path.starts_with('/') {
            assert!(resolved.split('/').all(|part| part != ".." && part != "."), "{resolved}");
        }
        let name = base_name(&resolved);
        assert!(name == "/" || (!name.is_empty() && !name.contains('/')), "{name}");
        assert_eq!(resolve_cwd(Some(path), user, workdir).as_ref(), Ok(&resolved));
    }
}
