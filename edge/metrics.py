"""How right masks are: confusion matrix, intersection over union, Dice, pixel accuracy, and the same of their edges."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import DataError

TOLERANCE = 0.0075  # of the picture's diagonal: Csurka et al.
_EXACT = 1 << 24  # OpenCV counts in float32, which is exact up to there


def count_pairs(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.int64]:
    """int64 (256, 256): how often each pair of values lies at one place of two arrays, uint8 (H, W) both."""
    if first.size >= _EXACT:
        return count_pairs(first[::2], second[::2]) + count_pairs(first[1::2], second[1::2])
    if first.size == 0:
        return np.zeros((256, 256), np.int64)
    # Three times as fast as np.bincount on a 720p picture, and other threads may run meanwhile.
    pairs = cv2.merge([second, first]).view("<u2")
    return cv2.calcHist([pairs], [0], None, [65536], [0, 65536]).astype(np.int64).reshape(256, 256)


@lru_cache(maxsize=16)
def _tables(classes: int, ignore_ids: tuple[int, ...]) -> tuple[NDArray[Any], ...]:
    """By id, (256,) each: is it a class, is it ignored; and for few classes what truth and prediction are as the upper
    and lower half of a byte, ignored ones as 14, strange ones as 15.
    """
    known, ignored = np.arange(256) < classes, np.isin(np.arange(256), ignore_ids)
    high = np.where(ignored, 14, np.where(known, np.arange(256), 15)).astype(np.uint8) << 4
    return known, ignored, high, np.where(known, np.arange(256), 15).astype(np.uint8)


class Confusion:
    """Pixel counts by (true class, predicted class), summed over frames.

    `counts` is int64 (C, C), rows truth, columns prediction. Pixels whose truth is one of `ignore_ids` are left out.
    """

    def __init__(self, classes: int, ignore_ids: Sequence[int] = (255,)) -> None:
        self.classes = classes
        self.counts: NDArray[np.int64] = np.zeros((classes, classes), np.int64)
        self._known, self._ignored, self._high, self._low = _tables(classes, tuple(ignore_ids))

    def add(self, truth: NDArray[np.uint8], prediction: NDArray[np.uint8]) -> None:
        """Count one frame; both uint8 (H, W), of equal shape.

        Raises:
            DataError: shapes differ, or the truth holds an id that is neither a class nor ignored.
        """
        if truth.shape != prediction.shape:
            raise DataError(f"truth has shape {truth.shape}, prediction {prediction.shape}; they must be equal")
        if self.classes <= 14 and 0 < truth.size < _EXACT:
            pairs = cv2.add(cv2.LUT(truth, self._high), cv2.LUT(prediction, self._low))
            few = cv2.calcHist([pairs], [0], None, [256], [0, 256]).reshape(16, 16)
            if not few[15].any() and not few[: self.classes, 15].any():
                self.counts += few[: self.classes, : self.classes].astype(np.int64)
                return
        table = count_pairs(truth, prediction)
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

    def __init__(self, classes: int, ignore_ids: Sequence[int] = (255,), tolerance: float = TOLERANCE) -> None:
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
        self.add_counts(count_outlines(truth, prediction, ~self._ignored[truth], self.classes, self.tolerance))

    def add_counts(self, counts: NDArray[np.int64]) -> None:
        """Count one frame by its `count_outlines`."""
        found, wanted, right, drawn = counts.T
        self._sums += _f1(right / np.maximum(drawn, 1), found / np.maximum(wanted, 1))
        self._frames += (wanted > 0) | (drawn > 0)

    def f1(self) -> NDArray[np.float64]:
        """(C,); NaN for a class without outline in any frame."""
        return np.divide(self._sums, self._frames, out=np.full(self.classes, np.nan), where=self._frames > 0)

    def mean(self) -> float:
        """Over the classes that have outlines; NaN if none has."""
        scores = self.f1()
        return float(np.nanmean(scores)) if np.isfinite(scores).any() else float("nan")


def count_outlines(
    truth: NDArray[np.uint8],
    prediction: NDArray[np.uint8],
    known: NDArray[np.bool_],
    classes: int,
    tolerance: float = TOLERANCE,
) -> NDArray[np.int64]:
    """int64 (C, 4), pixels per class: of the true outline those that were found, and all; of the predicted outline
    those that are right, and all. `truth` and `prediction` are uint8 (H, W), `known` bool (H, W).
    """
    reach_px = tolerance * float(np.hypot(*truth.shape)) + 1e-6
    true, drawn = _Edge.of(truth, known), _Edge.of(prediction, known)
    counts = np.zeros((classes, 4), np.int64)
    for first in range(0, classes, 64):
        counts[:, 0] += _count(true.near(drawn.reached(reach_px, first), first), classes)
        counts[:, 2] += _count(drawn.near(true.reached(reach_px, first), first), classes)
    counts[:, 1], counts[:, 3] = _count(true.ids, classes), _count(drawn.ids, classes)
    return counts


def _count(ids: NDArray[np.uint8], classes: int) -> NDArray[np.int64]:
    return np.bincount(ids, minlength=classes)[:classes]


@dataclass(frozen=True)
class _Edge:
    """The outlines of all classes in a map of that shape: where their pixels are, and of which class, (N,) each."""

    shape: tuple[int, ...]
    places: tuple[NDArray[np.intp], NDArray[np.intp]]
    ids: NDArray[np.uint8]

    @classmethod
    def of(cls, ids: NDArray[np.uint8], known: NDArray[np.bool_]) -> _Edge:
        """Known pixels with a known neighbour, of four, of another class; the picture's own edge is no outline."""
        edge = np.zeros(ids.shape, np.bool_)
        across = (ids[:, 1:] != ids[:, :-1]) & known[:, 1:] & known[:, :-1]
        edge[:, 1:] |= across
        edge[:, :-1] |= across
        down = (ids[1:] != ids[:-1]) & known[1:] & known[:-1]
        edge[1:] |= down
        edge[:-1] |= down
        rows, columns = np.nonzero(edge)
        return cls(ids.shape, (rows, columns), ids[rows, columns])

    def reached(self, reach_px: float, first: int) -> NDArray[np.unsignedinteger]:
        """Bit i of a pixel: an outline of class `first + i` lies within reach. All classes are widened by a disc in one
        go, row of the disc by row: distance transforms, class by class, cost forty times as much.
        """
        own = self.ids.astype(np.int64) - first
        mine = (own >= 0) & (own < 64)
        kind = np.uint16 if not mine.any() or own[mine].max() < 16 else np.uint64
        wide = np.zeros(self.shape, kind)
        wide[self.places[0][mine], self.places[1][mine]] = kind(1) << own[mine].astype(kind)
        near, half_width = np.zeros_like(wide), 0
        for rise in range(min(int(reach_px), len(wide) - 1), -1, -1):
            while half_width < int(math.sqrt(reach_px**2 - rise**2)):
                half_width += 1
                wider = wide.copy()
                wider[:, 1:] |= wide[:, :-1]
                wider[:, :-1] |= wide[:, 1:]
                wide = wider
            near[rise:] |= wide[: len(wide) - rise]
            if rise:
                near[:-rise] |= wide[rise:]
        return near

    def near(self, reached: NDArray[np.unsignedinteger], first: int) -> NDArray[np.uint8]:
        """The ids of the pixels whose own class, one from `first` on, is within reach."""
        own = self.ids.astype(np.int64) - first
        bits = 8 * reached.dtype.itemsize
        found = reached[self.places] >> np.clip(own, 0, bits - 1).astype(reached.dtype) & 1
        return self.ids[(found > 0) & (own >= 0) & (own < bits)]


def _f1(precision: NDArray[np.float64], recall: NDArray[np.float64]) -> NDArray[np.float64]:
    both = precision + recall
    return np.divide(2 * precision * recall, both, out=np.zeros_like(both), where=both > 0)
