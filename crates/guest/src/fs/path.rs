//! What a path of a request means.

use crate::user::User;

/// Longest path that is looked at; the kernel's own limit.
const MAX_LEN: usize = 4096;

/// A path that means nothing here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PathError {
    /// `~name`.
    #[error("cannot expand user-specific home dir")]
    OtherHome,
    /// A zero byte.
    #[error("path contains a zero byte")]
    Nul,
    /// Too long for the kernel.
    #[error("path is longer than {MAX_LEN} bytes")]
    TooLong,
}

/// The absolute path of a request's `path`: empty is the workdir or the home, `~`
/// the home, a relative one is below the home. An absolute one stays as it is:
/// the kernel resolves its `..`.
pub(crate) fn resolve(path: &str, user: &User, workdir: Option<&str>) -> Result<String, PathError> {
    if path.len() > MAX_LEN {
        return Err(PathError::TooLong);
    }
    if path.contains('\0') {
        return Err(PathError::Nul);
    }
    if path.is_empty() {
        return Ok(workdir.unwrap_or(&user.home).to_owned());
    }
    if let Some(rest) = path.strip_prefix('~') {
        return match rest.strip_prefix('/') {
            Some(below) => Ok(join(&user.home, below)),
            None if rest.is_empty() => Ok(user.home.clone()),
            None => Err(PathError::OtherHome),
        };
    }
    if path.starts_with('/') { Ok(path.to_owned()) } else { Ok(join(&user.home, path)) }
}

/// The directory that a process starts in.
pub(crate) fn resolve_cwd(
    cwd: Option<&str>,
    user: &User,
    workdir: Option<&str>,
) -> Result<String, PathError> {
    resolve(cwd.filter(|cwd| !cwd.is_empty()).unwrap_or_default(), user, workdir)
}

/// Joins and cleans: no `.`, no `..`, no double slashes.
fn join(base: &str, relative: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in base.split('/').chain(relative.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Last element of a path.
pub(crate) fn base_name(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("/")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::path_check::check;
    use super::*;

    fn user() -> User {
        User { name: "user".into(), uid: 1000, gid: 1000, home: "/home/user".into() }
    }

    fn at_home(path: &str) -> Result<String, PathError> {
        resolve(path, &user(), Some("/work"))
    }

    /// The seeds of the fuzzer, and what is left of each when it is broken off.
    #[test]
    fn seeds() {
        let seeds = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../wire/tests/seeds");
        for seed in std::fs::read_dir(seeds).unwrap() {
            let bytes = std::fs::read(seed.unwrap().path()).unwrap();
            for end in 0..=bytes.len() {
                check(&String::from_utf8_lossy(&bytes[..end]), &user());
            }
        }
    }

    #[test]
    fn relative_paths_are_below_the_home_not_the_workdir() {
        assert_eq!(at_home("a/../b").unwrap(), "/home/user/b");
        assert_eq!(at_home("../../../x").unwrap(), "/x");
        assert_eq!(at_home("").unwrap(), "/work");
        assert_eq!(at_home("~").unwrap(), "/home/user");
        assert_eq!(at_home("~/x//y").unwrap(), "/home/user/x/y");
    }

    #[test]
    fn absolute_paths_are_echoed_as_they_are() {
        assert_eq!(at_home("/a/../b/").unwrap(), "/a/../b/");
    }

    #[test]
    fn refusals() {
        assert_eq!(at_home("~root/x"), Err(PathError::OtherHome));
        assert_eq!(at_home("/a\0b"), Err(PathError::Nul));
        assert_eq!(at_home(&"a".repeat(5000)), Err(PathError::TooLong));
    }

    proptest! {
        #[test]
        fn every_path_is_absolute_and_a_relative_one_has_no_dots(path in "(~|\\.|\\.\\.|/|a|é|\0){0,12}") {
            check(&path, &user());
        }
    }

    #[test]
    fn base_names() {
        assert_eq!(base_name("/a/b/"), "b");
        assert_eq!(base_name("/"), "/");
    }
}
