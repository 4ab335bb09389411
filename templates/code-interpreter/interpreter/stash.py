"""Modules that are loaded but not imported: there at once for whoever imports them.

A kernel that was forked has numpy, pandas and matplotlib in memory without their
names in `sys.modules`, so that a cell meets the same world as in a kernel that was
started alone. The first `import` of a package puts all of its modules there. A
package that was replaced on disk since it was loaded cannot be loaded a second
time (its extension modules refuse); importing it says so. One that the user's own
module of that name hides is not taken.
"""

import importlib
import os
import sys
from importlib.machinery import ModuleSpec, PathFinder

PACKAGES = ("numpy", "pandas", "matplotlib.pyplot", "matplotlib.backends.backend_agg", "e2b_charts")


class Taken:
    """Loads a module by having it."""

    def __init__(self, module):
        self.module, self.spec = module, module.__spec__

    def create_module(self, spec):
        return self.module

    def exec_module(self, module):
        # The import system has put the spec of this loader there.
        module.__spec__ = self.spec


class Stash:
    """Finds what it holds; the first on `sys.meta_path`."""

    def __init__(self):
        before = set(sys.modules)
        for name in PACKAGES:
            importlib.import_module(name)
        self.packages = {}
        for name in set(sys.modules) - before:
            top = name.partition(".")[0]
            # What the standard library loaded is no one's package, and harmless.
            if top not in sys.stdlib_module_names:
                self.packages.setdefault(top, {})[name] = sys.modules.pop(name)
        # Of a package that was half there already, or that no file tells of, all stays.
        for top in [top for top, modules in self.packages.items() if not stamp(modules.get(top))]:
            sys.modules.update(self.packages.pop(top))
        self.stamps = {top: stamp(modules[top]) for top, modules in self.packages.items()}

    def is_stale(self, top):
        return stamp(self.packages[top][top]) != self.stamps[top]

    def any_stale(self):
        return any(map(self.is_stale, self.packages))

    def reseed(self):
        """Forks of one process would draw the same numbers."""
        self.packages["numpy"]["numpy"].random.seed()

    def find_spec(self, name, path=None, target=None):
        if name not in self.packages:
            return None
        module = self.packages[name][name]
        if self.is_stale(name):
            text = f"{name} was replaced after this kernel started; restart the context to use the new one"
            raise ImportError(text, name=name)
        found = PathFinder.find_spec(name)
        modules = self.packages.pop(name)
        if found is None or found.origin != module.__spec__.origin:
            return None
        sys.modules.update(modules)
        del sys.modules[name]
        return ModuleSpec(name, Taken(module), origin=found.origin, is_package=hasattr(module, "__path__"))


def stamp(module):
    """What changes when an installer writes the package anew."""
    try:
        facts = os.stat(module.__spec__.origin)
    except (AttributeError, OSError, TypeError):
        return None
    return facts.st_mtime_ns, facts.st_ino
