"""Plays a recording: pause, step, seek, at the recorded pace; every mask is computed as it is live.

What a frame's masks are depends on the frame and the tracks alone, never on how the player came to it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from edge.errors import SourceError
from edge.frame import Frame
from edge.prediction import Prediction
from edge.replay.clock import RecordedClock
from edge.replay.compare import Disagreement
from edge.replay.mask_track import MaskTrack
from edge.replay.timeline import DisagreementTimeline
from edge.sources.seek import Playable

SPEEDS = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
SHOW_EVERY_NS = 250_000_000  # a player that is too slow skips frames, but shows one as often as this
RATE_HZ = 10.0  # of a recording that does not say


@dataclass(frozen=True, slots=True)
class Shown:
    """A frame and what was seen in it.

    Attributes:
        number: counts what was shown, from 1; 0 before the first frame.
        frame: None where it could not be had; `reason` then says why.
        results: a mask by each track that has one, by its name, in the order of the tracks.
        disagreement: of the first two tracks; None where it is not known.
    """

    number: int
    index: int
    frame: Frame | None = None
    results: Mapping[str, Prediction] = field(default_factory=dict)
    disagreement: Disagreement | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class State:
    """All of a player at one moment; `skipped` frames were passed over to keep the pace; `note` is for the user."""

    shown: Shown
    playing: bool
    speed: float
    skipped: int
    note: str


class Player:
    """Shows the frames of a recording, one at a time. One thread, alive while it is entered, owns the recording.

    Any thread may command and look. Commands return at once; what follows from them is heard by listeners.

    Attributes:
        name, frame_count, size_wh, rate_hz: of the recording; damage: what it lacks, "" where it is sound.
        tracks: whose masks are shown; timeline: where the first two disagree, None where nothing is compared.
    """

    def __init__(
        self,
        source: Playable,
        tracks: Sequence[MaskTrack],
        *,
        timeline: DisagreementTimeline | None = None,
        speed: float = 1.0,
    ) -> None:
        """`timeline` is what the first two tracks are compared into, frame by frame as they are shown."""
        self.name, self.frame_count, self.size_wh = source.name, source.frame_count, source.size_wh
        self.rate_hz, self.damage = source.rate_hz or RATE_HZ, str(getattr(source, "damage", ""))
        self.tracks, self.timeline = tuple(tracks), timeline
        self._source, self._clock = source, RecordedClock(speed)
        self._changed = threading.Condition()
        self._state = State(Shown(0, 0), playing=False, speed=speed, skipped=0, note="")
        self._wanted: int | None = 0
        self._taken, self._shown_ns = 0, 0  # the frame last shown or skipped, and when one was shown
        self._rank: int | None = None
        self._stopped = False
        self._failure: BaseException | None = None
        self._listeners: list[Callable[[], object]] = []
        self._thread = threading.Thread(target=self._run, name="player", daemon=True)

    def __enter__(self) -> Player:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._thread.join()

    # -------------------------------------------------------------------------------------------------------- commands

    def play(self) -> None:
        """Go on at the recorded pace; at the end, from the beginning."""
        with self._changed:
            if self._place() >= self.frame_count - 1:
                self._wanted = 0
            self._clock.restart()
            self._set(playing=True, note="")

    def pause(self) -> None:
        """Stay at the frame that is shown."""
        with self._changed:
            self._set(playing=False)

    def toggle(self) -> None:
        """Pause where it plays, play where it does not."""
        with self._changed:
            (self.pause if self._state.playing else self.play)()

    def step(self, frames: int) -> None:
        """Pause, `frames` further on; back where it is negative; to an end where there are not so many."""
        with self._changed:
            self._set(playing=False)
            self.seek(self._place() + frames)

    def seek(self, index: int) -> None:
        """To that frame, or the end nearest to it, playing or not as before."""
        with self._changed:
            self._wanted = min(max(0, index), self.frame_count - 1)
            self._set(note="")

    def seek_worst(self, ranks: int) -> None:
        """Pause, at the frame next in the order of disagreement, the worst first; -1 goes back in it."""
        with self._changed:
            worst = self.timeline.worst(max(1, round(self.rate_hz))) if self.timeline is not None else []
            if not worst:
                self._set(note="no frame differs, as far as is known")
                return
            self._rank = 0 if self._rank is None else min(max(0, self._rank + ranks), len(worst) - 1)
            self.seek(worst[self._rank])
            self._set(playing=False, note=f"worst {self._rank + 1} of {len(worst)}")

    def set_speed(self, speed: float) -> None:
        """So many times the recorded pace, from now on."""
        with self._changed:
            self._clock = RecordedClock(speed)
            self._set(speed=speed)

    # ------------------------------------------------------------------------------------------------------- listening

    def snapshot(self) -> State:
        """How it is now.

        Raises:
            EdgeError: what ended the player, an engine's failure.
        """
        if self._failure is not None:
            raise self._failure
        return self._state

    def listen(self, listener: Callable[[], object]) -> None:
        """Call `listener` at each change, from any thread; it must be quick and call no command."""
        with self._changed:
            self._listeners.append(listener)

    def unlisten(self, listener: Callable[[], object]) -> None:
        """Call it no more; it is not being called when this returns."""
        with self._changed:
            self._listeners.remove(listener)

    def _set(self, **changes: object) -> None:
        """Change the state; its lock is held."""
        self._state = replace(self._state, **changes)  # type: ignore[arg-type]
        self._tell()

    def _tell(self) -> None:
        self._changed.notify_all()
        for listener in self._listeners:
            listener()

    def _place(self) -> int:
        """The frame that is shown, or will be: commands in quick succession add up."""
        return self._taken if self._wanted is None else self._wanted

    # ------------------------------------------------------------------------------------------------------ the thread

    def _run(self) -> None:
        try:
            while (work := self._await_work()) is not None:
                self._show(*work)
        except BaseException as error:  # noqa: BLE001 whoever looks next raises it
            with self._changed:
                self._failure = error
                self._tell()

    def _await_work(self) -> tuple[int, bool] | None:
        """The number of the frame to show next, and whether it was asked for; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._wanted is not None or self._state.playing)
            if self._stopped:
                return None
            if self._wanted is None:
                return self._taken + 1, False
            self._clock.restart()
            return self._wanted, True

    def _show(self, index: int, asked: bool) -> None:
        try:
            self._show_frame(self._source.at(index), asked)
        except SourceError as error:
            self._publish(Shown(0, index, reason=str(error)))

    def _show_frame(self, frame: Frame, asked: bool) -> None:
        index = frame.index
        media_ns = round(index * 1e9 / self.rate_hz) if frame.media_ns is None else frame.media_ns
        due_ns = self._clock.due_ns(media_ns, time.monotonic_ns())
        if not asked and self._is_too_late(index, due_ns):
            self._skip(index)
            return
        results = {track.name: mask for track in self.tracks if (mask := track.of(self._source, frame)) is not None}
        shown = Shown(0, index, frame, results, self._compared(index, results))
        if asked or self._wait_until(due_ns):
            self._publish(shown)

    def _is_too_late(self, index: int, due_ns: int) -> bool:
        """Whether the frame behind it is due already, too, and something was shown not long ago."""
        now_ns, interval_ns = time.monotonic_ns(), 1e9 / self.rate_hz / self._state.speed
        is_late = now_ns - due_ns > interval_ns and now_ns - self._shown_ns < SHOW_EVERY_NS
        return is_late and index < self.frame_count - 1

    def _skip(self, index: int) -> None:
        with self._changed:
            if self._wanted is None:
                self._taken = index
                self._state = replace(self._state, skipped=self._state.skipped + 1)

    def _compared(self, index: int, results: Mapping[str, Prediction]) -> Disagreement | None:
        if self.timeline is None:
            return None
        first, second = (results.get(track.name) for track in self.tracks[:2])
        return None if first is None or second is None else self.timeline.compare(index, first, second)

    def _wait_until(self, due_ns: int) -> bool:
        """Wait until a frame is due; False where another was asked for by then, or the user has paused."""
        with self._changed:
            return not self._changed.wait_for(self._is_interrupted, max(0.0, (due_ns - time.monotonic_ns()) / 1e9))

    def _is_interrupted(self) -> bool:
        return self._stopped or self._wanted is not None or not self._state.playing

    def _publish(self, shown: Shown) -> None:
        with self._changed:
            if self._wanted == shown.index:
                self._wanted = None
            self._taken, self._shown_ns = shown.index, time.monotonic_ns()
            goes_on = self._state.playing and (shown.index < self.frame_count - 1 or self._wanted is not None)
            self._set(shown=replace(shown, number=self._state.shown.number + 1), playing=goes_on)
