"""Pillow in a place without a screen: saved images are also displayed.

`Image.save("a.png")` shows the image as a result of the cell, `Image.show()`
does nothing. Pillow is patched when it is imported, not before.
"""

import functools
import sys
from importlib.abc import MetaPathFinder
from importlib.util import find_spec

MODULE = "PIL.Image"


def patch(module):
    save = module.Image.save

    @functools.wraps(save)
    def save_and_display(self, fp, *args, **kwargs):
        result = save(self, fp, *args, **kwargs)
        # Only a path is a picture for the reader; a buffer is the program's own.
        if isinstance(fp, str):
            from IPython.display import display

            display(self)
        return result

    module.Image.save = save_and_display
    module.Image.show = lambda self, *args, **kwargs: None


class PatchOnImport(MetaPathFinder):
    """Runs `patch` after the module's own code, once, and steps aside."""

    def find_spec(self, name, path=None, target=None):
        if name != MODULE:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            patch(module)

        spec.loader.exec_module = exec_module
        return spec


def install():
    """Patches Pillow now if it is loaded, else when it will be."""
    if MODULE in sys.modules:
        patch(sys.modules[MODULE])
    else:
        sys.meta_path.insert(0, PatchOnImport())
