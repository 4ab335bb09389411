"""Contexts of the code interpreter: the list, new ones, packages in them, many at once."""

import concurrent.futures
import time

import pytest
from cells import ok
from e2b import Template
from e2b_code_interpreter import Sandbox


@pytest.fixture(scope="module")
def sandbox(interpreter):
    return interpreter


def test_two_are_listed_from_the_start_and_the_rest_in_order(create):
    sandbox = create("code-interpreter-v1", Sandbox)
    assert [(one.language, one.cwd) for one in sandbox.list_code_contexts()] == [
        ("python", "/home/user"),
        ("javascript", "/home/user"),
    ]
    made = [sandbox.create_code_context(language=language) for language in ("python", "bash", "python")]
    assert [one.id for one in sandbox.list_code_contexts()][2:] == [one.id for one in made]


def test_removed_and_restarted_defaults_come_back(create):
    sandbox = create("code-interpreter-v1", Sandbox)
    ok(sandbox.run_code("kept = 1"))
    python, javascript = sandbox.list_code_contexts()
    sandbox.restart_code_context(python)
    assert sandbox.run_code("kept").error.name == "NameError"
    for context, language in ((python, "python"), (javascript, "javascript")):
        sandbox.remove_code_context(context)
        assert ok(sandbox.run_code("1 + 1", language=language)).text == "2"
    assert [one.language for one in sandbox.list_code_contexts()] == ["python", "javascript"]


def forked(sandbox):
    """A context whose kernel waited for it: the first use of the interpreter brings that about."""
    ok(sandbox.run_code("1"))
    for _ in range(60):
        context = sandbox.create_code_context()
        finders = "import sys\n[type(one).__name__ for one in sys.meta_path]"
        if "Stash" in ok(sandbox.run_code(finders, context=context)).text:
            return context
        sandbox.remove_code_context(context)
        time.sleep(0.5)
    raise AssertionError("no context came from the nursery")


def test_packages_wait_without_being_imported(sandbox):
    context = forked(sandbox)
    run = lambda code: ok(sandbox.run_code(code, context=context))
    assert run("import sys, os\n'numpy' in sys.modules, 'pandas' in sys.modules").text == "(False, False)"
    assert run("os.environ['WHO'], os.getcwd()").text == "('sandbox', '/home/user')"
    frame = run("import pandas as pd\npd.DataFrame({'a': [1, 2]})").results[0]
    assert (frame.data, "<table" in frame.html) == ({"a": [1, 2]}, True)
    assert run("pd is sys.modules['pandas'], pd.__spec__.name, 'matplotlib' in sys.modules").text == "(True, 'pandas', False)"
    plot = run("import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()").results[0]
    assert plot.png and plot.chart
    assert run("import numpy as np\nfloat((np.ones((300, 300)) @ np.ones((300, 300))).sum())").text == "27000000.0"


def test_forks_draw_different_numbers(sandbox):
    code = "import random, numpy, uuid\n(random.random(), float(numpy.random.rand()), str(uuid.uuid4()))"
    drawn = [ok(sandbox.run_code(code, context=forked(sandbox))).text for _ in range(2)]
    assert len(set(drawn)) == 2
    assert not set(drawn[0].strip("()").split(", ")) & set(drawn[1].strip("()").split(", "))


def is_forked(sandbox, context):
    finders = "import sys\n[type(one).__name__ for one in sys.meta_path]"
    return "Stash" in ok(sandbox.run_code(finders, context=context)).text


def test_a_burst_of_contexts_is_forked_and_leaves_one_kernel_that_waits(create):
    sandbox = create("code-interpreter-v1", Sandbox, timeout=300)
    sandbox.remove_code_context(forked(sandbox))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: sandbox.create_code_context(), range(8)))
    made += [sandbox.create_code_context() for _ in range(4)]
    assert all(is_forked(sandbox, context) for context in made)
    for number, context in enumerate(made):
        ok(sandbox.run_code(f"own = {number}", context=context))
    assert [ok(sandbox.run_code("own", context=context)).text for context in made] == [str(n) for n in range(12)]
    # The nursery itself, a kernel of each, and the one that waits.
    processes = lambda: int(sandbox.commands.run("pgrep -c -f '[-]-nursery'", user="root").stdout)
    for _ in range(100):
        if processes() == 14:
            break
        time.sleep(0.1)
    assert processes() == 14


def test_configuration_of_the_users_own_applies_to_every_kernel(create):
    sandbox = create("code-interpreter-v1", Sandbox, timeout=300)
    forked(sandbox)
    sandbox.files.write("/root/.ipython/profile_default/startup/own.py", "started = 7\n", user="root")
    # One kernel waited already then.
    sandbox.create_code_context()
    assert ok(sandbox.run_code("started", context=forked(sandbox))).text == "7"
    configuration = "c.InteractiveShellApp.exec_lines = ['configured = 8']\n"
    sandbox.files.write("/root/.ipython/profile_default/ipython_config.py", configuration, user="root")
    # One that was forked before is handed out to the first, or, if it was not ready yet, to the second.
    for _ in range(2):
        sandbox.create_code_context()
    context = sandbox.create_code_context()
    assert ok(sandbox.run_code("configured", context=context)).text == "8"
    assert not is_forked(sandbox, context)


def test_a_small_sandbox_goes_without(name, create):
    Template.build(Template().from_template("code-interpreter-v1"), name, memory_mb=512)
    sandbox = create(name, Sandbox, timeout=300)
    for _ in range(4):
        context = sandbox.create_code_context()
        assert not is_forked(sandbox, context)
        sandbox.remove_code_context(context)
    assert sandbox.commands.run("pgrep -c -f '[-]-nursery' || true", user="root").stdout == "0\n"


def test_a_module_of_the_users_own_hides_a_package_that_waits(sandbox):
    sandbox.files.write("/home/user/hidden/pandas.py", "mine = True\n")
    context = sandbox.create_code_context(cwd="/home/user/hidden")
    assert ok(sandbox.run_code("import pandas\npandas.mine", context=context)).text == "True"


def test_a_package_that_was_replaced_is_not_taken_from_before(create):
    sandbox = create("code-interpreter-v1", Sandbox)
    context = forked(sandbox)
    packages = ok(sandbox.run_code("import sysconfig\nsysconfig.get_path('purelib')", context=context)).text
    sandbox.commands.run(f"echo 'new = 1' >> {packages}/pandas/__init__.py", user="root")
    error = sandbox.run_code("import pandas", context=context).error
    assert error.name == "ImportError" and "restart the context" in error.value
    sandbox.restart_code_context(context)
    assert ok(sandbox.run_code("import pandas\npandas.new", context=context, timeout=60)).text == "1"


def test_a_killed_nursery_is_missed_by_nobody(create):
    sandbox = create("code-interpreter-v1", Sandbox)
    context = forked(sandbox)
    ok(sandbox.run_code("kept = 5", context=context))
    sandbox.commands.run("pkill -9 --oldest -f -- --nursery", user="root")
    assert ok(sandbox.run_code("kept", context=context)).text == "5"
    for _ in range(3):
        assert ok(sandbox.run_code("1 + 1", context=sandbox.create_code_context())).text == "2"
    sandbox.restart_code_context(context)
    assert sandbox.run_code("kept", context=context).error.name == "NameError"


def test_forty_parallel_calls_over_eight_contexts(sandbox):
    contexts = [sandbox.create_code_context() for _ in range(8)]
    for number, context in enumerate(contexts):
        ok(sandbox.run_code(f"own = {number}\ntotal = 0", context=context))

    def call(number):
        context = contexts[number % 8]
        cell = f"total += 1\nprint({number}, own)\nown"
        execution = ok(sandbox.run_code(cell, context=context, timeout=60))
        return number, execution.text, "".join(execution.logs.stdout)

    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        for number, text, printed in pool.map(call, range(40)):
            assert (text, printed) == (str(number % 8), f"{number} {number % 8}\n")
    for context in contexts:
        assert ok(sandbox.run_code("total", context=context)).text == "5"
        sandbox.remove_code_context(context)
