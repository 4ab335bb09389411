"""Debug mode: with nothing but `E2B_DEBUG=true` the SDKs work against this machine.

They call no create endpoint and talk to ports 49983 and 49999 of localhost, which
lead to one debug sandbox, made on first use."""

import http.client
import os

import pytest
from e2b import CommandExitException
from e2b_code_interpreter import Sandbox


@pytest.fixture(scope="module")
def sandbox():
    assert os.environ["E2B_DEBUG"] == "true"
    assert not [name for name in os.environ if name.startswith("E2B_") and name != "E2B_DEBUG"]
    return Sandbox.create()


def test_commands(sandbox):
    assert sandbox.commands.run("echo hello; id -un").stdout == "hello\nuser\n"
    with pytest.raises(CommandExitException):
        sandbox.commands.run("exit 3")


def test_files(sandbox):
    sandbox.files.write("debug.txt", "written")
    assert sandbox.files.read("debug.txt") == "written"
    assert sandbox.is_running()


def test_code_keeps_its_state(sandbox):
    assert sandbox.run_code("debug_state = 20").error is None
    assert Sandbox.create().run_code("debug_state + 22").text == "42"


def ask(port, headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", "/health", headers=headers)
    return connection.getresponse().status


@pytest.mark.parametrize("port", [49983, 49999])
def test_only_local_names_and_pages_are_let_in(sandbox, port):
    assert ask(port, {"Host": f"localhost:{port}"}) < 300
    assert ask(port, {"Host": f"evil.example:{port}"}) == 403
    assert ask(port, {"Host": f"localhost:{port}", "Origin": "https://evil.example"}) == 403


def test_the_debug_sandbox_is_on_no_other_way(sandbox):
    connection = http.client.HTTPConnection(os.environ["WARREN_ADDRESS"], timeout=20)
    connection.request("GET", "/health", headers={"E2b-Sandbox-Id": "debug", "E2b-Sandbox-Port": "49983"})
    assert connection.getresponse().status == 502
