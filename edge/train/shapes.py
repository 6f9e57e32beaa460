"""Labels drawn as shapes, polygons or run lengths in pixels, painted into masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import DataError
from edge.frame import Image
from edge.train.label_sets import UNLABELLED, LabelSet

BACKGROUND = "background"  # what no shape covers; value 0
NAMES_MAX = 253  # beside the background and 255, "no label"
FAR = 1e5  # pixels from the origin: no label lies there, and fixed-point drawing reaches a thousand times as far
_LARGER, _SHIFT = 3, 4  # corners are drawn to a 48th of a pixel

Points = NDArray[np.float32]  # (N, 2), x and y in pixels; the upper left pixel reaches from 0 to 1


@dataclass(frozen=True)
class Shape:
    """The pixels of one object: polygons, whose union it is, or run lengths down the columns, the first of zeros."""

    value: int  # in the label set; UNLABELLED for pixels that may be anything
    polygons: Sequence[Points] = ()
    runs: NDArray[np.int64] | None = None

    @property
    def area_px(self) -> float:
        """About how many pixels it covers."""
        if self.runs is not None:
            return float(self.runs[1::2].sum())
        return float(sum(cv2.contourArea(points) for points in self.polygons))

    def paint(self, mask: Image) -> None:
        """Into uint8 (H, W), in place; run lengths must add up to its pixels."""
        if self.runs is not None:
            inside = np.repeat(np.arange(len(self.runs)) % 2 == 1, self.runs).reshape(mask.shape[::-1]).T
            mask[inside] = self.value
        for points in self.polygons:
            _fill(mask, points, self.value)


def _fill(mask: Image, points: Points, value: int) -> None:
    """Set the pixels whose middle lies in the polygon, to a third of a pixel.

    OpenCV fills the pixels of the border too, so it draws three times as large, and what the middles show is taken.
    """
    left, top = np.clip(np.floor(points.min(0)), 0, mask.shape[::-1]).astype(int).tolist()
    right, bottom = np.clip(np.ceil(points.max(0)), 0, mask.shape[::-1]).astype(int).tolist()
    if left >= right or top >= bottom:
        return
    large = np.zeros((_LARGER * (bottom - top), _LARGER * (right - left)), np.uint8)
    corners = ((points - (left, top)) * _LARGER - 0.5) * (1 << _SHIFT)
    cv2.fillPoly(large, [np.rint(corners).astype(np.int32)], (1,), shift=_SHIFT)
    mask[top:bottom, left:right][large[_LARGER // 2 :: _LARGER, _LARGER // 2 :: _LARGER] > 0] = value


def paint(shapes: Sequence[Shape], size_wh: tuple[int, int]) -> Image:
    """uint8 (H, W): values of the label set. Small shapes lie over large ones, and all over what may be anything."""
    mask = np.zeros(size_wh[::-1], np.uint8)
    for shape in sorted(shapes, key=lambda shape: (shape.value != UNLABELLED, -shape.area_px)):
        shape.paint(mask)
    return mask


class Drawn(Protocol):
    """Labels of one frame that are no image."""

    def paint(self, size_wh: tuple[int, int]) -> Image:
        """The mask of a frame of that size: uint8 (H, W) values of its label set.

        Raises:
            DataError: the labels cannot be read, or are of a frame of another size.
        """
        ...


def label_set_of(names: Sequence[str], origin: Path) -> tuple[LabelSet, list[int]]:
    """A label set of the background and the distinct names, and the value of each of `names`.

    Raises:
        DataError: there are no names, or more than a mask of bytes holds.
    """
    distinct = [name for name in dict.fromkeys(names) if name != BACKGROUND]
    if not distinct or len(distinct) > NAMES_MAX:
        raise DataError(f"{origin}: expected 1 to {NAMES_MAX} class names, got {len(distinct)}")
    values = {name: value for value, name in enumerate([BACKGROUND, *distinct])}
    by_value: dict[int, str | None] = {value: name for name, value in values.items()}
    return LabelSet(origin.name, by_value), [values[name] for name in names]


def polygon(numbers: Sequence[object], scale: tuple[float, float] = (1.0, 1.0)) -> Points:
    """Corners from x, y, x, y, ..., each times its scale.

    Raises:
        ValueError: these are not the corners of a polygon; in words that go behind a place.
    """
    if len(numbers) < 6 or len(numbers) % 2:
        raise ValueError(f"expected 3 or more corners as x, y, x, y, ..., got {len(numbers)} number(s)")
    if wrong := [number for number in numbers if isinstance(number, bool) or not isinstance(number, (int, float))]:
        raise ValueError(f"expected numbers, got {str(wrong[0])[:40]!r}")
    try:
        points = np.array(numbers, np.float64).reshape(-1, 2) * scale
    except OverflowError:
        points = np.full((1, 2), np.inf)
    if not (np.abs(points) <= FAR).all():  # NaN is not, either
        raise ValueError(f"expected corners within {FAR:g} pixels, got one beyond")
    return points.astype(np.float32)
