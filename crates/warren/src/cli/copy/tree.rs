//! Rules of trees that are copied: which names and links of a sandbox may become
//! names and links here. A sandbox is hostile: no name of it leads out of the
//! directory that was asked for.

use std::path::{Component, Path};

/// Directories below each other, and entries of one copy; a tree with more is refused.
pub(super) const DEEPEST: usize = 200;
pub(super) const MOST: u64 = 1_000_000;

/// Whether a name is one: not a path, and not a way up.
pub(super) fn is_name(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == name)
        && !name.contains('\0')
}

/// Whether a link that lies `depth` directories below the tree's root stays in
/// the tree: a relative one that never goes above the root on its way.
fn stays_inside(target: &str, depth: usize) -> bool {
    let mut at = depth;
    for part in Path::new(target).components() {
        match part {
            Component::Normal(_) => at += 1,
            Component::CurDir => {}
            Component::ParentDir if at > 0 => at -= 1,
            _ => return false,
        }
    }
    !target.is_empty()
}

/// What a link becomes that lies `depth` directories below the tree's `root`:
/// the same where it is relative and stays in the tree; relative where it is
/// told as an absolute path in the tree; nothing where it leads out.
pub(super) fn link_here(target: &str, root: &str, depth: usize) -> Option<String> {
    let Some(below) = target.strip_prefix(root.trim_end_matches('/')) else {
        return stays_inside(target, depth).then(|| target.to_owned());
    };
    let below = below.strip_prefix('/').filter(|below| stays_inside(below, 0))?;
    Some(format!("{}{below}", "../".repeat(depth)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_not_paths() {
        for name in ["a", "a b", "…", "-rf", "a\\b", ".hidden"] {
            assert!(is_name(name), "{name}");
        }
        for path in ["", ".", "..", "/", "/a", "a/b", "../a", "a/", "a\0b"] {
            assert!(!is_name(path), "{path:?}");
        }
    }

    #[test]
    fn links_stay_in_their_tree() {
        assert!(stays_inside("a", 0) && stays_inside("../b", 1) && stays_inside("./a/../b", 0));
        for out in ["..", "../b", "/etc/passwd", "a/../../b", ""] {
            assert!(!stays_inside(out, 0), "{out:?}");
        }
        assert!(!stays_inside("../../b", 1));
        assert_eq!(link_here("/r/a/b", "/r", 2).as_deref(), Some("../../a/b"));
        assert_eq!(link_here("../b", "/r/", 1).as_deref(), Some("../b"));
        for out in ["/r/../etc", "/rest/a", "/etc/passwd", "/r"] {
            assert_eq!(link_here(out, "/r", 0), None, "{out}");
        }
    }
}
