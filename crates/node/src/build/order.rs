//! What a client wants built: a source, steps on top of it, and what its
//! sandboxes start with. Parsed at the edge; kept on disk until the build ends.

use std::fmt;
use std::path::{Component, Path};

use model::{BuildId, ByteSize, Resources, TeamId, TemplateId};
use serde::{Deserialize, Serialize};

use crate::image::Credentials;

/// Steps of one build.
pub const MOST_STEPS: usize = 500;

/// A build as a client asked for it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildOrder {
    /// The template.
    #[serde(with = "as_text")]
    pub template_id: TemplateId,
    /// The build, chosen by the caller.
    #[serde(with = "as_text")]
    pub build_id: BuildId,
    /// Whose it is: uploads and cached layers are shared within a team only.
    #[serde(with = "as_text")]
    pub team_id: TeamId,
    /// What it starts from.
    pub source: Source,
    /// What is done on top, in order.
    pub steps: Vec<OrderStep>,
    /// What runs in each sandbox from its start on.
    pub start: Start,
    /// Take no step from the cache.
    pub force: bool,
    /// What its sandboxes may use.
    #[serde(with = "as_numbers")]
    pub resources: Resources,
}

/// What a build starts from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// Another template's build.
    Template {
        /// As the client named it.
        name: String,
        /// What that led to.
        #[serde(with = "as_text")]
        build_id: BuildId,
    },
    /// An image of a registry.
    Image {
        /// Its reference.
        reference: String,
        /// What its registry asks for.
        credentials: Option<Credentials>,
    },
    /// Something that cannot be: the build fails with this sentence.
    Refused(String),
}

/// What runs in each sandbox from its start on. Nothing, if both are empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Runs as long as the sandbox.
    pub command: Option<String>,
    /// Succeeds when the sandbox is ready.
    pub ready: Option<String>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderStep {
    /// What is done.
    pub instruction: Instruction,
    /// Take neither this step nor a later one from the cache.
    pub force: bool,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Instruction {
    /// Runs a command in a login shell.
    Run {
        /// The command.
        command: String,
        /// As somebody else than the user of the steps so far.
        user: Option<String>,
    },
    /// Places uploaded files.
    Copy {
        /// Path or pattern in the client's directory.
        source: String,
        /// Where to.
        dest: String,
        /// `user` or `user:group`; the user of the steps so far if absent.
        owner: Option<String>,
        /// Octal.
        mode: Option<String>,
        /// Names the upload.
        files: FilesHash,
    },
    /// Sets variables for the steps after it and for sandboxes.
    Env(Vec<(String, String)>),
    /// Sets the directory of the steps after it and of sandboxes.
    Workdir(String),
    /// Sets the user of the steps after it and of sandboxes.
    User {
        /// Made if there is none of this name.
        name: String,
        /// Whether it may become root without a password.
        sudo: bool,
    },
}

impl Instruction {
    /// The step as the log shows it.
    pub(super) fn title(&self) -> String {
        let text = match self {
            Self::Run { command, user: None } => format!("RUN {command}"),
            Self::Run { command, user: Some(user) } => format!("RUN {command} (as {user})"),
            Self::Copy { source, dest, .. } => format!("COPY {source} {dest}"),
            Self::Env(pairs) => {
                let pairs: Vec<String> =
                    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
                format!("ENV {}", pairs.join(" "))
            }
            Self::Workdir(dir) => format!("WORKDIR {dir}"),
            Self::User { name, .. } => format!("USER {name}"),
        };
        text.chars().take(300).collect()
    }
}

/// Names an upload: what the client computed of its files, 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FilesHash(String);

impl FilesHash {
    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for FilesHash {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() == 64 && text.bytes().all(digit) {
            Ok(Self(text))
        } else {
            Err("Invalid files hash".to_owned())
        }
    }
}

impl From<FilesHash> for String {
    fn from(hash: FilesHash) -> Self {
        hash.0
    }
}

/// The part of a source before its first pattern: what lies there in the archive
/// is what is copied. `None` if the path leads out of the archive.
pub(super) fn beneath(source: &str) -> Option<String> {
    let mut parts = Vec::new();
    for component in Path::new(source).components() {
        match component {
            Component::CurDir => {}
            Component::Normal(part) => {
                let part = part.to_str()?;
                if part.contains(['*', '?', '[', '{']) {
                    break;
                }
                parts.push(part);
            }
            _ => return None,
        }
    }
    Some(parts.join("/"))
}

/// Without the source, whose registry may want a password.
impl fmt::Debug for BuildOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BuildOrder")
            .field("template_id", &self.template_id)
            .field("build_id", &self.build_id)
            .field("steps", &self.steps.len())
            .finish_non_exhaustive()
    }
}

mod as_text {
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    pub(super) fn serialize<T: ToString, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&value.to_string())
    }

    pub(super) fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
    where
        T: std::str::FromStr<Err: std::fmt::Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

mod as_numbers {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    use super::{ByteSize, Resources};

    pub(super) fn serialize<S: Serializer>(value: &Resources, to: S) -> Result<S::Ok, S::Error> {
        (value.cpu_count, value.memory.as_u64(), value.disk.as_u64()).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Resources, D::Error> {
        let (cpu_count, memory, disk) = <(u32, u64, u64)>::deserialize(from)?;
        Ok(Resources { cpu_count, memory: ByteSize::bytes(memory), disk: ByteSize::bytes(disk) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_cut_off_and_nothing_leads_out() {
        for (source, expected) in
            [("folder/*", "folder"), ("./a/b.txt", "a/b.txt"), ("*.txt", ""), (".", ""), ("a/**/c", "a")]
        {
            assert_eq!(beneath(source).as_deref(), Some(expected), "{source}");
        }
        assert_eq!(beneath("../a"), None);
        assert_eq!(beneath("/etc"), None);
    }

    #[test]
    fn an_order_survives_its_file() {
        let order = BuildOrder {
            template_id: "t1".parse().unwrap(),
            build_id: BuildId::from_u128(7),
            team_id: TeamId::from_u128(8),
            source: Source::Image {
                reference: "debian".to_owned(),
                credentials: Some(Credentials::Gcp { key: "{}".to_owned() }),
            },
            steps: vec![OrderStep { instruction: Instruction::Workdir("/a".to_owned()), force: true }],
            start: Start::default(),
            force: false,
            resources: Resources::DEFAULT,
        };
        let text = serde_json::to_string(&order).unwrap();
        assert_eq!(serde_json::from_str::<BuildOrder>(&text).unwrap(), order);
        assert!(FilesHash::try_from("A".repeat(64)).is_err());
    }
}
