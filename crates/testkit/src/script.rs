//! What is to go wrong in a node, and where.

use std::sync::{Mutex, PoisonError};

use node::{Faults, InjectedFault, Point};
use runtime::BoxFuture;
use tokio::sync::Notify;

/// Fails at some points, and stops dead at one.
#[derive(Debug, Default)]
pub struct Script {
    fail: Mutex<Vec<Point>>,
    stop: Mutex<Option<Point>>,
    /// Told each time that a node stopped dead.
    pub stopped: Notify,
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

    /// Whoever comes by this point stays there for ever; `None`: nobody does.
    pub fn stop(&self, point: Option<Point>) {
        *self.stop.lock().unwrap_or_else(PoisonError::into_inner) = point;
    }
}

impl Faults for Script {
    fn at(&self, point: Point) -> BoxFuture<'_, Result<(), InjectedFault>> {
        Box::pin(async move {
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
