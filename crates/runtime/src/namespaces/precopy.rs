//! Rounds before a checkpoint: a large memory is written while its machine goes on,
//! and again what changed meanwhile, so that the machine stands still only for the rest.
//!
//! ```text
//! a round: every page ── perhaps another: those written since ── the dump: those written since, and all else
//! ```
//!
//! Only where the kernel tells which pages were written. A round that fails makes all of
//! them worthless, as it may have told the kernel already to begin anew: the dump
//! writes every page then, as it does elsewhere. What a machine was told to track
//! stays so, and disturbs nothing.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::checkpoint::{WorkDir, dump_room};
use super::criu::{self, Dump, PreDump, Taking};
use super::{Host, StepError, proc_dir, unwritten, workshop};
use crate::MachineSpec;
use crate::backend::chain;

/// A smaller memory is written while everything stands still: a round has costs of its
/// own, which are those of standing still for a few MiB more.
const LARGE: u64 = 64 << 20;
/// Less than this is not worth another round.
const SMALL_REST: u64 = 16 << 20;
const MOST_ROUNDS: usize = 3;
/// No other round begins after this: who waits for the checkpoint waits for so long only.
const LONGEST: Duration = Duration::from_secs(20);

/// As much is held in pipes at most: each takes a MiB and two of the tool's descriptors.
const MOST_IN_PIPES: u64 = 256 << 20;

/// How a round takes so many bytes. Pipes are quicker, so that less changes meanwhile.
fn taking(rest: u64) -> Taking {
    if rest <= MOST_IN_PIPES { Taking::InPipes } else { Taking::ByReading }
}

/// Whether another round pays. `rests` are what had to be written before the first
/// round, and after each; they took `spent`. A machine that writes as fast as we do
/// would keep us at it for ever: what is left has to have halved.
fn pays(rests: &[u64], spent: Duration) -> bool {
    match rests {
        [] => false,
        [all] => *all >= LARGE,
        [..] if rests.len() > MOST_ROUNDS || spent > LONGEST => false,
        [.., before, last] => *last > SMALL_REST && *last <= before / 2,
    }
}

/// What was written before the dump.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    /// Their directories among the images, oldest first.
    names: Vec<String>,
    /// How long the machine stood still for them.
    pub(super) frozen: Duration,
}

impl Rounds {
    pub(super) fn last(&self) -> Option<&str> {
        self.names.last().map(String::as_str)
    }

    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.names.len()).unwrap_or(u32::MAX)
    }

    /// Makes one memory of the dump in `images` and what was written before it.
    pub(super) fn gather(&self, images: &Path) -> io::Result<()> {
        if self.names.is_empty() {
            return Ok(());
        }
        let newest_first: Vec<_> = self.names.iter().rev().cloned().collect();
        criu::gather(images, &newest_first)
    }
}

/// Writes rounds of the tree of `call` into `images`, as long as they pay.
pub(super) fn write(host: &Host, spec: &MachineSpec, images: &Path, call: &Dump) -> Rounds {
    let mut rounds = Rounds::default();
    match write_all(host, spec, images, call, &mut rounds) {
        Ok(()) => rounds,
        Err(error) => {
            say_it_goes_without(call, &error);
            if let Err(error) = criu::forget(images, &rounds.names) {
                // The tool looks at no round that it is not told of; the place is removed later.
                tracing::debug!(%error, "rounds of a checkpoint are left");
            }
            Rounds::default()
        }
    }
}

fn write_all(
    host: &Host,
    spec: &MachineSpec,
    images: &Path,
    call: &Dump,
    rounds: &mut Rounds,
) -> Result<(), StepError> {
    if !host.tracks_pages {
        return Ok(());
    }
    let usage = host.cgroups.usage(&spec.sandbox_id)?;
    let resident = usage.memory.as_u64().saturating_sub(usage.memory_cache.as_u64());
    let (mut rests, began) = (vec![resident], Instant::now());
    while pays(&rests, began.elapsed()) {
        let name = format!("round-{}", rests.len());
        let since = rounds.last().map(|before| format!("../{before}"));
        fs::create_dir(images.join(&name))?;
        rounds.names.push(name.clone());
        let work = WorkDir::new(host, spec, "round")?;
        let room = dump_room(host, call, images)?;
        let taking = taking(rests.last().copied().unwrap_or(u64::MAX));
        let round = PreDump { tree: call, to: name, since, taking };
        let done = criu::run(&room, &round, &work.path, |_| Ok(()));
        workshop::wait_for_end(&room);
        if let Err(error) = done {
            return Err(work.keep(error));
        }
        rounds.frozen += criu::stood_still(&work.path).unwrap_or_default();
        let enough = rests.last().map_or(0, |before| before / 2);
        rests.push(unwritten::rest(&host.cgroups.processes(&spec.sandbox_id)?, enough)?);
    }
    if rounds.count() > 0 {
        tracing::debug!(?rests, frozen = ?rounds.frozen, "a memory was written in rounds");
    }
    Ok(())
}

/// One line for each checkpoint that goes on without its rounds; nobody goes on who was ended.
pub(super) fn say_it_goes_without(call: &Dump, error: &StepError) {
    if !proc_dir(call.pid).exists() {
        return;
    }
    let reason = chain(&*error.source);
    tracing::warn!(%reason, "a memory is written without rounds before, and its sandbox stands still for longer");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is left after each round of a machine that writes `dirty` bytes meanwhile.
    fn rests(resident: u64, mut dirty: impl FnMut(usize) -> u64) -> Vec<u64> {
        let mut rests = vec![resident];
        while pays(&rests, Duration::ZERO) {
            rests.push(dirty(rests.len()));
        }
        rests
    }

    #[test]
    fn a_small_memory_has_no_round_and_a_quiet_large_one_has_one() {
        assert_eq!(rests(LARGE - 1, |_| 0), [LARGE - 1]);
        assert_eq!(rests(LARGE, |_| 4096), [LARGE, 4096]);
        assert!(!pays(&[], Duration::ZERO));
    }

    #[test]
    fn pipes_hold_what_is_not_too_much() {
        assert_eq!(taking(LARGE), Taking::InPipes);
        assert_eq!(taking(8 << 30), Taking::ByReading);
    }

    #[test]
    fn what_falls_is_followed_and_what_does_not_fall_is_not() {
        let gib = 1 << 30;
        assert_eq!(rests(gib, |n| gib >> (2 * n)).len(), 1 + 3);
        assert_eq!(rests(gib, |_| gib).len(), 1 + 1, "it writes as fast as we do");
        assert!(pays(&[gib, gib / 2], LONGEST) && !pays(&[gib, gib / 2], LONGEST * 2), "it takes too long");
    }

    proptest! {
        #[test]
        fn rounds_end_whatever_a_machine_writes(
            resident: u64,
            dirty in proptest::collection::vec(any::<u64>(), MOST_ROUNDS),
        ) {
            let rests = rests(resident, |n| dirty[n - 1]);
            prop_assert!(rests.len() <= 1 + MOST_ROUNDS);
            prop_assert_eq!(rests.len() == 1, resident < LARGE);
            // Each that was followed by another round was worth it, and had halved.
            for two in rests.windows(2).take(rests.len().saturating_sub(2)) {
                prop_assert!(two[1] > SMALL_REST && two[1] <= two[0] / 2);
            }
        }
    }
}
