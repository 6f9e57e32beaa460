"""A frame as a browser is shown it."""

from __future__ import annotations

import numpy as np

from edge.frame import Frame, Image, shrink
from edge.segmenter import small_bgr_from_yuv

VIEW_WIDTH = 1280  # a wider frame is shrunk: a screen shows no more, and a JPEG costs by the pixel


def view_bgr(frame: Frame, most_width: int = VIEW_WIDTH) -> Image:
    """uint8 (h, w, 3) BGR: the frame, at most so wide.

    The frame's own conversion is not asked for: it would be kept as long as the frame is.
    """
    width, height = frame.size_wh
    if frame.yuv is None and width <= most_width:
        return frame.image
    scale = min(1.0, most_width / width)
    target = np.empty((max(1, round(height * scale)), round(width * scale), 3), np.uint8)
    if frame.yuv is not None:
        small_bgr_from_yuv(frame.yuv, target)
    else:
        shrink(frame.image, target)
    return target
