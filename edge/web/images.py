"""A frame, and maps of it, as a browser is shown them."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.frame import Frame, Image, Yuv420, shrink
from edge.outputs import DECODERS
from edge.prediction import Prediction
from edge.segmenter import small_bgr_from_yuv

VIEW_WIDTH = 1280  # a wider frame is shrunk: a screen shows no more, and an image costs by the pixel


def view_wh(size_wh: tuple[int, int], most_width: int = VIEW_WIDTH) -> tuple[int, int]:
    """The size in which a frame of `size_wh` is shown."""
    width, height = size_wh
    scale = min(1.0, most_width / width)
    return round(width * scale), max(1, round(height * scale))


def view_bgr(frame: Frame, most_width: int = VIEW_WIDTH) -> Image:
    """uint8 (h, w, 3) BGR: the frame, at most so wide.

    The frame's own conversion is not asked for: it would be kept as long as the frame is.
    """
    if frame.yuv is None and frame.size_wh[0] <= most_width:
        return frame.image
    width, height = view_wh(frame.size_wh, most_width)
    target = np.empty((height, width, 3), np.uint8)
    if frame.yuv is not None:
        small_bgr_from_yuv(frame.yuv, target)
    else:
        shrink(frame.image, target)
    return target


def fill_planes(target: Yuv420, frame: Frame) -> None:
    """The frame into planes of an even size: as they are, shrunk where they differ, or converted (BT.601) from BGR."""
    height, width = target.y.shape
    yuv = frame.yuv or _planes_of_bgr(frame.image, (width, height))
    for plane, out in ((yuv.y, target.y), (yuv.u, target.u), (yuv.v, target.v)):
        if plane.shape == out.shape:
            np.copyto(out, plane)
        else:
            shrink(plane, out)


def _planes_of_bgr(image: Image, size_wh: tuple[int, int]) -> Yuv420:
    width, height = size_wh
    if image.shape[:2] != (height, width):
        smaller = np.empty((height, width, 3), np.uint8)
        shrink(image, smaller)
        image = smaller
    planar = cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420)  # (3 h / 2, w): Y, then U and V, two of their rows in each
    u, v = planar[height:].reshape(2, height // 2, width // 2)
    return Yuv420(planar[:height], u, v)


_LOW_IDS = ("instance_ids", "marking_ids")  # as shades all would be black


def grey_maps(result: Prediction) -> dict[str, Image]:
    """uint8 (h, w) of each further output that is one value for each pixel, by name, without black bars: bytes as they
    are, anything else from its least finite value, black, to its greatest.
    """
    maps = {}
    for output in result.further():
        array = result.content(output.name)
        if DECODERS[output.decoder].per_pixel and array.ndim == 2:
            is_shade = array.dtype == np.uint8 and output.decoder not in _LOW_IDS
            maps[output.name] = array if is_shade else _grey(array)
    return maps


def _grey(array: NDArray[Any]) -> Image:
    values = array.astype(np.float32)
    known = np.isfinite(values)
    low, high = (values[known].min(), values[known].max()) if known.any() else (0.0, 0.0)
    scaled = (np.where(known, values, low) - low) * (255.0 / max(high - low, 1e-12))
    return np.rint(scaled).astype(np.uint8)
