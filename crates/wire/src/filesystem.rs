//! Messages of `filesystem.Filesystem`, in the daemon on port 49983.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use crate::connect::Timestamp;
use crate::connect::json::proto_enum;
use crate::connect::{messages, oneof};
pub use crate::process::Empty;

/// Path of the service, before the method's name.
pub const SERVICE: &str = "/filesystem.Filesystem/";

messages! {
    PathRequest { 1: path }
    MoveRequest { 1: source, 2: destination }
    ListDirRequest { 1: path, 2: depth }
    EntryResponse { 1: entry }
    ListDirResponse { 1: entries }
    EntryInfo {
        1: name, 2: file_type, 3: path, 4: size, 5: mode, 6: permissions, 7: owner, 8: group,
        9: modified_time, 10: symlink_target, 11: metadata,
    }
    WatchRequest { 1: path, 2: recursive, 3: include_entry, 4: allow_network_mounts }
    FilesystemEvent { 1: name, 2: event_type, 3: entry }
    WatcherId { 1: watcher_id }
    WatcherEvents { 1: events }
}

/// `Stat`, `MakeDir`, `Remove`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PathRequest {
    /// The path.
    #[serde(with = "crate::connect::json::plain")]
    pub path: String,
}

/// `Move`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MoveRequest {
    /// From where.
    #[serde(with = "crate::connect::json::plain")]
    pub source: String,
    /// To where.
    #[serde(with = "crate::connect::json::plain")]
    pub destination: String,
}

/// `ListDir`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ListDirRequest {
    /// The directory.
    #[serde(with = "crate::connect::json::plain")]
    pub path: String,
    /// Levels below it; 0 means 1.
    #[serde(with = "crate::connect::json::number")]
    pub depth: u32,
}

/// Answer of `Stat`, `MakeDir`, `Move`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct EntryResponse {
    /// The entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry: Option<EntryInfo>,
}

/// Answer of `ListDir`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ListDirResponse {
    /// Directories before their content, each directory in lexical order.
    #[serde(with = "crate::connect::json::plain", skip_serializing_if = "Vec::is_empty")]
    pub entries: Vec<EntryInfo>,
}

proto_enum! {
    /// What an entry is; a link counts as what it leads to.
    pub enum FileType {
        /// Something else: a broken link, a socket, a device.
        #[default]
        Unspecified = 0, "FILE_TYPE_UNSPECIFIED";
        /// A regular file.
        File = 1, "FILE_TYPE_FILE";
        /// A directory.
        Directory = 2, "FILE_TYPE_DIRECTORY";
        /// A link; newer daemons of E2B may send it.
        Symlink = 3, "FILE_TYPE_SYMLINK";
    }
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EntryInfo {
    /// Last element of the path.
    #[serde(with = "crate::connect::json::plain", skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What it is.
    #[serde(rename = "type", skip_serializing_if = "FileType::is_unspecified")]
    pub file_type: FileType,
    /// The path as asked for.
    #[serde(with = "crate::connect::json::plain", skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// In bytes; of a link, the length of its target's name.
    #[serde(with = "crate::connect::json::number64", skip_serializing_if = "is_zero")]
    pub size: i64,
    /// Permission bits.
    #[serde(with = "crate::connect::json::number", skip_serializing_if = "is_zero")]
    pub mode: u32,
    /// Type and permissions in letters, as Go prints them.
    #[serde(with = "crate::connect::json::plain", skip_serializing_if = "String::is_empty")]
    pub permissions: String,
    /// User's name, or number if it has none.
    #[serde(with = "crate::connect::json::plain", skip_serializing_if = "String::is_empty")]
    pub owner: String,
    /// Group's name, or number if it has none.
    #[serde(with = "crate::connect::json::plain", skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// When its content last changed.
    #[serde(alias = "modified_time", skip_serializing_if = "Option::is_none")]
    pub modified_time: Option<Timestamp>,
    /// Of a link: where it leads in the end.
    #[serde(alias = "symlink_target", skip_serializing_if = "Option::is_none")]
    pub symlink_target: Option<String>,
    /// What the caller attached at an upload.
    #[serde(with = "crate::connect::json::plain", skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

/// `WatchDir` and `CreateWatcher`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct WatchRequest {
    /// The directory.
    #[serde(with = "crate::connect::json::plain")]
    pub path: String,
    /// Also everything below it.
    #[serde(with = "crate::connect::json::plain")]
    pub recursive: bool,
    /// Attach the entry to events.
    #[serde(with = "crate::connect::json::plain", alias = "include_entry")]
    pub include_entry: bool,
    /// Allow file systems on which changes made elsewhere are not seen.
    #[serde(with = "crate::connect::json::plain", alias = "allow_network_mounts")]
    pub allow_network_mounts: bool,
}

proto_enum! {
    /// What happened to an entry.
    pub enum EventType {
        /// Unknown.
        #[default]
        Unspecified = 0, "EVENT_TYPE_UNSPECIFIED";
        /// It appeared.
        Create = 1, "EVENT_TYPE_CREATE";
        /// Its content changed.
        Write = 2, "EVENT_TYPE_WRITE";
        /// It was removed.
        Remove = 3, "EVENT_TYPE_REMOVE";
        /// It was moved away; the name is the old one.
        Rename = 4, "EVENT_TYPE_RENAME";
        /// Its attributes changed.
        Chmod = 5, "EVENT_TYPE_CHMOD";
    }
}

/// One change below a watched directory.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct FilesystemEvent {
    /// Path relative to the watched directory.
    #[serde(with = "crate::connect::json::plain", skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What happened.
    #[serde(rename = "type", skip_serializing_if = "EventType::is_unspecified")]
    pub event_type: EventType,
    /// The entry, if asked for and still there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry: Option<EntryInfo>,
}

oneof! {
    /// One message of the stream of `WatchDir`.
    pub enum WatchEvent {
        /// The watch is armed; always the first.
        1 "start" => Start(Empty) with "crate::connect::json::plain",
        /// A change.
        2 "filesystem" => Filesystem(Box<FilesystemEvent>) with "crate::connect::json::plain",
        /// Nothing happened for a while.
        3 "keepalive" => Keepalive(Empty) with "crate::connect::json::plain",
    }
}

/// Names a watcher: answer of `CreateWatcher`, request of `GetWatcherEvents` and `RemoveWatcher`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct WatcherId {
    /// The id.
    #[serde(with = "crate::connect::json::plain", alias = "watcher_id")]
    pub watcher_id: String,
}

/// Answer of `GetWatcherEvents`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct WatcherEvents {
    /// Since the last call.
    #[serde(with = "crate::connect::json::plain", skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<FilesystemEvent>,
}

fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::{Codec, Message};

    #[test]
    fn sizes_are_strings_and_links_keep_their_target() {
        let entry = EntryInfo {
            name: "a".into(),
            file_type: FileType::File,
            size: 5_000_000_000,
            mode: 0o644,
            symlink_target: Some("/b".into()),
            ..EntryInfo::default()
        };
        let text =
            r#"{"name":"a","type":"FILE_TYPE_FILE","size":"5000000000","mode":420,"symlinkTarget":"/b"}"#;
        assert_eq!(serde_json::to_string(&entry).unwrap(), text);
        assert_eq!(serde_json::from_str::<EntryInfo>(text).unwrap(), entry);
        assert_eq!(serde_json::from_str::<EntryInfo>(r#"{"size":7,"symlink_target":"x"}"#).unwrap().size, 7);
    }

    #[test]
    fn watch_events_have_no_wrapper() {
        let start = WatchEvent::Start(Empty {});
        assert_eq!(start.encode(Codec::Json), br#"{"start":{}}"#);
    }
}
