"""A program in a pseudo-terminal, as people have it before them."""

import fcntl
import os
import pty
import re
import select
import struct
import termios
import time


class Terminal:
    """One program, from its start to its end."""

    def __init__(self, command, rows=30, cols=100):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            time.sleep(0.05)  # until the size is set
            os.execvp(command[0], command)
        self.resize(rows, cols)
        self.shown = b""

    def resize(self, rows, cols):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))

    def type(self, text):
        os.write(self.fd, text.encode())

    def until(self, pattern):
        """Reads until the pattern is shown; forgets what was shown up to there."""
        end = time.monotonic() + 60
        while not (found := re.search(pattern, self.shown)):
            readable, _, _ = select.select([self.fd], [], [], max(0, end - time.monotonic()))
            assert readable, self.shown
            try:
                self.shown += os.read(self.fd, 65536)
            except OSError:  # the program has ended
                assert re.search(pattern, self.shown), self.shown
        self.shown = self.shown[found.end() :]
        return found

    def end(self):
        """The exit status."""
        while True:
            try:
                piece = os.read(self.fd, 65536)
            except OSError:
                break
            if not piece:
                break
            self.shown += piece
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.fd)
        return status
