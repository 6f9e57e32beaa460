"""Figures of objects: panoptic quality and AP per class, tracks per group."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.evaluate import overlaps as o
from edge.evaluate.tracks import Moment

Ints = NDArray[np.int64]
_HALF = 0.5


@dataclass(frozen=True)
class Matched:
    """The tables of a drive with what belongs together.

    Attributes:
        truths, found: as `Overlaps` has them, of all frames.
        true_rows, found_rows, overlap: (P,) rows of each pair of one class, and its intersection over union; pixels of
            the found object whose truth is unknown do not count.
        excused: (F,) more than half of the found object is unknown, or in truth of its class that does not count.
    """

    truths: Ints
    found: Ints
    true_rows: Ints
    found_rows: Ints
    overlap: NDArray[np.float64]
    excused: NDArray[np.bool_]

    @classmethod
    def of(cls, truths: Ints, found: Ints, overlaps: Ints, groups: Ints) -> Matched:
        """`groups` (C,) says which classes are taken for one: those of equal numbers."""
        rows = _rows(truths, overlaps[:, [o.FRAME, o.TRUE]]), _rows(found, overlaps[:, [o.FRAME, o.FOUND]])
        same = groups[truths[rows[0], o.CLASS]] == groups[found[rows[1], o.CLASS]]
        true_rows, found_rows, shared = rows[0][same], rows[1][same], overlaps[same, o.SHARED]
        counts = truths[true_rows, o.COUNTS] > 0
        excused = found[:, o.VOID].copy()
        np.add.at(excused, found_rows[~counts], shared[~counts])
        true_rows, found_rows, shared = true_rows[counts], found_rows[counts], shared[counts]
        either = truths[true_rows, o.TRUE_AREA] + (found[:, o.AREA] - found[:, o.VOID])[found_rows] - shared
        return cls(truths, found, true_rows, found_rows, shared / either, excused > _HALF * found[:, o.AREA])


def _rows(table: Ints, keys: Ints) -> Ints:
    """The row of each pair of a frame's index and a number."""
    span = 1 + max(table[:, o.NUMBER].max(initial=0), keys[:, 1].max(initial=0))
    own = table[:, o.FRAME] * span + table[:, o.NUMBER]
    order = np.argsort(own, kind="stable")
    return order[np.searchsorted(own[order], keys[:, 0] * span + keys[:, 1])]


@dataclass(frozen=True)
class PanopticCounts:
    """Per class, (C,): what was found, found and not there, there and not found; and the overlaps of the first, summed
    (Kirillov et al., "Panoptic Segmentation", CVPR 2019). The rules are panopticapi's.
    """

    hits: Ints
    false: Ints
    missed: Ints
    overlap: NDArray[np.float64]

    @classmethod
    def of(cls, drives: Iterable[Matched], classes: int) -> PanopticCounts:
        """Of all drives together."""
        counts, overlap = np.zeros((3, classes), np.int64), np.zeros(classes)
        for drive in drives:
            hit = drive.overlap > _HALF  # no two such pairs share an object
            of_hits = drive.truths[drive.true_rows[hit], o.CLASS]
            false, missed = ~drive.excused, drive.truths[:, o.COUNTS] > 0
            false[drive.found_rows[hit]] = missed[drive.true_rows[hit]] = False
            parts = (of_hits, drive.found[false, o.CLASS], drive.truths[missed, o.CLASS])
            counts += [np.bincount(part, minlength=classes) for part in parts]
            overlap += np.bincount(of_hits, drive.overlap[hit], classes)
        hits, false, missed = counts
        return cls(hits, false, missed, overlap)

    def figures(self) -> dict[str, NDArray[np.float64]]:
        """(C,) PQ, SQ and RQ, 0 to 1; NaN for a class that is neither there nor found, and SQ for one never found."""
        nan = np.full(len(self.hits), np.nan)
        either = self.hits + (self.false + self.missed) / 2
        sq = np.divide(self.overlap, self.hits, out=nan.copy(), where=self.hits > 0)
        rq = np.divide(self.hits, either, out=nan.copy(), where=either > 0)
        return {"pq": np.divide(self.overlap, either, out=nan.copy(), where=either > 0), "sq": sq, "rq": rq}


def average_precision(drives: Sequence[Matched], class_id: int) -> float:
    """AP at an overlap of one half, by COCO's rules: precision at 101 recalls. NaN where none is there, or where it is
    not known how sure the engine was.
    """
    scores, hits, there = list[Ints](), list[NDArray[np.bool_]](), 0
    for drive in drives:
        hit = np.zeros(len(drive.found), np.bool_)
        hit[drive.found_rows[drive.overlap > _HALF]] = True
        own = (drive.found[:, o.CLASS] == class_id) & (hit | ~drive.excused)
        scores.append(drive.found[own, o.SCORE])
        hits.append(hit[own])
        there += np.count_nonzero((drive.truths[:, o.CLASS] == class_id) & (drive.truths[:, o.COUNTS] > 0))
    score, hit = _joined(scores, np.int64), _joined(hits, np.bool_)
    if not there or (score < 0).any():
        return float("nan")
    hit = hit[np.argsort(-score, kind="stable")]
    found = np.cumsum(hit)
    precision = np.maximum.accumulate((found / np.arange(1, len(hit) + 1))[::-1])[::-1]
    places = np.searchsorted(found / there, np.linspace(0, 1, 101), side="left")
    return float(np.append(precision, 0)[places].mean())


def _joined(parts: Sequence[Any], kind: Any) -> NDArray[Any]:
    return np.concatenate([np.zeros(0, kind), *parts])


def moments_of(drive: Matched, class_ids: Sequence[int]) -> list[Moment]:
    """The followed objects of a group of classes, frame by frame; empty where its truth has no tracks. A found object
    that meets none by half and is excused, is not there.
    """
    is_true = np.isin(drive.truths[:, o.CLASS], class_ids) & (drive.truths[:, o.COUNTS] > 0)
    is_true &= drive.truths[:, o.TRACK] > 0
    if not is_true.any():
        return []
    meets = np.zeros(len(drive.found), np.bool_)
    meets[drive.found_rows[drive.overlap >= _HALF]] = True
    is_found = np.isin(drive.found[:, o.CLASS], class_ids) & (drive.found[:, o.TRACK] > 0) & (meets | ~drive.excused)
    pairs = is_true[drive.true_rows] & is_found[drive.found_rows]
    truths, found = _by_frame(drive.truths, is_true), _by_frame(drive.found, is_found)
    of_frame = _split(drive.truths[drive.true_rows, o.FRAME], np.flatnonzero(pairs))
    none = np.zeros(0, np.int64)
    return [
        _moment(drive, frame, truths.get(frame, none), found.get(frame, none), of_frame.get(frame, none))
        for frame in sorted(truths.keys() | found.keys())
    ]


def _moment(drive: Matched, frame: int, truths: Ints, found: Ints, pairs: Ints) -> Moment:
    overlap = np.zeros((len(truths), len(found)))
    at = np.searchsorted(truths, drive.true_rows[pairs]), np.searchsorted(found, drive.found_rows[pairs])
    overlap[at] = drive.overlap[pairs]
    return Moment(frame, drive.truths[truths, o.TRACK], drive.found[found, o.TRACK], overlap)


def _by_frame(table: Ints, chosen: NDArray[np.bool_]) -> dict[int, Ints]:
    return _split(table[:, o.FRAME], np.flatnonzero(chosen))


def _split(frames: Ints, rows: Ints) -> dict[int, Ints]:
    """The rows of each frame, ascending."""
    rows = rows[np.argsort(frames[rows], kind="stable")]
    numbers, starts = np.unique(frames[rows], return_index=True)
    return dict(zip(numbers.tolist(), np.split(rows, starts)[1:], strict=True))
