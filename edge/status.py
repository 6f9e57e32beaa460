"""How a camera or an output is, in the same words for all of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

State = Literal["ok", "degraded", "lost", "hung", "stopped"]
STATES: tuple[State, ...] = get_args(State)
CAMERA_STATES = tuple(state for state in STATES if state != "hung")  # a camera is captured apart, and killed


@dataclass(frozen=True, slots=True)
class Status:
    """How something is at one moment.

    Attributes:
        state, reason: "ok" has no reason; "degraded" works in part; "lost" does not, and tries again; "hung" is in a
            single write for too long; "stopped" was asked for.
        since_ns: when that began, on the monotonic clock; 0 where it is not known.
        totals: what only grows since the start, by name; names in bytes or frames say so.
        levels: what is now, by name.
    """

    state: State = "ok"
    reason: str = ""
    since_ns: int = 0
    totals: Mapping[str, int] = field(default_factory=dict)
    levels: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.state} ({self.reason})" if self.reason else self.state


class StatusKeeper:
    """Keeps the status of one thing. Any thread may write and read."""

    def __init__(
        self, state: State = "ok", reason: str = "", *, totals: Sequence[str] = (), levels: Sequence[str] = ()
    ) -> None:
        """`totals` and `levels` begin at 0, and are listed in this order."""
        self._lock = threading.Lock()
        self._state: State = state
        self._reason, self._since_ns = reason, time.monotonic_ns()
        self._totals, self._levels = dict.fromkeys(totals, 0), dict[str, float](dict.fromkeys(levels, 0))

    @property
    def now(self) -> Status:
        """At this moment."""
        with self._lock:
            return Status(self._state, self._reason, self._since_ns, dict(self._totals), dict(self._levels))

    @property
    def state(self) -> State:
        """At this moment."""
        return self._state

    def become(self, state: State, reason: str = "") -> bool:
        """Whether that is news: another state, or another reason for it. What is stopped stays so."""
        with self._lock:
            if self._state == "stopped" or (state, reason) == (self._state, self._reason):
                return False
            if state != self._state:
                self._since_ns = time.monotonic_ns()
            self._state, self._reason = state, reason
            return True

    def count(self, **more: int) -> None:
        """So many more of these totals."""
        with self._lock:
            for name, by in more.items():
                self._totals[name] += by

    def measure(self, **levels: float) -> None:
        """What these levels are from now on."""
        with self._lock:
            self._levels.update(levels)
