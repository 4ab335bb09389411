"""`e2b auth login` without a browser: this file is the page that the command opens.

The command waits on a port of its own, opens the page with that address, and the
page sends the person's browser there with their token.
"""

import json
import os
import shutil
import stat
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path

from steps import ensure

#: Where the page is said to be. Nothing answers there, and nothing has to.
PAGE = "http://127.0.0.1:9/docs"
EMAIL = "anna@example.com"


def login(node, program):


    """Row: A5."""
    with tempfile.TemporaryDirectory() as home:
        token = access_token()
        opened = browser_that_notes_what_it_opens(Path(home))
        environment = {key: value for key, value in os.environ.items() if key != "E2B_API_KEY"}
        environment |= {"HOME": home, "PATH": home, "E2B_DOCS_BASE": PAGE}
        command = subprocess.Popen(
            [shutil.which(node) or node, program, "auth", "login"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            answer(until(opened, command), token)
            printed, _ = command.communicate(timeout=30)
        finally:
            command.kill()
        ensure(command.returncode == 0 and f"Logged in as {EMAIL}" in plain(printed), printed)
        check_settings(json.loads((Path(home) / ".e2b/config.json").read_text()), token)


def access_token():
    """Of a person who is new to the server, in the default team."""
    teams = operator("GET", "/admin/teams")
    (team,) = [one["teamID"] for one in teams if one["isDefault"]]
    person = operator("POST", f"/admin/teams/{team}/members", {"email": EMAIL})
    return operator("POST", f"/admin/users/{person['userID']}/access-tokens", {"name": "login"})["token"]


def operator(method, path, body=None):
    request = urllib.request.Request(os.environ["E2B_API_URL"] + path, method=method)
    request.add_header("X-Admin-Token", os.environ["WARREN_ADMIN_TOKEN"])
    request.add_header("Content-Type", "application/json")
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(request, data, timeout=30) as response:
        return json.load(response)


def browser_that_notes_what_it_opens(home):
    """The command finds no other program but this one; gives the file of its note."""
    note, browser = home / "opened", home / "xdg-open"
    browser.write_text(f"#!/bin/sh\nprintf %s \"$1\" > '{note}.new' && /bin/mv '{note}.new' '{note}'\n")
    browser.chmod(browser.stat().st_mode | stat.S_IXUSR)
    return note


def until(note, command):
    end = time.monotonic() + 30
    while not note.exists():
        ensure(command.poll() is None, command.stdout.read() if command.poll() is not None else "")
        ensure(time.monotonic() < end, "the command opens its page")
        time.sleep(0.05)
    return note.read_text()


def answer(address, token):
    """What the page does: it sends the browser back with the person's token."""
    ensure(address.startswith(f"{PAGE}/api/cli?"), address)
    asked = urllib.parse.parse_qs(urllib.parse.urlsplit(address).query)
    ensure(asked["cliVersion"], asked)
    told = {
        "email": EMAIL,
        "accessToken": token,
        "refreshToken": "none",
        "tokenEndpoint": f"{PAGE}/token",
        "revokeEndpoint": f"{PAGE}/revoke",
        "clientId": "warren",
    }
    back = NoRedirect().open(f"{asked['next'][0]}/?{urllib.parse.urlencode(told)}", timeout=30)
    ensure(back.status == 302 and "state=success" in back.headers["location"], back.headers.items())


class NoRedirect:
    """The last page is not there to be read."""

    def open(self, address, timeout):
        class Stay(urllib.request.HTTPErrorProcessor):
            def http_response(self, _request, response):
                return response

        return urllib.request.build_opener(Stay).open(address, timeout=timeout)


def check_settings(settings, token):
    ensure(settings["identity"]["email"] == EMAIL, settings)
    ensure(settings["tokens"]["access_token"] == token, settings)
    key = settings["projectApiKey"]
    request = urllib.request.Request(os.environ["E2B_API_URL"] + "/v2/sandboxes", headers={"X-API-Key": key})
    with urllib.request.urlopen(request, timeout=30) as response:
        ensure(response.status == 200, response.status)


def plain(text):
    """Without what makes it bold."""
    return "".join(part.split("m", 1)[-1] if n else part for n, part in enumerate(text.split("\x1b[")))
