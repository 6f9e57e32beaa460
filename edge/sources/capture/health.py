"""How a camera is: `ok`, `degraded` or `lost` for a reason, `stopped`."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

from edge.sources.capture.wire import Format, FrameReady
from edge.status import State, Status

STUCK_NS = 1_500_000_000  # the same frame, or nothing in it, for so long is no chance
RECENT_NS = 1_000_000_000  # a fault that is over is reported for so long
LATE_NS = 200_000_000
STALE_PERIODS = 3
_RATE_NS = 2_000_000_000  # a rate is counted over so long
_SLOW, _QUICK = 0.8, 0.9  # of the rate that the camera says it has: below it is slow, until it is above
_BLANK_SPREAD, _DARK, _BRIGHT = 12, 40, 215  # of 256; noise behind a covered lens is within, a far light is not


@dataclass(frozen=True, slots=True)
class CameraStatus(Status):
    """How a camera is at one moment; times are on the monotonic clock.

    "degraded" gives frames, "lost" none. Of its `totals`, `restarts` is how often it gave frames again after it was
    lost; `frames` came, of which `corrupt` were not handed on because data were missing, and `skipped` were replaced by
    a newer one before they were taken.

    Attributes:
        last_error: what the camera or its library said last; kept when it is well again, "" if never.
        rate_hz: frames per second over the last two seconds; 0 when there are none.
        newest_ns: when the newest usable frame was captured; None before the first.
        stale: the newest is older than three periods: what is shown is not what is there now.
        size_wh: of the frames; None before the first.
        note: how what the camera gives differs from what it was asked for.
    """

    last_error: str = ""
    rate_hz: float = 0.0
    newest_ns: int | None = None
    stale: bool = True
    size_wh: tuple[int, int] | None = None
    note: str = ""


class Watch:
    """Makes health out of what the capture process says. One thread tells it, any may `look`."""

    def __init__(self, now_ns: int) -> None:
        self._lock = threading.Lock()
        self._state: State = "lost"
        self._reason, self._since_ns, self._last_error, self._note = "starting", now_ns, "", ""
        self._totals = dict[str, int].fromkeys(["restarts", "frames", "corrupt", "skipped"], 0)
        self._newest_ns: int | None = None
        self._size_wh: tuple[int, int] | None = None
        self._arrivals: deque[int] = deque()
        self._nominal_hz = 0.0
        self._period_ns = 100_000_000.0
        self._digest = -1
        self._same_since_ns = self._lively_ns = now_ns
        self._corrupt_ns = self._resized_ns = self._late_ns = now_ns - 10 * RECENT_NS
        self._resized = ""
        self._opened_ns = now_ns
        self._blank = ""
        self._was_slow = False

    def look(self, now_ns: int) -> CameraStatus:
        """The status at this time, whoever asks."""
        with self._lock:
            newest_ns = self._newest_ns
            return CameraStatus(
                self._state,
                self._reason,
                self._since_ns,
                dict(self._totals),
                last_error=self._last_error,
                rate_hz=self._rate_hz(now_ns),
                newest_ns=newest_ns,
                stale=newest_ns is None or now_ns - newest_ns > STALE_PERIODS * self._period_ns,
                size_wh=self._size_wh,
                note=self._note,
            )

    def opened(self, layout: Format, now_ns: int) -> None:
        """Frames of this format follow."""
        with self._lock:
            size_wh, was_wh = (layout.width, layout.height), self._size_wh
            if was_wh is not None and was_wh != size_wh:
                self._resized = f"size changed from {was_wh[0]}x{was_wh[1]} to {size_wh[0]}x{size_wh[1]}"
                self._resized_ns = now_ns
            self._nominal_hz, self._opened_ns = layout.rate_hz, now_ns
            self._same_since_ns = self._lively_ns = now_ns
            self._size_wh, self._note = size_wh, layout.note

    def frame(self, frame: FrameReady, now_ns: int) -> None:
        """A usable frame came."""
        with self._lock:
            self._arrived(frame.captured_ns, now_ns)
            if frame.digest != self._digest:
                self._digest, self._same_since_ns = frame.digest, now_ns
            self._blank = _blank(frame)
            if not self._blank:
                self._lively_ns = now_ns
            if frame.late_ns > LATE_NS:
                self._late_ns = now_ns
            if self._state == "lost":
                self._opened_ns = now_ns
                self._totals["restarts"] += self._newest_ns is not None
            self._newest_ns = frame.captured_ns
            self._judge(now_ns)

    def unusable(self, corrupt: bool, now_ns: int) -> None:
        """A frame came that is not handed on."""
        with self._lock:
            self._arrived(now_ns, now_ns)
            if not corrupt:
                self._totals["skipped"] += 1
                return
            self._corrupt_ns = now_ns
            self._totals["corrupt"] += 1
            if self._state != "lost":  # it comes back with a frame that can be shown
                self._judge(now_ns)

    def skipped(self) -> None:
        """A frame made room for a newer one before anybody took it."""
        with self._lock:
            self._totals["skipped"] += 1

    def lost(self, reason: str, now_ns: int, error: str = "") -> None:
        """No frames come; `error` is what the camera or its library said."""
        with self._lock:
            self._arrivals.clear()
            if error:
                self._last_error = error
            self._become("lost", reason, now_ns)

    def stopped(self, now_ns: int) -> None:
        """The source was closed."""
        with self._lock:
            self._arrivals.clear()
            self._become("stopped", "", now_ns)

    def quiet_ns(self) -> float:
        """How long a frame may be awaited at this camera's rate: three periods; a second while it is not known."""
        with self._lock:
            return 3 * self._period_ns if len(self._arrivals) > 4 else 1e9

    def _arrived(self, stamp_ns: int, now_ns: int) -> None:
        """The rate is that of the times at which frames were taken: a busy machine takes them in bursts."""
        self._arrivals.append(max(stamp_ns, self._arrivals[-1] if self._arrivals else stamp_ns))
        while self._arrivals and now_ns - self._arrivals[0] > _RATE_NS:  # this process may have been stopped meanwhile
            self._arrivals.popleft()
        self._totals["frames"] += 1
        if rate_hz := self._rate_hz(now_ns):
            self._period_ns = 1e9 / rate_hz

    def _rate_hz(self, now_ns: int) -> float:
        recent = [at_ns for at_ns in self._arrivals if now_ns - at_ns <= _RATE_NS]
        span_ns = recent[-1] - recent[0] if recent else 0
        return (len(recent) - 1) * 1e9 / span_ns if span_ns else 0.0

    def _judge(self, now_ns: int) -> None:
        fault = self._fault(now_ns)
        self._become("degraded" if fault else "ok", fault, now_ns)

    def _fault(self, now_ns: int) -> str:
        """What is wrong with the frames that come, the worst first; "" when nothing is."""
        faults = {
            "corrupt images": now_ns - self._corrupt_ns < RECENT_NS,
            self._blank: now_ns - self._lively_ns > STUCK_NS,
            "the same image again and again": now_ns - self._same_since_ns > STUCK_NS,
            self._resized: now_ns - self._resized_ns < RECENT_NS,
            "frames come late": now_ns - self._late_ns < RECENT_NS,
            "fewer frames than it should give": self._is_slow(now_ns),
        }
        return next((fault for fault, found in faults.items() if found), "")

    def _is_slow(self, now_ns: int) -> bool:
        share = _QUICK if self._was_slow else _SLOW
        self._was_slow = now_ns - self._opened_ns > _RATE_NS and self._rate_hz(now_ns) < share * self._nominal_hz
        return self._was_slow

    def _become(self, state: State, reason: str, now_ns: int) -> None:
        if (state, reason) != (self._state, self._reason):
            self._state, self._reason, self._since_ns = state, reason, now_ns


def _blank(frame: FrameReady) -> str:
    """What to call a frame with nothing in it; "" for one with something."""
    if frame.spread > _BLANK_SPREAD:
        return ""
    if frame.brightness < _DARK:
        return "black images"
    return "white images" if frame.brightness > _BRIGHT else "blank images"
