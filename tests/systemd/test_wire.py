"""Between the halves of the split service."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.config import load_yaml
from edge.engine import find_bundle
from edge.errors import ConfigError
from edge.maskcodec import encode_mask
from edge.service.publish import PublishConfig
from edge.service.publish import _load as load
from edge.service.wire import Camera, Head, Hello, Messages, Result, WireError, message

CONFIGS = Path(__file__).parents[2] / "systemd"
SIDE, NS = st.integers(1, 0xFFFF), st.integers(0, 1 << 62)
HEADS: st.SearchStrategy[Head] = st.one_of(
    st.builds(Hello, source=st.text(), precision=st.text(), card=st.text()),
    st.builds(Camera, reason=st.text(), since_ns=NS, restarts=NS),
    st.builds(
        Result,
        index=NS,
        captured_ns=NS,
        media_ns=st.none() | NS,
        ready_ns=NS,
        dropped=NS,
        source_wh=st.tuples(SIDE, SIDE),
        input_wh=st.tuples(SIDE, SIDE),
        content_xywh=st.tuples(SIDE, SIDE, SIDE, SIDE),
    ),
)
MESSAGES = st.lists(st.tuples(HEADS, st.binary(max_size=50), st.binary(max_size=50)), max_size=5)


@given(MESSAGES, st.integers(1, 200))
def test_messages_arrive_as_they_were_sent_in_whatever_pieces(sent: list[tuple[Head, bytes, bytes]], size: int) -> None:
    stream, reader = b"".join(message(*parts) for parts in sent), Messages()
    pieces = [stream[start : start + size] for start in range(0, len(stream), size)]
    assert [found for piece in pieces for found in reader.feed(piece)] == sent


@given(st.binary(), st.binary(max_size=20))
def test_what_is_no_message_is_refused_and_nothing_worse(junk: bytes, more: bytes) -> None:
    lengths = len(junk).to_bytes(4, "little") + bytes(8)
    with pytest.raises(WireError, match="head is wrong"):
        list(Messages().feed(lengths + junk + more))


def test_a_message_too_large_is_refused_before_it_is_held() -> None:
    with pytest.raises(WireError, match="are the most"):
        list(Messages().feed(b"\xff" * 12))


@pytest.fixture
def line(tmp_path: Path) -> Iterator[tuple[socket.socket, Path]]:
    """A publisher's connection to us, in the place of the inference service, and its log."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "results.sock"))
        listener.listen()
        config, log = tmp_path / "publish.yaml", tmp_path / "log.txt"
        config.write_text(f"socket: {tmp_path / 'results.sock'}\nweb: {{port: 0}}\n")
        command = [sys.executable, "-m", "edge.cli", "publish", "-c", str(config)]
        with log.open("w") as out:
            process = subprocess.Popen(command, stdout=out, stderr=out, env=os.environ | {"NOTIFY_SOCKET": ""})
        try:
            ours, _ = listener.accept()
            with ours:
                yield ours, log
            process.terminate()
            assert process.wait(30) == 0
        finally:
            process.kill()
            process.wait()


@pytest.mark.slow
def test_a_publisher_that_is_sent_nonsense_says_so_and_lives(line: tuple[socket.socket, Path]) -> None:
    ours, log = line
    ours.sendall(message(Hello(source="0", precision="int8", card=json.dumps({"name": "x"}))))
    until_s = time.monotonic() + 30
    while "the inference service is away" not in log.read_text():
        assert time.monotonic() < until_s, log.read_text()
        time.sleep(0.02)
    assert "results.sock: the card:" in log.read_text()
    assert "Traceback" not in log.read_text()


@pytest.mark.slow
def test_a_flood_of_results_keeps_a_publisher_from_nothing(line: tuple[socket.socket, Path]) -> None:
    ours, log = line
    card = find_bundle("road").card
    width, height = card.input_wh
    mask, now_ns = encode_mask(np.zeros((height, width), np.uint8)), time.monotonic_ns()
    times = {"index": 0, "captured_ns": now_ns, "media_ns": None, "ready_ns": now_ns, "dropped": 0}
    geometry = {"source_wh": (640, 480), "input_wh": (width, height), "content_xywh": (0, 0, width, height)}
    flood = message(Result(**times, **geometry), mask) * 200
    ours.sendall(message(Hello(source="0", precision="int8", card=card.to_json())))
    ours.settimeout(30)
    until_s = time.monotonic() + 1
    while time.monotonic() < until_s:
        ours.sendall(flood)
    assert "Traceback" not in log.read_text()  # and the fixture has it end by SIGTERM, with the flood still unread


@pytest.mark.slow
def test_a_reload_that_the_engine_does_not_fit_leaves_the_old_config(tmp_path: Path) -> None:
    config, log = tmp_path / "publish.yaml", tmp_path / "log.txt"
    good = f"socket: {tmp_path / 'results.sock'}\nweb: {{port: 0}}\n"
    hello = message(Hello(source="0", precision="int8", card=find_bundle("road").card.to_json()))
    config.write_text(good)
    with socket.socket(socket.AF_UNIX) as listener, log.open("w") as out:
        listener.bind(str(tmp_path / "results.sock"))
        listener.listen()
        listener.settimeout(60)
        command = [sys.executable, "-m", "edge.cli", "publish", "-c", str(config)]
        process = subprocess.Popen(command, stdout=out, stderr=out, env=os.environ | {"NOTIFY_SOCKET": ""})
        try:
            for text in (f"{good}sinks: {{overlay: {{path: {tmp_path}/o.mp4, classes: [nonsense]}}}}\n", good):
                ours, _ = listener.accept()
                with ours:
                    ours.sendall(hello)
                    if text != good:
                        ours.settimeout(60)
                        until_s = time.monotonic() + 60
                        while "results of 0 from" not in log.read_text():
                            assert time.monotonic() < until_s, log.read_text()
                            time.sleep(0.02)
                        config.write_text(text)
                        process.send_signal(signal.SIGHUP)
                    while ours.recv(100):
                        pass
            ours, _ = listener.accept()  # of the old config, which is back
            ours.close()
            assert "the new config failed, the old one is back: " in log.read_text()
            process.terminate()
            assert process.wait(30) == 0
        finally:
            process.kill()
            process.wait()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sinks: {nonsense: x}", r"sinks\.nonsense: no sink is called 'nonsense'"),
        ("sinks: {'rtsp://u:hunter2@h': x}", r"sinks\.rtsp://u:\*\*\*@h: no sink is called 'rtsp://u:\*\*\*@h'"),
        ("sinks: {results: {nonsense: 1}}", r"sinks\.results: sink 'results': no option 'nonsense'"),
        ("events: {cameras: {rear: {}}}", r"events\.cameras: results are of one camera"),
    ],
)
def test_a_publisher_refuses_what_it_would_fail_with_later(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "publish.yaml").write_text(f"socket: /run/edge/results.sock\nweb: {{}}\n{text}\n")
    with pytest.raises(ConfigError, match=words):
        load(tmp_path / "publish.yaml")


@pytest.mark.parametrize("there", ["folder", "file", "long"])
def test_a_publisher_refuses_a_socket_that_can_be_none(there: str, tmp_path: Path) -> None:
    place = tmp_path / ("x" * 120 if there == "long" else there)
    if there != "long":
        place.mkdir() if there == "folder" else place.touch()
    (tmp_path / "publish.yaml").write_text(f"socket: {place}\nweb: {{}}\n")
    with pytest.raises(ConfigError, match=r"socket: .*(at most 107 bytes|something else lies there)"):
        load(tmp_path / "publish.yaml")


def test_the_configs_that_are_installed_name_the_same_socket_and_every_key() -> None:
    config = load_yaml(CONFIGS / "publish.yaml", PublishConfig)
    assert f"\nsocket: {config.socket}\n" in (CONFIGS / "infer.yaml").read_text()
    assert all(f"{key}:" in (CONFIGS / "publish.yaml").read_text() for key in PublishConfig.model_fields)
