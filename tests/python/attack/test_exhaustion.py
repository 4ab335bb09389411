"""Taking all there is: what a sandbox takes is its own, and the daemon lives."""

from e2b import Sandbox


def still_answers(sandbox):
    assert sandbox.commands.run("echo here", user="root", timeout=30).stdout == "here\n"


def hold(sandbox, program):
    """Runs a program that takes something, and comes back while it still holds it."""
    sandbox.files.write("/tmp/hold.py", program + "\nopen('/tmp/held', 'w')\nimport time; time.sleep(60)\n", user="root")
    sandbox.commands.run("python3 /tmp/hold.py", user="root", background=True)
    sandbox.commands.run("until test -e /tmp/held; do sleep 0.1; done", timeout=30)


def test_fork_bomb(victim, sibling, root):
    victim.commands.run("bash -c 'while :; do (while :; do sleep 1000 & done) 2>/dev/null; done' &>/dev/null",
                        user="root", background=True, timeout=0)
    for _ in range(5):
        assert sibling.commands.run("echo alive", timeout=20).stdout == "alive\n"
    assert victim.kill()


def test_memory(victim, root):
    code, _ = root(victim, "python3 -c \"x = bytearray(64 << 30)\" || python3 -c \"\nx = []\nwhile True: x.append(bytearray(1 << 24))\n\"")
    assert code != 0
    still_answers(victim)


def test_memory_in_file_systems(victim, root):
    for place in ("/dev/shm", "/run"):
        code, output = root(victim, f"dd if=/dev/zero of={place}/fill bs=1M 2>&1; rm -f {place}/fill")
        assert "No space left" in output or code != 0
    still_answers(victim)


def test_disk(victim, root):
    _, output = root(victim, "fallocate -l 1T /fill 2>&1 || true; df --output=avail / | tail -1")
    assert "No space left" in output or "Disk quota" in output or "not supported" in output or "large" in output
    still_answers(victim)


def test_inodes(victim, sibling, python):
    made = python(victim, """
import os, time
os.mkdir('/many')
n, until = 0, time.monotonic() + 8
try:
    while time.monotonic() < until:
        os.mkdir(f'/many/{n}')
        for name in range(200): os.close(os.open(f'/many/{n}/{name}', os.O_CREAT | os.O_WRONLY))
        n += 1
except OSError as refused:
    print(refused, flush=True)
print(n * 200)
""")
    assert int(made.split()[-1]) > 0
    sibling.files.write("/tmp/small", "still room")
    assert sibling.files.read("/tmp/small") == "still room"
    with Sandbox.create("base", timeout=60) as fresh:
        still_answers(fresh)
    still_answers(victim)
    assert victim.kill()


def test_output_that_nobody_reads(victim, sibling):
    flood = "yes $(head -c 4000 /dev/zero | tr '\\0' x)"
    for user in ("root", "user", "root"):
        victim.commands.run(f"{flood} & {flood} >&2", user=user, background=True, timeout=0).disconnect()
    for n in range(5):
        assert sibling.commands.run(f"sleep 0.2; echo {n}", timeout=20).stdout == f"{n}\n"
    used = victim.commands.run("cat /sys/fs/cgroup/memory.current 2>/dev/null || free -b | awk '/Mem:/ {print $3}'", user="root")
    assert int(used.stdout) < 400 << 20
    still_answers(victim)


def test_inotify_instances_are_not_taken_from_others(victim, sibling, python):
    take = """
import ctypes
libc = ctypes.CDLL(None)
n = 0
while libc.inotify_init() >= 0: n += 1
print(n)
"""
    hold(victim, take)
    assert int(python(sibling, take)) > 100
    with Sandbox.create("base", timeout=60) as fresh:
        fresh.files.watch_dir("/tmp").stop()


def test_terminals_are_not_taken_from_others(victim, sibling, python):
    take = """
import os
n, kept = 0, []
try:
    while True: kept.append(os.openpty()); n += 1
except OSError:
    print(n, flush=True)
"""
    assert int(python(victim, take)) <= 256
    hold(victim, take)
    assert int(python(sibling, take)) > 100


def test_locked_memory_and_queued_signals_are_not_taken_from_others(victim, sibling, python):
    take = """
import ctypes, mmap, os, signal
libc = ctypes.CDLL(None)
signal.pthread_sigmask(signal.SIG_BLOCK, [40])
n = 0
while n < 200000 and libc.sigqueue(os.getpid(), 40, 0) == 0: n += 1
print(n, flush=True)
"""
    hold(victim, take)
    assert int(python(sibling, take)) > 1000


def test_pipes_and_sockets(victim, python):
    program = """
import os, socket
kept = []
try:
    while True:
        a, b = socket.socketpair(); a.setblocking(False)
        r, w = os.pipe(); os.set_blocking(w, False)
        kept += [a, b, r, w]
        for send in (a.send, lambda data: os.write(w, data)):
            try:
                while True: send(bytes(65536))
            except BlockingIOError: pass
except (OSError, MemoryError): pass
print("enough")
"""
    python(victim, program, 120)
    still_answers(victim)


def test_killing_everything_kills_only_oneself(victim, root):
    """`kill -9 -1` as root: whatever is lost inside, the sandbox ends or answers, and can be killed."""
    try:
        victim.commands.run("bash -c 'kill -9 -1'", user="root", timeout=10)
    except Exception:  # noqa: BLE001  the command itself dies
        pass
    still_answers(victim)


def test_limits_cannot_be_raised(hostile, python):
    program = """
import resource
for which in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC, resource.RLIMIT_MEMLOCK):
    try:
        resource.setrlimit(which, (1 << 30, 1 << 30)); print("raised", which)
    except (ValueError, OSError):
        pass
"""
    assert python(hostile, program) == ""
