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
from edge.geometry.lane_points import (
    AHEAD,
    ALONG_M,
    COVER,
    CURB,
    EDGE,
    HALF_SQUARE,
    KINDS,
    MARKING,
    ROWS,
    SIDE_M,
    Evidence,
    Points,
    ViewFromAbove,
)

_LEAST_POINTS, _MOST_POINTS = 8, 160  # the direction is that of so many
_HEADINGS, _BENDS_1_M = (np.linspace(-end, end, n, dtype=np.float32) for end, n in ((0.06, 13), (0.006, 9)))
_WAYS = len(_HEADINGS) * len(_BENDS_1_M)
_BIN_M, _BINS, _ZERO_M = 0.1, 190, 9.5  # of offsets, the middle one at the lens; all are away from both ends
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
_SIDES = (-1, 1)
_LEVELS = round((_OFFSETS_M[1] - _OFFSETS_M[0]) / _BIN_M) + 2  # bins of offsets to one side
_EVIDENT = len(KINDS), len(_SIDES), _LEVELS, _NEAR_ROWS


@dataclass
class _Line:
    """A line along the road, of points of one kind."""

    what: int
    offset: float


class LaneFinder:
    """Finds the lane in frames of one shape."""

    def __init__(self, plane: GroundPlane, letterbox: Letterbox, kinds: Image = COVER) -> None:
        """`kinds`, uint8 (256,), says what the values of masks are: 1 road, 2 people and vehicles, which hide what is
        behind them, 0 anything else; masks that have these values themselves by default.
        """
        self._above = ViewFromAbove(plane, letterbox, kinds)

    def find(self, frame: Frame, mask: Image, grades: NDArray[np.uint8] | None = None) -> EgoLane:
        """The lane of a frame.

        Args:
            mask: what it shows, at network size without black bars, uint8 (h, w) of values that `kinds` explains.
            grades: the output "marking_grades", uint8 (2, h/4, w/4), black bars included; None if not computed.
        """
        evidence = self._above.evidence(frame, mask, grades)
        points = evidence.points
        if len(points.row) < _LEAST_POINTS:
            return EgoLane(None, None)
        heading, bend = _direction(points)
        flat = points.straightened(heading, bend)
        lines = _nearest_lines(points, flat)
        if not lines:
            return EgoLane(None, None)
        fit = _Fit(points, lines)
        for within in _WITHIN_M:
            heading, bend = fit.refined(heading, bend, within)
        found = _described(evidence, heading, bend, lines, fit.near(heading, bend, _WITHIN_M[-1]))
        left = next((one for one in found if one.offset_m < 0), None)
        right = next((one for one in found if one.offset_m > 0), None)
        return paired(left, right)


def _described(
    evidence: Evidence, heading: float, bend: float, lines: list[_Line], near: NDArray[np.bool_]
) -> list[Boundary]:
    """The lines of which enough is seen; `near`, bool (lines, N), are the points of each."""
    number, place = near.nonzero()
    there = np.zeros((len(lines), ROWS), np.bool_)
    there[number, evidence.points.row.take(place)] = True
    counts, last_rows = there.sum(axis=1).tolist(), (ROWS - 1 - there[:, ::-1].argmax(axis=1)).tolist()
    kinds = _kinds(evidence, heading, bend, lines)
    found: list[Boundary] = []
    for line, kind, count, last in zip(lines, kinds, counts, last_rows, strict=True):
        seen_m, span = count * ALONG_M, evidence.points.spans[line.what]
        by_chance = ROWS * (1 - math.exp(-(span.stop - span.start) * _WITHIN_M[-1] / SIDE_M / ROWS))
        if seen_m < (_LEAST_EDGE_M if line.what == EDGE else _LEAST_SEEN_M) or count < _BEYOND_CHANCE * by_chance:
            continue
        sure = min(1.0, seen_m / _SURE_M) * (_EDGE_SURE if line.what == EDGE else 1.0)
        numbers = (round(line.offset, 3), round(heading, 5), round(bend, 6), round(float(AHEAD[last]), 2))
        found.append(Boundary(*numbers, kind, round(sure, 3)))
    return found


def _kinds(evidence: Evidence, heading: float, bend: float, lines: list[_Line]) -> list[Kind]:
    if all(line.what != MARKING for line in lines):
        return ["curb" if line.what == CURB else "road_edge" for line in lines]
    offsets = np.array([line.offset for line in lines])[:, None]
    covered = evidence.coverage(offsets + (heading * AHEAD + bend * HALF_SQUARE)[:_SOLID_TO_ROW])
    return [_kind(line.what, *rows) for line, rows in zip(lines, covered, strict=True)]


def _kind(what: int, marked: int, seen: int) -> Kind:
    if what != MARKING:
        return "curb" if what == CURB else "road_edge"
    return "solid" if marked > _SOLID_SHARE * seen and seen * ALONG_M >= _LEAST_SPAN_M else "dashed"


def _nearest_lines(points: Points, flat: Floats) -> list[_Line]:
    """To either side the nearest line of markings; without one, of a curb; and else the road's edge."""
    seen = _seen_rows(points, flat)
    found = [_nearest(points, flat, [_offset(kind[place], side) for kind in seen]) for place, side in enumerate(_SIDES)]
    return [line for line in found if line is not None]


def _nearest(points: Points, flat: Floats, offsets: list[float | None]) -> _Line | None:
    marking, curb, edge = offsets
    if curb is not None and (marking is None or _is_curb(points, flat, marking, curb)):
        return _Line(CURB, curb)
    if marking is not None:
        return _Line(MARKING, marking)
    return None if edge is None else _Line(EDGE, edge)


def _is_curb(points: Points, flat: Floats, marking: float, curb: float) -> bool:
    """Whether what looks like a line is a bright kerb stone: the engine grades more of it as curb than as marking."""
    if abs(marking - curb) > _SAME_M:
        return False
    curbs, markings = points.spans[CURB], points.spans[MARKING]
    by_curb = np.abs(flat[curbs] - curb) < _WITHIN_M[0]
    by_marking = points.sure[markings] & (np.abs(flat[markings] - marking) < _WITHIN_M[0])
    return _rows(points.row[curbs][by_curb]) > _rows(points.row[markings][by_marking])


def _rows(rows: NDArray[np.intp]) -> int:
    """How many there are, each counted once."""
    return int(np.count_nonzero(np.bincount(rows, minlength=ROWS)))


def _seen_rows(points: Points, flat: Floats) -> list[list[list[int]]]:
    """On how many rows near the car something is seen, by kind, side, and offset to that side: of two bins each, which
    overlap those beside them by one.
    """
    out = np.abs(flat)
    place = ((out - _OFFSETS_M[0]) / _BIN_M).astype(np.intp)
    place += (flat > 0) * _LEVELS
    for kind in KINDS:
        place[points.spans[kind]] += kind * len(_SIDES) * _LEVELS
    inside = (out > _OFFSETS_M[0]) & (out < _OFFSETS_M[1]) & (points.row < _NEAR_ROWS)
    there = np.zeros(_EVIDENT, np.uint8)
    there.ravel()[(place * _NEAR_ROWS + points.row)[inside]] = 1
    return (there[:, :, :-1] | there[:, :, 1:]).sum(axis=3, dtype=np.uint8).tolist()


def _offset(rows: list[int], side: int) -> float | None:
    """Where the nearest line is to that side, of which enough is seen near the car."""
    least = max(_LEAST_SEEN_M / 2 / ALONG_M, max(rows) / 2)
    first = next((place for place, count in enumerate(rows) if count >= least), None)
    if first is None:
        return None
    first += int(first + 1 < len(rows) and rows[first + 1] > rows[first])
    return side * float(_OFFSETS_M[0] + (first + 1) * _BIN_M)


# float32 (ROWS, ways): how far to the right a line of each direction is, by row of the view from above.
_SHIFTS = np.ascontiguousarray(
    (
        _HEADINGS[:, None, None] * AHEAD.astype(np.float32)
        + _BENDS_1_M[None, :, None] * (np.square(AHEAD.astype(np.float32)) / 2)
    )
    .reshape(_WAYS, ROWS)
    .T
)
_FIRST_BINS = np.arange(_WAYS, dtype=np.int64) * _BINS


def _direction(points: Points) -> tuple[float, float]:
    """Heading and bend of the lines along which the most of the points lie."""
    step = max(1, -(-len(points.row) // _MOST_POINTS))
    right = points.right[::step].astype(np.float32)[:, None]
    places = right + np.float32(_ZERO_M) - _SHIFTS.take(points.row[::step], axis=0)
    places *= np.float32(1 / _BIN_M)
    bins = places.astype(np.int64)
    bins += _FIRST_BINS
    totals = np.bincount(bins.ravel(), np.repeat(points.weight[::step], _WAYS), _WAYS * _BINS).reshape(_WAYS, _BINS)
    pairs = totals[:, 1:] + totals[:, :-1]
    best = int(np.einsum("ij,ij->i", pairs, pairs).argmax())
    return float(_HEADINGS[best // len(_BENDS_1_M)]), float(_BENDS_1_M[best % len(_BENDS_1_M)])


# (ROWS, 6): of one, the distance ahead and half its square, all products of two, by row of the view from above.
_POWERS = np.stack(
    [np.ones(ROWS), AHEAD, HALF_SQUARE, np.square(AHEAD), AHEAD * HALF_SQUARE, np.square(HALF_SQUARE)], axis=1
)


class _Fit:
    """One heading and bend for all lines, and an offset for each, by least squares over the points beside them."""

    def __init__(self, points: Points, lines: list[_Line]) -> None:
        self._points, self._lines = points, lines
        count = len(points.row)
        self._weights = np.zeros((len(lines), count))
        for line, weights in zip(lines, self._weights, strict=True):
            weights[points.spans[line.what]] = points.weight[points.spans[line.what]]
        self._products = np.empty((count, 9))  # of what is above and the place to the right
        self._products[:, :6] = _POWERS.take(points.row, axis=0)
        np.multiply(self._products[:, :3], points.right[:, None], out=self._products[:, 6:])

    def near(self, heading: float, bend: float, within: float) -> NDArray[np.bool_]:
        """bool (lines, N): the points of each line's kind that are beside it."""
        offsets = np.array([line.offset for line in self._lines])[:, None]
        beside = np.abs(self._points.straightened(heading, bend) - offsets) < within
        return beside & (self._weights > 0)

    def refined(self, heading: float, bend: float, within: float) -> tuple[float, float]:
        """Heading and bend, with the lines' offsets, by the points beside these lines."""
        near = self.near(heading, bend, within)
        if np.count_nonzero(near) < _LEAST_POINTS:
            return heading, bend
        sums = ((self._weights * near) @ self._products).tolist()
        # The normal equations with the offsets eliminated, which leaves heading and bend: two by two.
        # A little towards straight: few dashes say little of a bend. And as little as keeps an offset without points
        # at 0.
        hh, hb, bb, h, b = 1e-6, 0.0, 1e-6 + _STRAIGHT_M2**2 * sum(row[0] for row in sums), 0.0, 0.0
        for w, wh, wb, whh, whb, wbb, wr, whr, wbr in sums:
            w += 1e-6
            hh, hb, bb = hh + whh - wh * wh / w, hb + whb - wh * wb / w, bb + wbb - wb * wb / w
            h, b = h + whr - wh * wr / w, b + wbr - wb * wr / w
        size = hh * bb - hb * hb
        heading, bend = (h * bb - b * hb) / size, (b * hh - h * hb) / size
        for line, (w, wh, wb, _, _, _, wr, _, _) in zip(self._lines, sums, strict=True):
            line.offset = (wr - wh * heading - wb * bend) / (w + 1e-6)
        return heading, bend
