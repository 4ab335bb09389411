"""The command line `warren` against a real server, each command as people call it;
`connect` through a pseudo-terminal, with typed keys, a new size and the detach key."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from pathlib import Path

import pytest

WARREN = Path(os.environ.get("WARREN", Path(__file__).parents[2] / "target/release/warren"))
pytestmark = pytest.mark.skipif(not WARREN.exists(), reason="the binary is not on this machine")


def warren(*arguments, status=0, input=None):
    done = subprocess.run([WARREN, *arguments], capture_output=True, timeout=60, input=input)
    assert done.returncode == status, done
    return done.stdout.decode(), done.stderr.decode()


@pytest.fixture(scope="module")
def sandbox_id():
    made = warren("sandbox", "create", "base", "--timeout", "600", "--metadata", "of=cli")[0].strip()
    yield made
    warren("sandbox", "kill", made)


def test_create_list_info_kill():
    made = warren("sandbox", "create")[0].strip()
    assert re.fullmatch(r"i[a-z0-9]{20}", made)
    assert made in warren("sandbox", "ls", "--quiet")[0].split()
    table = warren("sandbox", "list")[0]
    assert table.startswith("SANDBOX") and f"{made}  base" in table and "\x1b" not in table
    assert any(row["sandboxId"] == made for row in json.loads(warren("sandbox", "list", "--json")[0]))
    assert json.loads(warren("sandbox", "info", made)[0])["state"] == "running"
    assert warren("sandbox", "kill", made)[0] == f"{made} killed\n"
    answer = json.loads(warren("sandbox", "kill", made, "--json")[0])
    assert answer == [{"sandboxId": made, "killed": False}]


def test_exec_streams_and_keeps_the_exit_status(sandbox_id):
    out, err = warren("sandbox", "exec", sandbox_id, "--", "sh", "-c", "echo out; echo err >&2; exit 7", status=7)
    assert (out, err) == ("out\n", "err\n")
    assert warren("sandbox", "exec", sandbox_id, "--", "printf", "%s|", "a b", "$HOME", "it's")[0] == "a b|$HOME|it's|"
    answer = json.loads(warren("sandbox", "exec", sandbox_id, "--json", "--", "false", status=1)[0])
    assert (answer["exitCode"], answer["stdout"]) == (1, "")
    assert warren("sandbox", "exec", sandbox_id, "--user", "root", "--cwd", "/tmp", "--", "sh", "-c", "id -un; pwd")[0] == (
        "root\n/tmp\n"
    )


def test_cp_both_ways(sandbox_id, tmp_path):
    content = bytes(range(256)) * 4096
    (tmp_path / "a b.bin").write_bytes(content)
    _, said = warren("sandbox", "cp", str(tmp_path / "a b.bin"), f"{sandbox_id}:/home/user/")
    assert f"{len(content)} bytes" in said
    assert warren("sandbox", "cp", "--quiet", f"{sandbox_id}:/home/user/a b.bin", str(tmp_path / "back")) == ("", "")
    assert (tmp_path / "back").read_bytes() == content
    warren("sandbox", "cp", "-", f"{sandbox_id}:/tmp/in", input=b"through a pipe")
    assert warren("sandbox", "cp", f"{sandbox_id}:/tmp/in", "-")[0] == "through a pipe"
    assert "No such file" in warren("sandbox", "cp", "/nope", f"{sandbox_id}:/tmp/x", status=1)[1]
    assert "/nope" in warren("sandbox", "cp", f"{sandbox_id}:/nope", "-", status=1)[1]


def test_port(sandbox_id):
    url = warren("sandbox", "port", sandbox_id, "8080")[0].strip()
    assert re.fullmatch(rf"http://8080-{sandbox_id}\.[\w.]+:\d+", url)
    assert json.loads(warren("sandbox", "port", sandbox_id, "80", "--json")[0])["port"] == 80


def test_errors_say_what_to_do(sandbox_id):
    _, said = warren("sandbox", "connect", sandbox_id, status=1)
    assert "warren sandbox exec" in said
    _, said = warren("sandbox", "exec", "i00000000000000000000", "--", "true", status=1)
    assert "i00000000000000000000" in said
    environment = {**os.environ, "E2B_API_KEY": ""}
    done = subprocess.run([WARREN, "sandbox", "list"], capture_output=True, env=environment, timeout=60)
    assert done.returncode == 1 and b"E2B_API_KEY" in done.stderr


def test_completions_and_manual_pages(tmp_path):
    assert "_warren" in warren("completions", "bash")[0]
    warren("man", str(tmp_path))
    pages = {page.name for page in tmp_path.iterdir()}
    assert {"warren.1", "warren-sandbox.1", "warren-sandbox-connect.1", "warren-up.1"} <= pages
    assert not any("launcher" in page for page in pages)


class Terminal:
    """A program in a pseudo-terminal."""

    def __init__(self, *arguments, rows=30, cols=100):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            time.sleep(0.05)  # until the size is set
            os.execv(WARREN, [str(WARREN), *arguments])
        self.resize(rows, cols)
        self.shown = b""

    def resize(self, rows, cols):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))

    def type(self, text):
        os.write(self.fd, text.encode())

    def until(self, pattern):
        """Reads until the pattern is shown; forgets what was shown up to there."""
        end = time.monotonic() + 30
        while not (found := re.search(pattern, self.shown)):
            readable, _, _ = select.select([self.fd], [], [], max(0, end - time.monotonic()))
            assert readable, self.shown
            try:
                self.shown += os.read(self.fd, 65536)
            except OSError:  # the program has ended
                assert re.search(pattern, self.shown), self.shown
        self.shown = self.shown[found.end() :]
        return found

    def end(self):
        """The exit status."""
        while True:
            try:
                if not os.read(self.fd, 65536):
                    break
            except OSError:
                break
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.fd)
        return status


def test_connect_is_a_terminal(sandbox_id):
    terminal = Terminal("sandbox", "connect", sandbox_id, rows=30, cols=100)
    terminal.until(rb"Ctrl-\] detaches")
    terminal.until(rb"\$ ")
    terminal.type("stty size; tty; echo $TERM\r")
    terminal.until(rb"30 100\r\n/dev/pts/\d+\r\nxterm-256color\r\n")
    terminal.resize(41, 133)
    os.kill(terminal.pid, signal.SIGWINCH)
    terminal.type("until [ \"$(stty size)\" = '41 133' ]; do sleep 0.1; done; echo resi''zed\r")
    terminal.until(rb"resized\r\n")
    terminal.until(rb"\$ ")
    # Ctrl-C is the program's, not ours. What is typed before a prompt may be echoed twice.
    terminal.type("echo star''ted; sleep 100\r")
    terminal.until(rb"started\r\n")
    terminal.type("\x03")
    terminal.until(rb"\$ ")
    terminal.type("echo $((6 * 7))\r")
    terminal.until(rb"\D42\r\n")
    terminal.type("exit 5\r")
    assert terminal.end() == 5


def test_detach_leaves_the_shell_and_connect_finds_it_again(sandbox_id):
    terminal = Terminal("sandbox", "connect", sandbox_id)
    terminal.until(rb"\$ ")
    terminal.type("kept=here\r")
    terminal.until(rb"kept=here\r\n")
    terminal.type("\x1d")
    pid = terminal.until(rb"--pid (\d+)")[1].decode()
    assert terminal.end() == 0
    again = Terminal("sandbox", "connect", sandbox_id, "--pid", pid)
    again.until(rb"detaches")
    again.type("echo still-$kept\r")
    again.until(rb"still-here")
    again.type("exit\r")
    assert again.end() == 0
