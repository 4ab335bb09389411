"""Lives of sandboxes: made, listed, prolonged, expired, killed."""

import threading
import time
from datetime import datetime, timedelta, timezone

import pytest
from e2b import NotFoundException, Sandbox, SandboxException, SandboxQuery, SandboxState, TimeoutException
from e2b_code_interpreter import Sandbox as CodeSandbox
from waiting import until


def all_of(**options):
    pages, found = Sandbox.list(**options), []
    while pages.has_next:
        found += pages.next_items()
    return found


def ids(**options):
    return [one.sandbox_id for one in all_of(**options)]


@pytest.mark.parametrize("template", ["base", "base-template-000-0000-0000-000000000001", None])
def test_templates_by_every_name(create, template):
    """Row: C3."""
    assert create(template).commands.run("echo ok").stdout == "ok\n"


@pytest.mark.parametrize("template", ["code-interpreter-v1", "code-interpreter"])
def test_the_interpreter_by_every_name(create, template):
    assert create(template, CodeSandbox).run_code("1+1").text == "2"


def test_an_unknown_template_is_named():
    with pytest.raises(SandboxException, match="404.*no-such-template"):
        Sandbox.create("no-such-template")


def test_what_info_tells(create):


    """Row: L6."""
    sandbox = create(timeout=90, metadata={"a": "b"})
    info = sandbox.get_info()
    assert (info.sandbox_id, info.name, info.state) == (sandbox.sandbox_id, "base", SandboxState.RUNNING)
    assert info.metadata == {"a": "b"}
    assert info.cpu_count >= 1 and info.memory_mb >= 128
    assert timedelta(seconds=85) < info.end_at - info.started_at < timedelta(seconds=95)
    assert abs(datetime.now(timezone.utc) - info.started_at) < timedelta(seconds=30)


def test_metadata_filters(create):


    """Row: C5, L3."""
    odd = {"user name": "a b", "q": "c&d=é+%", "both": "1"}
    wanted, other = create(metadata=odd), create(metadata={"both": "1", "user name": "ab"})
    for some in (odd, {"user name": "a b"}, {"q": "c&d=é+%"}):
        assert ids(query=SandboxQuery(metadata=some)) == [wanted.sandbox_id], some
    both = ids(query=SandboxQuery(metadata={"both": "1"}))
    assert {wanted.sandbox_id, other.sandbox_id} <= set(both)
    assert ids(query=SandboxQuery(metadata={"both": "2"})) == []
    assert all_of(query=SandboxQuery(metadata=odd))[0].metadata == odd


def test_pages(create):


    """Row: L5."""
    made = [create(metadata={"page": "p"}).sandbox_id for _ in range(5)]
    pages, seen = Sandbox.list(query=SandboxQuery(metadata={"page": "p"}), limit=2), []
    while pages.has_next:
        items = [one.sandbox_id for one in pages.next_items()]
        assert len(items) <= 2
        seen += items
    assert seen == made[::-1]


def test_set_timeout(create):
    sandbox = create(timeout=30)
    sandbox.set_timeout(300)
    left = sandbox.get_info().end_at - datetime.now(timezone.utc)
    assert timedelta(seconds=290) < left < timedelta(seconds=305)
    sandbox.set_timeout(2)
    until(lambda: not sandbox.is_running(), "expiry after set_timeout", 8)


def test_expiry(create):


    """Row: L7, L11."""
    sandbox = create(timeout=2)
    assert sandbox.is_running()
    until(lambda: not sandbox.is_running(), "expiry", 8)
    assert sandbox.sandbox_id not in ids()
    with pytest.raises(NotFoundException):
        sandbox.get_info()
    with pytest.raises(TimeoutException):
        sandbox.commands.run("true")


def test_a_timeout_comes_within_a_second(create, api):
    """Of many at once; read in what the server and the sandboxes say, so that it does not matter when we look."""
    sandboxes = [create(timeout=60) for _ in range(20)]
    # Some tell the time as long as they live.
    clocks = [one.commands.run("while :; do date +%s.%N; sleep 0.02; done", background=True) for one in sandboxes[:4]]
    for one in sandboxes:
        one.set_timeout(4)
    ends = {one.sandbox_id: one.get_info().end_at for one in sandboxes}

    def record(sandbox_id):
        answer = api.get(f"/sandboxes/{sandbox_id}/record")
        return answer.status_code == 200 and answer.json()

    for sandbox_id, end_at in ends.items():
        ended = until(lambda wanted=sandbox_id: record(wanted), "the record of a timeout", 30)
        late = datetime.fromisoformat(ended["endedAt"]) - end_at
        assert ended["cause"] == "timeout" and timedelta() <= late < timedelta(seconds=1), late
    for clock, sandbox in zip(clocks, sandboxes):
        told = []
        with pytest.raises(Exception):
            for stdout, _, _ in clock:
                told += (stdout or "").split()
        late = float(told[-1]) - ends[sandbox.sandbox_id].timestamp()
        assert len(told) > 20 and late < 1, late


def test_connect_prolongs_and_never_shortens(create):
    sandbox = create(timeout=100)
    before = sandbox.get_info().end_at
    again = Sandbox.connect(sandbox.sandbox_id, timeout=10)
    assert again.commands.run("echo same").stdout == "same\n"
    assert again.get_info().end_at >= before
    Sandbox.connect(sandbox.sandbox_id, timeout=500)
    assert sandbox.get_info().end_at > before + timedelta(seconds=300)


def test_kill(create):
    sandbox = create()
    assert sandbox.kill()
    assert not sandbox.kill()
    assert not Sandbox.kill(sandbox.sandbox_id)
    assert not sandbox.is_running()
    assert sandbox.sandbox_id not in ids()
    for call in (sandbox.get_info, lambda: sandbox.set_timeout(10), lambda: Sandbox.connect(sandbox.sandbox_id)):
        with pytest.raises(NotFoundException):
            call()


def test_kill_during_a_command(create):


    """Row: L9."""
    sandbox = create()
    threading.Timer(1, sandbox.kill).start()
    with pytest.raises(TimeoutException, match="killed or reached its end of life"):
        sandbox.commands.run("sleep 30; echo never")


def test_kill_during_code(create):
    sandbox = create("code-interpreter-v1", CodeSandbox)
    threading.Timer(1, sandbox.kill).start()
    start = time.monotonic()
    with pytest.raises(TimeoutException):
        sandbox.run_code("import time\ntime.sleep(30)")
    assert time.monotonic() - start < 15


def test_sandboxes_do_not_see_each_other(create):
    one, two = create(), create()
    one.files.write("secret", "of one")
    one.commands.run("sleep 987", background=True)
    assert not two.files.exists("secret")
    assert "987" not in two.commands.run("ps -eo args").stdout


def test_many_at_once(create):
    made, threads = [], []
    for _ in range(8):
        threads.append(threading.Thread(target=lambda: made.append(create())))
        threads[-1].start()
    for thread in threads:
        thread.join(60)
    assert len({sandbox.commands.run("cat /proc/sys/kernel/random/boot_id").stdout for sandbox in made}) == 8


def test_what_is_not_built_says_so():
    """A field that restricts is refused by name, never ignored."""
    with pytest.raises(SandboxException, match="501.*internet"):
        Sandbox.create("base", allow_internet_access=False)
    with pytest.raises(SandboxException, match="501.*network"):
        Sandbox.create("base", network={"deny_out": ["0.0.0.0/0"]})


def test_metrics(create):


    """Row: M1."""
    sandbox = create()
    metrics = until(sandbox.get_metrics, "a first sample", 20)[-1]
    assert metrics.cpu_count >= 1
    assert 0 < metrics.mem_used < metrics.mem_total
    assert 0 <= metrics.disk_used < metrics.disk_total
