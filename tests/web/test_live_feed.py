from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

pytest.importorskip("uvicorn", reason="pip install 'edge-segmentation[serve]'")

from web_client import ask, looking, next_figures, next_frame, publishing, soon
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from edge.frame import Frame, Image
from edge.prediction import Prediction
from edge.timing import Stages
from edge.web import feed
from edge.web.flow import AHEAD
from edge.web.options import WebOptions
from edge.web.server import WebServer
from edge.web.state import STEPS, Live

MakeResult = Callable[..., Prediction]


def test_the_first_message_says_what_is_shown_and_what_may_be_switched(server: WebServer) -> None:
    with looking(server) as line:
        hello = json.loads(line.recv(timeout=10))
    assert hello["type"] == "hello"
    assert (hello["engine"], hello["precision"], hello["source"]) == ("colours", "int8", "/dev/video0")
    assert hello["layers"] == [
        {"name": "warm", "ids": [2, 1], "rgb": [255, 60, 60], "on": True},
        {"name": "Blue", "ids": [0], "rgb": [0, 0, 255], "on": False},
    ]


def test_a_viewer_gets_the_frame_and_its_classes(
    server: WebServer, live: Live, make_result: MakeResult, flag_classes: Image
) -> None:
    live.publish(make_result(4), 3)
    with looking(server) as line:
        seen = next_frame(line)
    assert (seen.head["frame"], seen.head["dropped"]) == (4, 3)
    assert np.array_equal(seen.classes, flag_classes)


def test_frames_come_in_order_and_none_twice(server: WebServer, live: Live, make_result: MakeResult) -> None:
    with publishing(live, make_result), looking(server) as line:
        indices = [next_frame(line).head["frame"] for _ in range(30)]
    assert indices == sorted(set(indices))


def test_a_slow_viewer_misses_frames_and_sees_the_newest(
    server: WebServer, live: Live, make_result: MakeResult
) -> None:
    with looking(server) as line:
        live.publish(make_result(0), 0)
        assert next_frame(line).head["frame"] == 0
        for index in range(1, 200):
            live.publish(make_result(index), 0)
        behind = [next_frame(line).head["frame"] for _ in range(1)]
        live.publish(make_result(200), 0)
        while behind[-1] != 200:
            behind.append(next_frame(line).head["frame"])
    assert len(behind) <= AHEAD + 2


def messages_until_closed(line: ClientConnection) -> tuple[int, int | None]:
    """How many messages came without an answer, and the code that the line was closed with."""
    count = 0
    try:
        while True:
            line.recv(timeout=10)
            count += 1
    except ConnectionClosed as error:
        return count, error.rcvd.code if error.rcvd else None


def test_a_viewer_who_answers_nothing_gets_two_messages_and_is_let_go(
    server: WebServer, live: Live, make_result: MakeResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "SILENT_S", 0.4)
    with publishing(live, make_result), looking(server) as line:
        count, code = messages_until_closed(line)
    assert (count, code) == (1 + AHEAD, feed.SILENT)


@pytest.mark.slow
def test_answers_in_advance_buy_nothing(
    server: WebServer, live: Live, make_result: MakeResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "SILENT_S", 0.4)
    with looking(server) as line:
        for _ in range(1000):
            line.send("next")
        time.sleep(0.1)
        with publishing(live, make_result):
            count, _ = messages_until_closed(line)
    assert count <= 1 + 2 + AHEAD  # what was sent while the answers came in, and then no more than any other gets


def cpu_s_while(line: ClientConnection, frame: bytes, lasting_s: float = 1.5) -> float:
    """CPU time of this process's server while another process sends a frame of WebSocket in a loop on this line."""
    code = "import os, sys\nwhile True: os.write(int(sys.argv[1]), bytes.fromhex(sys.argv[2]) * 500)"
    fd = line.socket.fileno()
    os.set_blocking(fd, True)
    flood = subprocess.Popen(
        [sys.executable, "-c", code, str(fd), frame.hex()], pass_fds=[fd], stderr=subprocess.DEVNULL
    )
    try:
        time.sleep(0.5)
        before_s = time.process_time()
        time.sleep(lasting_s)
        return (time.process_time() - before_s) / lasting_s
    finally:
        flood.kill()
        flood.wait()


@pytest.mark.slow
@pytest.mark.parametrize(
    "frame",
    [b"\x81\x84\0\0\0\0next", b"\x81\x82\0\0\0\0xx", b"\x82\x82\0\0\0\0xx", b"\x89\x80\0\0\0\0", b"\x8a\x80\0\0\0\0"],
    ids=["next", "other text", "bytes", "ping", "pong"],
)
def test_a_viewer_who_sends_in_a_loop_takes_no_time_from_the_masks(server: WebServer, frame: bytes) -> None:
    with contextlib.suppress(ConnectionClosed), looking(server) as line:
        assert cpu_s_while(line, frame) < 0.2  # without a limit it is most of a core


def test_silent_viewers_take_nothing_from_one_who_reads(server: WebServer, live: Live, make_result: MakeResult) -> None:
    with publishing(live, make_result), looking(server) as reads, looking(server), looking(server):
        indices = [next_frame(reads).head["frame"] for _ in range(40)]
    assert indices == sorted(set(indices))


@pytest.mark.parametrize("end", ["close", "reset"])
def test_a_viewer_who_is_gone_is_forgotten(server: WebServer, live: Live, make_result: MakeResult, end: str) -> None:
    with publishing(live, make_result):
        with looking(server) as line:
            next_frame(line)
            assert viewers(server) == 1
            if end == "reset":
                line.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                line.socket.close()
        assert soon(lambda: viewers(server) == 0)


def viewers(server: WebServer) -> int:
    text = ask(server, "/metrics").body.decode()
    return round(float(text.split("\nedge_page_viewers ")[1].split()[0]))


def test_too_many_viewers_are_asked_to_come_later(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "VIEWERS_MAX", 1)
    with looking(server) as first:
        first.recv(timeout=10)
        with looking(server) as second:
            assert messages_until_closed(second) == (0, feed.FULL)
        next_figures(first)


@pytest.mark.slow
def test_figures_come_without_frames_and_tell_of_a_lost_camera(server: WebServer, live: Live) -> None:
    live.set_camera_state("lost", "unplugged")
    with looking(server) as line:
        figures = next_figures(line)
        assert figures["camera"]["state"] == "lost"
        assert figures["camera"]["reason"] == "unplugged"
        assert figures["newest_age_ms"] is None
        assert next_figures(line)["camera"]["for_s"] >= figures["camera"]["for_s"]


@pytest.mark.slow
def test_figures_hold_rates_ages_and_the_time_of_each_stage(
    server: WebServer, live: Live, make_result: MakeResult, stages: Stages
) -> None:
    def make(index: int) -> Any:
        stages["decode"].add(2_000_000)
        stages["infer"].add(5_000_000)
        return make_result(index, age_ms=20)

    with publishing(live, make), looking(server) as line:
        assert soon(lambda: live.snapshot().steps != [] and live.snapshot().steps[-1].frames > 0)
        figures = [next_figures(line) for _ in range(3)][-1]
    times = {row["name"]: row["mean_ms"] for row in figures["stages"]}
    assert (times["decode"], times["infer"]) == (2.0, 5.0)
    assert list(times) == ["decode", "infer"] or list(times) == ["decode", "infer", "jpeg"]
    assert figures["rate_hz"] > 0
    assert figures["history"]["steps"] == STEPS
    assert figures["history"]["age_ms"][-1] == pytest.approx(20, abs=0.1)


@pytest.mark.parametrize("words", ["", "stop", "next" * 50, "[" * 200, "\0"])
def test_what_else_a_viewer_says_changes_nothing(
    server: WebServer, live: Live, make_result: MakeResult, words: str
) -> None:
    with publishing(live, make_result), looking(server) as line:
        line.send(words)
        line.send(words.encode())
        next_frame(line)


def test_a_long_message_ends_the_line_and_nothing_else(server: WebServer, live: Live, make_result: MakeResult) -> None:
    with publishing(live, make_result):
        with looking(server) as line:
            line.send("x" * 100_000)
            assert messages_until_closed(line)[1] == 1009  # too big (RFC 6455)
        with looking(server) as line:
            next_frame(line)


def test_a_viewer_names_the_camera_and_whether_it_is_small(make_card: Any, make_result: Any) -> None:
    engine: Any = SimpleNamespace(card=make_card(b""), precision="int8")
    lives = {name: Live(engine, f"camera of {name}", dict) for name in ("front", "rear")}
    wide = Frame(index=0, captured_ns=0, source="wide", bgr=np.zeros((270, 960, 3), np.uint8))
    lives["rear"].publish(replace(make_result(), frame=wide), 0)
    with WebServer(lives, WebOptions(port=0)) as server:
        with looking(server, "?camera=rear&tile") as line:
            assert json.loads(line.recv(5))["source"] == "camera of rear"
            assert next_frame(line).head["picture_wh"] == [640, 180]
        with looking(server, "?camera=rear") as line:
            assert next_frame(line).head["picture_wh"] == [960, 270]
        with looking(server) as line:
            assert json.loads(line.recv(5))["source"] == "camera of front"
        with pytest.raises(InvalidStatus), looking(server, "?camera=side"):
            pass


def test_a_viewer_is_greeted_anew_when_another_engine_is_at_work(
    server: WebServer, live: Live, make_result: Any
) -> None:
    with looking(server) as line:
        assert json.loads(line.recv(5))["precision"] == "int8"
        live.engine = cast("Any", SimpleNamespace(card=live.card, precision="f32"))
        with publishing(live, make_result):
            while (message := line.recv(5)) and not (isinstance(message, str) and '"hello"' in message):
                line.send("next")
        assert json.loads(message)["precision"] == "f32"
