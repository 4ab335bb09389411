"""The session API as an application sees it: the service's own checks, done with
`curl` lines, then what else its document promises."""

import json
import subprocess
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from outside import API_KEY, API_URL
from waiting import until

BASE = f"{API_URL}/api/v1/session"


class Session:
    """One session, called by `curl`."""

    def __init__(self, name):
        self.url = f"{BASE}/{name}/sandbox"

    def curl(self, call, *arguments):
        """Status and body of one call."""
        line = ["curl", "-s", "-w", "\n%{http_code}", "-H", f"X-API-Key: {API_KEY}", *arguments]
        done = subprocess.run([*line, f"{self.url}/{call}"], capture_output=True, check=True, timeout=100)
        body, status = done.stdout.rsplit(b"\n", 1)
        return int(status), body

    def json(self, call, *arguments):
        status, body = self.curl(call, *arguments)
        assert status == 200, body
        return json.loads(body)

    def post(self, call, body=None):
        data = ["-H", "Content-Type: application/json", "-d", json.dumps(body)] if body is not None else []
        return self.json(call, "-X", "POST", *data)

    def execute(self, code):
        return self.post("execute", {"code": code})

    def stop(self):
        assert self.curl("stop", "-X", "POST") == (204, b"")


@pytest.fixture
def session():
    one = Session(f"test-{uuid.uuid4()}")
    yield one
    one.stop()


@pytest.fixture
def http():
    with httpx.Client(headers={"X-API-Key": API_KEY}, timeout=100) as client:
        yield client


def test_the_services_own_checks(session, tmp_path):
    assert session.json("status") is None
    first = session.post("start", {"sandbox_type": "code_interpreter"})
    assert first["status"] == "running"
    assert session.post("start")["sandbox_id"] == first["sandbox_id"]

    printed = session.execute("print('hello')")
    assert (printed["success"], printed["output"], printed["error"]) == (True, "hello\n", None)
    failed = session.execute("print('before')\nundefined_name")
    assert (failed["success"], failed["output"]) == (False, "before\n")
    assert failed["error"].startswith("""ExecutionError(name='NameError', value="name 'undefined_name' is""")
    assert "traceback=" in failed["error"]
    session.execute("kept = 41")
    assert session.execute("print(kept + 1)")["output"] == "42\n"

    installed = session.post("install", {"packages": ["cowsay==6.1"]})
    assert installed["success"] and "Successfully installed cowsay" in installed["output"], installed
    assert session.execute("import cowsay; print(cowsay.__version__)")["success"]

    file = tmp_path / "data.json"
    file.write_bytes(b'{"answer": 42}\r\n--x\r\n' + bytes(range(256)) * 1000)
    uploaded = session.json("upload?path=/home/user/upload", "-F", f"file=@{file}")
    assert uploaded == {"path": "/home/user/upload/data.json"}
    assert session.json("upload", "-F", f"file=@{file}") == uploaded
    assert session.curl(f"download?path={uploaded['path']}") == (200, file.read_bytes())
    listed = session.json("files?path=/home/user/upload")
    assert listed == [{"path": uploaded["path"], "size": file.stat().st_size, "is_directory": False}]

    session.stop()
    assert session.json("status") is None
    again = session.post("start")
    assert again["sandbox_id"] != first["sandbox_id"]
    assert session.execute("kept")["success"] is False
    assert session.curl(f"download?path={uploaded['path']}")[0] == 404


def test_what_a_start_tells(session):
    info = session.post("start", {})
    assert set(info) == {"sandbox_id", "session_id", "sandbox_type", "status", "created_at", "last_activity"}
    assert info["sandbox_type"] == "code_interpreter"
    created = datetime.fromisoformat(info["created_at"])
    assert created.utcoffset() == timedelta(0) and info["created_at"].endswith("+00:00")
    assert len(info["created_at"]) == len("2026-01-22T10:00:00.123456+00:00")
    session.execute("1")
    later = until(
        lambda: (now := session.json("status"))["last_activity"] > info["last_activity"] and now, "activity is noted"
    )
    assert later["created_at"] == info["created_at"]


def test_sessions_do_not_see_each_other():
    one, other = Session(f"one-{uuid.uuid4()}"), Session(f"other-{uuid.uuid4()}")
    try:
        one.execute("mine = 1; open('/home/user/mine', 'w').write('x')")
        seen = other.execute("import os; print('mine' in globals(), os.path.exists('/home/user/mine'))")
        assert seen["output"] == "False False\n"
        assert one.json("status")["sandbox_id"] != other.json("status")["sandbox_id"]
    finally:
        one.stop()
        other.stop()


def test_racing_first_calls_get_one_sandbox(session, http):
    with ThreadPoolExecutor(8) as pool:
        started = list(pool.map(lambda _: http.post(f"{session.url}/start").json()["sandbox_id"], range(8)))
    assert len(set(started)) == 1


def test_any_text_is_a_session(http):
    url = f"{BASE}/anna%40example.com%2F%D1%82%D0%B5%D1%81%D1%82%20{uuid.uuid4()}/sandbox"
    try:
        assert http.post(f"{url}/start").json()["session_id"].startswith("anna@example.com/тест ")
        found = http.post(f"{url}/execute", json={"code": "open('x.txt', 'w').write('hi')"}).json()["artifacts"]
        assert [http.get(one).text for one in found] == ["hi"]
    finally:
        http.post(f"{url}/stop")


def test_pictures_and_files_are_artifacts(session, http):
    shown = session.execute("import matplotlib.pyplot as plt\nplt.plot([1, 3, 2])\nplt.show()")
    (chart,) = shown["artifacts"]
    picture = http.get(chart)
    assert picture.content.startswith(b"\x89PNG") and picture.headers["content-disposition"].endswith('.png"')

    code = """
import os
os.makedirs('/home/user/out/deep', exist_ok=True)
for name in ['out/a b.csv', 'out/deep/ü.txt', '.hidden']:
    with open(f'/home/user/{name}', 'w') as f:
        f.write(name)
open('/tmp/elsewhere', 'w').write('x')
"""
    # At once: what the cell before showed is not this one's.
    found = session.execute(code)["artifacts"]
    paths = sorted(parse_qs(urlsplit(one).query)["path"][0] for one in found)
    assert paths == ["/home/user/out/a b.csv", "/home/user/out/deep/ü.txt"]
    assert sorted(http.get(one).text for one in found) == ["out/a b.csv", "out/deep/ü.txt"]
    assert httpx.get(found[0]).status_code == 401, "with the same credentials only"
    time.sleep(0.02)
    assert session.execute("1")["artifacts"] == [], "told once"


def test_warnings_are_the_error_of_code_that_succeeds(session):
    result = session.execute("import sys; print('warned', file=sys.stderr)")
    assert (result["success"], result["error"]) == (True, "warned\n")
    assert isinstance(result["execution_time_ms"], int)
    slow = session.execute("import time; time.sleep(0.5)")
    assert 500 <= slow["execution_time_ms"] < 5000


def test_large_files_go_through(session, http):
    session.post("start")
    content = bytes(range(256)) * 65536
    for _ in range(2):
        answer = http.post(f"{session.url}/upload", params={"path": "/home/user/a/b"}, files={"file": ("big", content)})
        assert answer.json() == {"path": "/home/user/a/b/big"}
    with http.stream("GET", f"{session.url}/download", params={"path": "/home/user/a/b/big"}) as stream:
        assert stream.headers["content-type"] == "application/octet-stream"
        assert stream.headers["content-disposition"] == 'attachment; filename="big"'
        assert b"".join(stream.iter_raw()) == content


def test_names_of_files_stay_in_their_directory(session, http):
    session.post("start")
    answer = http.post(f"{session.url}/upload", files={"file": ("../../etc/x.txt", b"1")})
    assert answer.json() == {"path": "/home/user/upload/x.txt"}


def test_bad_requests_say_what_is_wrong(session, http):
    session.post("start")

    def refused(status, method, call, **more):
        answer = http.request(method, f"{session.url}/{call}", **more)
        assert answer.status_code == status, answer.text
        assert set(answer.json()) == {"detail"}
        return answer.json()["detail"]

    assert refused(400, "POST", "execute", json={"code": ""}) == "code is empty"
    assert "code" in refused(400, "POST", "execute", json={})
    refused(400, "POST", "start", json={"sandbox_type": "gpu"})
    refused(400, "POST", "execute", content=b"{")
    assert refused(400, "POST", "install", json={"packages": []}) == "packages is empty"
    for package in ["--index-url=http://x", "-r", "http://example.com/x.whl", "file:///etc/passwd", ""]:
        assert refused(400, "POST", "install", json={"packages": ["requests", package]}).startswith("packages: ")
    assert refused(400, "GET", "download") == "path is missing"
    assert "relative" in refused(400, "GET", "download?path=data.json")
    assert "relative" in refused(400, "GET", "files?path=home")
    assert "/home/user" in refused(400, "GET", "download?path=/home/user")
    assert refused(404, "GET", "download?path=/nope") == "file not found: /nope"
    assert refused(404, "GET", "files?path=/nope") == "file not found: /nope"
    assert "multipart" in refused(400, "POST", "upload", content=b"x")
    assert "file" in refused(400, "POST", "upload", files={"other": ("a", b"x")})
    assert "relative" in refused(400, "POST", "upload?path=up", files={"file": ("a", b"x")})
    refused(404, "GET", "nothing")
    refused(405, "GET", "start")


def test_files_of_a_session_without_a_sandbox(http):
    url = f"{BASE}/nobody-{uuid.uuid4()}/sandbox"
    for answer in [
        http.get(f"{url}/download?path=/x"),
        http.get(f"{url}/files"),
        http.post(f"{url}/upload", files={"file": ("a", b"x")}),
    ]:
        assert answer.status_code == 404 and answer.json()["detail"].startswith("session_id not found")
    assert http.post(f"{url}/stop").status_code == 204
    assert http.get(f"{url}/status").json() is None


def test_keys_are_demanded_as_everywhere(session, stranger):
    answer = stranger.get(f"{session.url}/status")
    assert (answer.status_code, set(answer.json())) == (401, {"detail"})


def test_a_failed_installation_is_told(session):
    result = session.post("install", {"packages": ["no-such-package-anywhere-1f2e3d"]})
    assert result["success"] is False and "no-such-package-anywhere" in result["error"]


def test_a_sandbox_that_was_killed_is_replaced(session, api):
    first = session.post("start")["sandbox_id"]
    assert api.delete(f"/sandboxes/{first}").status_code == 204
    assert session.json("status") is None
    assert session.execute("print(1)")["output"] == "1\n"
    assert session.json("status")["sandbox_id"] != first


def test_a_stop_ends_what_runs(session, http):
    session.post("start")
    answers = []
    running = threading.Thread(
        target=lambda: answers.append(
            http.post(f"{session.url}/execute", json={"code": "open('runs', 'w'); import time; time.sleep(60)"})
        )
    )
    running.start()
    until(lambda: http.get(f"{session.url}/download?path=/home/user/runs").status_code == 200, "it runs")
    session.stop()
    running.join(30)
    assert answers[0].status_code == 500 and "ended during the call" in answers[0].json()["detail"]
