"""What others send, and what goes wrong outside, costs the service little and ends nothing."""

from __future__ import annotations

import logging
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from running import played, running

from edge.card import Card
from edge.config import parse_tree
from edge.engine import Bundle, find_bundle
from edge.errors import EngineError
from edge.service import logs
from edge.service.camera import CameraLoop
from edge.service.config import ServeConfig
from edge.service.notify import Notifier
from edge.service.publish import _SentFrame, check_jpeg
from edge.service.wire import Messages, Result, WireError
from edge.sinks import recorder as recorder_module
from edge.sinks.mqtt import MqttOptions, MqttSink
from edge.sinks.recorder import Recorder, RecorderOptions
from edge.sinks.shelf import SegmentStore
from edge.timing import Stages

STREET = "scene:street?seed=3&frames=100000&size=160x120&fps=20"


def soon(holds: Any, within_s: float = 30.0) -> bool:
    waits = threading.Event()
    return any(holds() or waits.wait(0.02) for _ in range(round(within_s / 0.02)))


# ------------------------------------------------------------------------------------------------- the age of a mask


def words_of_a_mask_captured(ago_s: float, rate_hz: float) -> str:
    config = parse_tree({"camera": STREET, "web": {}}, ServeConfig, "a test")
    loop: Any = CameraLoop("", config, lambda: None)
    loop._enter("running")
    loop._source = SimpleNamespace(rate_hz=rate_hz)
    captured_ns = time.monotonic_ns() - int(ago_s * 1e9)
    loop._count(SimpleNamespace(age_ms=36.0, frame=SimpleNamespace(captured_ns=captured_ns)))
    return loop.words()


def test_a_mask_that_no_other_followed_is_not_reported_with_the_age_that_it_had() -> None:
    assert words_of_a_mask_captured(0.04, 30.0).endswith(", 36 ms old")
    assert words_of_a_mask_captured(20.0, 30.0).endswith(" for 20 s")
    assert "36 ms" not in words_of_a_mask_captured(20.0, 30.0)


def test_a_slow_camera_has_three_of_its_periods_for_the_next_mask() -> None:
    assert words_of_a_mask_captured(2.5, 1.0).endswith(", 36 ms old")
    assert words_of_a_mask_captured(3.5, 1.0).startswith("no mask of")


# ------------------------------------------------------------------------------------------------------- log, watchdog


def test_of_a_flood_of_messages_a_few_are_logged_and_the_rest_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now_s=0.0)
    monkeypatch.setattr(logs.time, "monotonic", lambda: clock.now_s)
    flood = logs.FloodFilter()

    def passes(text: str, *args: object) -> str | None:
        record = logging.LogRecord("a", logging.ERROR, "", 0, text, args, None)
        return record.getMessage() if flood.filter(record) else None

    assert sum(passes("socket.accept() %d", number) is not None for number in range(1000)) == logs.PER_MESSAGE
    assert passes("something else") == "something else"
    clock.now_s += logs.PERIOD_S
    assert passes("socket.accept() %d", 7) == "socket.accept() 7 (995 more like this were not logged)"


def test_each_answer_to_a_person_is_logged_and_a_flood_of_them_is_bounded() -> None:
    flood, why = logs.FloodFilter(), "the new config is refused: %s"
    records = [logging.LogRecord("a", logging.ERROR, "", 0, why, (number,), None) for number in range(1000)]
    for record in records:
        record.__dict__.update(logs.ANSWER)
    assert all(flood.filter(record) for record in records[:40])
    assert sum(flood.filter(record) for record in records[40:]) == logs.ANSWER["per_period"] - 40


def test_the_watchdog_is_fed_where_no_descriptor_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*words: Any, **more: Any) -> Any:
        raise OSError(24, "Too many open files")

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(10)
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
        monkeypatch.setattr(socket, "socket", none_left)
        notifier.progress()
        assert manager.recv(100) == b"WATCHDOG=1"
        notifier.close()


@pytest.mark.slow
def test_a_flood_of_reloads_leaves_the_watchdog_fed(tmp_path: Path, colour_bundle: Bundle) -> None:
    with running(tmp_path, colour_bundle) as run:
        service, manager = run({**played(tmp_path), "web": {"port": 0}})
        assert soon(lambda: service.is_ready)
        fed, until_s = manager.fed, time.monotonic() + 2
        while time.monotonic() < until_s:
            service._inbox.put(signal.SIGHUP)  # the file is a folder: each is refused
            time.sleep(0.01)
        assert manager.fed - fed >= 3


# ---------------------------------------------------------------------------------------------------------------- disk


def segments(folder: Path) -> SegmentStore:
    for number in (1, 2, 3):
        (folder / f"edge-20260101T000000Z-{number:06d}.mp4").write_bytes(b"x" * 100)
    store = SegmentStore(folder, 1000, ".mp4", lambda path: None)
    store.lock()
    return store


def test_an_oldest_segment_that_cannot_be_deleted_makes_way_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, unlink = segments(tmp_path), Path.unlink

    def unlink_but_the_first(path: Path, missing_ok: bool = False) -> None:
        if path.name.endswith("000001.mp4"):
            raise PermissionError(1, "Operation not permitted")
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink_but_the_first)
    assert store.delete_oldest()
    assert "000001.mp4: cannot be deleted: Operation not permitted" in store.undeletable
    assert store.delete_oldest()
    assert not store.delete_oldest()
    assert (store.segments, store.size_bytes) == (1, 100)
    store.unlock()


@pytest.mark.parametrize("errno", [1, 5, 13, 16, 30])
def test_a_full_disk_whose_recordings_cannot_be_deleted_ends_no_loop(
    errno: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, result: Any
) -> None:
    segments(tmp_path).unlock()

    def fail(*words: Any, **more: Any) -> Any:
        raise OSError(errno, "no")

    def is_full(*words: Any) -> Any:
        raise recorder_module._DiskFull("the disk is full")

    with Recorder(RecorderOptions(str(tmp_path)), 30.0, Stages()) as recorder:
        monkeypatch.setattr(Recorder, "_record", is_full)
        monkeypatch.setattr(Path, "unlink", fail)
        recorder.write(result, 0)
        recorder.write(result, 0)
        assert (recorder.health.state, recorder.health.totals["frames_lost"]) == ("lost", 2)
        assert "cannot be deleted" in recorder.health.reason
        monkeypatch.undo()


@pytest.fixture
def result() -> Any:
    return SimpleNamespace(frame=SimpleNamespace(captured_ns=0, media_ns=None, size_wh=(4, 4)))


# ------------------------------------------------------------------------------------------------- the publisher's wire


def jpeg(width: int, height: int, **more: int) -> bytes:
    image = np.zeros((height, width, 3), np.uint8)
    return cv2.imencode(".jpg", image, [int(word) for pair in more.items() for word in pair])[1].tobytes()


def claiming(width: int, height: int) -> bytes:
    data = bytearray(jpeg(16, 16))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return bytes(data)


def test_a_jpeg_is_taken_at_its_word_before_it_is_decoded() -> None:
    check_jpeg(jpeg(1280, 720))
    check_jpeg(cv2.imencode(".jpg", np.zeros((9, 9), np.uint8), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1))[1].tobytes())
    for bad in (
        claiming(32000, 32000),
        claiming(0, 16),
        b"",
        b"\xff\xd8",
        b"\x89PNG" * 9,
        jpeg(16, 16)[:30],
        b"\xff" * 99,
    ):
        with pytest.raises(WireError):
            check_jpeg(bad)


def test_a_frame_without_an_image_costs_little_however_large_it_is_said_to_be() -> None:
    side = (65535, 65535)
    head = Result(
        index=0,
        captured_ns=0,
        media_ns=None,
        ready_ns=0,
        dropped=0,
        source_wh=side,
        input_wh=(1, 1),
        content_xywh=(0, 0, 1, 1),
    )
    assert _SentFrame(head, "0", b"", lambda: None).image.nbytes < 8_000_000


@pytest.mark.parametrize("figure", ["1" * 400, "-" + "9" * 400, "1e999", "1" * 21, "NaN"])
def test_a_card_with_an_absurd_figure_is_refused_in_words(figure: str) -> None:
    text = find_bundle("road").card.to_json()
    key = next(line for line in text.splitlines() if ": " in line and line.strip().rstrip(",")[-1].isdigit())
    changed = text.replace(key, key[: key.rindex(" ") + 1] + figure + ("," if key.endswith(",") else ""), 1)
    assert changed != text
    with pytest.raises(EngineError):
        Card.from_json(changed, "a card")


@pytest.mark.parametrize("key", ["index", "captured_ns", "media_ns", "ready_ns", "dropped"])
def test_a_head_with_a_number_of_400_digits_is_refused(key: str) -> None:
    head = {
        "kind": "result", "index": 1, "captured_ns": 1, "media_ns": 1, "ready_ns": 1, "dropped": 1,
        "source_wh": [1, 1], "input_wh": [1, 1], "content_xywh": [0, 0, 1, 1],
    }  # fmt: skip
    text = str({**head, key: 10**400}).replace("'", '"').encode()
    with pytest.raises(WireError, match="head is wrong"):
        list(Messages().feed(len(text).to_bytes(4, "little") + bytes(8) + text))


# -------------------------------------------------------------------------------------------------------------- broker

CONNACK = b"\x20\x03\x00\x00\x00"
HOSTILE = {
    "a message of 256 MB": b"\x30\xff\xff\xff\x7f",
    "a message of QoS 2": b"\x34\x09\x00\x01a\x00\x01\x00abc",
    "an acknowledgement of 256 MB": b"\x40\xff\xff\xff\x7f",
}


@pytest.fixture
def broker() -> Iterator[tuple[socket.socket, int]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)
        yield listener, listener.getsockname()[1]


@pytest.mark.parametrize("what", HOSTILE)
def test_a_broker_that_sends_what_was_not_asked_for_is_left_before_it_is_read(
    what: str, broker: tuple[socket.socket, int]
) -> None:
    pytest.importorskip("paho")
    listener, port = broker
    options = MqttOptions(f"mqtt://127.0.0.1:{port}", "edge/test")
    with MqttSink(options, find_bundle("road").card, Stages()) as sink:
        line, _ = listener.accept()
        with line:
            line.recv(1000)
            line.sendall(CONNACK + HOSTILE[what])
            assert soon(lambda: "the broker sends" in sink.health.reason), sink.health
            assert sink.health.state == "lost"
