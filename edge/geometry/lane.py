"""The lane that the car drives in: thin bright ridges on the road, seen from above, along two parallel curves.

A boundary is given where markings were seen and nowhere else. Each frame is looked at by itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import DataError
from edge.frame import Frame, Image, Letterbox
from edge.geometry.ground import Floats, GroundPlane

NEAR_M, FAR_M, _SIDE_M = 4.0, 34.0, 4.0  # what is looked at
_ACROSS_M, _ALONG_M = 0.05, 0.25  # a cell of the view from above
_BESIDE = 6  # cells: a marking is brighter than what is 0.3 m to either side of it
_BRIGHTER, _NOISES = 10.0, 3.0  # by so many grey levels at least, and so many times the usual difference
_STRONGEST = 60.0  # grey levels; a brighter marking counts no more
_LEAST_RIDGES, _MOST_RIDGES = 8, 240
_HEADINGS, _BENDS_1_M = np.linspace(-0.06, 0.06, 13), np.linspace(-0.006, 0.006, 9)
_BIN_M, _BINS, _ZERO_M = 0.1, 240, 12.0  # of offsets, the middle one at the lens
_WITHIN_M = (0.3, 0.2)  # of a boundary: what is fitted first, and again
_OFFSETS_M, _WIDTHS_M = (0.5, 3.4), (2.2, 4.8)
_LEAST_SEEN_M, _SURE_M = 4.0, 10.0  # of marking along the road
_BEYOND_CHANCE = 2.0  # times what as many ridges, strewn at random, would show along a line
_SOLID_SHARE, _SOLID_TO_M = 0.7, 18.0  # dashes farther away run into one another
_LEAST_SPAN_M = 5.0

_STRAIGHT_M2 = 10.0  # how much a bend of 0 weighs, as the place of a ridge

Kind = Literal["solid", "dashed"]


@dataclass(frozen=True, slots=True)
class Boundary:
    """A line of the lane: at z metres ahead it is offset_m + heading_rad * z + bend_1_m * z² / 2 to the right of the
    lens, from 4 m on and up to `far_m`.

    Attributes:
        kind: as its markings are painted.
        confidence: 0 to 1; 1 where 10 m of marking or more are seen.
    """

    offset_m: float
    heading_rad: float
    bend_1_m: float
    far_m: float
    kind: Kind
    confidence: float

    def right_at(self, ahead_m: float) -> float:
        """Metres to the right of the lens."""
        return self.offset_m + self.heading_rad * ahead_m + self.bend_1_m * ahead_m**2 / 2


@dataclass(frozen=True, slots=True)
class EgoLane:
    """The lane's boundaries; None where no markings show one."""

    left: Boundary | None
    right: Boundary | None

    def holds(self, lateral_m: float, distance_m: float) -> bool | None:
        """Whether a place is in the lane; None where a boundary is unknown there."""
        if self.left is None or self.right is None or distance_m > min(self.left.far_m, self.right.far_m):
            return None
        return self.left.right_at(distance_m) <= lateral_m <= self.right.right_at(distance_m)

    def lines(self) -> list[Floats]:
        """Each boundary as places on the road, (N, 2) metres to the right and ahead, from near to far."""
        lines: list[Floats] = []
        for one in (self.left, self.right):
            if one is not None:
                ahead = np.geomspace(NEAR_M, max(NEAR_M, one.far_m), 24)
                lines.append(np.stack([[one.right_at(z) for z in ahead.tolist()], ahead], axis=1))
        return lines

    def as_json(self) -> dict[str, object]:
        """As JSON takes it."""
        sides = {"left": self.left, "right": self.right}
        return {
            side: None if one is None else {k: getattr(one, k) for k in one.__slots__} for side, one in sides.items()
        }


def lane_from_json(given: object) -> EgoLane:
    """The lane of an object by `EgoLane.as_json`, as a message or a file has it.

    Raises:
        DataError: it is no such object.
    """
    if not isinstance(given, dict):
        raise DataError(f"lane: expected an object, got {type(given).__name__}")
    row = cast("dict[str, Any]", given)
    return EgoLane(*(_boundary(row.get(side), side) for side in ("left", "right")))


def _boundary(given: Any, side: str) -> Boundary | None:
    if given is None:
        return None
    row = cast("dict[str, Any]", given if isinstance(given, dict) else {})
    names = ("offset_m", "heading_rad", "bend_1_m", "far_m", "confidence")
    values = {name: row.get(name) for name in names}
    for name, value in values.items():
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
            raise DataError(f"lane: {side}.{name}: expected a finite number, got {value!r}")
    if row.get("kind") not in get_args(Kind):
        raise DataError(f"lane: {side}.kind: expected {' or '.join(get_args(Kind))}, got {row.get('kind')!r}")
    return Boundary(kind=row["kind"], **{name: float(cast("float", value)) for name, value in values.items()})


@dataclass(frozen=True)
class _Ridges:
    """Where markings may be, (N,) each: row of the view from above, metres to the right and ahead, grey levels."""

    row: NDArray[np.intp]
    right: Floats
    ahead: Floats
    weight: Floats

    def straightened(self, heading: float, bend: float) -> Floats:
        """(N,): the offsets of lines of that direction through them."""
        return self.right - heading * self.ahead - bend * np.square(self.ahead) / 2


class LaneFinder:
    """Finds the lane in frames of one shape; what of a frame is where from above is worked out once."""

    def __init__(self, plane: GroundPlane, letterbox: Letterbox) -> None:
        self._rows = round((FAR_M - NEAR_M) / _ALONG_M)
        self._right = -_SIDE_M + (np.arange(round(2 * _SIDE_M / _ACROSS_M)) + 0.5) * _ACROSS_M
        self._ahead = NEAR_M + (np.arange(self._rows) + 0.5) * _ALONG_M
        right, ahead = np.meshgrid(self._right, self._ahead)
        seen = plane.pixels(np.stack([right.ravel(), ahead.ravel()], axis=1))
        cells_per_pixel = np.array(letterbox.content_xywh[2:]) / letterbox.source_wh
        self._frame_maps, self._mask_maps = (
            np.nan_to_num(at - 0.5, nan=-1e4).clip(-1e4, 3e4).astype(np.float32).reshape(*right.shape, 2)
            for at in (seen, seen * cells_per_pixel)
        )

    def find(self, frame: Frame, road: Image) -> EgoLane:
        """The lane of a frame; `road` is its mask at network size without black bars, uint8 (h, w), 1 = road."""
        grey = self._above(frame.yuv.y if frame.yuv is not None else frame.image, self._frame_maps, cv2.INTER_LINEAR)
        if grey.ndim == 3:
            grey = cv2.cvtColor(grey, cv2.COLOR_BGR2GRAY)
        ridges = self._ridges(grey, self._above(road, self._mask_maps, cv2.INTER_NEAREST))
        if len(ridges.row) < _LEAST_RIDGES:
            return EgoLane(None, None)
        heading, bend = _direction(ridges)
        flat = ridges.straightened(heading, bend)
        offsets = [offset for side in (-1, 1) if (offset := self._offset(ridges, flat, side)) is not None]
        for within in _WITHIN_M:
            heading, bend, offsets = _fitted(ridges, heading, bend, offsets, within)
        found = [self._described(ridges, heading, bend, offset) for offset in offsets]
        return _as_lane([one for one in found if one is not None])

    def _above(self, image: Image, maps: NDArray[np.float32], how: int) -> Image:
        return cv2.remap(image, maps, None, how, borderMode=cv2.BORDER_CONSTANT).astype(np.uint8, copy=False)  # pyright: ignore[reportCallIssue, reportArgumentType]

    def _ridges(self, grey: Image, road: Image) -> _Ridges:
        """Cells brighter than what is to either side of them, where there is road to one side."""
        inner, left, right = slice(_BESIDE, -_BESIDE), slice(None, -2 * _BESIDE), slice(2 * _BESIDE, None)
        smooth = cv2.blur(grey, (3, 1)).astype(np.float32)
        height = smooth[:, inner] - np.maximum(smooth[:, left], smooth[:, right])
        there = (road[:, left] | road[:, right]).view(np.bool_) & (grey[:, left] > 0) & (grey[:, right] > 0)
        if not there.any():
            return self._ridges_at(np.zeros(0, np.intp), np.zeros(0, np.intp), np.zeros(0))
        noise = float(np.median(np.abs(height[there][::8])))  # every eighth cell is enough
        top = cv2.dilate(height, np.ones((1, 7), np.uint8))
        there &= (height > max(_BRIGHTER, _NOISES * noise)) & (height >= top)
        rows, columns = np.nonzero(there)
        step = max(1, -(-len(rows) // _MOST_RIDGES))
        rows, columns = rows[::step], columns[::step]
        return self._ridges_at(rows, columns + _BESIDE, np.minimum(height[rows, columns], _STRONGEST))

    def _ridges_at(self, rows: NDArray[np.intp], columns: NDArray[np.intp], weights: Any) -> _Ridges:
        right, ahead, weight = (
            np.array(values, np.float64) for values in (self._right[columns], self._ahead[rows], weights)
        )
        return _Ridges(rows, right, ahead, weight)

    def _offset(self, ridges: _Ridges, flat: Floats, side: int) -> float | None:
        """The nearest line to that side of which enough is seen."""
        out = flat * side
        inside = (out > _OFFSETS_M[0]) & (out < _OFFSETS_M[1])
        table = np.zeros((round((_OFFSETS_M[1] - _OFFSETS_M[0]) / _BIN_M) + 2, self._rows), np.bool_)
        table[((out[inside] - _OFFSETS_M[0]) / _BIN_M).astype(np.intp), ridges.row[inside]] = True
        seen_m = (table[:-1] | table[1:]).sum(axis=1) * _ALONG_M
        strong = np.flatnonzero(seen_m >= max(_LEAST_SEEN_M / 2, seen_m.max() / 2))
        if not len(strong):
            return None
        first = strong[0] + int(strong[0] + 1 < len(seen_m) and seen_m[strong[0] + 1] > seen_m[strong[0]])
        return side * float(_OFFSETS_M[0] + (first + 1) * _BIN_M)

    def _described(self, ridges: _Ridges, heading: float, bend: float, offset: float) -> Boundary | None:
        own = np.abs(ridges.straightened(heading, bend) - offset) < _WITHIN_M[-1]
        rows = np.unique(ridges.row[own])
        seen_m = len(rows) * _ALONG_M
        by_chance = self._rows * (1 - math.exp(-len(ridges.row) * _WITHIN_M[-1] / _SIDE_M / self._rows))
        if seen_m < _LEAST_SEEN_M or len(rows) < _BEYOND_CHANCE * by_chance:
            return None
        near = rows[self._ahead[rows] < _SOLID_TO_M]
        span = (near[-1] - near[0] + 1) if len(near) else 1
        is_solid = len(near) > _SOLID_SHARE * span and span * _ALONG_M >= _LEAST_SPAN_M
        numbers = (round(offset, 3), round(heading, 5), round(bend, 6), round(float(self._ahead[rows[-1]]), 2))
        return Boundary(*numbers, "solid" if is_solid else "dashed", round(min(1.0, seen_m / _SURE_M), 3))


def _direction(ridges: _Ridges) -> tuple[float, float]:
    """Heading and bend of the lines along which the most of the ridges lie."""
    shift = _HEADINGS[:, None, None] * ridges.ahead + _BENDS_1_M[None, :, None] * np.square(ridges.ahead) / 2
    count = len(_HEADINGS) * len(_BENDS_1_M)
    bins = ((ridges.right - shift + _ZERO_M) / _BIN_M).astype(np.int64).reshape(count, -1).clip(0, _BINS - 1)
    bins += np.arange(count)[:, None] * _BINS
    totals = np.bincount(bins.ravel(), np.tile(ridges.weight, count), count * _BINS).reshape(count, _BINS)
    totals[:, 1:] += totals[:, :-1].copy()
    best = int(np.argmax(np.square(totals).sum(axis=1)))
    return float(_HEADINGS[best // len(_BENDS_1_M)]), float(_BENDS_1_M[best % len(_BENDS_1_M)])


def _fitted(
    ridges: _Ridges, heading: float, bend: float, offsets: list[float], within: float
) -> tuple[float, float, list[float]]:
    """One heading and bend and the offset of each line, by least squares over the ridges beside them."""
    flat = ridges.straightened(heading, bend)
    near = [np.abs(flat - offset) < within for offset in offsets]
    own = np.any(near, axis=0) if near else np.zeros(len(flat), np.bool_)
    if own.sum() < _LEAST_RIDGES:
        return heading, bend, offsets
    weight = np.sqrt(ridges.weight[own])
    ahead = ridges.ahead[own]
    columns = [*(one[own].astype(np.float64) for one in near), ahead, np.square(ahead) / 2]
    # A little towards straight: few dashes say little of a bend.
    design = np.stack(columns, axis=1) * weight[:, None]
    pull = np.zeros((1, design.shape[1]))
    pull[0, -1] = _STRAIGHT_M2 * np.sqrt(float(np.square(weight).sum()))
    found = np.linalg.lstsq(np.vstack([design, pull]), np.append(ridges.right[own] * weight, 0.0), rcond=None)[0]
    *fitted, heading, bend = found.tolist()
    return heading, bend, fitted


def _as_lane(found: list[Boundary]) -> EgoLane:
    """A pair whose lane would be too narrow or too wide is not one: the surer line stays."""
    left = next((one for one in found if one.offset_m < 0), None)
    right = next((one for one in found if one.offset_m > 0), None)
    if left is None or right is None or _WIDTHS_M[0] <= right.offset_m - left.offset_m <= _WIDTHS_M[1]:
        return EgoLane(left, right)
    return EgoLane(left, None) if left.confidence >= right.confidence else EgoLane(None, right)
