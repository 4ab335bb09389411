//! Which processes the kernel ended for want of memory, as far as it can be seen
//! from inside: it tells nobody, but it counts. A process that ends by SIGKILL
//! while the count has risen, and that the daemon did not kill itself, is one; so
//! is, at one remove, a shell that ends with 137, which says so of its child.
//!
//! Where only the host's count can be read, it rises for other sandboxes too. The
//! host knows the sandbox's own count, and believes no more than that.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, Signal};
use sys::wait::Ended;
use wire::control::{LogLevel, OomVictim};

use crate::journal::Journal;
use crate::memory::{self, Kills};
use crate::process::raw;
use crate::user::Names;

/// As many of them are kept; the oldest goes first.
const KEPT: usize = 16;
/// Ids of processes that were killed from here and are still to be reaped.
const SPARED: usize = 4096;
/// What a shell makes of a child's end by SIGKILL.
const CHILD_WAS_KILLED: i32 = 128 + 9;

/// What is known of such ends.
#[derive(Debug)]
pub(crate) struct OomLog {
    journal: Arc<Journal>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// How much of the kernel's count is explained, or older than the daemon.
    explained: Option<u64>,
    spared: HashSet<Pid>,
    victims: VecDeque<OomVictim>,
}

impl OomLog {
    /// Nothing yet; what the kernel did before is not ours.
    pub(crate) fn new(journal: Arc<Journal>) -> Self {
        let explained = memory::kills().map(Kills::number);
        Self { journal, state: Mutex::new(State { explained, ..State::default() }) }
    }

    /// To be called before the daemon itself kills a process.
    pub(crate) fn spare(&self, pid: Pid) {
        let mut state = self.lock();
        // Some were never reaped as ours: forgetting all of them costs a wrong guess.
        if state.spared.len() >= SPARED {
            state.spared.clear();
        }
        state.spared.insert(pid);
    }

    /// To be called with each child that ended, before it is reaped.
    pub(crate) fn look(&self, ended: &Ended) {
        self.look_with(ended, memory::kills);
    }

    fn look_with(&self, ended: &Ended, kills: impl FnOnce() -> Option<Kills>) {
        let mut state = self.lock();
        let spared = !state.spared.is_empty() && state.spared.remove(&ended.pid);
        let itself = ended.signal == Some(Signal::KILL.as_raw());
        if spared || !(itself || ended.code == Some(CHILD_WAS_KILLED)) {
            return;
        }
        let Some(kills) = kills() else { return };
        if state.blames_the_kernel(kills.number()) {
            let victim = victim(ended.pid, itself);
            self.tell(&victim, kills);
            state.victims.push_back(victim);
            if state.victims.len() > KEPT {
                state.victims.pop_front();
            }
        }
    }

    /// The latest of them.
    pub(crate) fn victims(&self) -> Vec<OomVictim> {
        self.lock().victims.iter().cloned().collect()
    }

    fn tell(&self, victim: &OomVictim, kills: Kills) {
        let what = if victim.itself { "A process" } else { "A child of a process" };
        let message = match kills {
            Kills::Here(_) => format!("{what} was killed: the sandbox is out of memory"),
            Kills::OnTheHost(_) => format!("{what} was killed, it seems for want of memory"),
        };
        let facts =
            [("pid", victim.pid.to_string()), ("name", victim.name.clone()), ("user", victim.user.clone())];
        self.journal.note(LogLevel::Warn, "process", &message, &facts);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether the kernel has killed more often than is explained; one more is now.
    fn blames_the_kernel(&mut self, count: u64) -> bool {
        // After a checkpoint it may be another host's, which counts anew.
        let explained = self.explained.filter(|&explained| explained <= count).unwrap_or(count);
        let blames = explained < count;
        self.explained = Some(explained + u64::from(blames));
        blames
    }
}

/// What `/proc` says of a process that ended and is not reaped.
fn victim(pid: Pid, itself: bool) -> OomVictim {
    let status = std::fs::read_to_string(format!("/proc/{}/status", raw(pid))).unwrap_or_default();
    let (name, uid) = facts(&status);
    let user = uid.map_or_else(|| "?".to_owned(), |uid| Names::read().user(uid));
    OomVictim { pid: raw(pid), name: name.to_owned(), user, at_micros: now_micros(), itself }
}

fn facts(status: &str) -> (&str, Option<u32>) {
    let field = |name| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let uid = field("Uid:").and_then(|ids| ids.split_whitespace().next()?.parse().ok());
    (field("Name:").unwrap_or("?"), uid)
}

fn now_micros() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_process_is_known_by_its_status() {
        let status = "Name:\tpython3\nState:\tZ (zombie)\nUid:\t1000\t1000\t1000\t1000\n";
        assert_eq!(facts(status), ("python3", Some(1000)));
        assert_eq!(facts(""), ("?", None));
    }

    fn end(pid: i32, signal: Option<i32>, code: Option<i32>) -> Ended {
        Ended { pid: Pid::from_raw(pid).unwrap(), signal, code }
    }

    /// Ids that no process here has.
    const NOBODY: i32 = 1 << 28;

    #[test]
    fn only_kills_that_the_count_explains_are_blamed_on_the_kernel() {
        let log = OomLog::new(Arc::default());
        log.lock().explained = Some(7);
        let at = |count| move || Some(Kills::Here(count));
        log.look_with(&end(NOBODY, Some(9), None), at(7));
        log.look_with(&end(NOBODY, Some(9), None), || None);
        log.spare(Pid::from_raw(NOBODY).unwrap());
        for other in
            [(NOBODY, Some(9), None), (NOBODY + 1, Some(15), None), (2, None, Some(0)), (3, None, Some(1))]
        {
            log.look_with(&end(other.0, other.1, other.2), at(8));
        }
        assert_eq!(log.victims(), []);
        log.look_with(&end(NOBODY, None, Some(137)), at(8));
        log.look_with(&end(NOBODY, Some(9), None), at(8));
        assert!(
            matches!(&log.victims()[..], [OomVictim { itself: false, .. }]),
            "the count has risen by one"
        );
    }

    #[test]
    fn few_are_kept() {
        let log = OomLog::new(Arc::default());
        log.lock().explained = Some(0);
        for n in 0..100 {
            log.look_with(&end(NOBODY + n, Some(9), None), || Some(Kills::OnTheHost(100)));
        }
        let victims = log.victims();
        let last = u32::try_from(NOBODY).unwrap() + 99;
        assert_eq!((victims.len(), victims[KEPT - 1].pid, victims[0].itself), (KEPT, last, true));
    }

    proptest! {
        /// However the count moves: between two looks at it that show a rise by
        /// N, no more than N ends are blamed on the kernel.
        #[test]
        fn no_more_are_blamed_than_the_count_says(start in 0_u64..5, rises in prop::collection::vec(0_u64..3, 0..40)) {
            let mut state = State { explained: Some(start), ..State::default() };
            let (mut count, mut blamed) = (start, 0);
            for rise in rises {
                count += rise;
                blamed += u64::from(state.blames_the_kernel(count));
                prop_assert!(blamed <= count - start);
            }
        }
    }
}
