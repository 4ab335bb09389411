//! The guest binary: the daemon, and its exec helper.
//!
//! Without arguments it is the first process of a sandbox. The flags serve tests,
//! development on a host, and the server's trial of checkpoints.

use std::io;
use std::os::fd::AsFd;
use std::process::ExitCode;

use warren_guest::{HELPER_ARG, Options, run, serve_exec_helper};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.first().map(String::as_str) {
        Some(HELPER_ARG) => io::stdin().as_fd().try_clone_to_owned().and_then(serve_exec_helper),
        _ => options(&arguments).map_err(io::Error::other).and_then(run),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The host reads the first process's standard error when a sandbox does not come up.
            #[expect(clippy::print_stderr, reason = "there is nowhere else to say it")]
            {
                eprintln!("warren-guest: {error}");
            }
            ExitCode::FAILURE
        }
    }
}

fn options(arguments: &[String]) -> Result<Options, String> {
    let mut options = Options::default();
    let mut arguments = arguments.iter();
    while let Some(flag) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{flag} needs a value"));
        match flag.as_str() {
            "--envd-addr" => {
                let addresses =
                    value()?.split(',').map(|text| text.parse().map_err(|e| format!("{text}: {e}")));
                options.envd_addresses = addresses.collect::<Result<_, _>>()?;
            }
            "--control-socket" => options.control_socket = Some(value()?.clone()),
            wire::control::TRIAL_ARG => {
                let port = value()?;
                options.trial_port = Some(port.parse().map_err(|e| format!("{port}: {e}"))?);
            }
            "--no-init" => {
                options.owns_root = false;
                options.trust_local_control = true;
            }
            other => return Err(format!("unknown argument {other}")),
        }
    }
    Ok(options)
}
