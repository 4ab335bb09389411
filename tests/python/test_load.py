"""One sandbox under load: nothing is lost, nothing sticks, and the daemon's memory stays where it was.

The sizes are small ones here. `cargo xtask soak` runs the long form: WARREN_LOAD=long."""

import asyncio
import os

import pytest
from e2b import AsyncSandbox, CommandExitException
from waiting import until

LONG = os.environ.get("WARREN_LOAD") == "long"
MIB = 1 << 20
# What the daemon may gain over a test, as its allocator keeps some of what it had.
GAIN = 8 * MIB


def resident(sandbox):
    """Bytes that the daemon, the sandbox's first process, has in memory."""
    status = sandbox.files.read("/proc/1/status")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS"))


@pytest.fixture
def steady(sandbox):
    """The sandbox, whose daemon must not have grown afterwards."""
    sandbox.commands.run("true")
    before = resident(sandbox)
    yield sandbox
    until(lambda: resident(sandbox) <= before + GAIN, f"{before} bytes in memory as before")


def test_runs_one_after_the_other(steady):
    for n in range(1000 if LONG else 100):
        assert steady.commands.run(f"echo {n}").stdout == f"{n}\n"
    assert steady.commands.list() == []


def test_runs_and_watches_at_once(steady):
    n_runs, n_watches = (200, 50) if LONG else (60, 20)

    async def check():
        sandbox = await AsyncSandbox.connect(steady.sandbox_id)
        seen = [[] for _ in range(n_watches)]
        await asyncio.gather(*(sandbox.files.make_dir(f"load/{n}") for n in range(n_watches)))
        watches = [
            await sandbox.files.watch_dir(f"load/{n}", on_event=seen[n].append, timeout=0)
            for n in range(n_watches)
        ]
        # All of them run until the last one has started.
        script = "echo {0}; echo {0} > load/{1}/{0}; until [ -e go ]; do sleep 0.2; done; head -c 100000 /dev/zero"
        scripts = [script.format(n, n % n_watches) for n in range(n_runs)]
        handles = await asyncio.gather(*(sandbox.commands.run(s, background=True) for s in scripts))
        assert len(await sandbox.commands.list()) == n_runs
        await sandbox.commands.run("touch go")
        for n, result in enumerate(await asyncio.gather(*(handle.wait() for handle in handles))):
            assert result.stdout == f"{n}\n" + "\0" * 100_000
        expected = [{str(run) for run in range(n_runs) if run % n_watches == n} for n in range(n_watches)]
        for _ in range(100):
            told = [{event.name for event in events} for events in seen]
            if told == expected:
                break
            await asyncio.sleep(0.1)
        assert told == expected
        await asyncio.gather(*(watch.stop() for watch in watches))

    asyncio.run(check())
    steady.commands.run("rm -r load go")


def test_a_process_that_prints_much(steady):
    size = 1024 * MIB if LONG else 64 * MIB
    counted = [0]

    def count(text):
        counted[0] += len(text)
        assert text.strip("\0") == ""

    steady.commands.run(f"head -c {size} /dev/zero", on_stdout=count, retain_output=False, timeout=0)
    assert counted[0] == size


def test_a_client_that_stops_reading(steady):
    unread = [steady.commands.run("yes", background=True, timeout=0) for _ in range(10)]
    assert steady.commands.run("echo others go on").stdout == "others go on\n"
    assert resident(steady) < 64 * MIB
    for handle in unread:
        assert handle.kill()
    until(lambda: steady.commands.list() == [], "all of them gone though nobody read")
    for handle in unread:
        with pytest.raises(CommandExitException) as killed:
            handle.wait()
        assert killed.value.error == "signal: killed"
        assert set(killed.value.stdout.split("\n")) <= {"y", ""}


def test_large_files(steady):
    size = 4096 * MIB if LONG else 128 * MIB
    piece = os.urandom(MIB)

    def pieces():
        for _ in range(size // MIB):
            yield piece

    steady.files.write("large", pieces())
    n_bytes = 0
    for part in steady.files.read("large", format="stream", request_timeout=0):
        n_bytes += len(part)
    assert n_bytes == size
    steady.files.remove("large")
