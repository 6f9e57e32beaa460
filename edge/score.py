"""How right masks are: what is counted against labels, alike in builds, cards, evaluations and training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.classes import ClassTable
from edge.errors import DataError
from edge.frame import Image
from edge.metrics import Confusion

UNLABELLED = 255  # by convention, besides the card's own ignore id


def ignored_ids(table: ClassTable) -> list[int]:
    """The ids in labels that mark pixels which do not count."""
    return sorted({table.ignore_id, UNLABELLED})


@dataclass
class Score:
    """Masks against their labels.

    Attributes:
        confusion: of all frames that have a label.
        frames: how many there were, labelled or not.
        frame_mious: each frame's own mIoU; NaN where nothing is labelled.
    """

    table: ClassTable
    confusion: Confusion = field(init=False)
    frames: int = 0
    frame_mious: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.confusion = self._empty()

    @classmethod
    def of(cls, table: ClassTable, counts: NDArray[np.int64]) -> Score:
        """What int64 (C, C) pixels, truth by prediction, come to; their frames are not known."""
        score = cls(table)
        score.confusion.counts = counts
        return score

    def _empty(self) -> Confusion:
        return Confusion(len(self.table), ignored_ids(self.table))

    def add(self, truth: Image | None, found: Image, where: str = "") -> None:
        """Count a frame: its label, if it has one, and what was found, class ids, uint8 (H, W) both. `where` is what to
        call the label in a complaint.

        Raises:
            DataError: the label has another size, or ids that are no classes.
        """
        one = self._empty()
        try:
            if truth is not None:
                one.add(truth, found)
        except DataError as error:
            raise DataError(f"{where}: {error}" if where else str(error)) from error
        self.confusion.counts += one.counts
        self.frames += 1
        self.frame_mious.append(one.miou())

    def card_figures(self) -> dict[str, Any]:
        """Those of its `figures` that an engine's card holds."""
        return {key: value for key, value in self.figures().items() if key != "group_iou"}

    @property
    def has_labels(self) -> bool:
        """Whether any pixel had one."""
        return bool(self.confusion.counts.any())

    def figures(self) -> dict[str, Any]:
        """mIoU, pixel accuracy, and IoU by class and group, as JSON takes them; what does not occur is None."""
        confusion = self.confusion
        return {
            "miou": plain(confusion.miou()),
            "pixel_accuracy": plain(confusion.pixel_accuracy()),
            "iou": {n: plain(v) for n, v in zip(self.table.names, confusion.iou(), strict=True)},
            "group_iou": {g: plain(confusion.group_iou(self.table.ids(g))) for g in self.table.groups},
        }


def plain(value: float) -> float | None:
    """A figure as JSON takes it, to five digits; None for NaN."""
    return None if np.isnan(value) else round(float(value), 5)


def figure(value: float | None) -> str:
    """Four digits; "-" for what is missing."""
    return "-" if value is None or np.isnan(value) else f"{value:.4f}"
