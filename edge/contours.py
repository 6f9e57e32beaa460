"""Objects drawn over an image, in BGR or straight in a video's planes: a contour and the track's id, in its colour."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.frame import Image, Letterbox, Matrix, Yuv420, yuv_from_rgb
from edge.instances import Instance

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_GOLDEN = 0.618034  # of the circle of hues: neighbouring ids are far apart (Ankerl, 2009)
_GREY = (160, 160, 160)  # who is not followed
_LINE = (255, 230, 60)
_MARKING_RGB = {1: (255, 90, 255), 2: (255, 150, 30)}  # lane markings, curbs
_Point = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Mark:
    """One object as it is drawn: contours, int32 (N, 1, 2) of x, y in pixels; its label, "" for none, at `at`, the
    label's upper left corner; its colour.
    """

    contours: list[NDArray[np.int32]]
    label: str
    at: _Point
    rgb: tuple[int, int, int]


def track_rgb(track_id: int | None) -> tuple[int, int, int]:
    """The colour of a track, the same in every frame and run."""
    if track_id is None:
        return _GREY
    red, green, blue = colorsys.hsv_to_rgb(track_id * _GOLDEN % 1, 0.8, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def marks_of(ids: Image, letterbox: Letterbox, instances: Sequence[Instance], size_wh: tuple[int, int]) -> list[Mark]:
    """What to draw of objects over an image of that size, which shows the whole frame; `ids` is the output "instances",
    uint8 (h, w) at network size.
    """
    cells_wh = np.array(letterbox.content_xywh[2:])
    cells_per_pixel, scale = cells_wh / letterbox.source_wh, np.array(size_wh) / cells_wh
    boxes = np.array([one.box for one in instances]).reshape(-1, 2, 2) * cells_per_pixel
    inside, corners = letterbox.content(ids), np.rint(boxes).astype(int).tolist()
    return [_mark(inside, one, box, scale) for one, box in zip(instances, corners, strict=True)]


def line_mark(points: NDArray[np.float64]) -> Mark:
    """An open line through points (N, 2) of x, y in pixels; NaN is left out."""
    there = np.rint(points[np.isfinite(points).all(axis=1)]).clip(-20_000, 20_000).astype(np.int32)
    return Mark([np.concatenate([there, there[::-1]])[:, None]], "", (0, 0), _LINE)  # there and back: marks are closed


def marking_marks(ids: Image, size_wh: tuple[int, int]) -> list[Mark]:
    """Lane markings and curbs, uint8 (h, w) at network size without black bars (`edge.markings`), over an image of that
    size, which shows the whole frame.
    """
    scale = np.array(size_wh) / ids.shape[::-1]
    marks: list[Mark] = []
    for value, rgb in _MARKING_RGB.items():
        found, _ = cv2.findContours(cv2.compare(ids, value, cv2.CMP_EQ), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        contours = [np.rint((contour + 0.5) * scale - 0.5).astype(np.int32) for contour in found]
        if contours:
            marks.append(Mark(contours, "", (0, 0), rgb))
    return marks


def _mark(ids: Image, one: Instance, box: list[list[int]], scale: NDArray[np.float64]) -> Mark:
    (left, top), (right, bottom) = box
    own = cv2.compare(ids[top:bottom, left:right], float(one.id), cv2.CMP_EQ)
    found, _ = cv2.findContours(own, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=(left, top))
    contours = [np.rint((contour + 0.5) * scale - 0.5).astype(np.int32) for contour in found]
    label = "" if one.track_id is None else str(one.track_id)
    if one.distance_m is not None:
        label = f"{label} {one.distance_m:.0f} m".lstrip()
    return Mark(contours, label, (round(left * scale[0]), round(top * scale[1])), track_rgb(one.track_id))


def draw_bgr(image: Image, marks: Sequence[Mark]) -> None:
    """Into uint8 (H, W, 3) BGR, in place."""
    height, width = image.shape[:2]
    for mark in marks:
        cv2.polylines(image, mark.contours, True, mark.rgb[::-1], _thickness(height))
    for mark in marks:
        x, y, right, bottom, scale = _label(mark, (width, height))
        image[y:bottom, x:right] = mark.rgb[::-1]
        cv2.putText(image, mark.label, (x + 2, bottom - 3), _FONT, scale, (0, 0, 0), 1, cv2.LINE_AA)


def draw_yuv(planes: Yuv420, marks: Sequence[Mark], matrix: Matrix, full_range: bool) -> None:
    """Into the planes, in place. Colour is drawn in steps of two pixels, as the chroma planes are."""
    height, width = planes.y.shape
    colours = yuv_from_rgb([mark.rgb for mark in marks], matrix, full_range).tolist()
    thick = _thickness(height)
    for mark, (y, u, v) in zip(marks, colours, strict=True):
        cv2.polylines(planes.y, mark.contours, True, (y,), thick)
        half = [contour // 2 for contour in mark.contours]
        for plane, value in ((planes.u, u), (planes.v, v)):
            cv2.polylines(plane, half, True, (value,), max(1, thick // 2))
    for mark, (y, u, v) in zip(marks, colours, strict=True):
        left, top, right, bottom, scale = _label(mark, (width, height))
        planes.y[top:bottom, left:right] = y
        planes.u[top // 2 : bottom // 2, left // 2 : right // 2] = u
        planes.v[top // 2 : bottom // 2, left // 2 : right // 2] = v
        cv2.putText(planes.y, mark.label, (left + 2, bottom - 3), _FONT, scale, (16,), 1, cv2.LINE_AA)


def _thickness(height: int) -> int:
    return max(1, round(height / 360))


def _label(mark: Mark, wh: tuple[int, int]) -> tuple[int, int, int, int, float]:
    """Left, top, right and bottom of the label's bar, all even and inside the image, and the text's scale; of no label
    an empty bar.
    """
    scale = max(0.35, wh[1] / 1080)
    if not mark.label:
        return 0, 0, 0, 0, scale
    (width, height), _ = cv2.getTextSize(mark.label, _FONT, scale, 1)
    width, height = (width + 5) // 2 * 2, (height + 7) // 2 * 2
    x = max(0, min(mark.at[0], wh[0] - width)) // 2 * 2
    y = max(0, min(mark.at[1] - height, wh[1] - height)) // 2 * 2
    return x, y, min(x + width, wh[0] // 2 * 2), min(y + height, wh[1] // 2 * 2), scale
