"""What strangers send: each gets the contract's error shape, and the SDK's right class."""

import json

import pytest
from e2b import AuthenticationException, NotFoundException, Sandbox, SandboxException
from outside import API_KEY, routed

UNKNOWN = "i" + "0" * 20

CALLS = [
    ("POST", "/sandboxes"),
    ("POST", "/v2/sandboxes"),
    ("GET", "/sandboxes"),
    ("GET", "/v2/sandboxes"),
    ("GET", f"/sandboxes/{UNKNOWN}"),
    ("DELETE", f"/sandboxes/{UNKNOWN}"),
    ("POST", f"/sandboxes/{UNKNOWN}/timeout"),
    ("POST", f"/sandboxes/{UNKNOWN}/refreshes"),
    ("POST", f"/sandboxes/{UNKNOWN}/connect"),
    ("POST", f"/v2/sandboxes/{UNKNOWN}/connect"),
    ("GET", f"/sandboxes/{UNKNOWN}/metrics"),
]
WITH_BODY = [call for call in CALLS if call[0] == "POST"]
BODIES = {
    "malformed": b'{"templateID": ',
    "no object": b"[1, 2]",
    "a string": b'"base"',
    "not utf-8": b'{"templateID": "\xff\xfe"}',
    "deep": b"[" * 100_000,
    "wrong types": b'{"templateID": 7, "timeout": "soon", "duration": "long", "metadata": [1]}',
}


def refused(answer, *statuses):
    """The contract's shape: the status repeated, and a sentence."""
    assert answer.status_code in statuses, (answer.status_code, answer.text[:300])
    body = answer.json()
    assert body["code"] == answer.status_code
    assert isinstance(body["message"], str) and body["message"]
    return body["message"]


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_keys(stranger, method, path):
    body = {"json": {"templateID": "base", "timeout": 10}} if method == "POST" else {}
    assert "authorization header is missing" in refused(stranger.request(method, path, **body), 401)
    for key in ("nonsense", "e2b_" + "0" * 40, "e2b_", "é".encode("latin-1"), API_KEY + "0", API_KEY[:-1]):
        message = refused(stranger.request(method, path, headers={"X-API-Key": key}, **body), 401)
        assert API_KEY not in message


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize(("method", "path"), WITH_BODY)
def test_bodies(api, method, path, body):
    headers = {"Content-Type": "application/json"}
    refused(api.request(method, path, content=body, headers=headers), 400, 404)


@pytest.mark.parametrize(("method", "path"), WITH_BODY)
def test_oversized_bodies(api, method, path):
    body = b'{"templateID": "' + b"x" * (17 * 1024 * 1024) + b'"}'
    headers = {"Content-Type": "application/json"}
    refused(api.request(method, path, content=body, headers=headers), 413)


@pytest.mark.parametrize(("method", "path"), [call for call in CALLS if UNKNOWN in call[1] and "metrics" not in call[1]])
def test_unknown_ids(api, method, path):
    body = {"json": {"timeout": 10}} if method == "POST" else {}
    assert UNKNOWN in refused(api.request(method, path, **body), 404)


def test_an_unknown_sandbox_has_no_samples(api):
    """Samples outlive sandboxes, so having none is an answer, as in the original service."""
    answer = api.get(f"/sandboxes/{UNKNOWN}/metrics")
    assert (answer.status_code, answer.json()) == (200, [])
    refused(api.get(f"/sandboxes/{UNKNOWN}/metrics?start=2&end=1"), 400)


@pytest.mark.parametrize("sandbox_id", ["UPPER", "a.b", "%00", "..%2f..%2fetc", "x" * 300, "é"])
def test_ids_that_are_none(api, sandbox_id):
    refused(api.get(f"/sandboxes/{sandbox_id}"), 400, 404)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"templateID": ""},
        {"templateID": "../../etc"},
        {"templateID": "a b"},
        {"templateID": "base", "timeout": -1},
        {"templateID": "base", "timeout": 0},
        {"templateID": "base", "timeout": 10**12},
        {"templateID": "base", "timeout": 1.5},
        {"templateID": "base", "envVars": {"A": 1}},
        {"templateID": "base", "metadata": {"k": None}},
        {"templateID": "base", "autoResume": {}},
    ],
    ids=json.dumps,
)
@pytest.mark.parametrize("path", ["/sandboxes", "/v2/sandboxes"])
def test_creates_that_cannot_be(api, path, body):
    refused(api.post(path, json=body), 400)


@pytest.mark.parametrize(
    "body",
    [
        {"network": {"allowOut": ["example.com"]}},
        {"allow_internet_access": False},
        {"volumeMounts": [{"name": "v", "path": "/v"}]},
        {"iam": {"tokens": {"t": {"audience": "a", "tokenType": "JWT-SVID"}}}},
    ],
    ids=json.dumps,
)
def test_what_is_not_built_is_named(api, body):
    message = refused(api.post("/v2/sandboxes", json={"templateID": "base", **body}), 501)
    assert next(iter(body)) in message


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "order=up", "state=dead", "nextToken=%00", "startedAfter=now"])
def test_bad_queries(api, query):
    refused(api.get(f"/v2/sandboxes?{query}"), 400)


def test_unknown_routes_and_methods(api):
    refused(api.get("/no/such/route"), 404)
    refused(api.patch("/v2/sandboxes"), 405)


def test_unknown_fields_are_ignored(api):
    answer = api.post("/v2/sandboxes", json={"templateID": "base", "timeout": 20, "fromTheFuture": {"x": 1}})
    assert answer.status_code == 201
    assert api.delete(f"/sandboxes/{answer.json()['sandboxID']}").status_code == 204


@pytest.mark.parametrize("key", ["", "a" * 256, "Upper", "with space"])
def test_bad_idempotency_keys(api, key):
    headers = {"Idempotency-Key": key}
    refused(api.post("/v2/sandboxes", json={"templateID": "base"}, headers=headers), 400)


@pytest.mark.parametrize("service", ["process.Process/Start", "process.Process/List", "filesystem.Filesystem/Stat"])
@pytest.mark.parametrize("content_type", ["application/json", "application/connect+json", "application/proto", "text/plain"])
def test_bad_rpc_bodies_inside(sandbox, stranger, service, content_type):
    for body in (b"", b"{", b"\x00\x00\x00\x00\x05{}", b"\x00\xff\xff\xff\xff", b"[1]"):
        headers = {**routed(sandbox), "Content-Type": content_type}
        answer = stranger.post(f"/{service}", content=body, headers=headers)
        assert answer.status_code < 500, (body, answer.status_code, answer.text)
    assert sandbox.commands.run("echo alive").stdout == "alive\n"


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"code": 7}', b'{"code": "1", "env_vars": [1]}', b'{"language": "python"}'])
def test_bad_executions(interpreter, stranger, body):
    headers = {**routed(interpreter, 49999), "Content-Type": "application/json"}
    answer = stranger.post("/execute", content=body, headers=headers)
    assert answer.status_code == 422
    assert answer.json()["detail"]


def test_the_sdk_raises_the_right_class():
    with pytest.raises(AuthenticationException):
        Sandbox.create("base", api_key="e2b_" + "0" * 40)
    with pytest.raises(NotFoundException):
        Sandbox.connect(UNKNOWN)
    with pytest.raises(NotFoundException):
        Sandbox.get_info(UNKNOWN)
    with pytest.raises(SandboxException, match="400"):
        Sandbox.create("base", timeout=10**9)
    assert Sandbox.kill(UNKNOWN) is False
