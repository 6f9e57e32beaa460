"""Words over an image: a line of figures in the lower left corner, a legend in the upper left one."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import cv2
import numpy as np

from edge.classes import Rgb
from edge.frame import Image, Matrix, Yuv420, yuv_from_rgb

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_WHITE = (235, 235, 235)
_DIMMED = 0.35  # what a bar leaves of the image


def write_caption(image: Image, text: str) -> tuple[int, int]:
    """White words on a dim bar in the lower left corner of uint8 (H, W) or (H, W, 3), in place; where the bar has its
    top and its right end.
    """
    height, width = image.shape[:2]
    scale = max(0.35, height / 1080)
    (text_width, text_height), base = cv2.getTextSize(text, _FONT, scale, 1)
    margin = text_height // 2 + 1
    top, right = max(0, height - text_height - base - 2 * margin), min(width, text_width + 2 * margin)
    bar = image[top:, :right]
    cv2.addWeighted(bar, _DIMMED, bar, 0, 8, dst=bar)
    cv2.putText(image, text, (margin, height - base - margin), _FONT, scale, _WHITE, 1, cv2.LINE_AA)
    return top, right


@lru_cache(maxsize=8)
def legend_of(size_wh: tuple[int, int], colours: tuple[tuple[str, Rgb], ...]) -> Legend:
    """The legend for images of that size, drawn once: text takes a millisecond a word."""
    return Legend(size_wh, dict(colours))


class Legend:
    """A row for each colour with its name, on a dim bar in the upper left corner of images of one size. One that would
    take more than a third of the height or of the width is left out.
    """

    def __init__(self, size_wh: tuple[int, int], colours: Mapping[str, Rgb]) -> None:
        scale = max(0.35, size_wh[1] / 1400)
        sizes = [cv2.getTextSize(name, _FONT, scale, 1)[0] for name in colours]
        text_height = max((height for _, height in sizes), default=0)
        row, side = (text_height * 2 + 3) // 2 * 2, text_height // 2 * 2 + 2
        width = (max((across for across, _ in sizes), default=0) + 2 * side + text_height) // 2 * 2 + 2
        height = row * len(colours) + side // 2 * 2
        self._wh = (width, height) if colours and width * 3 <= size_wh[0] and height * 3 <= size_wh[1] else (0, 0)
        self._words = np.zeros((height, width, 3), np.uint8)
        self._swatches = np.zeros((height, width), np.uint8)
        for place, (name, rgb) in enumerate(colours.items()):
            top, left = side // 2 + place * row + (row - side) // 2, side // 2 // 2 * 2 + 2
            top, bottom = top // 2 * 2, top // 2 * 2 + side
            self._words[top:bottom, left : left + side] = rgb[::-1]
            self._swatches[top:bottom, left : left + side] = 255
            at = (left + side + text_height // 2 + 1, bottom - (side - text_height) // 2 - 1)
            cv2.putText(self._words, name, at, _FONT, scale, _WHITE, 1, cv2.LINE_AA)

    def draw_bgr(self, image: Image) -> None:
        """Into uint8 (H, W, 3) BGR, in place."""
        width, height = self._wh
        bar = image[:height, :width]
        if height:
            _lay_over(bar, self._words, self._swatches)

    def planes(self, matrix: Matrix, full_range: bool) -> PlanarLegend | None:
        """The same for planes; None where it is left out."""
        return PlanarLegend(self._words, self._swatches, matrix, full_range) if self._wh[1] else None


class PlanarLegend:
    """A legend for images in planes."""

    def __init__(self, words: Image, swatches: Image, matrix: Matrix, full_range: bool) -> None:
        self._swatches = swatches
        yuv = yuv_from_rgb(words[..., ::-1], matrix, full_range).reshape(words.shape)
        self._y, self._chroma = yuv[..., 0].copy(), [yuv[::2, ::2, i].copy() for i in (1, 2)]

    def draw(self, planes: Yuv420) -> None:
        """Into the planes, in place."""
        height, width = self._y.shape
        _lay_over(planes.y[:height, :width], self._y, self._swatches)
        for plane, colour in zip((planes.u, planes.v), self._chroma, strict=True):
            plane[: height // 2, : width // 2] = colour


def _lay_over(bar: Image, words: Image, swatches: Image) -> None:
    """Dim the bar, and lay words and swatches over it."""
    cv2.addWeighted(bar, _DIMMED, bar, 0, 8, dst=bar)
    np.maximum(bar, words, out=bar)
    cv2.copyTo(words, swatches, bar)
