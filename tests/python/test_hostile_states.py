"""Sandboxes that do what they can to mislead whoever writes their state down and reads it back.

Either the state is kept, and what comes back is what was there; or it is refused in words, and
the sandbox runs on. Nothing outside is read or written in either case."""

import json
import os

import pytest
from e2b import Sandbox, SandboxException
from waiting import until

# A state that can mislead holds memory.
pytestmark = pytest.mark.usefixtures("memory")


# What every hostile program begins with; it says `ready` and then answers a request for its facts.
PROLOGUE = """
import errno, json, mmap, os, signal, socket, sys, threading, time
def serve(facts):
    open('/tmp/ready', 'w').close()
    while True:
        if os.path.exists('/tmp/ask'):
            os.remove('/tmp/ask')
            try:
                told = facts()
            except Exception as error:
                told = repr(error)
            with open('/tmp/told.new', 'w') as out:
                json.dump(told, out)
            os.rename('/tmp/told.new', '/tmp/told')
        time.sleep(0.02)
"""


def start(sandbox, program):
    """Starts a program as root; returns when it has set its trap."""
    sandbox.files.write("/tmp/program.py", PROLOGUE + program)
    sandbox.commands.run("setsid python3 /tmp/program.py > /tmp/output 2>&1 < /dev/null &", user="root")
    said = lambda: sandbox.commands.run("ls /tmp/ready 2>/dev/null || cat /tmp/output", user="root").stdout
    try:
        until(lambda: said() == "/tmp/ready\n", "the trap is set", 30)
    except AssertionError:
        pytest.fail(said())


def ask(sandbox):
    """What the program knows."""
    sandbox.commands.run("rm -f /tmp/told; touch /tmp/ask", user="root")
    until(lambda: sandbox.files.exists("/tmp/told"), "it answers", 30)
    return json.loads(sandbox.files.read("/tmp/told"))


def kept(sandbox):
    """Whether its state could be kept. In either case it goes on."""
    try:
        sandbox.pause()
    except SandboxException as refused:
        assert "which goes on as it was" in str(refused), refused
        return False
    sandbox.connect(timeout=120)
    return True


def test_files_that_were_replaced_while_open(create, tmp_path):
    """The same path exists outside: what comes back is the sandbox's own."""
    canary = tmp_path / "canary"
    canary.write_text("outside")
    sandbox = create()
    start(
        sandbox,
        f"""
path = {str(canary)!r}
os.makedirs(os.path.dirname(path))
held = open(path, 'w+'); held.write('inside'); held.flush()
os.remove(path); os.symlink('/proc/1/root' + path, path)
os.makedirs('/tmp/a/b'); deep = open('/tmp/a/b/c', 'w+'); deep.write('deep'); deep.flush()
os.rename('/tmp/a', '/tmp/moved'); os.symlink('/../../../..' + os.path.dirname(path), '/tmp/a')
shadow = open('/tmp/shadow', 'w+'); shadow.write('mine'); shadow.flush()
os.remove('/tmp/shadow'); os.symlink('/etc/shadow', '/tmp/shadow')
os.makedirs('/tmp/home'); home = os.open('/tmp/home', os.O_PATH | os.O_DIRECTORY)
os.chdir('/tmp/home'); os.rmdir('/tmp/home'); os.symlink('/', '/tmp/home')
def facts():
    told = []
    for one in (held, deep, shadow):
        one.write('+'); one.flush(); one.seek(0); told.append(one.read())
    return told + [os.listdir('/proc/self/cwd'), os.readlink('/proc/self/cwd')]
serve(facts)
""",
    )
    assert kept(sandbox)
    held, deep, shadow, listed, cwd = ask(sandbox)
    assert (held, deep, shadow) == ("inside+", "deep+", "mine+")
    assert listed == [] and cwd.endswith("(deleted)")
    assert canary.read_text() == "outside" and os.listdir(tmp_path) == ["canary"]


# Names that a program which packs files could take for something else.
NAMES = [
    "--checkpoint=1",
    "--checkpoint-action=exec=sh evil",
    "-C",
    "--absolute-names",
    "line\nbreak",
    "\n..\n",
    "..dots",
    "a\\nb\\012c",
    " lead and trail ",
    "\x01\x1b[31m",
    "%s%n",
    "x" * 255,
    "$(touch pwned)",
    "'; touch pwned; '",
]


def test_names_that_are_no_names(create, tmp_path):
    """In memory file systems, which are packed by name, in open files, and on the disk."""
    sandbox = create()
    places = ["/dev/shm", "/run", "/home/user"]
    start(
        sandbox,
        f"""
names, held = {NAMES!r}, []
for place in {places!r}:
    for name in names:
        one = open(os.path.join(place, name), 'w+'); one.write(name); one.flush(); held.append(one)
    os.symlink({str(tmp_path)!r}, place + '/out'); os.symlink('/', place + '/root'); os.symlink('..', place + '/up')
    os.mkfifo(place + '/fifo\\n'); os.mkdir(place + '/dir\\n')
    listener = socket.socket(socket.AF_UNIX); listener.bind(place + '/socket\\n(deleted)'); listener.listen()
    held.append(listener)
abstract = socket.socket(socket.AF_UNIX); abstract.bind('\\0name\\nwith\\0all'); abstract.listen()
def facts():
    found = [sorted(os.listdir(place)) for place in {places!r}]
    texts = []
    for one in held:
        if not isinstance(one, socket.socket):
            one.seek(0); texts.append(one.read())
    return [found, texts, os.getcwd()]
serve(facts)
""",
    )
    before = ask(sandbox)
    assert kept(sandbox)
    after = ask(sandbox)
    assert after == before
    assert after[1] == NAMES * len(places)
    assert not list(tmp_path.iterdir())
    assert sandbox.commands.run("find / -xdev -name pwned 2>/dev/null | wc -l", user="root").stdout == "0\n"


def test_tables_of_ten_thousand_files(create):
    sandbox = create()
    start(
        sandbox,
        """
import resource
most = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 10000)
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
held = []
try:
    while len(held) < most - 200:
        held.append(open('/tmp/many', 'a+') if len(held) % 3 else os.memfd_create('m\\n/x'))
except OSError as error:
    pass
serve(lambda: [len(held), len(os.listdir('/proc/self/fd'))])
""",
    )
    before = ask(sandbox)
    assert before[0] > 500, before
    if kept(sandbox):
        assert ask(sandbox) == before
    assert sandbox.commands.run("echo on").stdout == "on\n"


FIGHTERS = {
    "forking": """
def fork_on():
    while True:
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
for _ in range(4):
    if os.fork() == 0: fork_on()
serve(lambda: 'on')
""",
    "moving on": """
def run_on():
    # Each lives for a moment only: whoever looks for it finds the next.
    while True:
        if os.fork() != 0: os._exit(0)
        os.setsid()
if os.fork() == 0: run_on()
serve(lambda: 'on')
""",
    "mapping": """
def map_on():
    while True:
        piece = mmap.mmap(-1, 1 << 20); piece[:4096] = b'x' * 4096; piece.close()
for _ in range(8): threading.Thread(target=map_on, daemon=True).start()
serve(lambda: 'on')
""",
    "starting threads": """
def start_on():
    while True:
        one = threading.Thread(target=lambda: None); one.start(); one.join()
for _ in range(4): threading.Thread(target=start_on, daemon=True).start()
serve(lambda: 'on')
""",
    "deaf to signals": """
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
serve(lambda: 'on')
""",
    "continuing each other": """
pair = [os.getpid()]
def wake_on(other):
    while True:
        try: os.kill(other, signal.SIGCONT)
        except OSError: os._exit(0)
for _ in range(2):
    parent = os.getpid()
    if os.fork() == 0: wake_on(parent)
serve(lambda: 'on')
""",
    "tracing each other": """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
child = os.fork()
if child == 0:
    libc.ptrace(0, 0, 0, 0)
    os.kill(os.getpid(), signal.SIGSTOP)
    os._exit(0)
os.waitpid(child, os.WUNTRACED)
serve(lambda: 'on')
""",
    "sending files through sockets": """
a, b = socket.socketpair()
inner, outer = socket.socketpair()
for _ in range(50):
    socket.send_fds(a, [b'x'], [inner.fileno(), outer.fileno(), os.open('/etc/passwd', os.O_RDONLY)])
serve(lambda: 'on')
""",
    "leaving closed connections in queues": """
listener = socket.socket(socket.AF_UNIX); listener.bind('/tmp/queue'); listener.listen(64)
for _ in range(20):
    one = socket.socket(socket.AF_UNIX); one.connect('/tmp/queue'); one.send(b'x'); one.close()
tcp = socket.socket(); tcp.bind(('127.0.0.1', 8999)); tcp.listen(64)
for _ in range(20):
    one = socket.socket(); one.connect(('127.0.0.1', 8999)); one.send(b'x'); one.close()
serve(lambda: 'on')
""",
}


@pytest.mark.parametrize("how", FIGHTERS)
def test_processes_that_fight_the_freeze(create, how):
    sandbox = create()
    sandbox.files.write("/home/user/kept", "kept")
    start(sandbox, FIGHTERS[how])
    was_kept = kept(sandbox)
    print(how, "kept" if was_kept else "refused")
    assert ask(sandbox) == "on", "it goes on in either case"
    assert sandbox.files.read("/home/user/kept") == "kept"
    # What keeps files alone asks nothing of processes.
    assert sandbox.pause(mode="filesystem") is True
    sandbox.connect(timeout=60)
    assert sandbox.files.read("/home/user/kept") == "kept"


def test_a_restore_in_another_sandbox_stays_in_that_one(create):
    """What a hostile source held is the child's own copy there, never the source's."""
    sandbox = create()
    start(
        sandbox,
        """
held = open('/home/user/held', 'w+'); held.write('source'); held.flush()
shared = mmap.mmap(-1, 4096); shared[:6] = b'source'
os.symlink('/proc/1/root', '/dev/shm/root')
def facts():
    held.seek(0); told = [held.read(), bytes(shared[:6]).decode()]
    held.seek(0); held.write('child!'); held.flush(); shared[:6] = b'child!'
    return told
serve(facts)
""",
    )
    forks = sandbox.fork(count=2, timeout=60)
    try:
        assert all(isinstance(fork, Sandbox) for fork in forks), forks
        for fork in forks:
            assert ask(fork) == ["source", "source"]
            assert ask(fork) == ["child!", "child!"]
        assert ask(sandbox) == ["source", "source"]
    finally:
        for fork in forks:
            fork.kill()


ENTROPY = """
import random, uuid, os, secrets, subprocess
import numpy
(random.random(), random.getrandbits(64), float(numpy.random.random()), str(uuid.uuid4()), secrets.token_hex(8),
 open('/dev/urandom', 'rb').read(8).hex(), subprocess.run('echo $RANDOM$RANDOM; cat /proc/sys/kernel/random/uuid',
 shell=True, executable='/bin/bash', capture_output=True, text=True).stdout)
"""


def test_forks_draw_numbers_of_their_own(create):
    """From the kernel, from the generators of the interpreter, and those of what starts later; and
    each has an id, a token, a machine id and a host name of its own."""
    from e2b_code_interpreter import Sandbox as CodeSandbox

    sandbox = create("code-interpreter-v1", CodeSandbox, timeout=300)
    sandbox.run_code("import random, numpy; random.seed(1); numpy.random.seed(1); random.random()")
    forks = sandbox.fork(count=2, timeout=120)
    try:
        assert all(not isinstance(fork, Exception) for fork in forks), forks
        drawn = []
        for one in [sandbox, *forks]:
            told = one.run_code(ENTROPY)
            assert told.error is None, told.error
            drawn.append(eval(told.text))
        for values in zip(*drawn):
            assert len(set(values)) == 3, values
        identity = "cat /etc/machine-id; echo $E2B_SANDBOX_ID"
        told = [one.commands.run(identity).stdout.split() for one in forks]
        assert all(len(set(values)) == 2 for values in zip(*told)), told
        assert [ids[1] for ids in told] == [fork.sandbox_id for fork in forks]
        tokens = {one._envd_access_token for one in [sandbox, *forks]}
        assert len(tokens) == 3 and None not in tokens
        # The source's token opens none of its children.
        for fork in forks:
            stolen = Sandbox.connect(fork.sandbox_id)
            stolen._envd_api.headers["X-Access-Token"] = sandbox._envd_access_token
            assert stolen._envd_api.get("/files", params={"path": "/etc/hostname"}).status_code == 401
    finally:
        for fork in forks:
            fork.kill()


@pytest.mark.parametrize("then", ["true", "mkdir /tmp/w", "mkdir -p /tmp/w/in", "touch /tmp/w", "ln -s / /tmp/w"])
def test_a_directory_that_was_removed_with_a_process_in_it(create, then):
    """As a build does with its output; whatever has the name now stays what it is."""
    sandbox = create()
    sandbox.commands.run("mkdir -p /tmp/w/deep")
    sandbox.commands.run("cd /tmp/w; sleep 4321 > /dev/null 2>&1 & cd /tmp/w/deep; sleep 4321 > /dev/null 2>&1 & sleep 0.2")
    sandbox.commands.run(f"rm -rf /tmp/w; {then}")
    look = "stat -c '%F' /tmp/w /tmp/w/in 2>/dev/null; ls -a / /tmp; pgrep -c sleep"
    before = sandbox.commands.run(look).stdout
    for _ in range(2):
        assert sandbox.pause()
        sandbox.connect(timeout=60)
        assert sandbox.commands.run(look).stdout == before


def test_sockets_on_the_disk_can_still_be_connected_to(create):
    """Those of whoever has the name now; a removed one stays removed."""
    sandbox = create()
    start(
        sandbox,
        """
held = []
def bind(path):
    one = socket.socket(socket.AF_UNIX); one.bind(path); one.listen(); held.append(one)
    threading.Thread(target=answer, args=[one, len(held)], daemon=True).start()
def answer(one, number):
    while True:
        peer, _ = one.accept(); peer.send(str(number).encode()); peer.close()
for path in ('/tmp/plain', '/run/plain', '/home/user/removed', '/home/user/again'):
    bind(path)
os.remove('/home/user/removed'); os.remove('/home/user/again'); bind('/home/user/again')
os.symlink('/tmp/plain', '/tmp/link')
def facts():
    told = []
    for path in ('/tmp/plain', '/run/plain', '/home/user/removed', '/home/user/again', '/tmp/link'):
        try:
            one = socket.socket(socket.AF_UNIX); one.connect(path); told.append(one.recv(9).decode())
        except OSError as error:
            told.append(errno.errorcode[error.errno])
    return told
serve(facts)
""",
    )
    for _ in range(2):
        assert ask(sandbox) == ["1", "2", "ENOENT", "5", "1"]
        assert kept(sandbox)
    assert ask(sandbox) == ["1", "2", "ENOENT", "5", "1"]
