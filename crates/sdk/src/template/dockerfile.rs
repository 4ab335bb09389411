//! Templates from Dockerfiles, as far as a sandbox has use for them.

use super::{Ready, Template};
use crate::{Error, ErrorKind};

impl Template {
    /// Reads the text of a Dockerfile. Several stages, and instructions that
    /// would be lost, are refused.
    ///
    /// As in the official SDKs the steps run as `root` in `/`, and afterwards
    /// `user` in its home is the default, where the file does not say otherwise.
    pub fn from_dockerfile(text: &str) -> Result<Self, Error> {
        let mut lines = logical_lines(text).into_iter();
        let (word, rest) = lines.next().ok_or_else(|| wrong("it is empty"))?;
        if word != "FROM" || rest.is_empty() {
            return Err(wrong("its first instruction is not FROM with an image"));
        }
        let image = rest.split_whitespace().find(|word| !word.starts_with("--")).unwrap_or_default();
        let mut template = Self::from_image(image).user("root").workdir("/");
        let (mut user, mut workdir) = (false, false);
        for (word, rest) in lines {
            template = match word.as_str() {
                "RUN" => template.run(command(&rest)),
                "COPY" | "ADD" => copy(template, &rest)?,
                "ENV" | "ARG" => template.envs(pairs(&rest, word == "ARG")?),
                "WORKDIR" => {
                    workdir = true;
                    template.workdir(rest)
                }
                "USER" => {
                    user = true;
                    template.user(rest)
                }
                "CMD" | "ENTRYPOINT" => {
                    template.start(command(&rest), Ready::after(std::time::Duration::from_secs(20)))
                }
                // Words to people and to other runtimes.
                "EXPOSE" | "LABEL" | "MAINTAINER" => template,
                "FROM" => return Err(wrong("it has several stages: keep one")),
                other => return Err(wrong(&format!("{other} is not supported"))),
            };
        }
        if !user {
            template = template.user("user");
        }
        Ok(if workdir { template } else { template.workdir("/home/user") })
    }

    /// The recipe as a Dockerfile, to be read by people.
    pub fn to_dockerfile(&self) -> Result<String, Error> {
        let super::From::Image { image, .. } = &self.from else {
            return Err(Error::invalid("a template on top of another one has no Dockerfile"));
        };
        let mut text = format!("FROM {image}\n");
        for step in &self.steps {
            let words = match step.kind {
                "RUN" => step.args[0].clone(),
                "COPY" => step.args[..2].join(" "),
                "ENV" => {
                    let pair = |pair: &[String]| format!("{}={}", pair[0], crate::shell::quote(&pair[1]));
                    step.args.chunks_exact(2).map(pair).collect::<Vec<_>>().join(" ")
                }
                _ => step.args.join(" "),
            };
            text.extend([step.kind, " ", &words, "\n"]);
        }
        if let Some(start) = &self.start {
            text.extend(["ENTRYPOINT ", start, "\n"]);
        }
        Ok(text)
    }
}

fn wrong(why: &str) -> Error {
    Error::new(ErrorKind::Template, format!("the Dockerfile cannot be used: {why}"))
}

/// Instructions with their words; lines that end in `\` go on.
fn logical_lines(text: &str) -> Vec<(String, String)> {
    let mut whole = String::new();
    let mut lines = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with('#') {
            continue;
        }
        if let Some(start) = line.trim_end().strip_suffix('\\') {
            whole.push_str(start);
            whole.push('\n');
            continue;
        }
        whole.push_str(line);
        lines.push(std::mem::take(&mut whole));
    }
    lines.push(whole);
    lines
        .iter()
        .map(|line| line.trim())
        .filter(|line| !line.is_empty())
        .map(|line| {
            let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            (word.to_uppercase(), rest.trim().replace('\n', " "))
        })
        .collect()
}

/// `["a", "b c"]` or a line for the shell.
fn command(rest: &str) -> String {
    serde_json::from_str::<Vec<String>>(rest).map_or_else(|_| rest.to_owned(), crate::shell::line)
}

fn copy(template: Template, rest: &str) -> Result<Template, Error> {
    let mut options = super::CopyOptions::default();
    let mut paths = Vec::new();
    for word in rest.split_whitespace() {
        match word.strip_prefix("--").map(|flag| flag.split_once('=').unwrap_or((flag, ""))) {
            None => paths.push(word),
            Some(("chown", user)) => options.user = Some(user.to_owned()),
            Some(("chmod", mode)) => {
                let mode =
                    u32::from_str_radix(mode, 8).map_err(|_| wrong("--chmod wants an octal number"))?;
                options.mode = Some(mode);
            }
            Some((flag, _)) => return Err(wrong(&format!("COPY --{flag} is not supported"))),
        }
    }
    let Some((to, from)) = paths.split_last().filter(|(_, from)| !from.is_empty()) else {
        return Err(wrong("COPY wants a source and a destination"));
    };
    Ok(from.iter().fold(template, |template, from| template.copy_with(*from, *to, options.clone())))
}

/// `A=1 B="2 3"`, the old `A 1`, and an `ARG` without a value.
fn pairs(rest: &str, argument: bool) -> Result<Vec<(String, String)>, Error> {
    let Some(first) = rest.find(['=', ' ']) else {
        let name = (rest.to_owned(), String::new());
        return if argument { Ok(vec![name]) } else { Err(wrong("ENV wants NAME=VALUE")) };
    };
    if rest.as_bytes()[first] == b' ' {
        return Ok(vec![(rest[..first].to_owned(), rest[first..].trim().to_owned())]);
    }
    let mut pairs = Vec::new();
    for word in words(rest) {
        let (name, value) = word.split_once('=').ok_or_else(|| wrong("ENV wants NAME=VALUE"))?;
        pairs.push((name.to_owned(), value.to_owned()));
    }
    Ok(pairs)
}

/// Words apart by spaces; quotes and backslashes keep them together.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), None);
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' if quoted != Some('\'') => word.extend(letters.next()),
            '"' | '\'' if quoted.is_none() => quoted = Some(letter),
            _ if quoted == Some(letter) => quoted = None,
            _ if letter.is_whitespace() && quoted.is_none() => words.push(std::mem::take(&mut word)),
            _ => word.push(letter),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dockerfile_becomes_steps() {
        let text = "# syntax\nFROM --platform=linux/amd64 python:3.12 AS one\nENV A=1 B=\"2 3\"\nENV C 4 5\nRUN apt-get update \\\n    # why\n    && ls\nCOPY --chown=me --chmod=755 x y /to/\nEXPOSE 80\nCMD [\"serve\", \"a b\"]\n";
        let template = Template::from_dockerfile(text).unwrap();
        let steps: Vec<(&str, Vec<&str>)> = template
            .steps
            .iter()
            .map(|step| (step.kind, step.args.iter().map(String::as_str).collect()))
            .collect();
        assert_eq!(
            steps,
            [
                ("USER", vec!["root"]),
                ("WORKDIR", vec!["/"]),
                ("ENV", vec!["A", "1", "B", "2 3"]),
                ("ENV", vec!["C", "4 5"]),
                ("RUN", vec!["apt-get update      && ls"]),
                ("COPY", vec!["x", "/to/", "me", "0755"]),
                ("COPY", vec!["y", "/to/", "me", "0755"]),
                ("USER", vec!["user"]),
                ("WORKDIR", vec!["/home/user"]),
            ]
        );
        assert_eq!(template.start.as_deref(), Some("serve 'a b'"));
        let written = template.to_dockerfile().unwrap();
        assert!(written.starts_with("FROM python:3.12\nUSER root\n"), "{written}");
        assert!(written.contains("ENV A=1 B='2 3'\n"), "{written}");
    }

    #[test]
    fn what_would_be_lost_is_refused() {
        for (text, why) in [
            ("", "empty"),
            ("RUN ls", "FROM"),
            ("FROM a\nFROM b", "stages"),
            ("FROM a\nVOLUME /x", "VOLUME"),
            ("FROM a\nCOPY --from=x a b", "--from"),
            ("FROM a\nCOPY a", "destination"),
            ("FROM a\nENV A", "NAME=VALUE"),
        ] {
            let error = Template::from_dockerfile(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Template, "{text}");
            assert!(error.to_string().contains(why), "{error}");
        }
    }
}
