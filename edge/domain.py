"""Whether a scene is unlike what the engine was trained on, of a whole run and at this moment: its masks are then not
to be trusted.

The figure is `ood_score` (out of domain), which takes half a millisecond a frame; so frames are sampled.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge.card import LAYOUT_BANDS, Fingerprint
from edge.classes import ClassTable
from edge.hysteresis import Bounds, Hysteresis
from edge.prediction import Prediction

CALM_S = 2.0  # what a camera sees is averaged over so long before it is called strange

EVERY_FRAMES = 50  # of a long run, one frame in so many is looked at: at 10 a run without outputs was 5 % slower
FIRST_FRAMES = 10  # of these each: few images are seen whole; behind them ever fewer
SAMPLE_S = 0.2  # at this moment: five looks a second
# Of a calibration set from many cameras: at 0.03 a motorway that was trained on was a stranger, at 0 a grey image none.
FARTHEST_SHARE = 0.02
WARN_SHARE = 0.05  # of frames: fewer are the odd frame that a familiar drive has, too


class _Limits(NamedTuple):
    """See `edge.hysteresis.Bounds`."""

    begin: float
    end: float
    hold_s: float


UNLIKE = _Limits(begin=0.9, end=0.8, hold_s=2.0)  # of ood_score, where no config has others
WARNING = "scene unlike the training data"
ADVICE = "do not trust these masks"


@dataclass(frozen=True, slots=True)
class Description:
    """What masks are like.

    Attributes:
        shares: float (C,): the share of the image that each class covers.
        layout: float (bands, C): the share of each band of the image, from its top.
        edges: the share of cells whose class is not that of the one to the right: masks of what a net was never shown
            fall to pieces.
    """

    shares: NDArray[np.float64]
    layout: NDArray[np.float64]
    edges: float

    def lerp(self, other: Description, weight: float) -> Description:
        """So much of the way to another one."""
        shares = self.shares + weight * (other.shares - self.shares)
        layout = self.layout + weight * (other.layout - self.layout)
        return Description(shares, layout, self.edges + weight * (other.edges - self.edges))


def describe(result: Prediction) -> Description:
    """Of one frame, over the part of the network's input that the image covers."""
    inside = np.ascontiguousarray(result.letterbox.content(result.semantic))
    classes = len(result.table)
    bands = np.array_split(inside, LAYOUT_BANDS)
    counts = np.array([np.bincount(band.reshape(-1), minlength=classes)[:classes] for band in bands], np.float64)
    sizes = np.array([[max(1, band.size)] for band in bands])
    edges = np.count_nonzero(inside[:, 1:] != inside[:, :-1]) / max(1, inside[:, 1:].size)
    return Description(counts.sum(axis=0) / inside.size, counts / sizes, edges)


def fingerprint_of(results: Iterable[Prediction], table: ClassTable) -> Fingerprint:
    """What an engine's masks are like on frames that it is at home with."""
    described = [describe(result) for result in results]
    mean, edges = np.mean([one.shares for one in described], axis=0), [one.edges for one in described]
    layout = np.mean([one.layout for one in described], axis=0)
    return Fingerprint(
        shares={name: round(float(share), 5) for name, share in zip(table.names, mean, strict=True)},
        drift=round(_usual([divergence(one.shares, mean) for one in described]), 5),
        edges=round(float(np.mean(edges)), 5),
        edges_high=round(float(max(edges)), 5),
        layout={name: tuple(np.round(bands, 5).tolist()) for name, bands in zip(table.names, layout.T, strict=True)},
        layout_drift=round(_usual([divergence(one.layout, layout) for one in described]), 5),
    )


def _usual(distances: Sequence[float]) -> float:
    """The limit that all but `FARTHEST_SHARE` of the frames keep to."""
    return float(np.quantile(distances, 1 - FARTHEST_SHARE))


def ood_score(seen: Description, known: Fingerprint, table: ClassTable) -> float:
    """How far masks are from the usual, 1 = as far as the farthest 2 % of the calibration set (`FARTHEST_SHARE`).

    Layout, what is where in the image, tells what the net was never shown far better than shares, fragments or any
    entropy of them (docs/results.md). A fingerprint without it has the stranger of shares and fragments.
    """
    if known.layout:
        usual = np.array([known.layout.get(name, (0.0,) * LAYOUT_BANDS) for name in table.names]).T
        return divergence(seen.layout, usual) / max(known.layout_drift, 0.005)
    mean = np.array([known.shares.get(name, 0.0) for name in table.names])
    drift = divergence(seen.shares, mean) / max(known.drift, 0.005)
    return max(drift, seen.edges / max(known.edges_high, 0.005))


def divergence(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    """Jensen-Shannon divergence in bits, 0 to 1 (Lin, "Divergence measures based on the Shannon entropy", 1991)."""
    p, q = p / max(p.sum(), 1e-12), q / max(q.sum(), 1e-12)
    middle = (p + q) / 2

    def relative(a: NDArray[np.float64]) -> float:
        inside = a > 0
        return float((a[inside] * np.log2(a[inside] / middle[inside])).sum())

    return max(0.0, (relative(p) + relative(q)) / 2)


class RunningMean:
    """A running mean of descriptions over `CALM_S`, by the time that passes between them."""

    def __init__(self) -> None:
        self._mean: Description | None = None
        self._last_ns = 0

    def update(self, seen: Description, now_ns: int) -> Description:
        """The mean, with what was seen now in it."""
        was, passed_s = self._mean, max(0, now_ns - self._last_ns) / 1e9
        self._last_ns = now_ns
        self._mean = seen if was is None else was.lerp(seen, 1 - float(np.exp(-passed_s / CALM_S)))
        return self._mean


# ------------------------------------------------------------------------------------------------- of a run, and now


def warning(share: float | None) -> str:
    """One line about a run of which such a share of frames was unlike the training data; "" where it needs none."""
    if share is None or share < WARN_SHARE:
        return ""
    return f"{WARNING} in {100 * share:.0f} % of frames: {ADVICE}"


def is_unlike(result: Prediction, fingerprint: Fingerprint) -> bool:
    """Whether one frame, by itself, is unlike the training data."""
    return ood_score(describe(result), fingerprint, result.table) >= UNLIKE.begin


class UnlikeShare:
    """Counts, over a run, the frames that are unlike the training data."""

    def __init__(self, fingerprint: Fingerprint | None) -> None:
        """Without a fingerprint, which an engine's card may lack, nothing is counted."""
        self._fingerprint = fingerprint
        self._frames = self._next = self._looked_at = self._unlike = 0

    def add(self, result: Prediction) -> None:
        """The next result of the run. A sampled frame stands for those that are skipped behind it."""
        number, self._frames = self._frames, self._frames + 1
        if self._fingerprint is None or number < self._next:
            return
        weight = min(max(1, number // FIRST_FRAMES), EVERY_FRAMES)
        self._next = number + weight
        self._looked_at += weight
        self._unlike += weight * is_unlike(result, self._fingerprint)

    @property
    def share(self) -> float | None:
        """0 to 1; None where no frame was looked at."""
        return self._unlike / self._looked_at if self._looked_at else None


class UnlikeNow:
    """Whether what a camera sees now is unlike the training data: the event `out_of_domain`, for what is shown."""

    def __init__(self, fingerprint: Fingerprint | None, limits: Bounds | None = None) -> None:
        """`limits` default to the usual ones. Without a fingerprint nothing is unlike."""
        self._fingerprint = fingerprint
        self._state, self._running_mean = Hysteresis(limits or UNLIKE), RunningMean()
        self._due_ns = 0

    def look(self, result: Prediction) -> bool:
        """Whether it is, with this result taken into account."""
        now_ns = result.frame.captured_ns
        if self._fingerprint is not None and now_ns >= self._due_ns:
            self._due_ns = now_ns + round(SAMPLE_S * 1e9)
            seen = self._running_mean.update(describe(result), now_ns)
            self._state.update(ood_score(seen, self._fingerprint, result.table), now_ns)
        return self._state.active
