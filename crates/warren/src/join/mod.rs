//! The joints between the parts: what one part asks of the rest of the system,
//! answered by another that does not know it.

mod debug;
mod gauges;
mod node_port;
mod routes;

pub(crate) use debug::{DEBUG_ID, DebugSandbox};
pub(crate) use gauges::Parts;
pub(crate) use node_port::LocalNode;
pub(crate) use routes::Routes;
