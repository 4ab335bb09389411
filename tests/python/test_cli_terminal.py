"""The command line in a pseudo-terminal: typed keys, new sizes, the detach key, bars and tables."""

import os
import re
import signal
from pathlib import Path

import pytest
from terminal import WARREN, Terminal, warren

pytestmark = pytest.mark.skipif(not WARREN.exists(), reason="the binary is not on this machine")
GUIDE = Path(__file__).parents[2] / "docs/guides/terminal.md"


@pytest.fixture(scope="module")
def sandbox_id():
    made = warren("sandbox", "create", "base", "--timeout", "600", "--metadata", f"of={'long-' * 20}label")[0].strip()
    yield made
    warren("sandbox", "kill", made)


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
    # Ctrl-C is the program's, not ours. What is typed before a prompt may be echoed twice, and
    # what is typed while the shell still makes a program ready ends none.
    terminal.type("sh -c \"echo star''ted; exec sleep 100\"\r")
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
    terminal.until(rb"\$ ")
    terminal.type("\x1d")
    pid = terminal.until(rb"--pid (\d+)")[1].decode()
    assert terminal.end() == 0
    again = Terminal("sandbox", "connect", sandbox_id, "--pid", pid)
    again.until(rb"detaches")
    again.type("echo still-$kept\r")
    again.until(rb"still-here")
    again.type("exit\r")
    assert again.end() == 0


def test_exec_with_a_terminal(sandbox_id):
    terminal = Terminal("sandbox", "exec", "-t", sandbox_id, "--", "sh", "-c", "tty; read -r line; echo \"<$line>\"; exit 4")
    terminal.until(rb"/dev/pts/\d+\r\n")
    terminal.type("typed\r")
    terminal.until(rb"<typed>\r\n")
    assert terminal.end() == 4
    piped = warren("sandbox", "exec", "-t", sandbox_id, "--", "true", status=1)[1]
    assert "needs a terminal" in piped


def test_tables_fit_and_their_head_is_bold(sandbox_id):
    terminal = Terminal("sandbox", "list", cols=80)
    assert terminal.end() == 0
    lines = terminal.shown.decode().splitlines()
    assert lines[0].startswith("\x1b[1mSANDBOX")
    assert all(len(re.sub(r"\x1b\[\d*m", "", line)) <= 80 for line in lines)
    assert any(line.startswith(sandbox_id) and "…" in line for line in lines)


def test_a_copy_shows_how_far_it_is(sandbox_id, tmp_path):
    (tmp_path / "large").write_bytes(b"x" * (40 << 20))
    terminal = Terminal("sandbox", "cp", str(tmp_path / "large"), f"{sandbox_id}:/tmp/")
    assert terminal.end() == 0
    assert re.search(rb"[\d.]+ MiB/40.00 MiB", terminal.shown), terminal.shown
    assert b"41943040 bytes (40.00 MiB)" in terminal.shown


def test_the_recording_in_the_guide_is_true(tmp_path):
    """Plays the console block of the guide: what it shows is what happens, apart from ids and times."""
    block = re.search(r"```console\n(.*?)```", GUIDE.read_text(), re.S)[1]
    steps = [step.split("\n", 1) for step in re.split(r"^\$ ", block, flags=re.M)[1:]]
    written = re.search(r"\bi[a-z0-9]{20}\b", block)[0]
    (tmp_path / "v.csv").write_text("name,count\na,1\nb,2\n")
    made = warren(*re.search(r"warren (.*)\)$", steps[0][0])[1].split())[0].strip()
    try:
        for line, shown in steps[1:]:
            typed = line.removeprefix("warren ").replace("$id", made).split()
            typed = [str(tmp_path / word) if word == "v.csv" else word for word in typed]
            if "connect" in typed:
                play(typed, shown.replace(written, made))
                continue
            said = "".join(warren(*typed)).replace(f"{tmp_path}/", "")
            assert alike(said, made) == alike(shown, written), line
    finally:
        warren("sandbox", "kill", "-q", made)


def alike(text, own):
    """Without what differs each time: ids, times, host names, widths of columns, others' sandboxes."""
    lines = [line for line in text.replace(own, "ID").splitlines() if not re.match(r"i[a-z0-9]{20} ", line)]
    lines = [re.sub(r"\d+ min \d+ s|\d+ s\b", "TIME", line) for line in lines]
    lines = [re.sub(r"ID\.[\w.]+(:\d+)?", "ID.HOST", line).replace("https:", "http:") for line in lines]
    return [re.sub(r" {2,}", "  ", line.rstrip()) for line in lines]


def play(typed, shown):
    """Types what stands after each prompt of the recording, and waits for every other line."""
    terminal = Terminal(*typed)
    for line in shown.splitlines():
        if prompt := re.match(r"user@\S+\$ (.*)", line):
            terminal.until(rb"\$ ")
            terminal.type("\x1d" if prompt[1] == "^]" else f"{prompt[1]}\r")
        else:
            terminal.until(re.sub(r"\d+$", r"\\d+", re.escape(line)).encode())
    assert terminal.end() == 0
