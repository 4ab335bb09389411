"""Commands: results, streams, input, background, time limits, environment."""

import threading
import time

import pytest
from e2b import AuthenticationException, CommandExitException, NotFoundException, TimeoutException
from waiting import until


def test_run_gives_everything_the_command_said(sandbox):
    result = sandbox.commands.run("printf out; printf err >&2")
    assert (result.stdout, result.stderr, result.exit_code) == ("out", "err", 0)


@pytest.mark.parametrize("code", [1, 3, 127, 255])
def test_an_exit_code_is_an_exception(sandbox, code):
    with pytest.raises(CommandExitException) as caught:
        sandbox.commands.run(f"echo before; echo why >&2; exit {code}")
    assert caught.value.exit_code == code
    assert caught.value.stdout == "before\n"
    assert caught.value.stderr == "why\n"
    assert caught.value.error == f"exit status {code}"


def test_a_signal_is_named(sandbox):
    with pytest.raises(CommandExitException) as caught:
        sandbox.commands.run("kill -TERM $$")
    assert "terminated" in caught.value.error


def test_callbacks_come_while_the_command_runs(sandbox):
    times = []
    sandbox.commands.run(
        "echo one; sleep 1; echo two", on_stdout=lambda text: times.append((time.monotonic(), text))
    )
    assert [text for _, text in times] == ["one\n", "two\n"]
    assert 0.8 < times[1][0] - times[0][0] < 3


def test_callbacks_keep_the_streams_apart(sandbox):
    out, err = [], []
    sandbox.commands.run("echo a; echo b >&2", on_stdout=out.append, on_stderr=err.append)
    assert ("".join(out), "".join(err)) == ("a\n", "b\n")


def test_much_output_arrives_whole(sandbox):
    result = sandbox.commands.run("seq 1 300000")
    assert result.stdout == "".join(f"{i}\n" for i in range(1, 300001))


def test_broken_utf8_does_not_break_the_stream(sandbox):
    result = sandbox.commands.run(r"printf 'a\xff\xfeb'; printf '\xc3'; sleep 0.2; printf '\xa9'")
    assert result.stdout == "a\ufffd\ufffdbé"


def test_quotes_lines_and_unicode_reach_the_shell(sandbox):
    text = "it's \"quoted\" $HOME `x` \\ ✓ 漢"
    assert sandbox.commands.run(f"cat <<'END'\n{text}\nEND").stdout == text + "\n"


def test_stdin(sandbox):
    handle = sandbox.commands.run("cat", background=True, stdin=True)
    sandbox.commands.send_stdin(handle.pid, "first\n")
    sandbox.commands.send_stdin(handle.pid, "zweite ✓\n")
    sandbox.commands.close_stdin(handle.pid)
    assert handle.wait().stdout == "first\nzweite ✓\n"


def test_large_stdin(sandbox):
    handle = sandbox.commands.run("wc -c", background=True, stdin=True)
    sandbox.commands.send_stdin(handle.pid, "x" * 3_000_000)
    handle.close_stdin()
    assert handle.wait().stdout.strip() == "3000000"


def test_streamed_stdin(sandbox):
    handle = sandbox.commands.run("cat", background=True, stdin=True)
    sandbox.commands.stream_input(handle.pid, (f"{i}\n" for i in range(50)))
    sandbox.commands.close_stdin(handle.pid)
    assert handle.wait().stdout == "".join(f"{i}\n" for i in range(50))


def test_without_stdin_a_reader_sees_the_end(sandbox):
    assert sandbox.commands.run("cat; echo done").stdout == "done\n"


def test_background_runs_on_and_is_found_again(sandbox):
    handle = sandbox.commands.run("echo started; sleep 2; echo ended", background=True)
    handle.disconnect()
    found = [one for one in sandbox.commands.list() if one.pid == handle.pid]
    assert found and found[0].cmd == "/bin/bash"
    assert found[0].args[-1] == "echo started; sleep 2; echo ended"
    result = sandbox.commands.connect(handle.pid).wait()
    assert result.exit_code == 0
    assert result.stdout.endswith("ended\n")


def test_a_command_that_ended_can_still_be_connected_to(sandbox):
    handle = sandbox.commands.run("exit 7", background=True)
    with pytest.raises(CommandExitException):
        handle.wait()
    with pytest.raises(CommandExitException) as caught:
        sandbox.commands.connect(handle.pid).wait()
    assert caught.value.exit_code == 7


def test_two_listeners_hear_the_same(sandbox):
    handle = sandbox.commands.run("sleep 1; echo shared", background=True)
    other = sandbox.commands.connect(handle.pid)
    heard = []
    thread = threading.Thread(target=lambda: heard.append(other.wait().stdout))
    thread.start()
    assert handle.wait().stdout == "shared\n"
    thread.join(10)
    assert heard == ["shared\n"]


def test_kill(sandbox):
    handle = sandbox.commands.run("sleep 60", background=True)
    assert sandbox.commands.kill(handle.pid)
    with pytest.raises(CommandExitException) as caught:
        handle.wait()
    assert "killed" in caught.value.error
    until(lambda: handle.pid not in [one.pid for one in sandbox.commands.list()], "gone from the list")
    assert not sandbox.commands.kill(handle.pid)


def test_unknown_pids_are_not_found(sandbox):
    with pytest.raises(NotFoundException):
        sandbox.commands.connect(9_999_999)
    with pytest.raises(NotFoundException):
        sandbox.commands.send_stdin(9_999_999, "x")
    assert not sandbox.commands.kill(9_999_999)


def test_the_time_limit_ends_the_command(sandbox):
    start = time.monotonic()
    with pytest.raises(TimeoutException):
        sandbox.commands.run("exec sleep 47", timeout=1)
    assert time.monotonic() - start < 5
    until(lambda: "sleep 47" not in sandbox.commands.run("ps -eo args").stdout, "the command is gone")


def test_no_time_limit(sandbox):
    assert sandbox.commands.run("sleep 2; echo ok", timeout=0).stdout == "ok\n"


def test_envs_of_one_command(sandbox):
    envs = {"A": "1", "B": "two words ✓", "EMPTY": ""}
    result = sandbox.commands.run('echo "$A|$B|${EMPTY-unset}"', envs=envs)
    assert result.stdout == "1|two words ✓|\n"
    assert sandbox.commands.run('echo "${A-unset}"').stdout == "unset\n"


def test_envs_of_the_sandbox(create):
    sandbox = create(envs={"WHO": "sandbox", "KEEP": "yes"})
    assert sandbox.commands.run("echo $WHO $KEEP", envs={"WHO": "command"}).stdout == "command yes\n"
    assert sandbox.commands.run("echo $E2B_SANDBOX $E2B_SANDBOX_ID").stdout == f"true {sandbox.sandbox_id}\n"


def test_cwd(sandbox):
    assert sandbox.commands.run("pwd").stdout == "/home/user\n"
    assert sandbox.commands.run("pwd", cwd="/tmp").stdout == "/tmp\n"
    sandbox.files.make_dir("sub")
    assert sandbox.commands.run("pwd", cwd="sub").stdout == "/home/user/sub\n"
    with pytest.raises(Exception, match="no/such"):
        sandbox.commands.run("pwd", cwd="/no/such")


def test_user(sandbox):
    assert sandbox.commands.run("id -un; echo $HOME").stdout == "user\n/home/user\n"
    assert sandbox.commands.run("id -un; echo $HOME", user="root").stdout == "root\n/root\n"
    assert sandbox.commands.run("sudo id -un").stdout == "root\n"
    with pytest.raises(AuthenticationException, match="nobody-here"):
        sandbox.commands.run("true", user="nobody-here")


def test_many_at_once(sandbox):
    seen = []

    def one(i):
        seen.append(sandbox.commands.run(f"sleep 0.2; echo {i}").stdout == f"{i}\n")

    threads = [threading.Thread(target=one, args=(i,)) for i in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert seen == [True] * 20


def test_git(sandbox):
    """Row 47."""
    git = sandbox.git
    git.configure_user("A Person", "person@example.com")
    git.init("rows/project")
    sandbox.files.write("rows/project/file", "content")
    assert git.status("rows/project").file_status
    git.add("rows/project")
    git.commit("rows/project", "the first")
    assert git.status("rows/project").is_clean
    git.create_branch("rows/project", "side")
    assert "side" in git.branches("rows/project").branches
