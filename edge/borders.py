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
_PASSES = 3
_SMALL = 16  # corners of cells; a border of fewer stays as it is: smoothed, what is far away would vanish
_OUTSIDE_PX = 4.0  # so far beyond the image goes what reaches its edge: no line is drawn along that


@dataclass(frozen=True, slots=True)
class Borders:
    """The borders of all regions of a map.

    `corners` is complex64 (n,), x + iy in cells from the upper left corner of the map: one closed border after another.
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
        across, down = pixels_per_cell
        points = np.empty((len(self.corners), 1, 2), np.float32)
        points[:, 0, 0] = self.corners.real * across + self.outward.real * _OUTSIDE_PX
        points[:, 0, 1] = self.corners.imag * down + self.outward.imag * _OUTSIDE_PX
        fixed = np.rint((points - 0.5) * (1 << SHIFT)).astype(np.int32)
        begins = (0, *self.ends[:-1])
        each = iter([fixed[begin:end] for begin, end in zip(begins, self.ends, strict=True)])
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
    lengths = np.array([len(one) for one in found])
    corners = np.concatenate(found).reshape(-1, 2)
    smooth, outward = _smoothed(corners, lengths, (rank.shape[1], rank.shape[0]))
    kept = _thinned(lengths)
    ends = np.searchsorted(kept, np.cumsum(lengths)).tolist()
    return Borders(smooth[kept], outward[kept], ends, of_rank)


def _contours(mask: NDArray[np.uint8]) -> Sequence[NDArray[np.int32]]:
    """The borders of a mask along the corners of its cells. Gaps of one cell are closed."""
    x, y, width, height = cv2.boundingRect(mask)
    if height == 0:
        return ()
    part = cv2.copyMakeBorder(mask[y : y + height, x : x + width], 0, 1, 0, 1, cv2.BORDER_CONSTANT, value=0)
    part = cv2.dilate(part, _CORNERS, anchor=(1, 1), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return cv2.findContours(part, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE, offset=(x, y))[0]


def _smoothed(
    corners: NDArray[np.int32], lengths: NDArray[np.intp], map_wh: tuple[int, int]
) -> tuple[NDArray[np.complex64], NDArray[np.complex64]]:
    """Each corner pulled towards its neighbours, but for small borders and at the map's edge; and `Borders.outward`."""
    ends = np.cumsum(lengths)
    begins = ends - lengths
    after, before = np.arange(1, len(corners) + 1), np.arange(-1, len(corners) - 1)
    after[ends - 1], before[begins] = begins, ends - 1
    sides = (corners >= map_wh).astype(np.float32) - (corners <= 0)
    outward = sides.view(np.complex64).ravel()
    pull = np.where(outward == 0, np.float32(0.25), np.float32(0))
    for border in np.flatnonzero(lengths < _SMALL):
        pull[begins[border] : ends[border]] = 0
    points: NDArray[np.complex64] = corners.astype(np.float32).view(np.complex64).ravel()
    for _ in range(_PASSES):
        points += pull * (points.take(before) + points.take(after) - 2 * points)
    return points, outward


def _thinned(lengths: NDArray[np.intp]) -> NDArray[np.intp]:
    """The places of the corners that are drawn: of smoothed borders every second one is enough."""
    place = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return np.flatnonzero((place % 2 == 0) | np.repeat(lengths < _SMALL, lengths))
