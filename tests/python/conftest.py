"""What the suites share: sandboxes that are killed afterwards, and clients without an SDK.

The official SDK is led here by the environment alone (`E2B_API_URL`,
`E2B_SANDBOX_URL`, `E2B_API_KEY`), as a user's script would be."""

import uuid
from urllib.parse import urlsplit

import httpx
import pytest
from e2b import Sandbox as BaseSandbox
from e2b_code_interpreter import Sandbox as CodeSandbox
from outside import API_KEY, API_URL


# Modules whose tests of one sandbox run over both ways into it.
BOTH_WAYS = {"test_commands", "test_files", "test_pty", "test_watch"}


def pytest_generate_tests(metafunc):
    if "sandbox" in metafunc.fixturenames and metafunc.module.__name__ in BOTH_WAYS:
        # A server with a domain is led to by names already, and over TLS.
        ways = ["domain"] if API_URL.startswith("https:") else ["headers", "host-name"]
        metafunc.parametrize("sandbox", ways, indirect=True, scope="module")


@pytest.fixture(scope="module")
def sandbox(request):
    """One sandbox of `base` for the tests of a module.

    By `headers`, the client names it on the host that all share. By `host-name`,
    it speaks to `49983-ID.warren.test`: no name server knows that name, so the
    listener itself is the client's HTTP proxy, and the request's target is the name."""
    with BaseSandbox.create(timeout=600) as created:
        if getattr(request, "param", "headers") != "host-name":
            yield created
        else:
            url = f"http://{created.get_host(49983).split('.')[0]}.warren.test"
            yield BaseSandbox.connect(created.sandbox_id, sandbox_url=url, proxy=API_URL)


@pytest.fixture(scope="module")
def interpreter():
    """One sandbox of `code-interpreter-v1` for the tests of a module."""
    with CodeSandbox.create(timeout=600, envs={"WHO": "sandbox"}) as created:
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


@pytest.fixture
def name(api):
    """A name of a template that is free; what gets it is deleted afterwards."""
    chosen = f"test-{uuid.uuid4().hex[:12]}"
    yield chosen
    assert api.delete(f"/templates/{chosen}").status_code in (204, 404)
