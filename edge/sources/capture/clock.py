"""When a picture was taken, where the network kept it waiting."""

from __future__ import annotations

import statistics
from collections import deque

# The least delay seen may grow by 1 %: clocks differ by 0.01 %, and a backlog grows faster.
_RISE = 0.01
_JUMP_NS = 1_000_000_000


class CameraClock:
    """How late pictures come, by the times that the camera gives them.

    After a pause in the network a burst of old pictures arrives at once. Each carries the camera's time: the quickest
    picture so far tells how that clock stands to ours, and what is behind it is late.
    """

    def __init__(self) -> None:
        self._base_ns: float | None = None
        self._last = (0, 0)

    def late_ns(self, arrived_ns: int, media_ns: int) -> int:
        """How much longer this picture was on its way than the quickest one; 0 where the camera's time jumped."""
        (last_arrived_ns, last_media_ns), self._last = self._last, (arrived_ns, media_ns)
        offset_ns = arrived_ns - media_ns
        elapsed_ns, step_ns = arrived_ns - last_arrived_ns, media_ns - last_media_ns
        # A picture cannot come before it is taken: a step far ahead of our clock is a jump, and so is one back.
        if self._base_ns is None or step_ns <= 0 or step_ns > elapsed_ns + _JUMP_NS:
            self._base_ns = offset_ns
            return 0
        self._base_ns = min(self._base_ns + _RISE * elapsed_ns, offset_ns)
        return round(offset_ns - self._base_ns)


class CameraPace:
    """How late pictures come that carry no time: the same, by how they follow one another.

    What comes after a pause may have been taken at its beginning, and so may have what crowds behind it. The first
    picture that keeps the camera's usual distance is on time again. This may take a picture for older than it is.
    """

    def __init__(self) -> None:
        self._last_ns: int | None = None
        self._steps_ns: deque[int] = deque(maxlen=15)
        self._late_ns = 0.0

    def late_ns(self, arrived_ns: int, media_ns: int) -> int:
        """How much longer this picture may have been on its way than usual; `media_ns` means nothing."""
        last_ns, self._last_ns = self._last_ns, arrived_ns
        if last_ns is None:
            return 0
        step_ns = arrived_ns - last_ns
        usual_ns = statistics.median(self._steps_ns) if self._steps_ns else step_ns
        is_crowded = self._late_ns > 0 and step_ns < usual_ns / 2
        if not is_crowded:  # a long burst is no new pace
            self._steps_ns.append(step_ns)
        if is_crowded or step_ns > 2 * usual_ns:
            self._late_ns = max(0.0, self._late_ns + step_ns - usual_ns)
        else:
            self._late_ns = 0.0
        return round(self._late_ns)
