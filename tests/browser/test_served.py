"""What the servers of `make lab` and `make app` show to others, and let a visitor make grow."""

import contextlib
import json
import pathlib
import re
import sys
import time
import urllib.error
import urllib.request
import uuid
from itertools import pairwise
from urllib.parse import urlsplit

import psutil
import pytest
import websocket
from served import ROOT, served

from vmamba_explore.model.bundled import BUNDLED

HANG = 600
pytestmark = pytest.mark.browser  # not that they need one: they take as long
GIB = 2**30
PROTOCOL = "v1.kernel.websocket.jupyter.org"
REFUSED = ("nothing/here", "api/kernels/00000000-0000-0000-0000-000000000000")


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Return a function that starts `.ci/lab.py` or `.ci/app.py`; returns its address and log."""
    running = []

    def started(script, *options):
        if script == "app":
            pytest.importorskip("voila")
        home = tmp_path_factory.mktemp(script)
        command = [sys.executable, str(ROOT / ".ci" / f"{script}.py"), "--headless", *options]
        server = served(command, home)
        running.append(server)
        return server.__enter__(), home / "server.log"

    yield started
    for server in running:
        server.__exit__(None, None, None)


@pytest.fixture(scope="module")
def app(start):
    return start(
        "app", "--memory-gib=6", "--FewKernels.max_kernels=3", "--LimitedConnection.waiting_mib=8"
    )


def answer(address, path="", token="", **options):
    """Return status and body of a request."""
    parts = urlsplit(address)
    secret = token or parts.query.partition("=")[2]
    url = f"{parts.scheme}://{parts.netloc}/{path}?token={secret}"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, **options), timeout=HANG) as got:
            return got.status, got.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def family():
    return psutil.Process().children(recursive=True)


def line(process):
    """The command line of a process; nothing of one that has just ended."""
    with contextlib.suppress(psutil.NoSuchProcess):  # a zombie is one, too
        return " ".join(process.cmdline())
    return ""


def kernels():
    return [process for process in family() if "ipykernel_launcher" in line(process)]


def until(happened):
    deadline = time.monotonic() + HANG
    while not happened():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.1)


def kernel_of(html):
    return re.search(r'"kernelId": "([^"]+)"', html)[1]


@pytest.fixture(scope="module")
def page(app):
    """Open a page: return the id of its kernel."""
    return kernel_of(answer(app[0])[1])


@pytest.fixture
def server(app):
    """The process of the server."""
    port = f"--port={urlsplit(app[0]).port}"
    return next(process for process in family() if port in line(process).split())


@pytest.fixture
def kernel(page):
    """The process of the page's kernel."""
    return next(process for process in kernels() if page in line(process))


@pytest.fixture
def connect(app, page):
    """Return a function that opens a socket to the kernel of the page."""
    parts = urlsplit(app[0])
    sockets = []

    def socket(protocols=(PROTOCOL,)):
        url = f"ws://{parts.netloc}/api/kernels/{page}/channels?{parts.query}"
        options = {"subprotocols": protocols, "timeout": HANG}
        sockets.append(websocket.create_connection(url, **options))
        return sockets[-1]

    yield socket
    for one in sockets:
        one.close()


def frame(kind, content, channel="shell"):
    """Return a message as a page sends it, and its id."""
    header = {"msg_type": kind, "msg_id": uuid.uuid4().hex, "session": "s", "username": "",
              "date": "2026-01-01T00:00:00Z", "version": "5.3"}  # fmt: skip
    parts = [channel.encode(), *(json.dumps(p).encode() for p in (header, {}, {}, content))]
    offsets = [8 * (len(parts) + 2)]
    for part in parts:
        offsets.append(offsets[-1] + len(part))
    numbers = (n.to_bytes(8, "little") for n in (len(offsets), *offsets))
    return b"".join([*numbers, *parts]), header["msg_id"]


def replies(socket, to=None, reply=False):
    """Read messages until the kernel is idle after the one with this id; (kind, content) each.

    Args:
        reply: Whether the message is answered. A reply and the news that the kernel is idle come
            by two channels, so either can be first.
    """
    found, idle = [], False
    while not idle or (reply and not any(kind.endswith("_reply") for kind, _ in found)):
        data = socket.recv()
        count = int.from_bytes(data[:8], "little")
        places = [int.from_bytes(data[8 * n : 8 * n + 8], "little") for n in range(1, count + 1)]
        header, parent, _, content = (json.loads(data[a:b]) for a, b in pairwise(places[1:6]))
        if parent.get("msg_id") == to:
            found.append((header["msg_type"], content))
            idle = idle or content.get("execution_state") == "idle"
    return found


def widgets(socket):
    """The ids of the page's widgets."""
    message, number = frame("comm_info_request", {"target_name": "jupyter.widget"})
    socket.send_binary(message)
    found = replies(socket, number, reply=True)
    return next(content["comms"] for kind, content in found if kind.endswith("_reply"))


def alive(socket):
    """Whether the kernel still answers this socket.

    What a kernel says to all is lost where a reader is slower than it (ZeroMQ's publishers drop
    what has no room), which after a flood can be the answer, so it is asked again.
    """
    ends = time.monotonic() + HANG
    socket.settimeout(20)
    while time.monotonic() < ends:
        message, number = frame("kernel_info_request", {})
        socket.send_binary(message)
        with contextlib.suppress(websocket.WebSocketTimeoutException):
            return any(kind == "status" for kind, _ in replies(socket, number))
    return False


@pytest.mark.parametrize("script", ["lab", "app"])
def test_the_token_is_in_no_command_line_and_in_no_log(start, app, script, tmp_path):
    root = [f"--root={tmp_path}"]
    address, log = app if script == "app" else start(script, *root)
    token = urlsplit(address).query.partition("=")[2]
    assert len(token) > 20
    statuses = [answer(address, path)[0] for path in REFUSED]
    statuses.append(answer(address, REFUSED[1], token=f"wrong-{token}")[0])
    assert statuses[1:] == [404, 403]
    lines = [line(process) for process in family()]
    assert any(f"{script}.py" in one for one in lines)
    assert [one for one in lines if token in one] == []
    until(lambda: "403" in log.read_text())
    assert "[secret]" in log.read_text()
    assert token not in log.read_text()


def test_the_kernel_of_a_page_and_the_server_have_a_memory_limit(server, kernel):
    for process in (server, kernel):
        assert process.rlimit(psutil.RLIMIT_DATA) == (6 * GIB, 6 * GIB)


def test_a_page_runs_no_code_and_opens_no_widget(connect, app):
    socket = connect()
    for kind, content in (
        ("execute_request", {"code": "print('ran')", "silent": False}),
        ("comm_open", {"comm_id": "x", "target_name": "jupyter.widget", "data": {}}),
        ("comm_open", {"comm_id": "y", "target_name": "nothing", "data": {}}),
    ):
        socket.send_binary(frame(kind, content)[0])
        assert alive(socket)
    log = app[1].read_text()
    assert "a page sends no execute_request" in log
    assert log.count("a page opens no widgets") == 2
    assert "ran\n" not in log and "No such comm target" not in log


@pytest.mark.parametrize(
    "message",
    [
        (2**63).to_bytes(8, "little"),
        (2**40).to_bytes(8, "little") * 3,
        b"",
        b"\xff" * 100,
        frame("kernel_info_request", {}, "iopub")[0],
        frame("comm_open", [])[0],
        frame("kernel_info_request", {})[0].replace(b"kernel_info_request", b'", "a": ' + b"[" * 9),
    ],
    ids=["a number of parts that no memory holds", "many parts", "nothing", "noise", "iopub",
         "no object", "no JSON"],
)  # fmt: skip
def test_a_lying_message_costs_the_server_nothing(connect, app, server, message):
    socket = connect()
    before = server.memory_info().rss
    socket.send_binary(message)
    assert alive(socket)
    assert server.memory_info().rss < before + 64 * 2**20
    assert answer(app[0], "voila/static/voila.js")[0] == 200


def test_the_older_protocol_is_refused(connect, app):
    socket = connect(None)
    socket.send_binary((2**31 - 1).to_bytes(4, "big"))
    socket.send(json.dumps({"header": {"msg_type": "kernel_info_request"}, "channel": "shell"}))
    until(lambda: app[1].read_text().count("not in the protocol of Voila's own page") == 2)
    assert alive(connect())


def test_a_message_larger_than_a_piece_of_an_upload_ends_the_socket(connect):
    socket = connect()
    socket.send_binary(frame("kernel_info_request", {"x": "y" * 2**20})[0])
    assert alive(socket)
    with pytest.raises((websocket.WebSocketException, OSError, ValueError)):
        socket.send_binary(frame("kernel_info_request", {"x": "y" * 2 * 2**20})[0])
        alive(socket)
    assert alive(connect())


def test_more_sockets_than_a_page_needs_are_refused(connect):
    sockets = [connect() for _ in range(4)]
    with pytest.raises(websocket.WebSocketBadStatusException, match="503"):
        connect()
    assert all(alive(socket) for socket in sockets)


def test_a_kernel_that_is_not_done_gets_only_so_much_to_do(connect, app, server, kernel):
    socket = connect()
    assert alive(socket)
    before = server.memory_info().rss
    kernel.suspend()
    try:
        for _ in range(100):
            socket.send_binary(frame("kernel_info_request", {"x": "y" * 2**20})[0])
        until(lambda: app[1].read_text().count("the kernel is not done with earlier ones") >= 80)
    finally:
        kernel.resume()
    assert server.memory_info().rss < before + 64 * 2**20
    assert alive(connect())


def test_a_page_that_does_not_read_loses_its_socket_and_not_the_server(connect, app, server):
    socket = connect()
    comms = widgets(socket)
    before = server.memory_info().rss
    ask = {"method": "request_state"}

    def closed():
        with contextlib.suppress(OSError):
            for comm in [*comms] * 50:
                socket.send_binary(frame("comm_msg", {"comm_id": comm, "data": ask})[0])
        return "that does not read" in app[1].read_text()

    until(closed)
    assert server.memory_info().rss < before + 128 * 2**20
    assert alive(connect())


def test_a_large_body_is_not_read(app):
    try:
        status = answer(app[0], "login", data=bytes(3 * 2**20), method="POST")[0]
    except OSError:  # the server is gone before all is sent
        status = 400
    assert status == 400


def test_a_visitor_who_sets_what_the_page_shows_reads_no_path(connect, tmp_path):
    """The messages of a page's own widgets, with other values in them."""
    (tmp_path / "config.json").write_text('{"secret": "hunter2"}')
    (tmp_path / "model.safetensors").write_bytes(b"hunter2")
    socket = connect()
    comms = widgets(socket)

    def told(comm, **data):
        message, number = frame("comm_msg", {"comm_id": comm, "data": data})
        socket.send_binary(message)
        found = {}
        for kind, content in replies(socket, number):
            found |= content["data"].get("state", {}) if kind == "comm_msg" else {}
        return found

    states = {comm: told(comm, method="request_state") for comm in comms}
    (chooser,) = [comm for comm, state in states.items() if "allow_paths" in state]
    hostile = {"allow_paths": True, "models": [[str(tmp_path), ""]]}
    true = {name: states[chooser][name] for name in hostile}
    answered = told(chooser, method="update", state=hostile, buffer_paths=[])
    assert true["allow_paths"] is False and true.items() <= answered.items()
    choice = states[chooser]["choice"]
    path = {"kind": "path", "name": "", "path": "/etc/passwd"}
    said = told(chooser, method="custom", content={"run": {**choice, "clip": path}})["message"]
    assert said == "Clip: paths are not read here; upload the file instead."
    run = {"run": {**choice, "model": str(tmp_path)}}
    said = told(chooser, method="custom", content=run)["message"]
    assert f"is none of auto, {', '.join(BUNDLED)}." in said and "hunter2" not in said


def test_what_a_kernel_prints_is_for_the_log_and_not_for_the_visitor(connect, app):
    socket = connect()
    message, number = frame("comm_msg", {"comm_id": "no-such-comm", "data": {}})
    socket.send_binary(message)
    assert {kind for kind, _ in replies(socket, number)} == {"status"}
    until(lambda: "No such comm: no-such-comm" in app[1].read_text())


def test_only_so_many_pages_are_open_at_a_time(page, app):
    more = [answer(app[0]) for _ in range(3)]
    assert [status for status, _ in more] == [200, 200, 503]
    assert "Too many pages are open" in more[-1][1]
    for _, html in more[:2]:
        answer(app[0], f"voila/api/shutdown/{kernel_of(html)}", method="POST")


def test_pages_that_are_gone_are_looked_for_every_minute(page, app):
    assert "idle durations > 600 seconds at 60 second intervals" in app[1].read_text()


def test_the_kernel_of_a_page_that_is_gone_is_culled_and_what_it_kept_goes(start):
    soon = ["--MappingKernelManager.cull_idle_timeout=2", "--MappingKernelManager.cull_interval=1"]
    before = set(kernels())
    address, log = start("app", *soon)
    assert answer(address)[0] == 200  # and no socket follows, as when the browser died
    (kernel,) = set(kernels()) - before
    folder = pathlib.Path(kernel.environ()["TMPDIR"])
    until(lambda: set(kernels()) <= before)
    assert re.search(r"Culling .* with 0 connections", log.read_text())
    (folder / "vmamba-explore-left-by-a-killed-kernel").touch()
    lines = {process: line(process) for process in family()}
    (script,) = [p for p, one in lines.items() if "app.py" in one and one.endswith(soon[-1])]
    script.terminate()
    script.wait(HANG)
    assert not folder.exists()
