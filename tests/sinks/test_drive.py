from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from drives import RATE_HZ, seen

from edge.errors import OutputError, SourceDamaged
from edge.sinks import drive as drive_module
from edge.sinks.drive import DriveOptions, DriveSink
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
