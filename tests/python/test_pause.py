"""Pauses that keep the files: by request and by timeout, woken by every way.

Processes end with them, and a pause that asks for memory is refused by name."""

import re
from datetime import datetime, timedelta, timezone

import httpx
import pytest
from e2b import Sandbox, SandboxException, SandboxNotFoundException, SandboxQuery, SandboxState
from e2b_code_interpreter import Sandbox as CodeSandbox
from outside import API_URL, routed
from waiting import until

BOOT_ID = "/proc/sys/kernel/random/boot_id"


def boot_id(sandbox):
    return sandbox.commands.run(f"cat {BOOT_ID}").stdout


def listed(state):
    return [one.sandbox_id for one in Sandbox.list(query=SandboxQuery(state=[state])).next_items()]


def test_files_stay_and_processes_end(create):
    sandbox = create(metadata={"a": "b"}, envs={"GIVEN": "at creation"})
    sandbox.files.write("/home/user/kept.txt", "kept")
    sandbox.commands.run("echo mine > /root/owned; chmod 4711 /root/owned; ln -s kept.txt link; rm /etc/motd || true", user="root", cwd="/home/user")
    sandbox.commands.run("sleep 1000", background=True)
    before = boot_id(sandbox)
    assert sandbox.pause(mode="filesystem") is True
    assert sandbox.is_running() is False
    assert sandbox.pause(mode="filesystem") is False
    info = sandbox.get_info()
    assert info.state == SandboxState.PAUSED and info.metadata == {"a": "b"}
    assert abs(datetime.now(timezone.utc) - info.end_at) < timedelta(seconds=30)
    assert sandbox.sandbox_id in listed(SandboxState.PAUSED)
    assert sandbox.sandbox_id not in listed(SandboxState.RUNNING)
    with pytest.raises(SandboxNotFoundException):
        sandbox.set_timeout(10)

    same = Sandbox.connect(sandbox.sandbox_id, timeout=60)
    assert same.sandbox_id == sandbox.sandbox_id and same._envd_access_token == sandbox._envd_access_token
    assert boot_id(same) != before
    assert same.files.read("/home/user/kept.txt") == "kept"
    assert same.commands.run("stat -c '%a %U' /root/owned; cat /home/user/link", user="root").stdout == "4711 root\nkept"
    assert same.commands.run("pgrep -c sleep || true").stdout == "0\n"
    assert same.commands.run("echo $GIVEN").stdout == "at creation\n"
    # A handle from before the pause works too.
    assert sandbox.commands.run("getent hosts e2b.local | wc -l").stdout == "1\n"
    info = same.get_info()
    assert info.state == SandboxState.RUNNING
    assert timedelta(seconds=55) < info.end_at - info.started_at < timedelta(seconds=65)


def test_nothing_is_lost_by_the_third_pause(create):
    sandbox = create()
    for n in range(3):
        sandbox.commands.run(f"echo {n} >> log; rm -f only-{n - 1}; touch only-{n}; mkdir -p deep/{n}", cwd="/home/user")
        assert sandbox.pause(mode="filesystem")
        sandbox.connect()
        told = sandbox.commands.run("cat log; ls only-*; ls deep", cwd="/home/user").stdout.split()
        numbers = [str(i) for i in range(n + 1)]
        assert told == [*numbers, f"only-{n}", *numbers]


def test_a_paused_one_is_killed(create):
    sandbox = create()
    assert sandbox.pause(mode="filesystem")
    assert sandbox.kill() is True
    assert sandbox.kill() is False
    with pytest.raises(SandboxNotFoundException):
        sandbox.connect()


def test_the_interpreter_starts_anew_with_the_files(create):
    sandbox = create("code-interpreter-v1", CodeSandbox)
    sandbox.run_code("x = 1; open('/home/user/x', 'w').write('2')")
    assert sandbox.pause(mode="filesystem")
    sandbox.connect()
    assert sandbox.run_code("open('/home/user/x').read()").text == "2"
    assert sandbox.run_code("x").error.name == "NameError"


def test_a_timeout_can_pause(create):
    sandbox = create(timeout=2, lifecycle={"on_timeout": {"action": "pause", "mode": "filesystem"}})
    sandbox.files.write("/home/user/kept.txt", "kept")
    until(lambda: sandbox.get_info().state == SandboxState.PAUSED, "it is paused", seconds=6)
    assert sandbox.is_running() is False
    sandbox.connect(timeout=60)
    assert sandbox.files.read("/home/user/kept.txt") == "kept"


def test_memory_is_kept_or_refused_by_name_and_it_runs_on(create):
    sandbox = create()
    before = boot_id(sandbox)
    try:
        sandbox.pause()
    except SandboxException as refused:
        assert re.search("501.*memory.*filesystem", str(refused)), refused
    else:
        sandbox.connect()
    assert boot_id(sandbox) == before


def test_a_pause_cuts_what_streams(create):
    sandbox = create()
    endless = sandbox.commands.run("while true; do echo x; sleep 0.1; done", background=True)
    assert sandbox.pause(mode="filesystem")
    with pytest.raises(SandboxException):
        endless.wait()


def test_traffic_does_not_wake_without_the_policy(create):
    sandbox = create()
    assert sandbox.pause(mode="filesystem")
    answer = httpx.get(API_URL, headers=routed(sandbox))
    assert answer.status_code == 502 and "was not found" in answer.json()["message"]
    assert sandbox.get_info().state == SandboxState.PAUSED
