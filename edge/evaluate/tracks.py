"""Do ids last? HOTA (Luiten et al., IJCV 2021), IDF1 (Ristani et al., ECCV workshops 2016) and id switches (Bernardin
and Stiefelhagen, 2008), by the rules of TrackEval, for the objects of one kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from edge.evaluate.assignment import Floats, Ints, assign

ALPHAS = np.arange(0.05, 0.99, 0.05)  # overlaps from which HOTA takes two objects for one
OVERLAP = 0.5  # the same for IDF1 and id switches
_EPSILON = float(np.finfo("float").eps)
_CONTINUES = 1000.0  # worth of a pair that was one in the frame before: it goes before any overlap


@dataclass(frozen=True)
class Moment:
    """One frame: the true tracks (T,) and the found ones (F,), numbers of any size, and the overlap of each pair,
    float (T, F), 0 to 1.
    """

    frame: int
    truths: Ints
    found: Ints
    overlap: Floats


@dataclass(frozen=True)
class Switch:
    """The id of an object changed: `truth` is its true track, `before` and `after` are found ones."""

    frame: int
    truth: int
    before: int
    after: int


@dataclass
class TrackCounts:
    """What came of a drive; of several, the sum. Arrays are float (19,), a value per alpha.

    Attributes:
        truths, found: objects of all frames.
        hits: pairs of objects at each alpha.
        association: the sum of their association scores.
        located: the sum of their overlaps.
        id_hits: pairs of objects whose tracks are one, each track being one other at most.
        matched: pairs of objects as id switches are counted.
        switches: how often the id of an object changed.
    """

    truths: int
    found: int
    hits: Floats
    association: Floats
    located: Floats
    id_hits: int
    matched: int
    switches: int

    def __add__(self, other: TrackCounts) -> TrackCounts:
        return TrackCounts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def figures(self) -> dict[str, float]:
        """HOTA and its two halves, mean over alphas, IDF1 and MOTA: 0 to 1; MOTA also below. NaN without objects."""
        if not self.truths + self.found:
            return dict.fromkeys(("hota", "det_a", "ass_a", "idf1", "mota"), float("nan"))
        detection = self.hits / (self.truths + self.found - self.hits)
        association = self.association / np.maximum(1, self.hits)
        missed, false = self.truths - self.matched, self.found - self.matched
        return {
            "hota": float(np.sqrt(detection * association).mean()),
            "det_a": float(detection.mean()),
            "ass_a": float(association.mean()),
            "idf1": 2 * self.id_hits / (self.truths + self.found),
            "mota": 1 - (missed + false + self.switches) / self.truths if self.truths else float("nan"),
        }


def count_tracks(moments: Sequence[Moment]) -> TrackCounts:
    """The counts of one drive."""
    moments = _numbered(moments)
    true_counts = np.bincount(_joined([m.truths for m in moments]))
    found_counts = np.bincount(_joined([m.found for m in moments]))
    hits, association, located = _hota(moments, true_counts, found_counts)
    pairs, switches = follow(moments)
    return TrackCounts(
        int(true_counts.sum()),
        int(found_counts.sum()),
        hits,
        association,
        located,
        _id_hits(moments, (len(true_counts), len(found_counts))),
        sum(len(pair) for pair in pairs),
        len(switches),
    )


def follow(moments: Sequence[Moment]) -> tuple[list[Ints], list[Switch]]:
    """The pairs of each frame, (K, 2) true and found tracks, and where ids changed: pairs of the frame before go on as
    long as they overlap by half, others are the most overlapping.
    """
    last: dict[int, int] = {}  # each true track's found one, whenever that was
    before: dict[int, int] = {}  # in the last frame that had objects of both sides
    pairs, switches = list[Ints](), list[Switch]()
    for moment in moments:
        now = _continued(moment, before)
        pairs.append(now)
        if not len(moment.truths) or not len(moment.found):
            continue
        before = dict(now.tolist())
        for truth, found in before.items():
            if last.get(truth, found) != found:
                switches.append(Switch(moment.frame, truth, last[truth], found))
        last |= before
    return pairs, switches


def _continued(moment: Moment, before: dict[int, int]) -> Ints:
    goes_on = moment.found == np.array([before.get(truth, -1) for truth in moment.truths.tolist()])[:, None]
    worth = np.where(moment.overlap >= OVERLAP - _EPSILON, _CONTINUES * goes_on + moment.overlap, 0)
    rows, columns = assign(worth.reshape(moment.overlap.shape))
    return np.stack([moment.truths[rows], moment.found[columns]], axis=1)


def _hota(moments: Sequence[Moment], true_counts: Ints, found_counts: Ints) -> tuple[Floats, Floats, Floats]:
    """Hits, association scores and overlaps, summed, per alpha. Objects meet those of the tracks that go best together
    over the whole drive.
    """
    together = np.zeros((len(true_counts), len(found_counts)))
    for m in moments:
        either = m.overlap.sum(0)[None] + m.overlap.sum(1)[:, None] - m.overlap
        part = np.divide(m.overlap, either, out=np.zeros_like(m.overlap), where=either > _EPSILON)
        together[m.truths[:, None], m.found[None]] += part
    both = true_counts[:, None] + found_counts[None]
    alignment = together / np.maximum(both - together, _EPSILON)
    counts = np.zeros((len(ALPHAS), *together.shape))
    located = np.zeros(len(ALPHAS))
    for m in moments:
        rows, columns = assign(alignment[m.truths[:, None], m.found[None]] * m.overlap)
        overlaps = m.overlap[rows, columns]
        for place, alpha in enumerate(ALPHAS):
            hit = overlaps >= alpha - _EPSILON
            counts[place, m.truths[rows[hit]], m.found[columns[hit]]] += 1
            located[place] += overlaps[hit].sum()
    association = (counts * counts / np.maximum(1, both - counts)).sum((1, 2))
    return counts.sum((1, 2)), association, located


def _id_hits(moments: Sequence[Moment], shape: tuple[int, int]) -> int:
    together = np.zeros(shape)
    for m in moments:
        rows, columns = np.nonzero(m.overlap >= OVERLAP)
        together[m.truths[rows], m.found[columns]] += 1
    rows, columns = assign(together)
    return int(together[rows, columns].sum())


def _numbered(moments: Sequence[Moment]) -> list[Moment]:
    """The same with tracks that are numbered from 0, without gaps."""
    true_ids, found_ids = (np.unique(_joined([getattr(m, side) for m in moments])) for side in ("truths", "found"))
    return [
        Moment(m.frame, np.searchsorted(true_ids, m.truths), np.searchsorted(found_ids, m.found), m.overlap)
        for m in moments
    ]


def _joined(parts: Sequence[Any]) -> Ints:
    return np.concatenate([np.zeros(0, np.int64), *parts]).astype(np.int64)
