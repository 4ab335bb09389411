"""Files: both ways, in every form the SDK has, and what directories tell."""

import hashlib
import io
import os
from datetime import datetime, timedelta, timezone

import httpx
import pytest
from e2b import (
    FileNotFoundException,
    FileType,
    InvalidArgumentException,
    NotEnoughSpaceException,
    SandboxException,
)
from e2b.sandbox.filesystem.filesystem import WriteEntry
from outside import API_URL, routed

BYTES = bytes(range(256)) * 40


def test_text_and_bytes(sandbox):
    written = sandbox.files.write("text.txt", "grün ✓\n")
    assert (written.path, written.name) == ("/home/user/text.txt", "text.txt")
    assert sandbox.files.read("text.txt") == "grün ✓\n"
    sandbox.files.write("data.bin", BYTES)
    assert bytes(sandbox.files.read("data.bin", format="bytes")) == BYTES


def test_an_empty_file(sandbox):
    sandbox.files.write("empty", "")
    assert sandbox.files.read("empty") == ""
    assert sandbox.files.get_info("empty").size == 0


def test_overwriting_shortens(sandbox):
    sandbox.files.write("short", "a long text")
    sandbox.files.write("short", "x")
    assert sandbox.files.read("short") == "x"


@pytest.mark.parametrize("name", ["with space", "a+b&c=d%20", "quote'\"", "漢字.txt", "-dash", "x" * 255])
def test_names(sandbox, name):
    sandbox.files.write(f"names/{name}", name)
    assert sandbox.files.read(f"names/{name}") == name
    assert name in [entry.name for entry in sandbox.files.list("names")]


def test_parents_are_made_and_belong_to_the_user(sandbox):
    sandbox.files.write("new/deep/er/file", "x")
    owners = sandbox.commands.run("stat -c %U new new/deep new/deep/er new/deep/er/file").stdout
    assert owners == "user\n" * 4


def test_the_user_decides_home_and_owner(sandbox):
    sandbox.files.write("rooted", "x", user="root")
    info = sandbox.files.get_info("/root/rooted")
    assert (info.owner, info.group) == ("root", "root")
    assert sandbox.files.exists("~/rooted", user="root")
    assert not sandbox.files.exists("~/rooted")


def test_many_files_in_one_call(sandbox):
    files = [WriteEntry(path=f"many/{i}.txt", data=f"number {i}") for i in range(30)]
    written = sandbox.files.write_files(files)
    assert [one.name for one in written] == [f"{i}.txt" for i in range(30)]
    assert sandbox.commands.run("cat many/29.txt; ls many | wc -l").stdout == "number 2930\n"
    assert sandbox.files.write_files([]) == []


@pytest.mark.parametrize("gzip", [False, True])
@pytest.mark.parametrize("octet_stream", [False, True])
def test_encodings(sandbox, gzip, octet_stream):
    if gzip and not octet_stream:
        with pytest.raises(InvalidArgumentException):
            sandbox.files.write("coded", BYTES, gzip=True, use_octet_stream=False)
        return
    sandbox.files.write("coded", BYTES, gzip=gzip, use_octet_stream=octet_stream)
    assert bytes(sandbox.files.read("coded", format="bytes", gzip=gzip)) == BYTES


def test_large_streams(sandbox):
    data = os.urandom(24 * 1024 * 1024)
    sandbox.files.write("large", io.BytesIO(data))
    printed = sandbox.commands.run("sha256sum large").stdout
    assert printed.split()[0] == hashlib.sha256(data).hexdigest()
    seen = hashlib.sha256()
    for chunk in sandbox.files.read("large", format="stream"):
        seen.update(chunk)
    assert seen.digest() == hashlib.sha256(data).digest()
    sandbox.files.remove("large")


def test_an_upload_of_unknown_length(sandbox):
    sandbox.files.write("chunked", (b"piece\n" for _ in range(1000)))
    assert sandbox.files.get_info("chunked").size == 6000


def test_missing_and_wrong(sandbox):
    for call in (sandbox.files.read, sandbox.files.list, sandbox.files.get_info):
        with pytest.raises(FileNotFoundException):
            call("no/such/thing")
    sandbox.files.make_dir("a-directory")
    with pytest.raises(InvalidArgumentException):
        sandbox.files.read("a-directory")
    with pytest.raises(InvalidArgumentException):
        sandbox.files.write("a-directory", "x")
    sandbox.files.write("a-file", "x")
    with pytest.raises(InvalidArgumentException):
        sandbox.files.list("a-file")


def test_info(sandbox):
    sandbox.commands.run("printf 12345 > i; chmod 640 i; ln -s i link")
    info = sandbox.files.get_info("i")
    assert (info.type, info.size, info.permissions) == (FileType.FILE, 5, "-rw-r-----")
    assert (info.mode, info.owner, info.group, info.path) == (0o640, "user", "user", "/home/user/i")
    assert abs(datetime.now(timezone.utc) - info.modified_time) < timedelta(minutes=1)
    assert sandbox.files.get_info("link").symlink_target == "/home/user/i"
    assert sandbox.files.get_info("/home").type is FileType.DIR


def test_list_and_depth(sandbox):
    sandbox.commands.run("mkdir -p tree/a/b; touch tree/one tree/a/two tree/a/b/three")
    names = lambda depth: [entry.path[len("/home/user/tree/") :] for entry in sandbox.files.list("tree", depth)]
    assert sorted(names(1)) == ["a", "one"]
    assert sorted(names(2)) == ["a", "a/b", "a/two", "one"]
    assert sorted(names(9)) == ["a", "a/b", "a/b/three", "a/two", "one"]
    with pytest.raises(InvalidArgumentException):
        sandbox.files.list("tree", depth=0)


def test_directories(sandbox):
    assert sandbox.files.make_dir("made/here")
    assert not sandbox.files.make_dir("made/here")
    sandbox.files.write("made/here/x", "x")
    sandbox.files.remove("made")
    assert not sandbox.files.exists("made")
    sandbox.files.remove("made")


def test_rename(sandbox):
    sandbox.files.write("from", "moved")
    moved = sandbox.files.rename("from", "to")
    assert moved.path == "/home/user/to"
    assert not sandbox.files.exists("from")
    assert sandbox.files.read("to") == "moved"
    with pytest.raises(FileNotFoundException):
        sandbox.files.rename("from", "elsewhere")


def test_metadata_stays_with_the_file(sandbox):
    sandbox.files.write("tagged", "x", metadata={"author": "me", "kind": "note"})
    assert sandbox.files.get_info("tagged").metadata == {"author": "me", "kind": "note"}
    sandbox.files.rename("tagged", "tagged-2")
    assert sandbox.files.get_info("tagged-2").metadata == {"author": "me", "kind": "note"}
    sandbox.files.write("tagged-2", "y")
    assert not sandbox.files.get_info("tagged-2").metadata


@pytest.mark.parametrize("by_host_name", [True, False])
def test_signed_urls(sandbox, by_host_name):
    """Where all sandboxes share one URL, the signature alone says which one is meant."""
    host = {"Host": sandbox.get_host(49983)} if by_host_name else {}

    def signed(make, path, seconds):
        url = make(path, use_signature_expiration=seconds)
        return API_URL + url[url.index("/files?") :]

    sandbox.files.write("signed", "through a link")
    url = signed(sandbox.download_url, "signed", 60)
    answer = httpx.get(url, headers=host)
    assert answer.text == "through a link"
    policy = answer.headers.get("content-security-policy")
    assert policy == (None if by_host_name else "sandbox"), "no page of a sandbox may run at the API's origin"
    assert httpx.get(url.replace("signed", "other"), headers=host).status_code == 401
    expired = signed(sandbox.download_url, "signed", -10)
    assert httpx.get(expired, headers=host).status_code == 401
    target = signed(sandbox.upload_url, "sent", 60)
    assert httpx.get(target, headers=host).status_code == 401
    assert httpx.post(target, headers=host, files={"file": b"sent by link"}).status_code == 200
    assert sandbox.files.read("sent") == "sent by link"


def test_the_users_view_and_the_files_view_agree(sandbox):
    sandbox.commands.run("echo from-shell > shared; chmod 600 shared")
    assert sandbox.files.read("shared") == "from-shell\n"
    sandbox.files.write("shared", "from-api\n")
    assert sandbox.commands.run("cat shared").stdout == "from-api\n"


def test_unwritable_places_are_refused(sandbox):
    with pytest.raises(SandboxException):
        sandbox.files.write("/proc/nothing", "x")


def test_links_count_as_what_they_lead_to(sandbox):
    sandbox.commands.run("mkdir -p links && cd links && echo x > file && ln -sf file link && ln -sf nowhere broken")
    link = sandbox.files.get_info("links/link")
    assert (link.type, link.symlink_target) == (FileType.FILE, "/home/user/links/file")
    assert link.permissions == "Lrwxrwxrwx"
    assert [entry.name for entry in sandbox.files.list("links")] == ["file", "link"], "the broken one is no file"
    sandbox.files.write("links/link", "through")
    assert sandbox.files.read("links/file") == "through"
    sandbox.files.remove("links/link")
    assert sandbox.files.exists("links/file")


def test_files_of_the_kernel_can_be_read(sandbox):
    assert "processor" in sandbox.files.read("/proc/cpuinfo")
    assert sandbox.files.read("/proc/self/stat", format="bytes")


def test_devices_take_what_is_written(sandbox):
    sandbox.files.write("/dev/null", "x")
    with pytest.raises(NotEnoughSpaceException):
        sandbox.files.write("/dev/full", "x")


def test_parts_and_conditions(sandbox, stranger):
    sandbox.files.write("digits", "0123456789")
    target = {"url": "/files", "params": {"path": "digits"}}

    def get(**headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return stranger.get(**target, headers={**routed(sandbox), **headers})

    part = get(Range="bytes=2-4")
    assert (part.status_code, part.text, part.headers["content-range"]) == (206, "234", "bytes 2-4/10")
    several = get(Range="bytes=0-1,-2")
    assert several.headers["content-type"].startswith("multipart/byteranges")
    assert several.text.count("Content-Range") == 2
    assert get(Range="bytes=10-").status_code == 416
    whole = get()
    assert (whole.text, whole.headers["vary"]) == ("0123456789", "Accept-Encoding")
    assert get(If_Modified_Since=whole.headers["last-modified"]).status_code == 304
    assert get(Accept_Encoding="identity;q=0").status_code == 406
    packed = get(Accept_Encoding="gzip")
    assert (packed.text, packed.headers["content-encoding"]) == ("0123456789", "gzip")


def test_composing(sandbox, stranger):
    for n in range(3):
        sandbox.files.write(f"piece-{n}", f"{n} ")
    body = {"source_paths": [f"piece-{n}" for n in range(3)], "destination": "composed/all"}
    answer = stranger.post("/files/compose", json=body, headers=routed(sandbox))
    assert (answer.status_code, answer.json()["path"]) == (200, "/home/user/composed/all")
    assert sandbox.files.read("composed/all") == "0 1 2 "
    assert sandbox.files.get_info("composed/all").owner == "user"
    assert not sandbox.files.exists("piece-0")
    assert stranger.post("/files/compose", json=body, headers=routed(sandbox)).status_code == 404
    assert stranger.post("/files/compose", json=body, headers=routed(sandbox, token=False)).status_code == 401


def test_a_full_disk_is_told(create):
    """What does not fit any more is refused by an error of its own, and room makes all well again."""
    sandbox = create()
    fill = "for m in 2048 512 128 32 8 2; do while fallocate -l ${m}M rest/$((n+=1)) 2>&1; do :; done; done"
    sandbox.commands.run(f"mkdir rest; {fill}; true", timeout=60)
    with pytest.raises(NotEnoughSpaceException):
        sandbox.files.write("big", b"x" * (32 << 20))
    sandbox.commands.run("rm -r rest big")
    sandbox.files.write("big", b"x" * (1 << 20))


def test_browsers_may_ask(sandbox, stranger):
    asked = {"Origin": "https://page.test", "Access-Control-Request-Method": "POST"}
    asked["Access-Control-Request-Headers"] = "x-access-token,connect-protocol-version"
    answer = stranger.options("/process.Process/List", headers={**asked, **routed(sandbox, token=False)})
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-headers"] == asked["Access-Control-Request-Headers"]
    refused = stranger.get("/metrics", headers={"Origin": "https://page.test", **routed(sandbox, token=False)})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, "*")
