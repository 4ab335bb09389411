"""The template `desktop` through the unmodified desktop SDK (rows 65 and 66): screen, mouse, keys, programs, stream.

Its template is built on demand, which takes minutes and a gigabyte; where it is not, these tests say that they are
skipped. `cargo xtask desktop` builds it and runs them."""

import re
import socket
import struct
import zlib

import httpx
import pytest
from e2b_desktop import Sandbox
from outside import API_KEY, API_URL, routed
from rfb import NONE, PASSWORD, Viewer
from waiting import until
from websockets.exceptions import ConnectionClosed

SIZE = (1024, 768)


def is_built():
    answer = httpx.get(f"{API_URL}/default-templates/desktop", headers={"X-API-Key": API_KEY}, timeout=30)
    return answer.status_code == 200 and answer.json()["status"] == "ready"


pytestmark = pytest.mark.skipif(not is_built(), reason="the template desktop is not built: `cargo xtask desktop` builds it")


@pytest.fixture(scope="module")
def desktop():
    created = Sandbox.create(resolution=SIZE, timeout=900)
    yield created
    created.kill()


@pytest.fixture(scope="module")
def terminal(desktop):
    """A terminal that has the keyboard."""
    desktop.launch("xfce4-terminal")
    return window_of(desktop, "xfce4-terminal")


def said(desktop, command):
    """Standard output, whatever the exit code."""
    return desktop.commands.run(f"{command} || true").stdout


def window_of(desktop, application, title=""):
    """The window of an application once it is there and has the focus."""

    def focused():
        windows = said(desktop, f"xdotool search --onlyvisible --class {application}").split()
        current = said(desktop, "xdotool getwindowfocus").strip()
        return current if current in windows and title in desktop.get_window_title(current) else None

    return until(focused, f"a window of {application} {title!r}", seconds=60)


# Of a screenshot, what is looked at: the panel and the icons are in it.
ROWS = 240


def png(data):
    """Width, height and the first rows of a PNG as `scrot` writes it: eight bits of red, green, blue."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    (width, height, bits, colour), at, packed = struct.unpack(">IIBB", data[16:26]), 8, b""
    assert (bits, colour) == (8, 2), "8 bits of three colours"
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        packed += data[at + 8 : at + 8 + length] if kind == b"IDAT" else b""
        at += 12 + length
    return width, height, unfiltered(zlib.decompress(packed)[: ROWS * (width * 3 + 1)], width * 3)


def unfiltered(raw, stride):
    rows, before = [], bytes(stride)
    for start in range(0, len(raw), stride + 1):
        kind, row = raw[start], bytearray(raw[start + 1 : start + 1 + stride])
        for i in range(stride):
            left, up, corner = (row[i - 3] if i > 2 else 0), before[i], (before[i - 3] if i > 2 else 0)
            guess = left + up - corner
            near = min((abs(guess - left), 0, left), (abs(guess - up), 1, up), (abs(guess - corner), 2, corner))[2]
            row[i] = (row[i] + (0, left, up, (left + up) // 2, near)[kind]) & 255
        rows.append(bytes(row))
        before = row
    return rows


def test_the_session_is_there(desktop):
    assert desktop.get_screen_size() == SIZE
    assert desktop.commands.run("echo $DISPLAY").stdout == ":0\n"
    for program in ("Xvfb", "xfce4-session", "xfwm4", "xfdesktop", "xfce4-panel"):
        assert desktop.commands.run(f"pgrep -x {program}").stdout, program


def test_a_screenshot_shows_the_screen(desktop):
    whole = bytes(desktop.screenshot())
    width, height, rows = png(whole)
    assert (width, height, len(rows)) == (*SIZE, ROWS)
    # A panel, a background, icons: no blank screen.
    assert len({rows[y][x : x + 3] for y in range(0, ROWS, 8) for x in range(0, width * 3, 24)}) > 8
    assert b"".join(desktop.screenshot(format="stream"))[:8] == whole[:8]
    assert said(desktop, "ls /tmp/screenshot-*") == "", "none is left behind"


def test_the_mouse_goes_and_clicks_where_it_is_told(desktop):
    desktop.move_mouse(300, 200)
    assert desktop.get_cursor_position() == (300, 200)
    watch = "stdbuf -oL xev -geometry 400x300+200+200 -name watched -event button >/tmp/buttons 2>&1"
    watcher = desktop.commands.run(watch, background=True, timeout=0)
    window = until(lambda: said(desktop, "xdotool search --onlyvisible --name '^watched$'").strip(), "its window", seconds=30)
    assert desktop.get_window_title(window) == "watched"
    desktop.left_click(400, 350)
    desktop.right_click(410, 360)
    desktop.middle_click(420, 370)
    desktop.double_click(430, 380)
    desktop.scroll("up", 2)
    desktop.scroll("down", 3)
    desktop.drag((440, 390), (460, 400))

    def pressed():
        text = desktop.files.read("/tmp/buttons")
        places = re.findall(r"(ButtonPress|ButtonRelease) event.*?root:\((\d+),(\d+)\),\s*state \S+, button (\d)", text, re.DOTALL)
        return [(kind.removeprefix("Button"), int(x), int(y), int(button)) for kind, x, y, button in places]

    found = until(lambda: (events := pressed())[-1:] == [("Release", 460, 400, 1)] and events, "the end of the drag")
    expected = [(400, 350, 1), (410, 360, 3), (420, 370, 2), (430, 380, 1), (430, 380, 1)] + [(430, 380, 4)] * 2 + [(430, 380, 5)] * 3
    assert [event[1:] for event in found if event[0] == "Press"] == [*expected, (440, 390, 1)]
    watcher.kill()


def test_text_and_keys_arrive_in_a_program(desktop, terminal):
    # Longer than a chunk of the SDK, with all that a shell could mistake.
    text = """It's "quoted" & $HOME; `none` of it > runs | \\ here!"""
    desktop.write(f"cat > typed; echo done > after\n{text}\n", delay_in_ms=10)
    desktop.press(["ctrl", "d"])
    until(lambda: desktop.files.exists("after"), "the end of the input")
    assert desktop.files.read("typed") == f"{text}\n"
    desktop.write("sleep 1234", delay_in_ms=10)
    desktop.press("enter")
    until(lambda: said(desktop, "pgrep -fx 'sleep 1234'"), "a program in the terminal")
    desktop.press(["control", "c"])
    until(lambda: not said(desktop, "pgrep -fx 'sleep 1234'"), "its end by a key")


def test_windows_have_names(desktop, terminal):
    assert terminal in desktop.get_application_windows("xfce4-terminal")
    assert desktop.get_current_window_id() == terminal
    assert "Terminal" in desktop.get_window_title(terminal)


def stream_of(desktop, by_name=True):
    """The stream's WebSocket through the server, by the host name of the URL or by headers."""
    url = httpx.URL(desktop.stream.get_url())
    if API_URL.startswith("https:"):
        return Viewer(str(url.copy_with(scheme="wss", path="/websockify", query=None)))
    listener = httpx.URL(API_URL)
    if by_name:
        # No name server knows the name; the connection goes to the listener.
        there = socket.create_connection((listener.host, listener.port), timeout=20)
        return Viewer(f"ws://{url.host}:{listener.port}/websockify", sock=there)
    return Viewer(f"ws://{listener.host}:{listener.port}/websockify", additional_headers=routed(desktop, 6080, token=False))


def page_of(desktop, path="/vnc.html"):
    return httpx.get(f"{API_URL}{path}", headers=routed(desktop, 6080, token=False), timeout=30)


@pytest.fixture
def stream(desktop):
    desktop.stream.start()
    yield desktop.stream
    desktop.stream.stop()


def test_the_stream_shows_what_a_screenshot_shows(desktop, stream):
    with pytest.raises(RuntimeError, match="already running"):
        stream.start()
    url = httpx.URL(stream.get_url(view_only=True))
    assert url.host.startswith(f"6080-{desktop.sandbox_id}.") and url.path == "/vnc.html"
    assert dict(url.params) == {"autoconnect": "true", "view_only": "true", "resize": "scale"}
    page = page_of(desktop)
    assert page.status_code == 200 and "noVNC" in page.text
    assert page_of(desktop, "/").text == page.text
    for script in re.findall(r'src="([^"]+\.js)"', page.text):
        assert page_of(desktop, f"/{script}").status_code == 200, script
    # Away from what blinks, moves or tells the time.
    desktop.move_mouse(5, 700)
    for by_name in (True, False):
        with stream_of(desktop, by_name) as viewer:
            assert viewer.ways == [NONE] and viewer.authenticate()
            assert viewer.begin()[:2] == SIZE
            screen = viewer.pixels(*SIZE)
        rows = png(bytes(desktop.screenshot()))[2]
        looked_at = [(x, y) for y in range(0, ROWS, 8) for x in range(0, SIZE[0], 8)]
        same = sum(screen[(y * SIZE[0] + x) * 4 :][:3] == rows[y][x * 3 :][:3][::-1] for x, y in looked_at)
        assert same > 0.95 * len(looked_at), f"{same} of {len(looked_at)} pixels"


def test_a_browser_in_the_sandbox_opens_pages_and_watches_the_stream(desktop, stream):
    desktop.files.write("page.html", "<title>A page of ours</title><body style='background: teal'>")
    desktop.open("/home/user/page.html")
    browser = window_of(desktop, "firefox", "A page of ours")
    assert browser in desktop.get_application_windows("firefox")
    # The page itself says when it is connected: by the screen's name in its title.
    desktop.launch("firefox", "'http://localhost:6080/vnc.html?autoconnect=true&view_only=true'")
    window_of(desktop, "firefox", ":0 - noVNC")
    assert ":5900" in said(desktop, "netstat -tn | grep ESTABLISHED")
    said(desktop, "pkill -x firefox-esr")


def test_a_stream_ends_and_can_demand_its_key(desktop):
    with pytest.raises(RuntimeError, match="auth key"):
        desktop.stream.get_auth_key()
    desktop.stream.start(require_auth=True)
    key = desktop.stream.get_auth_key()
    assert f"password={key}" in desktop.stream.get_url(auth_key=key)
    with stream_of(desktop) as viewer:
        assert viewer.ways == [PASSWORD] and viewer.authenticate(key)
        assert viewer.begin()[:2] == SIZE
    with stream_of(desktop) as viewer:
        assert not viewer.authenticate("x" + key[1:])
    desktop.stream.stop()
    assert said(desktop, "pgrep -x x11vnc") == ""
    # The SDK ends the screen's server and the shell before the page's: the page stays, without a screen behind it.
    with pytest.raises(ConnectionClosed):
        stream_of(desktop)


def test_the_size_of_the_screen_is_the_callers_choice(create):
    small = create("desktop", kind=Sandbox, resolution=(800, 600), dpi=120, envs={"WANTED": "yes"})
    assert small.get_screen_size() == (800, 600)
    assert png(bytes(small.screenshot()))[:2] == (800, 600)
    assert small.commands.run("echo $WANTED $DISPLAY").stdout == "yes :0\n"
