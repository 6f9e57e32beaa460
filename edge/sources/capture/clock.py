"""When a frame was taken, where the network kept it waiting."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

_JUMP_NS = 1_000_000_000
_BUCKET_NS, _WINDOW_NS = 250_000_000, 4_000_000_000
_KNOWN_NS = 2_000_000_000  # of frames tell how fast a camera's clock runs
_DRIFT, _MOST_DRIFT = 0.01, 0.12  # before that; and of a clock at most: a backlog grows faster


class _Bucket(NamedTuple):
    """The quickest frame of a quarter of a second."""

    arrived_ns: int
    offset_ns: int
    kept_up: bool


class CameraClock:
    """How late frames come, by the times that the camera gives them.

    After a pause in the network a burst of old frames arrives at once. Each carries the camera's time: the quickest
    frames of the last seconds tell how that clock stands to ours and how much slower it runs; what is behind them is
    late. A network that delivers up to 12 % too slowly, evenly and for seconds, looks like a slow clock.
    """

    def __init__(self) -> None:
        self._buckets: deque[_Bucket] = deque()
        self._last = (0, 0)

    def late_ns(self, arrived_ns: int, media_ns: int, kept_up: bool = True) -> int:
        """How much longer this frame was on its way than the quickest ones; 0 where the camera's time jumped.

        `kept_up`: the reader had to wait for it, so there is no backlog on this side.
        """
        (last_arrived_ns, last_media_ns), self._last = self._last, (arrived_ns, media_ns)
        offset_ns = arrived_ns - media_ns
        elapsed_ns, step_ns = arrived_ns - last_arrived_ns, media_ns - last_media_ns
        # A frame cannot come before it is taken: a step far ahead of our clock is a jump, and so is one back.
        if step_ns <= 0 or step_ns > elapsed_ns + _JUMP_NS:
            self._buckets.clear()
        self._note(_Bucket(arrived_ns, offset_ns, kept_up))
        drift = self._drift()
        return max(0, round(offset_ns - min(b.offset_ns + drift * (arrived_ns - b.arrived_ns) for b in self._buckets)))

    def _note(self, new: _Bucket) -> None:
        last = self._buckets[-1] if self._buckets else None
        if last is None or last.arrived_ns // _BUCKET_NS != new.arrived_ns // _BUCKET_NS:
            self._buckets.append(new)
        else:
            self._buckets[-1] = min(new, last, key=lambda b: b.offset_ns)._replace(kept_up=last.kept_up or new.kept_up)
        while new.arrived_ns - self._buckets[0].arrived_ns > _WINDOW_NS:
            self._buckets.popleft()

    def _drift(self) -> float:
        """By how much the offset grows in a nanosecond because the camera's clock is slow; never below 0."""
        first_ns, last_ns = self._buckets[0].arrived_ns, self._buckets[-1].arrived_ns
        if last_ns - first_ns < _KNOWN_NS:
            return _DRIFT
        if 2 * sum(bucket.kept_up for bucket in self._buckets) < len(self._buckets):
            return 0.0
        middle_ns = (first_ns + last_ns) / 2
        before = min((b for b in self._buckets if b.arrived_ns <= middle_ns), key=lambda b: b.offset_ns)
        after = min((b for b in self._buckets if b.arrived_ns > middle_ns), key=lambda b: b.offset_ns)
        drift = (after.offset_ns - before.offset_ns) / (after.arrived_ns - before.arrived_ns)
        return drift if 0 <= drift <= _MOST_DRIFT else 0.0


class CameraPace:
    """How late frames come that carry no time: the same, by how they follow one another.

    What comes after a pause may have been taken at its beginning, and so may have what crowds behind it. The first
    frame that keeps the camera's usual distance is on time again. This may take a frame for older than it is.
    """

    def __init__(self) -> None:
        self._last_ns: int | None = None
        self._steps_ns: deque[int] = deque(maxlen=15)
        self._late_ns = 0.0

    def late_ns(self, arrived_ns: int, media_ns: int, kept_up: bool = True) -> int:
        """How much longer this frame may have been on its way than usual; the other arguments mean nothing."""
        last_ns, self._last_ns = self._last_ns, arrived_ns
        if last_ns is None:
            return 0
        step_ns = arrived_ns - last_ns
        usual_ns = self._usual_ns() if self._steps_ns else step_ns
        is_crowded = self._late_ns > 0 and step_ns < usual_ns / 2
        if not is_crowded:  # a long burst is no new pace
            self._steps_ns.append(step_ns)
        if is_crowded or step_ns > 2 * usual_ns:
            self._late_ns = max(0.0, self._late_ns + step_ns - usual_ns)
        else:
            self._late_ns = 0.0
        return round(self._late_ns)

    def _usual_ns(self) -> float:
        """The mean step but for the longest: a busy machine reads frames in bursts, whose median is no distance."""
        if len(self._steps_ns) == 1:
            return self._steps_ns[0]
        return (sum(self._steps_ns) - max(self._steps_ns)) / (len(self._steps_ns) - 1)
