"""The code interpreter: state, results of every kind, errors, contexts, limits."""

import base64
import time

import pytest
from cells import ok
from e2b import NotFoundException, TimeoutException
from e2b_code_interpreter import Sandbox
from e2b_code_interpreter.charts import ChartType


def test_the_last_expression_is_the_result(interpreter):
    execution = ok(interpreter.run_code("x = 6\nx * 7"))
    assert execution.text == "42"
    assert execution.results[0].is_main_result
    assert ok(interpreter.run_code("x = 1")).text is None
    assert ok(interpreter.run_code("")).results == []


def test_state_stays_between_calls_and_connections(interpreter):
    ok(interpreter.run_code("import math\nkept = math.tau\ndef double(n): return 2 * n"))
    assert ok(interpreter.run_code("double(21)")).text == "42"
    again = Sandbox.connect(interpreter.sandbox_id)
    assert ok(again.run_code("round(kept, 2)")).text == "6.28"


def test_the_count_goes_up(interpreter):
    first = ok(interpreter.run_code("1")).execution_count
    assert ok(interpreter.run_code("1")).execution_count == first + 1


def test_streams(interpreter):
    execution = ok(interpreter.run_code("import sys\nprint('out ✓')\nprint('err', file=sys.stderr)"))
    assert "".join(execution.logs.stdout) == "out ✓\n"
    assert "".join(execution.logs.stderr) == "err\n"


def test_callbacks_come_while_the_code_runs(interpreter):
    times, results, errors = [], [], []
    interpreter.run_code(
        "import time\nprint('a', flush=True)\ntime.sleep(1)\nprint('b', flush=True)\ndisplay(3)\n1/0",
        on_stdout=lambda message: times.append((time.monotonic(), message.line)),
        on_result=results.append,
        on_error=errors.append,
    )
    assert [line for _, line in times] == ["a\n", "b\n"]
    assert 0.7 < times[1][0] - times[0][0] < 3
    assert [result.text for result in results] == ["3"]
    assert [error.name for error in errors] == ["ZeroDivisionError"]


def test_much_output(interpreter):
    execution = ok(interpreter.run_code("for i in range(20000): print(i, 'x' * 50)"))
    assert "".join(execution.logs.stdout).count("\n") == 20000


def test_output_keeps_its_order_and_its_cell(interpreter):
    """Text waits a fifth of a second for more: cells that end just then lose none of it."""
    for step in range(40):
        pause = 0.19 + step / 2000
        execution = ok(interpreter.run_code(f"import time\nprint({step})\ntime.sleep({pause})\n{step}"))
        assert ("".join(execution.logs.stdout), execution.text) == (f"{step}\n", str(step))
    seen = []
    interpreter.run_code(
        "import time\nfor i in range(300):\n    print(i)\n    display(i)\n    time.sleep(i % 7 / 1000)",
        on_stdout=lambda message: seen.extend(map(int, message.line.split())),
        on_result=lambda result: seen.append(int(result.text)),
    )
    assert seen == [i for i in range(300) for _ in range(2)]


def test_output_of_programs_and_libraries_is_the_cells_own(interpreter):
    """It comes through a pipe, and the cell may end the moment it is written."""
    for step in range(40):
        execution = ok(interpreter.run_code(f"import os\nos.write(1, b'raw {step}\\n')\nos.write(2, b'bad\\n')"))
        assert execution.logs.stdout == [f"raw {step}\n"]
        assert execution.logs.stderr == ["bad\n"]
    script = "printf 'ü✓%.0s' $(seq 5000)"
    execution = ok(interpreter.run_code(f"import subprocess\n_ = subprocess.run({script!r}, shell=True)"))
    assert "".join(execution.logs.stdout) == "ü✓" * 5000


def test_what_a_kernel_loads_late_is_there_for_cells(interpreter):
    code = """
import bz2, ctypes, curses, hashlib, hmac, ipaddress, lzma, mimetypes, msgpack, pstats, rlcompleter, socketserver, stack_data, typing_extensions
from stack_data import Line
assert bz2.decompress(bz2.compress(b'a')) == lzma.decompress(lzma.compress(b'a')) == b'a'
assert ctypes.sizeof(ctypes.c_int) == 4 and msgpack.unpackb(msgpack.packb([1])) == [1]
assert str(ipaddress.ip_address('::1')) == '::1' and mimetypes.guess_type('a.png')[0] == 'image/png'
assert hmac.new(b'k', b'm', 'sha256').digest() == hmac.digest(b'k', b'm', 'sha256') and hmac._hashopenssl
assert hashlib.pbkdf2_hmac('sha256', b'a', b'b', 1)
kinds = (Line, pstats.Stats, rlcompleter.Completer, socketserver.ThreadingTCPServer)
assert [kind.__module__ for kind in kinds] == ['stack_data.core', 'pstats', 'rlcompleter', 'socketserver']
class Point(typing_extensions.TypedDict, total=False):
    x: int
assert Point(x=1) == {'x': 1} and curses.version
from jupyter_client.session import Session
assert len(Session(key=b'k').sign([b'm'])) == 64
%config IPCompleter.greedy = True
get_ipython().complete('impor')[1][0]
"""
    assert ok(interpreter.run_code(code)).text == "import"


def test_a_fork_prints_into_the_cell(interpreter):
    code = "import os\npid = os.fork()\nif pid == 0:\n    print('child')\n    os._exit(0)\n_ = os.waitpid(pid, 0)\nimport time\n"
    execution = ok(interpreter.run_code(code + "time.sleep(0.5)\nprint('parent')"))
    assert sorted("".join(execution.logs.stdout).split()) == ["child", "parent"]


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("1/0", "ZeroDivisionError"),
        ("undefined_name", "NameError"),
        ("x = = 1", "SyntaxError"),
        ("raise ValueError('why ✓')", "ValueError"),
        ("import not_a_module", "ModuleNotFoundError"),
        ("input()", "StdinNotImplementedError"),
        ("raise SystemExit(3)", "SystemExit"),
    ],
)
def test_errors_are_answers(interpreter, code, name):
    execution = interpreter.run_code(f"print('before')\n{code}" if "=" not in code else code)
    assert execution.error.name == name
    assert name in execution.error.traceback
    assert ok(interpreter.run_code("'alive'")).text == "alive"


def test_display_gives_several_results(interpreter):
    code = "from IPython.display import *\ndisplay(HTML('<b>h</b>'))\ndisplay(Markdown('# m'))\n"
    code += "display(SVG('<svg xmlns=\"http://www.w3.org/2000/svg\"/>'))\ndisplay(Latex('$x$'))\n"
    code += "display(JSON({'a': [1, 2]}))\ndisplay(Javascript('let a'))\n'last'"
    results = ok(interpreter.run_code(code)).results
    assert results[0].html == "<b>h</b>"
    assert results[1].markdown == "# m"
    assert results[2].svg.startswith("<svg")
    assert results[3].latex == "$x$"
    assert results[4].json == {"a": [1, 2]}
    assert results[5].javascript == "let a"
    assert (results[6].text, results[6].is_main_result) == ("last", True)
    assert not any(result.is_main_result for result in results[:6])


def test_a_picture(interpreter):
    code = "from PIL import Image\nImage.new('RGB', (8, 8), 'red')"
    png = base64.b64decode(ok(interpreter.run_code(code)).results[0].png)
    assert png.startswith(b"\x89PNG")


CHARTS = {
    ChartType.LINE: "plt.plot([1, 2, 3], [4, 5, 6], label='l')",
    ChartType.SCATTER: "plt.scatter([1, 2, 3], [4, 5, 6])",
    ChartType.BAR: "plt.bar(['a', 'b'], [3, 5])",
    ChartType.PIE: "plt.pie([1, 3], labels=['a', 'b'])",
    ChartType.BOX_AND_WHISKER: "plt.boxplot([[85, 90, 78, 92, 88], [95, 89, 76, 91, 84]], patch_artist=True)",
}


@pytest.mark.parametrize("kind", CHARTS, ids=lambda kind: kind.value)
def test_charts(interpreter, kind):
    code = f"import matplotlib.pyplot as plt\n{CHARTS[kind]}\nplt.title('T')\nplt.xlabel('X (m)')\nplt.show()"
    results = [result for result in ok(interpreter.run_code(code)).results if result.png]
    assert len(results) == 1
    assert (results[0].chart.type, results[0].chart.title) == (kind, "T")
    assert results[0].chart.elements


def test_several_axes_are_a_superchart(interpreter):
    code = "import matplotlib.pyplot as plt\nf, (a, b) = plt.subplots(1, 2)\na.plot([1, 2]); b.bar(['x'], [1])\nplt.show()"
    chart = ok(interpreter.run_code(code)).results[-1].chart
    assert chart.type is ChartType.SUPERCHART
    assert [one.type for one in chart.elements] == [ChartType.LINE, ChartType.BAR]


def test_a_data_frame(interpreter):
    code = "import pandas as pd\npd.DataFrame({'a': [1, 2], 't': pd.to_datetime(['2026-01-01', '2026-01-02'])})"
    result = ok(interpreter.run_code(code)).results[0]
    assert result.data["a"] == [1, 2]
    assert result.data["t"][0].startswith("2026-01-01")
    assert "<table" in result.html
    assert "a" in result.text


def test_the_scientific_packages_are_there(interpreter):
    names = "numpy pandas matplotlib scipy sklearn seaborn plotly sympy openpyxl PIL requests bs4"
    ok(interpreter.run_code("\n".join(f"import {name}" for name in names.split())))


def test_packages_find_what_they_look_for_late(interpreter):
    pixels = ok(interpreter.run_code("import cv2, numpy\ncv2.resize(numpy.zeros((4, 4)), (2, 2)).shape"))
    assert pixels.text == "(2, 2)"
    shown = ok(interpreter.run_code("import plotly.graph_objects as go\ngo.Figure(go.Bar(y=[1])).show()"))
    assert "application/vnd.plotly.v1+json" in shown.results[-1].extra


def test_top_level_await_and_shell_lines(interpreter):
    assert ok(interpreter.run_code("import asyncio\nawait asyncio.sleep(0.01, 'slept')")).text == "slept"
    assert "hi" in "".join(ok(interpreter.run_code("!echo hi")).logs.stdout)


WHOLE = """
from ssl import *
import asyncio, html, html.entities, platformdirs, psutil, pydoc, ssl, urllib.request
import dateutil.parser, dateutil.tz, jupyter_client, pygments.formatters.terminal256 as colours, pygments.lexers
assert asyncio.base_events.ssl is ssl and asyncio.sslproto.SSLProtocol
assert ssl.create_default_context().check_hostname and SSLContext is ssl.SSLContext
assert html.escape("<") == "&lt;" and html.entities.name2codepoint
assert psutil.Process().pid and psutil.__version__ and platformdirs.user_data_dir("x")
assert isinstance(urllib.request.Request("http://localhost"), urllib.request.Request)
assert dateutil.parser.parse("2026-11-21").year == 2026 and dateutil.tz.tzlocal()
assert isinstance(pygments.lexers.PythonLexer, type) and isinstance(colours.Terminal256Formatter, type)
assert jupyter_client.BlockingKernelClient and pydoc.render_doc(len)
"""


def test_what_a_start_leaves_out_is_whole_when_a_cell_asks_for_it(create):
    sandbox = create("code-interpreter-v1", Sandbox)
    ok(sandbox.run_code(WHOLE))
    coloured = sandbox.run_code("%colors linux\n1/0").error
    assert coloured.name == "ZeroDivisionError" and "\x1b[" in coloured.traceback
    ok(sandbox.run_code("%colors nocolor\nlen?\n%prun -q 1"))


def test_installed_packages_can_be_imported(interpreter):
    interpreter.files.write("/tmp/pkg/pyproject.toml", "[project]\nname='mine'\nversion='1'\n")
    interpreter.files.write("/tmp/pkg/mine.py", "VALUE = 11\n")
    build = "pip install --quiet --no-build-isolation --no-index /tmp/pkg"
    execution = interpreter.run_code(f"!{build}; echo status=$?")
    assert "status=0" in "".join(execution.logs.stdout), execution.logs
    assert ok(interpreter.run_code("import mine\nmine.VALUE")).text == "11"


def test_contexts_have_their_own_state_and_directory(interpreter):
    interpreter.files.make_dir("/home/user/there")
    context = interpreter.create_code_context(cwd="/home/user/there")
    assert context.id in [one.id for one in interpreter.list_code_contexts()]
    ok(interpreter.run_code("only_here = 1", context=context))
    assert ok(interpreter.run_code("import os\nos.getcwd()", context=context)).text == "/home/user/there"
    assert interpreter.run_code("only_here").error.name == "NameError"
    interpreter.restart_code_context(context)
    assert interpreter.run_code("only_here", context=context).error.name == "NameError"
    interpreter.remove_code_context(context)
    assert context.id not in [one.id for one in interpreter.list_code_contexts()]
    with pytest.raises(NotFoundException):
        interpreter.run_code("1", context=context)


def test_a_time_limit_interrupts_and_keeps_the_state(interpreter):
    ok(interpreter.run_code("survivor = 'here'"))
    with pytest.raises(TimeoutException):
        interpreter.run_code("import time\ntime.sleep(60)", timeout=1)
    time.sleep(1)
    assert ok(interpreter.run_code("survivor", timeout=20)).text == "here"


def test_envs(create):
    sandbox = create("code-interpreter-v1", Sandbox, envs={"WHO": "sandbox"})
    code = "import os\nos.environ.get('WHO'), os.environ.get('MORE')"
    assert ok(sandbox.run_code(code)).text == "('sandbox', None)"
    assert ok(sandbox.run_code(code, envs={"WHO": "call", "MORE": "it's \"so\"\n"})).text == "('call', 'it\\'s \"so\"\\n')"
    assert ok(sandbox.run_code(code)).text == "('sandbox', None)"


def test_files_of_code_and_of_commands_are_the_same(interpreter):
    ok(interpreter.run_code("open('made-by-code.txt', 'w').write('x')"))
    assert interpreter.files.read("/home/user/made-by-code.txt") == "x"
    assert interpreter.commands.run("cat made-by-code.txt").stdout == "x"


def test_a_killed_kernel_is_an_error_not_a_hang(create):
    sandbox = create("code-interpreter-v1", Sandbox)
    execution = sandbox.run_code("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", timeout=30)
    assert execution.error is not None
    assert ok(sandbox.run_code("1 + 1", timeout=30)).text == "2"
