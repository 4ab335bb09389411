"""Terminals: a shell with a size, input, resizing, reconnecting."""

import threading

from e2b import PtySize
from waiting import until


class Screen:
    """Collects what a terminal shows while the test goes on."""

    def __init__(self, handle):
        self.text = ""
        self.ended = False
        self._handle = handle
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        try:
            self._handle.wait(on_pty=self._add)
        except Exception:  # the shell's own exit code is no matter here
            pass
        self.ended = True

    def _add(self, data):
        self.text += bytes(data).decode("utf-8", "replace")

    def shows(self, what):
        until(lambda: what in self.text, f"{what!r} on the screen")


def test_a_shell_answers(sandbox):
    terminal = sandbox.pty.create(PtySize(rows=24, cols=80), cwd="/tmp", envs={"MARK": "here"})
    screen = Screen(terminal)
    sandbox.pty.send_stdin(terminal.pid, b"echo $MARK-$((40+2))-$PWD-$TERM\n")
    screen.shows("here-42-/tmp-xterm-256color")
    sandbox.pty.send_stdin(terminal.pid, b"exit\n")
    until(lambda: screen.ended, "the end after exit")


def test_size_and_resize(sandbox):
    terminal = sandbox.pty.create(PtySize(rows=30, cols=100))
    screen = Screen(terminal)
    sandbox.pty.send_stdin(terminal.pid, b"stty size\n")
    screen.shows("30 100")
    sandbox.pty.resize(terminal.pid, PtySize(rows=41, cols=121))
    sandbox.pty.send_stdin(terminal.pid, b"stty size\n")
    screen.shows("41 121")
    assert sandbox.pty.kill(terminal.pid)
    until(lambda: screen.ended, "the end after kill")
    assert not sandbox.pty.kill(terminal.pid)


def test_control_c_interrupts(sandbox):
    terminal = sandbox.pty.create(PtySize(rows=24, cols=80))
    screen = Screen(terminal)
    sandbox.pty.send_stdin(terminal.pid, b"echo go; sleep 100; echo sl''ept\n")
    screen.shows("go\r\n")
    sandbox.pty.send_stdin(terminal.pid, b"\x03")
    sandbox.pty.send_stdin(terminal.pid, b"echo still-$((1+1))\n")
    screen.shows("still-2")
    assert "slept" not in screen.text
    sandbox.pty.kill(terminal.pid)


def test_reconnect(sandbox):
    terminal = sandbox.pty.create(PtySize(rows=24, cols=80))
    terminal.disconnect()
    screen = Screen(sandbox.pty.connect(terminal.pid))
    sandbox.pty.send_stdin(terminal.pid, b"echo back-$((2*3))\n")
    screen.shows("back-6")
    sandbox.pty.kill(terminal.pid)
