"""The template's own kernel asked by jupyter_client: what the interpreter is compared with."""

import json
import sys
import time

from jupyter_client.manager import start_new_kernel

rounds, n_bytes = int(sys.argv[1]), int(sys.argv[2])
times = {"start": [], "import": [], "cell": [], "output": []}


def timed(name, call):
    begun = time.perf_counter()
    answer = call()
    times[name].append(time.perf_counter() - begun)
    return answer


def run(client, code):
    reply = client.execute_interactive(code, output_hook=lambda message: None, timeout=60)
    assert reply["content"]["status"] == "ok", reply


for _ in range(3):
    manager, client = timed("start", start_new_kernel)
    timed("import", lambda: run(client, "import pandas"))
    for _ in range(rounds):
        timed("cell", lambda: run(client, "1+1"))
    timed("output", lambda: run(client, f"for _ in range({n_bytes // 1024}): print('x' * 1023)"))
    client.stop_channels()
    manager.shutdown_kernel(now=True)
print(json.dumps(times))
