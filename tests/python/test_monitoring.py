"""What the operator's monitoring reads: measurements, and the host."""

import os

import httpx
import pytest
from outside import API_URL
from prometheus_client.parser import text_string_to_metric_families

TOKEN = os.environ.get("WARREN_ADMIN_TOKEN")
pytestmark = pytest.mark.skipif(not TOKEN, reason="needs the operator's token of the server")


def scrape():
    """As Prometheus does: the token comes as a bearer token."""
    answer = httpx.get(f"{API_URL}/metrics", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30)
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {family.name: family for family in text_string_to_metric_families(answer.text)}


def value(families, name, sample="", **labels):
    """The sum of a family's samples of one kind that have these labels."""
    family = families[name]
    found = [s.value for s in family.samples if s.name == family.name + sample and labels.items() <= s.labels.items()]
    assert found, (name, sample, labels)
    return sum(found)


def test_measurements_follow_what_happens(create):
    before = scrape()
    sandbox = create()
    sandbox.commands.run("head -c 1000000 /dev/zero | base64 -w0")
    during = scrape()
    assert value(during, "warren_sandboxes", state="running") >= 1
    assert value(during, "warren_node_promised", resource="slots") >= 1
    sandbox.kill()
    after = scrape()

    def grown(name, sample="", **labels):
        return value(after, name, sample, **labels) - value(before, name, sample, **labels)

    assert value(after, "warren_sandbox_creates", "_total", outcome="made") >= 1
    assert grown("warren_sandbox_create_seconds", "_count") >= 1
    assert grown("warren_sandbox_create_seconds", "_sum") > 0
    assert grown("warren_sandbox_kill_seconds", "_bucket", le="+Inf") >= 1
    # As text in base64, in JSON.
    assert grown("warren_proxy_bytes", "_total", direction="from_sandbox") > 1_300_000
    assert grown("warren_proxy_requests", "_total") >= 1
    routes = {s.labels["route"] for s in after["warren_http_requests"].samples}
    assert "/sandboxes/{sandbox_id}" in routes and not any(sandbox.sandbox_id in route for route in routes)
    assert value(after, "warren_store_bytes", file="database") > 0
    for resource in ("memory_bytes", "disk_bytes", "slots"):
        assert 0 < value(after, "warren_node_free", resource=resource) <= value(after, "warren_node_capacity", resource=resource)


def test_every_measurement_is_explained():
    """Each is in the guide, and the guide names no other."""
    guide = os.path.join(os.path.dirname(__file__), "../../docs/guides/monitoring.md")
    with open(guide, encoding="utf-8") as text:
        rows = [line.split("`")[1] for line in text if line.startswith("| `warren_")]
    named = {row.split("{")[0].removesuffix("_total") for row in rows}
    found = set(scrape())
    assert found <= named, found - named
    assert named - found <= {"warren_sandbox_ends", "warren_sandbox_creates"}, named - found


def test_strangers_read_no_measurements(api, stranger):
    assert api.get("/metrics").status_code == 401
    assert stranger.get("/metrics").status_code == 401
    assert stranger.get("/nodes").status_code == 401


def test_the_host_is_shown():
    with httpx.Client(base_url=API_URL, headers={"X-Admin-Token": TOKEN}, timeout=30) as operator:
        (node,) = operator.get("/nodes").json()
        detail = operator.get(f"/nodes/{node['id']}").json()
    assert detail["status"] == "ready" and detail["metrics"]["cpuCount"] == os.cpu_count()
    assert 0 < detail["metrics"]["memoryUsedBytes"] < detail["metrics"]["memoryTotalBytes"]
    assert detail["metrics"]["disks"][0]["usedBytes"] > 0 and detail["cachedBuilds"]
