"""The session API's limits, on a server whose settings make them short: 3 s for an
execution, 6 s without a call, 20 s of life, 1 MiB for an upload."""

import os
import time
import uuid

import httpx
import pytest

API_URL = os.environ["E2B_API_URL"]
HEADERS = {"X-API-Key": os.environ["E2B_API_KEY"]}


@pytest.fixture
def session():
    url = f"{API_URL}/api/v1/session/{uuid.uuid4()}/sandbox"
    with httpx.Client(base_url=url, headers=HEADERS, timeout=60) as client:
        yield client
        client.post("/stop")


def until_closed(session, most):
    """Seconds until there is no sandbox; asking keeps none alive."""
    begin = time.monotonic()
    while session.get("/status").json() is not None:
        assert time.monotonic() - begin < most, "still there"
        time.sleep(0.1)
    return time.monotonic() - begin


def test_an_execution_past_the_limit_is_interrupted(session):
    session.post("/execute", json={"code": "x = 1"})
    answer = session.post("/execute", json={"code": "import time\nx = 2\ntime.sleep(60)\nx = 3"})
    assert answer.status_code == 408
    assert answer.json()["detail"] == "execution passed the limit of 3 s and was interrupted"
    after = session.post("/execute", json={"code": "print(x)"}).json()
    assert after["output"] == "2\n", "the context lives, the cell does not"


def test_an_idle_sandbox_is_closed_and_the_next_call_makes_another(session):
    first = session.post("/start").json()["sandbox_id"]
    until_closed(session, 15)
    again = session.post("/execute", json={"code": "import os; print(len(os.listdir('/home/user')))"})
    assert again.json()["success"]
    assert session.get("/status").json()["sandbox_id"] != first


def test_a_busy_sandbox_ends_at_its_longest_life(session):
    first = session.post("/start").json()["sandbox_id"]
    begin = time.monotonic()
    while session.post("/start").json()["sandbox_id"] == first:
        assert time.monotonic() - begin < 40, "it outlives its limit"
        time.sleep(1)
    assert time.monotonic() - begin > 15, "calls kept it alive until then"


def test_an_upload_over_the_limit(session):
    session.post("/start")
    fits = session.post("/upload", files={"file": ("fits", b"x" * 1_000_000)})
    assert fits.status_code == 200
    answer = session.post("/upload", files={"file": ("large", b"x" * 3_000_000)})
    assert (answer.status_code, set(answer.json())) == (413, {"detail"})
