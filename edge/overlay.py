"""Classes painted over the image: the groups a class table tints, blended in BGR or straight in a video's planes.

A blend is linear and so is the step from Y'CbCr to R'G'B': blending the planes gives the image that blending BGR
gives, and spares both conversions. Region borders are smoothed from network to image size (in planes, by steps of two
pixels), for the eye only; masks that are data (`Prediction.class_map`) keep the network's cells.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.classes import ClassTable
from edge.frame import Image, Letterbox, Matrix, Yuv420, yuv_to_bgr_coefficients

_NEIGHBOURS = np.ones((3, 3), np.uint8)


@dataclass(frozen=True, slots=True)
class TintMap:
    """Which tint covers what, over the image's part of the network's output.

    `rank` is uint8 (h, w): 0 = none, else 1 + the tint's place in the table. Ranks reach one cell beyond their region,
    so that a smoothed border finds its colour. `cover` is uint8 (h, w): 255 where a tint is, else 0.
    """

    rank: Image
    cover: Image


def tint_map(classes: Image, letterbox: Letterbox, table: ClassTable) -> TintMap:
    """From uint8 (h, w) class ids at network size."""
    return _tints(letterbox.content(classes), _ranks(table))


def _tints(classes: Image, ranks: Image) -> TintMap:
    rank = cv2.LUT(classes, ranks)
    cover = cv2.threshold(rank, 0, 255, cv2.THRESH_BINARY)[1]
    grown = cv2.dilate(rank, _NEIGHBOURS)
    cv2.copyTo(rank, cover, grown)
    return TintMap(grown, cover)


def paint_bgr(image: Image, classes: Image, letterbox: Letterbox, table: ClassTable, alpha: float = 0.5) -> Image:
    """A new uint8 (H, W, 3) BGR image: `image` with the table's tints laid over it, `alpha` strong."""
    tints = tint_map(classes, letterbox, table)
    painted = image.copy()
    colours = np.array([(0, 0, 0), *(rgb[::-1] for rgb in table.tints.values())], np.uint8)
    size_wh = (image.shape[1], image.shape[0])
    small = cv2.LUT(cv2.merge([tints.rank] * 3), _lut(colours))
    colour = cv2.resize(small, size_wh, interpolation=cv2.INTER_NEAREST)
    cv2.copyTo(cv2.addWeighted(image, 1 - alpha, colour, alpha, 0), _cover(tints, size_wh), painted)
    return painted


class YuvPainter:
    """Paints frames of one size into an encoder's planes; owns the buffers it needs for that.

    Where tints lie is worked out once for all planes: in pixels of chroma, each of which is two by two of luma, or in
    those of luma where the network's cells are finer than chroma.
    """

    def __init__(
        self, size_wh: tuple[int, int], table: ClassTable, matrix: Matrix, full_range: bool, alpha: float
    ) -> None:
        self._alpha = alpha
        self._ranks, self._values = _ranks(table), _plane_tints(table, matrix, full_range)
        self._luma_wh = size_wh
        self._chroma_wh = (size_wh[0] + 1) // 2, (size_wh[1] + 1) // 2
        self._cover = np.empty((2 * self._chroma_wh[1], 2 * self._chroma_wh[0]), np.uint8)
        self._buffers = [np.empty(size_wh[::-1], np.uint8) for _ in range(2)]

    def paint(self, source: Yuv420, target: Yuv420, classes: Image, letterbox: Letterbox) -> None:
        """Write `source`, tinted, into the planes of `target`."""
        planes = ((source.y, target.y), (source.u, target.u), (source.v, target.v))
        for plane, out in planes:
            np.copyto(out, plane)
        tints = _tints(letterbox.content(classes), self._ranks)
        if (rows := _tinted_rows(tints.cover)) is None:
            return
        high, wide = tints.cover.shape
        if wide <= self._chroma_wh[0] and high <= self._chroma_wh[1]:
            layout, (y, u, v) = self._lay_out(tints, rows, self._chroma_wh)
            parts = (_twice_across(y), layout.doubled(self._cover)), (u, layout), (v, layout)
        else:  # all rows: those of a part might not begin where a pixel of chroma does
            layout, (y, u, v) = self._lay_out(tints, (0, high), self._luma_wh)
            halved = layout.halved()
            parts = (y, layout), (u[:, ::2], halved), (v[:, ::2], halved)
        for (plane, out), (colour, layout) in zip(planes, parts, strict=True):
            self._blend(plane, out, colour, layout)

    def _lay_out(
        self, tints: TintMap, rows: tuple[int, int], size_wh: tuple[int, int]
    ) -> tuple[_Layout, tuple[Image, Image, Image]]:
        """The layout of the rows of cells in a plane of that size, and its colours in Y, U and V: uint8 (cells, w)."""
        width, height = size_wh
        band = _Band.of(rows, tints.cover.shape[0], height)
        cover = cv2.resize(tints.cover[band.cells], (width, band.bottom - band.top), interpolation=cv2.INTER_LINEAR)
        cv2.threshold(cover, 127, 255, cv2.THRESH_BINARY, dst=cover)
        # The three values of a tint go as one of four bytes. Nearest cell: across here, then whole rows are copied. One
        # call for each plane and both directions would take three times as long.
        rank = tints.rank[band.cells]
        values = cv2.LUT(rank, self._values).view(np.uint8).reshape(*rank.shape, 4)
        y, u, v, _ = cv2.split(cv2.resize(values, (width, len(rank)), interpolation=cv2.INTER_NEAREST))
        return _Layout(band.top, np.arange(len(cover)) * len(rank) // len(cover), cover), (y, u, v)

    def _blend(self, plane: Image, out: Image, colour: Image, layout: _Layout) -> None:
        """Blend the rows of the layout; the rest is left as it is."""
        width, rows = plane.shape[1], slice(layout.top, layout.top + len(layout.cells))
        below = plane[rows]
        cells, cover = layout.cells[: len(below)], layout.cover[: len(below), :width]
        tint, blended = (buffer.reshape(-1)[: below.size].reshape(below.shape) for buffer in self._buffers)
        np.take(colour[:, :width], cells, axis=0, out=tint, mode="clip")
        cv2.addWeighted(below, 1 - self._alpha, tint, self._alpha, 0, dst=blended)
        cv2.copyTo(blended, cover, out[rows])


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where tints lie in the rows of a plane from `top` on.

    `cells` is int (h,): the row of cells that each row shows. `cover` is uint8 (h, w): 255 where a tint is, else 0.
    """

    top: int
    cells: NDArray[np.intp]
    cover: Image

    def doubled(self, cover: Image) -> _Layout:
        """The same for a plane of twice the size; written into `cover`."""
        rows = np.arange(2 * len(self.cells)) // 2
        across = _twice_across(self.cover)
        np.take(across, rows, axis=0, out=cover[: len(rows)], mode="clip")
        return _Layout(2 * self.top, self.cells[rows], cover)

    def halved(self) -> _Layout:
        """The same for a plane of half the size."""
        return _Layout(self.top // 2, self.cells[::2], np.ascontiguousarray(self.cover[::2, ::2]))


def _twice_across(plane: Image) -> Image:
    """Each pixel twice: uint8 (h, w) to (h, 2 w), in a fifth of the time that cv2.resize takes."""
    return cv2.merge([plane, plane]).reshape(len(plane), -1)


def write_caption(image: Image, text: str) -> tuple[int, int]:
    """White words on a dim bar in the lower left corner of uint8 (H, W) or (H, W, 3), in place; where the bar has its
    top and its right end.
    """
    height, width = image.shape[:2]
    scale = max(0.35, height / 1080)
    (text_width, text_height), base = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    margin = text_height // 2 + 1
    top, right = max(0, height - text_height - base - 2 * margin), min(width, text_width + 2 * margin)
    bar = image[top:, :right]
    cv2.addWeighted(bar, 0.35, bar, 0, 8, dst=bar)
    place = (margin, height - base - margin)
    cv2.putText(image, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, (235, 235, 235), 1, cv2.LINE_AA)
    return top, right


@dataclass(frozen=True, slots=True)
class _Band:
    """Rows of cells, and the rows `top` to `bottom` of a plane that they cover."""

    cells: slice
    top: int
    bottom: int

    @classmethod
    def of(cls, rows: tuple[int, int], cells: int, height: int) -> _Band:
        """The band around the rows of cells, cut where a row of cells begins exactly on a row of the plane: the part is
        then scaled as the whole would be.
        """
        step = cells // math.gcd(cells, height)
        first, last = rows[0] // step * step, -(-rows[1] // step) * step
        return cls(slice(first, last), first * height // cells, last * height // cells)


def _tinted_rows(cover: Image) -> tuple[int, int] | None:
    """First and last + 1 row of cells that a tint reaches when smoothed; None where nothing is tinted."""
    _, top, _, height = cv2.boundingRect(cover)
    if height == 0:
        return None
    return max(0, top - 1), min(cover.shape[0], top + height + 1)


def _cover(tints: TintMap, size_wh: tuple[int, int]) -> Image:
    smooth = cv2.resize(tints.cover, size_wh, interpolation=cv2.INTER_LINEAR)
    return cv2.threshold(smooth, 127, 255, cv2.THRESH_BINARY)[1]


def _ranks(table: ClassTable) -> Image:
    """uint8 (256,): class id to 1 + the place of the tint that covers it; the last tint wins."""
    ranks = np.zeros(256, np.uint8)
    for place, group in enumerate(table.tints):
        ranks[list(table.ids(group))] = 1 + place
    return ranks


def _lut(rows: Image) -> Image:
    """uint8 (n, c) values by rank as a table cv2.LUT takes, (1, 256, c)."""
    lut = np.zeros((1, 256, rows.shape[1]), np.uint8)
    lut[0, : len(rows)] = rows
    return lut


def _plane_tints(table: ClassTable, matrix: Matrix, full_range: bool) -> NDArray[np.int32]:
    """int32 (1, 256), as cv2.LUT takes it: rank to the bytes of the tint's Y, U and V, and one that says nothing."""
    a = yuv_to_bgr_coefficients(matrix, full_range).astype(np.float64)
    bgr = np.array([rgb[::-1] for rgb in table.tints.values()], np.float64).reshape(-1, 3)
    yuv = np.linalg.solve(a[:, :3], (bgr - a[:, 3]).T).T
    values = np.zeros((256, 4), np.uint8)
    values[1 : 1 + len(yuv), :3] = np.clip(np.rint(yuv), 0, 255)
    return values.view(np.int32).reshape(1, 256)
