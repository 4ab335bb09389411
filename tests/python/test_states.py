"""States that are kept: snapshots, forks, rollbacks, and pauses that keep memory.

What needs memory is skipped, and counted, where the server says that it cannot keep it."""

import httpx
import pytest
from e2b import InvalidArgumentException, NotFoundException, Sandbox, SandboxException, SandboxNotFoundException
from outside import API_KEY, API_URL
from waiting import until

BOOT_ID = "/proc/sys/kernel/random/boot_id"
MACHINE_ID = "/etc/machine-id"


def read(sandbox, path):
    return sandbox.commands.run(f"cat {path}", user="root").stdout


@pytest.fixture
def snapshots():
    """Snapshots to be deleted at the end, after the sandboxes of the test."""
    ids = []
    yield ids
    for snapshot in ids:
        Sandbox.delete_snapshot(snapshot)


@pytest.fixture
def made(snapshots, create):
    """Sandboxes that the test makes by other ways than `create`."""
    sandboxes = []
    yield sandboxes
    for sandbox in sandboxes:
        sandbox.kill()


def snapshot(sandbox, snapshots, **options):
    taken = sandbox.create_snapshot(**options)
    snapshots.append(taken.snapshot_id)
    return taken


def test_a_snapshot_of_files_starts_others(create, snapshots, made):
    sandbox = create(envs={"GIVEN": "at creation"})
    sandbox.commands.run("echo then > kept; echo own > /root/owned; rm -f /etc/motd", user="root", cwd="/home/user")
    name = f"states-{sandbox.sandbox_id}"
    taken = snapshot(sandbox, snapshots, name=name, mode="filesystem")
    assert name in taken.snapshot_id and any(name in one for one in taken.names)
    sandbox.files.write("/home/user/kept", "now")

    found = Sandbox.list_snapshots(name=name).next_items()
    assert [one.snapshot_id for one in found] == [taken.snapshot_id]
    found = Sandbox.list_snapshots(sandbox_id=sandbox.sandbox_id).next_items()
    assert [one.snapshot_id for one in found] == [taken.snapshot_id]
    assert Sandbox.list_snapshots(name="nobody-named-this").next_items() == []

    child = Sandbox.create(taken.snapshot_id, timeout=120)
    made.append(child)
    assert child.sandbox_id != sandbox.sandbox_id
    assert child._envd_access_token != sandbox._envd_access_token
    assert read(child, "/home/user/kept /root/owned") == "then\nown\n"
    assert read(sandbox, "/home/user/kept") == "now"
    assert child.commands.run("test -e /etc/motd || echo gone").stdout == "gone\n"
    child.files.write("/home/user/mine", "child")
    assert not sandbox.files.exists("/home/user/mine")
    assert read(child, BOOT_ID) != read(sandbox, BOOT_ID)

    # While a child stands on it, it cannot go; the source can.
    with pytest.raises(SandboxException, match="running sandboxes using it"):
        Sandbox.delete_snapshot(taken.snapshot_id)
    assert sandbox.kill()
    second = Sandbox.create(taken.snapshot_id, timeout=120)
    made.append(second)
    assert read(second, "/home/user/kept") == "then\n"
    for one in (child, second):
        one.kill()
    until(lambda: deleted(taken.snapshot_id), "its children are gone")
    assert Sandbox.delete_snapshot(taken.snapshot_id) is False
    with pytest.raises(SandboxException, match="not found"):
        Sandbox.create(taken.snapshot_id)


def deleted(snapshot_id):
    try:
        return Sandbox.delete_snapshot(snapshot_id)
    except SandboxException:
        return False


def test_a_rollback_goes_back_under_the_same_id(create, snapshots):
    sandbox = create()
    sandbox.files.write("/home/user/kept", "then")
    taken = snapshot(sandbox, snapshots, mode="filesystem")
    for asleep in (False, True):
        sandbox.commands.run("echo now > kept; touch new; rm -rf /var/log", user="root", cwd="/home/user")
        if asleep:
            sandbox.pause(mode="filesystem")
        answer = httpx.post(
            f"{API_URL}/sandboxes/{sandbox.sandbox_id}/rollback",
            headers={"X-API-Key": API_KEY},
            json={"snapshotID": taken.snapshot_id, "timeout": 120},
            timeout=60,
        )
        assert answer.status_code == 200, answer.text
        assert answer.json()["sandboxID"] == sandbox.sandbox_id
        assert sandbox.files.read("/home/user/kept") == "then"
        assert not sandbox.files.exists("/home/user/new") and sandbox.files.exists("/var/log")


def test_forks_are_refused_in_words(create):
    sandbox = create()
    with pytest.raises((InvalidArgumentException, SandboxException)):
        sandbox.fork(count=0)
    sandbox.pause(mode="filesystem")
    with pytest.raises(SandboxException, match="paused and cannot be forked"):
        sandbox.fork()
    sandbox.kill()
    with pytest.raises((NotFoundException, SandboxNotFoundException)):
        sandbox.fork()


def test_memory_survives_a_pause(create, memory):
    sandbox = create()
    sandbox.commands.run("python3 -m http.server 8123 --bind 127.0.0.1", background=True)
    until(lambda: "200" in curl(sandbox), "the server answers")
    sandbox.commands.run("sleep 1234 > /dev/null 2>&1 & echo $! > /tmp/sleeper")
    before = read(sandbox, BOOT_ID)
    for _ in range(2):
        assert sandbox.pause() is True
        assert sandbox.is_running() is False
        assert sandbox.pause() is False
        sandbox.connect(timeout=120)
        assert read(sandbox, BOOT_ID) == before
        assert "200" in curl(sandbox)
        assert sandbox.commands.run("kill -0 $(cat /tmp/sleeper)").exit_code == 0
    assert sandbox.pause()
    sandbox.connect(on_resume="reboot", timeout=120)
    assert read(sandbox, BOOT_ID) != before


def curl(sandbox):
    command = "curl -s -m 5 -o /dev/null -w '%{http_code}' http://127.0.0.1:8123/ || true"
    return sandbox.commands.run(command).stdout


def test_forks_share_the_past_and_nothing_else(create, made, memory):
    sandbox = create()
    sandbox.commands.run("sleep 1234 > /dev/null 2>&1 & echo $! > /tmp/sleeper")
    forks = sandbox.fork(count=2, timeout=120)
    assert all(not isinstance(fork, Exception) for fork in forks), forks
    made.extend(forks)
    ids = {one.sandbox_id for one in [sandbox, *forks]}
    tokens = {one._envd_access_token for one in [sandbox, *forks]}
    machines = {read(one, MACHINE_ID) for one in forks}
    assert (len(ids), len(tokens), len(machines)) == (3, 3, 2)
    for number, fork in enumerate(forks):
        assert fork.commands.run("kill -0 $(cat /tmp/sleeper)").exit_code == 0
        fork.files.write("/home/user/own", str(number))
    assert not sandbox.files.exists("/home/user/own")
    assert [fork.files.read("/home/user/own") for fork in forks] == ["0", "1"]
    assert sandbox.is_running()


def test_variables_survive_a_pause_and_start_others(create, snapshots, made, memory):
    from e2b_code_interpreter import Sandbox as CodeSandbox

    sandbox = create("code-interpreter-v1", CodeSandbox)
    sandbox.run_code("x = 41; handle = open('/home/user/open', 'w+'); handle.write('kept'); handle.flush()")
    assert sandbox.pause()
    sandbox.connect(timeout=120)
    assert sandbox.run_code("handle.seek(0); x += 1; (x, handle.read())").text == "(42, 'kept')"
    taken = snapshot(sandbox, snapshots)
    child = CodeSandbox.create(taken.snapshot_id, timeout=120)
    made.append(child)
    assert child.run_code("x += 1; x").text == "43"
    assert sandbox.run_code("x").text == "42"


def nursery(sandbox):
    """How many processes only wait to become kernels, or make them."""
    found = sandbox.commands.run("pgrep -cf -- '--nurser[y]' || true", user="root")
    return int(found.stdout)


def test_what_only_waits_is_not_written_down(create, memory):
    from e2b_code_interpreter import Sandbox as CodeSandbox

    sandbox = create("code-interpreter-v1", CodeSandbox)
    sandbox.run_code("x = 1")
    until(lambda: nursery(sandbox) >= 2, "a spare kernel")
    sandbox.pause()
    sandbox.connect(timeout=120)
    assert nursery(sandbox) == 0
    assert sandbox.run_code("x").text == "1"
    until(lambda: nursery(sandbox) >= 2, "a spare kernel")
    # A context has one of its kernels, whose end nobody else would hear of.
    context = sandbox.create_code_context()
    sandbox.run_code("y = 2", context=context)
    until(lambda: nursery(sandbox) >= 3, "another spare kernel")
    sandbox.pause()
    sandbox.connect(timeout=120)
    assert nursery(sandbox) == 2
    assert sandbox.run_code("y", context=context).text == "2"
    assert sandbox.run_code("x").text == "1"
    other = sandbox.create_code_context()
    assert sandbox.run_code("3", context=other).text == "3"
