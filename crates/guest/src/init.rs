//! What an `/init` changes outside of the daemon's memory: the files under
//! `/run/e2b` and the certificate bundle. Safe to repeat.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::rc::Rc;

use wire::control::{Init, LogLevel, Woken};

use crate::ca;
use crate::daemon::Daemon;
use crate::interpret::Interpreter;

/// Where users look whether they are in a sandbox, and in which.
const DIR: &str = "/run/e2b";

/// Shown as `/proc/sys/kernel/random/boot_id`.
const BOOT_ID: &str = "/run/warren/proc/boot_id";
/// Names a system to its services; empty in templates.
const MACHINE_ID: &str = "/etc/machine-id";

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
    if let Some(woken) = &init.woken {
        wake(woken)?;
    }
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

/// What a sandbox that woke from a checkpoint must not share with others.
fn wake(woken: &Woken) -> io::Result<()> {
    if is_hex(&woken.boot_id.replace('-', "")) {
        // In place: it is mounted by its inode. Where it is not shown it is not there.
        match fs::OpenOptions::new().write(true).open(BOOT_ID) {
            Ok(mut file) => io::Write::write_all(&mut file, format!("{}\n", woken.boot_id).as_bytes())?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    match woken.machine_id.as_deref().filter(|id| is_hex(id)) {
        Some(id) => replace(Path::new(MACHINE_ID), &format!("{id}\n")),
        None => Ok(()),
    }
}

fn is_hex(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A new file each time: what stands there may be a link of a user's.
fn write(name: &str, value: &str) -> io::Result<()> {
    replace(&Path::new(DIR).join(name), value)
}

fn replace(path: &Path, value: &str) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::write(path, value)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o444))
}
