"""What the suites share: sandboxes that are killed afterwards, and clients without an SDK.

The official SDK is led here by the environment alone (`E2B_API_URL`,
`E2B_SANDBOX_URL`, `E2B_API_KEY`), as a user's script would be."""

from urllib.parse import urlsplit

import httpx
import pytest
from e2b import Sandbox as BaseSandbox
from e2b_code_interpreter import Sandbox as CodeSandbox
from outside import API_KEY, API_URL


@pytest.fixture(scope="module")
def sandbox():
    """One sandbox of `base` for the tests of a module."""
    with BaseSandbox.create(timeout=600) as created:
        yield created


@pytest.fixture(scope="module")
def interpreter():
    """One sandbox of `code-interpreter-v1` for the tests of a module."""
    with CodeSandbox.create(timeout=600) as created:
        yield created


@pytest.fixture
def create():
    """Makes sandboxes for one test alone; whatever is left of them is killed."""
    made = []

    def make(template="base", kind=BaseSandbox, timeout=120, **options):
        made.append(kind.create(template, timeout=timeout, **options))
        return made[-1]

    yield make
    for one in made:
        one.kill()


@pytest.fixture(scope="session")
def address():
    """`host:port` of the listener."""
    return urlsplit(API_URL).netloc


@pytest.fixture(scope="session")
def api():
    """The REST API with the key, without an SDK."""
    with httpx.Client(base_url=API_URL, headers={"X-API-Key": API_KEY}, timeout=30) as client:
        yield client


@pytest.fixture(scope="session")
def stranger():
    """The same listener without a key."""
    with httpx.Client(base_url=API_URL, timeout=30) as client:
        yield client
