"""A name server for one domain: every name below it is this machine.

    python names.py ADDRESS DOMAIN    serves until it is killed

Clients that resolve names like any program does are led here by a resolv.conf
that only they see."""

import socket
import struct
import sys

A, IN = 1, 1


def answer(query: bytes, domain: str) -> bytes:
    """127.0.0.1 for the domain and names below it, an empty answer for the rest."""
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode("ascii", "replace").lower())
        at += 1 + query[at]
    question = query[12 : at + 5]
    kind = struct.unpack("!H", query[at + 1 : at + 3])[0]
    name = ".".join(labels)
    known = name == domain or name.endswith("." + domain)
    record = struct.pack("!HHHIH4s", 0xC00C, A, IN, 1, 4, socket.inet_aton("127.0.0.1"))
    records = [record] if known and kind == A else []
    head = query[:2] + struct.pack("!HHHHH", 0x8180 if known else 0x8183, 1, len(records), 0, 0)
    return head + question + b"".join(records)


def serve(address: str, domain: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind((address, 53))
        while True:
            query, client = listener.recvfrom(512)
            listener.sendto(answer(query, domain), client)


if __name__ == "__main__":
    serve(*sys.argv[1:])
