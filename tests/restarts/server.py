"""The server that the suites of restarts end, and how to wait for the next one.

Whoever runs them starts the server again when it has ended, on the same address, and writes
its process id to the file that `WARREN_SERVER_PID_FILE` names."""

import os
import signal
from pathlib import Path

import httpx
from waiting import until

API_URL = os.environ["E2B_API_URL"]
HEADERS = {"X-API-Key": os.environ["E2B_API_KEY"]}
PID = Path(os.environ["WARREN_SERVER_PID_FILE"])


def end_server(how):
    """Sends it a signal; returns when the next one answers."""
    pid = int(PID.read_text())
    os.kill(pid, how)
    # A stop takes half a minute at most, whatever is stuck; on a busy machine a little more.
    until(
        lambda: int(PID.read_text() or pid) != pid or not Path(f"/proc/{pid}").exists(), "the server has ended", seconds=60
    )

    def answers():
        try:
            is_next = int(PID.read_text() or pid) != pid
            return is_next and httpx.get(f"{API_URL}/health", timeout=5).status_code == 200
        except (httpx.HTTPError, ValueError):
            return False

    # A start among many builds takes its time.
    until(answers, "the next server answers", seconds=300)


def kill_server():
    """As a power cut would."""
    end_server(signal.SIGKILL)


def stop_server():
    """As a service manager does."""
    end_server(signal.SIGTERM)


def kept(kind):
    """What the server has on the disk of `sandboxes` or of `generations`."""
    words = Path(f"/proc/{int(PID.read_text())}/cmdline").read_bytes().decode().split("\0")
    state = Path(words[words.index("--state-dir") + 1])
    return {path.name for path in (state / "fs" / kind).iterdir()}
