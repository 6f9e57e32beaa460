"""How right masks are: confusion matrix, intersection over union, Dice, pixel accuracy, and the same of their edges."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import DataError

TOLERANCE = 0.0075  # of the image's diagonal: Csurka et al.
_EXACT = 1 << 24  # OpenCV counts in float32, which is exact up to there


def count_pairs(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.int64]:
    """int64 (256, 256): how often each pair of values lies at one place of two arrays, uint8 (H, W) both."""
    if first.size >= _EXACT:
        return count_pairs(first[::2], second[::2]) + count_pairs(first[1::2], second[1::2])
    if first.size == 0:
        return np.zeros((256, 256), np.int64)
    # Three times as fast as np.bincount on a 720p image, and other threads may run meanwhile.
    pairs = cv2.merge([second, first]).view("<u2")
    return cv2.calcHist([pairs], [0], None, [65536], [0, 65536]).astype(np.int64).reshape(256, 256)


def count_bands(
    truth: NDArray[np.uint8],
    prediction: NDArray[np.uint8],
    edges: Sequence[int],
    classes: int,
    ignore_ids: Sequence[int] = (255,),
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pixels by true and predicted class, int64 (B, C, C), of each band of rows `edges[i]` to `edges[i + 1]`; and all
    pixels of these bands by predicted class, int64 (C,), those that are not labelled among them.

    `truth` and `prediction` are uint8 (H, W). Pixels whose truth is one of `ignore_ids` are in the second alone.

    Raises:
        DataError: shapes differ, or the truth holds an id that is neither a class nor ignored.
    """
    if truth.shape != prediction.shape:
        raise DataError(f"truth has shape {truth.shape}, prediction {prediction.shape}; they must be equal")
    tables = _tables(classes, tuple(ignore_ids))
    bands = [slice(*pair) for pair in pairwise(edges)]
    counts = _count_few(truth, prediction, bands, tables) if classes <= 14 else None
    if counts is None:
        counts = np.stack([count_pairs(truth[band], prediction[band]) for band in bands])
        _check_ids(counts.sum(0), tables)
    seen = counts.sum((0, 1))[:classes]
    counts = counts[:, :classes, :classes].copy()
    counts[:, tables.ignored[:classes]] = 0
    return counts, seen


@dataclass(frozen=True)
class _Tables:
    """By id, (256,) each: is it a class, is it ignored; and for few classes what a truth is as the upper half of a
    byte, ignored ones as 14, strange ones as 15.
    """

    classes: int
    known: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    high: NDArray[np.uint8]


@lru_cache(maxsize=16)
def _tables(classes: int, ignore_ids: tuple[int, ...]) -> _Tables:
    ids = np.arange(256)
    known, ignored = ids < classes, np.isin(ids, ignore_ids)
    high = 16 * np.where(ignored, 14, np.where(known, ids, 15))
    return _Tables(classes, known, ignored, high.astype(np.uint8))


def _count_few(
    truth: NDArray[np.uint8], prediction: NDArray[np.uint8], bands: Sequence[slice], tables: _Tables
) -> NDArray[np.int64] | None:
    """int64 (B, 16, 16) of up to 14 classes: truth as `_Tables.high` has it, prediction up to 15; None where an id is
    strange. A pair is a byte: half the work of `count_pairs`.
    """
    if not 0 < truth.size < _EXACT:
        return None
    low = cv2.threshold(prediction, 15, 0, cv2.THRESH_TRUNC)[1]
    pairs = cv2.add(low, cv2.LUT(truth, tables.high), dst=low)
    counts = np.zeros((len(bands), 256), np.int64)
    for row, band in zip(counts, bands, strict=True):
        if pairs[band].size:
            row[:] = cv2.calcHist([pairs[band]], [0], None, [256], [0, 256]).reshape(-1)
    counts = counts.reshape(-1, 16, 16)
    strange = counts[:, 15].any() or counts[:, : tables.classes, tables.classes :].any()
    return None if strange else counts


def _check_ids(table: NDArray[np.int64], tables: _Tables) -> None:
    """Refuse counts of pairs (256, 256) in which an id is no class."""
    stray = np.flatnonzero(table.any(axis=1) & ~tables.known & ~tables.ignored)
    if stray.size:
        ignored = np.flatnonzero(tables.ignored).tolist()
        raise DataError(f"the labels hold id {stray[0]}; known are 0 to {tables.classes - 1}, ignored {ignored}")
    if table[tables.known & ~tables.ignored, tables.classes :].any():
        raise DataError(f"the prediction holds ids above {tables.classes - 1}")


class Confusion:
    """Pixel counts by (true class, predicted class), summed over frames.

    `counts` is int64 (C, C), rows truth, columns prediction. Pixels whose truth is one of `ignore_ids` are left out.
    """

    def __init__(self, classes: int, ignore_ids: Sequence[int] = (255,)) -> None:
        self.classes = classes
        self.counts: NDArray[np.int64] = np.zeros((classes, classes), np.int64)
        self._ignore_ids = tuple(ignore_ids)

    def add(self, truth: NDArray[np.uint8], prediction: NDArray[np.uint8]) -> None:
        """Count one frame; both uint8 (H, W), of equal shape.

        Raises:
            DataError: shapes differ, or the truth holds an id that is neither a class nor ignored.
        """
        counts, _ = count_bands(truth, prediction, (0, len(truth)), self.classes, self._ignore_ids)
        self.counts += counts[0]

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

    def mean_dice(self) -> float:
        """Mean Dice over the classes that occur; NaN if none does."""
        dice = self.dice()
        return float(np.nanmean(dice)) if np.isfinite(dice).any() else float("nan")

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
    in which the class has an outline. `tolerance` is a share of the image's diagonal; the paper takes 0.75 %.
    """

    def __init__(self, classes: int, ignore_ids: Sequence[int] = (255,), tolerance: float = TOLERANCE) -> None:
        self.classes, self.tolerance = classes, tolerance
        self._ignored = np.zeros(256, np.bool_)
        self._ignored[list(ignore_ids)] = True
        self._sums = np.zeros(classes)
        self._frames = np.zeros(classes, np.int64)

    def add(self, truth: NDArray[np.uint8], prediction: NDArray[np.uint8]) -> None:
        """Count one frame; both uint8 (H, W). What borders on unlabelled pixels is no outline: it may be none.

        Raises:
            DataError: shapes differ.
        """
        if truth.shape != prediction.shape:
            raise DataError(f"truth has shape {truth.shape}, prediction {prediction.shape}; they must be equal")
        self.add_counts(count_outlines(truth, prediction, ~self._ignored[truth], self.classes, self.tolerance))

    def add_counts(self, counts: NDArray[np.int64]) -> None:
        """Count one frame by its `count_outlines`."""
        found, labelled, right, drawn = counts.T
        self._sums += _f1(right / np.maximum(drawn, 1), found / np.maximum(labelled, 1))
        self._frames += (labelled > 0) | (drawn > 0)

    def f1(self) -> NDArray[np.float64]:
        """(C,); NaN for a class without outline in any frame."""
        return np.divide(self._sums, self._frames, out=np.full(self.classes, np.nan), where=self._frames > 0)

    def mean(self) -> float:
        """Over the classes that have outlines; NaN if none has."""
        scores = self.f1()
        return float(np.nanmean(scores)) if np.isfinite(scores).any() else float("nan")


class ThinScore:
    """F1 of what is a few pixels wide, such as lane markings: a pixel counts as right within `tolerance_px` of truth,
    and one of truth as found within it of a pixel (along rows, columns and diagonals).
    """

    def __init__(self, tolerance_px: int) -> None:
        self._kernel = np.ones((2 * tolerance_px + 1,) * 2, np.uint8)
        self.found, self.right, self.wanted, self.met = 0, 0, 0, 0

    def add(self, truth: NDArray[np.bool_], found: NDArray[np.bool_], unknown: NDArray[np.bool_]) -> None:
        """One frame, bool (H, W) each; what is unknown is neither right nor wrong."""
        wanted, given = (cv2.dilate(mask.astype(np.uint8), self._kernel) > 0 for mask in (truth, found))
        self.found += int((found & ~unknown).sum())
        self.right += int((found & wanted & ~unknown).sum())
        self.wanted += int(truth.sum())
        self.met += int((truth & given).sum())

    @property
    def f1(self) -> float:
        """0 to 1; NaN where there is neither truth nor anything found."""
        if not self.found and not self.wanted:
            return math.nan
        precision, recall = self.right / max(1, self.found), self.met / max(1, self.wanted)
        return 2 * precision * recall / max(1e-12, precision + recall)


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
    field = _Field.around(known, reach_px)
    true, drawn = field.edge(truth), field.edge(prediction)
    counts = np.zeros((classes, 4), np.int64)
    counts[:, 1], counts[:, 3] = _count(true.ids, classes), _count(drawn.ids, classes)
    shared = np.flatnonzero(counts[:, 1] * counts[:, 3])
    for few in (shared[first : first + 64] for first in range(0, len(shared), 64)):
        bits = _bits(few)
        counts[:, 0] += _count(field.near(true, drawn, bits), classes)
        counts[:, 2] += _count(field.near(drawn, true, bits), classes)
    for index in np.flatnonzero((counts[:, 1] == 0) & (counts[:, 3] > 0)):
        if not known.all() and np.any(truth[known] == index):
            counts[index] = 0  # all of its outline borders on unlabelled pixels: where it runs is unknown
    return counts


def _count(ids: NDArray[np.uint8], classes: int) -> NDArray[np.int64]:
    return np.bincount(ids, minlength=classes)[:classes]


def _bits(ids: NDArray[np.int64]) -> NDArray[np.unsignedinteger]:
    """(256,) a bit of its own for each of up to 64 ids, 0 for all others; as narrow as they fit."""
    kind = np.dtype(f"u{max(1, 1 << (len(ids) - 1).bit_length() >> 3)}").type
    bits = np.zeros(256, kind)
    bits[ids] = kind(1) << np.arange(len(ids), dtype=kind)
    return bits


@dataclass(frozen=True)
class _Edge:
    """The outlines of all classes in a map: where their pixels are in the field, and of which class, (N,) each."""

    places: NDArray[np.intp]
    ids: NDArray[np.uint8]


@dataclass(frozen=True)
class _Field:
    """An image with a margin above, below and to the right, as wide as outlines reach, as one long row of `size`: so
    a neighbour lies at a fixed distance, and work on all pixels is work on one array.

    `joined` says by the distance of a neighbour, to the right and below, where both pixels are known.
    """

    size: int
    stride: int
    margin: int
    reach_px: float
    joined: dict[int, NDArray[np.bool_]]

    @classmethod
    def around(cls, known: NDArray[np.bool_], reach_px: float) -> _Field:
        """The field of an image of which (H, W) pixels are known."""
        margin = max(1, int(reach_px))
        stride = known.shape[1] + margin
        inside = _laid_out(known.view(np.uint8), margin).view(np.bool_)
        joined = {step: inside[step:] & inside[:-step] for step in (1, stride)}
        return cls(inside.size, stride, margin, reach_px, joined)

    def edge(self, ids: NDArray[np.uint8]) -> _Edge:
        """Known pixels with a known neighbour, of four, of another class; the image's own edge is no outline."""
        ids = _laid_out(ids, self.margin)
        edge = np.zeros(ids.shape, np.bool_)
        for step, joined in self.joined.items():
            differ = ids[step:] != ids[:-step]
            differ &= joined
            edge[step:] |= differ
            edge[:-step] |= differ
        places = np.flatnonzero(edge)
        return _Edge(places, ids[places])

    def near(self, edge: _Edge, other: _Edge, bits: NDArray[np.unsignedinteger]) -> NDArray[np.uint8]:
        """The ids of the edge's pixels that have one of the same class of the other edge within reach.

        A class is a bit, and all are widened in one go to a row of the disc, row by row: distance transforms, class by
        class, cost many times as much.
        """
        wide = np.zeros(self.size, bits.dtype)
        wide[other.places] = bits[other.ids]
        spare, half_width = np.zeros_like(wide), 0
        above = edge.places - self.margin * self.stride
        reached = np.zeros(len(above), bits.dtype)
        for rise in range(int(self.reach_px), -1, -1):
            while half_width < int(math.sqrt(self.reach_px**2 - rise**2)):
                np.bitwise_or(wide[:-2], wide[2:], out=spare[1:-1])
                if half_width == 0:  # later on both neighbours have what is between them
                    spare |= wide
                wide, spare, half_width = spare, wide, half_width + 1
            for row in {self.margin - rise, self.margin + rise}:
                reached |= wide[row * self.stride :][above]
        return edge.ids[(reached & bits[edge.ids]) > 0]


def _laid_out(array: NDArray[np.uint8], margin: int) -> NDArray[np.uint8]:
    """(N,) the array (H, W) with its margin of zeros, row by row."""
    return cv2.copyMakeBorder(array, margin, margin, 0, margin, cv2.BORDER_CONSTANT, value=0).reshape(-1)


def _f1(precision: NDArray[np.float64], recall: NDArray[np.float64]) -> NDArray[np.float64]:
    both = precision + recall
    return np.divide(2 * precision * recall, both, out=np.zeros_like(both), where=both > 0)
