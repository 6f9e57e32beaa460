"""Masks that stand still: a pixel changes its class only once the new one outweighs the old.

Each pixel keeps a class and a credit, which grows while the engine says the same and falls by the engine's confidence
while it says something else; below zero the class changes. Both move with the image (DIS optical flow, Kroeger et al.
2016, arXiv 1603.03590). So what the engine is sure of changes at once, and what wavers, as borders do, stays.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.frame import Image
from edge.outputs import CONFIDENCE, SEMANTIC
from edge.prediction import Prediction

# Of 255. On a city drive whose masks flicker in 2.93 % of the pixels at an mIoU of 0.737 (`road` in INT8), 64 gives
# 2.16 % and 0.737, 96 gives 1.99 % and 0.736, 128 gives 1.88 % and 0.734, 192 gives 1.75 % and 0.730.
MOST_CREDIT = 96
_FLOW_SHARE = 4  # the flow is found in an image so many times smaller than the mask
_LEAST_FLOW_PX = 16  # that DIS can work on


@dataclass(frozen=True, slots=True)
class _State:
    """What is kept of a frame: uint8 (h/4, w/4) brightness; uint8 (h, w) classes and the credit of each."""

    luma: Image
    classes: Image
    credit: Image


class Steady:
    """The step: a steadier "semantic". It reads the output "confidence"."""

    def __init__(self) -> None:
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._grid = np.zeros((0, 0, 2), np.float32)  # x and y of each cell of a mask
        self.reset()

    def reset(self) -> None:
        """The next mask is taken as it is."""
        self._last: _State | None = None

    def update(self, prediction: Prediction) -> Prediction:
        """The prediction with its classes settled; see `edge.steps.Step.update`."""
        classes, sure = (np.ascontiguousarray(prediction.content(o.name)) for o in (SEMANTIC, CONFIDENCE))
        height, width = classes.shape
        luma = prediction.frame.small_luma((max(1, width // _FLOW_SHARE), max(1, height // _FLOW_SHARE)))
        self._last = self._settled(luma, classes, sure)
        semantic = prediction.semantic.copy()
        prediction.letterbox.content(semantic)[:] = self._last.classes
        return replace(prediction, outputs={**prediction.outputs, SEMANTIC.name: semantic})

    def _settled(self, luma: Image, classes: Image, sure: Image) -> _State:
        """The state now that the engine says `classes`, and how sure it is of each."""
        if self._last is None or min(luma.shape) < _LEAST_FLOW_PX:
            return _State(luma, classes, cv2.min(sure, MOST_CREDIT))
        held, credit = self._moved(self._last, luma)
        agree = cv2.compare(held, classes, cv2.CMP_EQ)
        waits = cv2.bitwise_and(cv2.compare(credit, sure, cv2.CMP_GE), cv2.bitwise_not(agree))
        after = cv2.absdiff(credit, sure)  # what the old class has left, or the new one has more
        cv2.copyTo(cv2.addWeighted(credit, 0.5, sure, 1.0, 0.0), agree, after)
        return _State(luma, cv2.copyTo(held, waits, classes.copy()), cv2.min(after, MOST_CREDIT))

    def _moved(self, last: _State, luma: Image) -> tuple[Image, Image]:
        """Classes and credit of the frame before, each uint8 (h, w), where they are in this one."""
        flow = self._flow.calc(luma, last.luma, None)  # type: ignore[call-overload]
        height, width = last.classes.shape
        flow *= np.array([width / luma.shape[1], height / luma.shape[0]], np.float32)
        was = cv2.add(cv2.resize(flow, (width, height)), self._cells((height, width)))
        # One remap of 16 bits takes half the time of one of two channels.
        both = cv2.merge([last.classes, last.credit]).view(np.uint16)[..., 0]
        moved = cv2.remap(both, was, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
        held, credit = cv2.split(moved.view(np.uint8).reshape(*moved.shape, 2))
        return held, credit

    def _cells(self, shape_hw: tuple[int, int]) -> NDArray[np.float32]:
        if self._grid.shape[:2] != shape_hw:
            rows, columns = np.mgrid[: shape_hw[0], : shape_hw[1]].astype(np.float32)
            self._grid = np.dstack([columns, rows])
        return self._grid
