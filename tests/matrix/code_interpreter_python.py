"""The quick start with `e2b-code-interpreter`: all of `e2b`'s, and code."""

import base64

import e2b_python
from e2b_code_interpreter import Sandbox
from steps import ensure, step

CHART = "import matplotlib.pyplot as plt\nplt.plot([1, 2, 4])\nplt.title('t')\nplt.show()"


def code():
    ensure(e2b_python.sandbox.run_code("x = 20").error is None, "x = 20")
    execution = e2b_python.sandbox.run_code("print('out')\nx + 22")
    ensure((execution.text, execution.logs.stdout) == ("42", ["out\n"]), execution)
    ensure(e2b_python.sandbox.run_code("1/0").error.name == "ZeroDivisionError", "error")


def chart():
    execution = e2b_python.sandbox.run_code(CHART)
    pictures = [result for result in execution.results if result.png]
    ensure(len(pictures) == 1, execution)
    ensure(base64.b64decode(pictures[0].png).startswith(b"\x89PNG"), "png")
    ensure(pictures[0].chart.title == "t", pictures[0].chart)


def main():
    e2b_python.Sandbox = Sandbox
    step("create", e2b_python.create)
    step("info", e2b_python.info)
    step("connect", e2b_python.connect)
    step("command", e2b_python.command)
    step("files", e2b_python.files)
    step("code", code)
    step("chart", chart)
    step("list", e2b_python.listing)
    step("kill", e2b_python.kill)


if __name__ == "__main__":
    main()
