"""The domain that leads here, and the sandboxes of these tests."""

import os

import pytest
from e2b import Sandbox


@pytest.fixture(scope="session")
def domain():
    """As clients write it: with the port."""
    return os.environ["E2B_DOMAIN"]


@pytest.fixture(scope="module")
def sandbox():
    """One sandbox of `base` for the tests of a module."""
    with Sandbox.create(timeout=600) as created:
        yield created
