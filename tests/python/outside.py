"""Where the server is, and how to reach it without an SDK."""

import os

API_URL = os.environ["E2B_API_URL"]
API_KEY = os.environ["E2B_API_KEY"]


def routed(sandbox, port=49983, token=True):
    """The headers that lead a request to a port of a sandbox."""
    headers = {"E2b-Sandbox-Id": sandbox.sandbox_id, "E2b-Sandbox-Port": str(port)}
    if token and sandbox._envd_access_token:
        headers["X-Access-Token"] = sandbox._envd_access_token
    return headers
