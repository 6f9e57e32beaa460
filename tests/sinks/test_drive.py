from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from drives import RATE_HZ, seen

from edge.errors import OutputError, SourceDamaged
from edge.sinks import drive as drive_module
from edge.sinks.drive import DriveOptions, DriveSink
from edge.sinks.recorder import SYNC_S
from edge.sources.drive import Drive
from edge.timing import Stages


def test_a_disk_that_fills_up_ends_the_drive_with_its_last_whole_chunk(
    small_disk: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drive_module, "CHUNK_S", 0.0)
    path = small_disk(60) / "drive.mcap"
    written, message = 0, ""
    with DriveSink(path, DriveOptions("edge 0", "test", RATE_HZ), Stages()) as sink:
        try:
            for index in range(200):
                sink.write(seen(index), 0)
                written += 1
        except OutputError as error:
            message = str(error)
    assert 0 < written < 200
    assert "No space left on device. It holds what was recorded until then. See: df -h" in message
    with Drive(str(path)) as source:
        frames = []
        with pytest.raises(SourceDamaged, match="was cut off"):
            frames.extend(source)
    assert len(frames) == written


def test_a_drive_whose_first_frame_cannot_be_written_is_not_said_to_hold_any(tmp_path: Path) -> None:
    path, (soft, hard) = tmp_path / "drive.mcap", resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with (
            pytest.raises(OutputError, match=r"File too large\. Nothing was recorded\. See: ulimit -f"),
            DriveSink(path, DriveOptions("edge 0", "test", RATE_HZ), Stages()) as sink,
        ):
            sink.write(seen(0), 0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not path.exists()


def test_what_was_synced_is_there_after_a_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each copy is what a disk has that got no more than what it was asked to keep."""
    copies: list[tuple[int, Path]] = []
    written = 0

    def copying(fd: int) -> None:
        copies.append((written, tmp_path / f"copy-{len(copies)}.mcap"))
        shutil.copyfile(f"/proc/self/fd/{fd}", copies[-1][1])

    monkeypatch.setattr(drive_module, "SYNC_S", 0.0)
    monkeypatch.setattr(os, "fdatasync", copying)
    with DriveSink(tmp_path / "drive.mcap", DriveOptions("edge 0", "test", RATE_HZ), Stages()) as sink:
        for index in range(12):
            sink.write(seen(index), 0)
            written += 1
    assert SYNC_S <= 0.5
    assert len(copies) > 12
    for count, path in copies:
        frames = []
        with suppress(SourceDamaged), Drive(str(path)) as source:
            frames.extend(source)
        assert len(frames) >= count
