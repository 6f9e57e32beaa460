from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import urlencode

import pytest

pytest.importorskip("uvicorn", reason="pip install 'edge-segmentation[serve]'")

from hypothesis import given
from hypothesis import strategies as st
from self_signed import make_certificate
from web_client import Answer, ask, looking, place_of
from websockets.exceptions import InvalidStatus

from edge.web.guard import host_name
from edge.web.options import WebOptions
from edge.web.server import WebServer
from edge.web.state import Live

TOKEN = "correct-horse-battery-staple"
ALL = ["/", "/page.js", "/page.css", "/cameras", "/readyz", "/metrics", "/healthz", "/feed", "/nothing"]


# One server for all tests here, which change nothing in it: to start and end one takes a quarter of a second.
@pytest.fixture(scope="module")
def quiet_live(make_card: Any) -> Live:
    return Live(cast("Any", SimpleNamespace(card=make_card(b""), precision="int8")), "0", dict)


@pytest.fixture(scope="module")
def server(quiet_live: Live) -> Iterator[WebServer]:
    with WebServer(quiet_live, WebOptions(port=0)) as server:
        yield server


@pytest.fixture(scope="module")
def locked(quiet_live: Live, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    path = tmp_path_factory.mktemp("secrets") / "token"
    path.touch(mode=0o600)
    path.write_text(TOKEN)
    with WebServer(quiet_live, WebOptions(port=0, token_file=str(path))) as server:
        yield server


def log_in(server: WebServer, token: str, **options: object) -> Answer:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return ask(server, "/login", method="POST", headers=headers, body=urlencode({"token": token}).encode(), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ALL)
def test_a_page_of_another_name_gets_nothing(server: WebServer, path: str) -> None:
    for host in ("evil.example", "evil.example:8008", "localhost.evil.example", "127.0.0.1.evil.example", "", "a b"):
        answer = ask(server, path, headers={"Host": host})
        assert answer.status == 421
        assert b"web.names" in answer.body


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:9000", "[::1]:80"])
def test_this_machine_is_known_under_its_names_at_any_port(server: WebServer, host: str) -> None:
    assert ask(server, "/", headers={"Host": host}).status == 200


def test_a_name_in_the_options_is_answered_to(live: Live) -> None:
    with WebServer(live, WebOptions(port=0, names=("car.local",))) as server:
        assert ask(server, "/", headers={"Host": "car.local"}).status == 200


@given(host=st.text(max_size=40))
def test_a_host_header_is_a_plain_name_or_none(host: str) -> None:
    name = host_name(host)
    assert re.fullmatch(r"[a-z0-9.:-]*", name)
    assert name in host.lower()


@given(name=st.from_regex(r"[a-z0-9][a-z0-9.-]{0,30}", fullmatch=True), port=st.integers(0, 65535))
def test_the_name_is_what_stands_before_the_port(name: str, port: int) -> None:
    assert host_name(name) == host_name(f"{name}:{port}") == host_name(f"{name.upper()}:{port}") == name
    assert host_name(f"[::1]:{port}") == "::1"


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1", "http://[", "x", "file://"])
def test_the_page_of_another_origin_gets_no_feed(
    server: WebServer, origin: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(InvalidStatus) as caught, looking(server, additional_headers={"Origin": origin}):
        pass
    assert caught.value.response.status_code == 403
    assert caplog.records == []


def test_our_own_page_and_programs_without_an_origin_get_the_feed(server: WebServer) -> None:
    host, port = place_of(server)
    with looking(server, additional_headers={"Origin": f"http://{host}:{port}"}) as line:
        line.recv(timeout=10)
    with looking(server) as line:
        line.recv(timeout=10)


@pytest.mark.parametrize("path", ALL)
def test_without_the_token_nothing_is_shown_but_that_the_process_lives(locked: WebServer, path: str) -> None:
    answer = ask(locked, path)
    if path == "/":
        assert (answer.status, answer.headers["location"]) == (303, "/login")
    elif path in ("/healthz", "/page.css"):
        assert answer.status == 200
    else:
        assert (answer.status, answer.headers["www-authenticate"]) == (401, 'Bearer realm="edge"')


def test_the_feed_too_wants_the_token(locked: WebServer, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(InvalidStatus) as caught, looking(locked):
        pass
    assert caught.value.response.status_code == 403
    assert caplog.records == []
    with looking(locked, additional_headers={"Authorization": f"Bearer {TOKEN}"}) as line:
        line.recv(timeout=10)


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", TOKEN, "Bearer \xe9\xff"],
)
def test_a_wrong_token_is_refused(locked: WebServer, header: str) -> None:
    assert ask(locked, "/metrics", headers={"Authorization": header}).status == 401


def test_the_right_token_opens_everything(locked: WebServer) -> None:
    for scheme in ("Bearer", "bearer"):
        assert ask(locked, "/metrics", headers={"Authorization": f"{scheme} {TOKEN}"}).status == 200


def test_the_login_form_gives_a_cookie_that_opens_page_and_feed(locked: WebServer) -> None:
    answer = log_in(locked, TOKEN)
    assert (answer.status, answer.headers["location"]) == (303, "/")
    cookie, *attributes = (part.strip() for part in answer.headers["set-cookie"].split(";"))
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(attributes)
    assert TOKEN not in cookie
    assert ask(locked, "/", headers={"Cookie": cookie}).status == 200
    assert ask(locked, "/", headers={"Cookie": f"{cookie}0"}).status == 303
    with looking(locked, additional_headers={"Cookie": cookie}) as line:
        line.recv(timeout=10)


def test_a_wrong_token_in_the_form_gives_no_cookie_and_says_so(locked: WebServer) -> None:
    for token in ("wrong", "", TOKEN + "x", "é", "\0"):
        answer = log_in(locked, token)
        assert (answer.status, answer.headers["location"]) == (303, "/login#wrong")
        assert "set-cookie" not in answer.headers
    assert b'id="wrong"' in ask(locked, "/login").body


@given(body=st.binary(max_size=1024))
def test_a_form_of_any_bytes_opens_nothing_and_breaks_nothing(locked: WebServer, body: bytes) -> None:
    answer = ask(locked, "/login", method="POST", body=body)
    assert (answer.status, answer.headers["location"]) == (303, "/login#wrong")


def test_a_form_that_breaks_off_breaks_nothing(locked: WebServer, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_connection(place_of(locked)) as line:
        line.sendall(b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\ntoken=")
        time.sleep(0.05)
    assert ask(locked, "/healthz").status == 200
    assert caplog.records == []


def test_a_token_in_an_address_opens_nothing(locked: WebServer) -> None:
    assert ask(locked, f"/metrics?token={TOKEN}").status == 401


def test_a_login_from_another_site_or_of_another_size_is_refused(locked: WebServer) -> None:
    headers = {"Origin": "http://evil.example"}
    assert ask(locked, "/login", method="POST", headers=headers, body=f"token={TOKEN}".encode()).status == 403
    assert ask(locked, "/login", method="POST", body=b"token=" + b"x" * 5000).status == 413


COOKIES = ["edge-page", "edge-page=", "=;;=", 'edge-page="', "a=b; edge-page=\xe9", ";" * 4000]


@pytest.mark.parametrize("cookie", COOKIES)
def test_cookies_of_any_form_are_refused_and_nothing_else(locked: WebServer, cookie: str) -> None:
    assert ask(locked, "/readyz", headers={"Cookie": cookie}).status == 401


def test_over_tls_the_cookie_is_for_tls_alone_and_the_feed_works(live: Live, token_file: Path, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    options = WebOptions(port=0, token_file=str(token_file), certificate_file=str(certificate), key_file=str(key))
    trust = ssl.create_default_context(cafile=str(certificate))
    with WebServer(live, options) as server:
        assert server.url.startswith("https://127.0.0.1:")
        answer = log_in(server, TOKEN, tls=trust)
        assert "Secure" in answer.headers["set-cookie"]
        cookie = {"Cookie": answer.headers["set-cookie"].split(";")[0]}
        assert ask(server, "/", headers=cookie, tls=trust).status == 200
        with looking(server, additional_headers=cookie, ssl=trust) as line:
            line.recv(timeout=10)
        assert ask(server, "/healthz", tls=trust).status == 200
