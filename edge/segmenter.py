"""Frame in, segmentation out: the picture is brought to network size and the engine asked."""

from __future__ import annotations

import time

import cv2
import numpy as np

from edge.engine import Engine
from edge.frame import Frame, Image, Letterbox, Yuv420, yuv_to_bgr_coefficients
from edge.segmentation import Segmentation
from edge.timing import Stages


class Segmenter:
    """Owns the network's input buffer; use it from one thread.

    Its `stages` hold the times of "resize" and "infer".
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.stages = Stages()
        width, height = engine.card.input_wh
        self._input: Image = np.zeros((height, width, 3), np.uint8)
        self._box: Letterbox | None = None

    def segment(self, frame: Frame) -> Segmentation:
        """The classes of every pixel of the frame, at network size."""
        with self.stages["resize"].span():
            box = self._fit(frame.size_wh)
            content = box.content(self._input)
            if frame.yuv is not None:
                small_bgr_from_yuv(frame.yuv, content)
            else:
                shrink(frame.image, content)
        with self.stages["infer"].span():
            classes = self.engine.infer(self._input)
        return Segmentation(frame, classes, box, self.engine.card.table, time.monotonic_ns())

    def _fit(self, source_wh: tuple[int, int]) -> Letterbox:
        """The letterbox for frames of this size; a new size blackens the bars anew."""
        if self._box is None or self._box.source_wh != source_wh:
            self._box = Letterbox.fit(source_wh, self.engine.card.input_wh, self.engine.card.resize)
            self._input[:] = 0
        return self._box


def shrink(image: Image, target: Image) -> None:
    """Resize uint8 (H, W[, C]) into `target` (h, w[, C]), in place, without aliasing.

    Halving by averaging is exact and quick; one bilinear step does the rest, which is under 2:1 by then. OpenCV's
    INTER_AREA is twelve times slower where the ratio is not whole, INTER_LINEAR alone skips pixels from 2:1 on.
    """
    height, width = target.shape[:2]
    while image.shape[0] >= 2 * height or image.shape[1] >= 2 * width:
        down, across = (2 if image.shape[0] >= 2 * height else 1), (2 if image.shape[1] >= 2 * width else 1)
        rows, columns = image.shape[0] // down, image.shape[1] // across
        whole = image[: rows * down, : columns * across]
        exact = (rows, columns) == (height, width)
        image = cv2.resize(whole, (columns, rows), dst=target if exact else None, interpolation=cv2.INTER_AREA)
        if exact:
            return
    cv2.resize(image, (width, height), dst=target, interpolation=cv2.INTER_LINEAR)


def small_bgr_from_yuv(yuv: Yuv420, target: Image) -> None:
    """The planes, shrunk one by one and then converted: uint8 BGR into `target` (h, w, 3), in place."""
    planes = [np.empty(target.shape[:2], np.uint8) for _ in range(3)]
    for plane, out in zip((yuv.y, yuv.u, yuv.v), planes, strict=True):
        shrink(plane, out)
    cv2.transform(cv2.merge(planes), yuv_to_bgr_coefficients(yuv.matrix, yuv.full_range), dst=target)
