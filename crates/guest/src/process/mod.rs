//! Users' processes: started through the exec helper, read by a pump each,
//! watched by any number of subscribers, reaped centrally.
//!
//! ```text
//! launch ──▶ running ──(exit status)──▶ draining ──(both outputs at their end)──▶ ended
//!               │                          │                                      ▲
//!               └── killed by a request or by its deadline: no waiting for the ────┘
//!                   end of outputs that its children may hold open
//! ```
//!
//! An ended process is gone from the list before its end is told; the end is
//! kept for 30 s for those who ask late.

mod endpoint;
mod input;
mod pump;
mod reaper;
mod running;
mod start;
mod status;
mod subscriber;
mod table;

pub(crate) use endpoint::Endpoint;
pub(crate) use input::InputError;
pub(crate) use reaper::{Exit, Reaper};
pub(crate) use running::{Event, Process, raw};
pub(crate) use start::{Spec, StartError, environment};
pub(crate) use status::end_event;
pub(crate) use table::{Found, Processes};
