"""The gateway's HTTP side: streamable HTTP without sessions, a JSON answer to each
message. Whoever has not the token gets nothing."""

import hmac
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from servers import Failure, Refusal

PORT = 50005
LONGEST = 16 << 20
IDLE_SECONDS = 120
# Requests at a time; further ones wait for their turn.
AT_ONCE = 64
VERSIONS = ("2025-11-25", "2025-06-18", "2025-03-26")
CALLS = {"tools/call": "tools", "prompts/get": "prompts", "resources/read": "resources"}
LISTS = {"tools/list": "tools", "prompts/list": "prompts", "resources/list": "resources"}


class Listener(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128


def listen():
    try:
        return Listener(("0.0.0.0", PORT), Handler)
    except OSError:
        raise Failure(f"port {PORT} is taken: a gateway runs already") from None


def serve(listener, servers, token):
    Handler.servers, Handler.token = servers, f"Bearer {token}".encode()
    listener.serve_forever()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    turns = threading.BoundedSemaphore(AT_ONCE)

    def do_POST(self):
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > LONGEST:
            self.close_connection = True
            return self.say(413 if length.isdigit() else 411, {"error": f"a body of known length, at most {LONGEST} bytes"})
        body = self.rfile.read(int(length))
        if not self.is_known():
            return None
        try:
            message = json.loads(body)
            if not isinstance(message, dict):
                raise ValueError("a single message is expected")
        except ValueError as error:
            return self.say(400, failed(None, -32700, str(error)))
        if "id" not in message or "method" not in message:
            return self.say(202)  # a notification, or an answer to what was never asked
        with self.turns:
            return self.say(200, self.answer(message))

    def do_GET(self):
        # No stream of what the servers would say unasked.
        if self.is_known():
            self.say(405)

    do_DELETE = do_GET

    def is_known(self):
        if self.path.split("?")[0].rstrip("/") != "/mcp":
            self.say(404, {"error": "the gateway is at /mcp"})
            return False
        shown = self.headers.get("Authorization", "").encode()
        if not hmac.compare_digest(shown, self.token):
            self.say(401, {"error": "show the gateway's token as a bearer token"})
            return False
        return True

    def answer(self, message):
        number, method, params = message["id"], message["method"], message.get("params") or {}
        try:
            return {"jsonrpc": "2.0", "id": number, "result": self.result(method, params)}
        except Refusal as refusal:
            return {"jsonrpc": "2.0", "id": number, "error": refusal.error}
        except Failure as failure:
            return failed(number, -32603, str(failure))

    def result(self, method, params):
        if method == "initialize":
            asked = params.get("protocolVersion")
            return {
                "protocolVersion": asked if asked in VERSIONS else VERSIONS[0],
                "capabilities": self.servers.capabilities(),
                "serverInfo": {"name": "mcp-gateway", "version": "1"},
            }
        if method == "ping":
            return {}
        if method in LISTS:
            return self.servers.list(LISTS[method])
        if method in CALLS:
            return self.servers.call(CALLS[method], method, params)
        raise Refusal(-32601, f"the gateway does not do {method}")

    def say(self, status, content=None):
        body = b"" if content is None else json.dumps(content, separators=(",", ":")).encode()
        self.send_response(status)
        if body:
            self.send_header("Content-Type", "application/json")
        if status == 401:
            self.send_header("WWW-Authenticate", "Bearer")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Nothing: whoever calls could fill the disk."""


def failed(number, code, message):
    return {"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": message}}
