"""Files: both ways, in every form the SDK has, and what directories tell."""

import hashlib
import io
import os
from datetime import datetime, timedelta, timezone

import httpx
import pytest
from e2b import FileNotFoundException, FileType, InvalidArgumentException, SandboxException
from e2b.sandbox.filesystem.filesystem import WriteEntry

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
    sandbox.files.write("signed", "through a link")
    host = {"Host": sandbox.get_host(49983)} if by_host_name else {}
    url = sandbox.download_url("signed", use_signature_expiration=60)
    assert httpx.get(url, headers=host).text == "through a link"
    assert httpx.get(url.replace("signed", "other"), headers=host).status_code == 401
    expired = sandbox.download_url("signed", use_signature_expiration=-10)
    assert httpx.get(expired, headers=host).status_code == 401
    target = sandbox.upload_url("sent", use_signature_expiration=60)
    assert httpx.post(target, headers=host, files={"file": b"sent by link"}).status_code == 200
    assert sandbox.files.read("sent") == "sent by link"
    sandboxed = httpx.get(url, headers=host).headers.get("content-security-policy")
    assert sandboxed == (None if by_host_name else "sandbox"), "at the API's origin no page of a sandbox may run"


def test_the_users_view_and_the_files_view_agree(sandbox):
    sandbox.commands.run("echo from-shell > shared; chmod 600 shared")
    assert sandbox.files.read("shared") == "from-shell\n"
    sandbox.files.write("shared", "from-api\n")
    assert sandbox.commands.run("cat shared").stdout == "from-api\n"


def test_unwritable_places_are_refused(sandbox):
    with pytest.raises(SandboxException):
        sandbox.files.write("/proc/nothing", "x")
