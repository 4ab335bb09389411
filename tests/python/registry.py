"""A real registry (Debian's `docker-registry`) with images that the tests make layer by layer."""

import gzip
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import httpx

# As `xtask` tells the server: these hosts are spoken to without TLS.
LANE = int(os.environ.get("WARREN_TEST_LANE", "0"))
OPEN, GUARDED, AWS = (f"127.0.0.1:{first + LANE}" for first in (5900, 5940, 5980))

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def is_installed():
    return shutil.which("docker-registry") is not None


class Registry:
    """The program, on a directory of its own."""

    def __init__(self, directory, host, auth="", credentials=None):
        self.host, self.auth = host, credentials
        config = directory / "config.yml"
        config.write_text(
            "version: 0.1\nlog: {level: error}\n"
            f"storage: {{filesystem: {{rootdirectory: {directory}/data}}}}\n"
            f"http: {{addr: '{host}'}}\n{auth}"
        )
        log = open(directory / "log", "w")
        self.process = subprocess.Popen(["docker-registry", "serve", str(config)], stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                httpx.get(f"http://{host}/v2/")
                return
            except httpx.HTTPError:
                time.sleep(0.05)
        raise RuntimeError((directory / "log").read_text())

    def close(self):
        self.process.terminate()
        self.process.wait(10)

    def blob(self, repository, content):
        """Uploads it; its descriptor."""
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        with httpx.Client(base_url=f"http://{self.host}", auth=self.auth) as client:
            place = client.post(f"/v2/{repository}/blobs/uploads/").raise_for_status().headers["location"]
            separator = "&" if "?" in place else "?"
            client.put(f"{place}{separator}digest={digest}", content=content).raise_for_status()
        return {"digest": digest, "size": len(content)}

    def manifest(self, repository, tag, content, kind):
        body = json.dumps(content).encode()
        url = f"http://{self.host}/v2/{repository}/manifests/{tag}"
        httpx.put(url, content=body, headers={"content-type": kind}, auth=self.auth).raise_for_status()
        return {"digest": "sha256:" + hashlib.sha256(body).hexdigest(), "size": len(body), "mediaType": kind}

    def push(self, repository, tag, layers, config=None, platform="linux/amd64", kinds=()):
        """An image of tar archives, compressed by gzip unless `kinds` say otherwise; its reference."""
        os_name, architecture = platform.split("/")
        described = {"os": os_name, "architecture": architecture, "config": config or {}}
        described["rootfs"] = {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest() for layer in layers]}
        descriptors = []
        for index, layer in enumerate(layers):
            kind, content = kinds[index] if index < len(kinds) and kinds[index] else (LAYER, gzip.compress(layer, 1))
            descriptors.append({**self.blob(repository, content), "mediaType": kind})
        described = {**self.blob(repository, json.dumps(described).encode()), "mediaType": "application/vnd.oci.image.config.v1+json"}
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": described, "layers": descriptors}
        self.pushed = self.manifest(repository, tag, manifest, MANIFEST)
        return f"{self.host}/{repository}:{tag}"


class Layer:
    """A tar archive in the making."""

    def __init__(self):
        self.buffer = io.BytesIO()
        self.tar = tarfile.open(fileobj=self.buffer, mode="w", format=tarfile.PAX_FORMAT)

    def add(self, name, content=None, kind=None, mode=0o644, uid=0, gid=0, link="", mtime=1_600_000_000, xattrs=None, device=(0, 0)):
        info = tarfile.TarInfo(name)
        info.type = kind or (tarfile.REGTYPE if content is not None else tarfile.DIRTYPE)
        info.mode, info.uid, info.gid, info.linkname, info.mtime = mode, uid, gid, link, mtime
        info.devmajor, info.devminor = device
        if content is not None:
            info.size = len(content)
        info.pax_headers = {f"SCHILY.xattr.{key}": value for key, value in (xattrs or {}).items()}
        self.tar.addfile(info, io.BytesIO(content) if content is not None else None)
        return self

    def directory(self, name, mode=0o755, **more):
        return self.add(name, mode=mode, **more)

    def symlink(self, name, to):
        return self.add(name, kind=tarfile.SYMTYPE, link=to, mode=0o777)

    def hardlink(self, name, to):
        return self.add(name, kind=tarfile.LNKTYPE, link=to)

    def bytes(self):
        self.tar.close()
        return self.buffer.getvalue()


def shell():
    """A layer with what commands and listings need, from this machine: no image can be fetched here."""
    layer, seen = Layer(), set()

    def take(path, at=None):
        if path in seen:
            return
        seen.add(path)
        with open(path, "rb") as file:
            layer.add((at or path).lstrip("/"), file.read(), mode=0o755)

    for name in ("bash", "find", "cat", "id", "mkdir", "true"):
        program = os.path.realpath(shutil.which(name))
        take(program, f"/usr/bin/{name}")
        for library in re.findall(r"(/\S+) \(0x", subprocess.run(["ldd", program], capture_output=True, text=True).stdout):
            take(library)
    # The rest of the root as distributions have it; libraries stand where this machine has them.
    layer.directory("bin").symlink("bin/bash", "/usr/bin/bash").symlink("bin/sh", "bash")
    layer.directory("tmp", mode=0o1777).directory("etc")
    return layer.add("etc/passwd", b"root:x:0:0:root:/root:/bin/bash\napp:x:1000:1000::/srv:/bin/sh\n").add("etc/group", b"root:x:0:\napp:x:1000:\n").bytes()


def bcrypt(password):
    """The one kind of hash that the registry takes; the C library makes it."""
    script = 'print crypt($ARGV[0], q($2y$04$) . "abcdefghijklmnopqrstuu")'
    return subprocess.run(["perl", "-e", script, password], capture_output=True, text=True, check=True).stdout


# Who may read the guarded registry; whichever way brings the password, it is one of these.
KEY = {"type": "service_account"}
USERS = {"alice": "se:cret", "AWS": "from-amazon", "_json_key": json.dumps(KEY)}


def guarded_registry(directory):
    """A registry that wants a password."""
    (directory / "users").write_text("".join(f"{user}:{bcrypt(password)}\n" for user, password in USERS.items()))
    auth = f"auth: {{htpasswd: {{realm: test, path: {directory}/users}}}}\n"
    return Registry(directory, GUARDED, auth, ("alice", USERS["alice"]))


def serve():
    """For suites in other languages: both registries with an image each, described
    in one line of JSON, until standard input ends."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        registries = [Registry(Path(one), OPEN), guarded_registry(Path(other))]
        try:
            layers = [shell(), Layer().add("etc/mark", b"of the registry\n").bytes()]
            images = [registry.push("case/served", "v1", layers) for registry in registries]
            said = {"open": images[0], "guarded": images[1], "password": USERS["alice"], "key": json.dumps(KEY)}
            print(json.dumps(said), flush=True)
            sys.stdin.read()
        finally:
            for registry in registries:
                registry.close()


if __name__ == "__main__":
    serve()
