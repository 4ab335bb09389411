//! What to do after an error: the command that helps.

use sdk::ErrorKind;

/// The next step after an error, where one is known.
pub(crate) fn next_step(error: &anyhow::Error) -> Option<&'static str> {
    let error = error.chain().find_map(|cause| cause.downcast_ref::<sdk::Error>())?;
    match error.kind() {
        ErrorKind::Sandbox
            if error.status() == Some(501) && error.to_string().contains("memory of processes") =>
        {
            Some(
                "with `--files-only` files are kept alone; `warren doctor` on the server's host says what memory needs",
            )
        }
        ErrorKind::GuestUnresponsive => {
            Some("`warren sandbox resume --reboot ID` starts it from its files alone")
        }
        ErrorKind::ServiceBusy => Some("nothing was changed: try again in a moment"),
        ErrorKind::Authentication if error.to_string().contains("admin token") => Some(
            "`--admin-token-file FILE` names it: `admin-token` in the server's state directory, which its user alone reads",
        ),
        ErrorKind::Authentication => {
            Some("`warren auth login` stores a key; `warren auth status` says which one is used")
        }
        ErrorKind::SandboxNotFound | ErrorKind::SandboxNotRunning => {
            Some("`warren sandbox list` shows the sandboxes there are")
        }
        ErrorKind::SandboxUnreachable => {
            Some("`warren up` starts a server here; `warren auth status` says which one is asked")
        }
        ErrorKind::NotFound => Some(
            "`warren template list` shows the templates there are, `warren sandbox snapshot list` the snapshots",
        ),
        ErrorKind::RateLimit => Some("`warren sandbox kill ID` ends a sandbox that is not needed"),
        ErrorKind::FileNotFound => Some("`warren sandbox exec ID -- ls` shows what is there"),
        _ => None,
    }
}
