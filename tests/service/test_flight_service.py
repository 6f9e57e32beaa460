"""The flight recorder within the service, which is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from edge.config import parse_tree
from edge.drive.file import DriveFile
from edge.drive.schema import TRIGGER
from edge.service.config import ServeConfig
from edge.service.outputs import settings_of
from edge.sinks.flight import FlightOptions, flight_of_camera
from edge.sources.drive import Drive

STREET = "scene:street?seed=3&frames=100000&size=160x120&fps=20"


def serve(config: Path, memory: Path) -> subprocess.Popen[bytes]:
    with config.with_suffix(".log").open("a") as log:
        command = [sys.executable, "-m", "edge.cli", "serve", "-c", str(config)]
        return subprocess.Popen(command, env={**os.environ, "RUNTIME_DIRECTORY": str(memory)}, stdout=log, stderr=log)


def await_that(what: str, is_so: object, within_s: float = 90) -> None:
    end_s = time.monotonic() + within_s
    while not is_so():  # type: ignore[operator]
        assert time.monotonic() < end_s, what
        time.sleep(0.05)


def test_a_service_that_was_killed_leaves_its_last_seconds_to_the_next_one(tmp_path: Path) -> None:
    out, memory, config = tmp_path / "out", tmp_path / "memory", tmp_path / "edge.yaml"
    memory.mkdir()
    config.write_text(f"camera: '{STREET}'\nevents: {{}}\nflight: {{folder: {out}}}\n")
    first = serve(config, memory)
    try:
        await_that("a ring of some frames", lambda: len(list(memory.glob("*/*.mcap"))) > 1)
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert list(out.glob("*.mcap")) == []
    second = serve(config, memory)
    try:
        await_that("a drive", lambda: len(list(out.glob("*.mcap"))) == 1)
        second.send_signal(signal.SIGTERM)
        assert second.wait(30) == 0, config.with_suffix(".log").read_text()
    finally:
        second.kill()
        second.wait()
    (path,) = out.glob("*.mcap")
    with Drive(str(path)) as drive:
        frames = list(drive)
        assert len(frames) > 10
        assert all(drive.recorded(frame.index) for frame in frames)
        assert drive.card is not None
        assert "flight:" in drive.config
    assert "it was killed" in DriveFile(path).metadata[TRIGGER]["reason"]


def test_each_of_several_cameras_has_its_folder_and_its_part() -> None:
    options = flight_of_camera(FlightOptions("/drives", quota_gb=2.0, memory_mb=64.0), "rear", 4)
    assert (options.folder, options.quota_gb, options.memory_mb) == ("/drives/rear", 0.5, 16.0)


def test_no_address_and_no_secret_goes_with_a_drive() -> None:
    tree = {"camera": "rtsp://me:secret@camera/1", "mqtt": {"url": "mqtt://localhost", "topic": "t"}}
    config = parse_tree({**tree, "flight": {"folder": "/drives"}}, ServeConfig, "a test")
    settings = settings_of(config)
    assert "folder: /drives" in settings
    assert "secret" not in settings
    assert "localhost" not in settings
