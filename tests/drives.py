"""Small drives for tests: every frame of another colour, with a mask that tells its number."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from stand_in import ROAD, SKY, result_of
from videos import picture

from edge.card import Card
from edge.prediction import Prediction
from edge.replay.mask_track import recorded_track
from edge.sinks.drive import DriveOptions, DriveSink
from edge.sources.drive import Drive
from edge.timing import Stages

WH = (64, 48)
RATE_HZ = 10


def mask_of(index: int) -> np.ndarray:
    """uint8 (12, 16): road in as many columns as the frame's number."""
    classes = np.full((12, 16), SKY, np.uint8)
    classes[:, : index % 16] = ROAD
    return classes


def seen(index: int) -> Prediction:
    """As a camera gives it: every third frame was dropped, and so the times are uneven."""
    count = index + index // 2
    captured_ns = 7_000_000_000 + count * 10**9 // RATE_HZ
    return result_of(count, mask_of(index), image=picture(index, WH), captured_ns=captured_ns)


def through_a_drive(results: Sequence[Prediction], card: Card, path: Path) -> list[Prediction]:
    """The results as a drive at `path`, recorded of them, gives them back."""
    with DriveSink(path, DriveOptions("edge 0", "test", RATE_HZ, card), Stages()) as sink:
        for result in results:
            sink.write(result, 0)
    with Drive(str(path)) as source:
        track = recorded_track(source)
        assert track is not None
        kept = [track[0].of(source, source.at(index)) for index in range(len(results))]
    assert all(one is not None for one in kept)
    return [one for one in kept if one is not None]


def write_drive(path: Path, frames: int = 25, codec: str = "h264", first: int = 0, **options: object) -> Path:
    with DriveSink(path, DriveOptions("edge 0", "test", RATE_HZ, codec=codec, **options), Stages()) as sink:  # type: ignore[arg-type]
        for index in range(first, first + frames):
            sink.write(seen(index), index // 2)
    return path
