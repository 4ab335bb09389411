"""The code interpreter's other languages: state, results, streams, errors, directories, variables."""

import base64
import time

import pytest
from cells import ok, out
from e2b import TimeoutException


@pytest.fixture(scope="module")
def sandbox(interpreter):
    return interpreter


def code(language, **texts):
    return texts["js" if language in ("javascript", "typescript") else language]


LANGUAGES = ["javascript", "typescript", "bash", "r", "java"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_cell_in_each_language(sandbox, language):
    hello = code(
        language,
        js="console.log('hello ✓')",
        bash="echo 'hello ✓'",
        r="cat('hello ✓\\n')",
        java='System.out.println("hello ✓");',
    )
    execution = ok(sandbox.run_code(hello, language=language, timeout=60))
    assert out(execution) == "hello ✓\n"
    count = execution.execution_count
    assert ok(sandbox.run_code(hello, language=language)).execution_count == count + 1


@pytest.mark.parametrize(
    ("language", "first", "then", "text"),
    [
        ("js", "const kept = [1, 2]\nkept", "kept.map((n) => n * 2)", "[ 2, 4 ]"),
        ("ts", "interface P { n: number }\nconst p: P = { n: 20 }", "p.n + 1", "21"),
        ("java", "int kept = 20;", "kept + 1", "21"),
    ],
)
def test_the_last_expression_is_the_result(sandbox, language, first, then, text):
    ok(sandbox.run_code(first, language=language, timeout=60))
    execution = ok(sandbox.run_code(then, language=language))
    assert execution.text == text
    assert execution.results[-1].is_main_result


def test_r_keeps_its_state_and_displays_each_value(sandbox):
    ok(sandbox.run_code("kept <- c(1, 2)", language="r", timeout=60))
    # What the IR kernel shows is displayed; none of it is said to be the last.
    assert [one.text for one in ok(sandbox.run_code("kept\nsum(kept * 2)", language="r")).results] == ["[1] 1 2", "[1] 6"]


def test_bash_keeps_its_state_and_has_no_results(sandbox):
    ok(sandbox.run_code("kept=5; twice() { echo $((2 * $1)); }; cd /tmp", language="bash"))
    execution = ok(sandbox.run_code("twice $kept; pwd", language="bash"))
    assert (out(execution), execution.results) == ("10\n/tmp\n", [])
    execution = sandbox.run_code("echo out; echo err >&2; (exit 3)", language="bash")
    assert out(execution) == "out\nerr\n"
    assert (execution.error.name, execution.error.value, execution.error.traceback) == ("", "3", "")
    assert sandbox.run_code("exit 4", language="bash").error.value == "4"
    assert out(ok(sandbox.run_code('echo "[$kept]"', language="bash"))) == "[]\n"


@pytest.mark.parametrize(
    ("language", "cell", "name", "value"),
    [
        ("javascript", "function f() { null.x }\nf()", "TypeError", "Cannot read properties of null (reading 'x')"),
        ("javascript", "let = = 1", "SyntaxError", "Unexpected token '=' (line 1)"),
        ("typescript", "throw new RangeError('why ✓')", "RangeError", "why ✓"),
        ("r", "stop('why')", "ERROR", "Error: why\n"),
        ("java", "Object o = null; o.hashCode();", "java.lang.NullPointerException", None),
        ("java", "int n = \"s\";", "CompilationException", None),
    ],
)
def test_errors_are_answers(sandbox, language, cell, name, value):
    execution = sandbox.run_code(cell, language=language, timeout=60)
    assert execution.error.name == name, execution.error
    assert value is None or execution.error.value == value
    assert execution.error.traceback
    assert ok(sandbox.run_code("1 + 1", language=language)).results[0].text in ("2", "[1] 2")


def test_javascript_is_nodes(sandbox):
    run = lambda cell: ok(sandbox.run_code(cell, language="js"))
    assert run("await new Promise((done) => setTimeout(() => done('later'), 20))").text == "later"
    assert run("Promise.resolve(42)").text == "42"
    assert run("import fs, { readFileSync as read } from 'fs'\ntypeof fs.writeFileSync").text == "function"
    assert run("read('/etc/passwd', 'utf8').includes('user')").text == "true"
    assert run("require('os').platform()").text == "linux"
    assert run("(await import('node:path')).join('a', 'b')").text == "a/b"
    assert run("{ a: 1 }").text == "{ a: 1 }"
    assert run("undefined").results == []
    execution = run("console.log(1); console.error(2); display({ z: 1 }); console.log(3); $$.html('<b>h</b>')")
    assert (out(execution), "".join(execution.logs.stderr)) == ("1\n3\n", "2\n")
    assert [one.text for one in execution.results] == ["{ z: 1 }", None]
    assert execution.results[1].html == "<b>h</b>"
    child = "require('child_process').execSync('echo child', { stdio: 'inherit' }); 0"
    assert out(run(child)) == "child\n"


def test_installed_packages_of_node_are_found(sandbox):
    sandbox.commands.run("mkdir -p node_modules/mine && echo 'exports.n = 11' > node_modules/mine/index.js")
    assert ok(sandbox.run_code("import { n } from 'mine'\nn + require('mine').n", language="js")).text == "22"


def test_a_plot_of_r_is_a_picture(sandbox):
    results = ok(sandbox.run_code("plot(1:3)", language="r", timeout=60)).results
    assert base64.b64decode(results[-1].png).startswith(b"\x89PNG")


def test_contexts_of_each_language_have_a_directory_of_their_own(sandbox):
    sandbox.files.make_dir("/home/user/elsewhere")
    where = {
        "js": "process.cwd()",
        "ts": "process.cwd()",
        "bash": "pwd",
        "r": "cat(getwd())",
        "java": 'System.getProperty("user.dir")',
    }
    for language, cell in where.items():
        context = sandbox.create_code_context(cwd="/home/user/elsewhere", language=language)
        execution = ok(sandbox.run_code(cell, context=context, timeout=60))
        assert (execution.text or out(execution)).strip() == "/home/user/elsewhere", language
        sandbox.restart_code_context(context)
        execution = ok(sandbox.run_code(cell, context=context, timeout=60))
        assert (execution.text or out(execution)).strip() == "/home/user/elsewhere", language
        sandbox.remove_code_context(context)
    assert context.id not in [one.id for one in sandbox.list_code_contexts()]


@pytest.mark.parametrize(
    ("language", "ask"),
    [
        ("js", "String(process.env.WHO) + String(process.env.MORE)"),
        ("ts", "String(process.env.WHO) + String(process.env.MORE)"),
        ("bash", 'printf "%s%s" "${WHO-undefined}" "${MORE-undefined}"'),
        ("r", "cat(Sys.getenv('WHO', 'undefined'), Sys.getenv('MORE', 'undefined'), sep='')"),
        ("java", 'System.getProperty("WHO", "undefined") + System.getProperty("MORE", "undefined")'),
    ],
)
def test_envs(sandbox, language, ask):
    def shown(envs=None):
        execution = ok(sandbox.run_code(ask, language=language, envs=envs, timeout=60))
        return execution.text or out(execution)

    odd = 'it\'s "so" $x \\ é😀'
    assert shown() == "sandboxundefined"
    assert shown({"WHO": "call", "MORE": "m"}) == "callm"
    assert shown() == "sandboxundefined"
    # JavaScript and Java show a string as its literal, in quotes of their choice.
    assert "é" in shown({"MORE": odd})
    if language in ("bash", "r"):
        assert shown({"MORE": odd}) == "sandbox" + odd


@pytest.mark.parametrize(
    ("language", "loop"),
    [
        ("js", "while (true) {}"),
        ("bash", "while true; do sleep 1; done"),
        ("r", "Sys.sleep(60)"),
        ("java", "while (true) {}"),
    ],
)
def test_a_time_limit_interrupts(sandbox, language, loop):
    set_ = {"js": "globalThis.s = 7", "bash": "s=7", "r": "s <- 7", "java": "int s = 7;"}[language]
    ok(sandbox.run_code(set_, language=language, timeout=60))
    with pytest.raises(TimeoutException):
        sandbox.run_code(loop, language=language, timeout=1)
    time.sleep(0.5)
    show = {"js": "console.log(s)", "bash": "echo $s", "r": "cat(s)", "java": "System.out.println(s);"}[language]
    assert out(ok(sandbox.run_code(show, language=language, timeout=30))).strip() == "7"


@pytest.mark.parametrize(
    ("language", "cell"),
    [("js", "process.exit(3)"), ("r", "tools::pskill(Sys.getpid(), 9)"), ("java", "System.exit(3);"), ("bash", "kill -9 $PPID")],
)
def test_a_kernel_that_ends_is_an_error_and_the_next_one_is_fresh(sandbox, language, cell):
    execution = sandbox.run_code(cell, language=language, timeout=60)
    assert execution.error.name == "UnexpectedEndOfExecution"
    assert ok(sandbox.run_code("1 + 1" if language != "bash" else "true", language=language, timeout=60))


def test_an_unknown_language_is_named(sandbox):
    from e2b import SandboxException

    with pytest.raises(SandboxException, match="500.*cobol"):
        sandbox.run_code("1", language="cobol")
    with pytest.raises(SandboxException, match="500.*Failed to create context.*cobol"):
        sandbox.create_code_context(language="cobol")
    with pytest.raises(SandboxException, match="500.*Failed to set working directory"):
        sandbox.create_code_context(language="js", cwd="/not/there")
    assert not [one for one in sandbox.list_code_contexts() if one.cwd == "/not/there"]
