"""What on the road may be part of a lane's boundary, seen from above: markings, curbs, and the edge of the road's mask.

Markings are thin ridges brighter than the road to both sides. Where an engine grades markings and curbs (the output
"marking_grades"), its grades say which ridges to trust, and add what is no ridge.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.frame import Frame, Image, Letterbox
from edge.geometry.ground import Floats, GroundPlane
from edge.geometry.lane import NEAR_M

FAR_M, SIDE_M = 34.0, 3.8  # what is looked at
ALONG_M, ACROSS_M = 0.25, 0.05  # a cell of the view from above
ROWS = round((FAR_M - NEAR_M) / ALONG_M)
MARKING, CURB, EDGE = range(3)
OTHER, ROAD, THING = range(3)  # values of `cover`
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
_STRIDE = 4  # of the network's pixels a cell of grades


@dataclass(frozen=True, slots=True)
class Points:
    """Where boundaries may be, (N,) each: what it is (MARKING, CURB, EDGE), row of the view from above, metres to the
    right and ahead, how much it counts, and whether nothing that the engine grades speaks against it.
    """

    what: NDArray[np.intp]
    row: NDArray[np.intp]
    right: Floats
    ahead: Floats
    weight: Floats
    sure: NDArray[np.bool_]

    def straightened(self, heading: float, bend: float) -> Floats:
        """(N,): the offsets of lines of that direction through them."""
        return self.right - heading * self.ahead - bend * np.square(self.ahead) / 2


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a frame shows: the points, and the cells that are marking and that are hidden, bool (ROWS, columns)."""

    points: Points
    marked: NDArray[np.bool_]
    hidden: NDArray[np.bool_]

    def coverage(self, right_m: Floats, to_row: int) -> tuple[int, int]:
        """Along a line, (ROWS,) metres to the right: on how many rows below `to_row` it is marked, of how many on which
        it is seen between the first and the last that is.
        """
        columns = ((right_m[:to_row] + SIDE_M) / ACROSS_M).astype(np.intp)
        inside = (columns >= _OWN) & (columns < self.marked.shape[1] - _OWN)
        rows, columns = np.flatnonzero(inside), columns[inside]
        marked = np.zeros(len(rows), np.bool_)
        for aside in range(-_OWN, _OWN + 1):
            marked |= self.marked[rows, columns + aside]
        there = np.flatnonzero(marked)
        if not len(there):
            return 0, 0
        seen = marked | ~self.hidden[rows, columns]
        return len(there), int(seen[there[0] : there[-1] + 1].sum())


class ViewFromAbove:
    """Frames of one shape; what of a frame is where from above is worked out once."""

    def __init__(self, plane: GroundPlane, letterbox: Letterbox) -> None:
        across = np.arange(round(2 * SIDE_M / ACROSS_M))
        self.right: Floats = np.array(-SIDE_M + (across + 0.5) * ACROSS_M, np.float64)
        self.ahead: Floats = np.array(NEAR_M + (np.arange(ROWS) + 0.5) * ALONG_M, np.float64)
        right, ahead = np.meshgrid(self.right, self.ahead)
        seen = plane.pixels(np.stack([right.ravel(), ahead.ravel()], axis=1))
        cells = seen * (np.array(letterbox.content_xywh[2:]) / letterbox.source_wh)
        self._frame_maps, self._mask_maps, self._grade_maps = (
            np.nan_to_num(at - 0.5, nan=-1e4).clip(-1e4, 3e4).astype(np.float32).reshape(*right.shape, 2)
            for at in (seen, cells, (cells + letterbox.content_xywh[:2]) / _STRIDE)
        )

    def evidence(self, frame: Frame, cover: Image, grades: NDArray[np.uint8] | None) -> Evidence:
        """Of a frame; see `LaneFinder.find`."""
        grey = _warped(frame.yuv.y if frame.yuv is not None else frame.image, self._frame_maps, cv2.INTER_LINEAR)
        if grey.ndim == 3:
            grey = cv2.cvtColor(grey, cv2.COLOR_BGR2GRAY)
        seen = _warped(cover, self._mask_maps, cv2.INTER_NEAREST, border=THING)
        marking = curb = None
        if grades is not None:
            marking, curb = cv2.split(_warped(cv2.merge(list(grades)), self._grade_maps, cv2.INTER_LINEAR))
        marked = np.zeros(grey.shape, np.bool_)
        found = [self._markings(grey, seen == ROAD, marking, marked), *self._edges(seen)]
        if curb is not None:
            found.append(self._points(CURB, *_cells(_is_peak(curb)), _CURBED))
        points = Points(*(np.concatenate([getattr(one, name) for one in found]) for name in Points.__slots__))
        return Evidence(points, marked, (seen == THING) | (grey == 0))

    def _markings(self, grey: Image, road: NDArray[np.bool_], grade: Image | None, marked: NDArray[np.bool_]) -> Points:
        """Ridges, and what is graded as marking where no ridge is near; they become True in `marked`."""
        there, ridges, height = _ridges(grey, road)
        if grade is not None:
            ridges |= _is_peak(grade)[:, _INNER] & there & (cv2.dilate(ridges.view(np.uint8), _APART) == 0)
        rows, columns = _cells(ridges)
        in_row = np.bincount(rows, minlength=len(grey)) <= _MOST_IN_ROW
        rows, columns = rows[in_row[rows]], columns[in_row[rows]]
        weight: Any = np.minimum(height[rows, columns], _STRONGEST)
        columns = columns + _BESIDE
        marked[rows, columns] = True
        if grade is None:
            return self._points(MARKING, rows, columns, weight)
        near = cv2.dilate(grade, _ACROSS)[rows, columns]
        trust = _UNSURE + (1 - _UNSURE) * np.minimum(near / _SURE, 1.0)
        weight = np.where(weight < _BRIGHTER, _GRADED, weight * trust)
        return self._points(MARKING, rows, columns, weight, grade[rows, columns] >= _SURE)

    def _edges(self, seen: Image) -> list[Points]:
        """Where the road under the car's way ends to either side, at what is no person and no vehicle."""
        middle = seen.shape[1] // 2
        found: list[Points] = []
        rows = np.arange(len(seen))
        for half, side in ((seen[:, middle - 1 :: -1], -1), (seen[:, middle:], 1)):
            end = (half != ROAD).argmax(axis=1)
            ends = (end > 0) & (half[rows, end] == OTHER)
            at = middle + end[ends] if side > 0 else middle - 1 - end[ends]
            found.append(self._points(EDGE, rows[ends], at, _EDGED))
        return found

    def _points(
        self, what: int, rows: NDArray[np.intp], columns: NDArray[np.intp], weight: Any, sure: Any = None
    ) -> Points:
        count = len(rows)
        weights = np.broadcast_to(np.asarray(weight, np.float64), count)
        is_sure = np.ones(count, np.bool_) if sure is None else sure
        return Points(np.full(count, what, np.intp), rows, self.right[columns], self.ahead[rows], weights, is_sure)


_ACROSS, _APART = np.ones((1, 7), np.uint8), np.ones((9, 13), np.uint8)  # the second: 0.3 m across, a metre along
_WIDE = np.ones((1, 21), np.uint8)  # half a metre to either side


def _ridges(grey: Image, road: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_], Image]:
    """Where there is road to one side; of that, cells brighter than what is to either side of them; by how much, in
    grey levels. All of the columns `_INNER`.
    """
    left, right = slice(None, -2 * _BESIDE), slice(2 * _BESIDE, None)
    smooth = cv2.blur(grey, (3, 1))
    by_side = (
        cv2.min(smooth[:, left], smooth[:, _NEARER : _NEARER - 2 * _BESIDE]),
        cv2.min(smooth[:, right], smooth[:, 2 * _BESIDE - _NEARER : -_NEARER]),
    )
    beside = cv2.max(*by_side)
    height = cv2.subtract(smooth[:, _INNER], beside)
    there = (road[:, left] | road[:, right]) & (grey[:, left] > 0) & (grey[:, right] > 0)
    some = (slice(None, None, 4), slice(None, None, 4))  # one cell in sixteen is enough
    few = cv2.absdiff(smooth[:, _INNER], beside)[some][there[some]]
    noise = float(np.median(few)) if len(few) else 0.0
    ridges = there & (height > max(_BRIGHTER, _NOISES * noise)) & (height >= cv2.dilate(height, _ACROSS))
    return there, ridges, height


def _cells(there: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of what is True; np.nonzero takes three times as long."""
    rows, columns = np.divmod(np.flatnonzero(there), there.shape[1])
    return rows, columns


def _is_peak(grade: Image) -> NDArray[np.bool_]:
    return (grade >= _SURE) & (grade >= cv2.dilate(grade, _WIDE))


def _warped(image: Image, maps: NDArray[np.float32], how: int, border: int = 0) -> Image:
    found = cv2.remap(image, maps, None, how, borderMode=cv2.BORDER_CONSTANT, borderValue=border)  # pyright: ignore[reportCallIssue, reportArgumentType]
    return found.astype(np.uint8, copy=False)
