"""Leaves out of a kernel's start what a kernel without a person at it never uses.

IPython's package imports its terminal, its completer imports a static analyser,
ipykernel imports a debugger and the client's side of Jupyter, and all of them
colours, dates and the web: more than half of the time until the first cell, and a
quarter of the memory. Their names stay; what is behind them is loaded when a cell asks.
"""

import importlib.util
import sys
import threading
from importlib.machinery import PathFinder
from types import ModuleType, SimpleNamespace


class Deferred(ModuleType):
    """A module whose own code runs at the first question that needs it."""

    def __getattr__(self, name):
        # The import system itself asks for some, as does the module's own code while it runs.
        is_asked = not name.startswith("__") or name in ("__all__", "__version__")
        with self.__dict__["_lock"]:
            if is_asked and self.__dict__["_waits"]:
                self._waits = False
                try:
                    self.__spec__.loader.exec_module(self)
                except BaseException:
                    self._waits = True
                    raise
                self.__class__ = ModuleType
            elif type(self) is Deferred:
                raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return getattr(self, name)


def defer(name, *submodules):
    """Defers a module; the public names of some of its submodules are there at once."""
    if name in sys.modules:
        return
    package, _, _ = name.rpartition(".")
    # The package itself is not imported for it.
    path = importlib.util.find_spec(package).submodule_search_locations if package else None
    spec = PathFinder.find_spec(name, path)
    if spec is None:
        return
    module = Deferred(name)
    module.__spec__, module.__file__, module.__loader__ = spec, spec.origin, spec.loader
    module.__package__ = spec.parent
    if spec.submodule_search_locations is not None:
        module.__path__ = spec.submodule_search_locations
    module.__dict__.update(_lock=threading.RLock(), _waits=True)
    sys.modules[name] = module
    for submodule in submodules:
        loaded = importlib.import_module(f"{name}.{submodule}")
        module.__dict__.update({key: value for key, value in vars(loaded).items() if key[0] != "_"})


def defer_embed():
    """`IPython.embed` for its importers, without the terminal that it opens."""
    name = "IPython.terminal.embed"
    module = ModuleType(name)

    def real():
        if sys.modules.get(name) is module:
            del sys.modules[name]
        return importlib.import_module(name)

    def attribute(asked):
        # The import system itself asks for some.
        if asked.startswith("__"):
            raise AttributeError(asked)
        return getattr(real(), asked)

    module.embed = lambda *args, **kwargs: real().embed(*args, **kwargs)
    module.__getattr__ = attribute
    sys.modules[name] = module


class Later:
    """Stands for what a call of something not yet imported would give."""

    def __init__(self, name, args, options):
        self.__dict__["_made"] = lambda: getattr(importlib.import_module(name[0]), name[1])(*args, **options)

    def __getattr__(self, asked):
        made = self.__dict__.get("_real")
        if made is None:
            made = self.__dict__["_real"] = self.__dict__["_made"]()
        return getattr(made, asked)


def later(module, name):
    """A function or class of a module that is imported by its first use."""
    return lambda *args, **options: Later((module, name), args, options)


def call(module, name):
    """The same for a function whose answer is wanted at once."""
    return lambda *args, **options: getattr(importlib.import_module(module), name)(*args, **options)


def moment(text):
    """A date of a message's header, as Jupyter writes it."""
    from datetime import datetime

    return datetime.fromisoformat(text)


class Shape(dict):
    """Base of the types of dictionaries, whatever is said of their keys."""

    def __init_subclass__(cls, **options):
        super().__init_subclass__()


def stand_ins():
    """Modules of which a few names are taken by `from … import`."""
    return {
        # Python's lexer holds tables of all letters; the rest of pygments stays.
        "pygments.lexers": {"PythonLexer": later("pygments.lexers", "PythonLexer")},
        # To make one is to look for the nearest of 256 colours of each style.
        "pygments.formatters.terminal256": {
            "Terminal256Formatter": later("pygments.formatters.terminal256", "Terminal256Formatter")
        },
        "urllib.request": {name: call("urllib.request", name) for name in ("Request", "urlopen")},
        "html": {name: call("html", name) for name in ("escape", "unescape")},
        # Completions are for those who type.
        "IPython.core.completer": {
            name: call("IPython.core.completer", name) for name in ("provisionalcompleter", "rectify_completions")
        },
        "rlcompleter": {"Completer": later("rlcompleter", "Completer")},
        # For tables of functions' times, and for versions of macOS.
        "pstats": {"Stats": later("pstats", "Stats")},
        "packaging.version": {"Version": later("packaging.version", "Version")},
        # What listens for new configurations of logs, which nobody sends.
        "socketserver": dict.fromkeys(("ThreadingTCPServer", "StreamRequestHandler")),
        # For one type, which only type checkers read.
        "typing_extensions": {"TypedDict": Shape},
        "dateutil.parser": {"isoparse": moment},
        "dateutil.tz": {"tzlocal": call("dateutil.tz", "tzlocal")},
    }


# Their importers only ask them for attributes, and late.
LATE = (
    "asyncio.sslproto",
    "bz2",
    "cProfile",
    "ctypes",
    "hashlib",
    "ipaddress",
    "lzma",
    "mimetypes",
    "platformdirs",
    "psutil",
    "pydoc",
    "ssl",
    "stack_data",
)
# Of some of these the importers' annotations name types.
HINTS = {"stack_data": {"Line": object, "core": SimpleNamespace(FrameInfo=object, RepeatedFrames=object)}}
# Their importers live without them.
LEFT_OUT = ("jedi", "debugpy", "curses", "msgpack", "_hashlib")
# Imported without what is left out: their importers keep them, cells get others.
ANEW = ("hmac",)


def install():
    """Before the first import of IPython; `finish` after the last."""
    sys.modules.update(dict.fromkeys(LEFT_OUT))
    for name, members in stand_ins().items():
        if name not in sys.modules:
            module = standing[name] = sys.modules[name] = ModuleType(name)
            module.__dict__.update(members)
    for name in LATE:
        defer(name)
        vars(sys.modules[name]).update(HINTS.get(name, {}))
    defer_embed()
    defer("jupyter_client", "_version", "connect")


standing = {}


def finish():
    """Cells may import everything again."""
    for name, hints in HINTS.items():
        if type(sys.modules[name]) is Deferred:
            for hint in hints:
                delattr(sys.modules[name], hint)
    for name in LATE:
        package, _, last = name.rpartition(".")
        if package:
            setattr(sys.modules[package], last, sys.modules[name])
    for name, module in standing.items():
        if sys.modules.get(name) is module:
            del sys.modules[name]
    for name in LEFT_OUT:
        if sys.modules.get(name, 0) is None:
            del sys.modules[name]
    for name in ANEW:
        sys.modules.pop(name, None)


class Completer:
    """The shell's completer, made when somebody asks for it, without the analyser
    unless that is there already."""

    def __init__(self, make):
        self.make = make

    def __get__(self, shell, _class):
        if shell is None:
            return self
        with_analyser = "jedi" in sys.modules
        if not with_analyser:
            sys.modules["jedi"] = None
        try:
            self.make(shell)
        finally:
            if not with_analyser:
                del sys.modules["jedi"]
        return vars(shell)["Completer"]


class Configurables(list):
    """What `%config` shows, the completer included."""

    def __init__(self, shell):
        super().__init__(shell.configurables)
        self.shell = shell

    def __iter__(self):
        self.shell.Completer  # noqa: B018 (makes it, and adds it here)
        return super().__iter__()


def without_completer(shell_class):
    """Before the shell is made."""

    def later(shell):
        shell.configurables = Configurables(shell)

    shell_class.Completer = Completer(shell_class.init_completer)
    shell_class.init_completer = later
