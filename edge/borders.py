"""The borders of regions as smooth polygons: the steps of the network's cells are evened out, for the eye only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

SHIFT = 4  # polygons are in sixteenths of a pixel, as OpenCV's drawing functions take them
Polygons = list[NDArray[np.int32]]

_CORNERS = np.ones((2, 2), np.uint8)  # from cells to the corners of cells
_SMALL = 16  # corners of cells; a border of fewer stays as it is: smoothed, what is far away would vanish
_OUTSIDE_PX = 4.0  # so far beyond the image goes what reaches its edge: no line is drawn along that


@dataclass(frozen=True, slots=True)
class Borders:
    """The borders of all regions of a map.

    `corners` is complex64 (n,), x + iy in cells from the upper left corner of the map: one closed border after another,
    every second corner of a smoothed one.
    `outward` is complex64 (n,): -1, 0 or 1 in each direction where a corner lies at the edge of the map. `ends` are the
    places behind each border's last corner, and `of_rank` how many borders each rank has, from rank 1 on.
    """

    corners: NDArray[np.complex64]
    outward: NDArray[np.complex64]
    ends: Sequence[int]
    of_rank: Sequence[int]

    def polygons(self, pixels_per_cell: tuple[float, float]) -> list[Polygons]:
        """For each rank its borders in an image of that scale: int32 (k, 1, 2), x and y times 2 ** SHIFT, from the
        centre of the first pixel. Several of a rank together are filled by the even-odd rule: holes stay open.
        """
        return self._split(self._points(pixels_per_cell))

    def planes(self, pixels_per_cell: tuple[float, float]) -> tuple[list[Polygons], list[Polygons], tuple[int, int]]:
        """As `polygons`, for a plane of that scale and for one of half of it; the second's are times 2 ** (SHIFT + 1).
        And the rows of the larger plane that hold a polygon: the first, and the one behind the last; they may lie
        outside of it.
        """
        points = self._points(pixels_per_cell)
        down = points[:, 0, 1]
        rows = (int(down.min()) >> SHIFT) - 1, (int(down.max()) >> SHIFT) + 2
        # A pixel of half the scale has its centre half a pixel of the full one further in.
        return self._split(points), self._split(points - (1 << SHIFT - 1)), rows

    def _points(self, pixels_per_cell: tuple[float, float]) -> NDArray[np.int32]:
        across, down = pixels_per_cell
        points = self.corners.view(np.float32).reshape(-1, 1, 2) * np.array((across, down), np.float32)
        points += self.outward.view(np.float32).reshape(-1, 1, 2) * np.float32(_OUTSIDE_PX)
        points -= np.float32(0.5)
        points *= np.float32(1 << SHIFT)
        return np.rint(points, out=points).astype(np.int32)

    def _split(self, points: NDArray[np.int32]) -> list[Polygons]:
        begins = (0, *self.ends[:-1])
        each = iter([points[begin:end] for begin, end in zip(begins, self.ends, strict=True)])
        return [[next(each) for _ in range(count)] for count in self.of_rank]


def borders_of(rank: NDArray[np.uint8], ranks: int) -> Borders | None:
    """The borders of the regions of each rank, 1 to `ranks`, in a uint8 (h, w) map; None where there are none."""
    found: list[NDArray[np.int32]] = []
    of_rank: list[int] = []
    for number in range(1, ranks + 1):
        before = len(found)
        found += _contours((rank == number).view(np.uint8))
        of_rank.append(len(found) - before)
    if not found:
        return None
    map_wh = (rank.shape[1], rank.shape[0])
    small = [len(one) < _SMALL for one in found]
    thin = [one if whole else one[::2] for one, whole in zip(found, small, strict=True)]
    corners, ends = np.concatenate(thin).reshape(-1, 2), np.cumsum([len(one) for one in thin])
    outward = ((corners >= map_wh).astype(np.float32) - (corners <= 0)).view(np.complex64).ravel()
    pulled = (outward == 0) & ~np.repeat(small, np.diff(ends, prepend=0))
    return Borders(_smoothed(corners, ends, pulled), outward, ends.tolist(), of_rank)


def _contours(mask: NDArray[np.uint8]) -> Sequence[NDArray[np.int32]]:
    """The borders of a mask along the corners of its cells. Gaps of one cell are closed."""
    x, y, width, height = cv2.boundingRect(mask)
    if height == 0:
        return ()
    part = cv2.copyMakeBorder(mask[y : y + height, x : x + width], 0, 1, 0, 1, cv2.BORDER_CONSTANT, value=0)
    part = cv2.dilate(part, _CORNERS, anchor=(1, 1), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return cv2.findContours(part, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE, offset=(x, y))[0]


def _smoothed(corners: NDArray[np.int32], ends: NDArray[np.intp], pulled: NDArray[np.bool_]) -> NDArray[np.complex64]:
    """Each corner that is `pulled`, half way to the middle of its neighbours: once over every second corner evens out
    as much as three times over all.
    """
    points: NDArray[np.complex64] = corners.astype(np.float32).view(np.complex64).ravel()
    begins = np.concatenate([[0], ends[:-1]])
    after, before = np.roll(points, -1), np.roll(points, 1)
    after[ends - 1], before[begins] = points[begins], points[ends - 1]
    points += np.where(pulled, np.float32(0.25), np.float32(0)) * (after + before - 2 * points)
    return points
