//! Users and groups of the sandbox, read from `/etc/passwd` and `/etc/group`.
//!
//! The daemon is linked statically, so the C library's look-ups do not work; and
//! users are made at run time, so the files are read each time they are needed.

use std::collections::HashMap;
use std::fs;

/// A user that processes run as and files belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    /// Login name.
    pub(crate) name: String,
    /// User id.
    pub(crate) uid: u32,
    /// Primary group id.
    pub(crate) gid: u32,
    /// Home directory.
    pub(crate) home: String,
}

impl User {
    /// The user of this name, if there is one.
    pub(crate) fn named(name: &str) -> Option<Self> {
        parse_passwd(&read("/etc/passwd")).find(|user| user.name == name)
    }

    /// Ids of the groups that list the user, and the primary one.
    pub(crate) fn groups(&self) -> Vec<u32> {
        let mut groups = vec![self.gid];
        for line in read("/etc/group").lines() {
            let fields: Vec<&str> = line.split(':').collect();
            if let [_, _, gid, members] = fields[..]
                && members.split(',').any(|member| member == self.name)
                && let Ok(gid) = gid.parse()
                && !groups.contains(&gid)
            {
                groups.push(gid);
            }
        }
        groups
    }
}

/// Names of ids, for listings.
#[derive(Debug, Default)]
pub(crate) struct Names {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

impl Names {
    /// Reads both files.
    pub(crate) fn read() -> Self {
        let mut names = Self::default();
        for user in parse_passwd(&read("/etc/passwd")) {
            names.users.entry(user.uid).or_insert(user.name);
        }
        for line in read("/etc/group").lines() {
            let mut fields = line.split(':');
            if let (Some(name), Some(gid)) = (fields.next(), fields.nth(1).and_then(|gid| gid.parse().ok())) {
                names.groups.entry(gid).or_insert_with(|| name.to_owned());
            }
        }
        names
    }

    /// The user's name, or the number if it has none.
    pub(crate) fn user(&self, uid: u32) -> String {
        self.users.get(&uid).cloned().unwrap_or_else(|| uid.to_string())
    }

    /// The group's name, or the number if it has none.
    pub(crate) fn group(&self, gid: u32) -> String {
        self.groups.get(&gid).cloned().unwrap_or_else(|| gid.to_string())
    }
}

fn parse_passwd(text: &str) -> impl Iterator<Item = User> {
    text.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, _, home, _] = fields[..] else { return None };
        let home = if home.is_empty() { "/" } else { home };
        Some(User {
            name: name.to_owned(),
            uid: uid.parse().ok()?,
            gid: gid.parse().ok()?,
            home: home.to_owned(),
        })
    })
}

/// A file that is missing or not text counts as empty or as what is text in it.
fn read(path: &str) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwd_lines_that_are_none_are_skipped() {
        let text = "root:x:0:0:root:/root:/bin/bash\nbroken\nuser:x:1000:1001:::/bin/bash\n";
        let users: Vec<User> = parse_passwd(text).collect();
        assert_eq!(users.len(), 2);
        assert_eq!((users[1].uid, users[1].gid, users[1].home.as_str()), (1000, 1001, "/"));
    }

    #[test]
    fn root_is_known_everywhere() {
        assert_eq!(User::named("root").unwrap().uid, 0);
        assert_eq!(User::named("no such user"), None);
        assert_eq!(Names::read().user(0), "root");
        assert_eq!(Names::read().user(4_000_000_000), "4000000000");
    }
}
