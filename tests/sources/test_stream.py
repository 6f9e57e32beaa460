from __future__ import annotations

import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle, islice
from pathlib import Path
from urllib.parse import quote

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from videos import write_video

sys.path.insert(0, str(Path(__file__).parents[1] / "rtsp"))

from cameras import TestCamera, free_port, why_no_rtsp

from edge.errors import SourceError, SourceNotFound
from edge.secrets import redacted, without_secrets
from edge.sources.capture.network import Stream
from edge.sources.capture.shot import CaptureError
from edge.sources.capture.wire import CaptureRequest
from edge.sources.open import open_live, open_source
from edge.sources.stream import open_stream, stream_request
from edge.sources.supervised import Supervised

sys.path.insert(0, str(Path(__file__).parents[1] / "web"))

from self_signed import make_certificate

CANARY = "c4n4ry"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://10.0.0.7:554/live", "rtsp://10.0.0.7:554/live"),
        ("rtsp://c4n4ry@10.0.0.7/live", "rtsp://***@10.0.0.7/live"),
        ("rtsp://admin:c4n4ry@10.0.0.7:554/live?channel=1", "rtsp://admin:***@10.0.0.7:554/live?channel=1"),
        ("rtsp://admin:a@c4n4ry@10.0.0.7/live", "rtsp://admin:***@10.0.0.7/live"),
        ("rtsp://admin:a/c4n4ry@10.0.0.7/live", "rtsp://admin:***@10.0.0.7/live"),
        ("rtsp://admin:a#c4n4ry@10.0.0.7/live", "rtsp://admin:***@10.0.0.7/live"),
        ("http://cam/v.cgi?user=a&pwd=c4n4ry&channel=2", "http://cam/v.cgi?user=a&pwd=***&channel=2"),
        ("http://cam/v.cgi?loginPass=c4n4ry", "http://cam/v.cgi?loginPass=***"),
        ("http://u:c4n4ry@cam/v?access_token=c4n4ry", "http://u:***@cam/v?access_token=***"),
    ],
)
def test_an_address_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert redacted(url) == shown
    assert CANARY not in without_secrets(f"cannot open {url}", url)


@given(password=st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=12))
def test_no_password_whatsoever_is_shown(password: str) -> None:
    secret = password + CANARY
    for written in (quote(secret, safe=""), secret):
        url = f"rtsp://user:{written}@10.0.0.7:554/live"
        assert CANARY not in redacted(url)
        assert CANARY not in without_secrets(f"{url} {written} {secret}", url)


@pytest.mark.slow
@given(path=st.from_regex(r"([a-z]{1,8}[0-9]{0,4}/?){0,2}", fullmatch=True))
def test_an_address_without_a_secret_is_shown_as_it_is(path: str) -> None:
    for url in (f"rtsp://camera:554/{path}", f"http://camera/{path}?channel=1"):
        assert redacted(url) == url


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("ftp://camera/1", "ftp:// is not supported, only rtsp, rtsps, http, https"),
        ("rtsp://", "is no address"),
        ("rtsp://cam era/1", "is no address"),
        ("rtsp://camera:port/1", "is no address"),
        ("rtsp://[::1/1", "is no address"),
        (f"rtsp://admin:a/{CANARY}@10.0.0.7/live", "%2F"),
    ],
)
def test_what_is_no_cameras_address_is_refused_at_once(url: str, what: str) -> None:
    with pytest.raises(SourceNotFound, match=what) as refusal:
        open_stream(url)
    assert CANARY not in str(refusal.value)


def test_a_zone_reaches_ffmpeg_as_the_resolver_takes_it() -> None:
    assert stream_request("rtsp://u:p%25@[fe80::5%25eth0]:554/a%25b").target == "rtsp://u:p%25@[fe80::5%eth0]:554/a%25b"


def test_a_password_is_in_no_message_and_in_no_list_of_processes(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("DEBUG")
    url = f"rtsp://admin:{CANARY}@127.0.0.1:{free_port()}/live"
    with open_stream(url) as source:
        give_up_s = time.monotonic() + 20
        while "refuses" not in source.health.last_error:
            assert time.monotonic() < give_up_s, source.health
            time.sleep(0.01)
        listed = subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True, check=False).stdout
        with pytest.raises(SourceError) as failure:
            source.await_first(0.1)
        told = [str(source.health), repr(source.health), source.name, str(failure.value), caplog.text]
    assert CANARY not in "".join([*told, *capfd.readouterr(), listed])
    assert "admin:***@127.0.0.1" in str(failure.value)


@pytest.mark.slow
def test_a_wrong_password_is_told_at_once_and_not_tried_again_and_again() -> None:
    with TestCamera("http") as camera:
        url = f"http://127.0.0.1:{camera.port}/secret"
        with pytest.raises(SourceError, match=r"no frame came: refuses the user name or password \(401\)"):
            open_source(url)


@pytest.mark.slow
def test_user_and_password_reach_the_camera() -> None:
    with TestCamera("http") as camera, open_source(f"http://me:{CANARY}@127.0.0.1:{camera.port}/secret") as source:
        frame = next(iter(source))
        assert frame.source == source.name == f"http://me:***@127.0.0.1:{camera.port}/secret"


@pytest.mark.slow
def test_a_stream_that_an_rtsp_camera_does_not_have_is_named() -> None:
    if why_no_rtsp():
        pytest.skip(why_no_rtsp())
    with TestCamera("rtsp") as camera, pytest.raises(SourceError, match=r"has no stream of that name \(404\)"):
        open_source(f"rtsp://127.0.0.1:{camera.port}/other")


def test_a_recording_behind_an_address_is_no_camera(tmp_path: Path) -> None:
    write_video(tmp_path / "drive.mp4", 40)
    port = free_port()
    words = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "-d", str(tmp_path), str(port)]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with pytest.raises(SourceError, match=r"is a recording of 1\.3 s, not a camera\. Download it first"):
            open_source(f"http://127.0.0.1:{port}/drive.mp4")
    finally:
        server.kill()
        server.wait()


@pytest.mark.slow
def test_a_playlist_may_not_name_files_of_this_machine(tmp_path: Path) -> None:
    write_video(tmp_path / "private.ts", 40)
    (tmp_path / "live.m3u8").write_text(
        f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1.3,\nfile://{tmp_path}/private.ts\n"
    )
    port = free_port()
    words = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "-d", str(tmp_path), str(port)]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with (
            open_stream(f"http://127.0.0.1:{port}/live.m3u8") as source,
            pytest.raises(SourceError, match="no frame came"),
        ):
            source.await_first(1.5)
    finally:
        server.kill()
        server.wait()


@pytest.fixture(params=["http", "rtsp"])
def kind(request: pytest.FixtureRequest) -> str:
    if request.param == "rtsp" and why_no_rtsp():
        pytest.skip(why_no_rtsp())
    return request.param


@pytest.fixture
def tls_camera(kind: str, tmp_path: Path) -> Iterator[tuple[TestCamera, Path]]:
    """A camera with a certificate that nobody else has signed, and that certificate."""
    certificate = make_certificate(tmp_path)
    with TestCamera(kind, certificate=certificate) as camera:
        yield camera, certificate[0]


@pytest.mark.slow
def test_a_camera_whose_certificate_nobody_trusted_has_signed_is_refused(tls_camera: tuple[TestCamera, Path]) -> None:
    with pytest.raises(SourceError, match=r"certificate that is not trusted \(self-signed.*tls=unverified"):
        open_source(tls_camera[0].url)


@pytest.mark.slow
def test_a_camera_whose_certificate_is_trusted_is_opened(
    tls_camera: tuple[TestCamera, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tls_camera[1]))
    with open_source(tls_camera[0].url) as source:
        assert next(iter(source)).size_wh == (320, 240)


@pytest.mark.slow
def test_a_camera_whose_certificate_is_trusted_and_another_ones_is_refused(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = make_certificate(tmp_path, host="elsewhere.example", address="192.0.2.1")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    with (
        TestCamera(kind, certificate=certificate) as camera,
        pytest.raises(SourceError, match=r"certificate that is not trusted \(.*127\.0\.0\.1"),
    ):
        open_source(camera.url)


@pytest.mark.slow
def test_a_certificate_is_not_looked_at_where_that_is_asked_for_and_warned_of(
    tls_camera: tuple[TestCamera, Path], caplog: pytest.LogCaptureFixture
) -> None:
    with open_source(f"{tls_camera[0].url}?tls=unverified") as source:
        assert next(iter(source)).size_wh == (320, 240)
    assert "its certificate is not verified" in caplog.text


@pytest.mark.parametrize(
    ("url", "passed_on", "unverified"),
    [
        ("rtsps://cam/1?tls=unverified", "rtsps://cam/1", True),
        ("rtsps://cam/1?tls=unverified&channel=2", "rtsps://cam/1?channel=2", True),
        ("https://cam/1?a=b&tls=unverified&channel=2", "https://cam/1?a=b&channel=2", True),
        ("https://cam/1?a=b&tls=unverified", "https://cam/1?a=b", True),
        ("https://cam/1?a=b&tls=unverifiedly", "https://cam/1?a=b&tls=unverifiedly", False),
        ("rtsp://cam/1?tls=unverified", "rtsp://cam/1?tls=unverified", False),
    ],
)
def test_the_wish_not_to_verify_is_ours_and_the_rest_the_cameras(
    url: str, passed_on: str, unverified: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders: list[CaptureRequest] = []
    monkeypatch.setattr("edge.sources.stream.Supervised", lambda name, order, hide: orders.append(order))
    open_stream(url)
    assert orders == [CaptureRequest("stream", passed_on, verify_tls=not unverified)]


@contextmanager
def jpeg_camera(jpegs: Sequence[bytes], rate_hz: float = 25.0) -> Iterator[str]:
    """The address of a camera that sends these JPEGs in turn, over and over."""

    class Camera(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            with suppress(OSError):
                for data in cycle(jpegs):
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                    self.wfile.write(head.encode() + data + b"\r\n")
                    time.sleep(1 / rate_hz)

        def log_message(self, *words: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Camera) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/live.mjpg"
        finally:
            server.shutdown()


def jpeg_of(level: int, size_wh: tuple[int, int] = (64, 48)) -> bytes:
    return cv2.imencode(".jpg", np.full((size_wh[1], size_wh[0], 3), level, np.uint8))[1].tobytes()


@pytest.mark.slow
def test_damaged_jpegs_of_a_camera_are_counted_and_never_shown() -> None:
    cut = jpeg_of(250)
    with (
        jpeg_camera([jpeg_of(10), jpeg_of(60), cut[: len(cut) - 200], jpeg_of(110)]) as url,
        open_source(url) as source,
    ):
        assert isinstance(source, Supervised)
        levels = {round(float(frame.image.mean()), -1) for frame in islice(source, 30)}
        assert levels <= {10.0, 60.0, 110.0}
        assert source.health.totals["corrupt"] > 0


@pytest.mark.slow
def test_a_jpeg_with_a_hole_before_its_end_marker_is_counted_and_never_shown() -> None:
    level, noise = jpeg_of(10), np.random.default_rng(1).integers(200, 255, (48, 64, 3), np.uint8)
    whole = cv2.imencode(".jpg", noise)[1].tobytes()
    holed = whole[: len(whole) // 2] + whole[len(whole) // 2 + 300 :]
    with jpeg_camera([level, holed]) as url, open_source(url) as source:
        assert isinstance(source, Supervised)
        assert {round(float(frame.image.mean()), -1) for frame in islice(source, 20)} == {10.0}
        assert source.health.totals["corrupt"] > 0


@pytest.mark.slow
def test_a_camera_that_changes_its_size_gives_both() -> None:
    with jpeg_camera([jpeg_of(10)] * 5 + [jpeg_of(60, (96, 64))] * 5) as url, open_source(url) as source:
        assert {frame.size_wh for frame in islice(source, 40)} == {(64, 48), (96, 64)}


@pytest.mark.slow
def test_a_camera_that_sends_a_huge_jpeg_is_told_and_takes_no_memory() -> None:
    data = jpeg_of(10)
    at = data.index(b"\xff\xc0") + 5
    huge = data[:at] + struct.pack(">HH", 16240, 16240) + data[at + 4 :]
    with jpeg_camera([huge]) as url, open_live(url) as camera:
        deadline_s = time.monotonic() + 30
        while not camera.health.last_error and time.monotonic() < deadline_s:
            time.sleep(0.02)
        assert camera.health.state == "lost"
        assert camera.health.last_error


def test_a_host_whose_name_is_not_known_is_no_connection_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("http_proxy", raising=False)
    for address in ("http://camera.invalid/live.mjpg", "https://camera.invalid/1", "rtsp://camera.invalid/1"):
        with pytest.raises(CaptureError, match="no machine of that name is known here"):
            Stream(CaptureRequest("stream", address), patience_s=30.0)
