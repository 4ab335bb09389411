"""`tests/shared/cells.json`: a cell for each language, form of result and chart, and what becomes of it.

Both Python clients run them here, the JavaScript client runs the same in `tests/js/cells.test.mjs`."""

import asyncio
import json
import pathlib

import pytest
from e2b_code_interpreter import AsyncSandbox

CELLS = json.loads((pathlib.Path(__file__).parents[1] / "shared/cells.json").read_text())
LIMIT = 90


def check(cell, execution):
    """Everything that the cell promises; what it does not mention must not be there."""
    error = execution.error and execution.error.name
    assert error == cell.get("error"), execution.error
    assert "".join(execution.logs.stdout) == cell.get("stdout", "")
    assert "".join(execution.logs.stderr) == cell.get("stderr", "")
    wanted = cell.get("results", [])
    assert len(execution.results) == len(wanted), execution.results
    for result, fields in zip(execution.results, wanted):
        for name, value in fields.items():
            if name == "main":
                assert result.is_main_result == value
            elif name == "chart":
                assert result.png and result.chart.to_dict() == value
            else:
                assert getattr(result, name) == value, name


def options(cell):
    return {"language": cell.get("language"), "envs": cell.get("envs"), "timeout": LIMIT}


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell["name"])
def test_a_cell(interpreter, cell):
    """Rows 48, 50, 51, 52, 53, 54, 55, 58."""
    check(cell, interpreter.run_code(cell["code"], **options(cell)))


def test_all_cells_by_the_asynchronous_client():
    """Rows 48, 50, 51, 52, 53, 54, 55, 58."""

    async def run():
        async with await AsyncSandbox.create(timeout=600) as sandbox:
            for cell in CELLS:
                lines, results, errors = [], [], []
                execution = await sandbox.run_code(
                    cell["code"],
                    on_stdout=lambda message: lines.append(message.line),
                    on_result=results.append,
                    on_error=errors.append,
                    **options(cell),
                )
                check(cell, execution)
                assert "".join(lines) == cell.get("stdout", ""), cell["name"]
                assert (len(results), len(errors)) == (len(cell.get("results", [])), "error" in cell), cell["name"]

    asyncio.run(run())


def test_contexts_and_reconnecting_by_the_asynchronous_client():
    """Rows 49, 56, 57, 59, 60, 61."""

    async def run():
        async with await AsyncSandbox.create(timeout=600) as sandbox:
            first = await sandbox.run_code("kept = 20")
            again = await AsyncSandbox.connect(sandbox.sandbox_id)
            second = await again.run_code("kept + 1")
            assert (second.text, second.execution_count) == ("21", first.execution_count + 1)
            context = await sandbox.create_code_context(cwd="/tmp", language="python")
            assert (await sandbox.run_code("import os\nos.getcwd()", context=context)).text == "/tmp"
            assert (await sandbox.run_code("kept", context=context)).error.name == "NameError"
            assert context.id == (await sandbox.list_code_contexts())[-1].id
            with pytest.raises(Exception, match="(?i)time"):
                await sandbox.run_code("import time\ntime.sleep(60)", timeout=1)
            assert (await sandbox.run_code("kept", timeout=LIMIT)).text == "20"
            await sandbox.restart_code_context(context)
            assert (await sandbox.run_code("1", context=context)).execution_count == 1
            await sandbox.remove_code_context(context)
            assert context.id not in [one.id for one in await sandbox.list_code_contexts()]
            calls = [sandbox.run_code(f"{n} * 2", language=language) for n, language in ((1, "python"), (2, "js"), (3, "python"))]
            assert [one.text for one in await asyncio.gather(*calls)] == ["2", "4", "6"]

    asyncio.run(run())


def test_the_cells_are_as_many_as_they_were():
    """Who takes one away says so here."""
    assert len(CELLS) >= 43
    assert len({cell["name"] for cell in CELLS}) == len(CELLS)
