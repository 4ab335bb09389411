//! What is to go wrong in a node, and where.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use node::{Faults, InjectedFault, Point};
use runtime::BoxFuture;
use tokio::sync::Notify;

/// Fails at some points, and stops dead at one; lets something happen there first.
#[derive(Default)]
pub struct Script {
    fail: Mutex<Vec<Point>>,
    stop: Mutex<Option<Point>>,
    act: Mutex<Option<(Point, Act)>>,
    /// Told each time that a node stopped dead.
    pub stopped: Notify,
}

type Act = Box<dyn FnOnce() + Send>;

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").field("fail", &self.fail).field("stop", &self.stop).finish_non_exhaustive()
    }
}

impl Script {
    /// Fails the next times that a node comes by this point.
    pub fn fail(&self, point: Point, times: usize) {
        let mut fail = self.fail.lock().unwrap_or_else(PoisonError::into_inner);
        fail.extend(std::iter::repeat_n(point, times));
    }

    /// Whether each failure that was asked for has happened.
    pub fn is_spent(&self) -> bool {
        self.fail.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Does this the next time that a node comes by this point, before it fails or stops. On
    /// a thread of its own: the node's others go on meanwhile.
    pub fn act(&self, point: Point, act: impl FnOnce() + Send + 'static) {
        *self.act.lock().unwrap_or_else(PoisonError::into_inner) = Some((point, Box::new(act)));
    }

    fn take_act(&self, point: Point) -> Option<Act> {
        let mut act = self.act.lock().unwrap_or_else(PoisonError::into_inner);
        act.take_if(|(wanted, _)| *wanted == point).map(|(_, act)| act)
    }

    /// Whoever comes by this point stays there for ever; `None`: nobody does.
    pub fn stop(&self, point: Option<Point>) {
        *self.stop.lock().unwrap_or_else(PoisonError::into_inner) = point;
    }
}

impl Faults for Script {
    fn at(&self, point: Point) -> BoxFuture<'_, Result<(), InjectedFault>> {
        Box::pin(async move {
            if let Some(act) = self.take_act(point) {
                // A panic there is a failed test.
                tokio::task::spawn_blocking(act)
                    .await
                    .unwrap_or_else(|end| std::panic::resume_unwind(end.into_panic()));
            }
            if *self.stop.lock().unwrap_or_else(PoisonError::into_inner) == Some(point) {
                self.stopped.notify_one();
                std::future::pending::<()>().await;
            }
            let mut fail = self.fail.lock().unwrap_or_else(PoisonError::into_inner);
            match fail.iter().position(|wanted| *wanted == point) {
                Some(at) => Err(InjectedFault(fail.remove(at))),
                None => Ok(()),
            }
        })
    }
}
