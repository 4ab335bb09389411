//! The REST API as clients see it: every endpoint and every kind of refusal,
//! against a fake node.

#![expect(clippy::unwrap_used, reason = "the lint does not see that helpers of tests are tests")]

mod accounts;
mod builds;
mod create;
mod errors;
mod events;
mod fake;
mod lifecycle;
mod lists;
mod logs;
mod metrics;
mod openapi;
mod operator;
mod pause;
mod reconcile;
mod routes;
mod session;
mod snapshots;
mod templates;
mod world;
