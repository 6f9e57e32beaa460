"""Holds the lane steady: what one frame shows elsewhere, or does not show, moves no boundary at once."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from edge.geometry.lane import Boundary, EgoLane, paired

EVERY_NS = 50_000_000  # so often a lane is looked for; in between it moves by a centimetre or two
HOLD_NS = 300_000_000  # a boundary that is not seen is gone after so long, and less sure until then
_SAME_M, _AT_M = 0.35, 8.0  # one boundary in two frames is no farther apart than this, so far ahead
_PERSISTS = 3  # looks at which a boundary has to be seen elsewhere, to be there
_NEWER = 0.5  # how much the newest frame counts
_KINDS = 9  # looks whose most frequent kind counts


@dataclass
class _Track:
    """One boundary: as it is given, when it was seen last, and its kinds; and where it was seen elsewhere since."""

    boundary: Boundary
    seen_ns: int
    kinds: deque[str] = field(default_factory=lambda: deque(maxlen=_KINDS))
    elsewhere: list[Boundary] = field(default_factory=list[Boundary])

    def follow(self, seen: Boundary, now_ns: int) -> None:
        """A frame shows it where it is expected."""
        self.kinds.append(seen.kind)
        kind = max(Counter(self.kinds).items(), key=lambda pair: pair[1])[0]
        old = self.boundary
        moved = {
            name: round(getattr(old, name) + _NEWER * (getattr(seen, name) - getattr(old, name)), digits)
            for name, digits in (("offset_m", 3), ("heading_rad", 5), ("bend_1_m", 6))
        }
        self.boundary = replace(seen, **moved, kind=kind)
        self.seen_ns, self.elsewhere = now_ns, []


class LaneTracker:
    """Follows both boundaries. A new one is given at once; one that is far from where it was, when it persists."""

    def __init__(self) -> None:
        self._tracks: dict[str, _Track] = {}
        self._given: tuple[int, EgoLane] | None = None

    def update(self, find: Callable[[], EgoLane], now_ns: int) -> EgoLane:
        """The lane by this frame and those before it; `now_ns` is the frame's time. `find` looks for it in the frame,
        and is not called where the lane was looked for less than `EVERY_NS` before.
        """
        if self._given is None or not 0 <= now_ns - self._given[0] < EVERY_NS:
            seen = find()
            self._given = now_ns, paired(*(self._side(side, getattr(seen, side), now_ns) for side in ("left", "right")))
        return self._given[1]

    def _side(self, side: str, seen: Boundary | None, now_ns: int) -> Boundary | None:
        track = self._tracks.get(side)
        if track is not None and not 0 <= now_ns - track.seen_ns <= HOLD_NS:
            track = None
        if seen is not None and (track is None or _persists(track, seen)):
            track = _Track(seen, now_ns)
            track.kinds.append(seen.kind)
        elif seen is not None and track is not None and _is_same(seen, track.boundary):
            track.follow(seen, now_ns)
        if track is None:
            self._tracks.pop(side, None)
            return None
        self._tracks[side] = track
        sure = 1 - (now_ns - track.seen_ns) / (HOLD_NS + 1)
        return replace(track.boundary, confidence=round(track.boundary.confidence * sure, 3))


def _persists(track: _Track, seen: Boundary) -> bool:
    """Notes that the boundary is seen elsewhere; whether it was so often enough, each time near the last."""
    if _is_same(seen, track.boundary):
        return False
    if track.elsewhere and not _is_same(seen, track.elsewhere[-1]):
        track.elsewhere = []
    track.elsewhere.append(seen)
    return len(track.elsewhere) >= _PERSISTS


def _is_same(one: Boundary, other: Boundary) -> bool:
    return abs(one.right_at(_AT_M) - other.right_at(_AT_M)) <= _SAME_M
