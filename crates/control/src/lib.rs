//! Decides what should exist and answers REST.
//!
//! Two layers: `api` authenticates, parses and answers; `app` holds the rules
//! and knows no HTTP. Below them are the store (what should exist) and the node
//! behind [`NodePort`] (what does). Traffic of sandboxes never comes here.

mod api;
mod app;
mod clock;
mod inside;
mod node_handle;
mod options;
mod port;
mod trace;

pub use api::{document, metrics_router, router, session_router};
pub use app::{App, BootstrapKey, Demand, Error, ErrorKind, Knock, RateLimit, Woken};
pub use clock::Clock;
pub use options::{AppOptions, FullPause, Seed, SessionOptions};
pub use port::{BoxFuture, BuildPort, Gauges, NodePort, Upload, Usage};
