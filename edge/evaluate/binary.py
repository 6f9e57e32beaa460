"""Labels that say one thing of each pixel: in a group of classes, such as road, or not. The engine is scored alike."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import cv2
import numpy as np

from edge.classes import ClassTable
from edge.engine import Engine
from edge.frame import Frame
from edge.prediction import Prediction
from edge.segmenter import Segmenter


def binary_table(table: ClassTable, name: str) -> ClassTable:
    """Two classes, `not NAME` and NAME, of a table's group or class.

    Raises:
        ConfigError: the table has neither a group nor a class of that name.
    """
    colour = table.tints.get(name) or table.colours_rgb[table.ids(name)[0]]
    return ClassTable((f"not {name}", name), ((0, 0, 0), colour), {name: (name,)}, {name: colour})


class BinarySegmenter(Segmenter):
    """A segmenter whose classes are those of `binary_table`."""

    def __init__(self, engine: Engine, name: str, outputs: Collection[str] = ()) -> None:
        super().__init__(engine, outputs)
        self._ids, self._table = engine.card.table.membership(name), binary_table(engine.card.table, name)

    def segment(self, frame: Frame) -> Prediction:
        """See `Segmenter.segment`."""
        result = super().segment(frame)
        ids = np.asarray(cv2.LUT(result.semantic, self._ids), np.uint8)
        return replace(result, outputs={**result.outputs, "semantic": ids}, table=self._table)
