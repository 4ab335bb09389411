"""A rate limit on one route: two calls at once, two more within two seconds."""

import os

import httpx
from e2b import Template

API_URL = os.environ["E2B_API_URL"]
HEADERS = {"X-API-Key": os.environ["E2B_API_KEY"]}


def test_who_asks_too_often_waits_and_goes_on():
    """Row: R1. The refusal says when to come again, and the SDK does."""
    with httpx.Client(base_url=API_URL, headers=HEADERS, timeout=60) as client:
        refused = None
        for _ in range(200):
            answer = client.get("/templates/aliases/base")
            if answer.status_code == 429:
                refused = answer
                break
    assert refused is not None, "never refused"
    assert 1 <= int(refused.headers["retry-after"]) <= 2
    assert refused.headers["ratelimit-limit"] == "2" and refused.headers["ratelimit-remaining"] == "0"
    for _ in range(4):
        assert Template.exists("base") is True
