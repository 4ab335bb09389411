"""Rows of the protocol's feature table that no other suite has; each test names its rows.

`cargo xtask check` holds that every row is named by a test (`Row: …`)."""

import asyncio
import datetime
import time
import uuid

import pytest
from e2b import (
    AsyncSandbox,
    InvalidArgumentException,
    NotFoundException,
    Sandbox,
    SandboxException,
    SandboxQuery,
    SandboxState,
)


def everything(query=None, **options):
    paginator = Sandbox.list(query=query, **options)
    found = []
    while paginator.has_next:
        found += paginator.next_items()
    return found


def test_a_create_without_wishes():
    """Row: C1, C12. The defaults of the server; leaving the block ends it."""
    with Sandbox.create() as sandbox:
        info = sandbox.get_info()
        assert abs((info.end_at - info.started_at).total_seconds() - 300) < 2
        assert info.name == "base"
    assert not sandbox.is_running()


def test_wishes_of_a_create(create):
    """Row: C4, C6. A timeout of one's own, and variables for everything inside."""
    sandbox = create(timeout=60, envs={"K": "a value & more"})
    info = sandbox.get_info()
    assert abs((info.end_at - info.started_at).total_seconds() - 60) < 2
    assert sandbox.commands.run('printf %s "$K"').stdout == "a value & more"


def test_the_same_key_makes_one_sandbox():
    """Row: C7. And another request under it is refused."""
    key = f"k-{uuid.uuid4()}"
    first = Sandbox.create(timeout=60, idempotency_key=key)
    try:
        again = Sandbox.create(timeout=60, idempotency_key=key)
        assert again.sandbox_id == first.sandbox_id
        with pytest.raises(SandboxException, match="422"):
            Sandbox.create(timeout=90, idempotency_key=key)
    finally:
        first.kill()


def test_many_by_the_asynchronous_client():
    """Row: C11. All at once: distinct, and each usable."""

    async def run():
        made = await asyncio.gather(*(AsyncSandbox.create(timeout=120) for _ in range(6)))
        try:
            outputs = await asyncio.gather(*(one.commands.run(f"echo {n}") for n, one in enumerate(made)))
            assert [output.stdout for output in outputs] == [f"{n}\n" for n in range(6)]
            assert len({one.sandbox_id for one in made}) == 6
        finally:
            await asyncio.gather(*(one.kill() for one in made))

    asyncio.run(run())


def test_lists_by_state(create):
    """Row: L1, L2, L8. Running and paused ones, either alone, and a kill of both kinds."""
    mark = {"mark": str(uuid.uuid4())}
    running, paused = create(metadata=mark), create(metadata=mark)
    paused.pause(keep_memory=False)
    both = {running.sandbox_id, paused.sandbox_id}

    def ids(*states):
        query = SandboxQuery(metadata=mark, state=list(states) or None)
        return {one.sandbox_id for one in everything(query)}

    assert ids() == both == ids(SandboxState.RUNNING, SandboxState.PAUSED)
    assert ids(SandboxState.PAUSED) == {paused.sandbox_id}
    assert ids(SandboxState.RUNNING) == {running.sandbox_id}
    assert not paused.is_running() and running.is_running()
    for sandbox_id in both:
        assert Sandbox.kill(sandbox_id) is True and Sandbox.kill(sandbox_id) is False
    assert ids() == set()


def test_lists_by_template_and_start(create):
    """Row: L4. The bound includes its moment; a template that nobody knows has no sandboxes."""
    mark = {"mark": str(uuid.uuid4())}
    sandbox = create(metadata=mark)
    started = sandbox.get_info().started_at

    def found(**query):
        return [one.sandbox_id for one in everything(SandboxQuery(metadata=mark, **query))]

    assert found(template="base") == found(started_after=started) == [sandbox.sandbox_id]
    assert found(template="nobody-knows-this") == []
    assert found(started_after=started + datetime.timedelta(milliseconds=1)) == []


def test_the_longest_life(create):
    """Row: L10, L12. Too long is refused with a sentence; a timeout of 0 ends it now."""
    with pytest.raises((InvalidArgumentException, SandboxException), match="cannot be greater than"):
        Sandbox.create(timeout=10**6)
    sandbox = create()
    sandbox.set_timeout(0)
    deadline = time.monotonic() + 20
    while sandbox.is_running():
        assert time.monotonic() < deadline, "it goes on"
        time.sleep(0.1)
    with pytest.raises(NotFoundException):
        sandbox.get_info()


def test_a_page_of_another_origin(stranger):
    """Row: D3. What a browser asks before the call, and what it must be allowed to read."""
    asks = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "x-api-key,package_version,sdk_runtime",
    }
    answer = stranger.options("/v2/sandboxes", headers=asks)
    allowed = answer.headers["access-control-allow-headers"].lower()
    assert answer.status_code == 204 and answer.headers["access-control-allow-origin"] in ("*", asks["Origin"])
    assert all(name in allowed for name in ("x-api-key", "package_version", "sdk_runtime"))
    # A refusal can be read, too, and so can the token of the next page.
    refused = stranger.get("/v2/sandboxes", headers={"Origin": asks["Origin"]})
    assert refused.status_code == 401 and refused.headers["access-control-allow-origin"]
    assert "x-next-token" in refused.headers["access-control-expose-headers"].lower()


def test_what_became_of_a_sandbox(api):
    """A record tells why and when it ended, and the message of the 404 does."""
    sandbox = Sandbox.create(timeout=60)
    path = f"/sandboxes/{sandbox.sandbox_id}"
    assert api.get(f"{path}/record").status_code == 404
    sandbox.commands.run("head -c 20000000 /dev/zero > fill")
    sandbox.kill()
    record = api.get(f"{path}/record").json()
    assert record["cause"].startswith("killed") and record["startedAt"] < record["endedAt"]
    gone = api.get(path)
    assert gone.status_code == 404 and record["message"] in gone.json()["message"]
    inside = api.get("/health", headers={"E2b-Sandbox-Id": sandbox.sandbox_id, "E2b-Sandbox-Port": "49983"})
    assert inside.status_code == 502 and record["message"] in inside.json()["message"]
