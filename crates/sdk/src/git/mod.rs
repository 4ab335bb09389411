//! Repositories inside a sandbox, by its own `git`.

mod remote;
mod status;

use std::sync::Arc;

use crate::commands::{CommandOutput, Commands, DEFAULT_TIMEOUT};
use crate::rpc::Target;
use crate::run::{Surroundings, place, surroundings};
use crate::{Error, ErrorKind, Sandbox, shell};

pub use self::remote::{CloneOptions, Login};
pub use self::status::{FileStatus, GitBranches, GitStatus};

/// The repositories of one sandbox. Each call is ended after 60 s unless told otherwise.
#[derive(Debug)]
pub struct Git<'s> {
    target: &'s Arc<Target>,
    around: Surroundings,
}

surroundings!(Git<'s>);
place!(Git<'s>);

/// What a reset touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetMode {
    /// The branch alone.
    Soft,
    /// The branch and the index.
    Mixed,
    /// Everything.
    Hard,
    /// Everything that has no change of its own.
    Merge,
    /// Everything, or nothing if there are changes.
    Keep,
}

/// Which configuration is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope<'a> {
    /// The user's.
    Global,
    /// The machine's.
    System,
    /// The repository's at that path.
    Local(&'a str),
}

impl<'s> Git<'s> {
    pub(crate) fn new(sandbox: &'s Sandbox) -> Self {
        Self { target: &sandbox.target, around: Surroundings::lasting(Some(DEFAULT_TIMEOUT)) }
    }

    /// Runs git with these words; a status other than 0 is an error.
    pub(crate) async fn run(&self, repository: Option<&str>, words: &[&str]) -> Result<CommandOutput, Error> {
        let place = repository.map_or_else(Vec::new, |path| vec!["-C", path]);
        let line = shell::line(["git"].iter().chain(&place).chain(words));
        self.shell(line).await?.success().map_err(explain)
    }

    async fn shell(&self, line: String) -> Result<CommandOutput, Error> {
        let mut around = self.around.clone();
        // Nobody is there to answer a question.
        around.envs.entry("GIT_TERMINAL_PROMPT".to_owned()).or_insert_with(|| "0".to_owned());
        Commands { target: self.target }.run(line).around(around).await
    }

    /// Makes an empty repository.
    pub async fn init(&self, path: &str, bare: bool, initial_branch: Option<&str>) -> Result<(), Error> {
        let mut words = vec!["init"];
        if let Some(branch) = initial_branch {
            words.extend(["--initial-branch", branch]);
        }
        if bare {
            words.push("--bare");
        }
        words.push(path);
        self.run(None, &words).await.map(drop)
    }

    /// Stages files; without any, everything.
    pub async fn add(&self, path: &str, files: &[&str]) -> Result<(), Error> {
        let words = if files.is_empty() { vec!["add", "-A"] } else { [&["add", "--"], files].concat() };
        self.run(Some(path), &words).await.map(drop)
    }

    /// Commits what is staged, as `author` (name and address) where one is given.
    pub async fn commit(
        &self,
        path: &str,
        message: &str,
        author: Option<(&str, &str)>,
        allow_empty: bool,
    ) -> Result<(), Error> {
        let (name, email) = author.unwrap_or_default();
        let (name, email) = (format!("user.name={name}"), format!("user.email={email}"));
        let mut words = if author.is_some() { vec!["-c", &name, "-c", &email] } else { Vec::new() };
        words.extend(["commit", "-m", message]);
        if allow_empty {
            words.push("--allow-empty");
        }
        self.run(Some(path), &words).await.map(drop)
    }

    /// Moves the branch, and as much more as the mode says, to `target`; or takes
    /// paths out of the index.
    pub async fn reset(
        &self,
        path: &str,
        mode: Option<ResetMode>,
        target: Option<&str>,
        paths: &[&str],
    ) -> Result<(), Error> {
        let mut words = vec!["reset"];
        words.extend(mode.map(|mode| match mode {
            ResetMode::Soft => "--soft",
            ResetMode::Mixed => "--mixed",
            ResetMode::Hard => "--hard",
            ResetMode::Merge => "--merge",
            ResetMode::Keep => "--keep",
        }));
        words.extend(target);
        if !paths.is_empty() {
            words.push("--");
            words.extend(paths);
        }
        self.run(Some(path), &words).await.map(drop)
    }

    /// Puts paths back: in the index, in the working tree, or both; from `source`
    /// if one is given.
    pub async fn restore(
        &self,
        path: &str,
        paths: &[&str],
        staged: bool,
        worktree: bool,
        source: Option<&str>,
    ) -> Result<(), Error> {
        if paths.is_empty() || !(staged || worktree) {
            return Err(Error::invalid("name a path to restore, in the index, the working tree or both"));
        }
        let mut words = vec!["restore"];
        words.extend(staged.then_some("--staged"));
        words.extend(worktree.then_some("--worktree"));
        let source = source.map(|source| format!("--source={source}"));
        words.extend(source.as_deref());
        words.push("--");
        words.extend(paths);
        self.run(Some(path), &words).await.map(drop)
    }

    /// Makes a branch and goes to it.
    pub async fn create_branch(&self, path: &str, branch: &str) -> Result<(), Error> {
        self.run(Some(path), &["checkout", "-b", branch]).await.map(drop)
    }

    /// Goes to a branch.
    pub async fn checkout_branch(&self, path: &str, branch: &str) -> Result<(), Error> {
        self.run(Some(path), &["checkout", branch]).await.map(drop)
    }

    /// Removes a branch; one that is not merged only by force.
    pub async fn delete_branch(&self, path: &str, branch: &str, force: bool) -> Result<(), Error> {
        let flag = if force { "-D" } else { "-d" };
        self.run(Some(path), &["branch", flag, branch]).await.map(drop)
    }

    /// The branches.
    pub async fn branches(&self, path: &str) -> Result<GitBranches, Error> {
        let words = ["branch", "--format=%(HEAD)%(refname:short)"];
        Ok(status::branches(&self.run(Some(path), &words).await?.stdout))
    }

    /// What differs from the last commit, and where the branch stands.
    pub async fn status(&self, path: &str) -> Result<GitStatus, Error> {
        let words = ["status", "--porcelain=v1", "-b", "-z"];
        Ok(status::status(&self.run(Some(path), &words).await?.stdout))
    }

    /// Sets a value of the configuration.
    pub async fn set_config(&self, key: &str, value: &str, scope: Scope<'_>) -> Result<(), Error> {
        let (path, flag) = scope.words();
        self.run(path, &["config", flag, key, value]).await.map(drop)
    }

    /// A value of the configuration, if it is set.
    pub async fn get_config(&self, key: &str, scope: Scope<'_>) -> Result<Option<String>, Error> {
        let (path, flag) = scope.words();
        self.one_line(path, &["config", flag, "--get", key], 1).await
    }

    /// Sets the name and the address of commits.
    pub async fn configure_user(&self, name: &str, email: &str, scope: Scope<'_>) -> Result<(), Error> {
        self.set_config("user.name", name, scope).await?;
        self.set_config("user.email", email, scope).await
    }

    /// One line of output; `None` where git ends with `none_status`.
    async fn one_line(
        &self,
        path: Option<&str>,
        words: &[&str],
        none_status: i32,
    ) -> Result<Option<String>, Error> {
        match self.run(path, words).await {
            Ok(output) => Ok(Some(output.stdout.trim_end_matches('\n').to_owned())),
            Err(e) if e.output().is_some_and(|output| output.exit_code == none_status) => Ok(None),
            Err(e) => Err(e),
        }
    }
}

impl<'a> Scope<'a> {
    fn words(self) -> (Option<&'a str>, &'static str) {
        match self {
            Scope::Global => (None, "--global"),
            Scope::System => (None, "--system"),
            Scope::Local(path) => (Some(path), "--local"),
        }
    }
}

/// Git says why only in words.
fn explain(error: Error) -> Error {
    const AUTH: [&str; 6] = [
        "authentication failed",
        "could not read username",
        "could not read password",
        "terminal prompts disabled",
        "permission denied",
        "invalid username or",
    ];
    const UPSTREAM: [&str; 3] =
        ["has no upstream branch", "no tracking information", "no upstream configured"];
    let said = error.output().map(|output| output.stderr.to_lowercase()).unwrap_or_default();
    let (kind, advice) = if AUTH.iter().any(|words| said.contains(words)) {
        (ErrorKind::GitAuth, "the remote repository wants other credentials: give a username and a token")
    } else if UPSTREAM.iter().any(|words| said.contains(words)) {
        (ErrorKind::GitUpstream, "the branch follows no remote branch: name one, or push with set_upstream")
    } else {
        return error;
    };
    Error::caused(kind, advice, error)
}
