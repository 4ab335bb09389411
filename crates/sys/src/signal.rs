//! Signal dispositions of a process that will become another program.
#![expect(unsafe_code, reason = "signal() has no safe wrapper")]

/// Lets the kernel reap our children: nobody waits for them.
pub fn ignore_child_exits() {
    // SAFETY: SIG_IGN installs no handler.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
}

/// Ignored signals stay ignored through `exec`, so a program must be given the
/// defaults back before. Signals that cannot be set are passed over.
pub fn reset_all() {
    for signal in 1..=64 {
        // SAFETY: SIG_DFL installs no handler.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}
