"""Every generation of the `e2b` package runs this, so it uses only calls that all
of them have."""

from e2b import Sandbox
from steps import ensure, step

sandbox = None


def create():
    global sandbox
    sandbox = Sandbox.create(timeout=60, metadata={"run": "matrix"}, envs={"GREETING": "hello"})
    ensure(sandbox.sandbox_id, sandbox)


def info():
    found = sandbox.get_info()
    ensure(found.sandbox_id == sandbox.sandbox_id, found)
    ensure(found.metadata == {"run": "matrix"}, found.metadata)
    ensure(sandbox.is_running(), "is_running")


def connect():
    again = Sandbox.connect(sandbox.sandbox_id)
    ensure(again.commands.run("echo again").stdout == "again\n", "connect")


def command():
    lines = []
    result = sandbox.commands.run("echo $GREETING; echo oops >&2", on_stdout=lines.append)
    ensure((result.stdout, result.stderr, result.exit_code) == ("hello\n", "oops\n", 0), result)
    ensure("".join(lines) == "hello\n", lines)
    background = sandbox.commands.run("sleep 30", background=True)
    ensure(background.pid in [process.pid for process in sandbox.commands.list()], "list")
    ensure(background.kill(), "kill")


def files():
    sandbox.files.write("dir/über.txt", "content ✓")
    ensure(sandbox.files.read("dir/über.txt") == "content ✓", "read")
    ensure(sandbox.files.exists("dir"), "exists")
    ensure([entry.name for entry in sandbox.files.list("dir")] == ["über.txt"], "list")
    sandbox.files.rename("dir/über.txt", "dir/b.txt")
    ensure(bytes(sandbox.files.read("dir/b.txt", format="bytes")) == "content ✓".encode(), "bytes")
    sandbox.files.remove("dir")
    ensure(not sandbox.files.exists("dir"), "remove")


def listing():
    found = []
    pages = Sandbox.list()
    while pages.has_next:
        found += [one.sandbox_id for one in pages.next_items()]
    ensure(sandbox.sandbox_id in found, found)


def kill():
    ensure(sandbox.kill(), "kill")
    ensure(not sandbox.is_running(), "is_running")


def main():
    step("create", create)
    step("info", info)
    step("connect", connect)
    step("command", command)
    step("files", files)
    step("list", listing)
    step("kill", kill)


if __name__ == "__main__":
    main()
