"""MCP servers as child processes that speak JSON-RPC, a line a message, and what
they offer together.

Each runs as the sandbox's `user`. Calls may overlap; a call that gets no answer
in time fails by itself. A server that ends fails its calls, and the next call
starts it again."""

import itertools
import json
import pwd
import subprocess
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late

VERSION = "2025-06-18"
# Until a server is ready; for one call; the longest message of a server.
READY_SECONDS = 60
CALL_SECONDS = 300
LONGEST = 64 << 20
# What is listed, by what it is called, and the key that names one.
LISTS = {"tools": "name", "prompts": "name", "resources": "uri"}
# Pages of one list; a server with more is cut off there.
PAGES = 100


class Failure(Exception):
    """Something to tell whoever started the gateway."""


class Refusal(Exception):
    """An error of JSON-RPC, to be passed on."""

    def __init__(self, code, message):
        super().__init__(message)
        self.error = {"code": code, "message": message}


class Server:
    """One process."""

    def __init__(self, name, line):
        self.name, self.line = name, line
        self.numbers = itertools.count(1)
        self.lock = threading.Lock()
        self.process = None
        self.ensure()

    def ensure(self):
        """Starts it if it does not run."""
        with self.lock:
            if self.process is not None and self.process.poll() is None:
                return
            account = pwd.getpwnam("user")
            environment = {"HOME": account.pw_dir, "USER": "user", "PATH": "/usr/local/bin:/usr/bin:/bin"}
            self.waiting = {}
            self.process = subprocess.Popen(
                self.line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sys.stderr, cwd=account.pw_dir,
                user=account.pw_uid, group=account.pw_gid, extra_groups=[], env=environment,
            )  # fmt: skip
            threading.Thread(target=self.read, args=(self.process, self.waiting), daemon=True).start()
            hello = {"protocolVersion": VERSION, "capabilities": {}, "clientInfo": {"name": "mcp-gateway", "version": "1"}}
            try:
                self.capabilities = self.ask("initialize", hello, READY_SECONDS).get("capabilities", {})
            except Refusal as refusal:
                self.process.kill()
                raise Failure(f"the server {self.name!r} did not start: {refusal}") from None
            self.write({"method": "notifications/initialized"})

    def call(self, method, params):
        self.ensure()
        return self.ask(method, params, CALL_SECONDS)

    def ask(self, method, params, seconds):
        number, answer, waiting = next(self.numbers), Future(), self.waiting
        waiting[number] = answer
        try:
            self.write({"id": number, "method": method, "params": params})
            return answer.result(seconds)
        except OSError:
            raise Refusal(-32603, f"the server {self.name!r} has ended") from None
        except Late:
            raise Refusal(-32603, f"the server {self.name!r} gave no answer within {seconds} s") from None
        finally:
            waiting.pop(number, None)

    def write(self, message):
        text = json.dumps({"jsonrpc": "2.0", **message}, separators=(",", ":")).encode() + b"\n"
        # One write of a buffered stream is not cut by another thread's.
        self.process.stdin.write(text)
        self.process.stdin.flush()

    def read(self, process, waiting):
        while line := process.stdout.readline(LONGEST):
            try:
                message = json.loads(line)
                self.take(message, waiting)
            except (ValueError, AttributeError, OSError) as error:
                print(f"{self.name}: a message was left out: {error}", file=sys.stderr, flush=True)
                if not line.endswith(b"\n"):
                    break  # longer than any message may be
        process.kill()
        process.wait()
        for answer in list(waiting.values()):
            answer.done() or answer.set_exception(Refusal(-32603, f"the server {self.name!r} has ended"))

    def take(self, message, waiting):
        if "method" in message:
            if "id" in message:  # it asks us: it may only see whether we live
                known = message["method"] == "ping"
                answer = {"result": {}} if known else {"error": {"code": -32601, "message": "the gateway does not do that"}}
                self.write({"id": message["id"], **answer})
            return
        answer = waiting.get(message.get("id"))
        if answer is None or answer.done():
            return
        if error := message.get("error"):
            answer.set_exception(Refusal(error.get("code", -32603), str(error.get("message", "it failed"))))
        else:
            answer.set_result(message.get("result") or {})


class Servers:
    """All of them. What two servers call the same is told apart by the server's name before it."""

    def __init__(self, lines):
        if not lines:
            raise Failure("no server is named")
        with ThreadPoolExecutor(len(lines)) as at_once:
            self.all = list(at_once.map(lambda one: Server(*one), lines.items()))
        self.owners = {}
        self.list("tools")

    def capabilities(self):
        return {kind: {} for kind in LISTS if any(kind in server.capabilities for server in self.all)}

    def list(self, kind):
        found, owners, key = [], {}, LISTS[kind]
        for server in self.all:
            if kind not in server.capabilities:
                continue
            for item in self.pages(server, kind):
                own = item.get(key)
                name = own if own not in owners else f"{server.name}_{own}"
                owners[name] = (server, own)
                found.append({**item, key: name})
        self.owners[kind] = owners
        return {kind: found}

    @staticmethod
    def pages(server, kind):
        params = {}
        for _ in range(PAGES):
            answer = server.call(f"{kind}/list", params)
            yield from answer.get(kind, [])
            if not (cursor := answer.get("nextCursor")):
                return
            params = {"cursor": cursor}

    def call(self, kind, method, params):
        key = LISTS[kind]
        name = params.get(key)
        if name not in self.owners.get(kind, {}):
            self.list(kind)
        if name not in self.owners[kind]:
            raise Refusal(-32602, f"there is no {kind[:-1]} {name!r}")
        server, own = self.owners[kind][name]
        return server.call(method, {**params, key: own})
