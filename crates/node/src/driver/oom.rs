//! Which processes of a sandbox the kernel ended for want of memory: the backend
//! counts them, the daemon inside names them.
//!
//! The daemon is not believed more than the count: as many of those it names as
//! the count has risen by, and none from before it rose. What is missing is asked
//! for again for a while, since a process may be counted before it is gone.

use std::sync::Arc;
use std::time::Duration;

use model::{OomVictim, Timestamp};
use runtime::Machine;

use super::Driver;
use super::step::killed;
use crate::guest::Guest;

/// As many are kept; the oldest goes first.
const KEPT: usize = 16;
/// Longest name of a process or a user, in characters.
const LONGEST: usize = 64;
/// How long the daemon is asked for those it has not named.
const PATIENCE: Duration = Duration::from_secs(30);
/// A reading takes a moment: an end just before it may not be in it.
const SLACK: Duration = Duration::from_secs(1);
/// A daemon answers in a millisecond.
const ANSWER: Duration = Duration::from_secs(1);

/// What is known of such ends.
#[derive(Debug)]
pub(super) struct OomTally {
    count: u64,
    read_at: Timestamp,
    /// As many have no name yet.
    missing: u64,
    since: Timestamp,
    until: Timestamp,
    victims: Vec<OomVictim>,
}

impl OomTally {
    /// Nothing yet of a sandbox that started then.
    pub(super) fn new(started_at: Timestamp) -> Self {
        Self {
            count: 0,
            read_at: started_at,
            missing: 0,
            since: started_at,
            until: started_at,
            victims: Vec::new(),
        }
    }

    /// Takes a reading; whether the daemon is to be asked for names.
    pub(super) fn counted(&mut self, count: u64, now: Timestamp) -> bool {
        // A machine that woke counts anew: what it then counts is new.
        if count > self.count {
            if self.missing == 0 {
                self.since = self.read_at - SLACK;
            }
            self.missing += count - self.count;
            self.until = now + PATIENCE;
        }
        if now > self.until {
            self.missing = 0;
        }
        self.count = count;
        self.read_at = now;
        self.missing > 0
    }

    /// Takes what the daemon tells, the oldest first.
    pub(super) fn told(&mut self, told: &[wire::control::OomVictim]) {
        for one in told.iter().map(parse) {
            if self.missing == 0 {
                return;
            }
            let known = self.victims.iter().any(|known| (known.pid, known.at) == (one.pid, one.at));
            if one.at >= self.since && !known {
                self.missing -= 1;
                self.victims.push(one);
            }
            if self.victims.len() > KEPT {
                self.victims.remove(0);
            }
        }
    }

    /// The latest of them.
    pub(super) fn victims(&self) -> &[OomVictim] {
        &self.victims
    }
}

/// Printable, and short: these words are a stranger's.
fn parse(told: &wire::control::OomVictim) -> OomVictim {
    let clean = |text: &str| {
        text.chars().take(LONGEST).map(|c| if c.is_control() { '?' } else { c }).collect::<String>()
    };
    OomVictim {
        pid: told.pid,
        name: clean(&told.name),
        user: clean(&told.user),
        at: Timestamp::from_unix_micros(i64::try_from(told.at_micros).unwrap_or(i64::MAX)),
        itself: told.itself,
    }
}

impl Driver {
    /// Asks for names, unless somebody kills the sandbox meanwhile.
    pub(super) async fn ask_for_victims(&mut self, machine: &Arc<dyn Machine>) {
        let guest = Guest::new(machine.dialer());
        let told = tokio::select! {
            biased;
            _ = killed(&self.entry) => return,
            told = guest.oom_victims(ANSWER) => told,
        };
        self.oom.told(&told);
    }

    /// The same at the end, when nothing but a short time stands in the way.
    pub(super) async fn ask_for_victims_within(&mut self, machine: &Arc<dyn Machine>, limit: Duration) {
        let told = Guest::new(machine.dialer()).oom_victims(limit).await;
        self.oom.told(&told);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_micros(seconds * 1_000_000)
    }

    fn told(pid: u32, seconds: u64) -> wire::control::OomVictim {
        let name = "a\u{7}".to_owned() + &"x".repeat(1000);
        wire::control::OomVictim {
            pid,
            name,
            user: "user".to_owned(),
            at_micros: seconds * 1_000_000,
            itself: true,
        }
    }

    fn pids(tally: &OomTally) -> Vec<u32> {
        tally.victims().iter().map(|victim| victim.pid).collect()
    }

    #[test]
    fn names_are_taken_as_far_as_the_count_has_risen() {
        let mut tally = OomTally::new(at(100));
        assert!(!tally.counted(0, at(105)));
        tally.told(&[told(1, 106)]);
        assert!(pids(&tally).is_empty(), "nobody was counted");
        assert!(tally.counted(2, at(110)));
        tally.told(&[told(1, 90), told(2, 107)]);
        assert_eq!(pids(&tally), [2], "what was before the rise is another story");
        assert!(tally.counted(2, at(115)), "one is missing");
        tally.told(&[told(1, 90), told(2, 107), told(3, 108), told(4, 109)]);
        assert_eq!(pids(&tally), [2, 3]);
        assert!(!tally.counted(2, at(120)));
        let name = &tally.victims()[0].name;
        assert!(name.starts_with("a?x") && name.len() == LONGEST, "{name}");
    }

    #[test]
    fn what_is_never_named_is_asked_for_only_for_a_while() {
        let mut tally = OomTally::new(at(0));
        assert!(tally.counted(1, at(5)) && tally.counted(1, at(35)) && !tally.counted(1, at(36)));
        assert!(!tally.counted(0, at(40)), "it woke, and counts anew");
        assert!(tally.counted(1, at(45)));
        tally.told(&[told(9, 44)]);
        assert_eq!(pids(&tally), [9]);
    }

    proptest! {
        /// Whatever the daemon says, whenever: never more names than were counted,
        /// never more than are kept, none twice.
        #[test]
        fn no_more_are_believed_than_counted(
            steps in prop::collection::vec((0_u64..4, prop::collection::vec((0_u32..9, 0_u64..200), 0..6)), 0..40),
        ) {
            let mut tally = OomTally::new(at(0));
            let (mut count, mut accepted, mut now) = (0, 0, 0);
            for (rise, names) in steps {
                now += 5;
                count += rise;
                let before = tally.missing;
                tally.counted(count, at(now));
                let missing = tally.missing;
                prop_assert!(missing <= before + rise);
                let names: Vec<_> = names.into_iter().map(|(pid, seconds)| told(pid, seconds)).collect();
                tally.told(&names);
                accepted += missing - tally.missing;
                prop_assert!(accepted <= count && tally.victims().len() <= KEPT);
                let mut seen: Vec<_> = tally.victims().iter().map(|victim| (victim.pid, victim.at)).collect();
                seen.sort_unstable();
                seen.dedup();
                prop_assert_eq!(seen.len(), tally.victims().len());
            }
        }
    }
}
