"""Finds the lane that the car drives in: its boundaries run along two parallel curves, seen from above.

A boundary is given where markings were seen; where there are none, a curb, and else the road's edge; and nowhere else.
Each frame is looked at by itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.frame import Frame, Image, Letterbox
from edge.geometry.ground import Floats, GroundPlane
from edge.geometry.lane import NEAR_M, Boundary, EgoLane, Kind, paired
from edge.geometry.lane_points import ALONG_M, CURB, EDGE, MARKING, ROWS, SIDE_M, Evidence, Points, ViewFromAbove

_LEAST_POINTS, _MOST_POINTS = 8, 160  # the direction is that of so many
_HEADINGS, _BENDS_1_M = (np.linspace(-end, end, n, dtype=np.float32) for end, n in ((0.06, 13), (0.006, 9)))
_WAYS = len(_HEADINGS) * len(_BENDS_1_M)
_BIN_M, _BINS, _ZERO_M = 0.1, 240, 12.0  # of offsets, the middle one at the lens
_FIRST_BINS = np.arange(_WAYS, dtype=np.int64)[:, None] * _BINS
_WITHIN_M = (0.3, 0.2)  # of a boundary: what is fitted first, and again
_OFFSETS_M = (0.5, 3.4)
_LEAST_SEEN_M, _SURE_M = 4.0, 10.0  # of marking along the road
# A line begins near the car, where of dashes a period is seen; what is seen far away alone may be a reflection.
_NEAR_ROWS = round((19.0 - NEAR_M) / ALONG_M)
_LEAST_EDGE_M, _EDGE_SURE = 6.0, 0.5
_SAME_M = 0.4  # a marking and a curb that are no farther apart are one thing
_BEYOND_CHANCE = 2.0  # times what as many points, strewn at random, would show along a line
_SOLID_SHARE, _SOLID_TO_ROW = 0.8, round((18.0 - NEAR_M) / ALONG_M)  # dashes farther away run into one another
_LEAST_SPAN_M = 5.0
_STRAIGHT_M2 = 10.0  # how much a bend of 0 weighs, as the place of a ridge


@dataclass
class _Line:
    """A line along the road, of points of one kind."""

    what: int
    offset: float


class LaneFinder:
    """Finds the lane in frames of one shape."""

    def __init__(self, plane: GroundPlane, letterbox: Letterbox) -> None:
        self._above = ViewFromAbove(plane, letterbox)

    def find(self, frame: Frame, cover: Image, grades: NDArray[np.uint8] | None = None) -> EgoLane:
        """The lane of a frame.

        Args:
            cover: what it shows, at network size without black bars, uint8 (h, w): 1 road, 2 people and vehicles, which
                hide what is behind them, 0 anything else.
            grades: the output "marking_grades", uint8 (2, h/4, w/4), black bars included; None if not computed.
        """
        evidence = self._above.evidence(frame, cover, grades)
        points = evidence.points
        if len(points.row) < _LEAST_POINTS:
            return EgoLane(None, None)
        heading, bend = _direction(points)
        flat = points.straightened(heading, bend)
        lines = [line for side in (-1, 1) if (line := _nearest(points, flat, side)) is not None]
        for within in _WITHIN_M:
            heading, bend = _fit(points, heading, bend, lines, within)
        found = [self._described(evidence, heading, bend, line) for line in lines]
        left = next((one for one in found if one is not None and one.offset_m < 0), None)
        right = next((one for one in found if one is not None and one.offset_m > 0), None)
        return paired(left, right)

    def _described(self, evidence: Evidence, heading: float, bend: float, line: _Line) -> Boundary | None:
        points = evidence.points
        kind = points.what == line.what
        own = kind & (np.abs(points.straightened(heading, bend) - line.offset) < _WITHIN_M[-1])
        rows = _rows(points.row[own])
        seen_m = len(rows) * ALONG_M
        by_chance = ROWS * (1 - math.exp(-kind.sum() * _WITHIN_M[-1] / SIDE_M / ROWS))
        if seen_m < (_LEAST_EDGE_M if line.what == EDGE else _LEAST_SEEN_M) or len(rows) < _BEYOND_CHANCE * by_chance:
            return None
        sure = min(1.0, seen_m / _SURE_M) * (_EDGE_SURE if line.what == EDGE else 1.0)
        far_m = float(self._above.ahead[rows[-1]])
        numbers = (round(line.offset, 3), round(heading, 5), round(bend, 6), round(far_m, 2))
        right_m = line.offset + heading * self._above.ahead + bend * np.square(self._above.ahead) / 2
        return Boundary(*numbers, _kind(line.what, *evidence.coverage(right_m, _SOLID_TO_ROW)), round(sure, 3))


def _kind(what: int, marked: int, seen: int) -> Kind:
    if what != MARKING:
        return "curb" if what == CURB else "road_edge"
    return "solid" if marked > _SOLID_SHARE * seen and seen * ALONG_M >= _LEAST_SPAN_M else "dashed"


def _nearest(points: Points, flat: Floats, side: int) -> _Line | None:
    """The nearest line of markings to that side; without one, of a curb; and else the road's edge."""
    marking, curb = (_offset(points, flat, side, what) for what in (MARKING, CURB))
    if curb is not None and (marking is None or _is_curb(points, flat, marking, curb)):
        return _Line(CURB, curb)
    if marking is not None:
        return _Line(MARKING, marking)
    edge = _offset(points, flat, side, EDGE)
    return None if edge is None else _Line(EDGE, edge)


def _is_curb(points: Points, flat: Floats, marking: float, curb: float) -> bool:
    """Whether what looks like a line is a bright kerb stone: the engine grades more of it as curb than as marking."""
    if abs(marking - curb) > _SAME_M:
        return False
    by_curb = (points.what == CURB) & (np.abs(flat - curb) < _WITHIN_M[0])
    by_marking = (points.what == MARKING) & points.sure & (np.abs(flat - marking) < _WITHIN_M[0])
    return len(_rows(points.row[by_curb])) > len(_rows(points.row[by_marking]))


def _rows(rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Each once, ascending."""
    there = np.zeros(ROWS, np.bool_)
    there[rows] = True
    return np.flatnonzero(there)


def _offset(points: Points, flat: Floats, side: int, what: int) -> float | None:
    """Where the nearest line of one kind is to that side, of which enough is seen near the car."""
    out = flat * side
    inside = (out > _OFFSETS_M[0]) & (out < _OFFSETS_M[1]) & (points.what == what) & (points.row < _NEAR_ROWS)
    if not inside.any():
        return None
    table = np.zeros((round((_OFFSETS_M[1] - _OFFSETS_M[0]) / _BIN_M) + 2, _NEAR_ROWS), np.bool_)
    table[((out[inside] - _OFFSETS_M[0]) / _BIN_M).astype(np.intp), points.row[inside]] = True
    seen_m = (table[:-1] | table[1:]).sum(axis=1) * ALONG_M
    strong = np.flatnonzero(seen_m >= max(_LEAST_SEEN_M / 2, seen_m.max() / 2))
    if not len(strong):
        return None
    first = strong[0] + int(strong[0] + 1 < len(seen_m) and seen_m[strong[0] + 1] > seen_m[strong[0]])
    return side * float(_OFFSETS_M[0] + (first + 1) * _BIN_M)


def _direction(points: Points) -> tuple[float, float]:
    """Heading and bend of the lines along which the most of the points lie."""
    step = max(1, -(-len(points.row) // _MOST_POINTS))
    right, ahead, weight = (values[::step].astype(np.float32) for values in (points.right, points.ahead, points.weight))
    shift = _HEADINGS[:, None, None] * ahead + _BENDS_1_M[None, :, None] * (np.square(ahead) / 2)
    bins = ((right + np.float32(_ZERO_M) - shift) * np.float32(1 / _BIN_M)).astype(np.int64).reshape(_WAYS, -1)
    np.clip(bins, 0, _BINS - 1, out=bins)
    bins += _FIRST_BINS
    totals = np.bincount(bins.ravel(), np.tile(weight, _WAYS), _WAYS * _BINS).reshape(_WAYS, _BINS)
    best = int(np.argmax(np.square(totals[:, 1:] + totals[:, :-1]).sum(axis=1)))
    return float(_HEADINGS[best // len(_BENDS_1_M)]), float(_BENDS_1_M[best % len(_BENDS_1_M)])


def _fit(points: Points, heading: float, bend: float, lines: list[_Line], within: float) -> tuple[float, float]:
    """One heading and bend, and the offset of each line anew, by least squares over the points beside them."""
    flat = points.straightened(heading, bend)
    near = [(np.abs(flat - line.offset) < within) & (points.what == line.what) for line in lines]
    own = np.any(near, axis=0) if near else np.zeros(len(flat), np.bool_)
    if own.sum() < _LEAST_POINTS:
        return heading, bend
    weight, ahead = points.weight[own], points.ahead[own]
    columns = [*(one[own].astype(np.float64) for one in near), ahead, np.square(ahead) / 2]
    design = np.stack(columns, axis=1)
    weighted = design * weight[:, None]
    normal = weighted.T @ design
    # A little towards straight: few dashes say little of a bend. And as little as keeps an offset without points at 0.
    normal.flat[:: len(normal) + 1] += 1e-6
    normal[-1, -1] += _STRAIGHT_M2**2 * float(weight.sum())
    found = np.linalg.solve(normal, weighted.T @ points.right[own])
    *offsets, heading, bend = found.tolist()
    for line, offset in zip(lines, offsets, strict=True):
        line.offset = offset
    return heading, bend
