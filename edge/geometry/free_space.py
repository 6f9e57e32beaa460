"""The free road ahead in metres: how far it goes from the image's bottom up, column by column."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import DataError
from edge.frame import Image, Letterbox
from edge.geometry.ground import GroundPlane

POINTS = 48  # of the polyline, at most
POINTS_MAX = 1024  # that a message may hold
REACH_M = 100.0
HALF_WIDTH_M = 1.0  # of the way that the car itself needs
SURE_SHARE = 0.5  # a distance whose standard error is a larger part of it counts as unknown
_CLOSE = np.ones((3, 3), np.uint8)
_EVERY = 2  # columns: what is left of an obstacle when holes are closed is at least three wide

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class FreeSpace:
    """Where the free road ends, on a flat road.

    Attributes:
        polyline_m: from left to right, metres to the right of the lens and ahead of it. Between the camera and this
            line the mask has road alone. A point at `reach_m` says that the road goes on at least so far.
        ahead_m: the nearest point of it within a metre to either side of the lens: how far the car's own way is free,
            straight on; `reach_m` where it is free as far as is known, None where none of it is in the image.
        reach_m: how far ahead is known: where the standard error of a distance is half of it, 100 m at most.
    """

    polyline_m: tuple[Point, ...]
    ahead_m: float | None
    reach_m: float

    def as_json(self) -> dict[str, object]:
        """As JSON takes it."""
        return {
            "polyline_m": [list(point) for point in self.polyline_m],
            "ahead_m": self.ahead_m,
            "reach_m": self.reach_m,
        }


def free_space_from_json(given: object) -> FreeSpace:
    """The free space of an object by `FreeSpace.as_json`, as a message or a file has it.

    Raises:
        DataError: it is no such object.
    """
    if not isinstance(given, dict):
        raise DataError(f"free_space: expected an object, got {type(given).__name__}")
    row = cast("dict[str, Any]", given)
    points = row.get("polyline_m")
    if not isinstance(points, list) or len(cast("list[Any]", points)) > POINTS_MAX:
        raise DataError(f"free_space: polyline_m: expected a list of at most {POINTS_MAX} points")
    line = tuple(_point(point) for point in cast("list[Any]", points))
    ahead = None if row.get("ahead_m") is None else _number(row["ahead_m"], "ahead_m")
    return FreeSpace(line, ahead, _number(row.get("reach_m"), "reach_m"))


def _point(value: Any) -> Point:
    if not isinstance(value, list) or len(cast("list[Any]", value)) != 2:
        raise DataError(f"free_space: polyline_m: expected two numbers, got {value!r}")
    right, ahead = cast("list[Any]", value)
    return _number(right, "polyline_m"), _number(ahead, "polyline_m")


def _number(value: Any, name: str) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        raise DataError(f"free_space: {name}: expected a finite number, got {value!r}")
    return float(value)


class FreeSpaceFinder:
    """Finds the free space in masks of one shape; where each cell is on the road is worked out once."""

    def __init__(self, plane: GroundPlane, letterbox: Letterbox) -> None:
        width, height = letterbox.content_xywh[2:]
        across, down = letterbox.source_wh[0] / width, letterbox.source_wh[1] / height
        # The upper border of each row, and the lower one of the last: where a run of road cells can end.
        columns = np.arange(0, width, _EVERY)
        x, y = np.meshgrid((columns + 0.5) * across, np.arange(height + 1) * down)
        pixels = np.stack([x.ravel(), y.ravel()], axis=1)
        self.reach_m = reach_of(plane, down)
        places = plane.ground(pixels).reshape(height + 1, len(columns), 2)
        self._right, self._ahead = (places[..., k].astype(np.float32) for k in range(2))
        within = self._ahead <= self.reach_m  # NaN is not
        self._bottom = max(1, height - math.ceil(plane.model.bonnet_share * height))
        self._columns = np.arange(len(columns))
        self._top = np.where(within.any(axis=0), within.argmax(axis=0), self._bottom).clip(
            max=self._bottom
        )  # the first row within reach
        # What is above all of these decides nothing, but what is two rows above may fill a hole.
        self._first = max(0, int(self._top.min()) - 2)
        count = self._bottom - self._first
        kind = np.uint8 if count < 256 else np.uint16
        self._below = np.repeat(np.arange(1, count + 1, dtype=kind)[:, None], width, axis=1)  # the next row's number
        self._places = _Few.of(len(columns))
        self._is_known = bool(within.any(axis=0).all())  # in each column, from the first row within reach on

    def find(self, road: Image) -> FreeSpace:
        """The free space of a mask, uint8 (h, w) at network size without black bars, 0 where there is no road."""
        part = road[self._first : self._bottom + 2]
        # A hole of a cell or two is no obstacle.
        closed = cv2.morphologyEx(part, cv2.MORPH_CLOSE, _CLOSE)[: len(self._below)]
        blocked = cv2.compare(closed, 0, cv2.CMP_EQ)
        if self._below.dtype != np.uint8:
            blocked = blocked.view(np.int8).astype(np.int16).view(np.uint16)  # all bits
        lowest = cv2.bitwise_and(blocked, self._below).max(axis=0)[::_EVERY]
        rows = np.maximum(lowest + np.intp(self._first), self._top)
        place = rows * len(self._columns) + self._columns
        right, ahead = self._right.ravel().take(place), self._ahead.ravel().take(place)
        ahead[rows == self._top] = self.reach_m
        few = self._places
        if not self._is_known:
            there = np.isfinite(right)
            rows, right, ahead = rows[there], right[there], ahead[there]
            few = _Few.of(len(rows))
        own = ahead[np.abs(right) <= HALF_WIDTH_M]
        nearest = round(float(own.min()), 2) if len(own) else None
        kept = few.largest(rows)
        line = np.round(np.array([right.take(kept), ahead.take(kept)], np.float64), 2).tolist()
        return FreeSpace(tuple(zip(*line, strict=True)), nearest, round(self.reach_m, 2))


@dataclass(frozen=True, slots=True)
class _Few:
    """The columns of a polyline: of each few side by side the one whose road ends first."""

    starts: NDArray[np.intp]
    places: NDArray[np.intp]

    @classmethod
    def of(cls, count: int) -> _Few:
        """Of so many columns."""
        points = min(POINTS, count)
        return cls(np.arange(points) * count // max(1, points), np.arange(count))

    def largest(self, rows: NDArray[Any]) -> NDArray[np.intp]:
        """The place of the largest row of each few."""
        count = len(self.places)
        if not count:
            return self.places
        # The largest of row * count - place is that of the largest row, of equal ones the first; modulo count, it says
        # the place.
        return -np.maximum.reduceat(rows * count - self.places, self.starts) % count


def reach_of(plane: GroundPlane, pixel_sd_px: float) -> float:
    """How far ahead distances are known: the standard error is below half of it, and it is 100 m at most."""
    ahead = np.geomspace(0.5, REACH_M, 200)
    seen = plane.pixels(np.stack([np.zeros_like(ahead), ahead], axis=1))
    good = plane.distance_sd(seen, pixel_sd_px) <= SURE_SHARE * ahead
    return float(ahead[good].max()) if good.any() else 0.0
