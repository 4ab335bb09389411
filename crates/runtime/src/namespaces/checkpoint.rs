//! Checkpoints of machines of namespaces.

use std::time::Instant;

use super::{Host, StepError, boot, kill};
use crate::checkpoint::Target;
use crate::{Checkpointed, ErrorKind, MachineSpec, Then};

/// Writes down what a machine is. After [`Then::Stop`] it has been told to end,
/// and was never let go in between.
pub(super) fn write(
    host: &Host,
    spec: &MachineSpec,
    to: &Target,
    then: Then,
) -> Result<Checkpointed, StepError> {
    if to.memory.is_some() {
        return Err(no_memory());
    }
    // What is written back now need not be while the machine stands still.
    host.storage.store(&spec.dir)?;
    let began = Instant::now();
    host.cgroups.freeze(&spec.sandbox_id)?;
    let made = host.storage.snapshot(&spec.dir, &to.layer).map_err(StepError::from);
    let made = made.and_then(|()| if then == Then::Stop { end(host, spec) } else { Ok(()) });
    host.cgroups.thaw(&spec.sandbox_id)?;
    if let Err(e) = made {
        host.storage.remove_layer(&to.layer)?;
        return Err(e);
    }
    Ok(Checkpointed { frozen: began.elapsed(), ..Checkpointed::default() })
}

/// Signals the end to a machine that stands still.
fn end(host: &Host, spec: &MachineSpec) -> Result<(), StepError> {
    match boot::find(host, spec)? {
        Some((process, _)) => Ok(kill(&process.pidfd)?),
        None => Ok(()),
    }
}

/// Why no memory can be written down.
pub(super) fn no_memory() -> StepError {
    StepError::new(ErrorKind::Unsupported, NoMemory)
}

#[derive(Debug, thiserror::Error)]
#[error("checkpoints with memory are not available on this host")]
struct NoMemory;
