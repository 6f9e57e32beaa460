"""Classes painted over the image: the groups a class table tints, in BGR or straight in a video's planes.

Blending is linear and so is the step from Y'CbCr to R'G'B': blending the planes gives the image that blending BGR
gives, and spares both conversions. A tint covers colour more than brightness: lane markings and texture stay visible.
Borders are smooth at the image's size (`edge.borders`), for the eye only; masks that are data
(`Prediction.class_map`) keep the network's cells.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.appearance import Appearance
from edge.borders import SHIFT, Borders, Polygons, borders_of
from edge.caption import legend_of
from edge.classes import ClassTable
from edge.frame import Image, Letterbox, Matrix, Yuv420, luma_weights, yuv_from_rgb

_FINE_ROWS = 1440  # images of as many rows get thicker lines
Colour = int | tuple[int, int, int]


def paint_bgr(
    image: Image,
    classes: Image,
    letterbox: Letterbox,
    table: ClassTable,
    look: Appearance | None = None,
    matrix: Matrix = "bt601",
) -> Image:
    """A new uint8 (H, W, 3) BGR image, or (H, 2 W, 3) side by side: `image` with the table's tints laid over it.

    Args:
        image: uint8 (H, W, 3) BGR; `classes` is uint8 (h, w) class ids at network size.
        look: how it looks, `Appearance()` by default.
        matrix: the luma that a tint leaves visible.

    Raises:
        ConfigError: the table has not the classes that are to be painted.
    """
    look = look or Appearance()
    table = look.table(table)
    size_wh = (image.shape[1], image.shape[0])
    cells = letterbox.content(classes)
    borders = borders_of(cv2.LUT(cells, _ranks(table)), len(table.tints))
    polygons = _polygons(borders, cells, size_wh, len(table.tints))
    colours = [(blue, green, red) for red, green, blue in table.tints.values()]
    painted = _BGR[look.style](image, polygons, colours, look.strength, matrix)
    if look.legend:
        legend_of(size_wh, tuple(table.tints.items())).draw_bgr(painted)
    return np.hstack([image, painted]) if look.is_doubled else painted


def _tinted_bgr(
    image: Image, polygons: Sequence[Polygons], colours: Sequence[Colour], strength: float, matrix: Matrix
) -> Image:
    """The sum of what the tint leaves of the image, which is the same below all tints, and of a constant for each."""
    painted = image.copy()
    weights, kept = np.array(luma_weights(matrix)), strength - _luma_strength(strength)
    below = cv2.transform(image, (1 - strength) * np.eye(3) + kept * np.tile(weights, (3, 1)))
    rank = np.zeros(image.shape[:2], np.uint8)
    for number, found in enumerate(polygons, 1):
        _fill(rank, found, number)
    for number, (found, colour) in enumerate(zip(polygons, colours, strict=True), 1):
        if found:
            added = strength * np.array(colour) - kept * (weights @ colour)
            _add(below, added, (rank == number).view(np.uint8), painted)
    _draw(painted, polygons, colours, _thickness(len(image)))
    return painted


def _add(image: Image, constant: NDArray[np.float64], mask: Image, out: Image) -> None:
    """Write `image` plus a constant where the mask is not 0."""
    x, y, width, height = cv2.boundingRect(mask)
    if width:  # else another region lies over all of it
        part = slice(y, y + height), slice(x, x + width)
        cv2.add(image[part], (*constant.tolist(), 0.0), dst=out[part], mask=mask[part])


def _outlined_bgr(
    image: Image, polygons: Sequence[Polygons], colours: Sequence[Colour], strength: float, matrix: Matrix
) -> Image:
    painted = image.copy()
    _draw(painted, polygons, colours, 2 * _thickness(len(image)))
    return painted


def _masked_bgr(
    image: Image, polygons: Sequence[Polygons], colours: Sequence[Colour], strength: float, matrix: Matrix
) -> Image:
    painted = np.zeros_like(image)
    for found, colour in zip(polygons, colours, strict=True):
        _fill(painted, found, colour, cv2.LINE_AA)
    return painted


_BGR: dict[str, Callable[[Image, Sequence[Polygons], Sequence[Colour], float, Matrix], Image]] = {
    "tint": _tinted_bgr,
    "outline": _outlined_bgr,
    "mask": _masked_bgr,
    "side-by-side": _tinted_bgr,
}


@dataclass(frozen=True, slots=True)
class _Plane:
    """What painting one plane takes: its colours by rank, black, the strength of tints, thickness and kind of lines,
    by which power of two its polygons are too large, and room for a plane.
    """

    colours: Sequence[int]
    black: int
    strength: float
    thickness: int
    line: int
    shift: int
    room: Image


class YuvPainter:
    """Paints frames of one size into an encoder's planes; owns the buffers it needs for that."""

    def __init__(
        self,
        size_wh: tuple[int, int],
        table: ClassTable,
        matrix: Matrix,
        full_range: bool,
        look: Appearance | None = None,
    ) -> None:
        """Raises ConfigError: the table has not the classes that are to be painted."""
        self._look = look = look or Appearance()
        table = look.table(table)
        self._ranks, self._count = _ranks(table), len(table.tints)
        colours = yuv_from_rgb(list(table.tints.values()), matrix, full_range)
        chroma = np.empty(((size_wh[1] + 1) // 2, (size_wh[0] + 1) // 2), np.uint8)
        blacks, thick = (0 if full_range else 16, 128, 128), _thickness(size_wh[1])
        rooms = (np.empty(size_wh[::-1], np.uint8), chroma, chroma)
        lines = (cv2.LINE_AA, cv2.LINE_8, cv2.LINE_8)  # the eye sees steps of brightness, not of colour
        strengths = (_luma_strength(look.strength), look.strength, look.strength)
        self._planes = [
            _Plane(
                colours[:, i].tolist(),
                blacks[i],
                strengths[i],
                thick if i == 0 else (thick + 1) // 2,
                lines[i],
                SHIFT if i == 0 else SHIFT + 1,
                rooms[i],
            )
            for i in range(3)
        ]
        self._legend = (
            legend_of(size_wh, tuple(table.tints.items())).planes(matrix, full_range) if look.legend else None
        )

    def paint(self, source: Yuv420, target: Yuv420, classes: Image, letterbox: Letterbox) -> None:
        """Write `source`, painted, into the planes of `target`: as large, or twice as wide side by side."""
        if self._look.is_doubled:
            left, target = halves(target)
            for plane, out in zip(_planes(source), _planes(left), strict=True):
                np.copyto(out, plane)
        cells = letterbox.content(classes)
        borders = borders_of(cv2.LUT(cells, self._ranks), self._count)
        height, width = source.y.shape
        luma, chroma, (top, bottom) = _plane_polygons(borders, cells, (width, height), self._count)
        style = _PLANES[self._look.style]
        for place, (plane, out, how) in enumerate(zip(_planes(source), _planes(target), self._planes, strict=True)):
            step = 2 if place else 1
            rows = slice(min(len(plane), max(0, top // step)), min(len(plane), max(0, -(-bottom // step))))
            style(plane, out, rows, chroma if place else luma, how)
        if self._legend is not None:
            self._legend.draw(target)


def _tint_plane(plane: Image, out: Image, rows: slice, polygons: Sequence[Polygons], how: _Plane) -> None:
    np.copyto(out[: rows.start], plane[: rows.start])
    np.copyto(out[rows.stop :], plane[rows.stop :])
    if rows.start == rows.stop:
        return
    np.copyto(how.room[rows], plane[rows])
    for found, colour in zip(polygons, how.colours, strict=True):
        _fill(how.room, found, colour, shift=how.shift)
    cv2.addWeighted(plane[rows], 1 - how.strength, how.room[rows], how.strength, 0, dst=out[rows])
    _draw(out, polygons, how.colours, how.thickness, how.line, how.shift)


def _outline_plane(plane: Image, out: Image, rows: slice, polygons: Sequence[Polygons], how: _Plane) -> None:
    np.copyto(out, plane)
    _draw(out, polygons, how.colours, 2 * how.thickness, how.line, how.shift)


def _mask_plane(plane: Image, out: Image, rows: slice, polygons: Sequence[Polygons], how: _Plane) -> None:
    out[:] = how.black
    for found, colour in zip(polygons, how.colours, strict=True):
        _fill(out, found, colour, cv2.LINE_AA, how.shift)


_PLANES: dict[str, Callable[[Image, Image, slice, Sequence[Polygons], _Plane], None]] = {
    "tint": _tint_plane,
    "outline": _outline_plane,
    "mask": _mask_plane,
    "side-by-side": _tint_plane,
}


def halves(planes: Yuv420) -> tuple[Yuv420, Yuv420]:
    """The left and the right half of planes whose width is a multiple of 4, as views."""
    width = planes.y.shape[1] // 2
    left, right = (
        Yuv420(planes.y[:, part], planes.u[:, half], planes.v[:, half], planes.matrix, planes.full_range, planes.owner)
        for part, half in (
            (slice(0, width), slice(0, width // 2)),
            (slice(width, 2 * width), slice(width // 2, width)),
        )
    )
    return left, right


def _planes(yuv: Yuv420) -> tuple[Image, Image, Image]:
    return yuv.y, yuv.u, yuv.v


def _luma_strength(strength: float) -> float:
    """A tint covers brightness less than colour: what is painted on the road is seen by its brightness."""
    return strength * strength


def _thickness(rows: int) -> int:
    return max(1, rows // _FINE_ROWS + 1) if rows >= _FINE_ROWS else 1


def _polygons(borders: Borders | None, cells: Image, size_wh: tuple[float, float], count: int) -> list[Polygons]:
    if borders is None:
        return [[] for _ in range(count)]
    return borders.polygons((size_wh[0] / cells.shape[1], size_wh[1] / cells.shape[0]))


def _plane_polygons(
    borders: Borders | None, cells: Image, size_wh: tuple[int, int], count: int
) -> tuple[list[Polygons], list[Polygons], tuple[int, int]]:
    """Of luma, of chroma, and the rows of luma that hold a tint."""
    if borders is None:
        none: list[Polygons] = [[] for _ in range(count)]
        return none, none, (0, 0)
    return borders.planes((size_wh[0] / cells.shape[1], size_wh[1] / cells.shape[0]))


def _fill(image: Image, polygons: Polygons, colour: Colour, line: int = cv2.LINE_8, shift: int = SHIFT) -> None:
    if polygons:
        cv2.fillPoly(image, polygons, colour, line, shift)  # type: ignore[arg-type]  # one number for one channel


def _draw(
    image: Image,
    polygons: Sequence[Polygons],
    colours: Sequence[Colour],
    thickness: int,
    line: int = cv2.LINE_AA,
    shift: int = SHIFT,
) -> None:
    for found, colour in zip(polygons, colours, strict=True):
        if found:
            cv2.polylines(image, found, True, colour, thickness, line, shift)  # type: ignore[arg-type]


def _ranks(table: ClassTable) -> Image:
    """uint8 (256,): class id to 1 + the place of the tint that covers it; the last tint wins."""
    ranks = np.zeros(256, np.uint8)
    for place, group in enumerate(table.tints):
        ranks[list(table.ids(group))] = 1 + place
    return ranks
