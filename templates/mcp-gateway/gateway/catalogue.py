"""The servers that package registries supply: how each is installed and started."""

import os
import subprocess

from servers import Failure

HOME = "/opt/mcp-gateway"
NODE = f"{HOME}/node_modules/@modelcontextprotocol"
# Servers that need different versions of the protocol's library live apart.
PYTHON, OLDER_PYTHON = f"{HOME}/python", f"{HOME}/older-python"


def words(settings, name, default):
    """A setting that is a list of words."""
    found = settings.get(name, default)
    if not isinstance(found, list) or not all(isinstance(word, str) and not word.startswith("-") for word in found):
        raise Failure(f"{name!r} must be a list of paths")
    return found


def node(package, settings=lambda _: []):
    line = ["node", f"{NODE}/{package}/dist/index.js"]
    return ("npm", f"@modelcontextprotocol/{package}@2026.8.31", lambda given: line + settings(given))


def python(package, version, settings=lambda _: [], home=PYTHON):
    line = [f"{home}/bin/{package}"]
    return (home, f"{package}=={version}", lambda given: line + settings(given))


def repository(given):
    paths = words(given, "paths", [])
    return ["--repository", paths[0]] if paths else []


# Names and settings are those of the official SDKs' type `McpServer`.
KNOWN = {
    "filesystem": node("server-filesystem", lambda given: words(given, "paths", ["/home/user"])),
    "memory": node("server-memory"),
    "sequentialthinking": node("server-sequential-thinking"),
    "fetch": python("mcp-server-fetch", "2026.10.24"),
    "git": python("mcp-server-git", "2026.10.19", repository),
    "time": python("mcp-server-time", "2026.10.19"),
    "sqlite": python("mcp-server-sqlite", "2025.4.25", lambda _: ["--db-path", "/home/user/mcp.db"], OLDER_PYTHON),
}


def known(name):
    if name not in KNOWN:
        raise Failure(f"the server {name!r} is not known here; there are {', '.join(sorted(KNOWN))}")
    return KNOWN[name]


def command(name, settings):
    """The command line of a server that is installed."""
    line = known(name)[2](settings)
    program = line[1] if line[0] == "node" else line[0]
    if not os.path.exists(program):
        raise Failure(f"the server {name!r} is not installed: run `mcp-gateway pull {name}` as root")
    return line


def pull(names):
    """Installs servers; what is installed stays."""
    if not names:
        raise Failure("name the servers to install")
    wanted = [known(name) for name in names]
    os.makedirs(HOME, exist_ok=True)
    for home in dict.fromkeys(home for home, _, _ in wanted):
        packages = [package for one, package, _ in wanted if one == home]
        if home == "npm":
            run("npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", HOME, *packages)
            continue
        if not os.path.exists(home):
            run("python3", "-m", "venv", home)
        older = ["mcp<2"] if home == OLDER_PYTHON else []
        run(f"{home}/bin/pip", "install", "--quiet", "--no-cache-dir", *packages, *older)
    return 0


def run(*line):
    done = subprocess.run(line)
    if done.returncode:
        raise Failure(f"{line[0]} ended with {done.returncode}")
