//! What git prints about branches and changes, read.

/// The branches of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GitBranches {
    /// All of them.
    pub branches: Vec<String>,
    /// The one that is checked out, if any is.
    pub current: Option<String>,
}

/// Where a working tree stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GitStatus {
    /// The branch; `None` where none is checked out.
    pub current_branch: Option<String>,
    /// The remote branch that it follows.
    pub upstream: Option<String>,
    /// Commits that the remote branch lacks.
    pub ahead: u32,
    /// Commits that this branch lacks.
    pub behind: u32,
    /// What differs.
    pub files: Vec<FileStatus>,
}

/// One changed path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileStatus {
    /// The path.
    pub path: String,
    /// Where it was before, if it was moved.
    pub renamed_from: Option<String>,
    /// Its state in the index, as git's letter.
    pub index: char,
    /// Its state in the working tree, as git's letter.
    pub worktree: char,
}

impl FileStatus {
    /// Whether a commit would take something of it.
    pub fn is_staged(&self) -> bool {
        !matches!(self.index, ' ' | '?' | '!')
    }

    /// Whether git does not know it.
    pub fn is_untracked(&self) -> bool {
        self.index == '?'
    }

    /// Whether two changes of it are in conflict.
    pub fn is_conflict(&self) -> bool {
        self.index == 'U'
            || self.worktree == 'U'
            || matches!((self.index, self.worktree), ('A', 'A') | ('D', 'D'))
    }
}

impl GitStatus {
    /// Whether nothing differs.
    pub fn is_clean(&self) -> bool {
        self.files.is_empty()
    }
}

/// Reads lines of a mark (`*` for the current one) and a name.
pub(super) fn branches(text: &str) -> GitBranches {
    let mut all = GitBranches::default();
    for line in text.lines() {
        let (current, name) = match line.strip_prefix('*') {
            Some(name) => (true, name),
            None => (false, line.trim_start()),
        };
        // A detached head prints a remark in brackets.
        if name.is_empty() || name.starts_with('(') {
            continue;
        }
        if current {
            all.current = Some(name.to_owned());
        }
        all.branches.push(name.to_owned());
    }
    all
}

/// Reads `status --porcelain=v1 -b -z`.
pub(super) fn status(text: &str) -> GitStatus {
    let mut status = GitStatus::default();
    let mut records = text.split('\0').filter(|record| !record.is_empty());
    while let Some(record) = records.next() {
        if let Some(head) = record.strip_prefix("## ") {
            read_head(head, &mut status);
            continue;
        }
        let mut letters = record.chars();
        let (Some(index), Some(worktree), Some(' ')) = (letters.next(), letters.next(), letters.next())
        else {
            continue;
        };
        let renamed_from = matches!(index, 'R' | 'C').then(|| records.next().map(str::to_owned)).flatten();
        status.files.push(FileStatus { path: letters.as_str().to_owned(), renamed_from, index, worktree });
    }
    status
}

/// `main...origin/main [ahead 1, behind 2]`.
fn read_head(head: &str, status: &mut GitStatus) {
    let head = head.strip_prefix("No commits yet on ").unwrap_or(head);
    let (names, counts) = head.split_once(" [").unwrap_or((head, ""));
    let (branch, upstream) = match names.split_once("...") {
        Some((branch, upstream)) => (branch, Some(upstream)),
        None => (names, None),
    };
    status.current_branch = (branch != "HEAD (no branch)").then(|| branch.to_owned());
    status.upstream = upstream.map(str::to_owned);
    for part in counts.trim_end_matches(']').split(", ") {
        match part.split_once(' ') {
            Some(("ahead", count)) => status.ahead = count.parse().unwrap_or(0),
            Some(("behind", count)) => status.behind = count.parse().unwrap_or(0),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_git_prints() {
        let text = "## main...origin/main [ahead 1, behind 2]\0R  new name\0old\0?? a\nb\0UU c\0 M d\0";
        let status = status(text);
        assert_eq!(status.current_branch.as_deref(), Some("main"));
        assert_eq!((status.upstream.as_deref(), status.ahead, status.behind), (Some("origin/main"), 1, 2));
        let paths: Vec<&str> = status.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["new name", "a\nb", "c", "d"]);
        assert_eq!(status.files[0].renamed_from.as_deref(), Some("old"));
        assert!(
            status.files[0].is_staged() && status.files[1].is_untracked() && status.files[2].is_conflict()
        );
        assert!(!status.files[3].is_staged() && !status.is_clean());
        assert_eq!(super::status("## No commits yet on main\0").current_branch.as_deref(), Some("main"));
        assert_eq!(super::status("## HEAD (no branch)\0").current_branch, None);
        let found = branches("*main\n other\n");
        assert_eq!((found.current.as_deref(), found.branches.len()), (Some("main"), 2));
        assert_eq!(branches("*(HEAD detached at 1a2b3c)\n main\n").current, None);
    }

    proptest::proptest! {
        #[test]
        fn nothing_that_git_prints_makes_it_panic(text in ".*") {
            status(&text);
            branches(&text);
        }
    }
}
