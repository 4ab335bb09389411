"""Forks kernels from a process that has everything loaded: `launch.py --nursery SOCKET`.

    service ── `fork ID LENGTH` + a connection file ──▶ this process
            ◀── `forked ID LENGTH` + its process id ──     │ fork
            ◀── `ended PID LENGTH` + how ──             a kernel

It runs no code of a user's, has no thread of Python's own, no event loop and no
ZeroMQ context: none of these survive a fork. It ends when the service goes, and
when a package it has loaded was replaced on disk.
"""

import gc
import os
import select
import signal
import socket
import sys

CHUNK = 65536


class Nursery:
    def __init__(self, path, app, ahead, stash):
        self.app, self.ahead, self.stash = app, ahead, stash
        self.pending = b""
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(1)
        self.socket, _ = listener.accept()
        listener.close()

    def send(self, kind, name, text):
        payload = text.encode()
        self.socket.sendall(f"{kind} {name} {len(payload)}\n".encode() + payload)

    def request(self):
        """The next frame, or None while none is whole."""
        header, end, rest = self.pending.partition(b"\n")
        if not end:
            return None
        kind, name, length = header.decode().split()
        if len(rest) < int(length):
            return None
        self.pending = rest[int(length) :]
        return kind, name, rest[: int(length)]

    def bury(self):
        """Tells of kernels that ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            code = os.waitstatus_to_exitcode(status)
            self.send("ended", pid, f"exit status {code}" if code >= 0 else f"killed by signal {-code}")

    def fork(self, name, connection):
        pid = os.fork()
        if pid:
            self.send("forked", name, str(pid))
            return
        # Whatever happens, a kernel never comes back here.
        try:
            self.become(connection)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(1)

    def become(self, connection):
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self.socket.close()
        self.stash.reseed()
        sys.meta_path.insert(0, self.stash)
        sys.argv[1:] = ["-f", connection]
        self.ahead.finish(self.app, connection)
        self.app.start()

    def serve(self):
        read, write = os.pipe()
        for end in (read, write):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(write)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        poller = select.poll()
        poller.register(self.socket, select.POLLIN)
        poller.register(read, select.POLLIN)
        while True:
            for descriptor, _ in poller.poll():
                if descriptor == read:
                    os.read(read, CHUNK)
                    self.bury()
                    continue
                received = self.socket.recv(CHUNK)
                if not received:
                    return
                self.pending += received
                while order := self.request():
                    if self.stash.any_stale() or self.ahead.has_configuration(self.app):
                        return
                    self.fork(order[1], order[2].decode())


def serve(path, app, ahead, stash):
    if ahead.has_configuration(app):
        return
    ahead.prepare(app)
    stash = stash()
    # What is here now is shared for good: no collection shall write to its pages.
    gc.collect()
    gc.freeze()
    Nursery(path, app, ahead, stash).serve()
