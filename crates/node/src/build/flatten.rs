//! Stacks of any height: runs of small layers become one layer each, so that a
//! sandbox mounts a few, however many steps led to its template.
//!
//! A merged layer is named by the layers it stands for, which stay for later
//! builds. Which runs are merged follows from the stack alone: the same steps lead
//! to the same layers again.

use std::ops::Range;
use std::sync::Arc;

use super::cache::Pins;
use super::key::Key;
use super::log::LogLevel;
use super::outline::{Look, Outline};
use super::perform::{Growing, Performance};
use crate::disk;

/// A root's layers travel to its first process as descriptors of one message, of
/// which the kernel takes 253.
pub(super) const MOST_LAYERS: usize = 240;
/// A build's sandboxes mount at most so many.
const MANY: usize = 48;
/// A stack of so many is left as it is.
const FEW: usize = 10;

/// A layer is small up to so many entries and bytes.
const SMALL: Weight = Weight { entries: 4_096, bytes: 64 << 20 };
/// A merged one is not made larger than this, as long as that is enough.
const FULL: Weight = Weight { entries: 32_768, bytes: 512 << 20 };

/// What merging a layer costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Weight {
    entries: u64,
    bytes: u64,
}

impl Weight {
    fn fits(self, limit: Self) -> bool {
        self.entries <= limit.entries && self.bytes <= limit.bytes
    }

    fn and(self, other: Self) -> Self {
        Self {
            entries: self.entries.saturating_add(other.entries),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }
}

/// The runs of a stack, topmost first, that become one layer each: small ones, if
/// the stack is not low; of a stack that could not be mounted then, all in pairs
/// and more.
fn plan(stack: &[Weight]) -> Vec<Range<usize>> {
    if stack.len() <= FEW {
        return Vec::new();
    }
    let small = runs_of_small(stack);
    let merged: usize = small.iter().map(|run| run.len() - 1).sum();
    if stack.len() - merged < MOST_LAYERS - MANY {
        return small;
    }
    let each = stack.len().div_ceil(MOST_LAYERS / 4).max(2);
    let starts = (0..stack.len()).step_by(each);
    starts.map(|start| start..(start + each).min(stack.len())).filter(|run| run.len() > 1).collect()
}

fn runs_of_small(stack: &[Weight]) -> Vec<Range<usize>> {
    let mut runs = Vec::new();
    // From the bottom, which stays the same when steps are added.
    let (mut end, mut sum) = (stack.len(), Weight::default());
    let mut close = |start: usize, end: usize| {
        if end > start + 1 {
            runs.insert(0, start..end);
        }
    };
    for at in (0..stack.len()).rev() {
        let with = sum.and(stack[at]);
        if !stack[at].fits(SMALL) {
            close(at + 1, end);
            (end, sum) = (at, Weight::default());
        } else if with.fits(FULL) {
            sum = with;
        } else {
            close(at + 1, end);
            (end, sum) = (at + 1, stack[at]);
        }
    }
    close(0, end);
    runs
}

/// A stack with some of its runs replaced.
fn replaced(stack: &[String], runs: &[(Range<usize>, String)]) -> Vec<String> {
    let mut layers = Vec::new();
    let mut at = 0;
    for (run, merged) in runs {
        layers.extend_from_slice(&stack[at..run.start]);
        layers.push(merged.clone());
        at = run.end;
    }
    layers.extend_from_slice(&stack[at..]);
    layers
}

fn weight(outline: Option<Outline>) -> Weight {
    // What has no outline is too large for one.
    outline.map_or(Weight { entries: u64::MAX, bytes: u64::MAX }, |outline| Weight {
        entries: outline.entries,
        bytes: outline.bytes,
    })
}

impl Performance<'_> {
    /// What the sandbox of a step mounts: the layers so far, or fewer that show the same.
    pub(super) async fn mounted(&self, number: &str, growing: &mut Growing) -> Result<Vec<String>, String> {
        let (below, merged) = &growing.merged;
        let above = growing.layers.len() - below;
        let mut stack = growing.layers[..above].to_vec();
        stack.extend_from_slice(merged);
        if stack.len() > MANY {
            stack = self.flatten(number, &stack, &mut growing.pins).await;
            growing.merged = (growing.layers.len(), stack.clone());
        }
        mountable(stack)
    }

    /// What the template's sandboxes mount.
    pub(super) async fn flattened(&self, growing: &mut Growing) -> Result<Vec<String>, String> {
        mountable(self.flatten("finalize", &growing.layers, &mut growing.pins).await)
    }

    /// A stack that shows the same; the one it was if its layers cannot be merged.
    async fn flatten(&self, step: &str, stack: &[String], pins: &mut Pins) -> Vec<String> {
        let (shared, names) = (Arc::clone(&self.handle.shared), stack.to_vec());
        let weights =
            move || names.iter().map(|name| weight(shared.cache.sums.weigh(name))).collect::<Vec<_>>();
        let mut runs = Vec::new();
        for run in plan(&disk::blocking(weights).await) {
            match self.merge(&stack[run.clone()], &stack[run.end..], pins).await {
                Ok(merged) => runs.push((run, merged)),
                Err(why) => {
                    let text = format!("layers were not merged: {why}");
                    self.log.add(LogLevel::Warn, Some(step), &text);
                }
            }
        }
        replaced(stack, &runs)
    }

    /// The layer that shows what these do on top of those below, made unless it is there.
    async fn merge(&self, layers: &[String], below: &[String], pins: &mut Pins) -> Result<String, String> {
        let shared = &self.handle.shared;
        let key = Key::of_merged(layers, below);
        let name = key.name();
        let making = shared.cache.making(key);
        let _made_once = making.lock().await;
        pins.hold(&name);
        let there = {
            let (shared, name) = (Arc::clone(shared), name.clone());
            disk::blocking(move || shared.cache.sums.is_sound(&name)).await
        };
        if !there {
            let dir = shared.options.layers_dir();
            let paths = |names: &[String]| names.iter().map(|name| dir.join(name)).collect::<Vec<_>>();
            let made = shared.options.backend.merge(&paths(layers), &paths(below), &dir.join(&name)).await;
            made.map_err(|e| crate::error::chain(&e))?;
            let (shared, name) = (Arc::clone(shared), name.clone());
            disk::blocking(move || shared.cache.sums.keep(&name, Look::Contents))
                .await
                .map_err(|e| crate::error::chain(&e))?;
        }
        Ok(name)
    }
}

fn mountable(stack: Vec<String>) -> Result<Vec<String>, String> {
    if stack.len() > MOST_LAYERS {
        return Err(format!("there are {} layers, {MOST_LAYERS} can be mounted", stack.len()));
    }
    Ok(stack)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TINY: Weight = Weight { entries: 3, bytes: 10 };
    const BIG: Weight = Weight { entries: 30_000, bytes: 1 << 30 };

    #[test]
    fn low_stacks_and_large_layers_stay() {
        assert_eq!(plan(&[TINY; FEW]), []);
        assert_eq!(plan(&[BIG; FEW + 1]), []);
        let mut stack = [TINY; 60];
        stack[50] = BIG;
        assert_eq!(plan(&stack), [0..50, 51..60]);
    }

    proptest! {
        #[test]
        fn every_stack_becomes_one_that_can_be_mounted(
            sizes in prop::collection::vec((0_u64..9_000, 0_u64..(100 << 20)), 0..900),
        ) {
            let stack: Vec<Weight> = sizes.iter().map(|&(entries, bytes)| Weight { entries, bytes }).collect();
            let runs = plan(&stack);
            let names: Vec<String> = (0..stack.len()).map(|n| n.to_string()).collect();
            let named: Vec<_> = runs.iter().map(|run| (run.clone(), names[run.clone()].join(" "))).collect();
            let after = replaced(&names, &named);
            prop_assert!(after.len() < MOST_LAYERS);
            prop_assert_eq!(after.join(" "), names.join(" "), "nothing is lost, and the order stays");
            prop_assert!(runs.iter().all(|run| run.len() > 1));
        }
    }
}
