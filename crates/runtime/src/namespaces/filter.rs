//! Which system calls a sandbox cannot make, and what they answer instead.
//!
//! Most need a capability that no sandbox has; they are refused here as well, so
//! that their code in the kernel is out of reach. Calls that a program probes and
//! can do without (`clone3`, `io_uring`, `io_setup`) look missing; the others say no.

use libc::{EAFNOSUPPORT, ENOSYS, EPERM};
use sys::seccomp::{Filter, Rule};

/// `futex_requeue` (Linux 6.7): the newest call that was looked at.
const NEWEST: u32 = 456;

/// Every flag of `clone` and `unshare` that makes a namespace. `CLONE_NEWTIME`
/// is only for `unshare`: in `clone` its bit is part of the exit signal.
const NEW_NAMESPACE: u32 = 0x7e02_0000;
const NEW_TIME: u32 = 0x80;

/// `AF_UNIX`, `AF_INET`, `AF_INET6`, `AF_NETLINK`.
const SOCKET_FAMILIES: &[u32] = &[1, 2, 10, 16];

const REFUSED: [i64; 48] = [
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_setns,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    SYS_CREATE_MODULE,
    SYS_QUERY_MODULE,
    SYS_GET_KERNEL_SYMS,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_acct,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_syslog,
    libc::SYS_fanotify_init,
    libc::SYS_lookup_dcookie,
    libc::SYS_nfsservctl,
    libc::SYS__sysctl,
    libc::SYS_uselib,
    libc::SYS_sysfs,
    libc::SYS_vhangup,
    libc::SYS_move_pages,
    libc::SYS_migrate_pages,
    libc::SYS_kcmp,
];

// Calls of kernels long gone; the C library has no names for their numbers.
const SYS_CREATE_MODULE: i64 = 174;
const SYS_GET_KERNEL_SYMS: i64 = 177;
const SYS_QUERY_MODULE: i64 = 178;

/// `io_setup` is here because its allowance is one for the whole host.
const MISSING: [i64; 5] = [
    libc::SYS_clone3,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_setup,
];

/// The filter in front of every process of a sandbox.
pub(super) fn of_sandboxes() -> Filter {
    let mut rules = vec![
        (libc::SYS_clone, Rule::FailIfBits { argument: 0, bits: NEW_NAMESPACE, errno: EPERM }),
        (libc::SYS_unshare, Rule::FailIfBits { argument: 0, bits: NEW_NAMESPACE | NEW_TIME, errno: EPERM }),
        (libc::SYS_socket, Rule::FailUnless { argument: 0, allowed: SOCKET_FAMILIES, errno: EAFNOSUPPORT }),
        (
            libc::SYS_socketpair,
            Rule::FailUnless { argument: 0, allowed: SOCKET_FAMILIES, errno: EAFNOSUPPORT },
        ),
    ];
    rules.extend(REFUSED.map(|call| (call, Rule::Fail(EPERM))));
    rules.extend(MISSING.map(|call| (call, Rule::Fail(ENOSYS))));
    Filter::new(NEWEST, &rules)
}
