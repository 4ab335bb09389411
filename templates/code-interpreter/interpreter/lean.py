"""Leaves out of a kernel's start what a kernel without a person at it never uses.

IPython's package imports its terminal, its completer imports a static analyser,
ipykernel imports a debugger and the client's side of Jupyter: more than half of
the time until the first cell. Their names stay; what is behind them is loaded when a cell asks.
"""

import importlib.util
import sys
from types import ModuleType


class Package(ModuleType):
    """A package whose own code runs at the first question that needs it."""

    def __getattr__(self, name):
        spec = self.__spec__
        if name.startswith("__") or spec.loader is None or self.__dict__.get("_loaded"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        self._loaded = True
        spec.loader.exec_module(self)
        return getattr(self, name)


def defer_package(name, *submodules):
    """Defers a package; the public names of some of its submodules are there at once."""
    spec = importlib.util.find_spec(name)
    package = Package(name)
    package.__spec__, package.__path__, package.__file__ = spec, spec.submodule_search_locations, spec.origin
    package.__package__ = name
    sys.modules[name] = package
    for submodule in submodules:
        module = importlib.import_module(f"{name}.{submodule}")
        package.__dict__.update({key: value for key, value in vars(module).items() if key[0] != "_"})


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


# Their importers live without them.
LEFT_OUT = ("jedi", "debugpy")


def install():
    """Before the first import of IPython; `finish` after the last."""
    sys.modules.update(dict.fromkeys(LEFT_OUT))
    defer_embed()
    defer_package("jupyter_client", "_version", "connect")


def finish():
    """Cells may import everything again."""
    for name in LEFT_OUT:
        if sys.modules.get(name, 0) is None:
            del sys.modules[name]
