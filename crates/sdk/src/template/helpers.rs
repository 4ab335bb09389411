//! Steps that come up often, as lines for the shell.

use super::Template;
use crate::shell::{line, quote};

/// Words of a package list; without any, what the directory itself asks for.
fn install<S: AsRef<str>>(tool: &[&str], packages: impl IntoIterator<Item = S>, otherwise: &str) -> String {
    let packages: Vec<S> = packages.into_iter().collect();
    let mut words = vec![line(tool)];
    words.extend(packages.iter().map(|package| quote(package.as_ref())));
    if packages.is_empty() && !otherwise.is_empty() {
        words.push(otherwise.to_owned());
    }
    words.join(" ")
}

impl Template {
    /// Starts from the image of E2B's `base` template.
    pub fn from_base_image() -> Self {
        Self::from_image("e2bdev/base")
    }

    /// Starts from Debian, such as `stable`.
    pub fn from_debian_image(variant: &str) -> Self {
        Self::from_image(format!("debian:{variant}"))
    }

    /// Starts from Ubuntu, such as `latest`.
    pub fn from_ubuntu_image(variant: &str) -> Self {
        Self::from_image(format!("ubuntu:{variant}"))
    }

    /// Starts from Alpine.
    pub fn from_alpine_image(variant: &str) -> Self {
        Self::from_image(format!("alpine:{variant}"))
    }

    /// Starts from Arch.
    pub fn from_arch_image(variant: &str) -> Self {
        Self::from_image(format!("archlinux:{variant}"))
    }

    /// Starts from Fedora.
    pub fn from_fedora_image(variant: &str) -> Self {
        Self::from_image(format!("fedora:{variant}"))
    }

    /// Starts from the image of a Python version, such as `3`.
    pub fn from_python_image(version: &str) -> Self {
        Self::from_image(format!("python:{version}"))
    }

    /// Starts from an image of Node, such as `lts`.
    pub fn from_node_image(variant: &str) -> Self {
        Self::from_image(format!("node:{variant}"))
    }

    /// Starts from an image of Bun, such as `latest`.
    pub fn from_bun_image(variant: &str) -> Self {
        Self::from_image(format!("oven/bun:{variant}"))
    }

    /// Installs Debian packages.
    pub fn apt_install<S: AsRef<str>>(self, packages: impl IntoIterator<Item = S>) -> Self {
        let tool = ["apt-get", "install", "-y", "--no-install-recommends"];
        let install = install(&tool, packages, "");
        self.run_as(format!("apt-get update && DEBIAN_FRONTEND=noninteractive {install}"), "root")
    }

    /// Installs Python packages for everybody; without any, the directory's own.
    pub fn pip_install<S: AsRef<str>>(self, packages: impl IntoIterator<Item = S>) -> Self {
        self.run_as(install(&["pip", "install"], packages, "."), "root")
    }

    /// Installs packages of Node here; without any, those of `package.json`.
    pub fn npm_install<S: AsRef<str>>(self, packages: impl IntoIterator<Item = S>) -> Self {
        self.run(install(&["npm", "install"], packages, ""))
    }

    /// Installs programs of Node for everybody.
    pub fn npm_install_global<S: AsRef<str>>(self, packages: impl IntoIterator<Item = S>) -> Self {
        self.run_as(install(&["npm", "install", "-g"], packages, ""), "root")
    }

    /// Installs packages of Bun here; without any, those of `package.json`.
    pub fn bun_install<S: AsRef<str>>(self, packages: impl IntoIterator<Item = S>) -> Self {
        self.run(install(&["bun", "install"], packages, ""))
    }

    /// Clones a repository, a branch of it, or its last commits.
    pub fn git_clone(self, url: &str, path: Option<&str>, branch: Option<&str>, depth: Option<u32>) -> Self {
        let depth = depth.map(|depth| depth.to_string());
        let mut words = vec!["git", "clone"];
        if let Some(branch) = branch {
            words.extend(["--branch", branch, "--single-branch"]);
        }
        if let Some(depth) = &depth {
            words.extend(["--depth", depth]);
        }
        words.push(url);
        words.extend(path);
        self.run(line(words))
    }

    /// Makes a directory and those above it.
    pub fn make_dir(self, path: &str, mode: Option<u32>) -> Self {
        let mode = mode.map(|mode| format!("{mode:04o}"));
        let mut words = vec!["mkdir", "-p"];
        if let Some(mode) = &mode {
            words.extend(["-m", mode]);
        }
        words.push(path);
        self.run(line(words))
    }

    /// Makes a link at `at` that leads to `to`; by force instead of what is there.
    pub fn make_symlink(self, to: &str, at: &str, force: bool) -> Self {
        self.run(line(["ln", if force { "-sf" } else { "-s" }, to, at]))
    }

    /// Removes a file; a directory only recursively.
    pub fn remove(self, path: &str, recursive: bool, force: bool) -> Self {
        let flags = [recursive.then_some("-r"), force.then_some("-f")];
        self.run(line(["rm"].into_iter().chain(flags.into_iter().flatten()).chain([path])))
    }

    /// Moves or renames a file or directory; by force over what is there.
    pub fn rename(self, from: &str, to: &str, force: bool) -> Self {
        self.run(line(["mv"].into_iter().chain(force.then_some("-f")).chain([from, to])))
    }

    /// Fetches MCP servers, for a template on top of `mcp-gateway`.
    pub fn add_mcp_servers<S: AsRef<str>>(self, servers: impl IntoIterator<Item = S>) -> Self {
        self.run_as(install(&["mcp-gateway", "pull"], servers, ""), "root")
    }

    /// Builds a development container, for a template on top of `devcontainer`.
    pub fn dev_container_prebuild(self, dir: &str) -> Self {
        self.run_as(line(["devcontainer", "build", "--workspace-folder", dir]), "root")
    }

    /// Runs a development container from the start.
    pub fn dev_container_start(self, dir: &str) -> Self {
        let up = line(["devcontainer", "up", "--workspace-folder", dir]);
        self.start(
            format!("sudo {up} && touch /tmp/devcontainer-up"),
            super::Ready::file("/tmp/devcontainer-up"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn helpers_are_lines_for_the_shell() {
        let base = Template::from_debian_image("stable");
        let cases = [
            (base.clone().pip_install(["a==1", "b c"]), "pip install a==1 'b c'", Some("root")),
            (base.clone().pip_install::<&str>([]), "pip install .", Some("root")),
            (base.clone().npm_install::<&str>([]), "npm install", None),
            (base.clone().npm_install_global(["x"]), "npm install -g x", Some("root")),
            (base.clone().bun_install(["x"]), "bun install x", None),
            (
                base.clone().git_clone("u", Some("p"), Some("b"), Some(1)),
                "git clone --branch b --single-branch --depth 1 u p",
                None,
            ),
            (base.clone().make_symlink("a", "b", true), "ln -sf a b", None),
            (base.clone().remove("a", true, true), "rm -r -f a", None),
            (base.clone().rename("a", "b", false), "mv a b", None),
            (base.clone().add_mcp_servers(["exa"]), "mcp-gateway pull exa", Some("root")),
            (
                base.clone().dev_container_prebuild("/d"),
                "devcontainer build --workspace-folder /d",
                Some("root"),
            ),
        ];
        for (template, line, user) in cases {
            let args = template.to_json().unwrap()["steps"][0]["args"].clone();
            assert_eq!((args[0].as_str(), args[1].as_str()), (Some(line), user));
        }
        let apt = base.clone().apt_install(["git"]).to_json().unwrap()["steps"][0]["args"][0].clone();
        assert!(apt.as_str().unwrap().ends_with("apt-get install -y --no-install-recommends git"), "{apt}");
        let started = base.dev_container_start("/d").to_json().unwrap();
        assert!(started["startCmd"].as_str().unwrap().contains("devcontainer up --workspace-folder /d"));
        let images = [
            Template::from_base_image(),
            Template::from_ubuntu_image("latest"),
            Template::from_alpine_image("3"),
            Template::from_arch_image("latest"),
            Template::from_fedora_image("44"),
            Template::from_python_image("3"),
            Template::from_node_image("lts"),
            Template::from_bun_image("latest"),
        ];
        let images =
            images.map(|template| template.to_json().unwrap()["fromImage"].as_str().unwrap().to_owned());
        let known = [
            "e2bdev/base",
            "ubuntu:latest",
            "alpine:3",
            "archlinux:latest",
            "fedora:44",
            "python:3",
            "node:lts",
            "oven/bun:latest",
        ];
        assert_eq!(images, known);
    }
}
