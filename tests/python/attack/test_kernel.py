"""Calls and files with which root could leave: refused or missing, each of them."""

import pytest

# x86-64 number, arguments, acceptable errors (names).
CALLS = {
    "mount": (165, [b"none", b"/mnt", b"tmpfs", 0, 0]),
    "umount2": (166, [b"/proc/sys", 2]),
    "pivot_root": (155, [b"/", b"/tmp"]),
    "fsopen": (430, [b"tmpfs", 0]),
    "open_tree": (428, [-100, b"/", 1]),
    "move_mount": (429, [-100, b"/", -100, b"/mnt", 0]),
    "mount_setattr": (442, [-100, b"/", 0, 0, 0]),
    "init_module": (175, [b"x", 1, b""]),
    "finit_module": (313, [0, b"", 0]),
    "delete_module": (176, [b"overlay", 0]),
    "kexec_load": (246, [0, 0, 0, 0]),
    "reboot": (169, [0xFEE1DEAD, 672274793, 0, 0]),
    "bpf": (321, [0, 0, 0]),
    "perf_event_open": (298, [0, 0, -1, -1, 0]),
    "userfaultfd": (323, [0]),
    "io_uring_setup": (425, [8, 0]),
    "io_setup": (206, [1, 0]),
    "add_key": (248, [b"user", b"a", b"b", 1, -3]),
    "request_key": (249, [b"user", b"a", 0, -3]),
    "keyctl": (250, [0, -3, 1]),
    "name_to_handle_at": (303, [-100, b"/", 0, 0, 0]),
    "open_by_handle_at": (304, [0, 0, 0]),
    "setns": (308, [0, 0]),
    "unshare user": (272, [0x10000000]),
    "unshare mount": (272, [0x20000]),
    "unshare network": (272, [0x40000000]),
    "unshare time": (272, [0x80]),
    "clone user": (56, [0x10000000 | 17, 0, 0, 0, 0]),
    "clone3": (435, [0, 88]),
    "swapon": (167, [b"/tmp", 0]),
    "iopl": (172, [3]),
    "ioperm": (173, [0, 1, 1]),
    "settimeofday": (164, [0, 0]),
    "clock_settime": (227, [0, 0]),
    "syslog": (103, [3, 0, 0]),
    "acct": (163, [b"/tmp/acct"]),
    "quotactl": (179, [0, 0, 0, 0]),
    "fanotify_init": (300, [0, 0]),
    "kcmp": (312, [1, 1, 0, 0, 0]),
    "a call of tomorrow": (457, [0, 0, 0, 0]),
    "x32": (0x40000000 | 39, []),
    "sethostname": (170, [b"host", 4]),
}

TRY = """
import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
number, arguments = {call!r}
wide = [ctypes.c_char_p(a) if isinstance(a, bytes) else ctypes.c_long(a) for a in arguments]
result = libc.syscall(ctypes.c_long(number), *wide)
print("done" if result != -1 else errno.errorcode[ctypes.get_errno()])
"""


@pytest.mark.parametrize("name", CALLS)
def test_call_is_refused(hostile, python, name):
    answer = python(hostile, TRY.format(call=CALLS[name]))
    assert answer in ("EPERM", "ENOSYS"), answer


def test_32_bit_calls_do_not_exist(hostile, root):
    source = 'int main(){long r;__asm__ volatile("int $0x80":"=a"(r):"a"(20):"memory");return r!=-38;}'
    hostile.files.write("/tmp/old.c", source, user="root")
    assert root(hostile, "gcc -o /tmp/old /tmp/old.c && /tmp/old") == (0, "")


WRITES = [
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/vm/panic_on_oom",
    "/proc/sys/net/ipv4/ip_forward",
    "/proc/sys/fs/file-max",
    "/proc/sysrq-trigger",
    "/proc/irq/default_smp_affinity",
    "/sys/fs/cgroup/cgroup.procs",
    "/sys/fs/cgroup/cgroup.kill",
    "/sys/kernel/uevent_helper",
    "/sys/power/state",
    "/sys/module/overlay/parameters/redirect_dir",
    "/proc/1/uid_map",
]


@pytest.mark.parametrize("path", WRITES)
def test_file_of_the_kernel_is_not_writable(hostile, root, path):
    code, output = root(hostile, f"bash -c 'echo 1 > {path}'")
    assert code != 0, output


@pytest.mark.parametrize("path", ["/proc/kcore", "/proc/kmsg", "/proc/keys", "/proc/kallsyms", "/proc/cmdline",
                                  "/proc/timer_list", "/proc/modules", "/proc/interrupts", "/dev/mem", "/dev/kmsg",
                                  "/dev/kvm", "/dev/fuse", "/dev/loop-control", "/dev/vda", "/sys/firmware/x"])
def test_file_tells_nothing(hostile, root, path):
    _, output = root(hostile, f"timeout 5 head -c 64 {path} 2>/dev/null | wc -c")
    assert output.strip() == "0"


@pytest.mark.parametrize("kind", ["c 1 1", "b 254 0", "b 7 0", "c 10 229", "c 10 232"])
def test_device_nodes_do_not_open(hostile, root, kind):
    _, output = root(hostile, f"rm -f /tmp/node; mknod /tmp/node {kind} && head -c 1 /tmp/node && echo opened")
    assert "opened" not in output


def test_root_of_the_first_process_is_the_sandbox(hostile, root):
    root(hostile, "touch /mark-of-the-sandbox")
    assert root(hostile, "ls /proc/1/root/mark-of-the-sandbox /proc/1/cwd/mark-of-the-sandbox")[0] == 0
    _, output = root(hostile, "for p in /proc/[0-9]*; do readlink $p/root; done | sort -u")
    assert output.strip() == "/"


def test_chroot_and_dots_lead_nowhere(hostile, python):
    program = """
import os
os.makedirs("/tmp/jail", exist_ok=True)
fd = os.open("/", os.O_RDONLY)
os.chroot("/tmp/jail"); os.fchdir(fd)
for _ in range(64): os.chdir("..")
os.chroot(".")
print(os.path.exists("/usr/lib/warren/guest"))
"""
    assert python(hostile, program) == "True"


def test_capabilities_cannot_be_raised(hostile, root):
    _, status = root(hostile, "grep ^Cap /proc/self/status")
    sets = dict(line.split(":\t") for line in status.strip().splitlines())
    forbidden = (1 << 12) | (1 << 16) | (1 << 17) | (1 << 21) | (1 << 22) | (1 << 24) | (1 << 25) | (1 << 27)
    assert all(int(bits, 16) & forbidden == 0 for bits in sets.values()), sets


def test_a_debugger_on_the_first_process_gains_nothing(victim, python):
    """Root may trace the daemon, which stands behind the same barriers as root."""
    program = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
print(libc.ptrace(16, 1, 0, 0) == 0 and os.waitpid(1, 0x40000000)[0] == 1)
"""
    python(victim, program)
    status = victim.commands.run("grep -E '^(Cap|Seccomp:)' /proc/1/status; readlink /proc/1/ns/*", user="root").stdout
    own = victim.commands.run("grep -E '^(Cap|Seccomp:)' /proc/self/status; readlink /proc/self/ns/*", user="root").stdout
    assert status == own


def test_no_descriptor_leads_outside(hostile, root):
    _, output = root(hostile, "ls -l /proc/[0-9]*/fd 2>/dev/null | grep -o -- '-> .*' | sort -u")
    for target in (line[3:] for line in output.strip().splitlines()):
        assert target.startswith(("/dev/", "socket:", "pipe:", "anon_inode:", "/proc/")), target


def test_overlay_attributes_are_the_files_own(hostile, python):
    """An attribute for the overlay's own use, set from inside, changes no look-up."""
    program = """
import os
os.makedirs("/tmp/o", exist_ok=True)
try:
    os.setxattr("/tmp/o", "user.overlay.redirect", b"/etc")
    os.setxattr("/tmp/o", "user.overlay.opaque", b"y")
except OSError:
    pass
print(os.listdir("/tmp/o"))
"""
    assert python(hostile, program) == "[]"
    assert hostile.commands.run("test -s /etc/passwd && ls -A /tmp/o", user="root").stdout == ""


def test_control_socket_refuses_the_inside(hostile, python):
    program = """
import socket
s = socket.socket(socket.AF_UNIX); s.settimeout(5)
try:
    s.connect("\\0warren-control")
    s.sendall(b"POST /init HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 2\\r\\n\\r\\n{}")
    print(s.recv(100)[:12])
except OSError:
    print(b"")
"""
    assert python(hostile, program) == "b''"
