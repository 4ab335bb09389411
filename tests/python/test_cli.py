"""The command line `warren` against a real server, each command as people call it."""

import json
import os
import re
import subprocess
import time

import pytest
from outside import API_KEY, API_URL
from terminal import WARREN, warren

pytestmark = pytest.mark.skipif(not WARREN.exists(), reason="the binary is not on this machine")
ID = r"i[a-z0-9]{20}"


@pytest.fixture(scope="module")
def sandbox_id():
    made = warren("sandbox", "create", "base", "--timeout", "600", "--metadata", "of=cli")[0].strip()
    yield made
    warren("sandbox", "kill", made)


def test_create_list_info_kill():
    made = warren("sandbox", "create", "--metadata", "n=1", "--env", "A=b")[0].strip()
    assert re.fullmatch(ID, made)
    assert made in warren("sandbox", "ls", "--quiet", "--metadata", "n=1", "--state", "running")[0].split()
    assert made not in warren("sandbox", "ls", "--quiet", "--state", "paused")[0].split()
    table = warren("sandbox", "list", "--template", "base")[0]
    assert table.startswith("SANDBOX") and re.search(rf"{made}  base .* n=1\n", table) and "\x1b" not in table
    assert any(row["sandboxId"] == made for row in json.loads(warren("sandbox", "list", "--json")[0]))
    assert json.loads(warren("sandbox", "info", made, "--json")[0])["state"] == "running"
    assert warren("sandbox", "info", made, "-q")[0] == "running\n"
    assert re.search(r"template +base \(\w+\)\nstate +running\n", warren("sandbox", "info", made)[0])
    assert warren("sandbox", "exec", made, "--", "sh", "-c", "echo $A")[0] == "b\n"
    assert warren("sandbox", "kill", made)[0] == f"{made} killed\n"
    answer = json.loads(warren("sandbox", "kill", made, "--json")[0])
    assert answer == [{"sandboxId": made, "killed": False}]
    assert "state      ended: it was killed by a request\n" in warren("sandbox", "info", made)[0]


def test_kill_all_of_a_label():
    label = f"of=kill-{os.getpid()}"
    made = {warren("sandbox", "create", "--metadata", label)[0].strip() for _ in range(2)}
    ended = json.loads(warren("sandbox", "kill", "--all", "--metadata", label, "--json")[0])
    assert {row["sandboxId"] for row in ended if row["killed"]} == made


def test_exec_streams_and_keeps_the_exit_status(sandbox_id):
    run = ["sandbox", "exec", sandbox_id]
    out, err = warren(*run, "--", "sh", "-c", "echo out; echo err >&2; exit 7", status=7)
    assert (out, err) == ("out\n", "err\n")
    assert warren(*run, "--", "printf", "%s|", "a b", "$HOME", "it's")[0] == "a b|$HOME|it's|"
    answer = json.loads(warren(*run, "--json", "--", "false", status=1)[0])
    assert (answer["exitCode"], answer["stdout"]) == (1, "")
    place = ["--user", "root", "--cwd", "/tmp", "--env", "WHAT=a b"]
    assert warren(*run, *place, "--", "sh", "-c", "id -un; pwd; echo $WHAT")[0] == "root\n/tmp\na b\n"
    # As a shell says it: 128 and the signal's number.
    assert warren(*run, "--", "sh", "-c", "kill -9 $$", status=137) == ("", "")
    assert "1 s" in warren(*run, "--timeout", "1", "--", "sleep", "100", status=124)[1]


def test_exec_is_fed_and_passes_bytes_on(sandbox_id):
    content = os.urandom(3_000_000)
    done = subprocess.run([WARREN, "sandbox", "exec", sandbox_id, "--", "cat"], input=content, capture_output=True, timeout=100)
    assert (done.returncode, done.stderr) == (0, b"") and done.stdout == content
    # A command that does not read has its own end all the same; -n leaves the input alone.
    assert warren("sandbox", "exec", sandbox_id, "--", "true", input=b"x" * 1_000_000) == ("", "")
    assert warren("sandbox", "exec", "-n", sandbox_id, "--", "cat", input=b"not for it")[0] == ""


def test_exec_ends_with_its_reader_and_by_signals(sandbox_id):
    command = f"{WARREN} sandbox exec {sandbox_id} -- yes from-the-pipe | head -2; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, timeout=100)
    assert done.stdout == b"from-the-pipe\nfrom-the-pipe\n141\n", done
    following = subprocess.Popen(
        [WARREN, "sandbox", "exec", sandbox_id, "--", "sh", "-c", "trap 'echo told; exit 3' TERM; echo up; while :; do sleep 0.1; done"],
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    )
    assert following.stdout.readline() == b"up\n"
    following.send_signal(2)
    assert following.communicate(timeout=60)[0] == b"told\n" and following.returncode == 3
    # Nothing of both is left inside.
    left = warren("sandbox", "exec", sandbox_id, "--", "ps", "-eo", "args")[0]
    assert "from-the-pipe" not in left and "trap" not in left


def test_exec_in_the_background(sandbox_id):
    pid = warren("sandbox", "exec", "-b", sandbox_id, "--", "sleep", "321")[0].strip()
    assert "sleep 321" in warren("sandbox", "exec", sandbox_id, "--", "ps", "-o", "args=", "-p", pid)[0]
    warren("sandbox", "exec", sandbox_id, "--", "kill", pid)


def test_cp_both_ways(sandbox_id, tmp_path):
    content = bytes(range(256)) * 4096
    (tmp_path / "a b.bin").write_bytes(content)
    _, said = warren("sandbox", "cp", str(tmp_path / "a b.bin"), f"{sandbox_id}:/home/user/")
    assert f"{len(content)} bytes" in said and "\x1b" not in said
    assert warren("sandbox", "cp", "--quiet", f"{sandbox_id}:/home/user/a b.bin", str(tmp_path / "back")) == ("", "")
    assert (tmp_path / "back").read_bytes() == content
    warren("sandbox", "cp", "-", f"{sandbox_id}:/tmp/in", input=b"through a pipe")
    assert warren("sandbox", "cp", f"{sandbox_id}:/tmp/in", "-")[0] == "through a pipe"
    told = json.loads(warren("sandbox", "cp", "--json", f"{sandbox_id}:/tmp/in", str(tmp_path))[0])
    assert (told["files"], told["bytes"]) == (1, 14) and (tmp_path / "in").exists()
    assert "No such file" in warren("sandbox", "cp", "/nope", f"{sandbox_id}:/tmp/x", status=1)[1]
    assert "/nope" in warren("sandbox", "cp", f"{sandbox_id}:/nope", "-", status=1)[1]
    assert "SANDBOX:PATH" in warren("sandbox", "cp", "a", "b", status=1)[1]


def test_cp_of_directories(sandbox_id, tmp_path):
    tree = tmp_path / "tree"
    (tree / "deep/er").mkdir(parents=True)
    (tree / "empty").mkdir()
    for number in range(150):
        (tree / f"deep/{number}.txt").write_text(f"file {number}")
    (tree / "deep/er/it's big").write_bytes(os.urandom(1_000_000))
    (tree / "run").write_text("#!/bin/sh\necho ran\n")
    (tree / "run").chmod(0o755)
    (tree / "link").symlink_to("deep/er")
    warren("sandbox", "cp", str(tree), f"{sandbox_id}:/home/user")
    assert warren("sandbox", "exec", sandbox_id, "--", "/home/user/tree/run")[0] == "ran\n"
    warren("sandbox", "exec", sandbox_id, "--", "ln", "-s", "/etc/passwd", "/home/user/tree/out")
    _, said = warren("sandbox", "cp", f"{sandbox_id}:/home/user/tree", str(tmp_path / "back"))
    assert "152 files" in said and "tree/out leads out of the directory" in said
    compared = subprocess.run(["diff", "-r", tree, tmp_path / "back"], capture_output=True)
    assert compared.returncode == 0, compared
    assert os.readlink(tmp_path / "back/link") == "deep/er" and (tmp_path / "back/run").stat().st_mode & 0o100
    # Again, over what is there.
    warren("sandbox", "cp", "-q", f"{sandbox_id}:/home/user/tree/", str(tmp_path / "back"))
    assert (tmp_path / "back/tree/deep/0.txt").read_text() == "file 0"


def test_cp_needs_little_memory(sandbox_id, tmp_path):
    size = 300 << 20
    with open(tmp_path / "large", "wb") as file:
        file.truncate(size)
    measure = ["/bin/bash", "-c", 'ulimit -v 400000; exec "$@"', "bash"]
    for arguments in ([tmp_path / "large", f"{sandbox_id}:/tmp/large"], [f"{sandbox_id}:/tmp/large", tmp_path / "back"]):
        done = subprocess.run([*measure, WARREN, "sandbox", "cp", *arguments], capture_output=True, timeout=110)
        assert done.returncode == 0, done
    assert (tmp_path / "back").stat().st_size == size


def test_port(sandbox_id):
    url = warren("sandbox", "port", sandbox_id, "8080")[0].strip()
    assert re.fullmatch(rf"http://8080-{sandbox_id}\.[\w.]+:\d+", url)
    assert json.loads(warren("sandbox", "port", sandbox_id, "80", "--json")[0])["port"] == 80


def test_logs(sandbox_id):
    shown = warren("sandbox", "logs", sandbox_id)[0]
    assert re.search(r"Z  INFO   Sandbox started", shown) and "\x1b" not in shown
    assert "INFO" not in warren("sandbox", "logs", sandbox_id, "--level", "error")[0]
    first = json.loads(warren("sandbox", "logs", sandbox_id, "--json", "--limit", "1")[0])
    assert {"timestamp", "level", "message", "fields"} == set(first)
    ended = warren("sandbox", "create")[0].strip()
    with subprocess.Popen([WARREN, "sandbox", "logs", "-f", ended], stdout=subprocess.PIPE) as following:
        assert "started" in following.stdout.readline().decode()
        warren("sandbox", "kill", ended)
        shown = following.communicate(timeout=60)[0].decode()
    assert following.returncode == 0 and len(shown.splitlines()) == len(set(shown.splitlines())), shown


def test_metrics(sandbox_id):
    end = time.monotonic() + 60
    while not (samples := json.loads(warren("sandbox", "metrics", sandbox_id, "--json")[0])):
        assert time.monotonic() < end, "no sample came"
        time.sleep(0.5)
    assert samples[0]["cpuCount"] == 2 and samples[0]["memTotal"] == 1 << 30
    head, row = warren("sandbox", "metrics", sandbox_id)[0].splitlines()[:2]
    assert head.split()[:2] == ["TIME", "(UTC)"] and re.match(r"\d\d:\d\d:\d\d +\d+\.\d % ", row)
    assert max(len(line) for line in (head, row)) <= 80
    with subprocess.Popen([WARREN, "sandbox", "metrics", "-f", "-q", sandbox_id], stdout=subprocess.PIPE) as following:
        assert b"%" in following.stdout.readline()
        following.terminate()


def test_pause_and_resume():
    made = warren("sandbox", "create")[0].strip()
    warren("sandbox", "exec", made, "--", "sh", "-c", "echo kept > ~/note")
    assert warren("sandbox", "pause", "--files-only", made)[0] == f"{made} paused\n"
    assert json.loads(warren("sandbox", "pause", "--files-only", made, "--json")[0]) == [{"sandboxId": made, "paused": False}]
    # To look at it does not wake it.
    assert warren("sandbox", "info", made, "-q")[0] == "paused\n"
    assert warren("sandbox", "port", made, "80")[0] and warren("sandbox", "info", made, "-q")[0] == "paused\n"
    assert warren("sandbox", "resume", made, "--timeout", "120")[0] == f"{made} running\n"
    warren("sandbox", "pause", "-q", "--files-only", made)
    # What needs it awake wakes it.
    assert warren("sandbox", "exec", made, "--", "cat", "/home/user/note")[0] == "kept\n"
    warren("sandbox", "kill", made)


def test_errors_say_what_to_do(sandbox_id):
    _, said = warren("sandbox", "connect", sandbox_id, status=1)
    assert "warren sandbox exec" in said
    _, said = warren("sandbox", "exec", "i00000000000000000000", "--", "true", status=1)
    assert "i00000000000000000000" in said and "`warren sandbox list`" in said
    _, said = warren("sandbox", "create", "there-is-no-such-template", status=1)
    assert "`warren template list`" in said
    _, said = warren("sandbox", "list", status=1, environment={**os.environ, "E2B_API_KEY": "", "HOME": "/nowhere"})
    assert "E2B_API_KEY" in said and "`warren auth login`" in said
    _, said = warren("sandbox", "list", status=1, environment={**os.environ, "E2B_API_URL": "http://127.0.0.1:9"})
    assert "`warren up`" in said
    assert "--help" in warren("sandbox", "frobnicate", status=2)[1]


def test_auth(tmp_path):
    own = {name: value for name, value in os.environ.items() if not name.startswith("E2B_")}
    own |= {"XDG_CONFIG_HOME": str(tmp_path)}
    assert "auth login" in warren("auth", "status", status=1, environment=own)[1]
    refused = warren("auth", "login", "--url", API_URL, input=b"e2b_" + b"0" * 40, status=1, environment=own)
    assert "401" in refused[1] and not list(tmp_path.iterdir())
    (tmp_path / "key").write_text(f"{API_KEY}\n")
    if API_URL.startswith("https:"):
        return  # a name and its authority are the environment's
    assert "Logged in" in warren("auth", "login", "--url", API_URL, "--key-file", str(tmp_path / "key"), environment=own)[0]
    assert (tmp_path / "warren/credentials.toml").stat().st_mode & 0o777 == 0o600
    told = json.loads(warren("auth", "status", "--json", environment=own)[0])
    assert (told["server"], told["accepted"], told["serverFrom"]) == (API_URL, True, "warren auth login")
    assert API_KEY not in json.dumps(told)
    warren("sandbox", "list", environment=own)
    # The stored key does not go to another server.
    elsewhere = warren("sandbox", "list", status=1, environment={**own, "E2B_API_URL": "http://127.0.0.1:9"})
    assert "no API key" in elsewhere[1]
    assert warren("auth", "logout", environment=own)[0] == "Logged out.\n"
    assert json.loads(warren("auth", "logout", "--json", environment=own)[0]) == {"loggedOut": False}


def test_templates(tmp_path):
    name = f"cli-{os.getpid()}"
    _, said = warren("template", "init", name, cwd=tmp_path)
    assert f"warren template build {name}" in said
    assert "exists" in warren("template", "init", name, cwd=tmp_path, status=1)[1]
    (tmp_path / name / "Dockerfile").write_text("FROM e2bdev/base\nCOPY told /told\nRUN echo built\n")
    (tmp_path / name / "told").write_text("by the command line")
    shown = warren("template", "build", name, cwd=tmp_path / name)[0]
    assert "echo built" in shown and "\x1b" not in shown
    again = json.loads(warren("template", "build", name, "--json", cwd=tmp_path / name)[0])
    listed = json.loads(warren("template", "list", "--json")[0])
    assert any(one["templateID"] == again["templateId"] and name in one["aliases"] for one in listed)
    assert warren("template", "publish", name)[0] == f"{name}: open to all teams\n"
    assert re.search(rf"{again['templateId']} .* all +\S*{name}", warren("template", "ls")[0])
    assert json.loads(warren("template", "unpublish", name, "--json")[0])[0]["public"] is False
    made = warren("sandbox", "create", name)[0].strip()
    assert warren("sandbox", "cp", f"{made}:/told", "-")[0] == "by the command line"
    warren("sandbox", "kill", made)
    assert any(step["title"] for step in json.loads(warren("template", "cache", "ls", "--json")[0]))
    assert re.match(r"\d+ steps, ", warren("template", "cache", "du")[0])
    assert re.match(r"\d+ layers, .* read; 0 damaged\n", warren("template", "cache", "verify")[0])
    assert json.loads(warren("template", "cache", "verify", "--json")[0])["damaged"] == []
    assert warren("template", "delete", name)[0] == f"{name}: deleted\n"
    assert warren("template", "delete", name, status=1)[0] == f"{name}: not found\n"


@pytest.mark.parametrize("language, runs", [("python", "template.py"), ("javascript", "build.mjs")])
def test_templates_for_the_builders(tmp_path, language, runs):
    files = warren("template", "init", "my-tools", "--language", language, "--path", str(tmp_path))[0].split()
    assert str(tmp_path / runs) in files
    if language == "python":
        # The official builder reads it.
        import runpy

        from e2b import Template

        built = runpy.run_path(str(tmp_path / "template.py"))["template"]
        assert "requests" in Template.to_json(built)
        assert '"my-tools"' in (tmp_path / "build.py").read_text()


@pytest.mark.skipif("WARREN_ADMIN_TOKEN" not in os.environ, reason="needs the operator's token")
def test_teams_and_keys():
    slug = f"cli-{os.getpid()}"
    team = json.loads(warren("team", "create", "Of the command line", "--slug", slug, "--json")[0])
    assert slug in warren("team", "list", "--quiet")[0].split()
    assert re.search(rf"{team['teamID'] if 'teamID' in team else team['teamId']}  {slug} ", warren("team", "ls")[0])
    key = json.loads(warren("key", "create", "first", "--team", slug, "--json")[0])
    listed = json.loads(warren("key", "list", "--team", slug, "--json")[0])
    assert [one["name"] for one in listed] == ["first"]
    warren("key", "rename", key["id"], "second", "--team", slug)
    assert warren("key", "ls", "--team", slug)[0].splitlines()[1].endswith("second")
    assert warren("sandbox", "list", "-q", environment={**os.environ, "E2B_API_KEY": key["key"]})[0] == ""
    assert warren("key", "revoke", key["id"], "--team", slug)[0] == f"{key['id']} revoked\n"
    assert "401" in warren("sandbox", "list", environment={**os.environ, "E2B_API_KEY": key["key"]}, status=1)[1]
    token = warren("team", "add-member", slug, f"{slug}@example.org")[0].strip()
    assert token.startswith("sk_e2b_")
    warren("team", "set", slug, "--standing", "banned")


def test_doctor_completions_and_manual_pages(tmp_path):
    findings = json.loads(warren("doctor", "--json")[0])
    assert all(finding["ok"] for finding in findings if finding["required"])
    assert "_warren" in warren("completions", "bash")[0]
    warren("man", str(tmp_path))
    pages = {page.name for page in tmp_path.iterdir()}
    assert {"warren.1", "warren-sandbox.1", "warren-sandbox-connect.1", "warren-up.1"} <= pages
    assert not any("launcher" in page for page in pages)
