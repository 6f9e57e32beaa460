"""A stream to a media server: what it gets, and what its failures cost."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pytest
from bundles import MakeCard
from stand_in import ROAD, SKY, BrightnessEngine, result_of

sys.path.insert(0, str(Path(__file__).parents[1] / "rtsp"))
from cameras import free_port
from servers import MediaServer, why_no_rtsp_server

from edge.errors import ConfigError, OutputError
from edge.frame import Image
from edge.prediction import Prediction
from edge.service.check import check
from edge.service.config import ServeConfig
from edge.service.outputs import Outputs
from edge.sinks.drawing import Drawing
from edge.sinks.publish import sink as sink_module
from edge.sinks.publish.sink import PublishSink
from edge.sinks.publish.targets import Target
from edge.sinks.table import PublishOptions, SinkContext, make_sink
from edge.status import Status
from edge.timing import Stages
from edge.web.state import Live

pytestmark = pytest.mark.system
WH = (320, 240)
PASSWORD = "hunter2-SECRET"


@pytest.fixture
def context(make_card: MakeCard) -> SinkContext:
    return SinkContext("test", 20.0, make_card(b"graph"), Stages(), unattended=True)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MediaServer]:
    if why_no_rtsp_server():
        pytest.skip(why_no_rtsp_server())
    server = MediaServer("rtsp_server.py", free_port(), tmp_path)
    yield server
    server.kill()


def url_of(server: MediaServer, user: str = "") -> str:
    return f"rtsp://{user}127.0.0.1:{server.words[2]}/live"


def sink_to(url: str, context: SinkContext) -> PublishSink:
    sink = make_sink("publish", url, context)
    assert isinstance(sink, PublishSink)
    return sink


def result(index: int) -> Prediction:
    """Grey, with road in the left half."""
    mask = np.full((12, 16), SKY, np.uint8)
    mask[:, :8] = ROAD
    image = np.full((WH[1], WH[0], 3), 60 + index % 50, np.uint8)
    return result_of(index, mask, image=image, captured_ns=time.monotonic_ns())


def write_until(sink: PublishSink, condition: Callable[[Status], object], patience_s: float = 60) -> int:
    """Frames at their pace; how many it took."""
    until_s = time.monotonic() + patience_s
    count = 0
    while not condition(sink.health):
        assert time.monotonic() < until_s, f"{sink.health} {sink.health.totals}"
        sink.write(result(count), 0)
        count += 1
        time.sleep(0.02)
    return count


def luma_of(path: Path) -> list[Image]:
    """What can be decoded so far: the server may be in the middle of a frame."""
    frames: list[Image] = []
    with av.open(str(path), format="h264") as container, suppress(av.error.InvalidDataError):
        for frame in container.decode(video=0):
            frames.append(frame.to_ndarray(format="gray"))  # noqa: PERF401  (what came before an error counts)
    return frames


def is_ok(health: Status) -> bool:
    return health.state == "ok"


def is_lost(health: Status) -> bool:
    return health.state == "lost"


def test_a_server_gets_the_frames_with_their_masks(server: MediaServer, context: SinkContext, tmp_path: Path) -> None:
    with server, sink_to(url_of(server), context) as sink:
        write_until(sink, lambda health: health.totals["frames_sent"] >= 30)
        sink.write(last := result(7), 0)
        totals = sink.health.totals
        assert (sink.health.state, totals["connections"]) == ("ok", 1)
        await_(lambda: (tmp_path / "0.h264").exists() and len(luma_of(tmp_path / "0.h264")) > 20)
    frames = luma_of(tmp_path / "0.h264")
    assert {frame.shape for frame in frames} == {(WH[1], WH[0])}
    drawing = Drawing(last, PublishOptions("rtsp://h/x").look)
    drawing.draw(last, 0)
    above = np.s_[20:150, 20:300]  # the legend and the line of figures change
    expected = drawing.planes.y[above].astype(int)
    offsets = [frame[above].astype(int) - expected for frame in frames[1:]]
    assert min(np.abs(offset - offset.mean()).mean() for offset in offsets) < 2  # but for the grey, which counts


def await_(condition: Callable[[], object]) -> None:
    until_s = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until_s
        time.sleep(0.1)


def test_a_server_that_comes_later_and_one_that_comes_back_are_found(
    server: MediaServer, context: SinkContext, tmp_path: Path
) -> None:
    with sink_to(url_of(server), context) as sink:
        write_until(sink, lambda health: is_lost(health) and "refused" in health.reason)
        with server:
            write_until(sink, is_ok)
        write_until(sink, is_lost)
        with server:
            write_until(sink, is_ok)
            write_until(sink, lambda health: health.totals["connections"] == 2)
    assert sink.health.state == "stopped"


def test_a_service_that_published_nothing_says_so_at_its_end(
    context: SinkContext, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.WARNING),
        sink_to(f"rtsp://u:{PASSWORD}@127.0.0.1:{free_port()}/live", context) as sink,
    ):
        sink.write(result(0), 0)
    assert "no frame was published (" in caplog.text
    assert PASSWORD not in caplog.text


def test_a_run_that_published_nothing_fails_with_its_summary(tmp_path: Path) -> None:
    url = f"rtsp://u:{PASSWORD}@127.0.0.1:{free_port()}/live"
    words = ["run", "scene:street?frames=4&size=160x120&fps=10", "--publish", url, "--json", str(tmp_path / "run.json")]
    done = subprocess.run(
        [sys.executable, "-m", "edge.cli", *words], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == OutputError.exit_code
    assert "no frame was published (" in done.stderr
    assert "Is a media server there" in done.stderr
    assert PASSWORD not in done.stderr + done.stdout
    assert json.loads((tmp_path / "run.json").read_text())["frames_out"] == 4


def test_a_server_that_answers_nothing_holds_up_no_frame(context: SinkContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """FFmpeg connects with Python's lock held; here frames go on meanwhile, and the attempt is given up."""
    monkeypatch.setattr(sink_module, "_CONNECT_S", 2.0)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with sink_to(f"rtsp://127.0.0.1:{silent.getsockname()[1]}/live", context) as sink:
            count = write_until(sink, lambda health: "takes nothing for 2 s" in health.reason)
        assert count > 20
        assert sink.health.totals["frames_sent"] == 0
        assert sink.health.totals["frames_superseded"] >= count - 2


def test_a_server_that_freezes_costs_frames_of_the_stream_alone(
    server: MediaServer, context: SinkContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink_module, "ANSWER_S", 1.0)
    with server, sink_to(url_of(server), context) as sink:
        write_until(sink, is_ok)
        server.freeze()
        # The system's buffers take some seconds of so small a stream; large frames fill them soon.
        noise = np.random.default_rng(0)
        until_s = time.monotonic() + 60
        while is_ok(sink.health):
            assert time.monotonic() < until_s
            image = noise.integers(0, 255, (WH[1], WH[0], 3), np.uint8)
            mask = np.zeros((12, 16), np.uint8)
            sink.write(result_of(0, mask, image=image, captured_ns=time.monotonic_ns()), 0)
            time.sleep(0.005)
        assert sink.health.state == "lost"


def test_a_publishing_process_that_dies_is_replaced(server: MediaServer, context: SinkContext) -> None:
    with server, sink_to(url_of(server), context) as sink:
        write_until(sink, is_ok)
        assert sink._process is not None
        os.kill(sink._process._process.pid, signal.SIGKILL)
        write_until(sink, lambda health: health.reason == "the publishing process ended")
        write_until(sink, is_ok)


def test_a_wrong_password_is_reported_without_it(
    context: SinkContext, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if why_no_rtsp_server():
        pytest.skip(why_no_rtsp_server())
    with MediaServer("rtsp_server.py", free_port(), tmp_path, "me", "right") as server, caplog.at_level(logging.INFO):
        with sink_to(url_of(server, f"me:{PASSWORD}@"), context) as sink:
            write_until(sink, lambda health: "401" in health.reason or "uthoriz" in health.reason)
            write_until(sink, lambda _: sink._process is not None)
            assert sink._process is not None
            assert PASSWORD not in Path(f"/proc/{sink._process._process.pid}/cmdline").read_text()
        with sink_to(url_of(server, "me:right@"), context) as sink:
            write_until(sink, is_ok)
    assert PASSWORD not in caplog.text
    assert "me:***@127.0.0.1" in caplog.text


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("udp://127.0.0.1:{port}", ["mpegts"]),
        ("rtmp://127.0.0.1:{port}/live/car", ["flv", "listen=1"]),
    ],
)
def test_ffmpeg_receives_it_by_other_protocols(url: str, words: list[str], context: SinkContext) -> None:
    url = url.format(port=free_port())
    with MediaServer("listener.py", url, *words) as listener, sink_to(url, context) as sink:
        write_until(sink, lambda _: len(listener.lines) >= 5)
    assert set(listener.lines) == {f"frame {WH[0]}x{WH[1]}\n"}


def test_a_peer_of_webrtc_gets_the_frames_by_whip(context: SinkContext) -> None:
    pytest.importorskip("aiortc", reason="the peer of WHIP")
    if "whip" not in av.formats_available:
        pytest.skip("this PyAV has no WHIP")
    port = free_port()
    with MediaServer("whip_server.py", port, "TOKEN") as peer:
        with sink_to(f"http://:TOKEN@127.0.0.1:{port}/car/whip", context) as sink:
            write_until(sink, lambda _: sum(line.startswith("frame 320x240") for line in peer.lines) > 20)
            assert sink.health.totals["connections"] == 1
        assert peer.lines[0] == "POST /car/whip\n"


def test_the_service_publishes_each_camera_to_its_own_address(make_card: MakeCard) -> None:
    urls = ["rtsp://h/{camera}", {"url": "udp://h:1/{camera}"}]
    config = ServeConfig(cameras={"front": "0", "rear": "1"}, publish=urls)
    live = Live(BrightnessEngine(make_card), "0", dict)
    outputs = Outputs(config, "rear", make_card(b"graph"), None, live, Stages())
    assert [output.name for output in outputs.all] == ["publish-1", "publish-2"]
    sinks = [output.background._sink for output in outputs.all]
    assert [sink._target.url for sink in sinks] == ["rtsp://h/rear", "udp://h:1/rear"]  # type: ignore[attr-defined]
    assert outputs.health()["publish-1"].state == "lost"


def test_with_several_cameras_an_address_without_their_name_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"publish: rtsp://me:\*\*\*@h/x: with several cameras"):
        check(ServeConfig(cameras={"front": "0", "rear": "1"}, publish=[f"rtsp://me:{PASSWORD}@h/x"]))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("file:///a.mp4", "publish: expected the URL of a media server, such as rtsp://HOST/car"),
        (f"ftp://me:{PASSWORD}@host/live", "expected the URL of a media server"),
        ("rtsp:///live", "expected the URL of a media server"),
        (f"rtsp://me:{PASSWORD}@host:port/live", r"rtsp://me:\*\*\*@host:port/live: is no URL"),
    ],
)
def test_what_is_no_media_server_is_refused_without_its_password(url: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as refused:
        PublishOptions(url)
    assert PASSWORD not in str(refused.value)


def test_a_zone_reaches_ffmpeg_as_the_resolver_takes_it() -> None:
    assert Target.parse("rtsp://[fe80::5%25eth0]:8554/car").url == "rtsp://[fe80::5%eth0]:8554/car"


def test_a_token_of_whip_goes_into_the_head_and_not_into_the_address() -> None:
    target = Target.parse(f"https://:{PASSWORD}@media.example:8889/car/whip")
    assert target.url == "https://media.example:8889/car/whip"
    assert target.options["authorization"] == PASSWORD
    assert PASSWORD not in target.shown
