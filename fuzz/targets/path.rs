//! What a path of a request means.
//!
//! The daemon keeps that module to itself, and all it needs is a user: it is
//! taken in as it is rather than building the daemon.
#![no_main]
#![allow(dead_code, reason = "what the module offers to the daemon")]

/// What the module knows of the daemon's users.
mod user {
    pub(crate) struct User {
        pub(crate) name: String,
        pub(crate) uid: u32,
        pub(crate) gid: u32,
        pub(crate) home: String,
    }
}

#[path = "../../crates/guest/src/fs/path.rs"]
mod path;
#[path = "../../crates/guest/src/fs/path_check.rs"]
mod path_check;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let user = user::User { name: "user".into(), uid: 1000, gid: 1000, home: "/home/user".into() };
    path_check::check(&text, &user);
});
