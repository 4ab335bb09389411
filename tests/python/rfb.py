"""As much of a VNC viewer as a test needs: RFB 3.8 in the binary messages of a WebSocket, as noVNC speaks it."""

import struct

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from websockets.sync.client import connect

NONE, PASSWORD = 1, 2


class Viewer:
    def __init__(self, uri, **options):
        self.socket = connect(uri, subprotocols=["binary"], open_timeout=20, max_size=None, **options)
        self.rest = b""
        assert self.read(12) == b"RFB 003.008\n"
        self.socket.send(b"RFB 003.008\n")
        self.ways = list(self.read(self.read(1)[0]))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def read(self, size):
        while len(self.rest) < size:
            self.rest += self.socket.recv(timeout=20)
        taken, self.rest = self.rest[:size], self.rest[size:]
        return taken

    def authenticate(self, password=None):
        """Whether the server lets the viewer in."""
        self.socket.send(bytes([PASSWORD if password else NONE]))
        if password:
            self.socket.send(answer(self.read(16), password))
        return struct.unpack(">I", self.read(4))[0] == 0

    def begin(self):
        """Width, height and name of the screen."""
        self.socket.send(b"\x01")
        width, height, _, length = struct.unpack(">HH16sI", self.read(24))
        return width, height, self.read(length).decode()

    def pixels(self, width, height):
        """The whole screen as rows of 32-bit pixels: blue, green, red, nothing."""
        depth = struct.pack(">BBBBHHHBBB3x", 32, 24, 0, 1, 255, 255, 255, 16, 8, 0)
        self.socket.send(b"\x00\0\0\0" + depth)
        self.socket.send(struct.pack(">BxHi", 2, 1, 0))
        self.socket.send(struct.pack(">BBHHHH", 3, 0, 0, 0, width, height))
        screen = bytearray(width * height * 4)
        while (kind := self.read(1)[0]) != 0:
            self.skip(kind)
        for _ in range(struct.unpack(">xH", self.read(3))[0]):
            x, y, w, h, encoding = struct.unpack(">HHHHi", self.read(12))
            assert encoding == 0, f"{encoding} was not asked for"
            for row in range(y, y + h):
                start = (row * width + x) * 4
                screen[start : start + w * 4] = self.read(w * 4)
        return bytes(screen)

    def skip(self, kind):
        """What a server may say between: a bell, the text of a clipboard."""
        if kind == 3:
            self.read(struct.unpack(">3xI", self.read(7))[0])
        else:
            assert kind == 2, f"message {kind} was not expected"


def answer(challenge, password):
    """DES with the bits of each byte of the key turned round: VNC's own."""
    key = bytes(int(f"{byte:08b}"[::-1], 2) for byte in password.encode()[:8].ljust(8, b"\0"))
    encryptor = Cipher(TripleDES(key * 3), modes.ECB()).encryptor()
    return encryptor.update(challenge) + encryptor.finalize()
