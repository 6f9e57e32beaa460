"""Whether a camera asks for more than this machine carries, from the frames that it loses over time; and its ages."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np

from edge.hysteresis import Hysteresis

AGES, AGES_MIN = 1024, 100  # masks whose ages are kept, and before anything is said of them
WINDOW_S = 5.0  # over which drops are counted: a moment's work of another program is no overload


class _Limits(NamedTuple):
    """Of the share of frames that are dropped; see `edge.hysteresis.Bounds`."""

    begin: float
    end: float
    hold_s: float


DROPPED = _Limits(begin=0.05, end=0.01, hold_s=5.0)


class _Count(NamedTuple):
    at_ns: int
    masks: int
    dropped: int


class Load:
    """Of one camera, from its counts of masks and of dropped frames, which begin anew with each of its runs.

    Attributes:
        dropped: the share of frames lost over the last `WINDOW_S` seconds, 0 to 1.
        masks_hz, frames_hz: masks made and frames given in each second of it.
    """

    def __init__(self, hold_s: float = DROPPED.hold_s) -> None:
        """`hold_s`: for how long it must be so."""
        self.dropped = self.masks_hz = self.frames_hz = 0.0
        self._state = Hysteresis(DROPPED._replace(hold_s=hold_s))
        self._counts: deque[_Count] = deque()

    @property
    def is_over(self) -> bool:
        """Whether more was asked for than was done, for some time now."""
        return self._state.active

    def update(self, masks: int, dropped: int, now_ns: int) -> bool:
        """Whether overload begins or ends with these counts. Without frames, as of a camera that is away, it ends."""
        if self._counts and (masks < self._counts[-1].masks or dropped < self._counts[-1].dropped):
            self._counts.clear()  # another run
        self._counts.append(_Count(now_ns, masks, dropped))
        while now_ns - self._counts[0].at_ns > WINDOW_S * 1e9:
            self._counts.popleft()
        first = self._counts[0]
        passed_s = max(1e-9, (now_ns - first.at_ns) / 1e9)
        made, lost = masks - first.masks, dropped - first.dropped
        self.dropped = lost / max(1, made + lost)
        self.masks_hz, self.frames_hz = made / passed_s, (made + lost) / passed_s
        return self._state.update(self.dropped, now_ns)


class Ages:
    """The ages of the newest masks, in ms; one thread adds, any may ask."""

    def __init__(self) -> None:
        self._ages = np.zeros(AGES, np.float32)
        self.count = 0

    def add(self, age_ms: float) -> None:
        """Of the next mask."""
        self._ages[self.count % AGES] = age_ms
        self.count += 1

    def p99(self) -> float | None:
        """None while there are too few."""
        return float(np.quantile(self._ages[: self.count], 0.99)) if self.count >= AGES_MIN else None
