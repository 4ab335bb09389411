"""What all suites share."""

import pytest


@pytest.fixture(scope="module")
def memory():
    """Skips where memory cannot be kept."""
    # Some suites run without an SDK's environment.
    from e2b import Sandbox, SandboxException

    with Sandbox.create(timeout=120) as sandbox:
        try:
            sandbox.pause()
        except SandboxException as refused:
            if "501" not in str(refused):
                raise
            pytest.skip(f"no memory: {refused}")
