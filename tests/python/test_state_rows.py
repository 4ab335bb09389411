"""Rows of the protocol's feature table about pauses, forks and snapshots; each test names its rows.

Both official clients of Python, where they differ. `cargo xtask check` holds that every row is
named by a test (`Row: …`)."""

import asyncio
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path

import httpx
import pytest
from e2b import (
    AsyncSandbox,
    GuestUnresponsiveException,
    InvalidArgumentException,
    NotFoundException,
    Sandbox,
    SandboxException,
    SandboxNotFoundException,
    SandboxState,
    ServiceBusyException,
)
from outside import API_URL, routed
from waiting import until

BOOT_ID = "/proc/sys/kernel/random/boot_id"


# Every row here is about kept memory, or beside it.
pytestmark = pytest.mark.usefixtures("memory")


@pytest.fixture
def made(create):
    """Sandboxes and snapshots that a test makes by other ways than `create`; the latter go last."""
    things = []
    yield things
    for thing in things:
        if not isinstance(thing, str):
            thing.kill()
    for thing in things:
        if isinstance(thing, str):
            until(lambda: deleted(thing) is not None, "its sandboxes are gone", 20)


def deleted(snapshot_id):
    """Whether it was there; nothing while sandboxes stand on it."""
    try:
        return Sandbox.delete_snapshot(snapshot_id)
    except SandboxException:
        return None


def boot_id(sandbox):
    return sandbox.commands.run(f"cat {BOOT_ID}").stdout


def leave_sleeper(sandbox):
    """A process that is to live on."""
    sandbox.commands.run("sleep 4321 > /dev/null 2>&1 & echo $! > /tmp/sleeper")


def has_sleeper(sandbox):
    line = "grep -qs sleep /proc/$(cat /tmp/sleeper)/comm && echo yes || echo no"
    return sandbox.commands.run(line).stdout == "yes\n"


def left_of(sandbox):
    return sandbox.get_info().end_at - datetime.now(timezone.utc)


def test_a_pause_that_keeps_memory_and_its_resume(create):
    """Row: P1, P2. A second pause is told apart; the same id, token, boot and processes go on."""
    sandbox = create(metadata={"a": "b"})
    leave_sleeper(sandbox)
    before, started = boot_id(sandbox), sandbox.get_info().started_at
    assert sandbox.pause() is True
    assert sandbox.pause() is False
    info = sandbox.get_info()
    assert info.state == SandboxState.PAUSED and info.metadata == {"a": "b"}
    with pytest.raises(SandboxNotFoundException):
        sandbox.set_timeout(60)
    with pytest.raises(SandboxNotFoundException):
        sandbox.create_snapshot()
    again = sandbox.connect(timeout=90)
    assert again.sandbox_id == sandbox.sandbox_id
    assert again._envd_access_token == sandbox._envd_access_token
    assert boot_id(again) == before and has_sleeper(again)
    info = again.get_info()
    assert info.state == SandboxState.RUNNING and info.started_at > started
    assert timedelta(seconds=60) < left_of(again) <= timedelta(seconds=90)


def test_the_asynchronous_client_pauses_and_forks_as_well(made):
    """Row: P1, P2, P4, F1."""

    async def check():
        sandbox = await AsyncSandbox.create(timeout=120)
        try:
            await sandbox.commands.run("sleep 4321 > /dev/null 2>&1 & echo $! > /tmp/sleeper")
            read = f"cat {BOOT_ID}; cat /proc/$(cat /tmp/sleeper)/comm"
            before = (await sandbox.commands.run(read)).stdout
            assert await sandbox.pause() is True
            assert await sandbox.pause() is False
            # Two at a time join one resume.
            both = await asyncio.gather(*(AsyncSandbox.connect(sandbox.sandbox_id) for _ in range(2)))
            assert {one.sandbox_id for one in both} == {sandbox.sandbox_id}
            assert (await sandbox.commands.run(read)).stdout == before
            forks = await sandbox.fork(count=2, timeout=60)
            assert all(not isinstance(fork, Exception) for fork in forks), forks
            for fork in forks:
                assert (await fork.commands.run("cat /proc/$(cat /tmp/sleeper)/comm")).stdout == "sleep\n"
                await fork.kill()
            assert await sandbox.pause(mode="full") is True
            await sandbox.connect(on_resume="reboot")
            assert (await sandbox.commands.run(f"cat {BOOT_ID}")).stdout.strip() not in before
        finally:
            await sandbox.kill()

    asyncio.run(check())


@pytest.mark.parametrize("wish", [{"mode": "filesystem"}, {"keep_memory": False}])
def test_a_pause_of_files_alone(create, wish):
    """Row: P3."""
    sandbox = create()
    sandbox.files.write("/home/user/kept", "kept")
    leave_sleeper(sandbox)
    before = boot_id(sandbox)
    assert sandbox.pause(**wish) is True
    sandbox.connect()
    assert boot_id(sandbox) != before and not has_sleeper(sandbox)
    assert sandbox.files.read("/home/user/kept") == "kept"


def test_a_resume_as_a_reboot(create):
    """Row: P4. Memory was kept and is not wanted; the next pause keeps that of the new boot."""
    sandbox = create(envs={"GIVEN": "at creation"})
    sandbox.files.write("/home/user/kept", "kept")
    leave_sleeper(sandbox)
    first = boot_id(sandbox)
    assert sandbox.pause()
    sandbox.connect(on_resume="reboot")
    second = boot_id(sandbox)
    assert second != first and not has_sleeper(sandbox)
    assert sandbox.files.read("/home/user/kept") == "kept"
    assert sandbox.commands.run("echo $GIVEN").stdout == "at creation\n"
    assert sandbox.pause()
    sandbox.connect()
    assert boot_id(sandbox) == second


def test_a_timeout_that_pauses_with_memory(create):
    """Row: P5."""
    sandbox = create(lifecycle={"on_timeout": "pause"})
    leave_sleeper(sandbox)
    before = boot_id(sandbox)
    sandbox.set_timeout(0)
    until(lambda: sandbox.get_info().state == SandboxState.PAUSED, "it is paused", 30)
    assert sandbox.is_running() is False
    sandbox.connect(timeout=60)
    assert boot_id(sandbox) == before and has_sleeper(sandbox)
    # The policy holds for every timeout, not for the first alone.
    sandbox.set_timeout(0)
    until(lambda: sandbox.get_info().state == SandboxState.PAUSED, "it is paused again", 30)


def test_a_timeout_that_pauses_files(create):
    """Row: P6. And it cannot be combined with a wake by traffic."""
    sandbox = create(lifecycle={"on_timeout": {"action": "pause", "mode": "filesystem"}})
    sandbox.files.write("/home/user/kept", "kept")
    before = boot_id(sandbox)
    sandbox.set_timeout(0)
    until(lambda: sandbox.get_info().state == SandboxState.PAUSED, "it is paused", 30)
    sandbox.connect(timeout=60)
    assert boot_id(sandbox) != before
    assert sandbox.files.read("/home/user/kept") == "kept"
    both = {"on_timeout": {"action": "pause", "mode": "filesystem"}, "auto_resume": True}
    with pytest.raises((InvalidArgumentException, SandboxException)):
        create(lifecycle=both)


def test_traffic_wakes(create):
    """Row: P7. A request for a port waits and is answered; so is a call of the client."""
    sandbox = create(lifecycle={"on_timeout": "pause", "auto_resume": True})
    sandbox.commands.run("python3 -m http.server 8000", background=True)
    to_port = routed(sandbox, port=8000, token=False)
    ask = lambda: httpx.get(API_URL, headers=to_port, timeout=60)
    until(lambda: ask().status_code == 200, "it serves")
    before = boot_id(sandbox)
    assert sandbox.pause()
    assert ask().status_code == 200
    assert sandbox.get_info().state == SandboxState.RUNNING
    assert boot_id(sandbox) == before
    # What traffic wakes gets its stored timeout, of five minutes at least.
    assert left_of(sandbox) > timedelta(seconds=240)
    assert sandbox.pause()
    assert sandbox.commands.run("echo woken").stdout == "woken\n"
    assert sandbox.pause()
    denied = httpx.get(f"{API_URL}/health", headers=routed(sandbox, token=False), timeout=60)
    assert denied.status_code == 403, "the daemon's port demands its token before anything wakes"
    assert sandbox.get_info().state == SandboxState.PAUSED
    # Many at once wake it once, and each is answered.
    with ThreadPoolExecutor(8) as pool:
        assert [one.status_code for one in pool.map(lambda _: ask(), range(8))] == [200] * 8


def test_a_connect_extends_and_never_shortens(create):
    """Row: P8."""
    sandbox = create(timeout=300)
    before = sandbox.get_info()
    sandbox.connect(timeout=10)
    assert sandbox.get_info().end_at == before.end_at
    sandbox.connect(timeout=600)
    after = sandbox.get_info()
    assert after.started_at == before.started_at
    assert after.end_at > before.end_at + timedelta(seconds=200)


def test_connecting_to_what_is_not_there(create):
    """Row: P9."""
    with pytest.raises(SandboxNotFoundException):
        Sandbox.connect("nope")
    killed = create()
    killed.pause()
    assert killed.kill() is True
    with pytest.raises(SandboxNotFoundException):
        killed.connect()


def first_process(sandbox):
    """Pid 1 of a sandbox as this host sees it; none where the server is not ours to look at."""
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            is_its = sandbox.sandbox_id in (status.parent / "cgroup").read_text()
            names = [line for line in status.read_text().splitlines() if line.startswith("NSpid:")]
        except OSError:
            continue
        if is_its and names and names[0].split()[-1] == "1":
            return int(status.parent.name)
    return None


def test_a_guest_that_does_not_answer(create):
    """Row: P10. Refused where an answer is demanded, and it goes on; marked where it is not."""
    sandbox = create()
    sandbox.files.write("/home/user/kept", "kept")
    stuck = first_process(sandbox)
    if stuck is None:
        pytest.skip("the server's processes cannot be seen from here")
    # From inside nobody can: a first process is not stopped by its own.
    assert sandbox.commands.run("kill -STOP 1; kill -KILL 1; echo on", user="root").stdout == "on\n"
    os.kill(stuck, signal.SIGSTOP)
    for refused in ({"strict": True}, {"mode": "filesystem"}):
        with pytest.raises(ServiceBusyException):
            sandbox.pause(**refused)
        assert sandbox.get_info().state == SandboxState.RUNNING
    os.kill(stuck, signal.SIGCONT)
    assert sandbox.commands.run("echo on").stdout == "on\n"
    os.kill(stuck, signal.SIGSTOP)
    assert sandbox.pause() is True
    with pytest.raises(GuestUnresponsiveException):
        sandbox.connect()
    assert sandbox.get_info().state == SandboxState.PAUSED
    sandbox.connect(on_resume="reboot")
    assert sandbox.files.read("/home/user/kept") == "kept"


def test_forks(create, made):
    """Row: F1. One, many, by id: the same past, then each its own; the source goes on."""
    sandbox = create(metadata={"a": "b"}, timeout=300)
    sandbox.files.write("/home/user/shared", "from the source")
    leave_sleeper(sandbox)
    end_at = sandbox.get_info().end_at
    made += sandbox.fork(timeout=60)
    made += sandbox.fork(count=2, timeout=60)
    made += Sandbox.fork(sandbox.sandbox_id, timeout=60)
    assert len(made) == 4 and all(isinstance(fork, Sandbox) for fork in made), made
    assert len({one.sandbox_id for one in [sandbox, *made]}) == 5
    for number, fork in enumerate(made):
        assert fork.files.read("/home/user/shared") == "from the source" and has_sleeper(fork)
        info = fork.get_info()
        assert info.metadata == {"a": "b"} and left_of(fork) <= timedelta(seconds=60)
        fork.files.write("/home/user/shared", str(number))
    assert [fork.files.read("/home/user/shared") for fork in made] == ["0", "1", "2", "3"]
    assert sandbox.files.read("/home/user/shared") == "from the source"
    assert has_sleeper(sandbox) and sandbox.get_info().end_at == end_at


def test_forks_that_are_refused(create):
    """Row: F2."""
    sandbox = create()
    with pytest.raises(InvalidArgumentException):
        sandbox.fork(count=0)
    sandbox.pause()
    with pytest.raises(SandboxException, match="409.*is paused and cannot be forked; resume it first"):
        sandbox.fork()
    sandbox.kill()
    with pytest.raises((NotFoundException, SandboxNotFoundException)):
        sandbox.fork()


def test_snapshots_are_taken_found_and_deleted(create, made):
    """Row: S1, S2, S3. With and without a name; the source goes on as it was."""
    sandbox = create(timeout=300)
    sandbox.files.write("/home/user/kept", "then")
    leave_sleeper(sandbox)
    before = sandbox.get_info().end_at
    name = f"rows-{sandbox.sandbox_id}"
    unnamed, named = sandbox.create_snapshot(), sandbox.create_snapshot(name=f"{name}:v1")
    made += [unnamed.snapshot_id, named.snapshot_id]
    assert unnamed.snapshot_id.endswith(":default") and unnamed.names == []
    assert named.snapshot_id.endswith(f"/{name}:v1") and name in named.names[0]
    assert sandbox.get_info().end_at == before and has_sleeper(sandbox)
    sandbox.files.write("/home/user/kept", "now")
    for taken in (unnamed, named):
        child = Sandbox.create(taken.snapshot_id, timeout=60)
        made.append(child)
        assert child.files.read("/home/user/kept") == "then" and has_sleeper(child)

    found = lambda **query: [one.snapshot_id for one in Sandbox.list_snapshots(**query).next_items()]
    assert found(sandbox_id=sandbox.sandbox_id) == [named.snapshot_id, unnamed.snapshot_id], "the newest first"
    assert found(name=name) == [named.snapshot_id] == found(name=f"{name}:v1")
    assert found(name=f"{name}:v2") == found(name="nobody-named-this") == []
    pages = Sandbox.list_snapshots(sandbox_id=sandbox.sandbox_id, limit=1)
    assert len(pages.next_items()) == 1 and pages.has_next
    assert len(pages.next_items()) == 1 and not pages.has_next

    with pytest.raises(SandboxException, match="running sandboxes using it"):
        Sandbox.delete_snapshot(named.snapshot_id)
    for child in made[2:]:
        child.kill()
    for taken in (unnamed, named):
        assert until(lambda: deleted(taken.snapshot_id), "its sandboxes are gone") is True
        assert Sandbox.delete_snapshot(taken.snapshot_id) is False
    assert found(sandbox_id=sandbox.sandbox_id) == []


def test_a_snapshot_of_files_alone_boots(create, made):
    """Row: S4."""
    sandbox = create()
    sandbox.files.write("/home/user/kept", "then")
    leave_sleeper(sandbox)
    taken = sandbox.create_snapshot(mode="filesystem")
    made.append(taken.snapshot_id)
    child = Sandbox.create(taken.snapshot_id, timeout=60)
    made.append(child)
    assert child.files.read("/home/user/kept") == "then"
    assert boot_id(child) != boot_id(sandbox) and not has_sleeper(child) and has_sleeper(sandbox)


def test_a_snapshot_during_another_one_is_refused_in_words(create, made):
    """Row: S1."""
    sandbox = create("code-interpreter-v1")

    def take(_):
        try:
            return sandbox.create_snapshot().snapshot_id
        except SandboxException as refused:
            return refused

    def collide():
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(take, range(4)))
        taken = [one for one in answers if isinstance(one, str)]
        made.extend(taken)
        assert taken, answers
        refused = [str(one) for one in answers if not isinstance(one, str)]
        assert all("409" in text and "is being snapshotted" in text for text in refused), refused
        return refused

    until(collide, "two met", 60)
    assert sandbox.commands.run("echo on").stdout == "on\n"
