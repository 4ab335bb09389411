"""What the asynchronous client can do with commands, terminals, files, watches and signed links.

The numbers are the rows of `docs/reference/features.md`. All of it runs over both ways into a
sandbox, as the synchronous client's suites do."""

import asyncio
import io

import httpx
import pytest
from e2b import (
    AsyncSandbox,
    AuthenticationException,
    CommandExitException,
    FileNotFoundException,
    FileType,
    NotFoundException,
    PtySize,
    SandboxException,
    TimeoutException,
)
from e2b.sandbox.filesystem.filesystem import WriteEntry
from outside import API_URL

WAYS = ["domain"] if API_URL.startswith("https:") else ["headers", "host-name"]


@pytest.fixture(params=WAYS)
def inside(request):
    """Runs an asynchronous check in a sandbox of its own, led there this way."""

    def run(check, **options):
        async def go():
            made = await AsyncSandbox.create(timeout=300, **options)
            try:
                sandbox = made
                if request.param == "host-name":
                    url = f"http://{made.get_host(49983).split('.')[0]}.warren.test"
                    sandbox = await AsyncSandbox.connect(made.sandbox_id, sandbox_url=url, proxy=API_URL)
                await check(sandbox)
            finally:
                await made.kill()

        asyncio.run(go())

    return run


async def until(condition, what):
    for _ in range(400):
        if condition():
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"not within 20 s: {what}")


def test_what_a_command_says_and_how_it_ends(inside):
    """Rows 1, 2, 3, 4, 5, 6, 7, 17, 18, 19, 20."""

    async def check(sandbox):
        assert await sandbox.is_running()
        run = sandbox.commands.run
        out, err = [], []
        told = await run("echo out; echo err >&2", on_stdout=out.append, on_stderr=err.append)
        assert (told.stdout, told.stderr, told.exit_code, told.error) == ("out\n", "err\n", 0, None)
        assert ("".join(out), "".join(err)) == ("out\n", "err\n")
        with pytest.raises(CommandExitException) as failed:
            await run("echo why >&2; exit 3")
        assert (failed.value.exit_code, failed.value.error, failed.value.stderr) == (3, "exit status 3", "why\n")
        broken = await run("head -c 8191 /dev/zero | tr '\\0' a; printf '\\342'")
        assert broken.stdout.startswith("a" * 8191) and len(broken.stdout) >= 8191
        with pytest.raises(TimeoutException):
            await run("sleep 30", timeout=1)
        assert (await run("sleep 1; echo on", timeout=0)).stdout == "on\n"
        assert (await run("echo $FROM-$A", envs={"A": "b c"})).stdout == "sandbox-b c\n"
        await sandbox.files.make_dir("elsewhere")
        assert (await run("pwd", cwd="~/elsewhere")).stdout == "/home/user/elsewhere\n"
        with pytest.raises(SandboxException, match="does not exist"):
            await run("pwd", cwd="/no/such")
        assert (await run("whoami", user="root")).stdout == "root\n"
        with pytest.raises(AuthenticationException):
            await run("true", user="nobody-here")

    inside(check, envs={"FROM": "sandbox"})


def test_commands_in_the_background(inside):
    """Rows 8, 9, 10, 11, 12, 13, 70."""

    async def check(sandbox):
        commands = sandbox.commands
        handle = await commands.run("sleep 1; echo late", background=True)
        await handle.disconnect()
        again = await commands.connect(handle.pid)
        assert (await again.wait()).stdout == "late\n"
        assert (await (await commands.connect(handle.pid)).wait()).exit_code == 0
        with pytest.raises(NotFoundException):
            await commands.connect(9_999_999)
        slow = await commands.run("sleep 60", background=True, envs={"K": "v"}, cwd="/tmp")
        (row,) = [one for one in await commands.list() if one.pid == slow.pid]
        assert (row.cmd, row.args[-1], row.envs, row.cwd) == ("/bin/bash", "sleep 60", {"K": "v"}, "/tmp")
        assert await commands.kill(slow.pid)
        assert slow.pid not in [one.pid for one in await commands.list()], "gone when the kill is answered"
        assert (await commands.run(f"kill -0 {slow.pid} 2>/dev/null || echo gone")).stdout == "gone\n"
        assert not await commands.kill(slow.pid)
        many = await asyncio.gather(*(commands.run(f"echo {n}") for n in range(40)))
        assert [one.stdout for one in many] == [f"{n}\n" for n in range(40)]

    inside(check)


def test_what_a_command_is_told(inside):
    """Rows 14, 15, 16."""

    async def check(sandbox):
        commands = sandbox.commands
        handle = await commands.run("cat", background=True, stdin=True)
        for text in ("zeile ✓\n", "", "two\nlines\n"):
            await commands.send_stdin(handle.pid, text)
        async with commands.stream_input(handle.pid) as stream:
            await stream.send("streamed\n")
        await handle.close_stdin()
        assert (await handle.wait()).stdout == "zeile ✓\ntwo\nlines\nstreamed\n"
        assert (await commands.run("cat; echo end", stdin=False)).stdout == "end\n"

    inside(check)


def test_a_terminal(inside):
    """Rows 22, 23."""

    async def check(sandbox):
        seen = bytearray()
        terminal = await sandbox.pty.create(PtySize(cols=80, rows=24), on_data=seen.extend, envs={"MINE": "yes"})
        await sandbox.pty.send_stdin(terminal.pid, b"stty size; echo $MINE-$TERM\n")
        await until(lambda: b"24 80" in seen and b"yes-xterm-256color" in seen, seen)
        await sandbox.pty.resize(terminal.pid, PtySize(cols=101, rows=33))
        await terminal.disconnect()
        again = await sandbox.pty.connect(terminal.pid, on_data=seen.extend)
        await sandbox.pty.send_stdin(terminal.pid, b"stty size\n")
        await until(lambda: b"33 101" in seen, seen)
        assert await sandbox.pty.kill(terminal.pid)
        with pytest.raises(CommandExitException):
            await again.wait()
        assert not await sandbox.pty.kill(terminal.pid)

    inside(check)


def test_files_both_ways(inside):
    """Rows 25, 26, 27, 28, 29, 30, 31, 32."""

    async def check(sandbox):
        files = sandbox.files
        await files.write("new/below/a", "text ✓")
        assert await files.read("new/below/a") == "text ✓"
        await files.write("new/below/a", b"\x00\xff")
        assert await files.read("new/below/a", format="bytes") == b"\x00\xff"
        assert (await files.get_info("new/below")).owner == "user"
        written = await files.write_files([WriteEntry(path=f"many/{n}", data=str(n)) for n in range(10)])
        assert [one.path for one in written] == [f"/home/user/many/{n}" for n in range(10)]
        large = bytes(range(256)) * 8192
        await files.write("large", io.BytesIO(large))
        assert b"".join([piece async for piece in await files.read("large", format="stream")]) == large
        await files.write("packed", "z" * 100_000, gzip=True)
        assert await files.read("packed", gzip=True) == "z" * 100_000
        await files.write("noted", "x", metadata={"kind": "note"})
        assert (await files.get_info("noted")).metadata == {"kind": "note"}
        await files.write("noted", "y")
        assert not (await files.get_info("noted")).metadata
        for missing in (files.read, files.get_info, files.list):
            with pytest.raises(FileNotFoundException):
                await missing("nowhere")

    inside(check)


def test_entries(inside):
    """Rows 33, 34, 35, 36, 37, 38."""

    async def check(sandbox):
        files = sandbox.files
        await files.write("d/e/f", "12345")
        info = await files.get_info("d/e/f")
        assert (info.name, info.type, info.size, info.mode, info.permissions) == ("f", FileType.FILE, 5, 0o644, "-rw-r--r--")
        assert [one.name for one in await files.list("d")] == ["e"]
        assert [one.path for one in await files.list("d", depth=2)] == ["/home/user/d/e", "/home/user/d/e/f"]
        assert await files.exists("d/e/f") and not await files.exists("d/x")
        assert await files.make_dir("d/m/n") and not await files.make_dir("d/m/n")
        moved = await files.rename("d/e/f", "d/m/g")
        assert (moved.path, await files.exists("d/e/f")) == ("/home/user/d/m/g", False)
        await files.remove("d")
        await files.remove("d")
        assert not await files.exists("d")

    inside(check)


def test_watches(inside):
    """Rows 40, 41."""

    async def check(sandbox):
        files, events, ends = sandbox.files, [], []
        await files.make_dir("w/sub")
        handle = await files.watch_dir(
            "w", on_event=events.append, on_exit=ends.append, recursive=True, include_entry=True, timeout=0
        )
        await files.write("w/sub/new", "x")
        await until(lambda: len(events) >= 3, events)
        assert [(one.name, one.type.value) for one in events] == [
            ("sub/new", "create"),
            ("sub/new", "chmod"),
            ("sub/new", "write"),
        ]
        assert events[0].entry.path == "/home/user/w/sub/new"
        await handle.stop()
        brief = await files.watch_dir("w", on_event=events.append, on_exit=ends.append, timeout=1)
        await until(lambda: ends, "a watch ends at its time")
        await brief.stop()
        with pytest.raises(SandboxException):
            await files.watch_dir("w/sub/new", on_event=events.append)

    inside(check)


def test_signed_links_of_a_secured_sandbox(inside):
    """Rows 42, 43. A link carries no headers: without a domain the listener finds its sandbox by the signature."""

    async def check(sandbox):
        await sandbox.files.write("signed", "by link")
        link = await maybe(sandbox.download_url("signed", use_signature_expiration=60))
        # A link by host name leads through the same proxy as the client.
        async with httpx.AsyncClient(proxy=API_URL if ".warren.test/" in link else None) as client:
            assert (await client.get(link)).text == "by link"
            assert (await client.get(link.replace("signed", "other"))).status_code == 401

    inside(check, secure=True)


async def maybe(value):
    """Some versions give the link at once, others as a coroutine."""
    return await value if asyncio.iscoroutine(value) else value


def test_a_sandbox_killed_during_a_command(inside):
    """Row 21."""

    async def check(sandbox):
        running = asyncio.create_task(sandbox.commands.run("sleep 60"))
        await asyncio.sleep(1)
        await sandbox.kill()
        with pytest.raises(SandboxException, match="killed or reached its end of life"):
            await running
        assert not await sandbox.is_running()

    inside(check)
