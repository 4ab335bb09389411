"""How all suites wait for what comes about by itself."""

import time


def until(condition, what, seconds=10):
    """Waits for a condition; gives the first true value of it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {what}")
