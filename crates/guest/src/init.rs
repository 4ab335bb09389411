//! What an `/init` changes outside of the daemon's memory: the files under
//! `/run/e2b` and the certificate bundle. Safe to repeat.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::rc::Rc;

use wire::control::{Init, LogLevel};

use crate::ca;
use crate::daemon::Daemon;
use crate::interpret::Interpreter;

/// Where users look whether they are in a sandbox, and in which.
const DIR: &str = "/run/e2b";

/// Takes over `init`.
pub(crate) fn apply(daemon: &Rc<Daemon>, init: &Init) -> io::Result<()> {
    daemon.settings.apply(init);
    prepare_root(daemon, init)?;
    let version = [("version", wire::control::ENVD_VERSION.to_owned())];
    daemon.journal.note(LogLevel::Info, "envd", "The daemon is ready", &version);
    // Last: a kernel reads its environment and the certificates when it starts.
    if init.interpreter == Some(true) {
        daemon.interpreter.get_or_init(|| Interpreter::start(daemon));
    }
    Ok(())
}

fn prepare_root(daemon: &Daemon, init: &Init) -> io::Result<()> {
    if !daemon.options.owns_root {
        return Ok(());
    }
    write_ids(init)?;
    if let Some(bundle) = &init.ca_bundle {
        ca::install(bundle)?;
    }
    Ok(())
}

fn write_ids(init: &Init) -> io::Result<()> {
    fs::create_dir_all(DIR)?;
    write(".E2B_SANDBOX", "true")?;
    for (name, value) in [(".E2B_SANDBOX_ID", &init.sandbox_id), (".E2B_TEMPLATE_ID", &init.template_id)] {
        if let Some(value) = value {
            write(name, value)?;
        }
    }
    Ok(())
}

/// A new file each time: what stands there may be a link of a user's.
fn write(name: &str, value: &str) -> io::Result<()> {
    let path = Path::new(DIR).join(name);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::write(&path, value)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o444))
}
