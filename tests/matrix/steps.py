"""The quick start of the client matrix, step by step: each step prints one JSON
object a line, `{"step", "ok", "detail"}`, and a failed one does not stop the rest."""

import json
import traceback


def step(name, act):
    """Runs one step and reports it."""
    try:
        act()
        print(json.dumps({"step": name, "ok": True}), flush=True)
    except BaseException:  # every failure is a finding, `SystemExit` of an SDK too
        detail = " ".join(traceback.format_exc().split("\n")[-4:])
        print(json.dumps({"step": name, "ok": False, "detail": detail}), flush=True)


def ensure(truth, what):
    """`assert` that survives `-O` and names what it saw."""
    if not truth:
        raise AssertionError(repr(what))
