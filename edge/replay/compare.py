"""How far two masks of one frame disagree."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.classes import ClassTable
from edge.errors import ConfigError
from edge.frame import Image
from edge.prediction import Prediction


@dataclass(frozen=True, slots=True)
class Disagreement:
    """`share` of the image's pixels differ, 0 to 1. `iou` is that of each group between the two, in the comparer's
    order of groups; None where neither saw the group.
    """

    share: float
    iou: tuple[float | None, ...]


class Comparer:
    """Compares masks of two class tables: by class where both have the same classes, else by the groups both have.

    Attributes:
        groups: names of the groups that both tables have, in the first one's order.
    """

    def __init__(self, first: ClassTable, second: ClassTable) -> None:
        """Raises:
        ConfigError: the tables have nothing in common.
        """
        self.groups = tuple(group for group in first.groups if group in second.groups)
        if set(first.names) == set(second.names):
            self._labels = [np.arange(256, dtype=np.uint8), _by_name(first, second)]
        elif self.groups:
            self._labels = [_by_group(table, self.groups) for table in (first, second)]
        else:
            raise ConfigError(
                f"the two engines have no class table and no group in common, so their masks cannot be compared:"
                f" {', '.join(first.names)}; and {', '.join(second.names)}"
            )
        self._members = [[table.membership(group) for group in self.groups] for table in (first, second)]

    def compare(self, first: Prediction, second: Prediction) -> Disagreement:
        """Of two masks of the same frame."""
        maps = _on_one_grid(first, second)
        share = float(np.mean(self._differ(*maps)))
        rows = zip(*self._members, strict=True)
        return Disagreement(share, tuple(_iou(*map(cv2.LUT, maps, members)) for members in rows))

    def differ(self, first: Prediction, second: Prediction) -> NDArray[np.bool_]:
        """bool (h, w) over the image, on a grid of network cells or source pixels: True where the masks differ."""
        return self._differ(*_on_one_grid(first, second))

    def _differ(self, first: Image, second: Image) -> NDArray[np.bool_]:
        return cv2.LUT(first, self._labels[0]) != cv2.LUT(second, self._labels[1])


def _on_one_grid(first: Prediction, second: Prediction) -> tuple[Image, Image]:
    """Class ids that lie over each other: the cells of the frame where both nets see it alike, else its pixels."""
    cells = first.letterbox.content(first.semantic), second.letterbox.content(second.semantic)
    if cells[0].shape == cells[1].shape and first.letterbox.source_wh == second.letterbox.source_wh:
        return cells
    return first.class_map(), second.class_map()


def _by_name(first: ClassTable, second: ClassTable) -> Image:
    """uint8 (256,): ids of the second table as those of the first."""
    labels = np.arange(256, dtype=np.uint8)
    labels[: len(second)] = [first.names.index(name) for name in second.names]
    return labels


def _by_group(table: ClassTable, groups: tuple[str, ...]) -> Image:
    """uint8 (256,): 1 + the place of the last group that an id is in; 0 for ids in none."""
    labels = np.zeros(256, np.uint8)
    for place, group in enumerate(groups):
        labels[list(table.ids(group))] = 1 + place
    return labels


def _iou(first: Image, second: Image) -> float | None:
    """Of two maps of 0 and 1."""
    both, either = cv2.countNonZero(first & second), cv2.countNonZero(first | second)
    return both / either if either else None
