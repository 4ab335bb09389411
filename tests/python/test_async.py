"""The asynchronous Python client: the same services as the synchronous one, streamed watches included."""

import asyncio

import pytest
from e2b import (
    AsyncSandbox,
    CommandExitException,
    FilesystemEventType,
    FileNotFoundException,
    NotFoundException,
    PtySize,
    TimeoutException,
)


def with_sandbox(check, **options):
    """Runs an asynchronous check in a sandbox of its own."""

    async def run():
        sandbox = await AsyncSandbox.create(timeout=300, **options)
        try:
            await check(sandbox)
        finally:
            await sandbox.kill()

    asyncio.run(run())


async def until(condition, what):
    for _ in range(200):
        if condition():
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"not within 10 s: {what}")


def test_commands():
    async def check(sandbox):
        said = []
        run = await sandbox.commands.run("echo out; echo err >&2", on_stdout=said.append, on_stderr=said.append)
        assert (run.stdout, run.stderr, run.exit_code) == ("out\n", "err\n", 0)
        assert sorted(said) == ["err\n", "out\n"]
        with pytest.raises(CommandExitException) as failed:
            await sandbox.commands.run("exit 3")
        assert (failed.value.exit_code, failed.value.error) == (3, "exit status 3")
        with pytest.raises(TimeoutException):
            await sandbox.commands.run("sleep 30", timeout=0.5)
        told = await sandbox.commands.run("whoami; pwd; echo $A", user="root", cwd="/tmp", envs={"A": "b"})
        assert told.stdout == "root\n/tmp\nb\n"

    with_sandbox(check)


def test_background_and_stdin():
    async def check(sandbox):
        said = []
        handle = await sandbox.commands.run("cat", background=True, stdin=True, on_stdout=said.append)
        await sandbox.commands.send_stdin(handle.pid, "one ")
        await until(lambda: said == ["one "], said)
        listed = await sandbox.commands.list()
        assert handle.pid in [process.pid for process in listed]
        await handle.disconnect()
        again = await sandbox.commands.connect(handle.pid)
        await sandbox.commands.send_stdin(again.pid, "two")
        await sandbox.commands.close_stdin(again.pid)
        assert (await again.wait()).stdout == "two", "output from before is not repeated"
        ended = await sandbox.commands.connect(handle.pid)
        assert (await ended.wait()).exit_code == 0, "an end can be asked for afterwards"
        slow = await sandbox.commands.run("sleep 60", background=True)
        assert await slow.kill()
        with pytest.raises(CommandExitException) as killed:
            await slow.wait()
        assert killed.value.error == "signal: killed"
        assert not await sandbox.commands.kill(slow.pid)
        with pytest.raises(NotFoundException):
            await sandbox.commands.connect(4_000_000)

    with_sandbox(check)


def test_many_commands_at_once():
    async def check(sandbox):
        runs = await asyncio.gather(*(sandbox.commands.run(f"echo {n}") for n in range(60)))
        assert [run.stdout for run in runs] == [f"{n}\n" for n in range(60)]

    with_sandbox(check)


def test_a_terminal():
    async def check(sandbox):
        seen = bytearray()
        terminal = await sandbox.pty.create(PtySize(cols=80, rows=24), on_data=seen.extend)
        await sandbox.pty.resize(terminal.pid, PtySize(cols=101, rows=33))
        await sandbox.pty.send_stdin(terminal.pid, b"stty size; echo done=$((40+2))\n")
        await until(lambda: b"33 101" in seen and b"done=42" in seen, seen)
        assert await sandbox.pty.kill(terminal.pid)
        with pytest.raises(CommandExitException):
            await terminal.wait()
        assert not await sandbox.pty.kill(terminal.pid)

    with_sandbox(check)


def test_files():
    async def check(sandbox):
        files = sandbox.files
        await files.write("a/b.txt", "text")
        assert await files.read("a/b.txt") == "text"
        assert await files.read("a/b.txt", format="bytes") == b"text"
        pieces = [piece async for piece in await files.read("a/b.txt", format="stream")]
        assert b"".join(pieces) == b"text"
        info = await files.get_info("a/b.txt")
        assert (info.name, info.size, info.owner, info.permissions) == ("b.txt", 4, "user", "-rw-r--r--")
        assert await files.make_dir("made") and not await files.make_dir("made")
        await files.rename("a/b.txt", "made/c.txt")
        assert [entry.path for entry in await files.list("made")] == ["/home/user/made/c.txt"]
        assert await files.exists("made/c.txt") and not await files.exists("a/b.txt")
        await files.remove("made")
        with pytest.raises(FileNotFoundException):
            await files.read("made/c.txt")

    with_sandbox(check)


def test_a_watch():
    async def check(sandbox):
        files, events, ends = sandbox.files, [], []
        await files.make_dir("watched/sub")
        handle = await files.watch_dir(
            "watched", on_event=events.append, on_exit=ends.append, recursive=True, include_entry=True
        )
        await files.write("watched/new", "x")
        await until(lambda: len(events) >= 3, events)
        kinds = [FilesystemEventType.CREATE, FilesystemEventType.CHMOD, FilesystemEventType.WRITE]
        assert [(event.name, event.type) for event in events] == [("new", kind) for kind in kinds]
        assert events[0].entry.path == "/home/user/watched/new"
        await files.rename("watched/sub", "watched/moved")
        await files.write("watched/moved/below", "x")
        await until(lambda: any(event.name == "moved/below" for event in events), events)
        await handle.stop()
        n_events = len(events)
        await files.write("watched/later", "x")
        assert len(events) == n_events

    with_sandbox(check)


def test_git():
    async def check(sandbox):
        git = sandbox.git
        await git.configure_user("A Person", "person@example.com")
        await git.init("project")
        await sandbox.files.write("project/file", "content")
        assert (await git.status("project")).file_status
        await git.add("project")
        await git.commit("project", "the first")
        status = await git.status("project")
        assert status.is_clean
        await git.create_branch("project", "side")
        assert "side" in (await git.branches("project")).branches

    with_sandbox(check)
