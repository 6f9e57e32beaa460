"""Finds the objects of a frame: the step behind the engine that makes the output "instances".

A `Group` is a function from a prediction to groups of cells. `components` is the one that needs nothing but the mask:
connected patches of one class. **People who touch are one patch, and so one object**; one behind a pole may be two. An
engine with centres and offsets has a function of its own (`edge.centres`), and all else is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.classes import ClassTable
from edge.errors import ConfigError
from edge.frame import Image, Letterbox
from edge.instances import INSTANCES, MOST, THINGS, Instance, thing_ids
from edge.outputs import Output
from edge.prediction import Prediction

SPEC = Output(INSTANCES, "uint8", ("H", "W"), "instance_ids", "the object that each pixel belongs to; 0 = none", "")
LEAST_SHARE = 1e-4  # of the frame: a patch below it is left out; 17 of the 172,800 cells of 480x360


@dataclass(frozen=True, slots=True)
class Groups:
    """The objects of a frame on the network's grid, without black bars; row i of each array is object i + 1.

    Attributes:
        ids: uint8 (h, w): the object of each cell, 0 = none.
        classes: int (N,) class ids, N at most 255.
        boxes: int (N, 4): left, top, width, height.
        areas: int (N,) cells.
        centres: float (N, 2): x, y of the centre of mass, in cells; a cell's own centre is at its index.
    """

    ids: Image
    classes: NDArray[np.int64]
    boxes: NDArray[np.int64]
    areas: NDArray[np.int64]
    centres: NDArray[np.float64]


Group = Callable[[Prediction, Sequence[int]], Groups]  # of a prediction and the ids of countable classes


def least_cells(semantic: Image) -> float:
    """How many cells an object has at least."""
    return max(1.0, LEAST_SHARE * semantic.size)


def components(prediction: Prediction, class_ids: Sequence[int], semantic: Image | None = None) -> Groups:
    """Connected patches (8 neighbours) of each class, those below `LEAST_SHARE` left out; the largest first, and of
    equal ones the upper left. Of more than 255 the smallest are left out. `semantic` stands in place of the
    prediction's classes, of the same shape without black bars.
    """
    semantic = prediction.content("semantic") if semantic is None else semantic
    least = least_cells(semantic)
    ids = np.zeros(semantic.shape, np.uint8)
    patches = [patch for i in class_ids if (patch := _patches(semantic, i, least)) is not None]
    stats = np.concatenate([patch.stats for patch in patches]) if patches else np.zeros((0, 8))
    order = np.lexsort((stats[:, 5], stats[:, 0], stats[:, 1], -stats[:, 4]))[:MOST]
    numbers = np.zeros(len(stats), np.uint8)
    numbers[order] = np.arange(1, len(order) + 1)
    begin = 0
    for patch in patches:
        count = len(patch.stats)
        patch.write(ids, numbers[begin : begin + count])
        begin += count
    stats = stats[order]
    whole = stats[:, :6].astype(np.int64)
    return Groups(ids, whole[:, 5], whole[:, :4], whole[:, 4], stats[:, 6:])


@dataclass(frozen=True, slots=True)
class _Patches:
    """Those of one class. `labels` is uint16 (h, w) or int32, of the rectangle at `x`, `y` that holds them all;
    `kept` are those that are large enough, and `stats` is (kept, 8): box, area, class, centre.
    """

    x: int
    y: int
    labels: NDArray[np.uint16] | NDArray[np.int32]
    number: int
    kept: NDArray[np.intp]
    stats: NDArray[np.float64]

    def write(self, ids: Image, numbers: Image) -> None:
        """Each patch's number into its cells."""
        table = np.zeros(max(256, self.number), np.uint8)
        table[self.kept] = numbers
        height, width = self.labels.shape
        part = ids[self.y : self.y + height, self.x : self.x + width]
        few = self.number <= 256  # then OpenCV's table does, in half of NumPy's time
        own = cv2.LUT(self.labels.astype(np.uint8), table[:256]) if few else np.take(table, self.labels)
        cv2.bitwise_or(part, own, dst=part)


def _patches(semantic: Image, class_id: int, least: float) -> _Patches | None:
    there = cv2.compare(semantic, float(class_id), cv2.CMP_EQ)
    x, y, width, height = cv2.boundingRect(there)
    if not width:
        return None
    inside = there[y : y + height, x : x + width]
    blocks = ((width + 1) // 2) * ((height + 1) // 2)  # no two patches have a cell in the same two by two
    kind = cv2.CV_16U if blocks < (1 << 16) - 1 else cv2.CV_32S  # twice as fast, where no number can overflow
    number, labels, found, centres = cv2.connectedComponentsWithStats(inside, connectivity=8, ltype=kind)
    kept = 1 + np.flatnonzero(found[1:, cv2.CC_STAT_AREA] >= least)
    stats = np.empty((len(kept), 8))
    stats[:, :5], stats[:, 5], stats[:, 6:] = found[kept], class_id, centres[kept]
    stats[:, :2] += (x, y)
    stats[:, 6:] += (x, y)
    return _Patches(x, y, labels, number, kept, stats)  # pyright: ignore[reportArgumentType]  # OpenCV types no label


class Instances:
    """The step: adds the output "instances" and `Prediction.instances`. It remembers nothing."""

    def __init__(self, table: ClassTable, group: Group = components) -> None:
        """Raises:
        ConfigError: no class of the table can be counted.
        """
        self._group, self._class_ids = group, thing_ids(table)
        if not self._class_ids:
            raise ConfigError(
                f"instances: expected an engine with a group of {', '.join(THINGS)}, got {', '.join(table.groups)}."
                " Name its classes in the card file, under groups:"
            )

    def update(self, prediction: Prediction) -> Prediction:
        """The prediction with its objects; see `edge.steps.Step.update`."""
        groups = self._group(prediction, self._class_ids)
        ids = np.zeros(prediction.semantic.shape, np.uint8)
        prediction.letterbox.content(ids)[:] = groups.ids
        return replace(
            prediction,
            outputs={**prediction.outputs, INSTANCES: ids},
            specs={**prediction.specs, INSTANCES: SPEC},
            instances=_described(groups, prediction),
        )

    def reset(self) -> None:
        """Nothing is kept."""


def _described(groups: Groups, prediction: Prediction) -> tuple[Instance, ...]:
    """The objects in pixels of the source."""
    (across, down), table = _pixels_per_cell(prediction.letterbox), prediction.table
    corners = np.hstack([groups.boxes[:, :2], groups.boxes[:, :2] + groups.boxes[:, 2:]])
    boxes = np.round(corners * (across, down, across, down), 1).tolist()
    areas = np.round(groups.areas * (across * down), 1).tolist()
    centres = np.round((groups.centres + 0.5) * (across, down), 1).tolist()
    confidences = _confidences(groups, prediction)
    rows = zip(groups.classes.tolist(), boxes, areas, centres, confidences, strict=True)
    return tuple(
        Instance(number, i, table.names[i], tuple(box), area, tuple(centre), confidence)
        for number, (i, box, area, centre, confidence) in enumerate(rows, start=1)
    )


def _pixels_per_cell(box: Letterbox) -> tuple[float, float]:
    return box.source_wh[0] / box.content_xywh[2], box.source_wh[1] / box.content_xywh[3]


def _confidences(groups: Groups, prediction: Prediction) -> Sequence[float | None]:
    """The mean of the output over each object, 0 to 1; of each None where the engine does not compute it."""
    if prediction.confidence is None:
        return [None] * len(groups.classes)
    rows, columns = np.nonzero(groups.ids)
    numbers, values = groups.ids[rows, columns], prediction.content("confidence")[rows, columns]
    totals = np.bincount(numbers, values, len(groups.classes) + 1)[1:]
    return np.round(totals / np.maximum(groups.areas, 1) / 255, 4).tolist()
