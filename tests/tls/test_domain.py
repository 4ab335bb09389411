"""A server with a domain and an authority of its own: the SDKs are led by
`E2B_DOMAIN` alone, over TLS, by host names. What needs no TLS of its own is
tried by the other suites, which run in this mode as well."""

import asyncio
import os
import socket
import ssl
import time

import httpx
import pytest
import websockets
from e2b import AsyncSandbox, Sandbox, TimeoutException

TRUST = os.environ["NODE_EXTRA_CA_CERTS"]


def shake_hands(host, protocols, trust=TRUST):
    """The protocol that the server chose, and the names in its certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if trust:
        context.load_verify_locations(trust)
    context.set_alpn_protocols(protocols)
    name, port = host.split(":")
    with socket.create_connection((name, int(port)), timeout=10) as tcp:
        with context.wrap_socket(tcp, server_hostname=name) as tls:
            names = {value for kind, value in tls.getpeercert()["subjectAltName"] if kind == "DNS"}
            return tls.selected_alpn_protocol(), names


def test_the_certificate_is_for_the_domain_and_all_names_below(domain):


    """Row: D1."""
    name = domain.split(":")[0]
    protocol, names = shake_hands(f"49983-i0.{domain}", ["h2", "http/1.1"])
    assert protocol == "h2"
    assert {name, f"*.{name}"} <= names
    assert shake_hands(f"api.{domain}", ["http/1.1"])[0] == "http/1.1"
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(f"api.{domain}", ["h2"], trust=None)


def test_answers_name_the_domain(sandbox, domain):
    assert sandbox.get_host(8000) == f"8000-{sandbox.sandbox_id}.{domain}"
    assert sandbox.sandbox_domain == domain


def test_pages_and_sockets_of_a_port_have_its_name(sandbox):
    sandbox.files.write("/tmp/site/index.html", "over tls")
    sandbox.commands.run("python3 -m http.server 8000 -d /tmp/site", background=True)
    host = sandbox.get_host(8000)
    context = ssl.create_default_context(cafile=TRUST)
    assert httpx.get(f"https://{host}/", verify=context).text == "over tls"

    # Not the blocking client: it reads and writes a TLS connection in two threads at
    # once, which Python before 3.13 does not guard, and so loses a request now and then.
    async def refused():
        with pytest.raises(websockets.InvalidStatus) as refusal:
            await websockets.connect(f"wss://{host}/", ssl=context)
        return refusal.value.response.status_code

    # A server that does not know WebSockets says so through the tunnel's door.
    assert asyncio.run(refused()) == 200


def test_signed_links_work(sandbox):
    sandbox.files.write("/tmp/link", "signed")
    url = sandbox.download_url("/tmp/link")
    assert url.startswith("https://")
    assert httpx.get(url, verify=ssl.create_default_context(cafile=TRUST)).text == "signed"


@pytest.mark.parametrize("version", ["1.1", "2"])
def test_files_of_a_build_are_sent_over_tls(domain, version):
    """Whichever HTTP the client speaks, it is told to send them as it came."""
    key, context = os.environ["E2B_API_KEY"], ssl.create_default_context(cafile=TRUST)
    with httpx.Client(verify=context, http1=version == "1.1", http2=version == "2") as client:
        headers = {"X-API-Key": key}
        asked = client.post(f"https://api.{domain}/v3/templates", headers=headers, json={"name": "sent"})
        template = asked.json()["templateID"]
        place = client.get(f"https://api.{domain}/templates/{template}/files/{'0' * 64}", headers=headers)
        assert (place.status_code, place.http_version) == (201, f"HTTP/{version}")
        assert place.json()["url"].startswith(f"https://api.{domain}/upload/")
        client.delete(f"https://api.{domain}/templates/{template}", headers=headers)


def test_many_commands_share_a_connection(sandbox):
    async def run():
        one = await AsyncSandbox.connect(sandbox.sandbox_id)
        results = await asyncio.gather(*[one.commands.run(f"sleep 1; echo {i}") for i in range(60)])
        return [result.stdout for result in results]

    assert asyncio.run(run()) == [f"{i}\n" for i in range(60)]


def test_large_streams_come_whole(sandbox):
    seen = []
    size = 20_000_000
    sandbox.commands.run(f"head -c {size} /dev/zero | tr '\\0' x", on_stdout=seen.append, timeout=60)
    assert sum(map(len, seen)) == size
    text = "y" * size
    sandbox.files.write("/tmp/large", text)
    assert sandbox.files.read("/tmp/large") == text


def test_a_kill_cuts_a_running_command():
    one = Sandbox.create(timeout=60)
    handle = one.commands.run("sleep 60", background=True)
    time.sleep(0.2)
    assert one.kill()
    with pytest.raises(TimeoutException):
        handle.wait()
    assert not one.is_running()
