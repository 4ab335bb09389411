//! Points at which tests let a driver fail or stop dead.
//!
//! A point is passed before each step of a start and of an end, and after each
//! step of a start. A hook that fails stands for a host that failed there; one
//! that never returns, for a server killed there (the test then abandons the
//! handle). In production every point is passed at once.

use std::fmt::Debug;

use runtime::BoxFuture;

/// A place in the life of a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Point {
    /// The record is about to be written.
    BeforeRecord,
    /// The record is there, nothing else.
    BeforeReserve,
    /// Reserved.
    BeforePrepare,
    /// Prepared.
    BeforeBoot,
    /// The first process was started.
    BeforeInit,
    /// The guest answered; the record does not say so yet.
    BeforeReady,
    /// Usable and recorded; nobody was told.
    BeforeReply,
    /// A place for its state is made; it runs.
    BeforeCheckpoint,
    /// Its state is written; it has no manifest and no name.
    BeforePublish,
    /// The generation has its name; nobody was told.
    AfterPublish,
    /// The decision to pause it is recorded; it runs.
    BeforeSleep,
    /// No process is left; its network and slot are still its own.
    BeforePark,
    /// Its files are on disk; its control groups stand.
    BeforeParked,
    /// The decision to wake it is recorded; it holds a slot.
    BeforeWake,
    /// Its control groups stand again.
    BeforeUnpark,
    /// Its guest answered; the record does not say so yet.
    BeforeAwake,
    /// The end is recorded; nothing was undone.
    BeforeKill,
    /// No process is left.
    BeforeUnprepare,
    /// Root and network are gone.
    BeforeUnreserve,
    /// Only files are left.
    BeforeRemember,
    /// The record of the end is written; the sandbox's own is still there.
    BeforeForget,
}

impl Point {
    /// Those of a start, in order.
    pub const START: [Self; 7] = [
        Self::BeforeRecord,
        Self::BeforeReserve,
        Self::BeforePrepare,
        Self::BeforeBoot,
        Self::BeforeInit,
        Self::BeforeReady,
        Self::BeforeReply,
    ];
    /// Those of a pause, in order.
    pub const PAUSE: [Self; 3] = [Self::BeforeSleep, Self::BeforePark, Self::BeforeParked];
    /// Those of a checkpoint, in order.
    pub const CHECKPOINT: [Self; 3] = [Self::BeforeCheckpoint, Self::BeforePublish, Self::AfterPublish];
    /// Those of a resume, in order.
    pub const RESUME: [Self; 5] =
        [Self::BeforeWake, Self::BeforeUnpark, Self::BeforeBoot, Self::BeforeInit, Self::BeforeAwake];
    /// Those of an end, in order.
    pub const END: [Self; 5] = [
        Self::BeforeKill,
        Self::BeforeUnprepare,
        Self::BeforeUnreserve,
        Self::BeforeRemember,
        Self::BeforeForget,
    ];
}

/// The failure that a test asked for.
#[derive(Debug, thiserror::Error)]
#[error("a fault injected at {0:?}")]
pub struct InjectedFault(pub Point);

/// What happens at the points.
pub trait Faults: Send + Sync + Debug {
    /// Called at each point.
    fn at(&self, point: Point) -> BoxFuture<'_, Result<(), InjectedFault>>;
}

/// Nothing ever happens.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoFaults;

impl Faults for NoFaults {
    fn at(&self, _: Point) -> BoxFuture<'_, Result<(), InjectedFault>> {
        Box::pin(std::future::ready(Ok(())))
    }
}
