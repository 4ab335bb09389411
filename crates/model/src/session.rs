//! Sessions of web applications: a name that the application picks, which has at
//! most one sandbox.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::Timestamp;

/// Longest name, in bytes.
const MAX_NAME: usize = 512;

/// Names a session: any text that its application picked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(String);

/// The text names no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("session_id must have 1 to {MAX_NAME} bytes and no control characters")]
pub struct BadSessionId;

impl SessionId {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SessionId {
    type Err = BadSessionId;

    fn from_str(text: &str) -> Result<Self, BadSessionId> {
        let fits = (1..=MAX_NAME).contains(&text.len()) && !text.contains(char::is_control);
        fits.then(|| Self(text.to_owned())).ok_or(BadSessionId)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a session's sandbox is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SessionKind {
    /// The built-in template with Python.
    #[default]
    CodeInterpreter,
    /// The template that the operator configured.
    Custom,
}

impl SessionKind {
    /// Its name on disk.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CodeInterpreter => "code_interpreter",
            Self::Custom => "custom",
        }
    }
}

impl FromStr for SessionKind {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::CodeInterpreter, Self::Custom].into_iter().find(|kind| kind.as_str() == text).ok_or(())
    }
}

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionLimits {
    /// One execution or installation.
    pub execution: Duration,
    /// Without a call.
    pub idle: Duration,
    /// From the sandbox's start, whatever happens.
    pub life: Duration,
}

/// An execution at its limit is told so before its sandbox goes.
const GRACE: Duration = Duration::from_secs(10);

impl SessionLimits {
    /// When a sandbox is to end that started then, if nothing more is heard of
    /// its session. While calls are under way, they may last until their limit.
    pub fn deadline(&self, started: Timestamp, now: Timestamp, is_busy: bool) -> Timestamp {
        let wait = if is_busy { self.idle.max(self.execution + GRACE) } else { self.idle };
        (now + wait).min(started + self.life)
    }

    /// Whether an execution that begins now can come to its limit before a
    /// deadline, as far as the longest life allows it.
    pub fn fits(&self, started: Timestamp, now: Timestamp, deadline: Timestamp) -> bool {
        deadline >= (now + self.execution + GRACE).min(started + self.life)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_unix_micros(1_000_000_000);

    #[test]
    fn names_are_any_text_that_prints() {
        for good in ["a", "anna@example.com", "тест / 1", &"x".repeat(512)] {
            assert_eq!(good.parse::<SessionId>().unwrap().as_str(), good);
        }
        for bad in ["", "a\nb", "\0", &"x".repeat(513)] {
            assert!(bad.parse::<SessionId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_deadline_follows_activity_and_never_passes_the_longest_life() {
        let second = Duration::from_secs;
        let limits = SessionLimits { execution: second(300), idle: second(10), life: second(1000) };
        assert_eq!(limits.deadline(START, START + second(5), false), START + second(15));
        assert_eq!(limits.deadline(START, START + second(5), true), START + second(315));
        assert!(!limits.fits(START, START + second(5), START + second(15)));
        assert!(limits.fits(START, START + second(5), START + second(315)));
        assert!(limits.fits(START, START + second(900), START + second(1000)), "nothing longer can be had");
        assert_eq!(limits.deadline(START, START + second(995), false), START + second(1000));
        assert_eq!(limits.deadline(START, START + second(2000), true), START + second(1000));
    }
}
