"""Does of a kernel's start, before the fork, all that outlives a fork.

    parent: configuration → kernel → shell, magics, formatters        `prepare`
    child:  connection file → sockets, threads → streams → start-up files   `finish`

The first half is three quarters of the work, and of the memory that a child would
otherwise write for itself. A user's own IPython configuration is code: while there
is any, nothing is prepared, and kernels start alone.
"""

import os
import sys
import uuid

CONFIGURATION = tuple(
    f"{name}.{kind}" for name in ("ipython_config", "ipython_kernel_config") for kind in ("py", "json")
)


def has_configuration(app):
    """Whether code or settings of a user's would be read at a kernel's start."""
    from IPython.core.application import ENV_CONFIG_DIRS, SYSTEM_CONFIG_DIRS

    profile = os.path.join(app.ipython_dir, "profile_default")
    directories = [profile, *ENV_CONFIG_DIRS, *SYSTEM_CONFIG_DIRS]
    return any(os.path.exists(os.path.join(directory, name)) for directory in directories for name in CONFIGURATION)


def prepare(app):
    """`app.initialize` without connection, threads and streams."""
    import stack_data
    import tornado.platform.asyncio  # noqa: F401 (every kernel has loops)
    from IPython.core.application import BaseIPythonApplication

    BaseIPythonApplication.initialize(app, [])
    app.init_pdb()
    session = app.session
    kernel_class = app.kernel_class
    # It would take hold of the streams, which come with the fork.
    hooks = kernel_class._initialize_thread_hooks
    kernel_class._initialize_thread_hooks = lambda self: None
    try:
        app.kernel = kernel_class.instance(
            parent=app, session=session, log=app.log, profile_dir=app.profile_dir, user_ns=app.user_ns
        )
    finally:
        kernel_class._initialize_thread_hooks = hooks
    app.init_path()
    app.init_shell()
    app.init_gui_pylab()
    app.init_extensions()
    # What tracebacks need is loaded late elsewhere; here it is shared.
    stack_data.Source  # noqa: B018


def finish(app, connection_file):
    """The rest, in the fork."""
    # A session sends nothing for another process than its own.
    app.session.pid, app.session.session = os.getpid(), uuid.uuid4().hex
    app.connection_file = connection_file
    app.init_connection_file()
    app.init_sockets()
    app.init_heartbeat()
    app.log_connection_info()
    app.init_io()
    app.init_signal()
    connect(app, app.kernel)
    app.init_code()


def connect(app, kernel):
    """Gives a kernel that was made without them its sockets and streams."""
    from zmq.eventloop.zmqstream import ZMQStream

    kernel.ident = str(uuid.uuid4())
    kernel.shell_stream = ZMQStream(app.shell_socket)
    kernel.control_stream = ZMQStream(app.control_socket, app.control_thread.io_loop)
    kernel.debugpy_stream = ZMQStream(app.debugpy_socket, app.control_thread.io_loop)
    kernel.debug_shell_socket = app.debug_shell_socket
    kernel.control_thread, kernel.stdin_socket = app.control_thread, app.stdin_socket
    kernel.iopub_thread, kernel.iopub_socket = app.iopub_thread, app.iopub_socket
    for publisher in (kernel.shell.displayhook, kernel.shell.display_pub):
        publisher.pub_socket = app.iopub_socket
    kernel.shell.displayhook.topic = kernel._topic("execute_result")
    app.control_thread.start()
    kernel._stdout, kernel._stderr = sys.stdout, sys.stderr
    kernel._initialize_thread_hooks()
    kernel.record_ports({name + "_port": port for name, port in app._ports.items()})
    app.displayhook.get_execution_count = lambda: kernel.execution_count
