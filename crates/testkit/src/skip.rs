//! A test that cannot run on this machine says so, to whoever looks and to `cargo xtask
//! test`, which counts it. A file that needs nothing: crates whose tests do without the
//! rest of the kit take it by its path.

use std::fs::File;
use std::io::Write as _;
use std::panic::Location;

/// Says why the test that calls this does not run, and adds `program test: reason` to the
/// file that `WARREN_SKIPS` names. The test is to return then.
///
/// # Panics
///
/// If that file cannot be written: the test would be counted as passed.
#[track_caller]
pub fn skip(reason: &str) {
    let thread = std::thread::current();
    // A thread that a test made has its name only where the test saw to it.
    let test = match thread.name() {
        Some(name) if name != "main" => name.to_owned(),
        _ => Location::caller().to_string(),
    };
    let line = format!("{} {test}: {}\n", program(), reason.replace('\n', " "));
    // Past the capture of a test that passes: it would show nothing.
    let _ = std::io::stdout().write_all(format!("skipped: {line}").as_bytes());
    if let Some(path) = std::env::var_os("WARREN_SKIPS") {
        // Many processes write here: each line at once, and at the end.
        let file = File::options().create(true).append(true).open(path);
        file.and_then(|mut file| file.write_all(line.as_bytes())).expect("the file of skips can be written");
    }
}

/// The name of the test program, without the number that cargo gives it.
fn program() -> String {
    let path = std::env::current_exe().unwrap_or_default();
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    name.rsplit_once('-').map_or(&*name, |(name, _)| name).to_owned()
}
