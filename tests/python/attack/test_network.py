"""What root inside can reach: the outside by its own address, and nothing near."""

import os
import socket
import threading
from urllib.parse import urlsplit

import pytest

CONNECT = """
import socket
s = socket.socket(); s.settimeout(3)
try:
    s.connect(({host!r}, {port})); print("connected")
except OSError:
    print("refused")
"""


def host_addresses():
    """Addresses of this host: the one that packets leave from, and its names'."""
    found = {"169.254.1.1", "10.213.0.1", "127.0.0.1"}
    probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        probe.connect(("192.0.2.1", 9))
        found.add(probe.getsockname()[0])
    except OSError:
        pass
    return sorted(found)


@pytest.fixture(scope="module")
def listener():
    """A port of the host on every address."""
    server = socket.create_server(("0.0.0.0", 0))
    threading.Thread(target=lambda: [server.accept() for _ in iter(int, 1)], daemon=True).start()
    yield server.getsockname()[1]
    server.close()


@pytest.mark.parametrize("host", host_addresses())
def test_the_host_is_out_of_reach(hostile, python, listener, host):
    assert python(hostile, CONNECT.format(host=host, port=listener)) == "refused"
    api = urlsplit(os.environ["E2B_API_URL"]).port
    assert python(hostile, CONNECT.format(host=host, port=api)) == "refused"


@pytest.mark.parametrize("host", ["169.254.169.254", "fd00:ec2::254", "169.254.170.2", "10.0.0.1", "192.168.1.1",
                                  "172.16.0.1", "100.100.100.200"])
def test_metadata_and_private_networks_are_out_of_reach(hostile, python, host):
    family = "socket.AF_INET6" if ":" in host else "socket.AF_INET"
    program = CONNECT.replace("socket.socket()", f"socket.socket({family})").format(host=host, port=80)
    assert python(hostile, program) == "refused"


def test_a_sibling_is_out_of_reach(hostile, sibling, python, root):
    _, address = root(sibling, "hostname -I")
    port = 8123
    sibling.commands.run(f"python3 -m http.server {port}", user="root", background=True)
    sibling.commands.run(f"until curl -s localhost:{port} -o /dev/null; do sleep 0.1; done", timeout=20)
    for target in (port, 49983):
        assert python(hostile, CONNECT.format(host=address.split()[0], port=target)) == "refused"


def test_spoofed_packets_do_not_arrive(hostile, sibling, python, root):
    """A raw datagram under a foreign address, to a sibling and to the host's name service."""
    _, address = root(sibling, "hostname -I")
    sibling.files.write("/tmp/listen.py", """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("0.0.0.0", 9999)); s.settimeout(4)
try:
    s.recv(10); print("arrived")
except OSError:
    print("nothing")
""", user="root")
    heard = sibling.commands.run("python3 /tmp/listen.py", user="root", background=True)
    program = f"""
import socket, struct, time
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
for source in ("10.213.0.1", "8.8.8.8", "127.0.0.1"):
    body = struct.pack("!HHHH", 53, 9999, 12, 0) + b"evil"
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 32, 1, 0, 64, 17, 0, socket.inet_aton(source),
                       socket.inet_aton({address.split()[0]!r}))
    try:
        s.sendto(head + body, ({address.split()[0]!r}, 0))
    except OSError:
        pass
print("sent")
"""
    assert python(hostile, program) == "sent"
    assert heard.wait().stdout == "nothing\n"


@pytest.mark.parametrize("family", [17, 40, 38, 29, 15, 44])
def test_other_kinds_of_sockets_do_not_exist(hostile, python, family):
    program = f"""
import socket
try:
    socket.socket({family}, socket.SOCK_RAW); print("made")
except OSError:
    print("refused")
"""
    assert python(hostile, program) == "refused"


@pytest.mark.parametrize("line", ["ip addr add 10.213.0.99/32 dev eth0", "ip link set eth0 address 0e:00:00:00:00:01",
                                  "ip route replace default dev lo", "ip link add type dummy"])
def test_the_interface_is_fixed(hostile, root, line):
    assert root(hostile, line)[0] != 0
