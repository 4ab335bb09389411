"""Random histories of a few sandboxes that are written to, paused in both ways, forked, kept as
snapshots, taken back, killed, and whose server is killed in between, against a model of their files
and variables: nothing is lost, and nothing is shared that should not be.

`WARREN_HISTORIES` says how many, `WARREN_SEED` from where; a failure names its history."""

import os
import random

import httpx
import pytest
from e2b import Sandbox
from server import API_URL, HEADERS, kill_server

pytestmark = pytest.mark.usefixtures("memory")

COUNT = int(os.environ.get("WARREN_HISTORIES", "6"))
SEED = int(os.environ.get("WARREN_SEED", "1"))
DEEDS = 25
NAMES = 3

# Keeps variables in the memory of one process; says them whenever its file is asked for.
KEEPER = """
import os, json, time
kept = {}
while True:
    try:
        order = json.load(open('/tmp/order'))
    except (OSError, ValueError):
        time.sleep(0.01); continue
    os.remove('/tmp/order')
    kept.update(order)
    with open('/tmp/answer.new', 'w') as out: json.dump(kept, out)
    os.rename('/tmp/answer.new', '/tmp/answer')
"""
ORDER = "rm -f /tmp/answer; echo '{order}' > /tmp/order.new; mv /tmp/order.new /tmp/order; until cat /tmp/answer 2>/dev/null; do sleep 0.01; done"
LIST = "cd /home/user/own; for f in *; do [ -e \"$f\" ] && echo \"$f=$(cat \"$f\")\"; done; true"


class World:
    """Sandboxes by number with what each should be: its files, its variables, and whether it sleeps."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.sandboxes, self.snapshots, self.told = {}, [], []

    def pick(self, asleep=False):
        found = [one for one in self.sandboxes.values() if bool(one["asleep"]) == asleep]
        return self.random.choice(found) if found else None

    def enter(self, sandbox, files, variables):
        one = {"sandbox": sandbox, "files": dict(files), "variables": dict(variables), "asleep": None}
        self.sandboxes[sandbox.sandbox_id] = one
        return one

    def name(self):
        return f"n{self.random.randrange(NAMES)}"

    # Deeds: each does one thing, and notes what should be.

    def create(self):
        if len(self.sandboxes) < 3:
            one = self.enter(Sandbox.create(timeout=900), {}, {})
            one["sandbox"].commands.run("mkdir /home/user/own")
            keep_variables(one["sandbox"])

    def write(self):
        if one := self.pick():
            name, text = self.name(), str(self.random.random())
            one["sandbox"].files.write(f"/home/user/own/{name}", text)
            one["files"][name] = text

    def delete(self):
        if (one := self.pick()) and one["files"]:
            name = self.random.choice(sorted(one["files"]))
            one["sandbox"].files.remove(f"/home/user/own/{name}")
            del one["files"][name]

    def rename(self):
        if (one := self.pick()) and one["files"]:
            old, new = self.random.choice(sorted(one["files"])), self.name()
            one["sandbox"].commands.run(f"[ {old} = {new} ] || mv {old} {new}", cwd="/home/user/own")
            one["files"][new] = one["files"].pop(old)

    def run(self):
        if one := self.pick():
            name, value = self.name(), self.random.randrange(1000)
            one["variables"][name] = value
            said = order(one["sandbox"], f'{{"{name}": {value}}}')
            assert said == one["variables"]

    def pause(self):
        if one := self.pick():
            mode = self.random.choice(["full", "full", "filesystem"])
            assert one["sandbox"].pause(mode=mode) is True
            one["asleep"] = mode

    def resume(self):
        if one := self.pick(asleep=True):
            how = self.random.choice(["restore", "restore", "reboot"])
            one["sandbox"].connect(timeout=900, on_resume=how)
            if how == "reboot" or one["asleep"] == "filesystem":
                one["variables"] = {}
                keep_variables(one["sandbox"])
            one["asleep"] = None

    def fork(self):
        if len(self.sandboxes) < 4 and (one := self.pick()):
            (child,) = one["sandbox"].fork(timeout=900)
            assert isinstance(child, Sandbox), child
            self.enter(child, one["files"], one["variables"])

    def snapshot(self):
        if len(self.snapshots) < 3 and (one := self.pick()):
            mode = self.random.choice(["full", "filesystem"])
            taken = one["sandbox"].create_snapshot(mode=mode)
            variables = dict(one["variables"]) if mode == "full" else None
            self.snapshots.append((taken.snapshot_id, one["sandbox"].sandbox_id, dict(one["files"]), variables))

    def start(self):
        if self.snapshots and len(self.sandboxes) < 4:
            taken, _, files, variables = self.random.choice(self.snapshots)
            child = self.enter(Sandbox.create(taken, timeout=900), files, variables or {})
            if variables is None:
                keep_variables(child["sandbox"])

    def rollback(self):
        own = [taken for taken in self.snapshots if taken[1] in self.sandboxes]
        if own:
            taken, source, files, variables = self.random.choice(own)
            path = f"{API_URL}/sandboxes/{source}/rollback"
            answer = httpx.post(path, headers=HEADERS, json={"snapshotID": taken, "timeout": 900}, timeout=120)
            assert answer.status_code == 200, answer.text
            one = self.sandboxes[source]
            one.update(files=dict(files), variables=dict(variables or {}), asleep=None)
            if variables is None:
                keep_variables(one["sandbox"])

    def kill(self):
        if one := self.random.choice([self.pick(), self.pick(asleep=True)]):
            assert one["sandbox"].kill() is True
            del self.sandboxes[one["sandbox"].sandbox_id]

    def kill_server(self):
        kill_server()

    def check(self):
        for one in self.sandboxes.values():
            sandbox = one["sandbox"]
            state = sandbox.get_info().state.value
            assert state == ("paused" if one["asleep"] else "running")
            if not one["asleep"]:
                lines = sandbox.commands.run(LIST).stdout.splitlines()
                assert dict(line.split("=", 1) for line in lines) == one["files"]
                assert order(sandbox, "{}") == one["variables"]

    def end(self):
        for one in self.sandboxes.values():
            one["sandbox"].kill()
        for taken, *_ in self.snapshots:
            Sandbox.delete_snapshot(taken)


def keep_variables(sandbox):
    sandbox.files.write("/tmp/keeper.py", KEEPER)
    sandbox.commands.run("rm -f /tmp/order; setsid python3 /tmp/keeper.py > /dev/null 2>&1 < /dev/null &")


def order(sandbox, text):
    import json

    return json.loads(sandbox.commands.run(ORDER.format(order=text), timeout=60).stdout)


WEIGHTS = {
    World.create: 4, World.write: 6, World.delete: 2, World.rename: 2, World.run: 5, World.pause: 4, World.resume: 5,
    World.fork: 2, World.snapshot: 2, World.start: 2, World.rollback: 2, World.kill: 1, World.kill_server: 1,
}  # fmt: skip


@pytest.mark.parametrize("seed", range(SEED, SEED + COUNT))
def test_a_history_loses_and_shares_nothing(seed):
    world = World(seed)
    try:
        world.create()
        for deed in world.random.choices(list(WEIGHTS), list(WEIGHTS.values()), k=DEEDS):
            world.told.append(deed.__name__)
            deed(world)
            world.check()
    except Exception as error:
        raise AssertionError(f"history {seed}: {' '.join(world.told)}") from error
    finally:
        world.end()
