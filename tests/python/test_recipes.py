"""Templates from a recipe file, by the command line `warren`."""

import os

import pytest
from terminal import WARREN, warren

pytestmark = pytest.mark.skipif(not WARREN.exists(), reason="the binary is not on this machine")

RECIPE = """
from = "base"
env = { GREETING = "hello" }
user = "user"
workdir = "/srv/app"
start = "echo $GREETING > /tmp/started; sleep infinity"
ready = "test -s /tmp/started"

[[run]]
cmd = "mkdir -p /srv/app && echo first > /srv/app/said"

[[copy]]
src = "told.txt"
dest = "/srv/app/told.txt"
owner = "user"
mode = "600"

[[run]]
cmd = "cat /srv/app/told.txt >> /srv/app/said"
"""


def test_a_recipe_is_followed_in_the_order_of_its_file(tmp_path):
    name = f"recipe{os.getpid()}.1"  # As in python3.11.
    (tmp_path / "recipe.toml").write_text(RECIPE)
    (tmp_path / "told.txt").write_text("by a file")
    built = warren("template", "build", name, "-f", "recipe.toml", cwd=tmp_path)[0]
    assert "[builder 3/6] COPY told.txt" in built, built
    made = warren("sandbox", "create", name)[0].strip()
    try:
        run = ["sandbox", "exec", made, "--", "sh", "-c"]
        told = warren(*run, "pwd; id -un; cat said; echo; stat -c '%U %a' told.txt; cat /tmp/started")[0]
        assert told == "/srv/app\nuser\nfirst\nby a file\nuser 600\nhello\n"
    finally:
        warren("sandbox", "kill", made)
        warren("template", "delete", name)


def test_what_a_recipe_does_not_know_is_named(tmp_path):
    (tmp_path / "recipe.toml").write_text('from = "base"\nflavour = "sweet"\n')
    _, said = warren("template", "build", "never", "-f", "recipe.toml", cwd=tmp_path, status=1)
    assert "flavour" in said
