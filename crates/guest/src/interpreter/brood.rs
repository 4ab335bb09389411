//! Who gets which forked kernel: those who wait in the order of asking, then a spare.
//!
//! ```text
//! take ─┬─ the spare, if there is one
//!       └─ else a place in the queue ◀── born ── begin (as many as wanted, few at a time)
//! ```
//!
//! Nothing is forked or awaited here.

use std::collections::VecDeque;

use tokio::sync::oneshot;

/// Forks under way at once: more of them would only delay each other.
const AT_ONCE: usize = 4;

/// Kernels that are there, wanted and under way.
#[derive(Debug)]
pub(super) struct Brood<K> {
    spare: Option<K>,
    waiting: VecDeque<oneshot::Sender<K>>,
    under_way: usize,
}

impl<K> Default for Brood<K> {
    fn default() -> Self {
        Self { spare: None, waiting: VecDeque::new(), under_way: 0 }
    }
}

/// What who asks for a kernel gets.
#[derive(Debug)]
pub(super) enum Taken<K> {
    /// A kernel.
    Now(K),
    /// The next; an error if there will be none. Whoever drops it leaves it to others.
    Soon(oneshot::Receiver<K>),
}

impl<K> Brood<K> {
    /// The spare, or the next to be forked.
    pub(super) fn take(&mut self) -> Taken<K> {
        if let Some(spare) = self.spare.take() {
            return Taken::Now(spare);
        }
        let (sender, receiver) = oneshot::channel();
        self.waiting.push_back(sender);
        Taken::Soon(receiver)
    }

    /// The spare alone.
    pub(super) fn take_spare(&mut self) -> Option<K> {
        self.spare.take()
    }

    /// Whether forks are under way or wanted by somebody.
    pub(super) fn is_busy(&self) -> bool {
        self.under_way > 0 || !self.waiting.is_empty()
    }

    /// Throws a spare away that is of no use.
    pub(super) fn drop_spare_if(&mut self, useless: impl FnOnce(&K) -> bool) {
        self.spare.take_if(|spare| useless(spare));
    }

    /// How many forks are to begin now, for those who wait and, if one is to be kept,
    /// for a spare; they count as under way until each was `born` or `failed`.
    #[must_use]
    pub(super) fn begin(&mut self, keeps_spare: bool) -> usize {
        self.waiting.retain(|waiting| !waiting.is_closed());
        let wanted = self.waiting.len() + usize::from(keeps_spare && self.spare.is_none());
        let count = wanted.min(AT_ONCE).saturating_sub(self.under_way);
        self.under_way += count;
        count
    }

    /// A fork answers: the first who still waits gets it.
    pub(super) fn born(&mut self, mut kernel: K) {
        self.under_way = self.under_way.saturating_sub(1);
        while let Some(waiting) = self.waiting.pop_front() {
            match waiting.send(kernel) {
                Ok(()) => return,
                Err(back) => kernel = back,
            }
        }
        self.spare.get_or_insert(kernel);
    }

    /// A fork came to nothing, and so will the next: nobody waits for them.
    pub(super) fn failed(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
        self.waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Take,
        Leave(usize),
        Born,
        Failed,
        KeepSpare(bool),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => Just(Step::Take),
            1 => (0_usize..8).prop_map(Step::Leave),
            4 => Just(Step::Born),
            1 => Just(Step::Failed),
            1 => any::<bool>().prop_map(Step::KeepSpare),
        ]
    }

    proptest! {
        /// No kernel is given twice or lost beside a spare, whoever stays gets one in
        /// turn once enough are born, and few are under way at a time.
        #[test]
        fn each_kernel_has_one_owner(steps in prop::collection::vec(step(), 0..60)) {
            let mut brood = Brood::default();
            let (mut next, mut under_way) = (0_u32, brood.begin(true));
            let mut keeps_spare = true;
            let mut given = Vec::new();
            let mut waiting = Vec::new();
            let hear = |waiting: &mut Vec<oneshot::Receiver<u32>>, given: &mut Vec<u32>| {
                waiting.retain_mut(|one| match one.try_recv() {
                    Ok(kernel) => { given.push(kernel); false }
                    Err(oneshot::error::TryRecvError::Empty) => true,
                    Err(oneshot::error::TryRecvError::Closed) => false,
                });
            };
            for step in steps {
                match step {
                    Step::Take => match brood.take() {
                        Taken::Now(kernel) => given.push(kernel),
                        Taken::Soon(one) => waiting.push(one),
                    },
                    Step::Leave(at) if at < waiting.len() => drop(waiting.remove(at)),
                    Step::Born if under_way > 0 => {
                        under_way -= 1;
                        brood.born(next);
                        next += 1;
                    }
                    Step::Failed if under_way > 0 => {
                        under_way -= 1;
                        brood.failed();
                    }
                    Step::KeepSpare(keeps) => keeps_spare = keeps,
                    Step::Leave(_) | Step::Born | Step::Failed => {}
                }
                let begun = brood.begin(keeps_spare);
                prop_assert!(keeps_spare || begun <= waiting.len());
                under_way += begun;
                hear(&mut waiting, &mut given);
                prop_assert!(under_way <= AT_ONCE);
                prop_assert!(waiting.is_empty() || under_way > 0);
            }
            while under_way > 0 {
                under_way -= 1;
                brood.born(next);
                next += 1;
                under_way += brood.begin(keeps_spare);
                hear(&mut waiting, &mut given);
            }
            prop_assert!(waiting.is_empty());
            given.extend(brood.take_spare());
            prop_assert!(given.is_sorted_by(|one, other| one < other));
        }
    }
}
