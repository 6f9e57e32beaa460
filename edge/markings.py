"""The step that makes "markings" of what a net's head grades: lane markings on the road, and curbs."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from edge.classes import ClassTable
from edge.frame import Image
from edge.outputs import GRADES, MARKINGS, Output
from edge.prediction import Prediction

NONE, MARKING, CURB = range(3)
SURE = 128  # a grade, 0 to 255, from which on a pixel is one
SPEC = Output(MARKINGS, "uint8", ("H", "W"), "marking_ids", "0 none, 1 lane marking, 2 curb", "")
_ROAD, _STRIDE = "road", 4


class Markings:
    """Grades at network size, where they are sure. A lane marking away from the road is left out."""

    def __init__(self, table: ClassTable) -> None:
        self._road = table.membership(_ROAD) if _ROAD in table.groups else None

    def update(self, prediction: Prediction) -> Prediction:
        """The prediction with its markings, uint8 (h, w) at network size; see `edge.steps.Step.update`."""
        marking, curb = (_enlarged(grade, prediction.semantic.shape) for grade in prediction.outputs[GRADES.name])
        is_marking = cv2.compare(marking, SURE, cv2.CMP_GE)
        if self._road is not None:
            on_road = cv2.LUT(prediction.semantic, self._road * np.uint8(255))
            cv2.bitwise_and(is_marking, cv2.dilate(on_road, _AROUND), dst=is_marking)
        ids = cv2.compare(curb, SURE, cv2.CMP_GE) & CURB
        ids[is_marking > 0] = MARKING
        return replace(
            prediction,
            outputs={**prediction.outputs, MARKINGS: ids},
            specs={**prediction.specs, MARKINGS: SPEC},
        )

    def reset(self) -> None:
        """Nothing is kept."""


_AROUND = np.ones((5, 5), np.uint8)  # masks of the road leave out a line at its border


def _enlarged(grade: Image, hw: tuple[int, ...]) -> Image:
    """Bilinear, to the network's pixels."""
    height, width = grade.shape
    large = cv2.resize(grade, (width * _STRIDE, height * _STRIDE), interpolation=cv2.INTER_LINEAR)
    return large[: hw[0], : hw[1]]
