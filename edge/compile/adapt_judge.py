"""Did an adaptation help? By what can be measured without labels, and by frames with truth that must not get worse.

On the end of each drive, held back from training: do masks keep their classes along the motion of the image, and does a
frame get the classes of its mirror image? A net that says the same of everything would agree with itself best of all,
so two more are asked: what it loses on frames with truth, and whether a class that the engine saw is gone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.backends import open_engine
from edge.compile.build import Steps
from edge.compile.judge import broken_limits, judge, points_lost
from edge.config import data_path, drive_name
from edge.engine import Bundle, Engine
from edge.evaluate.figures import resampled
from edge.evaluate.measures import Measures, view_of
from edge.evaluate.spans import Span
from edge.frame import Frame
from edge.report import table
from edge.segmenter import Segmenter
from edge.sources.seek import open_recording
from edge.train.recipe import Folder

HELD_OUT = 0.2  # of each drive, its end
LEAST_FRAMES = 20  # of a drive
JUDGED_FRAMES = 300  # of a drive, at most
STEADY, MIRRORED = "along the motion", "with the mirror image"
GONE_BELOW, SEEN_FROM = 0.2, 0.01  # a class with that share of the image before, and less than that part of it after
_LEVEL = 0.95


@dataclass(frozen=True)
class Change:
    """A share of the pixels before and after, and where 95 % of draws of the same frames put the gain."""

    before: float
    after: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Verdict:
    """What an adaptation changed. `reasons` say why it did not help; without any, it helped.

    Attributes:
        frames: how many were held back, of all drives.
        agreement: by kind, "along the motion" and "with the mirror image".
        shares: of each class, of the image, before and after.
        truth: which frames have it.
        lost: points on them, as `limits` has them; negative is a gain.
    """

    frames: int
    agreement: Mapping[str, Change]
    shares: Mapping[str, tuple[float, float]]
    truth: str
    lost: Mapping[str, float]
    limits: Mapping[str, float]
    reasons: tuple[str, ...]

    @property
    def helps(self) -> bool:
        """Whether the adapted engine is better."""
        return not self.reasons

    def __str__(self) -> str:
        """For people."""
        changes = [
            (name, f"{c.before:.2%}", f"{c.after:.2%}", f"{100 * c.interval[0]:+.2f} to {100 * c.interval[1]:+.2f}")
            for name, c in self.agreement.items()
        ]
        shares = [(name, f"{b:.2%}", f"{a:.2%}", "") for name, (b, a) in self.shares.items() if max(a, b) >= 0.001]
        lost = [
            (name, f"{points:+.2f}", f"{self.limits[name]:g}" if name in self.limits else "-")
            for name, points in self.lost.items()
        ]
        head = f"{self.frames} frames held back"
        return "\n\n".join(
            [
                table((f"{head}: agreement", "before", "after", "gain, 95 %, points"), changes),
                table(("share of the image", "before", "after", ""), shares),
                table((f"points lost on {self.truth}", "", "limit"), lost),
            ]
        )

    def as_json(self) -> dict[str, object]:
        """For programs; shares are from 0 to 1, `lost` and `limits` in points."""
        return {
            "helps": self.helps,
            "reasons": list(self.reasons),
            "frames": self.frames,
            "agreement": {
                name: {"before": round(c.before, 5), "after": round(c.after, 5), "gain_interval": list(c.interval)}
                for name, c in self.agreement.items()
            },
            "shares": {name: {"before": round(b, 5), "after": round(a, 5)} for name, (b, a) in self.shares.items()},
            "truth": self.truth,
            "lost": dict(self.lost),
            "limits": dict(self.limits),
        }


@dataclass(frozen=True)
class Watched:
    """An engine on held-back frames: pixels of each that agree, and all, by kind, (F, 2, 2); pixels by class, (C,)."""

    agreement: NDArray[np.int64]
    seen: NDArray[np.int64]


def compare(
    before: Bundle, after: Bundle, drives: Sequence[str], truth: Folder, limits: Mapping[str, float], show: Steps
) -> Verdict:
    """The verdict on `after`, both bundles in fp32 at the size of their cards.

    Raises:
        SourceError, DataError: drives or frames with truth cannot be read.
        ConfigError: a limit cannot be judged on these frames.
        EngineError: an engine cannot be run.
    """
    old, new = (watch(bundle, drives, show, name) for bundle, name in ((before, "before"), (after, "after")))
    agreement = {
        name: _change(old.agreement[:, kind], new.agreement[:, kind]) for kind, name in enumerate((STEADY, MIRRORED))
    }
    shares = dict(zip(before.card.table.names, _pairs(old.seen, new.seen), strict=True))
    frames, labels = str(data_path(truth.frames)), data_path(truth.labels)
    with _opened(before) as one, _opened(after) as other:
        own, found = judge(one, {"adapted": other}, frames, labels, show("judging on frames with truth", None))
    lost = points_lost(own, found["adapted"], before.card.table, limits)
    del lost["disagreement"]  # it is meant to differ
    held = {name: points for name, points in limits.items() if name in lost}
    reasons = [*_unhelpful(agreement), *_gone(shares), *_broken(lost, held)]
    return Verdict(len(old.agreement), agreement, shares, truth.frames, lost, held, tuple(reasons))


def watch(bundle: Bundle, drives: Sequence[str], show: Steps, name: str) -> Watched:
    """What an engine makes of the held-back end of each drive."""
    pairs: list[NDArray[np.int64]] = []
    seen = np.zeros(len(bundle.card.table), np.int64)
    advance = show(f"held-back frames, {name}", None)
    with _opened(bundle) as engine:
        segmenter = Segmenter(engine)
        measures = Measures(engine.card.table, mirror=segmenter)
        for drive in drives:
            last = None
            for frame in held_back(drive):
                result = segmenter.segment(frame)
                now = view_of(result)
                record = measures(result, (last, now) if last else None)
                if last is not None:
                    steady = (record.steady[:, 0].sum(), record.followed[0])
                    pairs.append(np.array([steady, record.mirrored], np.int64))
                    seen += record.seen
                last = now
                advance()
    return Watched(np.stack(pairs), seen)


def held_back(drive: str) -> Iterator[Frame]:
    """The frames of a drive that training did not take, and the one before them; of a long drive, the first."""
    inner = open_recording(drive_name(drive))
    start = round(inner.frame_count * (1 - HELD_OUT))
    with Span(inner, start, start + JUDGED_FRAMES) as frames:
        yield from frames


def _opened(bundle: Bundle) -> Engine:
    return open_engine(bundle.folder, precision="f32", backend="openvino")


def _change(before: NDArray[np.int64], after: NDArray[np.int64]) -> Change:
    """Of pixels that agree and all of them, (F, 2) each."""

    def gain(sums: NDArray[np.int64]) -> NDArray[np.float64]:
        share = sums[..., 0, :] / np.maximum(1, sums[..., 1, :])
        return (share[..., 1] - share[..., 0])[..., None]

    draws = resampled(np.stack([before, after], -1), gain)[:, 0]
    low, high = np.quantile(draws, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    shares = [float(counts[:, 0].sum() / max(1, counts[:, 1].sum())) for counts in (before, after)]
    return Change(shares[0], shares[1], (round(float(low), 6), round(float(high), 6)))


def _pairs(before: NDArray[np.int64], after: NDArray[np.int64]) -> list[tuple[float, float]]:
    return list(zip((before / before.sum()).tolist(), (after / after.sum()).tolist(), strict=True))


def _unhelpful(agreement: Mapping[str, Change]) -> Iterator[str]:
    """Along the motion it must rise, as surely as the frames can show; with the mirror image it must not fall."""
    steady, mirrored = agreement[STEADY], agreement[MIRRORED]
    if steady.interval[0] <= 0:
        yield f"agreement {STEADY} did not surely rise ({steady.before:.2%} before, {steady.after:.2%} after)"
    if mirrored.interval[1] < 0:
        yield f"agreement {MIRRORED} fell ({mirrored.before:.2%} before, {mirrored.after:.2%} after)"


def _gone(shares: Mapping[str, tuple[float, float]]) -> Iterator[str]:
    for name, (before, after) in shares.items():
        if before >= SEEN_FROM and after < GONE_BELOW * before:
            yield f"{name} is gone ({before:.2%} of the image before, {after:.2%} after)"


def _broken(lost: Mapping[str, float], limits: Mapping[str, float]) -> Iterator[str]:
    for name in broken_limits(lost, limits):
        yield f"{name} lost {lost[name]:.2f} points on frames with truth, allowed {limits[name]:g}"
