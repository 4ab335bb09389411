"""Holds one of everything a program may hold, and uses each again and again; what
fails is written down and ends it. Its rounds are counted in /count."""

import ctypes, os, pty, socket, sys, threading, time, traceback

try:
    os.makedirs("/home/watched", exist_ok=True)
    libc = ctypes.CDLL(None, use_errno=True)
    notify = libc.inotify_init1(os.O_NONBLOCK)
    assert libc.inotify_add_watch(notify, b"/home/watched", 0x100) >= 0  # IN_CREATE
    master, slave = pty.openpty()
    listener = socket.create_server(("127.0.0.1", 0))
    ours = socket.create_connection(listener.getsockname())
    theirs, _ = listener.accept()
    left, right = socket.socketpair()
    memory = os.memfd_create("held")
    os.write(memory, b"held")
    gone = open("/home/gone", "w+")
    gone.write("still there")
    gone.flush()
    os.unlink("/home/gone")
    log = open("/home/log", "w")
    ticks = []
    threading.Thread(target=lambda: [ticks.append(time.sleep(0.02)) for _ in iter(int, 1)], daemon=True).start()
    if "traced" in sys.argv:
        # A process that is debugged has its debugger already.
        child = os.fork()
        while child == 0:
            time.sleep(1)
        assert libc.ptrace(16, child, 0, 0) == 0  # PTRACE_ATTACH
        os.waitpid(child, 0)

    def exchange(a, b):
        a.sendall(b"ping")
        assert b.recv(4) == b"ping"

    def barriers():
        wanted = ("Cap", "Seccomp", "NoNewPrivs", "Uid", "Gid")
        status = [line for line in open("/proc/self/status") if line.startswith(wanted)]
        mounts = sorted(line.split()[4:6] for line in open("/proc/self/mountinfo"))
        return status, mounts[1:], open("/proc/self/cgroup").read()

    standing = barriers()
    began = time.monotonic()
    n = 0
    while True:
        n += 1
        exchange(ours, theirs)
        exchange(theirs, ours)
        exchange(left, right)
        os.write(master, b"line\n")
        assert os.read(slave, 100) == b"line\n"
        assert os.read(master, 100).strip() == b"line"
        open(f"/home/watched/{n}", "w").close()
        event = os.read(notify, 4096)
        assert str(n).encode() in event, event
        os.unlink(f"/home/watched/{n}")
        assert os.pread(memory, 4, 0) == b"held"
        gone.seek(0)
        assert gone.read() == "still there"
        log.write(f"{n}\n")
        log.flush()
        assert open("/home/log").read().split() == [str(i + 1) for i in range(n)]
        if barriers() != standing:
            raise AssertionError(f"{standing} became {barriers()}")
        late = len(ticks)
        while len(ticks) == late:
            time.sleep(0.01)
        assert time.monotonic() > began
        with open("/new", "w") as count:
            count.write(f"{n}\n")
        os.rename("/new", "/count")
except BaseException:
    with open("/new", "w") as failed:
        failed.write(traceback.format_exc() + "\n")
    os.rename("/new", "/failed")
    raise
