//! Which directory has which kernel watch, and who calls it what.

use std::collections::HashMap;
use std::rc::Rc;

use super::watcher::Watcher;

/// One watcher's interest in one directory.
#[derive(Debug, Clone)]
pub(super) struct Interest {
    pub(super) watcher: Rc<Watcher>,
    /// Path relative to the watcher's root; empty for the root itself.
    pub(super) relative: String,
}

impl Interest {
    /// What the watcher calls an entry of this directory.
    pub(super) fn name_of(&self, entry: &str) -> String {
        match (self.relative.as_str(), entry) {
            ("", "") => ".".to_owned(),
            ("", entry) => entry.to_owned(),
            (relative, "") => relative.to_owned(),
            (relative, entry) => format!("{relative}/{entry}"),
        }
    }

    /// Absolute path of an entry of this directory.
    pub(super) fn path_of(&self, entry: &str) -> String {
        let name = self.name_of(entry);
        if name == "." {
            self.watcher.root.clone()
        } else {
            format!("{}/{name}", self.watcher.root.trim_end_matches('/'))
        }
    }
}

/// Watched directories by their kernel watch.
#[derive(Debug, Default)]
pub(super) struct Tree {
    directories: HashMap<i32, Vec<Interest>>,
}

impl Tree {
    /// Adds an interest. The kernel gives one watch per directory, so there may be others.
    /// An older interest of the same watcher is replaced: the directory was moved.
    pub(super) fn add(&mut self, watch: i32, interest: Interest) {
        let interests = self.directories.entry(watch).or_default();
        interests.retain(|other| !Rc::ptr_eq(&other.watcher, &interest.watcher));
        interests.push(interest);
    }

    /// Who watches this directory.
    pub(super) fn interests(&self, watch: i32) -> Vec<Interest> {
        self.directories.get(&watch).cloned().unwrap_or_default()
    }

    /// Forgets a directory whose kernel watch is gone.
    pub(super) fn forget(&mut self, watch: i32) {
        self.directories.remove(&watch);
    }

    /// Forgets a watcher's interest in a directory and everything below it;
    /// returns the kernel watches that nobody needs any more.
    pub(super) fn drop_below(&mut self, watcher: &Rc<Watcher>, relative: &str) -> Vec<i32> {
        let below = |interest: &Interest| {
            Rc::ptr_eq(&interest.watcher, watcher)
                && (relative.is_empty()
                    || interest.relative == relative
                    || interest.relative.strip_prefix(relative).is_some_and(|rest| rest.starts_with('/')))
        };
        let mut unneeded = Vec::new();
        self.directories.retain(|watch, interests| {
            interests.retain(|interest| !below(interest));
            if interests.is_empty() {
                unneeded.push(*watch);
            }
            !interests.is_empty()
        });
        unneeded
    }

    /// All watchers, each once.
    pub(super) fn watchers(&self) -> Vec<Rc<Watcher>> {
        let mut watchers: Vec<Rc<Watcher>> = Vec::new();
        for interest in self.directories.values().flatten() {
            if !watchers.iter().any(|known| Rc::ptr_eq(known, &interest.watcher)) {
                watchers.push(Rc::clone(&interest.watcher));
            }
        }
        watchers
    }

    /// Number of watched directories.
    pub(super) fn len(&self) -> usize {
        self.directories.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_forgetting() {
        let watcher = Rc::new(Watcher::new("/w/".into(), true, false, 99));
        let interest = |relative: &str| Interest { watcher: Rc::clone(&watcher), relative: relative.into() };
        assert_eq!((interest("").name_of(""), interest("").path_of("")), (".".into(), "/w/".into()));
        assert_eq!((interest("a").name_of("b"), interest("a").path_of("b")), ("a/b".into(), "/w/a/b".into()));
        let mut tree = Tree::default();
        for (watch, relative) in [(1, ""), (2, "a"), (3, "a/b"), (4, "ab")] {
            tree.add(watch, interest(relative));
        }
        let mut gone = tree.drop_below(&watcher, "a");
        gone.sort_unstable();
        assert_eq!(gone, [2, 3]);
        assert_eq!(tree.drop_below(&watcher, "").len(), 2);
        assert_eq!(tree.len(), 0);
    }
}
