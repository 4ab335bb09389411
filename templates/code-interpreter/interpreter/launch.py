"""Starts one Python kernel the way the code interpreter wants it.

    python launch.py -f CONNECTION_FILE
    python launch.py --nursery SOCKET

Installed with its neighbours at /usr/lib/warren/interpreter. It is a plain
ipykernel with a few differences, each argued below; the user's own IPython
configuration still applies on top.
"""

import gc
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def without_here(paths):
    """Cells must import the user's modules, never the files beside this one."""
    return [path for path in paths if os.path.abspath(path or ".") != HERE]


def load(name):
    """Import a neighbour by its path, leaving no name behind in sys.modules."""
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("warren_" + name, os.path.join(HERE, name + ".py"))
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def lenient(pack):
    """Packs messages whose text holds lone surrogates, which UTF-8 cannot carry.

    Without this the message is lost on the way out, and with it the output.
    """

    def packed(message):
        try:
            return pack(message)
        except UnicodeEncodeError:
            text = json.dumps(message, default=str, ensure_ascii=False)
            return text.encode("utf-8", errors="replace")

    return packed


def find_temporary_directory():
    """Every cell has a name below it. Finding it writes a file, which a full disk refuses."""
    import tempfile

    try:
        tempfile.gettempdir()
    except OSError:
        tempfile.tempdir = "/tmp"


def build():
    """The kernel application, imported late so that `sys.path` is clean first."""
    lean = load("lean")
    lean.install()
    find_temporary_directory()
    import ipykernel.debugger  # noqa: F401 (it looks for what is left out)
    import zmq
    from ipykernel.kernelapp import IPKernelApp
    from ipykernel.zmqshell import ZMQInteractiveShell
    from traitlets import Any

    lean.finish()
    lean.without_completer(ZMQInteractiveShell)

    class InterpreterApp(IPKernelApp):
        # Nobody makes a client of this application, whose package is large.
        blocking_class = Any()

        def parse_command_line(self, argv=None):
            # A parser that knows a hundred options takes longer than all it parses.
            if argv and argv[0] == "-f":
                self.connection_file = argv[1]

        def init_iopub(self, context):
            # ZeroMQ publishers drop messages once 1,000 are waiting. Output has to
            # arrive whole, so it waits here, in the memory of whoever printed it.
            context.setsockopt(zmq.SNDHWM, 0)
            self.session.pack = lenient(self.session.pack)
            super().init_iopub(context)

        def init_heartbeat(self):
            """None: its three threads would beat for nobody; the service waits for the process."""

        def init_extensions(self):
            super().init_extensions()
            load("formats").install(self.shell)
            load("images").install()

    app = InterpreterApp.instance()
    app.config.InteractiveShell.colors = "nocolor"
    app.config.PlainTextFormatter.max_seq_length = 0
    # The history of a sandbox is of no use to the next one; a file would only
    # cost a write per cell and a lock between kernels.
    app.config.HistoryManager.hist_file = ":memory:"
    # The file of the connection says so, too; until then one with a key would be made.
    app.config.Session.key = b""
    load("quick").install(app)
    return app


def main():
    sys.path[:] = without_here(sys.path)
    rc = os.path.join(HERE, "matplotlibrc")
    if os.path.exists(rc):
        os.environ.setdefault("MATPLOTLIBRC", rc)
    # All that is made from here to the first cell stays: to look through it is vain.
    gc.disable()
    app = build()
    if sys.argv[1] == "--nursery":
        gc.enable()
        # As the kernel itself would say it before matplotlib is imported.
        os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
        load("nursery").serve(sys.argv[2], app, load("ahead"), load("stash").Stash)
        return
    app.initialize(sys.argv[1:])
    gc.freeze()
    gc.enable()
    app.start()


if __name__ == "__main__":
    main()
