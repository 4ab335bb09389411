"""`Sandbox.create(mcp=…)`: the gateway, its servers, and the official MCP client over the sandbox's URL."""

import asyncio
import json
import uuid

import httpx
import httpx2
import mcp
import pytest
from e2b import AsyncSandbox, Sandbox, SandboxException, SandboxQuery
from mcp.client.streamable_http import streamable_http_client
from outside import API_URL

SERVERS = {"time": {}, "filesystem": {"paths": ["/home/user"]}, "sqlite": {}, "memory": {}, "sequentialthinking": {}, "git": {}, "fetch": {}}


@pytest.fixture(scope="module")
def gateway():
    with Sandbox.create(mcp=SERVERS, timeout=600) as created:
        yield created


def client(sandbox, token):
    """HTTP to the gateway by its host name, which no name server knows: the listener is the proxy."""
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/json, text/event-stream"}
    if API_URL.startswith("https:"):
        return sandbox.get_mcp_url(), httpx.Client(headers=headers, timeout=60)
    headers |= {"E2b-Sandbox-Id": sandbox.sandbox_id, "E2b-Sandbox-Port": "50005"}
    return f"{API_URL}/mcp", httpx.Client(headers=headers, timeout=60)


def ask(sandbox, method, params, token=None):
    url, http = client(sandbox, token or sandbox.get_mcp_token())
    with http:
        answer = http.post(url, json={"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
    return answer.status_code, answer.json() if answer.content else None


def test_a_template_without_a_gateway_says_so_and_leaves_no_sandbox():
    """Row: C8."""
    mark = {"mark": str(uuid.uuid4())}
    with pytest.raises(SandboxException, match="Failed to start MCP gateway"):
        Sandbox.create("base", mcp={"time": {}}, metadata=mark, timeout=60)
    assert Sandbox.list(query=SandboxQuery(metadata=mark)).next_items() == []


def test_the_sdk_knows_its_address_and_token(gateway):
    assert gateway.get_mcp_url().endswith("/mcp") and "50005-" in gateway.get_mcp_url()
    again = Sandbox.connect(gateway.sandbox_id)
    assert again.get_mcp_token() == gateway.get_mcp_token()
    assert gateway.commands.run("cat /etc/mcp-gateway/.token || echo hidden").stdout == "hidden\n"


def test_the_official_client_calls_every_server(gateway):
    url, plain = client(gateway, gateway.get_mcp_token())
    headers = dict(plain.headers)
    plain.close()

    async def talk():
        async with httpx2.AsyncClient(headers=headers, timeout=60) as http, streamable_http_client(url, http_client=http) as streams:
            async with mcp.ClientSession(*streams[:2]) as session:
                await session.initialize()
                tools = {tool.name for tool in (await session.list_tools()).tools}
                wanted = {"get_current_time", "write_file", "write_query", "create_entities", "sequentialthinking", "git_status", "fetch"}
                assert wanted <= tools, tools
                await session.call_tool("write_file", {"path": "/home/user/by-mcp", "content": "told"})
                await session.call_tool("create_table", {"query": "create table t (n integer)"})
                await session.call_tool("write_query", {"query": "insert into t values (42)"})
                row = await session.call_tool("read_query", {"query": "select n from t"})
                time = await session.call_tool("get_current_time", {"timezone": "Europe/Berlin"})
                return row.content[0].text, time.content[0].text

    row, time = asyncio.run(talk())
    assert "42" in row and "Europe/Berlin" in time
    entry = gateway.files.get_info("/home/user/by-mcp")
    assert gateway.files.read("/home/user/by-mcp") == "told" and entry.owner == "user"


def test_strangers_and_nonsense_are_refused(gateway):
    assert ask(gateway, "tools/list", {}, token="x")[0] == 401
    assert ask(gateway, "no/such", {})[1]["error"]["code"] == -32601
    assert "no tool 'x'" in ask(gateway, "tools/call", {"name": "x"})[1]["error"]["message"]
    url, http = client(gateway, gateway.get_mcp_token())
    with http:
        assert http.post(url, content=b"{").status_code == 400
        assert http.get(url).status_code == 405
        assert http.post(url, json={"jsonrpc": "2.0", "method": "notifications/initialized"}).status_code == 202


def test_a_server_that_dies_comes_back(gateway):
    gateway.commands.run("pkill -9 -f mcp-server-time", user="root")
    call = {"name": "get_current_time", "arguments": {"timezone": "UTC"}}
    answers = [ask(gateway, "tools/call", call)[1] for _ in range(2)]
    assert "UTC" in json.dumps(answers[1]), answers


def test_calls_from_many_at_once_are_not_mixed_up(gateway):
    from concurrent.futures import ThreadPoolExecutor

    def write(number):
        arguments = {"path": f"/home/user/many-{number}", "content": str(number)}
        return ask(gateway, "tools/call", {"name": "write_file", "arguments": arguments})[1]

    with ThreadPoolExecutor(16) as at_once:
        assert all(f"many-{number}" in json.dumps(answer) for number, answer in enumerate(at_once.map(write, range(40))))
    assert gateway.files.read("/home/user/many-39") == "39"


def test_a_gateway_that_does_not_start_leaves_no_sandbox():
    before = {one.sandbox_id for one in Sandbox.list().next_items()}
    for template, servers in (("mcp-gateway", {"no-such-server": {}}), ("base", {"time": {}})):
        with pytest.raises(Exception, match="Failed to start MCP gateway"):
            Sandbox.create(template, mcp=servers)
    made = [one for one in Sandbox.list().next_items() if one.sandbox_id not in before]
    assert not [one for one in made if one.template_id.startswith("warrenmcp")]


def test_the_async_client_starts_it_too():
    async def start():
        sandbox = await AsyncSandbox.create(mcp={"time": {}}, timeout=60)
        token = await sandbox.get_mcp_token()
        await sandbox.kill()
        return token

    assert len(asyncio.run(start())) == 36
