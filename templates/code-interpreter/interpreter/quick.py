"""Spares a cell the waits and wake-ups of ipykernel that nobody is served by.

Output goes to the publisher's thread through a queue. ipykernel wakes that thread
through a ZeroMQ socket of its own for each of sixteen steps of the smallest cell,
waits for it six times although nothing was printed, and then sleeps half a
millisecond, in case a client takes the reply for the end. The service does not:
it waits for the publisher's last word, which comes after all others.

What programs and libraries write to the descriptors themselves comes to ipykernel
through a pipe and a thread that reads it, whenever that has its turn. Here nothing
that is in the pipe when a cell ends is left for later, when nobody asks any more;
and characters are put together that ipykernel would cut at a thousand bytes.
"""

import codecs
import os
import select
import sys
import threading

from ipykernel import ipkernel, iostream, kernelapp


class Outbox(iostream.IOPubThread):
    """The publisher's thread: what is scheduled is done in the order of scheduling."""

    def _setup_event_pipe(self):
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._works = False
        self.io_loop.add_handler(self._bell, self._answer, self.io_loop.READ)

    def _thread_main(self):
        # Without the task that looks after the original's sockets every ten seconds.
        if not self._stopped:
            self.io_loop.start()
        self.io_loop.close(all_fds=True)

    def _answer(self, bell, _events):
        try:
            os.eventfd_read(bell)
        except BlockingIOError:
            pass
        self._work()

    def _work(self):
        self._works = True
        try:
            # What comes meanwhile rings again, so that timers have their turn, too.
            for _ in range(len(self._events)):
                self._events.popleft()()
        finally:
            self._works = False
            if self._events:
                os.eventfd_write(self._bell, 1)

    def schedule(self, f):
        if not self.thread.is_alive():
            # The child of a fork has no such thread.
            f()
        elif threading.get_ident() != self.thread.ident:
            self._events.append(f)
            os.eventfd_write(self._bell, 1)
        elif self._works:
            # A part of what is being done.
            f()
        else:
            self._events.append(f)
            self._work()


# As much as is in a pipe.
PIPE = 1 << 16


def redirect(self, name, begin=iostream.OutStream._setup_stream_redirects):
    # A signal's handler may print while its thread takes in.
    self._taking = threading.RLock()
    self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
    begin(self, name)
    os.set_blocking(self._fid, False)


def take_in(self):
    """Puts what was written to the descriptor where the text of `print` goes."""
    with self._taking:
        try:
            read = os.read(self._fid, PIPE)
        except BlockingIOError:
            return
        if self._should_watch:
            text = self._decoder.decode(read)
            if text:
                self.write(text)
            os.write(self._original_stdstream_copy, read)


def watch(self):
    """The thread, which sees to output while a cell goes on."""
    there = select.poll()
    there.register(self._fid, select.POLLIN)
    try:
        while self._should_watch:
            there.poll()
            take_in(self)
    except Exception:
        self._exc = sys.exc_info()


def flush(self, wait=iostream.OutStream.flush):
    """Waits only where there is something to wait for."""
    # The child of a fork leaves its parent's output to it.
    if self._should_watch and self._is_master_process():
        take_in(self)
    with self._buffer_lock:
        is_empty = not self._buffers
    # What was there a moment ago is being sent, before all that is scheduled now.
    if not is_empty or self.echo is not None:
        wait(self)


def flush_in_turn(self, send=iostream.OutStream._flush):
    """Takes text out of the buffer after all that was scheduled before is sent, so
    that an empty buffer means: sent, or being sent."""
    if self.pub_thread is None:
        send(self)
    else:
        self.pub_thread.schedule(lambda: send(self))


def remember(ask):
    """Looks at each function's parameters once, not at every cell."""
    known = {}

    def accepts(method, names):
        key = (getattr(method, "__func__", method), *names)
        if key not in known:
            known[key] = ask(method, names)
        return known[key]

    return accepts


def install(app):
    """Before the application makes its kernel."""
    kernelapp.IOPubThread = Outbox
    iostream.OutStream.flush, iostream.OutStream._flush = flush, flush_in_turn
    iostream.OutStream._setup_stream_redirects, iostream.OutStream._watch_pipe_fd = redirect, watch
    ipkernel._accepts_parameters = remember(ipkernel._accepts_parameters)
    app.config.IPythonKernel._execute_sleep = 0.0
    # Records that its handler throws away; one that a user wants lowers both.
    app.log.setLevel(app.log_level)
