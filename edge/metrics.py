"""How right masks are: confusion matrix, intersection over union, Dice, pixel accuracy, and the same of their edges."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
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

    def dice(self) -> NDArray[np.float64]:
        """2 |A and B| / (|A| + |B|) per class, (C,), also called F1; NaN for a class in neither."""
        both = 2.0 * np.diag(self.counts)
        sizes = self.counts.sum(0) + self.counts.sum(1)
        return np.divide(both, sizes, out=np.full(self.classes, np.nan), where=sizes > 0)

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


class BoundaryScore:
    """How near predicted outlines lie to true ones, per class: the boundary F1 of Csurka et al., "What is a good
    evaluation measure for semantic segmentation?", BMVC 2013.

    Of each frame, precision is the part of the predicted outline within `tolerance` of the true one, recall the part of
    the true outline within it of the predicted one; F1 is their harmonic mean, and the score its mean over the frames
    in which the class has an outline. `tolerance` is a share of the picture's diagonal; the paper takes 0.75 %.
    """

    def __init__(self, classes: int, ignore_ids: Sequence[int] = (255,), tolerance: float = 0.0075) -> None:
        self.classes, self.tolerance = classes, tolerance
        self._ignored = np.zeros(256, np.bool_)
        self._ignored[list(ignore_ids)] = True
        self._sums = np.zeros(classes)
        self._frames = np.zeros(classes, np.int64)

    def add(self, truth: NDArray[np.uint8], prediction: NDArray[np.uint8]) -> None:
        """Count one frame; both uint8 (H, W). What borders on unlabelled pixels is no outline: nobody knows.

        Raises:
            DataError: shapes differ.
        """
        if truth.shape != prediction.shape:
            raise DataError(f"truth has shape {truth.shape}, prediction {prediction.shape}; they must be equal")
        known = ~self._ignored[truth]
        reach_px = self.tolerance * float(np.hypot(*truth.shape))
        for index in range(self.classes):
            wanted, found = (_outline((ids == index) & known, known) for ids in (truth, prediction))
            if wanted.any() or found.any():
                self._sums[index] += _f1(_near(found, wanted, reach_px), _near(wanted, found, reach_px))
                self._frames[index] += 1

    def f1(self) -> NDArray[np.float64]:
        """(C,); NaN for a class without outline in any frame."""
        return np.divide(self._sums, self._frames, out=np.full(self.classes, np.nan), where=self._frames > 0)

    def mean(self) -> float:
        """Over the classes that have outlines; NaN if none has."""
        scores = self.f1()
        return float(np.nanmean(scores)) if np.isfinite(scores).any() else float("nan")


def _outline(inside: NDArray[np.bool_], known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels of a mask with a labelled neighbour, of four, outside of it; the picture's own edge is no outline."""
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    outside = (known & ~inside).astype(np.uint8)
    return inside & (cv2.dilate(outside, cross) > 0)


def _near(outline: NDArray[np.bool_], other: NDArray[np.bool_], reach_px: float) -> float:
    """The part of an outline's pixels that lies within reach of the other; 0 if either is empty."""
    if not outline.any() or not other.any():
        return 0.0
    distance_px = cv2.distanceTransform((~other).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return float(np.mean(distance_px[outline] <= reach_px + 1e-6))


def _f1(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0
