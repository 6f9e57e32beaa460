from __future__ import annotations

import logging
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("uvicorn", reason="pip install 'edge-segmentation[serve]'")

from self_signed import make_certificate
from web_client import ask, looking, next_frame, place_of, publishing, soon

from edge.errors import ConfigError
from edge.status import Status
from edge.web import connections
from edge.web import thread as server_module
from edge.web.app import FILES, STATIC
from edge.web.options import WebOptions
from edge.web.server import WebServer
from edge.web.state import Live


def page_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith(("live page", "page encoder"))]


def test_the_process_is_alive_from_the_start(server: WebServer) -> None:
    answer = ask(server, "/healthz")
    assert (answer.status, answer.body) == (200, b"ok\n")


def test_ready_follows_the_masks(server: WebServer, live: Live, make_result: Any) -> None:
    answer = ask(server, "/readyz")
    assert answer.status == 503
    reason = "no mask yet; the camera is stopped: not started"
    assert answer.json == {"ready": False, "reason": reason, "outputs": {}}
    live.publish(make_result(), 0)
    assert (ask(server, "/readyz").status, ask(server, "/readyz").json["ready"]) == (200, True)
    live.publish(make_result(ago_s=60), 0)
    live.set_camera_state("lost", 'a "reason"\n')
    assert ask(server, "/readyz").status == 503
    assert ask(server, "/readyz").json["reason"].endswith('the camera is lost: a "reason"\n')


def test_of_several_cameras_ready_names_the_one_without_masks_and_outputs_decide_nothing(
    make_card: Any, make_result: Any
) -> None:
    engine: Any = SimpleNamespace(card=make_card(b""), precision="int8")
    lost = Status("lost", "no such host")
    lives = {name: Live(engine, name, dict, outputs=lambda: {"mqtt": lost}) for name in ("front", "rear")}
    with WebServer(lives, WebOptions(port=0)) as server:
        lives["front"].publish(make_result(), 0)
        answer = ask(server, "/readyz")
        assert answer.status == 503
        assert answer.json["reason"] == "rear: no mask yet; the camera is stopped: not started"
        lives["front"].publish(make_result(), 0)
        lives["rear"].publish(make_result(), 0)
        answer = ask(server, "/readyz")
        assert answer.status == 200
        assert answer.json["outputs"] == {"front mqtt": "lost (no such host)", "rear mqtt": "lost (no such host)"}
        assert ask(server, "/cameras").json == ["front", "rear"]


@pytest.mark.parametrize("path", [*FILES, "/healthz", "/metrics", "/nothing"])
def test_every_answer_forbids_what_a_page_of_ours_never_does(server: WebServer, path: str) -> None:
    headers = ask(server, path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "*" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in headers
    assert "set-cookie" not in headers
    assert "server" not in headers


def test_the_page_asks_for_nothing_from_elsewhere_and_holds_no_script_of_its_own() -> None:
    for name, _ in FILES.values():
        text = (STATIC / name).read_text()
        outside = set(re.findall(r"https?://[^\s\"'`)]+", text)) - {"http://www.w3.org/2000/svg"}
        assert not outside
        assert "//" not in "".join(re.findall(r"(?:src|href)=\"([^\"]*)\"", text))
        if name.endswith(".html"):
            assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|<style|\sstyle=|javascript:", text)


def test_the_page_is_read_only(server: WebServer) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        for path in (*FILES, "/feed", "/metrics", "/readyz", "/login"):
            assert ask(server, path, method=method).status in (404, 405)


ELSEWHERE = ["/../server.py", "/static/../app.py", "/%2e%2e/app.py", "/page.js/", "//page.js/..", "/\0"]


@pytest.mark.parametrize("path", ELSEWHERE)
def test_nothing_but_the_page_is_served(server: WebServer, path: str) -> None:
    with socket.create_connection(place_of(server)) as line:
        line.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = line.makefile("rb").read()
    assert answer.split()[1] in (b"400", b"404", b"307")
    assert b"import" not in answer


def test_a_head_of_a_megabyte_is_cut_off(server: WebServer) -> None:
    with socket.create_connection(place_of(server)) as line:
        line.settimeout(10)
        try:
            line.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 1_000_000)
            assert line.recv(100).split()[1] == b"400"
        except (BrokenPipeError, ConnectionResetError):
            pass  # cut before we were through
    assert ask(server, "/healthz").status == 200


HANDSHAKE = (
    b"GET /feed HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
WORDS = [
    HANDSHAKE,
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"POST /login HTTP/1.1\r\nHost: localhost\r\n",
    b"GET /feed HTTP/1.1\r\nHost: localhost\r\n",
    b"Upgrade: websocket\r\nConnection: Upgrade\r\n",
    b"Content-Length: 9\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"\r\n",
    b"\x81\x84\0\0\0\0next",  # a masked text frame
    b"\x88\x80\0\0\0\0",  # a close frame
]


def test_a_server_that_is_sent_noise_goes_on_and_logs_nothing(
    server: WebServer, caplog: pytest.LogCaptureFixture
) -> None:
    @given(noise=st.lists(st.one_of(st.binary(max_size=100), st.sampled_from(WORDS)), max_size=8))
    def send(noise: list[bytes]) -> None:
        with socket.create_connection(place_of(server)) as line, suppress(ConnectionError):
            line.sendall(b"".join(noise))

    send()
    assert ask(server, "/healthz").status == 200
    assert caplog.records == []


def is_cut(line: socket.socket) -> bool:
    line.settimeout(10)
    try:
        return line.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.slow
def test_connections_that_say_nothing_are_cut_and_keep_nobody_out(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "REQUEST_S", 0.5)
    with WebServer(live, WebOptions(port=0)) as server, ExitStack() as stack:
        lines = [stack.enter_context(socket.create_connection(place_of(server))) for _ in range(300)]
        for place, line in enumerate(lines):
            line.sendall(b"GET / HTTP/1.1\r\nHost: loc" if place % 2 else b"")
        assert soon(lambda: ask(server, "/healthz").status == 200)
        assert all(is_cut(line) for line in lines[:4])


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
def test_silent_connections_take_a_bounded_number_of_descriptors_and_keep_nobody_out(
    live: Live, secure: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "CONNECTIONS_MAX", 16)
    files = dict(zip(("certificate_file", "key_file"), map(str, make_certificate(tmp_path)), strict=True))
    with WebServer(live, WebOptions(port=0, **(files if secure else {}))) as server, ExitStack() as stack:
        before = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(100):
            stack.enter_context(socket.create_connection(place_of(server)))
        assert soon(lambda: len(list(Path("/proc/self/fd").iterdir())) <= before + 100 + 18)
        if not secure:
            assert soon(lambda: ask(server, "/healthz").status == 200)


@pytest.mark.slow
def test_a_tls_handshake_that_does_not_come_is_cut(live: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "GREETING_S", 0.1)
    certificate, key = map(str, make_certificate(tmp_path))
    options = WebOptions(port=0, certificate_file=certificate, key_file=key)
    with WebServer(live, options) as server, socket.create_connection(place_of(server)) as line:
        assert is_cut(line)


def test_a_server_may_have_a_quarter_of_the_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    for soft, most in ((1024, 256), (400, 100), (-1, 256), (8, 8)):
        monkeypatch.setattr(connections.resource, "getrlimit", lambda kind, soft=soft: (soft, soft))
        assert connections.most_connections() == most


@pytest.mark.slow
def test_a_viewer_outlives_the_time_that_plain_requests_get(
    live: Live, make_result: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "REQUEST_S", 0.2)
    with WebServer(live, WebOptions(port=0)) as server, publishing(live, make_result), looking(server) as line:
        end_s = time.monotonic() + 0.6
        while time.monotonic() < end_s:
            next_frame(line)


def test_a_viewer_let_go_who_still_reads_nothing_is_cut(
    live: Live, make_result: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "LINGER_S", 0.1)
    monkeypatch.setattr("edge.web.feed.SILENT_S", 0.2)
    with ExitStack() as stack:
        server = stack.enter_context(WebServer(live, WebOptions(port=0)))
        stack.enter_context(publishing(live, make_result))
        line = stack.enter_context(socket.create_connection(place_of(server)))
        line.sendall(HANDSHAKE)
        inner = server._server
        assert inner is not None
        assert soon(lambda: len(inner.server_state.connections) == 1)
        assert soon(lambda: len(inner.server_state.connections) == 0)


def test_the_server_ends_with_viewers_of_every_kind_and_leaves_no_thread(live: Live, make_result: Any) -> None:
    with ExitStack() as stack:
        with WebServer(live, WebOptions(port=0)) as server:
            stack.enter_context(publishing(live, make_result))
            reading = stack.enter_context(looking(server, close_timeout=0.1))
            next_frame(reading)
            for _ in range(3):
                stack.enter_context(looking(server, close_timeout=0.1))
            stack.enter_context(socket.create_connection(place_of(server)))
        assert page_threads() == []
    with pytest.raises(ConnectionRefusedError):
        ask(server, "/healthz")


@pytest.mark.slow
def test_it_starts_and_ends_many_times_on_one_port(live: Live) -> None:
    with WebServer(live, WebOptions(port=0)) as server:
        port = place_of(server)[1]
    for _ in range(5):
        with WebServer(live, WebOptions(port=port)) as server:
            assert ask(server, "/healthz").status == 200
    assert page_threads() == []


def test_a_port_that_is_taken_is_named(live: Live, server: WebServer) -> None:
    port = place_of(server)[1]
    with pytest.raises(ConfigError, match=rf"port {port}: cannot be listened on: Address already in use"):
        WebServer(live, WebOptions(port=port)).__enter__()


def test_a_port_that_is_taken_is_tried_again_until_it_can_be_had(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "RETRY_S", (0.05, 0.05))
    with ExitStack() as stack:
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            server = stack.enter_context(WebServer(live, WebOptions(port=port), retry=True))
            assert "Address already in use" in server.trouble
        assert soon(lambda: server.url != "" and ask(server, "/healthz").status == 200)
        assert server.trouble == ""


def test_a_server_that_waits_for_its_port_ends_when_it_is_asked_to(live: Live, server: WebServer) -> None:
    with WebServer(live, WebOptions(port=place_of(server)[1]), retry=True) as waiting:
        assert waiting.url == ""


def test_an_address_that_is_not_ours_is_named(live: Live, token_file: Path, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    options = WebOptions(
        address="192.0.2.1", token_file=str(token_file), certificate_file=str(certificate), key_file=str(key)
    )
    with pytest.raises(ConfigError, match=r"192\.0\.2\.1, port 8008: cannot be listened on"):
        WebServer(live, options).__enter__()


def test_an_interface_that_is_not_there_yet_is_waited_for(live: Live, token_file: Path, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    options = WebOptions(
        address="fe80::5%nowhere0", token_file=str(token_file), certificate_file=str(certificate), key_file=str(key)
    )
    with WebServer(live, options, retry=True) as waiting:
        assert "tried again" in waiting.trouble
    with pytest.raises(ConfigError, match=r"cannot be listened on: .*ip address"):
        WebServer(live, options).__enter__()


def test_unsafe_options_are_refused_before_anything_listens(live: Live) -> None:
    with pytest.raises(ConfigError, match="can be reached from the network"):
        WebServer(live, WebOptions(address="0.0.0.0"))


def test_the_page_leaves_signals_and_logging_alone(server: WebServer) -> None:
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert not logging.getLogger("uvicorn").handlers


@pytest.mark.slow
def test_the_page_brings_neither_torch_nor_onnx() -> None:
    script = "import sys, edge.web.server; print([m for m in ('torch', 'onnx', 'edge.compile') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
