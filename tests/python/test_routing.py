"""Ways into a sandbox from outside: by host name, by header, by upgrade."""

import asyncio
import http.client
import json

import pytest
import websockets
from outside import API_KEY, routed
from waiting import until

SERVER = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_any(self):
        body = self.rfile.read(int(self.headers.get('Content-Length', 0)))
        answer = f'{self.command} {self.path} {self.headers["Host"]} {len(body)}'.encode()
        self.send_response(418 if self.path == '/teapot' else 200)
        self.send_header('Content-Length', str(len(answer)))
        self.end_headers()
        if self.command != 'HEAD': self.wfile.write(answer)
    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_any
    do_HEAD = do_OPTIONS = do_PROPFIND = do_any
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(('ADDRESS', PORT), Handler).serve_forever()
"""

# Speaks RFC 6455 by hand, since the sandbox has only the standard library.
ECHO = """
import base64, hashlib, socket
server = socket.create_server(('127.0.0.1', 8765))
while True:
    peer, _ = server.accept()
    head = b''
    while b'\\r\\n\\r\\n' not in head: head += peer.recv(4096)
    key = [l.split(b': ')[1] for l in head.split(b'\\r\\n') if l.lower().startswith(b'sec-websocket-key')][0]
    accept = base64.b64encode(hashlib.sha1(key + b'258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest())
    peer.sendall(b'HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\n'
                 b'Connection: Upgrade\\r\\nSec-WebSocket-Accept: ' + accept + b'\\r\\n\\r\\n')
    while True:
        first = peer.recv(2)
        if len(first) < 2 or first[0] & 15 == 8: break
        mask = peer.recv(4)
        data = bytes(b ^ mask[i % 4] for i, b in enumerate(peer.recv(first[1] & 127)))
        peer.sendall(bytes([0x81, len(data) + 5]) + b'echo:' + data)
    peer.close()
"""


def serve(sandbox, port, where="0.0.0.0"):
    source = SERVER.replace("ADDRESS", where).replace("PORT", str(port))
    sandbox.files.write(f"/tmp/server-{port}.py", source)
    sandbox.commands.run(f"python3 /tmp/server-{port}.py", background=True, timeout=0)
    until(lambda: sandbox.commands.run("ss -Htln").stdout.count(f":{port} "), f"port {port}")


@pytest.fixture(scope="module")
def served(sandbox):
    serve(sandbox, 8000)
    serve(sandbox, 8001, "127.0.0.1")
    return sandbox


def by_name(address, sandbox, port, path="/", method="GET", body=None, headers=None):
    connection = http.client.HTTPConnection(address, timeout=20)
    connection.request(method, path, body, {"Host": sandbox.get_host(port), **(headers or {})})
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_the_host_name_leads_inside(served, address):
    host = served.get_host(8000)
    assert host.startswith(f"8000-{served.sandbox_id}.")
    assert by_name(address, served, 8000, "/a?b=c%20d") == (200, f"GET /a?b=c%20d {host} 0")
    assert by_name(address, served, 8000, "/teapot")[0] == 418


def test_a_listener_on_loopback_is_reached(served, address):
    assert by_name(address, served, 8001)[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"])
def test_every_method_with_a_body(served, address, method):
    status, text = by_name(address, served, 8000, "/m", method, b"x" * 100_000)
    assert (status, text.split()[0], text.split()[-1]) == (200, method, "100000")


def test_headers_lead_inside_on_the_shared_host(served, stranger):


    """Row: D2."""
    answer = stranger.get("/h", headers=routed(served, 8000, token=False))
    assert answer.text.startswith("GET /h ")


def test_a_web_page_may_use_the_shared_host(sandbox, stranger):
    """Row: D3. A browser asks first, without the headers it asks for, whether the page may send them."""
    page = {"Origin": "http://page.example"}
    wanted = "authorization,connect-protocol-version,content-type,e2b-sandbox-id,e2b-sandbox-port,x-access-token"
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": wanted}
    answer = stranger.options("/process.Process/List", headers=page | asked)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (204, "*")
    assert answer.headers["access-control-allow-headers"] == wanted
    listed = stranger.post("/process.Process/List", json={}, headers=page | routed(sandbox))
    assert (listed.status_code, listed.headers["access-control-allow-origin"]) == (200, "*")

    asked["Access-Control-Request-Headers"] = "x-api-key"
    api = stranger.options("/v2/sandboxes", headers=page | asked)
    assert api.status_code == 204 and "X-API-Key" in api.headers["access-control-allow-headers"]
    assert "X-Next-Token" in api.headers["access-control-expose-headers"]


def test_headers_do_not_outrank_a_host_name(served, address, create):
    other = create()
    status, text = by_name(address, served, 8000, "/own", headers=routed(other, 49983))
    assert (status, text.split()[1]) == (200, "/own")


def test_half_a_pair_of_headers_is_refused(served, stranger):
    for name in ("E2b-Sandbox-Id", "E2b-Sandbox-Port"):
        headers = {name: routed(served)[name]}
        answer = stranger.get("/", headers=headers)
        assert (answer.status_code, answer.text.strip()) == (400, "missing header")


def test_a_closed_port_is_told(served, stranger):
    answer = stranger.get("/", headers=routed(served, 9))
    assert answer.status_code == 502
    wanted = {
        "sandboxId": served.sandbox_id,
        "message": "The sandbox is running but port is not open",
        "port": 9,
        "code": 502,
    }
    assert answer.json() == wanted


def test_an_unknown_sandbox_is_told(stranger):
    headers = {"E2b-Sandbox-Id": "i" + "0" * 20, "E2b-Sandbox-Port": "49983"}
    answer = stranger.get("/health", headers=headers)
    assert answer.status_code == 502
    assert answer.json()["code"] == 502
    assert "The sandbox was not found" in answer.json()["message"]
    page = stranger.get("/", headers={**headers, "User-Agent": "Mozilla/5.0 Firefox/140"})
    assert page.status_code == 502
    assert "html" in page.headers["content-type"]


@pytest.mark.parametrize("path", ["/init", "/freeze", "/unfreeze", "/fsfreeze", "/collapse", "//init", "/x/../init", "/%69nit"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_daemons_inner_routes_are_refused(served, address, path, method):
    status, text = by_name(address, served, 49983, path, method, headers=routed(served))
    assert status == 404
    assert json.loads(text)["code"] == 404
    assert "reserved" in json.loads(text)["message"]


def test_a_secured_sandbox_wants_its_token(served, stranger):


    """Row: A2."""
    bare = routed(served, token=False)
    for method, path in [("GET", "/files?path=x"), ("POST", "/process.Process/List"), ("GET", "/metrics"), ("GET", "/envs")]:
        answer = stranger.request(method, path, headers=bare, json={} if method == "POST" else None)
        assert (answer.status_code, answer.json()["code"]) == (401, 401), path
        wrong = stranger.request(method, path, headers={**bare, "X-Access-Token": "0" * 64}, json={} if method == "POST" else None)
        assert wrong.status_code == 401, path
    assert stranger.get("/health", headers=bare).status_code == 204
    assert stranger.get("/metrics", headers=routed(served)).status_code == 200


def test_the_servers_key_is_no_key_inside(served, stranger):
    headers = {**routed(served, token=False), "X-API-Key": API_KEY}
    assert stranger.get("/envs", headers=headers).status_code == 401


def test_web_sockets(served, address):
    served.files.write("/tmp/echo.py", ECHO)
    served.commands.run("python3 /tmp/echo.py", background=True, timeout=0)
    until(lambda: ":8765 " in served.commands.run("ss -Htln").stdout, "the echo server")

    async def talk(uri, **options):
        async with websockets.connect(uri, open_timeout=10, **options) as socket:
            for word in ("one", "two"):
                await socket.send(word)
                assert await asyncio.wait_for(socket.recv(), 10) == f"echo:{word}"

    host, port = address.rsplit(":", 1)
    asyncio.run(talk(f"ws://{served.get_host(8765)}/", host=host, port=int(port)))
    headers = {name: value for name, value in routed(served, 8765).items() if name != "X-Access-Token"}
    asyncio.run(talk(f"ws://{address}/", additional_headers=headers))


def test_a_killed_sandbox_resets_its_connections(create, address):
    sandbox = create()
    serve(sandbox, 8002)
    connection = http.client.HTTPConnection(address, timeout=20)
    connection.request("GET", "/", headers={"Host": sandbox.get_host(8002)})
    assert connection.getresponse().read()
    sandbox.kill()
    status, text = by_name(address, sandbox, 8002)
    assert (status, json.loads(text)["code"]) == (502, 502)


def test_many_requests_on_one_connection(served, address):
    connection = http.client.HTTPConnection(address, timeout=20)
    connection.connect()
    local_port = connection.sock.getsockname()
    for i in range(20):
        connection.request("GET", f"/{i}", headers={"Host": served.get_host(8000)})
        assert connection.getresponse().read().decode().startswith(f"GET /{i} ")
        assert connection.sock.getsockname() == local_port
