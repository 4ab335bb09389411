//! Other repositories: cloning, pulling, pushing, and what they want to know of us.

use super::Git;
use crate::{Error, shell};

/// A name and a password or token.
#[derive(Clone, Copy)]
pub struct Login<'a> {
    /// The name.
    pub username: &'a str,
    /// The password or token.
    pub password: &'a str,
}

impl std::fmt::Debug for Login<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("username", &self.username).finish_non_exhaustive()
    }
}

/// How to clone. The default is everything, into a directory of the repository's name.
#[derive(Debug, Clone, Copy, Default)]
pub struct CloneOptions<'a> {
    /// Where to.
    pub path: Option<&'a str>,
    /// Which branch to check out.
    pub branch: Option<&'a str>,
    /// How many commits to take.
    pub depth: Option<u32>,
    /// For repositories that are not public.
    pub login: Option<Login<'a>>,
    /// Leaves the login in the clone's configuration, for everybody in the sandbox to read.
    pub dangerously_store_credentials: bool,
}

impl Git<'_> {
    /// Clones a repository. A login is taken out of the clone again unless told otherwise.
    pub async fn clone_repository(&self, url: &str, options: CloneOptions<'_>) -> Result<(), Error> {
        let source = match options.login {
            Some(login) => with_login(url, login)?,
            None => url.to_owned(),
        };
        let depth = options.depth.map(|depth| depth.to_string());
        let mut words = vec!["clone"];
        if let Some(branch) = options.branch {
            words.extend(["--branch", branch, "--single-branch"]);
        }
        if let Some(depth) = &depth {
            words.extend(["--depth", depth]);
        }
        let path = options.path.map_or_else(|| directory(url), str::to_owned);
        words.extend(["--", &source, &path]);
        self.run(None, &words).await?;
        if options.login.is_some() && !options.dangerously_store_credentials {
            self.run(Some(&path), &["remote", "set-url", "origin", url]).await?;
        }
        Ok(())
    }

    /// Names another repository; may fetch it at once, and may replace one of that name.
    pub async fn remote_add(
        &self,
        path: &str,
        name: &str,
        url: &str,
        fetch: bool,
        overwrite: bool,
    ) -> Result<(), Error> {
        if overwrite && self.remote_get(path, name).await?.is_some() {
            self.run(Some(path), &["remote", "set-url", name, url]).await?;
        } else {
            self.run(Some(path), &["remote", "add", name, url]).await?;
        }
        if fetch {
            self.run(Some(path), &["fetch", name]).await?;
        }
        Ok(())
    }

    /// Where a named repository is, if there is one of that name.
    pub async fn remote_get(&self, path: &str, name: &str) -> Result<Option<String>, Error> {
        // Asked of the configuration, which tells "none" from failures by its status.
        self.one_line(Some(path), &["config", "--get", &format!("remote.{name}.url")], 1).await
    }

    /// Fetches and merges.
    pub async fn pull(
        &self,
        path: &str,
        remote: Option<&str>,
        branch: Option<&str>,
        login: Option<Login<'_>>,
    ) -> Result<(), Error> {
        let words = |remote: Option<&str>| {
            let mut words = vec!["pull".to_owned()];
            words.extend(remote.map(str::to_owned));
            words.extend(branch.map(str::to_owned));
            words
        };
        self.with_remote(path, remote, login, words).await
    }

    /// Sends commits; may make the branch follow the remote one.
    pub async fn push(
        &self,
        path: &str,
        remote: Option<&str>,
        branch: Option<&str>,
        set_upstream: bool,
        login: Option<Login<'_>>,
    ) -> Result<(), Error> {
        let current = match branch {
            None if set_upstream => self.status(path).await?.current_branch,
            other => other.map(str::to_owned),
        };
        let remote = match remote {
            None if set_upstream && current.is_some() => Some(self.only_remote(path).await?),
            other => other.map(str::to_owned),
        };
        let words = |remote: Option<&str>| {
            let mut words = vec!["push".to_owned()];
            words.extend(set_upstream.then(|| "--set-upstream".to_owned()));
            words.extend(remote.map(str::to_owned));
            words.extend(current.clone());
            words
        };
        self.with_remote(path, remote.as_deref(), login, words).await
    }

    /// Stores a login for every later call to a host, in the user's home: everybody
    /// in the sandbox can read it.
    pub async fn dangerously_authenticate(
        &self,
        login: Login<'_>,
        host: &str,
        protocol: &str,
    ) -> Result<(), Error> {
        self.run(None, &["config", "--global", "credential.helper", "store"]).await?;
        let fields = format!(
            "protocol={protocol}\nhost={host}\nusername={}\npassword={}\n\n",
            login.username, login.password
        );
        let line = format!("printf %s {} | git credential approve", shell::quote(&fields));
        self.shell(line).await?.success().map(drop)
    }

    /// Runs with a login in the remote's URL, and takes it out again whatever happened.
    async fn with_remote(
        &self,
        path: &str,
        remote: Option<&str>,
        login: Option<Login<'_>>,
        words: impl Fn(Option<&str>) -> Vec<String>,
    ) -> Result<(), Error> {
        let run = async |remote: Option<&str>| {
            let words = words(remote);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            self.run(Some(path), &words).await.map(drop)
        };
        let Some(login) = login else { return run(remote).await };
        let name = match remote {
            Some(name) => name.to_owned(),
            None => self.only_remote(path).await?,
        };
        let plain = self.remote_get(path, &name).await?;
        let plain = plain.ok_or_else(|| Error::invalid(format!("there is no remote {name:?}")))?;
        let secret = with_login(&plain, login)?;
        self.run(Some(path), &["remote", "set-url", &name, &secret]).await?;
        let done = run(Some(&name)).await;
        self.run(Some(path), &["remote", "set-url", &name, &plain]).await?;
        done
    }

    async fn only_remote(&self, path: &str) -> Result<String, Error> {
        let listed = self.run(Some(path), &["remote"]).await?.stdout;
        let mut names = listed.lines();
        match (names.next(), names.next()) {
            (Some(name), None) => Ok(name.to_owned()),
            _ => Err(Error::invalid("name the remote: the repository has none, or several")),
        }
    }
}

/// The URL with a login in it; only HTTP takes one.
fn with_login(url: &str, login: Login<'_>) -> Result<String, Error> {
    let (scheme, rest) = url
        .split_once("://")
        .filter(|(scheme, _)| matches!(*scheme, "http" | "https"))
        .ok_or_else(|| Error::invalid("a login needs a URL that starts with http:// or https://"))?;
    // A login that is there already is replaced.
    let host_end = rest.find('/').unwrap_or(rest.len());
    let rest = rest[..host_end].rfind('@').map_or(rest, |at| &rest[at + 1..]);
    let escape = crate::http::escape;
    Ok(format!("{scheme}://{}:{}@{rest}", escape(login.username), escape(login.password)))
}

/// Where git clones to by itself.
fn directory(url: &str) -> String {
    let last = url.trim_end_matches('/').rsplit(['/', ':']).next().unwrap_or_default();
    last.strip_suffix(".git").unwrap_or(last).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_escaped_and_replaced() {
        let login = Login { username: "me", password: "p@ss/word" };
        let url = with_login("https://old:one@git.example/a@b.git", login).unwrap();
        assert_eq!(url, "https://me:p%40ss%2Fword@git.example/a@b.git");
        assert!(with_login("git@git.example:a.git", login).is_err());
        assert!(!format!("{login:?}").contains("p@ss"));
        assert_eq!(directory("https://git.example/a/b.git/"), "b");
        assert_eq!(directory("git@git.example:b"), "b");
    }
}
