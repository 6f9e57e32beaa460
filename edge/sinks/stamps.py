"""The times of what is written of frames, which go on where those of the frames begin anew."""

from __future__ import annotations

import time

from edge.frame import Frame

_BACK_NS = 250_000_000  # further back is no frame out of its order, but a recording that begins anew or was joined


class DriveClock:
    """Times for messages: on the wall clock, and as far apart as the frames were taken, whatever sets the clock since.

    Each is later than the last. Where a recording begins anew, its times go on by one usual step.
    """

    def __init__(self, first: Frame) -> None:
        now_ns = time.monotonic_ns() if first.media_ns is None else first.taken_ns
        self.offset_ns = time.time_ns() - now_ns
        self._last_ns, self._taken_ns, self._step_ns = 0, first.taken_ns, 1

    def stamp_ns(self, frame: Frame) -> int:
        """A frame's time in ns on the wall clock. Ask once for each frame, in their order."""
        step_ns = frame.taken_ns - self._taken_ns
        if step_ns < -_BACK_NS:
            self.offset_ns = self._last_ns + self._step_ns - frame.taken_ns
        elif step_ns > 0:
            self._step_ns = step_ns
        self._taken_ns = frame.taken_ns
        self._last_ns = max(self._last_ns + 1, frame.taken_ns + self.offset_ns)
        return self._last_ns
