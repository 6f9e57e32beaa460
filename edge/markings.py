"""The step that makes "markings" of what a net's head grades: lane markings on the road, and curbs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import cv2
import numpy as np

from edge.classes import ClassTable
from edge.frame import Image, where_any
from edge.outputs import GRADES, MARKINGS, Output
from edge.prediction import Prediction

NONE, MARKING, CURB = range(3)
SURE = 128  # a grade, 0 to 255, from which on a pixel is one
SPEC = Output(MARKINGS, "uint8", ("H", "W"), "marking_ids", "0 none, 1 lane marking, 2 curb", "")
_ROAD, _STRIDE = "road", 4
_Part = tuple[slice, slice]  # rows and columns


class Markings:
    """Grades at network size, where they are sure. A lane marking away from the road is left out."""

    def __init__(self, table: ClassTable) -> None:
        self._road_ids = table.ids(_ROAD) if _ROAD in table.groups else None

    def update(self, prediction: Prediction) -> Prediction:
        """The prediction with its markings, uint8 (h, w) at network size; see `edge.steps.Step.update`."""
        marking, curb = prediction.outputs[GRADES.name]
        ids = np.zeros(prediction.semantic.shape, np.uint8)
        for part, there in _sure(curb, ids.shape):
            cv2.bitwise_and(there, CURB, dst=ids[part])
        for part, there in _sure(marking, ids.shape):
            if self._road_ids is not None:
                cv2.bitwise_and(there, _around_road(prediction.semantic, part, self._road_ids), dst=there)
            others = cv2.bitwise_and(ids[part], cv2.bitwise_not(there))
            cv2.bitwise_or(others, cv2.bitwise_and(there, MARKING), dst=ids[part])
        return replace(
            prediction,
            outputs={**prediction.outputs, MARKINGS: ids},
            specs={**prediction.specs, MARKINGS: SPEC},
        )

    def reset(self) -> None:
        """Nothing is kept."""


_AROUND_CELLS = 2  # masks of the road leave out a line at its border
_AROUND = np.ones((2 * _AROUND_CELLS + 1, 2 * _AROUND_CELLS + 1), np.uint8)


def _around_road(classes: Image, part: _Part, road_ids: Sequence[int]) -> Image:
    """Of that part of a mask: 255 on the road and beside it."""
    rows, columns = part
    top, left = max(0, rows.start - _AROUND_CELLS), max(0, columns.start - _AROUND_CELLS)
    road = where_any(classes[top : rows.stop + _AROUND_CELLS, left : columns.stop + _AROUND_CELLS], road_ids)
    return cv2.dilate(road, _AROUND)[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]


def _sure(grade: Image, hw: tuple[int, ...]) -> Iterator[tuple[_Part, Image]]:
    """The part of the network's pixels that holds all that is sure, and 255 where it is, 0 elsewhere: bilinear between
    the cells of grades; nothing where none is sure.
    """
    x, y, width, height = cv2.boundingRect(cv2.compare(grade, SURE, cv2.CMP_GE))
    if not width:
        return
    # Between cells that are not sure nothing is: one of these around is enough.
    top, left, cells = (
        max(0, y - 1),
        max(0, x - 1),
        grade[max(0, y - 1) : y + height + 1, max(0, x - 1) : x + width + 1],
    )
    large_wh = cells.shape[1] * _STRIDE, cells.shape[0] * _STRIDE
    part = (
        slice(top * _STRIDE, min(hw[0], top * _STRIDE + large_wh[1])),
        slice(left * _STRIDE, min(hw[1], left * _STRIDE + large_wh[0])),
    )
    large = cv2.resize(cells, large_wh, interpolation=cv2.INTER_LINEAR)
    inside = large[: part[0].stop - part[0].start, : part[1].stop - part[1].start]
    yield part, cv2.compare(inside, SURE, cv2.CMP_GE)
