"""Cells that do what they can to break the interpreter: each has its end, and the next one runs."""

import base64
import concurrent.futures
import threading
import time

import httpx
import pytest
from cells import ok
from e2b import TimeoutException
from e2b_code_interpreter import Sandbox
from outside import API_URL

# Beyond it something hangs; the client gives up first, with an error of its own.
LIMIT = 90


@pytest.fixture(scope="module")
def sandbox():
    sandbox = Sandbox.create("code-interpreter-v1", timeout=900)
    yield sandbox
    sandbox.kill()


def run(sandbox, code, **options):
    return sandbox.run_code(code, timeout=LIMIT, **options)


def alive(sandbox):
    """The context answers, with whatever kernel it has now."""
    assert ok(run(sandbox, "20 + 1")).text == "21"


def lines(sandbox, code):
    """The lines of an execution as they are on the wire: the last says that it is the last."""
    headers = {"E2b-Sandbox-Id": sandbox.sandbox_id, "E2b-Sandbox-Port": "49999"}
    response = httpx.post(f"{API_URL}/execute", json={"code": code}, headers=headers, timeout=LIMIT)
    return response.content.decode().split("\n")[:-1]


ENDS = {
    "os-exit": ("import os\nprint('before', flush=True)\nos._exit(3)", "exit status 3"),
    "killed": ("import os\nos.kill(os.getpid(), 9)", "by somebody or for want of memory"),
    "abort": ("import os\nos.abort()", "signal"),
    "segfault": ("import ctypes\nctypes.string_at(0)", "signal"),
}


@pytest.mark.parametrize("how", ENDS)
def test_a_kernel_that_ends_itself_is_told_and_replaced(sandbox, how):
    code, words = ENDS[how]
    execution = run(sandbox, code)
    assert execution.error is not None
    assert execution.error.name == "UnexpectedEndOfExecution", execution.error
    assert words in execution.error.value, execution.error
    alive(sandbox)


@pytest.mark.parametrize("code", ["import sys\nsys.exit(3)", "raise SystemExit", "import sys\nsys.exit('why')"])
def test_an_exit_of_a_script_is_an_error_and_keeps_the_kernel(sandbox, code):
    ok(run(sandbox, "kept = 1"))
    assert run(sandbox, code).error.name == "SystemExit"
    assert ok(run(sandbox, "kept")).text == "1"


@pytest.mark.parametrize("code", ["exit()", "quit", "quit()"])
def test_leaving_the_kernel_gives_the_next_cell_a_fresh_one(sandbox, code):
    ok(run(sandbox, "kept = 1"))
    ok(run(sandbox, code))
    execution = ok(run(sandbox, "'kept' in dir()"))
    assert execution.text == "False"
    assert "fresh" in "".join(execution.logs.stderr)


def test_deep_recursion_is_an_error_with_a_bounded_traceback(sandbox):
    execution = run(sandbox, "import sys\nsys.setrecursionlimit(1000)\ndef f(n): return f(n + 1)\nf(0)")
    assert execution.error.name == "RecursionError"
    assert len(execution.error.traceback) < 200_000
    alive(sandbox)


def test_input_is_refused_and_not_waited_for(sandbox):
    for code in ("input('name? ')", "import getpass\ngetpass.getpass()", "import sys\nsys.stdin.readline()"):
        execution = run(sandbox, code)
        assert execution.error is None or "StdinNotImplementedError" in execution.error.name, execution.error
        alive(sandbox)


@pytest.mark.parametrize("descriptors", ["1", "2", "1, 2", "0, 1, 2", "*range(3, 200)"])
def test_closed_descriptors(sandbox, descriptors):
    # What another one closed may stand for something else by now.
    sandbox.restart_code_context(sandbox.list_code_contexts()[0])
    execution = run(sandbox, f"import os\nfor fd in ({descriptors},):\n    try: os.close(fd)\n    except OSError: pass\nprint('on')")
    # Standard output of a kernel is a message; its sockets are among the last case's.
    if "range" not in descriptors:
        assert "".join(ok(execution).logs.stdout) == "on\n"
    alive(sandbox)


def test_descriptors_of_a_cell_are_no_doors(sandbox):
    code = "import os\nfor fd in range(64):\n    try: os.write(fd, b'rubbish' * 999)\n    except OSError: pass\nprint('on')"
    run(sandbox, code)
    alive(sandbox)


def test_subprocesses_print_into_the_cell(sandbox):
    code = "import subprocess, os\nsubprocess.run(['echo', 'child'])\nsubprocess.run('echo worse >&2', shell=True)\nos.system('echo system')"
    execution = ok(run(sandbox, code))
    assert "child\n" in "".join(execution.logs.stdout) and "system\n" in "".join(execution.logs.stdout)
    assert "worse\n" in "".join(execution.logs.stderr)


def test_a_child_that_outlives_its_cell_delays_nothing(sandbox):
    begun = time.monotonic()
    ok(run(sandbox, "import subprocess\nchild = subprocess.Popen('sleep 60; echo late', shell=True)"))
    assert time.monotonic() - begun < 30
    ok(run(sandbox, "child.kill()"))


def test_threads_that_print_after_their_cell_disturb_no_other(sandbox):
    code = "import threading, time\ndef late():\n    time.sleep(0.3)\n    for _ in range(50): print('from the first')\nt = threading.Thread(target=late)\nt.start()"
    ok(run(sandbox, code))
    execution = ok(run(sandbox, "t.join()\nprint('mine')\n7"))
    assert "mine\n" in "".join(execution.logs.stdout)
    assert execution.text == "7"


def test_bytes_that_are_no_text(sandbox):
    code = "import sys, os\nos.write(1, b'raw \\xff\\xfe\\x00 end\\n')\nsys.stdout.flush()\nprint('a\\udc80b\\x00\\x1b[31m')\n'\\udfff'"
    execution = run(sandbox, code)
    assert execution.error is None or execution.error.name == "UnicodeEncodeError", execution.error
    code = "import subprocess\nsubprocess.run(['printf', r'\\377\\376 child\\n'])\nprint('after')"
    assert "after\n" in "".join(ok(run(sandbox, code)).logs.stdout)
    alive(sandbox)


def test_every_line_on_the_wire_is_ascii_json_and_the_last_is_the_end(sandbox):
    seen = lines(sandbox, "print('é\\u2028\\u0085✓' * 99)\n{'k': float('nan')}")
    assert all(line.isascii() for line in seen)
    assert seen[-1] == '{"type": "end_of_execution"}', seen[-1]
    for code in ("import os\nos._exit(1)", "1/0", "x = = 1", ""):
        assert lines(sandbox, code)[-1] == '{"type": "end_of_execution"}', code


def test_much_output_at_once(sandbox):
    n_bytes = 0

    def count(message):
        nonlocal n_bytes
        n_bytes += len(message.line)

    ok(run(sandbox, "for _ in range(100): print('x' * 999_999)", on_stdout=count))
    assert n_bytes == 100_000_000
    alive(sandbox)


def test_a_large_picture(sandbox):
    code = "from IPython.display import Image, display\nimport os\ndisplay(Image(data=b'\\x89PNG\\r\\n\\x1a\\n' + os.urandom(50_000_000), format='png'))"
    results = ok(run(sandbox, code)).results
    assert len(base64.b64decode(results[0].png)) == 50_000_008
    alive(sandbox)


def test_a_message_beyond_the_bound_is_left_out_and_said(sandbox):
    execution = run(sandbox, "print('before', flush=True)\nprint('x' * 120_000_000, flush=True)\nprint('after')\n5")
    out, err = "".join(execution.logs.stdout), "".join(execution.logs.stderr)
    assert out.startswith("before\n") and out.endswith("after\n")
    assert "left out" in err or len(out) > 120_000_000, err[-500:]
    assert execution.text == "5"
    alive(sandbox)


FORGED = """
import ipykernel, json
kernel = get_ipython().kernel
socket, session = kernel.iopub_socket, kernel.session
def raw(*parts):
    socket.send_multipart(list(parts))
raw(b'')
raw(b'no delimiter', b'rubbish', b'\\xff' * 99)
raw(b'stream', b'<IDS|MSG>', b'signature', b'{', b'}', b'[', b'\\x00')
raw(*[b'x'] * 5000)
session.send(socket, 'stream', {'name': 7, 'text': [1]}, parent=kernel.get_parent())
session.send(socket, 'display_data', {'data': 'none', 'metadata': None}, parent=kernel.get_parent())
session.send(socket, 'status', {'execution_state': 'idle'}, parent={'header': {'msg_id': 'another'}})
session.send(socket, 'error', {}, parent=kernel.get_parent())
print('on')
"""


def test_malformed_messages_of_a_kernel(sandbox):
    execution = run(sandbox, FORGED)
    assert "on\n" in "".join(execution.logs.stdout), execution
    alive(sandbox)


def test_a_cell_that_fakes_its_own_end_breaks_only_itself(sandbox):
    code = "kernel = get_ipython().kernel\nfor state in ('idle', 'busy', 'idle'):\n    kernel.session.send(kernel.iopub_socket, 'status', {'execution_state': state}, parent=kernel.get_parent())\nprint('on')"
    run(sandbox, code)
    alive(sandbox)
    alive(sandbox)


def test_a_crowd_of_processes_ends_with_its_context(create):
    sandbox = create("code-interpreter-v1", Sandbox, timeout=300)
    code = "import os, time\nfor _ in range(200):\n    if os.fork() == 0: time.sleep(600)"
    ok(run(sandbox, code))
    count = "pgrep -c -f '[k]ernels/' || true"
    assert int(sandbox.commands.run(count, user="root").stdout) >= 200
    sandbox.restart_code_context(sandbox.list_code_contexts()[0])
    alive(sandbox)
    assert int(sandbox.commands.run(count, user="root").stdout) < 20


BOMBS = {
    "gives-up": "import os\nwhile True: os.fork()",
    "goes-on": "import os\nwhile True:\n    try: os.fork()\n    except BaseException: pass",
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_cell_that_forks_for_ever_ends_at_the_latest_with_its_client(create, kind):
    sandbox = create("code-interpreter-v1", Sandbox, timeout=600)
    other = create("base")
    try:
        execution = sandbox.run_code(BOMBS[kind], timeout=10)
        # The first fork that the limit refuses may end the cell; whatever it is, it is told.
        assert execution.error is not None, execution
    except TimeoutException:
        pass
    assert other.commands.run("echo on", timeout=60).stdout == "on\n"
    # Too many to be interrupted: all of them are killed.
    assert ok(sandbox.run_code("20 + 1", timeout=300, request_timeout=300)).text == "21"
    # Thousands take a moment to be dead.
    count = "pgrep -c -f '[k]ernels/' || true"
    for _ in range(100):
        if int(sandbox.commands.run(count, user="root").stdout) < 20:
            return
        time.sleep(0.3)
    raise AssertionError("its processes live on")


def test_a_full_disk(create):
    sandbox = create("code-interpreter-v1", Sandbox, timeout=300)
    code = "import os, errno\nf, size, at = os.open('/home/user/full', os.O_CREAT | os.O_WRONLY), 1 << 36, 0\nwhile size >= 4096:\n    try: os.posix_fallocate(f, at, size); at += size\n    except OSError as error: last = error.errno; size //= 2\nprint(last in (errno.ENOSPC, errno.EDQUOT))"
    assert "".join(ok(run(sandbox, code)).logs.stdout) == "True\n"
    assert ok(run(sandbox, "print('said')\n2")).text == "2"
    new = sandbox.create_code_context()
    assert ok(run(sandbox, "6 * 7", context=new)).text == "42"
    ok(run(sandbox, "import os\nos.remove('/home/user/full')"))


def test_out_of_memory_ends_that_kernel_and_no_other(create):
    sandbox = create("code-interpreter-v1", Sandbox, timeout=300)
    other = sandbox.create_code_context()
    ok(run(sandbox, "kept = 'here'", context=other))
    execution = run(sandbox, "hog = []\nwhile True: hog.append(bytearray(64 << 20))")
    assert execution.error.name in ("UnexpectedEndOfExecution", "MemoryError"), execution.error
    if execution.error.name == "UnexpectedEndOfExecution":
        assert "memory" in execution.error.value, execution.error.value
    assert ok(run(sandbox, "'hog' in dir()")).text == "False"
    assert ok(run(sandbox, "kept", context=other)).text == "'here'" or ok(run(sandbox, "kept", context=other)).text == "here"


def test_kernels_killed_from_outside_come_back(create):
    sandbox = create("code-interpreter-v1", Sandbox, timeout=300)
    ok(run(sandbox, "kept = 1"))
    kill = "pkill -9 -f [l]aunch.py; true"
    waiting = concurrent.futures.ThreadPoolExecutor(1)
    started = threading.Event()
    call = waiting.submit(
        run, sandbox, "import time\nprint('go', flush=True)\ntime.sleep(60)", on_stdout=lambda _: started.set()
    )
    assert started.wait(60)
    sandbox.commands.run(kill, user="root")
    execution = call.result(60)
    assert execution.error.name == "UnexpectedEndOfExecution" and "killed" in execution.error.value
    alive(sandbox)
    sandbox.commands.run(kill, user="root")
    alive(sandbox)
