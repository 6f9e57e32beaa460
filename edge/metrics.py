"""How right masks are: confusion matrix, intersection over union, pixel accuracy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge.errors import DataError


class Confusion:
    """Pixel counts by (true class, predicted class), summed over frames.

    `counts` is int64 (C, C), rows truth, columns prediction. Pixels whose truth is one of `ignore_ids` are left out.
    """

    def __init__(self, classes: int, ignore_ids: Sequence[int] = (255,)) -> None:
        self.classes = classes
        self.counts: NDArray[np.int64] = np.zeros((classes, classes), np.int64)
        self._known = np.zeros(256, np.bool_)
        self._known[:classes] = True
        self._ignored = np.zeros(256, np.bool_)
        self._ignored[list(ignore_ids)] = True

    def add(self, truth: NDArray[np.uint8], prediction: NDArray[np.uint8]) -> None:
        """Count one frame; both uint8, of equal shape.

        Raises:
            DataError: shapes differ, or the truth holds an id that is neither a class nor ignored.
        """
        if truth.shape != prediction.shape:
            raise DataError(f"truth has shape {truth.shape}, prediction {prediction.shape}; they must be equal")
        pairs = np.bincount(truth.reshape(-1).astype(np.intp) * 256 + prediction.reshape(-1), minlength=65536)
        table = pairs.reshape(256, 256)
        stray = np.flatnonzero(table.any(axis=1) & ~self._known & ~self._ignored)
        if stray.size:
            raise DataError(
                f"the labels hold id {stray[0]}; known are 0 to {self.classes - 1},"
                f" ignored {np.flatnonzero(self._ignored).tolist()}"
            )
        if table[: self.classes, self.classes :].any():
            raise DataError(f"the prediction holds ids above {self.classes - 1}")
        counted = table[: self.classes, : self.classes].copy()
        counted[self._ignored[: self.classes]] = 0
        self.counts += counted

    def iou(self) -> NDArray[np.float64]:
        """Intersection over union per class, (C,); NaN for a class in neither truth nor prediction."""
        hits = np.diag(self.counts).astype(np.float64)
        union = self.counts.sum(0) + self.counts.sum(1) - hits
        return np.divide(hits, union, out=np.full(self.classes, np.nan), where=union > 0)

    def miou(self) -> float:
        """Mean IoU over the classes that occur; NaN if none does."""
        iou = self.iou()
        return float(np.nanmean(iou)) if np.isfinite(iou).any() else float("nan")

    def group_iou(self, ids: Sequence[int]) -> float:
        """IoU of the union of several classes; NaN if none of them occurs."""
        inside = np.zeros(self.classes, np.bool_)
        inside[list(ids)] = True
        hits = self.counts[np.ix_(inside, inside)].sum()
        union = self.counts[inside].sum() + self.counts[:, inside].sum() - hits
        return float(hits / union) if union else float("nan")

    def pixel_accuracy(self) -> float:
        """Part of the counted pixels that is right; NaN without pixels."""
        total = self.counts.sum()
        return float(np.trace(self.counts) / total) if total else float("nan")
