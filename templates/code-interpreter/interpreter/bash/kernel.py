"""The Bash kernel: `kernel.py SOCKET`.

    service ──socket── this program ──┬─ lines on standard input ─▶ one bash
                                      ├─ output ◀─ its stdout and stderr
                                      └─ reports ◀─ `STATUS` at the end of a cell

A cell is written to a file and evaluated at the top level of an interactive
bash that has no terminal: variables, functions, options and the directory stay,
`local` is refused as in a script, and an interrupt ends the cell, not the shell.
Frames both ways: `KIND ID LENGTH\\n` and so many bytes.
"""

import codecs
import json
import os
import selectors
import shlex
import signal
import socket
import subprocess
import sys

# Out of the way of what scripts use.
REPORT = 252
CHUNK = 65536


class Shell:
    """One bash and the pipes to it."""

    def __init__(self, cell_file, cwd):
        reports, report = os.pipe()
        os.dup2(report, REPORT, inheritable=True)
        os.close(report)
        self.reports = reports
        self.process = subprocess.Popen(
            ["bash", "--noprofile", "--norc", "--noediting", "-i"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[REPORT],
            cwd=cwd,
        )
        os.close(REPORT)
        self.output = self.process.stdout.fileno()
        os.set_blocking(self.output, False)
        file = shlex.quote(cell_file)
        # The file is read by a word of its own line, so that `$?` of the cell before
        # is what the cell begins with.
        self.line = (
            f'__warren_code=$(<{file}); (exit "${{__warren_status:-0}}"); eval "$__warren_code" </dev/null\n'
            f"__warren_status=$?; printf '%s\\n' \"$__warren_status\" >&{REPORT}\n"
        ).encode()
        # No prompt, no history, no `!` that means more than it says; users' aliases and
        # functions, whatever printing them may do.
        self.say(
            "PS1= PS2= PROMPT_COMMAND=; set +o history +H\n"
            "for __warren_code in /etc/bash.bashrc ~/.bashrc; do [ -r \"$__warren_code\" ] && . \"$__warren_code\"; done "
            ">/dev/null 2>&1 </dev/null; PS1= PS2= PROMPT_COMMAND=\n"
        )

    def say(self, text):
        self.process.stdin.write(text if isinstance(text, bytes) else text.encode())
        self.process.stdin.flush()

    def begin(self):
        self.say(self.line)

    def read(self):
        """What lies in the pipe; empty if nothing does."""
        try:
            return os.read(self.output, CHUNK)
        except (BlockingIOError, OSError):
            return b""

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        os.close(self.reports)


class Kernel:
    def __init__(self, path):
        self.cell_file = path + ".cell"
        self.cwd = os.getcwd()
        self.count = 0
        self.selector = selectors.DefaultSelector()
        self.pending = b""
        self.start()
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(1)
        self.socket, _ = listener.accept()
        listener.close()
        # Whatever the start printed is nobody's.
        self.hidden("true")

    def start(self):
        self.shell = Shell(self.cell_file, self.cwd if os.path.isdir(self.cwd) else "/")
        self.selector.register(self.shell.output, selectors.EVENT_READ)
        self.selector.register(self.shell.reports, selectors.EVENT_READ)

    def restart(self):
        self.selector.unregister(self.shell.output)
        self.selector.unregister(self.shell.reports)
        self.shell.close()
        self.start()

    def send(self, kind, request, content):
        payload = json.dumps(content).encode()
        self.socket.sendall(f"{kind} {request} {len(payload)}\n".encode() + payload)

    def evaluate(self, code, take):
        """Runs code and gives its output to `take`; the exit status in the end."""
        file = os.open(self.cell_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(file, "wb") as cell:
            cell.write(code)
        try:
            self.shell.begin()
        except BrokenPipeError:
            pass
        while True:
            for key, _ in self.selector.select():
                if key.fd == self.shell.output:
                    take(self.shell.read())
                    continue
                report = os.read(self.shell.reports, CHUNK)
                while chunk := self.shell.read():
                    take(chunk)
                if report:
                    return int(report.split()[-1])
                # The shell is gone: `exit`, or `set -e` and a failure.
                status = self.shell.process.wait()
                self.restart()
                self.hidden("true")
                return status if status >= 0 else 128 - status

    def request(self):
        """The next frame; None at the end. What is printed meanwhile is nobody's."""
        with selectors.DefaultSelector() as idle:
            idle.register(self.socket, selectors.EVENT_READ)
            idle.register(self.shell.output, selectors.EVENT_READ)
            while (frame := self.frame()) is None:
                for key, _ in idle.select():
                    if key.fd != self.shell.output:
                        received = self.socket.recv(CHUNK)
                        if not received:
                            return None
                        self.pending += received
                    elif not self.shell.read():
                        # Its end is found out by the next cell.
                        idle.unregister(self.shell.output)
            return frame

    def frame(self):
        header, line_end, rest = self.pending.partition(b"\n")
        if not line_end:
            return None
        kind, request, length = header.decode().split()
        if len(rest) < int(length):
            return None
        self.pending = rest[int(length) :]
        return kind, request, rest[: int(length)]

    def hidden(self, code):
        return self.evaluate(code.encode(), lambda chunk: None)

    def execute(self, request, code):
        decoder = codecs.getincrementaldecoder("utf-8")("replace")

        def take(chunk):
            if text := decoder.decode(chunk):
                self.send("stream", request, {"name": "stdout", "text": text})

        self.count += 1
        self.send("status", request, {"execution_state": "busy"})
        self.send("execute_input", request, {"execution_count": self.count})
        # NUL cannot be in a script.
        status = self.evaluate(code.replace(b"\0", b""), take)
        if rest := decoder.decode(b"", final=True):
            self.send("stream", request, {"name": "stdout", "text": rest})
        if status:
            self.send("error", request, {"ename": "", "evalue": str(status), "traceback": []})
        self.finish(request, "error" if status else "ok")

    def set_envs(self, request, changes):
        for name, value in changes.items():
            # Of a shell that is started later, too.
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        plain = {name: value for name, value in changes.items() if name.isidentifier() and name.isascii()}
        lines = [f"unset {n}" if v is None else f"export {n}={shlex.quote(v)}" for n, v in plain.items()]
        lines.append('(exit "${__warren_status:-0}")')
        self.hidden("\n".join(lines))
        self.finish(request, "ok")

    def finish(self, request, status):
        self.send("execute_reply", request, {"status": status})
        self.send("status", request, {"execution_state": "idle"})

    def run(self):
        while frame := self.request():
            kind, request, payload = frame
            if kind == "bash":
                self.execute(request, payload)
            elif kind == "envs":
                self.set_envs(request, json.loads(payload))
            # An interrupt is for the shell, which has the signal.


if __name__ == "__main__":
    # Caught rather than ignored: what is ignored stays so in children.
    signal.signal(signal.SIGINT, lambda *_: None)
    Kernel(sys.argv[1]).run()
