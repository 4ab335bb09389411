"""States in the terminal: `warren sandbox pause`, `resume`, `fork`, `snapshot`, `diff`, `rollback`.

Where the server can keep memory a counter that runs tells whether it was kept; elsewhere
the same commands are called for files alone, and what asks for memory is refused in words."""

import json
import re
import subprocess

import pytest
from terminal import WARREN, warren
from waiting import until

pytestmark = pytest.mark.skipif(not WARREN.exists(), reason="the binary is not on this machine")
ID = r"i[a-z0-9]{20}"
COUNTER = "n=0; while :; do n=$((n+1)); echo $n > /tmp/count; sleep 0.05; done"


def inside(sandbox_id, command, user="user"):
    return warren("sandbox", "exec", "-u", user, sandbox_id, "--", "sh", "-c", command)[0]


def count(sandbox_id):
    # For the moment in which it is written there is nothing in the file.
    return int(until(lambda: inside(sandbox_id, "cat /tmp/count").strip(), "there is a number"))


@pytest.fixture
def sandbox_id():
    made = warren("sandbox", "create", "base", "--timeout", "600")[0].strip()
    yield made
    warren("sandbox", "kill", made)


@pytest.fixture(scope="module")
def memory():
    """Skips where memory cannot be kept, once the refusal was read."""
    made = warren("sandbox", "create", "--timeout", "120")[0].strip()
    done = subprocess.run([WARREN, "sandbox", "pause", made], capture_output=True, timeout=100)
    warren("sandbox", "kill", made)
    if done.returncode:
        said = done.stderr.decode()
        assert "cannot keep the memory" in said and "--files-only" in said, said
        pytest.skip("the server cannot keep memory")


@pytest.fixture
def counting(memory, sandbox_id):
    """A sandbox in which a program counts in its memory."""
    warren("sandbox", "exec", "-b", sandbox_id, "--", "sh", "-c", COUNTER)
    until(lambda: inside(sandbox_id, "test -s /tmp/count && cat /tmp/count; true"), "it counts")
    return sandbox_id


@pytest.fixture
def snapshots():
    ids = []
    yield ids
    for one in ids:
        warren("sandbox", "snapshot", "delete", "-q", one)


def kept(sandbox_id, snapshots, *options):
    """Keeps its state; the id of that."""
    made = warren("sandbox", "snapshot", "create", sandbox_id, *options)[0].strip()
    snapshots.append(made)
    return made


def goes_on(sandbox_id, since):
    """Whether the counter counts on from there: a new one would begin at nothing."""
    now = count(sandbox_id)
    assert now >= since
    until(lambda: count(sandbox_id) > now, "it counts on")


def test_a_pause_keeps_what_runs(counting):
    before = count(counting)
    assert warren("sandbox", "pause", counting) == (f"{counting} paused\n", "")
    assert warren("sandbox", "pause", counting)[0] == f"{counting} slept already\n"
    assert counting in warren("sandbox", "ls", "-q", "--state", "paused")[0].split()
    assert warren("sandbox", "info", counting, "-q")[0] == "paused\n"
    answer = json.loads(warren("sandbox", "resume", counting, "--timeout", "600", "--json")[0])
    assert answer == [{"sandboxId": counting, "state": "running"}]
    goes_on(counting, before)
    # Files alone: what ran has ended, what it wrote is there.
    assert warren("sandbox", "pause", "-q", "--files-only", counting) == ("", "")
    assert warren("sandbox", "resume", counting) == (f"{counting} running\n", "")
    assert inside(counting, "cat /tmp/count; pgrep -f 'n=[0]' || echo ended").endswith("ended\n")
    # The same of one that sleeps with its memory.
    warren("sandbox", "exec", "-b", counting, "--", "sh", "-c", COUNTER)
    warren("sandbox", "pause", counting)
    warren("sandbox", "resume", "--reboot", counting)
    assert inside(counting, "pgrep -f 'n=[0]' || echo ended") == "ended\n"


def test_forks_go_on_by_themselves(counting):
    before = count(counting)
    forks = warren("sandbox", "fork", counting, "--count", "2", "--timeout", "120")[0].split()
    try:
        assert len(set(forks)) == 2 and all(re.fullmatch(ID, fork) for fork in forks) and counting not in forks
        for fork in forks:
            goes_on(fork, before)
        goes_on(counting, before)
        inside(forks[0], "echo mine > /tmp/own")
        for other in (forks[1], counting):
            assert inside(other, "test -e /tmp/own || echo none") == "none\n"
    finally:
        warren("sandbox", "kill", *forks)
    made = json.loads(warren("sandbox", "fork", counting, "--json", "--timeout", "60")[0])
    assert [set(one) for one in made] == [{"sandboxId"}]
    warren("sandbox", "kill", made[0]["sandboxId"])
    assert "1 to 20" in warren("sandbox", "fork", counting, "--count", "21", status=1)[1]


def test_a_rollback_brings_back_what_ran(counting, snapshots):
    state = kept(counting, snapshots, "--name", f"cli-{counting}")
    assert state == f"default/cli-{counting}:default" or state.endswith(f"/cli-{counting}:default")
    then = count(counting)
    inside(counting, "pkill -f 'n=[0]'; echo 1000000 > /tmp/count; echo new > /tmp/new")
    said = warren("sandbox", "rollback", counting, state)[0]
    assert said == f"{counting} is as it was at {state}, and runs\n"
    assert inside(counting, "test -e /tmp/new || echo gone") == "gone\n"
    assert count(counting) < 1_000_000
    goes_on(counting, 1)
    assert then > 0


def test_a_snapshot_starts_others(counting, snapshots):
    state = kept(counting, snapshots)
    before = count(counting)
    made = warren("sandbox", "create", state, "--timeout", "120")[0].strip()
    try:
        goes_on(made, 1)
        assert count(made) > 0 and before > 0
    finally:
        warren("sandbox", "kill", made)
    listed = warren("sandbox", "snapshot", "ls", "--sandbox", counting)[0]
    assert listed.startswith("SNAPSHOT") and state in listed


CHANGES = r"""
cd /home/user; echo changed > other; chmod 4755 moded; chown 7:8 owned; touch touched
rm gone; rm -r tree; mkdir -p deep/er; echo x > deep/er/file; ln -s /etc/passwd link; mkfifo pipe
mv -T kind aside; mkdir kind; printf x > "$(printf 'odd\nname\377')"
rm -r /var/log; echo more >> /etc/hosts.allow; rm -f /etc/motd
"""


def test_a_diff_tells_what_changed(sandbox_id, snapshots):
    inside(
        sandbox_id,
        "cd /home/user; for f in same other moded owned touched gone kind; do echo 12345678 > $f; done;"
        " mkdir -p tree/leaf; echo x > tree/leaf/file",
        "root",
    )
    before = kept(sandbox_id, snapshots, "--files-only")
    assert warren("sandbox", "diff", before, before) == ("no file differs\n", "")
    assert json.loads(warren("sandbox", "diff", before, before, "--json")[0]) == []
    inside(sandbox_id, CHANGES, "root")
    after = kept(sandbox_id, snapshots, "--files-only")
    found = json.loads(warren("sandbox", "diff", before, after, "--json")[0])
    home = {one["path"].removeprefix("/home/user/"): one for one in found if one["path"].startswith("/home/user/")}
    words = {name: one["change"] for name, one in home.items()}
    assert words == {
        "aside": "added",
        "deep": "added",
        "deep/er": "added",
        "deep/er/file": "added",
        "gone": "removed",
        "kind": "modified",
        "link": "added",
        "moded": "modified",
        "odd\nname\ufffd": "added",
        "other": "modified",
        "owned": "modified",
        "pipe": "added",
        "tree": "removed",
        "tree/leaf": "removed",
        "tree/leaf/file": "removed",
    }
    assert list(home) == sorted(home, key=lambda name: name.split("/"))
    assert [home["kind"][side]["kind"] for side in ("before", "after")] == ["file", "directory"]
    assert [home["other"][side]["sizeBytes"] for side in ("before", "after")] == [9, 8]
    assert home["moded"]["after"]["mode"] == 0o4755
    assert [home["owned"]["after"][who] for who in ("uid", "gid")] == [7, 8]
    # The link itself, not where it leads.
    assert (home["link"]["after"]["kind"], home["link"]["after"]["sizeBytes"]) == ("symlink", len("/etc/passwd"))
    assert home["pipe"]["after"]["kind"] == "fifo"
    # What comes with the template is told like what was written later.
    rest = {one["path"]: one["change"] for one in found}
    assert rest["/var/log"] == "removed" and any(path.startswith("/var/log/") for path in rest)

    shown = warren("sandbox", "diff", before, after)[0]
    assert "~ file              8 B  /home/user/other  (was 9 B)\n" in shown and "\x1b" not in shown
    assert '+ file              1 B  "/home/user/odd\\nname\\xFF"\n' in shown
    assert re.search(rf"{len(found)} paths differ: \d+ new, \d+ changed, \d+ gone\n$", shown)
    assert len(warren("sandbox", "diff", "-q", before, after)[0].splitlines()) == len(found)
    back = json.loads(warren("sandbox", "diff", after, before, "--json")[0])
    turned = {"added": "removed", "removed": "added", "modified": "modified"}
    assert [(one["path"], turned[one["change"]]) for one in back] == [(one["path"], one["change"]) for one in found]


def test_a_diff_with_a_sandbox_leaves_no_snapshot(sandbox_id, snapshots):
    before = kept(sandbox_id, snapshots, "--files-only")
    inside(sandbox_id, "for n in $(seq 1 2500); do echo $n > ~/$n; done")
    # More than one page of the server's.
    shown = warren("sandbox", "diff", "-q", before, "--sandbox", sandbox_id)[0].splitlines()
    assert {f"/home/user/{n}" for n in range(1, 2501)} <= set(shown)
    assert len(shown) == len(set(shown))
    assert warren("sandbox", "snapshot", "ls", "-q", "--sandbox", sandbox_id)[0].split() == [before]
    warren("sandbox", "pause", "-q", "--files-only", sandbox_id)
    assert "paused" in warren("sandbox", "diff", before, "--sandbox", sandbox_id, status=1)[1]


def test_what_is_named_wrong_is_said(sandbox_id, snapshots):
    state = kept(sandbox_id, snapshots, "--files-only")
    other = warren("sandbox", "create", "--timeout", "60")[0].strip()
    assert "of another sandbox" in warren("sandbox", "rollback", other, state, status=1)[1]
    warren("sandbox", "kill", other)
    assert "base" in warren("sandbox", "rollback", sandbox_id, "base", status=1)[1]
    assert "not found" in warren("sandbox", "rollback", sandbox_id, "nothing", status=1)[1]
    assert "not found" in warren("sandbox", "diff", state, "nothing", status=1)[1]
    assert "--sandbox" in warren("sandbox", "diff", state, status=2)[1]
    inside(sandbox_id, "echo x > ~/x")
    assert warren("sandbox", "rollback", "-q", sandbox_id, state) == ("", "")
    answer = json.loads(warren("sandbox", "rollback", "--json", sandbox_id, state, "--timeout", "120")[0])
    assert answer == {"sandboxId": sandbox_id, "snapshotId": state, "state": "running"}
    assert inside(sandbox_id, "test -e ~/x || echo gone") == "gone\n"
