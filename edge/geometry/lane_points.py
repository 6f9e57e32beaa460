"""What on the road may be part of a lane's boundary, seen from above: markings, curbs, and the edge of the road's mask.

Markings are thin ridges brighter than the road to both sides. Where an engine grades markings and curbs (the output
"marking_grades"), its grades say which ridges to trust, and add what is no ridge.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.frame import Frame, Image, Letterbox, where_any
from edge.geometry.ground import Floats, GroundPlane
from edge.geometry.lane import NEAR_M

FAR_M, SIDE_M = 34.0, 3.8  # what is looked at
ALONG_M, ACROSS_M = 0.25, 0.05  # a cell of the view from above
ROWS = round((FAR_M - NEAR_M) / ALONG_M)
MARKING, CURB, EDGE = range(3)
KINDS = (MARKING, CURB, EDGE)
OTHER, ROAD, THING = range(3)  # what covers the road
COVER = np.zeros(256, np.uint8)  # masks of these values themselves
COVER[[ROAD, THING]] = ROAD, THING
# Cells: a marking is brighter than what is 0.2 or 0.3 m to either side of it. One of the two lies beside a double line.
_BESIDE, _NEARER = 6, 2
_INNER = slice(_BESIDE, -_BESIDE)
_BRIGHTER, _NOISES = 10.0, 3.0  # by so many grey levels at least, and so many times the usual difference
_STRONGEST = 60.0  # grey levels; a brighter marking counts no more
_UNSURE = 0.35  # what a ridge counts whose cells the engine does not grade as marking
_SURE = 128  # a grade from which on a cell is one
_GRADED, _CURBED, _EDGED = 40.0, 30.0, 10.0  # what others count, in grey levels
_OWN = 3  # cells to either side of a line: a marking there is its own
_MOST_IN_ROW = 6  # markings across the road; where there are more, a crossing is painted
_BESIDE_MASK = 255  # no class
_STRIDE = 4  # of the network's pixels a cell of grades


@dataclass(frozen=True, slots=True)
class Points:
    """Where boundaries may be, one kind after another.

    Attributes:
        row: intp (N,), of the view from above.
        right: float64 (N,), metres to the right of the lens.
        weight: float64 (N,), how much each counts.
        sure: bool (N,), whether nothing that the engine grades speaks against it.
        spans: where those of each of `KINDS` are.
    """

    row: NDArray[np.intp]
    right: Floats
    weight: Floats
    sure: NDArray[np.bool_]
    spans: tuple[slice, slice, slice]

    def straightened(self, heading: float, bend: float) -> Floats:
        """(N,): the offsets of lines of that direction through them."""
        return self.right - (heading * AHEAD + bend * HALF_SQUARE).take(self.row)


AHEAD: Floats = np.array(NEAR_M + (np.arange(ROWS) + 0.5) * ALONG_M, np.float64)  # (ROWS,): metres, by row of the view
HALF_SQUARE: Floats = np.square(AHEAD) / 2
_COLUMNS = round(2 * SIDE_M / ACROSS_M)
_RIGHT: Floats = np.array(-SIDE_M + (np.arange(_COLUMNS) + 0.5) * ACROSS_M, np.float64)
_OWN_COLUMNS = np.arange(-_OWN, _OWN + 1)
_FIRST_CELLS = np.arange(ROWS) * _COLUMNS


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a frame shows: the points; and (ROWS, columns) each, the cells that are marking, bool, the frame's
    brightness and the mask, uint8, of values that `kinds` explains.
    """

    points: Points
    marked: NDArray[np.bool_]
    grey: Image
    mask: Image
    kinds: Image

    def coverage(self, right_m: Floats) -> list[tuple[int, int]]:
        """Along lines, (lines, rows) metres to the right: on how many rows each is marked, of how many on which it is
        seen between the first and the last that is.
        """
        columns = ((right_m + SIDE_M) / ACROSS_M).astype(np.intp)
        within = columns.clip(_OWN, _COLUMNS - _OWN - 1)
        cells = within + _FIRST_CELLS[: columns.shape[1]]
        inside = within == columns
        marked = self.marked.ravel().take(cells[:, :, None] + _OWN_COLUMNS).any(axis=2) & inside
        hidden = (self.kinds.take(self.mask.ravel().take(cells)) == THING) | (self.grey.ravel().take(cells) == 0)
        seen = marked | (inside & ~hidden)
        firsts, lasts = marked.argmax(axis=1).tolist(), marked[:, ::-1].argmax(axis=1).tolist()
        return [
            (int(np.count_nonzero(own)), int(np.count_nonzero(all_[first : len(all_) - last])))
            for own, all_, first, last in zip(marked, seen, firsts, lasts, strict=True)
        ]


class ViewFromAbove:
    """Frames of one shape; what of a frame is where from above is worked out once."""

    def __init__(self, plane: GroundPlane, letterbox: Letterbox, kinds: Image) -> None:
        """`kinds`, uint8 (256,), says what covers the road where the mask has a value: OTHER, ROAD or THING."""
        right, ahead = np.meshgrid(_RIGHT, AHEAD)
        seen = plane.pixels(np.stack([right.ravel(), ahead.ravel()], axis=1))
        cells = seen * (np.array(letterbox.content_xywh[2:]) / letterbox.source_wh)
        self._frame_maps, mask_maps, self._grade_maps = (
            np.nan_to_num(at - 0.5, nan=-1e4).clip(-1e4, 3e4).astype(np.float32).reshape(*right.shape, 2)
            for at in (seen, cells, (cells + letterbox.content_xywh[:2]) / _STRIDE)
        )
        self._kinds, self._road = kinds.copy(), np.flatnonzero(kinds == ROAD).tolist()
        self._kinds[_BESIDE_MASK] = THING  # what is not seen hides the road
        self._cells, self._beside_mask = _nearest_cells(mask_maps, letterbox.content_xywh[2:])

    def evidence(self, frame: Frame, mask: Image, grades: NDArray[np.uint8] | None) -> Evidence:
        """Of a frame; see `LaneFinder.find`."""
        grey = _warped(frame.yuv.y if frame.yuv is not None else frame.image, self._frame_maps)
        if grey.ndim == 3:
            grey = cv2.cvtColor(grey, cv2.COLOR_BGR2GRAY)
        mask = cv2.max(np.ascontiguousarray(mask).ravel().take(self._cells), self._beside_mask)
        marking = curb = None
        if grades is not None:
            # Of four channels, all together take as long as one alone; of two, each does.
            both = _warped(cv2.merge([grades[0], grades[1], grades[0], grades[1]]), self._grade_maps)
            marking, curb = cv2.extractChannel(both, 0), cv2.extractChannel(both, 1)
        road = where_any(mask, self._road)
        marked, cells, weight, sure = _markings(grey, road, marking)
        curbs = np.zeros(0, np.intp) if curb is None else _places(_peaks(curb))
        points = _points(cells, weight, sure, _edges(road, mask, self._kinds), curbs)
        return Evidence(points, marked, grey, mask, self._kinds)


def _nearest_cells(maps: NDArray[np.float32], wh: tuple[int, int]) -> tuple[NDArray[np.intp], Image]:
    """The place in a map of that size, row by row, of what lies nearest to each point (h, w, 2); and, uint8,
    `_BESIDE_MASK` where that is beside the map, 0 elsewhere. Both (h, w).
    """
    at = np.rint(maps).astype(np.intp)
    inside = at.clip(0, np.array(wh) - 1)
    return inside[..., 1] * wh[0] + inside[..., 0], (_BESIDE_MASK * (at != inside).any(axis=2)).astype(np.uint8)


def _points(
    cells: NDArray[np.intp], weight: Floats, sure: NDArray[np.bool_], edges: NDArray[np.intp], curbs: NDArray[np.intp]
) -> Points:
    """Of the places of markings, with how much each counts and whether it is sure, and of edges and curbs."""
    first, second = len(cells), len(cells) + len(edges)
    rows, columns = np.divmod(np.concatenate([cells, edges, curbs]), _COLUMNS)
    weights = np.full(len(rows), _CURBED)
    weights[:first], weights[first:second] = weight, _EDGED
    all_sure = np.ones(len(rows), np.bool_)
    all_sure[:first] = sure
    spans = slice(0, first), slice(second, len(rows)), slice(first, second)  # as KINDS are ordered
    return Points(rows, _RIGHT.take(columns), weights, all_sure, spans)


def _markings(
    grey: Image, road: Image, grade: Image | None
) -> tuple[NDArray[np.bool_], NDArray[np.intp], Floats, NDArray[np.bool_]]:
    """Ridges, and what is graded as marking where no ridge is near: the cells that are, bool; the places of them; how
    much each counts; whether it is sure.
    """
    there, ridges, height = _ridges(grey, road)
    if grade is not None:
        graded = cv2.bitwise_and(_peaks(grade)[:, _INNER], there)
        ridges = cv2.max(ridges, cv2.subtract(graded, cv2.dilate(ridges, _APART)))
    marked = cv2.copyMakeBorder(cv2.min(ridges, 1), 0, 0, _BESIDE, _BESIDE, cv2.BORDER_CONSTANT).view(np.bool_)
    cells = np.flatnonzero(marked)
    rows = cells // _COLUMNS
    in_row = np.bincount(rows, minlength=ROWS)
    if in_row.max() > _MOST_IN_ROW:
        marked[in_row > _MOST_IN_ROW] = False
        kept = in_row.take(rows) <= _MOST_IN_ROW
        cells, rows = cells[kept], rows[kept]
    heights = height.ravel().take(cells - (2 * rows + 1) * _BESIDE)
    if grade is None:
        return marked, cells, _WEIGHT.take(heights), np.ones(len(cells), np.bool_)
    near = cv2.dilate(grade, _ACROSS).ravel().take(cells)
    weight = np.where(heights < _BRIGHTER, _GRADED, _WEIGHT.take(heights) * _TRUST.take(near))
    return marked, cells, weight, grade.ravel().take(cells) >= _SURE


def _edges(road: Image, mask: Image, kinds: Image) -> NDArray[np.intp]:
    """Where the road under the car's way ends to either side, at what is no person and no vehicle: places."""
    outward = cv2.vconcat([cv2.flip(road[:, :_HALF], 1), road[:, _HALF:]])  # left, then right
    end = (outward == 0).argmax(axis=1)
    cells = _MIDDLE + _SIDE * end
    return cells[(end > 0) & (kinds.take(mask.ravel().take(cells)) == OTHER)]


def _places(there: Image) -> NDArray[np.intp]:
    """Of what is 255, not 0, row by row."""
    return np.flatnonzero(cv2.min(there, 1).view(np.bool_))


_ACROSS, _APART = np.ones((1, 7), np.uint8), np.ones((9, 13), np.uint8)  # the second: 0.3 m across, a metre along
_WIDE = np.ones((1, 21), np.uint8)  # half a metre to either side
_HALF = _COLUMNS // 2
_SIDE = np.repeat([-1, 1], ROWS)
_MIDDLE = np.tile(np.arange(ROWS) * _COLUMNS + _HALF, 2) + np.minimum(_SIDE, 0)
# By grey levels, and by grade.
_WEIGHT = np.minimum(np.arange(256.0), _STRONGEST)
_TRUST = _UNSURE + (1 - _UNSURE) * np.minimum(np.arange(256.0) / _SURE, 1.0)


def _ridges(grey: Image, road: Image) -> tuple[Image, Image, Image]:
    """Where there is road to one side; of that, cells brighter than what is to either side of them, both 0 or 255; by
    how much, in grey levels. All of the columns `_INNER`; `road` is 0 or 255.
    """
    left, right = slice(None, -2 * _BESIDE), slice(2 * _BESIDE, None)
    smooth = cv2.blur(grey, (3, 1))
    by_side = (
        cv2.min(smooth[:, left], smooth[:, _NEARER : _NEARER - 2 * _BESIDE]),
        cv2.min(smooth[:, right], smooth[:, 2 * _BESIDE - _NEARER : -_NEARER]),
    )
    beside = cv2.max(*by_side)
    height = cv2.subtract(smooth[:, _INNER], beside)
    lit = cv2.compare(grey, 0, cv2.CMP_GT)
    there = cv2.bitwise_and(cv2.bitwise_or(road[:, left], road[:, right]), cv2.bitwise_and(lit[:, left], lit[:, right]))
    high = cv2.bitwise_and(
        cv2.compare(height, _least(cv2.absdiff(smooth[:, _INNER], beside), there), cv2.CMP_GT), there
    )
    top = cv2.compare(height, cv2.dilate(height, _ACROSS), cv2.CMP_GE)
    return there, cv2.bitwise_and(high, top), height


def _least(differences: Image, there: Image) -> int:
    """Grey levels that a marking is brighter than: by the usual difference, the median over where `there` is 255."""
    quiet = cv2.compare(differences, _BRIGHTER / _NOISES, cv2.CMP_LE)
    if 2 * cv2.countNonZero(cv2.bitwise_and(quiet, there)) > cv2.countNonZero(there):
        return math.floor(_BRIGHTER)
    some = (slice(None, None, 4), slice(None, None, 4))  # one cell in sixteen is enough
    few = differences[some][there[some] > 0]
    return math.floor(max(_BRIGHTER, _NOISES * float(np.median(few)))) if len(few) else math.floor(_BRIGHTER)


def _peaks(grade: Image) -> Image:
    """255 where a grade is sure and the highest within half a metre to either side, else 0."""
    return cv2.bitwise_and(
        cv2.compare(grade, _SURE, cv2.CMP_GE), cv2.compare(grade, cv2.dilate(grade, _WIDE), cv2.CMP_GE)
    )


def _warped(image: Image, maps: NDArray[np.float32]) -> Image:
    found = cv2.remap(image, maps, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)  # pyright: ignore[reportCallIssue, reportArgumentType]
    return found.astype(np.uint8, copy=False)
