"""The daemon's two services through a generic Connect client, in both codecs.

The client is `connectrpc` as it comes, so requests are compressed; the messages
are those that E2B's own SDK brings along."""

import struct
from types import SimpleNamespace

import httpx
import pytest
from connectrpc.code import Code
from connectrpc.codec import proto_binary_codec, proto_json_codec
from connectrpc.errors import ConnectError
from e2b.envd.filesystem import filesystem_pb as fs
from e2b.envd.filesystem.filesystem_connect import FilesystemClientSync
from e2b.envd.process import process_pb as proc
from e2b.envd.process.process_connect import ProcessClientSync
from outside import API_URL, routed
from protobuf import Oneof


@pytest.fixture(scope="module", params=["binary", "json"])
def services(request, sandbox):
    """Both services, asked in one codec."""
    codec = proto_binary_codec() if request.param == "binary" else proto_json_codec()
    headers = routed(sandbox)
    with (
        ProcessClientSync(API_URL, codec=codec) as process,
        FilesystemClientSync(API_URL, codec=codec) as files,
    ):
        yield SimpleNamespace(process=process, files=files, headers=headers)


def shell(script, **options):
    config = proc.ProcessConfig(cmd="/bin/sh", args=["-c", script])
    return proc.StartRequest(process=config, **options)


def pid_of(pid):
    return proc.ProcessSelector(selector=Oneof("pid", pid))


def events(stream):
    """What a stream says: pid, output by kind, end."""
    pid, output, end = None, {"stdout": b"", "stderr": b"", "pty": b""}, None
    for message in stream:
        event = message.event.event
        if event.field == "start":
            pid = event.value.pid
        elif event.field == "data":
            output[event.value.output.field] += event.value.output.value
        elif event.field == "end":
            end = event.value
    return SimpleNamespace(pid=pid, end=end, **output)


def refused(code, call, *arguments, **options):
    with pytest.raises(ConnectError) as error:
        answer = call(*arguments, **options)
        list(answer if hasattr(answer, "__iter__") else [])
    assert error.value.code == code, error.value
    return error.value.message


def test_a_command(services):
    said = events(
        services.process.start(shell("printf '\\377out'; echo err >&2; exit 7"), headers=services.headers)
    )
    assert said.pid > 1
    assert (said.stdout, said.stderr) == (b"\xffout", b"err\n")
    assert (said.end.exit_code, said.end.exited, said.end.status) == (7, True, "exit status 7")


def test_a_signal(services):
    said = events(services.process.start(shell("kill -9 $$"), headers=services.headers))
    assert (said.end.exit_code, said.end.exited) == (-1, False)
    assert said.end.status == said.end.error == "signal: killed"


def test_input_list_signal(services):
    ask = {"headers": services.headers}
    stream = services.process.start(shell("cat", tag="generic"), **ask)
    pid = next(iter(stream)).event.event.value.pid
    listed = {info.pid: info for info in services.process.list(proc.ListRequest(), **ask).processes}
    assert (listed[pid].tag, listed[pid].config.args) == ("generic", ["-c", "cat"])

    def data(text):
        return proc.ProcessInput(input=Oneof("stdin", text))

    services.process.send_input(proc.SendInputRequest(process=pid_of(pid), input=data(b"one ")), **ask)
    start = proc.StreamInputRequest.StartEvent(process=pid_of(pid))
    messages = [proc.StreamInputRequest(event=Oneof("start", start))]
    for text in (b"two ", b"three"):
        event = proc.StreamInputRequest.DataEvent(input=data(text))
        messages.append(proc.StreamInputRequest(event=Oneof("data", event)))
    services.process.stream_input(iter(messages), **ask)
    services.process.close_stdin(proc.CloseStdinRequest(process=pid_of(pid)), **ask)
    said = events(stream)
    assert (said.stdout, said.end.exit_code) == (b"one two three", 0)
    late = events(services.process.connect(proc.ConnectRequest(process=pid_of(pid)), **ask))
    assert (late.pid, late.end.exited) == (pid, True)
    kill = proc.SendSignalRequest(process=pid_of(pid), signal=proc.Signal.SIGKILL)
    refused(Code.NOT_FOUND, services.process.send_signal, kill, **ask)


def test_a_terminal(services):
    size = proc.PTY(size=proc.PTY.Size(cols=91, rows=17))
    said = events(services.process.start(shell("stty size", pty=size), headers=services.headers))
    assert said.pty == b"17 91\r\n"


def test_files(services):
    ask = {"headers": services.headers}
    made = services.files.make_dir(fs.MakeDirRequest(path="generic/below"), **ask).entry
    assert (made.name, made.type, made.owner, made.mode) == ("below", fs.FileType.DIRECTORY, "user", 0o755)
    assert made.modified_time.seconds > 1_700_000_000
    refused(Code.ALREADY_EXISTS, services.files.make_dir, fs.MakeDirRequest(path="generic/below"), **ask)
    moved = fs.MoveRequest(source="generic/below", destination="generic/moved")
    assert services.files.move(moved, **ask).entry.path == "/home/user/generic/moved"
    entries = services.files.list_dir(fs.ListDirRequest(path="generic", depth=1), **ask).entries
    assert [entry.name for entry in entries] == ["moved"]
    watcher = services.files.create_watcher(fs.CreateWatcherRequest(path="generic"), **ask)
    services.files.remove(fs.RemoveRequest(path="generic/moved"), **ask)
    polled = fs.GetWatcherEventsRequest(watcher_id=watcher.watcher_id)
    told = services.files.get_watcher_events(polled, **ask).events
    assert [(event.name, event.type) for event in told] == [("moved", fs.EventType.REMOVE)]
    services.files.remove_watcher(fs.RemoveWatcherRequest(watcher_id=watcher.watcher_id), **ask)
    refused(Code.NOT_FOUND, services.files.get_watcher_events, polled, **ask)
    services.files.remove(fs.RemoveRequest(path="generic"), **ask)
    refused(Code.NOT_FOUND, services.files.stat, fs.StatRequest(path="generic"), **ask)


def test_a_watch_as_a_stream(services):
    ask = {"headers": services.headers, "timeout_ms": 20_000}
    services.files.remove(fs.RemoveRequest(path="seen"), headers=services.headers)
    stream = iter(services.files.watch_dir(fs.WatchDirRequest(path="/home/user"), **ask))
    assert next(stream).event.field == "start"
    services.files.make_dir(fs.MakeDirRequest(path="seen"), headers=services.headers)
    event = next(stream).event
    assert (event.field, event.value.name, event.value.type) == ("filesystem", "seen", fs.EventType.CREATE)
    stream.close()


def test_a_deadline(services):
    slow = services.process.start(shell("sleep 30"), headers=services.headers, timeout_ms=300)
    refused(Code.DEADLINE_EXCEEDED, lambda: slow)


def test_refusals(services):
    ask = {"headers": services.headers}
    gone = proc.ConnectRequest(process=pid_of(4_000_000))
    assert "4000000" in refused(Code.NOT_FOUND, services.process.connect, gone, **ask)
    nowhere = proc.StartRequest(process=proc.ProcessConfig(cmd="true", cwd="/no/such"))
    assert "/no/such" in refused(Code.INVALID_ARGUMENT, services.process.start, nowhere, **ask)
    refused(Code.INVALID_ARGUMENT, services.files.stat, fs.StatRequest(path="~root"), **ask)


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/proto", b"\x0a\xff", 400),
        ("application/json", b"", 400),
        ("application/json", b" " * ((32 << 20) + 1), 429),
        ("application/proto", b"\x0a" * ((40 << 20) + 1), 429),
        ("application/grpc", b"", 415),
        ("text/plain", b"x" * (40 << 20), 415),
    ],
)
def test_bodies_that_are_none(sandbox, stranger, content_type, body, status):
    headers = {**routed(sandbox), "Content-Type": content_type}
    answer = stranger.post("/filesystem.Filesystem/Stat", content=body, headers=headers)
    assert answer.status_code == status, answer.text
    if status != 415:
        assert answer.json()["code"] == ("invalid_argument" if status == 400 else "resource_exhausted")
    assert stranger.get("/health", headers=routed(sandbox)).status_code == 204


@pytest.mark.parametrize("codec", ["json", "proto"])
def test_streams_that_are_none(sandbox, stranger, codec):
    message = b'{"process":{"cmd":"true"}}' if codec == "json" else b"\x0a\x06\x0a\x04true"
    whole = struct.pack(">BI", 0, len(message)) + message
    headers = {**routed(sandbox), "Content-Type": f"application/connect+{codec}"}
    for body, code in [
        (b"", "invalid_argument"),
        (whole[:-1], "invalid_argument"),
        (whole + whole, "invalid_argument"),
        (struct.pack(">BI", 2, 2) + b"{}", "invalid_argument"),
        (struct.pack(">BI", 0, 1 << 31) + message, "resource_exhausted"),
        (struct.pack(">BI", 1, len(message)) + message, "internal"),
        (whole, None),
    ]:
        answer = stranger.post("/process.Process/Start", content=body, headers=headers)
        assert (answer.status_code, answer.headers["content-type"]) == (200, headers["Content-Type"])
        records, rest = [], answer.content
        while rest:
            flags, length = struct.unpack(">BI", rest[:5])
            records.append((flags, rest[5 : 5 + length]))
            rest = rest[5 + length :]
        assert [flags for flags, _ in records] == ([2] if code else [0, 0, 2]), body[:20]
        assert (code or "{}").encode() in records[-1][1]


def test_a_stream_cut_in_the_middle_harms_no_other(sandbox, services):
    other = iter(services.process.start(shell("sleep 1; echo fine"), headers=services.headers))
    assert next(other).event.event.field == "start"

    def half():
        yield struct.pack(">BI", 0, 100) + b"half"
        raise RuntimeError("the client breaks off")

    headers = {**routed(sandbox), "Content-Type": "application/connect+json"}
    for method in ("Start", "StreamInput"):
        with pytest.raises(RuntimeError):
            httpx.post(f"{API_URL}/process.Process/{method}", content=half(), headers=headers)
    assert events(other).stdout == b"fine\n"
