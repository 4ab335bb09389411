//! What a sandbox needs of any image: the account `user` with its home, and the
//! directories that are mounted over.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;

use rustix::fs::{FileType, Gid, Mode, OFlags, Uid};

use super::tree::{Inner, Tree};

/// The account that sandboxes work as.
pub(super) const NAME: &str = "user";

/// Id of the account where the image has no other use for it.
const FIRST_ID: u32 = 1000;
/// Ids are looked for up to here.
const LAST_ID: u32 = 60_000;

/// Longest account file of an image.
const LONGEST: u64 = 4 << 20;

/// Directories that something is mounted on, or that programs take for granted.
const DIRECTORIES: [(&str, u32); 8] = [
    ("proc", 0o555),
    ("sys", 0o555),
    ("dev", 0o755),
    ("run", 0o755),
    ("etc", 0o755),
    ("home", 0o755),
    ("root", 0o700),
    ("tmp", 0o1777),
];

/// What an image's account files say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Accounts {
    pub(super) passwd: String,
    pub(super) group: String,
    pub(super) shadow: String,
}

/// What the image lacks of what clients take for granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    /// `/bin/bash`, which runs every command of the SDKs.
    pub(crate) bash: bool,
}

/// Makes the account and the directories where they are missing.
pub(super) fn furnish(tree: &mut Tree) -> io::Result<Found> {
    for (name, mode) in DIRECTORIES {
        directory(tree, OsStr::new(name), mode)?;
    }
    let etc = Inner::new(b"etc").map_err(io::Error::other)?;
    let mut accounts = Accounts {
        passwd: read(tree, &etc, "passwd")?,
        group: read(tree, &etc, "group")?,
        shadow: read(tree, &etc, "shadow")?,
    };
    let bash = is_there(tree, b"bin", "bash") || is_there(tree, b"usr/bin", "bash");
    let id = accounts.enter(if bash { "/bin/bash" } else { "/bin/sh" });
    write(tree, &etc, "passwd", &accounts.passwd, 0o644)?;
    write(tree, &etc, "group", &accounts.group, 0o644)?;
    write(tree, &etc, "shadow", &accounts.shadow, 0o640)?;
    if let Some(id) = id {
        home(tree, id)?;
    }
    let sudoers = Inner::new(b"etc/sudoers.d").map_err(io::Error::other)?;
    if tree.directory(&sudoers).is_ok() && !is_there(tree, b"etc/sudoers.d", NAME) {
        write(tree, &sudoers, NAME, "user ALL=(ALL:ALL) NOPASSWD: ALL\n", 0o440)?;
    }
    Ok(Found { bash })
}

impl Accounts {
    /// Enters the account unless it is there, and root where even that is missing.
    /// The account's id if it was entered.
    pub(super) fn enter(&mut self, shell: &str) -> Option<u32> {
        ensure(&mut self.passwd, "root", &format!("root:x:0:0:root:/root:{shell}"));
        ensure(&mut self.group, "root", "root:x:0:");
        if has(&self.passwd, NAME) {
            return None;
        }
        let is_free = |id: &u32| !has_id(&self.passwd, *id) && !has_id(&self.group, *id);
        let id = (FIRST_ID..LAST_ID).find(is_free)?;
        let gid = field(&self.group, NAME, 2).and_then(|gid| gid.parse().ok()).unwrap_or(id);
        ensure(&mut self.passwd, NAME, &format!("{NAME}:x:{id}:{gid}::/home/{NAME}:{shell}"));
        ensure(&mut self.group, NAME, &format!("{NAME}:x:{gid}:"));
        // No password: nobody logs in with one, and `sudo` asks for none.
        ensure(&mut self.shadow, NAME, &format!("{NAME}:*:19000:0:99999:7:::"));
        Some(id)
    }
}

/// The names of accounts and their ids, for the user that an image names.
pub(super) fn name_of(passwd: &str, user: &str) -> Option<String> {
    let user = user.split(':').next().unwrap_or_default();
    if has(passwd, user) {
        return Some(user.to_owned());
    }
    let mut lines = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    lines.find(|fields| fields.get(2) == Some(&user)).map(|fields| fields[0].to_owned())
}

/// The image's `/etc/passwd`.
pub(super) fn passwd(tree: &Tree) -> io::Result<String> {
    read(tree, &Inner::new(b"etc").map_err(io::Error::other)?, "passwd")
}

fn field<'a>(text: &'a str, name: &str, at: usize) -> Option<&'a str> {
    let line = text.lines().find(|line| line.split(':').next() == Some(name))?;
    line.split(':').nth(at)
}

fn has(text: &str, name: &str) -> bool {
    field(text, name, 0).is_some()
}

fn has_id(text: &str, id: u32) -> bool {
    text.lines().any(|line| line.split(':').nth(2) == Some(id.to_string().as_str()))
}

fn ensure(text: &mut String, name: &str, line: &str) {
    if has(text, name) {
        return;
    }
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(line);
    text.push('\n');
}

/// A directory at the top. Whatever else has its name makes way: something will
/// be mounted there.
fn directory(tree: &mut Tree, name: &OsStr, mode: u32) -> io::Result<()> {
    let top = tree.top().try_clone_to_owned()?;
    let kind = Tree::look(top.as_fd(), name)?.map(|stat| FileType::from_raw_mode(stat.st_mode));
    if kind == Some(FileType::Directory) {
        return Ok(());
    }
    tree.remove(top.as_fd(), name)?;
    rustix::fs::mkdirat(&top, name, Mode::from_raw_mode(mode))?;
    // Past the mask of this process.
    Ok(rustix::fs::chmodat(&top, name, Mode::from_raw_mode(mode), rustix::fs::AtFlags::empty())?)
}

fn is_there(tree: &Tree, dir: &[u8], name: &str) -> bool {
    let dir = Inner::new(dir).ok().and_then(|dir| tree.directory(&dir).ok());
    dir.is_some_and(|dir| Tree::look(dir.as_fd(), OsStr::new(name)).is_ok_and(|found| found.is_some()))
}

/// A file of the image; empty if it is missing or anything but a file.
fn read(tree: &Tree, dir: &Inner, name: &str) -> io::Result<String> {
    let dir = tree.directory(dir)?;
    let is_file = |mode| FileType::from_raw_mode(mode) == FileType::RegularFile;
    if !Tree::look(dir.as_fd(), OsStr::new(name))?.is_some_and(|stat| is_file(stat.st_mode)) {
        return Ok(String::new());
    }
    let file =
        rustix::fs::openat(&dir, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let mut bytes = Vec::new();
    File::from(file).take(LONGEST).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Writes a file of the image anew; one that says the same already is left as it is.
fn write(tree: &mut Tree, dir: &Inner, name: &str, text: &str, mode: u32) -> io::Result<()> {
    if read(tree, dir, name)? == text {
        return Ok(());
    }
    let dir = tree.directory(dir)?;
    let old = Tree::look(dir.as_fd(), OsStr::new(name))?;
    tree.remove(dir.as_fd(), OsStr::new(name))?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&dir, name, flags, Mode::from_raw_mode(0o600))?;
    let group = old.map_or(0, |stat| stat.st_gid);
    rustix::fs::fchown(&file, Some(Uid::ROOT), Some(Gid::from_raw(group)))?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
    File::from(file).write_all(text.as_bytes())
}

fn home(tree: &mut Tree, id: u32) -> io::Result<()> {
    let home = Inner::new(b"home/user").map_err(io::Error::other)?;
    let dir = tree.ensure_directory(&home)?;
    let dir =
        rustix::fs::openat(&dir, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    Ok(rustix::fs::fchown(&dir, Some(Uid::from_raw(id)), Some(Gid::from_raw(id)))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_takes_an_id_that_is_free() {
        let mut empty = Accounts::default();
        assert_eq!(empty.enter("/bin/sh"), Some(1000));
        assert_eq!(empty.passwd, "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n");
        assert_eq!(empty.enter("/bin/sh"), None, "twice is once");

        let mut node = Accounts {
            passwd: "root:x:0:0:root:/root:/bin/bash\nnode:x:1000:1000::/home/node:/bin/bash".to_owned(),
            group: "root:x:0:\nnode:x:1000:\nother:x:1001:\n".to_owned(),
            shadow: String::new(),
        };
        assert_eq!(node.enter("/bin/bash"), Some(1002));
        assert!(node.passwd.ends_with("bash\nuser:x:1002:1002::/home/user:/bin/bash\n"), "{}", node.passwd);
    }

    #[test]
    fn an_image_names_its_user_by_name_or_number() {
        let passwd = "root:x:0:0:::\napp:x:10:10:::\n";
        assert_eq!(name_of(passwd, "app:staff").as_deref(), Some("app"));
        assert_eq!(name_of(passwd, "10").as_deref(), Some("app"));
        assert_eq!(name_of(passwd, "nobody"), None);
    }

    #[test]
    fn an_empty_image_and_one_full_of_links_are_furnished() {
        let outside = tempfile::tempdir().unwrap();
        let dir = tempfile::tempdir().unwrap();
        for name in ["etc", "proc", "home"] {
            std::os::unix::fs::symlink(outside.path(), dir.path().join(name)).unwrap();
        }
        if !rustix::process::geteuid().is_root() {
            return testkit::skip("owners are set by root");
        }
        let found = furnish(&mut Tree::open(dir.path()).unwrap()).unwrap();
        assert!(!found.bash);
        assert!(dir.path().join("home/user").is_dir());
        assert!(std::fs::read_to_string(dir.path().join("etc/passwd")).unwrap().contains("user:x:1000"));
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}
