"""The recorded clock: when a frame is due, at a given speed."""

from __future__ import annotations

BEHIND_NS = 1_000_000_000  # further behind, as after a pause of the whole machine, the clock starts anew
GAP_NS = 3_000_000_000  # a longer gap in the recording is not waited for, at normal speed


class RecordedClock:
    """Says when frames are due, by their times in the recording and from when the first of them was shown.

    All times are in ns; `now_ns` is on the monotonic clock.
    """

    def __init__(self, speed: float) -> None:
        self.speed = speed
        self._start: tuple[int, int] | None = None  # now and in the recording

    def restart(self) -> None:
        """The next frame is due at once, and the others count from it."""
        self._start = None

    def due_ns(self, media_ns: int, now_ns: int) -> int:
        """When to show the frame of that time."""
        if self._start is not None:
            due_ns = self._start[0] + round((media_ns - self._start[1]) / self.speed)
            if now_ns - due_ns <= BEHIND_NS and due_ns - now_ns <= GAP_NS / min(self.speed, 1.0):
                return due_ns
        self._start = now_ns, media_ns
        return now_ns
