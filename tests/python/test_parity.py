"""`docs/reference/sdk-parity.md` names every public method of the official Python SDKs, and none that is not there."""

import inspect
import re
from pathlib import Path

import e2b
import e2b_code_interpreter
from e2b.sandbox_async.commands.command import Commands
from e2b.sandbox_async.commands.command_handle import AsyncCommandHandle
from e2b.sandbox_async.commands.pty import Pty
from e2b.sandbox_async.filesystem.filesystem import Filesystem
from e2b.sandbox_async.filesystem.watch_handle import AsyncWatchHandle
from e2b.sandbox_async.git import Git
from e2b.template.main import TemplateBuilder

PAGE = Path(__file__).parents[2] / "docs/reference/sdk-parity.md"
CLASSES = {
    "Sandbox": e2b_code_interpreter.AsyncSandbox,
    "Commands": Commands,
    "CommandHandle": AsyncCommandHandle,
    "Pty": Pty,
    "Files": Filesystem,
    "WatchHandle": AsyncWatchHandle,
    "Git": Git,
    "Template": e2b.AsyncTemplate,
    "TemplateBuilder": TemplateBuilder,
    "Volume": e2b.AsyncVolume,
    "Secret": e2b.AsyncSecret,
}


def public(kind):
    """Methods and properties; constants are read with what uses them."""
    found = {name: inspect.getattr_static(kind, name) for name in dir(kind) if not name.startswith("_")}
    return {name for name, what in found.items() if not isinstance(what, (str, int))}


def test_the_page_is_the_sdk():
    rows = re.findall(r"^\| `(\w+)\.(\w+)` \|", PAGE.read_text(), re.M)
    found = {}
    for name, kind in CLASSES.items():
        told = {method for owner, method in rows if owner == name}
        there = public(kind)
        # Of each class: what the page alone has, and what it lacks.
        found[name] = (told - there, there - told)
    assert found == {name: (set(), set()) for name in CLASSES}


def test_the_page_is_the_sdks_exceptions():
    rows = set(re.findall(r"^\| `(\w+Exception)` \|", PAGE.read_text(), re.M))
    there = {name for name in dir(e2b) if name.endswith("Exception")}
    assert rows == there
