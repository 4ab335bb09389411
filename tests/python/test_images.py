"""Templates built from images of a registry, by the official SDK (rows T1 and T10)."""

import base64
import http.server
import json
import os
import shutil
import subprocess
import tarfile
import threading
import uuid

import pytest
from e2b import Template
from e2b.exceptions import BuildException
from registry import AWS, INDEX, KEY, OPEN, Layer, Registry, guarded_registry, is_installed, shell

pytestmark = pytest.mark.skipif(not is_installed(), reason="docker-registry is not installed")


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    running = Registry(tmp_path_factory.mktemp("registry"), OPEN)
    yield running
    running.close()


@pytest.fixture(scope="module")
def tools():
    return shell()


@pytest.fixture
def repository():
    return f"case/{uuid.uuid4().hex[:12]}"


def lines(template, name):
    """Builds, and returns what the log says."""
    seen = []
    Template.build(template, name, on_build_logs=lambda entry: seen.append(entry.message))
    return seen


def output(sandbox, command, **options):
    return sandbox.commands.run(command, **options).stdout.strip()


def test_t1_an_image_becomes_a_template_with_what_it_says_of_its_processes(registry, repository, tools, name, create):
    """Row: T1."""
    config = {"Env": ["PATH=/usr/bin:/bin", "GREETING=from the image"], "WorkingDir": "/srv/work", "Cmd": ["bash"]}
    more = Layer().directory("srv").directory("srv/work", uid=1000, gid=1000).add("srv/work/hello.txt", b"hello\n")
    image = registry.push(repository, "v1", [tools, more.bytes()], config)
    log = lines(Template().from_image(image).run_cmd("id > /home/user/who"), name)
    assert any("fetching" in line and repository in line for line in log), log
    sandbox = create(name)
    assert output(sandbox, "cat hello.txt; echo $GREETING; cat /home/user/who").split("\n") == [
        "hello",
        "from the image",
        # 1000 is the image's own.
        "uid=1001(user) gid=1001(user) groups=1001(user)",
    ]
    log = lines(Template().from_image(image).run_cmd("id > /home/user/who"), name)
    assert sum(line.startswith("CACHED") for line in log) == 2, log


def test_the_image_of_this_platform_is_taken_from_an_index(registry, repository, tools, name):
    entries = []
    for platform in ("linux/s390x", "linux/amd64"):
        mark = Layer().add("etc/platform", platform.encode()).bytes()
        registry.push(repository, platform.replace("/", "-"), [tools, mark], platform=platform)
        system, architecture = platform.split("/")
        entries.append({**registry.pushed, "platform": {"os": system, "architecture": architecture}})
    registry.manifest(repository, "all", {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}, INDEX)
    registry.manifest(repository, "other", {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries[:1]}, INDEX)
    log = lines(Template().from_image(f"{OPEN}/{repository}:all").run_cmd("cat /etc/platform"), name)
    assert any("[stdout]: linux/amd64" in line for line in log), log
    with pytest.raises(BuildException, match="no image for linux/amd64, only for: linux/s390x"):
        Template.build(Template().from_image(f"{OPEN}/{repository}:other"), name)


@pytest.mark.skipif(shutil.which("zstd") is None, reason="zstd is not installed")
def test_layers_may_be_compressed_by_zstd_or_not_at_all(registry, repository, tools, name):
    small = Layer().add("etc/packed", b"z" * 300_000).bytes()
    packed = b"".join(subprocess.run(["zstd", "-q"], input=part, capture_output=True).stdout for part in (small[:1000], small[1000:]))
    plain = Layer().add("etc/plain", b"p").bytes()
    kinds = [None, ("application/vnd.oci.image.layer.v1.tar+zstd", packed), ("application/vnd.oci.image.layer.v1.tar", plain)]
    image = registry.push(repository, "v1", [tools, small, plain], kinds=kinds)
    log = lines(Template().from_image(image).run_cmd("find /etc/packed /etc/plain -printf '%s '"), name)
    assert any("300000 1" in line for line in log), log


def hard_cases():
    """Layers with everything that is easily got wrong, below `/case`."""
    file, first = tarfile.REGTYPE, Layer()
    first.directory("case", mode=0o750, uid=7, gid=8).directory("case/gone").add("case/gone/file", b"1").add("case/gone-file", b"1")
    first.add("case/setuid", b"s", mode=0o6755, uid=1, gid=2).directory("case/sticky", mode=0o3777)
    first.add("case/hard-a", b"hard").hardlink("case/hard-b", "case/hard-a")
    first.symlink("case/absolute", "/case/target").symlink("case/climbing", "../../../../etc").symlink("case/dangling", "/no/where")
    first.directory("case/target").add("case/target/below", b"t").add("case/fifo", kind=tarfile.FIFOTYPE, mode=0o600)
    first.add("case/attributes", b"x", xattrs={"user.note": "hello", "user.overlay.opaque": "y"})
    first.add("case/twice", b"first", mode=0o600).add("case/twice", b"second", mode=0o640)
    first.directory("case/opaque").add("case/opaque/lower", b"1").directory("case/opaque/sub").add("case/opaque/sub/lower", b"1")
    first.directory("case/was-directory").add("case/was-directory/x", b"1").add("case/was-file", b"1").symlink("case/was-link", "/case/target")
    first.add("case/old", b"o", mtime=1).add("case/" + "long" * 40 + "/" + "name" * 40, b"l", kind=file)
    second = Layer()
    second.add("case/.wh.gone", b"").add("case/.wh.gone-file", b"").add("case/.wh.never-there", b"")
    second.directory("case/opaque").add("case/opaque/.wh..wh..opq", b"").add("case/opaque/upper", b"2")
    second.add("case/was-directory", b"2").directory("case/was-file").add("case/was-file/y", b"2").directory("case/was-link")
    second.add("case/absolute/through", b"2").hardlink("case/hard-c", "case/hard-a").add("./case//dots/./file", b"2")
    rest = []
    for number in range(57):
        layer = Layer().add(f"case/step-{number}", str(number).encode())
        rest.append((layer.add(f"case/.wh.step-{number - 1}", b"") if number else layer).bytes())
    return [first.bytes(), second.bytes(), *rest]


def listing(run):
    # Times of directories and links are not compared: later entries change the former, the reference tool ignores the latter.
    command = r"find case \( -type d -printf '%p|d|%m|%U|%G\n' \) -o \( -type l -printf '%p|l|%l|%U|%G\n' \) -o -printf '%p|%y|%m|%U|%G|%n|%s|%Ts\n'"
    return sorted(run(command).strip().split("\n"))


@pytest.mark.skipif(not (shutil.which("umoci") and shutil.which("skopeo")), reason="umoci and skopeo are not installed")
def test_hard_cases_unpack_as_the_reference_tool_unpacks_them(registry, repository, tools, name, create, tmp_path):
    image = registry.push(repository, "v1", [tools, *hard_cases()])
    copy = ["skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{image}", f"oci:{tmp_path}/image:v1"]
    subprocess.run(copy, check=True, capture_output=True)
    subprocess.run(["umoci", "unpack", "--image", f"{tmp_path}/image:v1", f"{tmp_path}/bundle"], check=True, capture_output=True)
    reference = listing(lambda command: subprocess.run(command, shell=True, cwd=tmp_path / "bundle/rootfs", capture_output=True, text=True, check=True).stdout)
    assert len(reference) > 25
    Template.build(Template().from_image(image), name)
    sandbox = create(name)
    assert listing(lambda command: sandbox.commands.run(command, cwd="/", user="root").stdout) == reference
    assert output(sandbox, "cat /case/twice /case/hard-c /case/target/through", user="root") == "secondhard2"


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (lambda layer: layer.add("../../climbs", b"x"), "climbs out"),
        (lambda layer: layer.add("a/../../climbs", b"x"), "climbs out"),
        (lambda layer: layer.hardlink("stolen", "../../../etc/shadow"), "climbs out"),
        (lambda layer: layer.hardlink("stolen", "no/such/file"), "stolen"),
        (lambda layer: layer.symlink("link", "link").add("link/below", b"x"), "link/below"),
        (lambda layer: layer.add("d/" * 300 + "f", b"x"), "deeper than"),
        (lambda layer: layer.add(".wh...", b""), "whiteout"),
    ],
)
def test_what_leads_out_of_an_image_is_refused_with_the_reason(registry, repository, name, entry, reason):
    image = registry.push(repository, "v1", [entry(Layer()).bytes()])
    with pytest.raises(BuildException, match=reason) as refused:
        Template.build(Template().from_image(image), name)
    assert repository in str(refused.value)


def test_links_of_an_image_lead_within_it(registry, repository, tools, name, create):
    mark = f"warren-{uuid.uuid4().hex}"
    trap = Layer().symlink("out", "/").add(f"out/tmp/{mark}", b"x").symlink("up", "../../../../../..").add(f"up/tmp/{mark}-2", b"x")
    trap.add("case/null", kind=tarfile.CHRTYPE, device=(1, 3)).add("case/disk", kind=tarfile.BLKTYPE, device=(8, 0))
    image = registry.push(repository, "v1", [tools, trap.bytes()])
    log = lines(Template().from_image(image), name)
    assert any("2 device nodes were left out" in line for line in log), log
    assert not [found for found in os.listdir("/tmp") if found.startswith(mark)]
    assert len(output(create(name), f"find /tmp -name '{mark}*'").split()) == 2


def test_damaged_and_missing_things_are_named(registry, repository, tools, name):
    image = registry.push(repository, "v1", [b"this is no archive" * 100])
    with pytest.raises(BuildException, match=f"layer 1 of the image {OPEN}/{repository}:v1"):
        Template.build(Template().from_image(image), name)
    with pytest.raises(BuildException, match=f"no image {OPEN}/{repository}:none.*MANIFEST_UNKNOWN"):
        Template.build(Template().from_image(f"{OPEN}/{repository}:none"), name)
    with pytest.raises(BuildException, match="names no image"):
        Template.build(Template().from_image("Not An Image"), name)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    running = guarded_registry(tmp_path_factory.mktemp("guarded"))
    yield running
    running.close()


def test_t10_a_registry_with_a_password(guarded, repository, tools, name):
    """Row: T10."""
    image = guarded.push(repository, "v1", [tools])
    with pytest.raises(BuildException, match="does not give the image .* without credentials"):
        Template.build(Template().from_image(image), name)
    with pytest.raises(BuildException, match="with these credentials") as refused:
        Template.build(Template().from_image(image, username="alice", password="wrong"), name)
    assert "wrong" not in str(refused.value)
    log = lines(Template().from_image(image, username="alice", password="se:cret").run_cmd("id"), name)
    assert any("uid=" in line for line in log)


def test_t10_googles_registry_takes_the_key_file(guarded, repository, tools, name):
    """Row: T10."""
    image = guarded.push(repository, "v1", [tools])
    Template.build(Template().from_gcp_registry(image, service_account_json=KEY), name)


def test_t10_amazons_registry_gives_a_password_for_a_signed_call(guarded, repository, tools, name):
    """Row: T10."""
    calls = []

    class Amazon(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            calls.append((self.headers, self.rfile.read(int(self.headers["content-length"]))))
            token = base64.b64encode(b"AWS:from-amazon").decode()
            body = json.dumps({"authorizationData": [{"authorizationToken": token}]}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    host, port = AWS.split(":")
    with http.server.ThreadingHTTPServer((host, int(port)), Amazon) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            image = guarded.push(repository, "v1", [tools])
            Template.build(Template().from_aws_registry(image, "AKIDEXAMPLE", "secret", "eu-central-1"), name)
        finally:
            server.shutdown()
    headers, body = calls[0]
    assert headers["x-amz-target"].endswith(".GetAuthorizationToken") and json.loads(body) == {}
    assert headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
    assert "/eu-central-1/ecr/aws4_request" in headers["authorization"]
