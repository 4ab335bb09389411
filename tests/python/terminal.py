"""The command line as people use it: called, and in a pseudo-terminal."""

import os
import subprocess
from pathlib import Path

import terminals

WARREN = Path(os.environ.get("WARREN", Path(__file__).parents[2] / "target/release/warren"))


def warren(*arguments, status=0, input=None, environment=None, cwd=None):
    """Calls it; what it wrote to standard output and to standard error."""
    source = {"stdin": subprocess.DEVNULL} if input is None else {"input": input}
    done = subprocess.run(
        [WARREN, *arguments], capture_output=True, timeout=100, env=environment, cwd=cwd, **source
    )
    assert done.returncode == status, done
    return done.stdout.decode(), done.stderr.decode()


class Terminal(terminals.Terminal):
    """It in a pseudo-terminal."""

    def __init__(self, *arguments, rows=30, cols=100):
        super().__init__([str(WARREN), *arguments], rows, cols)
