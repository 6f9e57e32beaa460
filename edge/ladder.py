"""Under overload, a smaller image: steps of one engine by input size, down when masks come late or the machine runs
hot, up again when there is room.

Late masks are worse than coarse ones, and dropped frames alone do not help when one frame takes too long: the newest
frame wins already (`edge.sources.flow.Latest`), so what is left is to make each frame cheaper.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import Field

from edge.backends.current import CurrentEngine
from edge.config import StrictModel
from edge.engine import Engine
from edge.errors import ConfigError

DOWN_AFTER_S, UP_AFTER_S = 1.0, 10.0
LATE_SHARE = 0.2  # of the masks of DOWN_AFTER_S; more of them late is overload
ROOM = 0.4  # of the deadline: a step up costs about twice the time
HEAT_EVERY_S = 2.0
MARGIN_C = 3.0  # below the temperature at which the system itself begins to slow down

log = logging.getLogger(__name__)


class LadderOptions(StrictModel):
    """The ladder's part of a config file.

    Attributes:
        deadline_ms: how old a mask may be when it is ready.
    """

    deadline_ms: float = Field(default=50.0, gt=0, le=10_000)


class Ladder:
    """Which step to be on, from the ages of masks and the machine's heat; 0 is the best, each next one cheaper."""

    def __init__(self, steps: int, deadline_ms: float) -> None:
        self.step = 0
        self.reason = ""
        self._last, self._deadline_ms = steps - 1, deadline_ms
        self._ages: deque[tuple[int, float]] = deque()
        self._changed_ns: int | None = None

    def update(self, age_ms: float, now_ns: int, is_hot: bool) -> bool:
        """Whether the step changes with this mask."""
        if self._changed_ns is None:
            self._changed_ns = now_ns
        self._ages.append((now_ns, age_ms))
        while now_ns - self._ages[0][0] > UP_AFTER_S * 1e9:
            self._ages.popleft()
        if self.step < self._last and now_ns - self._changed_ns >= DOWN_AFTER_S * 1e9:
            if is_hot:
                return self._change(1, "the machine runs hot", now_ns)
            recent = [age for at_ns, age in self._ages if now_ns - at_ns <= DOWN_AFTER_S * 1e9]
            late = sum(age > self._deadline_ms for age in recent)
            if late > LATE_SHARE * len(recent):
                return self._change(1, f"{late} of {len(recent)} masks are older than {self._deadline_ms:g} ms", now_ns)
        rested = not is_hot and now_ns - self._changed_ns >= UP_AFTER_S * 1e9
        if self.step > 0 and rested and max(age for _, age in self._ages) < ROOM * self._deadline_ms:
            return self._change(-1, f"no mask is older than {ROOM * self._deadline_ms:g} ms", now_ns)
        return False

    def _change(self, by: int, reason: str, now_ns: int) -> bool:
        self.step += by
        self.reason, self._changed_ns = reason, now_ns
        self._ages.clear()
        return True


class Heat:
    """Whether the machine is about to slow itself down: a thermal zone near the trip point where its kernel begins to.

    `root` is where /sys lies; without thermal zones, as in a virtual machine, nothing is ever hot.
    """

    def __init__(self, root: Path = Path("/"), clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._next_s, self._is_hot = clock, 0.0, False
        self._zones = [(zone / "temp", limit) for zone in _zones(root) if (limit := _passive_c(zone)) is not None]

    def is_hot(self) -> bool:
        """Looked up every two seconds."""
        now_s = self._clock()
        if now_s >= self._next_s:
            self._next_s = now_s + HEAT_EVERY_S
            self._is_hot = any((_celsius(path) or 0.0) >= limit - MARGIN_C for path, limit in self._zones)
        return self._is_hot


def _zones(root: Path) -> list[Path]:
    return sorted((root / "sys/class/thermal").glob("thermal_zone*"))


def _passive_c(zone: Path) -> float | None:
    """The lowest temperature of a zone at which the kernel throttles; None where it has no such."""
    kinds = [kind for kind in zone.glob("trip_point_*_type") if _text(kind) in ("passive", "hot")]
    found = [_celsius(kind.with_name(kind.name.replace("_type", "_temp"))) for kind in kinds]
    return min((limit for limit in found if limit is not None and limit > 0), default=None)


def _celsius(path: Path) -> float | None:
    """sysfs has thousandths of a degree (kernel.org, Documentation/driver-api/thermal/sysfs-api)."""
    try:
        return int(_text(path)) / 1000
    except ValueError:
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:  # zones come and go, and some cannot be read while a device sleeps
        return ""


class LadderEngine(CurrentEngine):
    """Several engines as one, of which one works. See `edge.engine.Engine`. Not for several threads: who calls `use`
    and `infer` takes turns, as one loop does.
    """

    def __init__(self, steps: Sequence[Engine]) -> None:
        """The engines, best first; they are closed with this one.

        Raises:
            ConfigError: there are none.
        """
        if not steps:
            raise ConfigError("a ladder needs a step")
        super().__init__(steps[0])
        self._steps = list(steps)

    @property
    def streams(self) -> int:
        """A ladder is for one loop."""
        return 1

    @property
    def steps(self) -> int:
        """How many there are."""
        return len(self._steps)

    def use(self, step: int) -> None:
        """Frames from here on are that step's."""
        self._now = self._steps[step]

    def close(self) -> None:
        """Close all steps. It may be called twice."""
        for engine in self._steps:
            engine.close()
