"""Recordings and tracks for tests of replays: frames and masks that tell their own number."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from edge.classes import CAMVID, ClassTable
from edge.errors import SourceDamaged
from edge.frame import Frame, Letterbox
from edge.outputs import CONFIDENCE
from edge.prediction import Prediction
from edge.replay.mask_track import MaskTrack
from edge.sources.seek import Playable, check_number
from edge.timing import Durations

WH = (64, 48)


class Numbers:
    """Frames whose every pixel is their number; `broken` ones cannot be decoded."""

    name: str = "numbers"
    size_wh: tuple[int, int] = WH
    rate_hz: float | None
    live = False

    def __init__(self, frame_count: int = 30, rate_hz: float = 20.0, broken: tuple[int, ...] = ()) -> None:
        self.frame_count, self.rate_hz, self.broken = frame_count, rate_hz, broken
        self._interval_ns = 1e9 / rate_hz
        self.taken: list[int] = []
        self.decode = Durations()

    def at(self, index: int) -> Frame:
        check_number(index, self.frame_count, self.name)
        self.taken.append(index)
        if index in self.broken:
            raise SourceDamaged(f"frame {index} is damaged")
        image = np.full((WH[1], WH[0], 3), index, np.uint8)
        media_ns = round(index * self._interval_ns)
        return Frame(index=index, captured_ns=time.monotonic_ns(), source="numbers", bgr=image, media_ns=media_ns)

    def __iter__(self) -> Iterator[Frame]:
        return map(self.at, range(self.frame_count))

    def close(self) -> None:
        pass

    def __enter__(self) -> Numbers:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def seen(frame: Frame, classes: np.ndarray, table: ClassTable = CAMVID) -> Prediction:
    box = Letterbox.fit(frame.size_wh, (classes.shape[1], classes.shape[0]))
    return Prediction(frame, {"semantic": classes.astype(np.uint8)}, box, table, time.monotonic_ns())


def track(name: str, classes_of: Callable[[int], np.ndarray]) -> MaskTrack:
    """A track whose mask depends on the frame's pixels: `classes_of` is given what they say."""

    def of(source: Playable, frame: Frame) -> Prediction:
        return seen(frame, classes_of(int(frame.image[0, 0, 0])))

    return MaskTrack(name, [name], of)


def sure_above(result: Prediction) -> Prediction:
    """It, with a confidence of 1 in the upper half of the image and of 0 in the lower."""
    confidence = np.zeros_like(result.semantic)
    confidence[: len(confidence) // 2] = 255
    outputs, specs = {**result.outputs, "confidence": confidence}, {**result.specs, "confidence": CONFIDENCE}
    return replace(result, outputs=outputs, specs=specs)


def with_confidence(sure_of: MaskTrack) -> MaskTrack:
    """That track, which says also how sure it is."""

    def of(source: Playable, frame: Frame) -> Prediction:
        result = sure_of.of(source, frame)
        assert result is not None
        return sure_above(result)

    return replace(sure_of, of=of, maps=("confidence",))


def all_road(number: int) -> np.ndarray:
    return np.full((48, 64), 3, np.uint8)


def road_but_rows(rows: Callable[[int], int]) -> Callable[[int], np.ndarray]:
    """All road, but for so many rows of pavement at the top, by frame."""

    def classes_of(number: int) -> np.ndarray:
        classes = all_road(number)
        classes[: rows(number)] = 4
        return classes

    return classes_of


def soon(is_so: Callable[[], object], within_s: float = 20.0) -> bool:
    """Whether it comes to be so."""
    end_s = time.monotonic() + within_s
    while not is_so():
        if time.monotonic() > end_s:
            return False
        time.sleep(0.005)
    return True


class Heard:
    """Counts what a listener hears."""

    def __init__(self) -> None:
        self.count = 0
        self._lock = threading.Lock()

    def __call__(self) -> None:
        with self._lock:
            self.count += 1
