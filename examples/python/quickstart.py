"""A first look at a sandbox: a command, a file, Python with state, a chart.

    pip install e2b-code-interpreter
    export E2B_API_URL=… E2B_SANDBOX_URL=… E2B_API_KEY=…    # `warren up` prints them
    python quickstart.py [where-to-put-the-chart.png]
"""

import base64
import sys
import time
from pathlib import Path

from e2b_code_interpreter import Sandbox

CHART = """
import matplotlib.pyplot as plt
years = [str(2020 + n) for n in range(len(visitors))]
plt.figure(figsize=(6, 3))
plt.bar(years, visitors)
plt.title("Visitors a year")
plt.xlabel("year")
plt.ylabel("thousands")
plt.show()
"""


def main() -> None:
    chart_path = Path(sys.argv[1] if len(sys.argv) > 1 else "chart.png").resolve()

    start = time.monotonic()
    with Sandbox.create(timeout=120) as sandbox:
        print(f"sandbox {sandbox.sandbox_id}, ready after {(time.monotonic() - start) * 1000:.0f} ms")

        result = sandbox.commands.run("echo Hello from $(uname -n), I am $(whoami)")
        print(f"command: {result.stdout.strip()} (exit code {result.exit_code})")

        sandbox.files.write("notes/visitors.csv", "12\n18\n31\n27\n")
        print(f"file: {sandbox.files.read('notes/visitors.csv')!r}")

        # Two calls, one state: the variable of the first is there in the second.
        sandbox.run_code("visitors = [int(line) for line in open('notes/visitors.csv')]")
        total = sandbox.run_code("print('adding up', visitors)\nsum(visitors)")
        print(f"code: printed {total.logs.stdout}, the last line is {total.text}")

        failed = sandbox.run_code("visitors[99]")
        print(f"an error is an answer: {failed.error.name}: {failed.error.value}")

        execution = sandbox.run_code(CHART)
        if execution.error:
            raise SystemExit(f"the chart failed: {execution.error.traceback}")
        picture = next(result for result in execution.results if result.png)
        chart_path.write_bytes(base64.b64decode(picture.png))
        print(f"chart: {picture.chart.type.value} “{picture.chart.title}” saved to {chart_path}")

    print("sandbox killed")


if __name__ == "__main__":
    main()
