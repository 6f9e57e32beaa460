"""Classes painted over the picture: the groups a class table tints, blended in BGR or straight in a video's planes.

A blend is linear and so is the step from Y'CbCr to R'G'B': blending the planes gives the picture that blending BGR
gives, and spares both conversions. Region borders are smoothed from network to picture size, for the eye only; masks
that are data (`Segmentation.class_map`) keep the network's cells.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from edge.classes import ClassTable
from edge.frame import Image, Letterbox, Matrix, Yuv420, yuv_to_bgr_coefficients

_NEIGHBOURS = np.ones((3, 3), np.uint8)


@dataclass(frozen=True, slots=True)
class TintMap:
    """Which tint covers what, over the picture's part of the network's output.

    `rank` is uint8 (h, w): 0 = none, else 1 + the tint's place in the table. Ranks reach one cell beyond their region,
    so that a smoothed border finds its colour. `cover` is uint8 (h, w): 255 where a tint is, else 0.
    """

    rank: Image
    cover: Image


def tint_map(classes: Image, letterbox: Letterbox, table: ClassTable) -> TintMap:
    """From uint8 (h, w) class ids at network size."""
    rank = cv2.LUT(letterbox.content(classes), _ranks(table))
    cover = cv2.threshold(rank, 0, 255, cv2.THRESH_BINARY)[1]
    grown = cv2.dilate(rank, _NEIGHBOURS)
    cv2.copyTo(rank, cover, grown)
    return TintMap(grown, cover)


def paint_bgr(image: Image, classes: Image, letterbox: Letterbox, table: ClassTable, alpha: float = 0.5) -> Image:
    """A new uint8 (H, W, 3) BGR picture: `image` with the table's tints laid over it, `alpha` strong."""
    tints = tint_map(classes, letterbox, table)
    painted = image.copy()
    colours = np.array([(0, 0, 0), *(rgb[::-1] for rgb in table.tints.values())], np.uint8)
    size_wh = (image.shape[1], image.shape[0])
    small = cv2.LUT(cv2.merge([tints.rank] * 3), _lut(colours))
    colour = cv2.resize(small, size_wh, interpolation=cv2.INTER_NEAREST)
    cv2.copyTo(cv2.addWeighted(image, 1 - alpha, colour, alpha, 0), _cover(tints, size_wh), painted)
    return painted


class YuvPainter:
    """Paints frames of one size into an encoder's planes; owns the buffers it needs for that."""

    def __init__(
        self, size_wh: tuple[int, int], table: ClassTable, matrix: Matrix, full_range: bool, alpha: float
    ) -> None:
        self.table, self.alpha = table, alpha
        self._tables = _plane_tables(table, matrix, full_range)
        width, height = size_wh
        half = ((height + 1) // 2, (width + 1) // 2)
        self._scratch = {shape: tuple(np.empty(shape, np.uint8) for _ in range(3)) for shape in {(height, width), half}}

    def paint(self, source: Yuv420, target: Yuv420, classes: Image, letterbox: Letterbox) -> None:
        """Write `source`, tinted, into the planes of `target`."""
        tints = tint_map(classes, letterbox, self.table)
        rows = _tinted_rows(tints.cover)
        covers: dict[tuple[int, int], Image] = {}  # U and V share theirs
        planes = zip((source.y, source.u, source.v), (target.y, target.u, target.v), self._tables, strict=True)
        for plane, out, table in planes:
            np.copyto(out, plane)
            if rows is not None:
                self._blend(plane, out, tints, table, _Band.of(rows, tints.cover.shape[0], plane.shape), covers)

    def _blend(
        self, plane: Image, out: Image, tints: TintMap, table: Image, band: _Band, covers: dict[tuple[int, int], Image]
    ) -> None:
        """Blend the band of rows that holds tints; the rest is left as it is."""
        width, height = plane.shape[1], band.bottom - band.top
        colour, cover, blend = (buffer[band.top : band.bottom] for buffer in self._scratch[plane.shape])
        if plane.shape not in covers:
            cv2.resize(tints.cover[band.cells], (width, height), dst=cover, interpolation=cv2.INTER_LINEAR)
            covers[plane.shape] = cv2.threshold(cover, 127, 255, cv2.THRESH_BINARY, dst=cover)[1]
        # Nearest cell: across first, then whole rows are copied, a fifth of the time that one call takes for both.
        small = cv2.LUT(tints.rank[band.cells], table)
        across = cv2.resize(small, (width, len(small)), interpolation=cv2.INTER_NEAREST)
        np.take(across, np.arange(height) * len(small) // height, axis=0, out=colour, mode="clip")
        cv2.addWeighted(plane[band.top : band.bottom], 1 - self.alpha, colour, self.alpha, 0, dst=blend)
        cv2.copyTo(blend, covers[plane.shape], out[band.top : band.bottom])


def write_caption(picture: Image, text: str) -> tuple[int, int]:
    """White words on a dim bar in the lower left corner of uint8 (H, W) or (H, W, 3), in place; where the bar has its
    top and its right end.
    """
    height, width = picture.shape[:2]
    scale = max(0.35, height / 1080)
    (text_width, text_height), base = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    margin = text_height // 2 + 1
    top, right = max(0, height - text_height - base - 2 * margin), min(width, text_width + 2 * margin)
    bar = picture[top:, :right]
    cv2.addWeighted(bar, 0.35, bar, 0, 8, dst=bar)
    place = (margin, height - base - margin)
    cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, (235, 235, 235), 1, cv2.LINE_AA)
    return top, right


@dataclass(frozen=True, slots=True)
class _Band:
    """Rows of cells, and the rows `top` to `bottom` of a plane that they cover."""

    cells: slice
    top: int
    bottom: int

    @classmethod
    def of(cls, rows: tuple[int, int], cells: int, plane_shape: tuple[int, ...]) -> _Band:
        """The band around the rows of cells, cut where a row of cells begins exactly on a row of the plane: the part is
        then scaled as the whole would be.
        """
        height = plane_shape[0]
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


def _plane_tables(table: ClassTable, matrix: Matrix, full_range: bool) -> tuple[Image, Image, Image]:
    """For Y, U and V: uint8 (256,), rank to the tint's value in that plane."""
    a = yuv_to_bgr_coefficients(matrix, full_range).astype(np.float64)
    bgr = np.array([rgb[::-1] for rgb in table.tints.values()], np.float64).reshape(-1, 3)
    yuv = np.linalg.solve(a[:, :3], (bgr - a[:, 3]).T).T
    tables = np.zeros((3, 256), np.uint8)
    tables[:, 1 : 1 + len(yuv)] = np.clip(np.rint(yuv), 0, 255).T
    return tables[0], tables[1], tables[2]
