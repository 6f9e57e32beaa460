"""What is true now, in one place: the newest result, the camera's health, counters and times.

The loop writes through `edge.web.sink.WebSink`; the page, the metrics and the probes read.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from edge.card import Card
from edge.domain import UnlikeNow
from edge.hysteresis import Bounds
from edge.prediction import Prediction
from edge.status import State, Status
from edge.timing import Durations
from edge.web.timeline import Watch

if TYPE_CHECKING:
    from edge.web.zones import ZoneView

STEP_S, STEPS = 0.5, 120  # the last minute
RATE_STEPS = 4  # how many steps a rate is counted over: 2 s, so that it does not flicker
# Upper ends of the age histogram in seconds: a frame at 120, 60, 30 and 15 Hz lasts 8, 17, 33 and 67 ms.
AGE_BOUNDS_S = (0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5)


class EngineInfo(Protocol):
    """What is shown of an engine, in the words of `edge.engine.Engine`; also of one that is still being opened."""

    @property
    def card(self) -> Card: ...
    @property
    def precision(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Newest:
    """A result and its number. Results are counted from 1 over all runs; a frame's index begins anew with each."""

    number: int
    result: Prediction
    dropped: int


@dataclass(frozen=True, slots=True)
class Step:
    """What happened in one step of the history: frames, their ages from capture to mask, and drops."""

    frames: int = 0
    age_sum_ns: int = 0
    age_max_ns: int = 0
    dropped: int = 0


class History:
    """The last minute in steps of half a second; steps in which nothing happened are there, and empty."""

    def __init__(self, began_ns: int) -> None:
        self._began = _place(began_ns)
        self._steps: deque[tuple[int, Step]] = deque(maxlen=STEPS + 1)

    def add(self, now_ns: int, age_ns: int, dropped: int) -> None:
        """One frame, and how many were dropped before it since the last one."""
        place = _place(now_ns)
        was = Step()
        if self._steps and self._steps[-1][0] == place:
            was = self._steps.pop()[1]
        step = Step(was.frames + 1, was.age_sum_ns + age_ns, max(was.age_max_ns, age_ns), was.dropped + dropped)
        self._steps.append((place, step))

    def last(self, now_ns: int) -> list[Step]:
        """The steps of the last minute that are over, oldest first; fewer in the first minute."""
        steps, end = dict(self._steps), _place(now_ns)
        return [steps.get(place, Step()) for place in range(max(self._began, end - STEPS), end)]


def _place(now_ns: int) -> int:
    return int(now_ns // (STEP_S * 1e9))


def rate_hz(steps: list[Step]) -> float:
    """Frames per second over the last steps; 0 before the first is over."""
    last = steps[-RATE_STEPS:]
    return sum(step.frames for step in last) / (len(last) * STEP_S) if last else 0.0


@dataclass(frozen=True)
class Snapshot:
    """All of it at one moment.

    Attributes:
        at_ns: the moment, on the monotonic clock.
        newest: the newest result; None before the first.
        frames, dropped: segmented, and lost because the loop was busy, since the start.
        sent: results sent, by output.
        age: from capture to mask, over all frames; `age_counts` the same by `AGE_BOUNDS_S`, one more for the rest.
        steps: the last minute, oldest first.
        stages: time per stage, in the order in which a frame passes them.
        outputs: state of each output that reports one.
        unlike: the newest scene is unlike the training data.
        reduced: why the newest input is smaller than it should be; "" where it is not.
        events: version of the timeline.
    """

    at_ns: int
    newest: Newest | None
    camera: Status
    frames: int
    dropped: int
    sent: Mapping[str, int]
    age: Durations
    age_counts: tuple[int, ...]
    steps: list[Step]
    stages: Mapping[str, Durations]
    outputs: Mapping[str, Status]
    unlike: bool
    reduced: str
    events: int

    @property
    def newest_age_s(self) -> float | None:
        """How long ago the newest result's frame was captured; None before the first."""
        return None if self.newest is None else (self.at_ns - self.newest.result.frame.captured_ns) / 1e9

    def unready_reason(self, within_s: float) -> str | None:
        """Why no mask was published within that time; None if one was."""
        silence_s = None if self.newest is None else (self.at_ns - self.newest.result.ready_ns) / 1e9
        if silence_s is not None and silence_s <= within_s:
            return None
        camera = f"the camera is {self.camera.state}" + (f": {self.camera.reason}" if self.camera.reason else "")
        return ("no mask yet" if silence_s is None else f"no mask for {silence_s:.1f} s") + f"; {camera}"


class Live:
    """What is true now of one camera. Any thread may write and read.

    Attributes:
        engine: which works now; it may be set anew. `card` and `precision` are its.
        source: the camera, as the user named it.
        stale_after_s: a result older than this is shown as old, never as what is there now.
        reduced: why the input is smaller than it should be, set by the loop; "" where it is not.
        watch: what happened, with its timeline.
        zones: what is looked for where, drawn over the frame; None where no events are.
    """

    def __init__(
        self,
        engine: EngineInfo,
        source: str,
        stages: Callable[[], Mapping[str, Durations]],
        *,
        health: Callable[[], Status | None] = lambda: None,
        outputs: Callable[[], Mapping[str, Status]] = dict,
        stale_after_s: float = 0.5,
        unlike_limits: Bounds | None = None,
        zones: ZoneView | None = None,
    ) -> None:
        """`stages` gives the times of all stages so far, in the order in which a frame passes them.

        `health` gives that of the camera, where its source knows; else it is what `set_camera_state` was given.
        `outputs` gives that of each output by name. `unlike_limits`: see `UnlikeNow`.
        """
        self.engine, self.source, self.stale_after_s = engine, source, stale_after_s
        self._stages, self._health, self._outputs = stages, health, outputs
        self._lock = threading.Lock()
        self._camera = Status("stopped", "not started", time.monotonic_ns())
        self._newest: Newest | None = None
        self._frames = self._dropped = self._dropped_in_run = 0
        self._sent: dict[str, int] = {}
        self._age, self._age_counts = Durations(), [0] * (len(AGE_BOUNDS_S) + 1)
        self._history = History(time.monotonic_ns())
        self._listeners: list[Callable[[], object]] = []
        self.reduced, self.watch, self.zones = "", Watch(), zones
        self._unlike_limits, self._unlike = unlike_limits, False
        self._fingerprint = self.card.fingerprint
        self._watch = UnlikeNow(self._fingerprint, unlike_limits)

    @property
    def card(self) -> Card:
        """Of the engine that works now."""
        return self.engine.card

    @property
    def precision(self) -> str:
        """Of the engine that works now."""
        return self.engine.precision

    def publish(self, result: Prediction, dropped: int) -> None:
        """A new result; `dropped` frames were dropped before it since its run began."""
        age_ns = result.ready_ns - result.frame.captured_ns
        unlike = self._looks_unlike(result)
        with self._lock:
            self._unlike = unlike
            if self._camera.state == "stopped":
                self._camera = Status(since_ns=time.monotonic_ns())
            newly_dropped = dropped - self._dropped_in_run if dropped >= self._dropped_in_run else dropped
            self._frames += 1
            self._dropped += newly_dropped
            self._dropped_in_run = dropped
            self._newest = Newest(self._frames, result, self._dropped)
            self._age.add(age_ns)
            self._age_counts[bisect_left(AGE_BOUNDS_S, age_ns / 1e9)] += 1
            self._history.add(time.monotonic_ns(), age_ns, newly_dropped)
            for listener in self._listeners:
                listener()
        self.watch.result(result, unlike=unlike, reduced=self.reduced)

    def _looks_unlike(self, result: Prediction) -> bool:
        """Asked by the one thread that publishes; another engine is watched anew."""
        if self._fingerprint is not (fingerprint := self.card.fingerprint):
            self._fingerprint, self._watch = fingerprint, UnlikeNow(fingerprint, self._unlike_limits)
        return self._watch.look(result)

    def set_camera_state(self, state: State, reason: str = "") -> None:
        """The camera's health, when it changes; saying the same again changes nothing."""
        with self._lock:
            if (state, reason) != (self._camera.state, self._camera.reason):
                self._camera = Status(state, reason, time.monotonic_ns())

    def look(self) -> Status:
        """How the camera is. To be called once in a while: what happened to it meanwhile gets into the timeline."""
        camera = self._health() or self._camera
        if camera.state == "lost":
            self.watch.lost(camera.reason, camera.since_ns)
        return camera

    def count_sent(self, output: str) -> None:
        """One result went out over `output`."""
        with self._lock:
            self._sent[output] = self._sent.get(output, 0) + 1

    @contextmanager
    def listening(self, listener: Callable[[], object]) -> Iterator[None]:
        """Call `listener` at each new result, from the publishing thread, while the block lasts."""
        with self._lock:
            self._listeners.append(listener)
        try:
            yield
        finally:
            with self._lock:
                self._listeners.remove(listener)

    @property
    def newest(self) -> Newest | None:
        """The newest result; None before the first."""
        return self._newest

    def snapshot(self) -> Snapshot:
        """All of it, as it is now."""
        stages, camera, outputs = self._stages(), self.look(), self._outputs()
        with self._lock:
            now_ns = time.monotonic_ns()
            return Snapshot(
                at_ns=now_ns,
                newest=self._newest,
                camera=camera,
                frames=self._frames,
                dropped=self._dropped,
                sent=dict(self._sent),
                age=self._age,
                age_counts=tuple(self._age_counts),
                steps=self._history.last(now_ns),
                stages=dict(stages),
                outputs=dict(outputs),
                unlike=self._unlike,
                reduced=self.reduced,
                events=self.watch.timeline.version,
            )
