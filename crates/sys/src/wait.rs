//! Looking at a child that ended, while its entry in `/proc` is still there.
#![expect(unsafe_code, reason = "the safe waitid() does not tell whom it found")]

use std::{io, mem};

use rustix::process::Pid;

/// A child that ended and was not reaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Its id. It belongs to nobody else until the child is reaped.
    pub pid: Pid,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// Its exit code, if it exited.
    pub code: Option<i32>,
}

/// One of the children that ended, left as it is; `None` when none did. Fails
/// with `ECHILD` when there is no child at all. Never waits.
pub fn peek() -> io::Result<Option<Ended>> {
    let mut info = mem::MaybeUninit::<libc::siginfo_t>::zeroed();
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: `info` is a siginfo_t that the call may write.
    if unsafe { libc::waitid(libc::P_ALL, 0, info.as_mut_ptr(), options) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: all zeros is a valid siginfo_t, and so is what the call wrote.
    let info = unsafe { info.assume_init() };
    // SAFETY: waitid() fills these two fields, or leaves the zeros.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    let exited = info.si_code == libc::CLD_EXITED;
    Ok(Pid::from_raw(pid).map(|pid| Ended {
        pid,
        signal: (!exited).then_some(status),
        code: exited.then_some(status),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ended_is_seen_twice_and_can_still_be_reaped() {
        let mut child = std::process::Command::new("/bin/sh").args(["-c", "kill -9 $$"]).spawn().unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        let seen = loop {
            match peek().unwrap() {
                // Tests beside this one may have children too.
                Some(ended) if ended.pid == pid => break ended,
                _ => std::thread::yield_now(),
            }
        };
        assert_eq!(seen, Ended { pid, signal: Some(9), code: None });
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        assert!(status.starts_with("Name:\tsh\n"), "{status}");
        assert!(!child.wait().unwrap().success());
    }
}
