"""How frames reach the loop: read ahead, every one; the newest only; or at the pace of the recording.

Each wraps a source and is one. A thread of its own pulls frames; what the source raises comes out where its frames do.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from edge.closing import Closing
from edge.frame import Frame
from edge.sources.source import Source, Stoppable
from edge.timing import Durations

if TYPE_CHECKING:
    from edge.location import Fix

FixAt = Callable[[int], "Fix | None"]  # where the car was at that time, on the monotonic clock

RATE_HZ = 10.0  # of a recording that does not say
_LEAVE_S = 12.0  # OpenCV waits up to 10 s for a camera that gives no frames
_STOP_S = 0.3  # for the frame that is being made when a loop is stopped: under load, it may take seconds


class _Pulled(Closing):
    """A source pulled by a thread into a bounded row of frames."""

    def __init__(
        self,
        source: Source,
        depth: int,
        drop_oldest: bool,
        fix_at: FixAt | None = None,
        before_take: Callable[[], object] = lambda: None,
    ) -> None:
        self._source, self._fix_at = source, fix_at
        self.name, self.size_wh, self.rate_hz = source.name, source.size_wh, source.rate_hz
        self.frame_count, self.live, self.decode = source.frame_count, source.live, source.decode
        self.dropped = 0
        self._depth, self._drop_oldest, self._before_take = depth, drop_oldest, before_take
        self._frames: deque[Frame] = deque()
        self._error: BaseException | None = None
        self._runs = self._stopped = self._is_over = self._is_left = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._pull, name=f"frames of {source.name}", daemon=True)

    def __enter__(self) -> _Pulled:
        self._source.__enter__()
        return self

    def stop(self) -> None:
        """End the iteration, from any thread. The frame that is being made is not waited for."""
        self._end(is_over=True)

    def _end(self, is_over: bool) -> None:
        with self._changed:
            self._stopped, self._is_over = True, self._is_over or is_over
            self._changed.notify_all()
        if isinstance(self._source, Stoppable):
            self._source.stop()  # a camera that is away gives no frame at which the thread could leave

    def close(self) -> None:
        """End the thread and close the source; once stopped, the thread may do that, behind the frame it is at."""
        self._end(is_over=False)
        if self._is_over:
            with self._changed:
                self._is_left = not self._changed.wait_for(lambda: not self._runs, _STOP_S)
            if self._is_left:
                return
        try:
            self._await_end()
        finally:
            if not self._runs:  # a source closed while a thread reads from it takes the process with it
                if self._thread.ident is not None:
                    self._thread.join()
                self._source.__exit__(None, None, None)

    def _await_end(self) -> None:
        """Wait until the thread is through with the source, even if Ctrl-C comes meanwhile.

        Not by a long `Thread.join`: interrupted, it takes a running thread for ended (python/cpython#90882, to 3.12).
        """
        with self._changed:
            try:
                self._changed.wait_for(lambda: not self._runs, _LEAVE_S)
            except KeyboardInterrupt:
                self._changed.wait_for(lambda: not self._runs, _LEAVE_S)
                raise

    def __iter__(self) -> Iterator[Frame]:
        self._runs = True
        self._thread.start()
        while (frame := self._take()) is not None:
            yield frame

    def _take(self) -> Frame | None:
        with self._changed:
            self._changed.wait_for(lambda: self._frames or not self._runs or self._is_over)
            if self._is_over:
                return None
            has_frame = bool(self._frames)
        if has_frame:
            self._before_take()  # meanwhile a newer frame may take its place
        with self._changed:
            if self._frames:
                frame = self._frames.popleft()
                self._changed.notify_all()
                return frame
            if self._error is not None:
                raise self._error
            return None

    def _pull(self) -> None:
        try:
            for frame in self._source:
                if self._fix_at is not None:
                    frame.fix = self._fix_at(frame.captured_ns)
                if not self._offer(frame):
                    break
        except BaseException as error:  # noqa: BLE001 handed to the loop, which raises it behind the last frame
            self._error = error
        with self._changed:
            self._runs = False
            self._changed.notify_all()
        if self._is_left:
            self._source.__exit__(None, None, None)

    def _offer(self, frame: Frame) -> bool:
        """Put the frame into the row; False once the consumer has closed."""
        with self._changed:
            if self._drop_oldest:
                while len(self._frames) >= self._depth:
                    self._frames.popleft()
                    self.dropped += 1
            else:
                self._changed.wait_for(lambda: len(self._frames) < self._depth or self._stopped)
            self._frames.append(frame)
            self._changed.notify_all()
            return not self._stopped


class Ahead(_Pulled):
    """Every frame, decoded up to `depth` ahead while the loop works; the source waits for the loop."""

    def __init__(self, source: Source, depth: int = 4) -> None:
        super().__init__(source, depth, drop_oldest=False)
        self.live = False


class Latest(_Pulled):
    """The newest frame only: one slot; a frame that was not taken in time makes room and counts as dropped.

    With `fix_at`, each frame gets the car's place at its capture. `before_take` is called when there is a frame: what
    it waits for, such as the engine, gets the newest one.
    """

    def __init__(
        self, source: Source, fix_at: FixAt | None = None, before_take: Callable[[], object] = lambda: None
    ) -> None:
        super().__init__(source, 1, drop_oldest=True, fix_at=fix_at, before_take=before_take)
        self.live = True


class Paced(Closing):
    """A recording played at its own rate, as if it were a camera."""

    live = True

    def __init__(self, source: Source) -> None:
        self._source = source
        self.name, self.size_wh, self.frame_count = source.name, source.size_wh, source.frame_count
        self.rate_hz: float | None = source.rate_hz or RATE_HZ
        self.decode: Durations = source.decode

    def __enter__(self) -> Paced:
        self._source.__enter__()
        return self

    def close(self) -> None:
        """Close the source."""
        self._source.__exit__(None, None, None)

    def __iter__(self) -> Iterator[Frame]:
        frames, interval_ns = iter(self._source), 1e9 / (self.rate_hz or RATE_HZ)
        start_ns, number = time.monotonic_ns(), 0
        while True:
            due_ns = start_ns + round(number * interval_ns)
            time.sleep(max(0, due_ns - time.monotonic_ns()) / 1e9)
            frame = next(frames, None)
            if frame is None:
                return
            yield frame
            number += 1
