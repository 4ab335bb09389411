//! What to do after an error: the command that helps.

use sdk::ErrorKind;

/// The next step after an error, where one is known.
pub(crate) fn next_step(error: &anyhow::Error) -> Option<&'static str> {
    let kind = error.chain().find_map(|cause| cause.downcast_ref::<sdk::Error>())?.kind();
    match kind {
        ErrorKind::Authentication => {
            Some("`warren auth login` stores a key; `warren auth status` says which one is used")
        }
        ErrorKind::SandboxNotFound | ErrorKind::SandboxNotRunning => {
            Some("`warren sandbox list` shows the sandboxes there are")
        }
        ErrorKind::SandboxUnreachable => {
            Some("`warren up` starts a server here; `warren auth status` says which one is asked")
        }
        ErrorKind::NotFound => Some("`warren template list` shows the templates there are"),
        ErrorKind::RateLimit => Some("`warren sandbox kill ID` ends a sandbox that is not needed"),
        ErrorKind::FileNotFound => Some("`warren sandbox exec ID -- ls` shows what is there"),
        _ => None,
    }
}
