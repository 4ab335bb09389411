"""Watching directories, by polling and as a stream."""

import asyncio

import pytest
from e2b import AsyncSandbox, FileNotFoundException, FilesystemEventType as Type, InvalidArgumentException
from waiting import until


def collect(watcher, wanted):
    """Polls until every wanted (name, type) was seen."""
    seen = []

    def poll():
        seen.extend((event.name, event.type) for event in watcher.get_new_events())
        return wanted <= set(seen)

    until(poll, wanted)
    return seen


def test_every_kind_of_event(sandbox):
    sandbox.files.make_dir("w")
    watcher = sandbox.files.watch_dir("w")
    sandbox.files.write("w/f", "x")
    collect(watcher, {("f", Type.CREATE), ("f", Type.WRITE)})
    sandbox.commands.run("chmod 600 w/f")
    collect(watcher, {("f", Type.CHMOD)})
    sandbox.files.rename("w/f", "w/g")
    collect(watcher, {("f", Type.RENAME), ("g", Type.CREATE)})
    sandbox.files.remove("w/g")
    collect(watcher, {("g", Type.REMOVE)})
    watcher.stop()


def test_only_recursive_sees_below(sandbox):
    sandbox.commands.run("mkdir -p r/below")
    flat, deep = sandbox.files.watch_dir("r"), sandbox.files.watch_dir("r", recursive=True)
    sandbox.files.write("r/below/new/file", "x")
    # What was made before the new directory was watched may be missed; later writes may not.
    collect(deep, {("below/new", Type.CREATE)})
    sandbox.files.write("r/below/new/file", "y")
    collect(deep, {("below/new/file", Type.WRITE)})
    sandbox.files.write("r/last", "x")
    names = {name for name, _ in collect(flat, {("last", Type.CREATE)})}
    assert not any(name.startswith("below/") for name in names)
    flat.stop()
    deep.stop()


def test_entries_come_along(sandbox):
    sandbox.files.make_dir("e")
    watcher = sandbox.files.watch_dir("e", include_entry=True)
    sandbox.files.write("e/sized", "12345")
    events = []

    def poll():
        events.extend(watcher.get_new_events())
        return [event for event in events if event.entry and event.entry.size == 5]

    assert until(poll, "an event with its entry")[0].entry.path == "/home/user/e/sized"
    watcher.stop()


def test_wrong_places(sandbox):
    with pytest.raises(FileNotFoundException):
        sandbox.files.watch_dir("nowhere")
    sandbox.files.write("plain", "x")
    with pytest.raises(InvalidArgumentException):
        sandbox.files.watch_dir("plain")


def test_as_a_stream():
    async def run():
        sandbox = await AsyncSandbox.create("base", timeout=60)
        try:
            seen = asyncio.Queue()
            await sandbox.files.make_dir("s")
            handle = await sandbox.files.watch_dir("s", on_event=seen.put_nowait)
            await sandbox.files.write("s/file", "x")
            event = await asyncio.wait_for(seen.get(), 10)
            assert (event.name, event.type) == ("file", Type.CREATE)
            await handle.stop()
        finally:
            await sandbox.kill()

    asyncio.run(run())
