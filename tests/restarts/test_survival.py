"""What a sandbox does goes on over a pause, a `kill -9` of the server, its restart, and the resume."""

import threading
import time

import pytest
from e2b import FilesystemEventType, PtySize
from e2b_code_interpreter import Sandbox
from server import kill_server
from waiting import until


@pytest.fixture
def sandbox(memory):
    with Sandbox.create(timeout=900) as created:
        yield created


class Screen:
    """What a terminal shows."""

    def __init__(self, handle):
        self.text = ""
        self._handle = handle
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        try:
            self._handle.wait(on_pty=lambda data: self._add(data))
        except Exception:  # cut by the pause; the terminal is not
            pass

    def _add(self, data):
        self.text += bytes(data).decode("utf-8", "replace")

    def shows(self, what):
        until(lambda: what in self.text, f"{what!r} on the screen: {self.text!r}", seconds=60)


def events(watch):
    return [(event.name, event.type) for event in watch.get_new_events()]


@pytest.mark.parametrize("rounds", [1, 2])
def test_everything_goes_on(sandbox, rounds):
    """Variables, an open file, a server, a terminal, a watch and a sleep."""
    sandbox.run_code("x = 41; import numpy; grid = numpy.arange(6).reshape(2, 3)")
    sandbox.run_code("handle = open('/home/user/open', 'w+'); handle.write('one'); handle.flush()")
    # Deleted while open: nothing but the process has it any more.
    sandbox.run_code("import os; lost = open('/tmp/lost', 'w+'); lost.write('still here'); lost.flush(); os.remove('/tmp/lost')")
    sandbox.commands.run("python3 -m http.server 8123 --bind 127.0.0.1", background=True)
    curl = "curl -s -m 5 -o /dev/null -w '%{http_code}' http://127.0.0.1:8123/ || true"
    until(lambda: sandbox.commands.run(curl).stdout == "200", "it serves", seconds=60)
    terminal = sandbox.pty.create(PtySize(rows=24, cols=80), timeout=0)
    screen = Screen(terminal)
    sandbox.pty.send_stdin(terminal.pid, b"KEPT=in-the-shell; cd /var; echo be-$((40+2))\n")
    screen.shows("be-42")
    sandbox.files.make_dir("/home/user/watched")
    watch = sandbox.files.watch_dir("/home/user/watched")
    sandbox.files.write("/home/user/watched/before", "x")
    until(lambda: ("before", FilesystemEventType.WRITE) in events(watch), "the first event", seconds=60)
    # It ends by itself, in its own time, and says so.
    sandbox.commands.run("(sleep 20; echo done > /home/user/slept) > /dev/null 2>&1 &")
    boot = sandbox.commands.run("cat /proc/sys/kernel/random/boot_id").stdout

    for n in range(rounds):
        assert sandbox.pause() is True
        kill_server()
        assert sandbox.get_info().state.value == "paused"
        sandbox.connect(timeout=900)
        assert sandbox.commands.run("cat /proc/sys/kernel/random/boot_id").stdout == boot
        assert sandbox.run_code("x += 1; (x, int(grid.sum()))").text == f"({42 + n}, 15)"
        assert sandbox.run_code("handle.write('+'); handle.flush(); handle.seek(0); handle.read()").text == "one" + "+" * (n + 1)
        assert sandbox.run_code("lost.seek(0); lost.read()").text == "still here"
        assert sandbox.commands.run(curl).stdout == "200"
        screen = Screen(sandbox.pty.connect(terminal.pid, timeout=0))
        sandbox.pty.send_stdin(terminal.pid, f"echo $KEPT-$PWD-{n}-$((1+1))\n".encode())
        screen.shows(f"in-the-shell-/var-{n}-2")
        name = f"after-{n}"
        sandbox.files.write(f"/home/user/watched/{name}", "x")
        until(lambda: (name, FilesystemEventType.WRITE) in events(watch), "an event after the resume", seconds=60)
    until(lambda: sandbox.files.exists("/home/user/slept"), "the sleep ended", seconds=60)
    assert sandbox.pty.kill(terminal.pid)


def test_a_server_that_dies_with_a_pause_under_way_loses_nothing(sandbox):
    """At moments spread over the pause: it runs on or sleeps, and has its files either way; its
    variables too, unless it died between the end of the processes and the state's name."""
    sandbox.run_code("x = 41")
    kept_memory = 0
    for n in range(8):
        sandbox.files.write(f"/home/user/file-{n}", str(n))
        sandbox.run_code("x = 41")
        pausing = threading.Thread(target=swallow, args=[sandbox.pause])
        pausing.start()
        time.sleep(n * 0.1)
        kill_server()
        pausing.join()
        sandbox.connect(timeout=900)
        assert [sandbox.files.read(f"/home/user/file-{i}") for i in range(n + 1)] == [str(i) for i in range(n + 1)]
        told = sandbox.run_code("x")
        assert told.text == "41" or told.error.name == "NameError", told
        kept_memory += told.text == "41"
    assert kept_memory > 0


def swallow(call):
    """A client that was cut off learns nothing."""
    try:
        call()
    except Exception:
        pass
