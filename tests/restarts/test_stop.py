"""A stop of the server in the middle of a fork: it ends, the source is unharmed, and each child is whole or
was never there."""

import threading
import time

import httpx
import pytest
from e2b_code_interpreter import Sandbox
from server import API_URL, HEADERS, kept, stop_server
from waiting import until

CHILDREN = 3
# Of numbers that are nowhere else: the state is written for a while, and so are its copies read.
HEAP = "import hashlib, os; heap = os.urandom(200 << 20); x = 41"
SUM = "(x, hashlib.sha256(heap).hexdigest())"


def fork(source, told):
    """A client that was cut off learns nothing."""
    try:
        body = {"count": CHILDREN, "timeout": 900}
        told.append(httpx.post(f"{API_URL}/sandboxes/{source}/fork", headers=HEADERS, json=body, timeout=120))
    except httpx.HTTPError:
        pass


def listed():
    rows = httpx.get(f"{API_URL}/v2/sandboxes?state=running,paused&limit=100", headers=HEADERS, timeout=30).json()
    return {row["sandboxID"]: row["state"] for row in rows}


@pytest.fixture(scope="module")
def source(memory):
    with Sandbox.create(timeout=1800) as created:
        created.run_code(HEAP)
        yield created


@pytest.fixture(scope="module")
def whole(source):
    """How long a fork takes that nobody disturbs."""
    began, told = time.monotonic(), []
    fork(source.sandbox_id, told)
    for row in told[0].json():
        Sandbox.kill(row["sandbox"]["sandboxID"])
    return time.monotonic() - began


@pytest.mark.parametrize("part", [0.05, 0.3, 0.5, 0.9])
def test_a_stop_with_a_fork_under_way_leaves_nothing_half(source, whole, part):
    is_text = source.run_code(SUM).text
    before, states = set(listed()), kept("generations")
    told = []
    forking = threading.Thread(target=fork, args=[source.sandbox_id, told])
    forking.start()
    time.sleep(part * whole)
    stop_server()
    forking.join()

    assert source.run_code(SUM).text == is_text, "the source is as it was"
    now = listed()
    assert now[source.sandbox_id] == "running"
    children = set(now) - before
    rows = told[0].json() if told and told[0].status_code == 201 else []
    usable = {row["sandbox"]["sandboxID"] for row in rows if "sandbox" in row}
    assert usable <= children, f"answered for and lost: {usable - children}"
    for row in rows:
        assert "sandbox" in row or row["error"]["code"] == 503, row
    if told and told[0].status_code != 201:
        assert told[0].status_code == 503, told[0].text
    for child in children:
        with Sandbox.connect(child) as sandbox:
            assert sandbox.run_code(SUM).text == is_text, "a child is whole"
    print(f"after {part} of {whole:.1f} s: {told[0].status_code if told else 'cut off'}, {len(usable)} told of, {len(children)} there")
    until(lambda: kept("sandboxes") <= before, f"nothing is left of the children: {kept('sandboxes')}", seconds=60)
    until(lambda: kept("generations") <= states, f"no state is left: {kept('generations')}", seconds=60)
