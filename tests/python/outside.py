"""Where the server is, and how to reach it without an SDK."""

import os
import time

API_URL = os.environ["E2B_API_URL"]
API_KEY = os.environ["E2B_API_KEY"]


def routed(sandbox, port=49983, token=True):
    """The headers that lead a request to a port of a sandbox."""
    headers = {"E2b-Sandbox-Id": sandbox.sandbox_id, "E2b-Sandbox-Port": str(port)}
    if token and sandbox._envd_access_token:
        headers["X-Access-Token"] = sandbox._envd_access_token
    return headers


def until(condition, what, seconds=10):
    """Waits for a condition; gives the first true value of it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {what}")
