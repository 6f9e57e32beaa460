"""A slow sink taken off the loop."""

from __future__ import annotations

import threading
import time
from collections import deque

from edge.prediction import Prediction
from edge.sinks.sink import Sink


class Background:
    """Runs `sink` in a thread of its own, up to `depth` results behind the loop.

    A full row makes the loop wait, or, with `drop`, loses its oldest result, counted in `dropped`. What the sink raises
    comes out at the next `write`, or when the sink is left.
    """

    def __init__(self, sink: Sink, *, drop: bool, depth: int = 4) -> None:
        self._sink, self._drop, self._depth = sink, drop, depth
        self.dropped = 0
        self._row: deque[tuple[Prediction, int]] = deque()
        self._error: BaseException | None = None
        self._busy_since_s: float | None = None
        self._runs = self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name=f"sink {type(sink).__name__}", daemon=True)

    def __enter__(self) -> Background:
        self._sink.__enter__()
        self._runs = True
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Let the sink take what is in the row, then leave it."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        try:
            self._await_end()
        except KeyboardInterrupt:
            self._await_end()  # a few results are left, and the file wants its end; a second Ctrl-C gives it up
            self._leave(error)
            raise
        self._leave(error)
        if self._error is not error:
            self._raise()

    def _await_end(self) -> None:
        """Wait until the thread is through with the sink.

        Not by a long `Thread.join`: interrupted, it takes a running thread for ended (python/cpython#90882, to 3.12).
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._runs)

    def _leave(self, error: BaseException | None) -> None:
        self._thread.join()
        failure = self._error or error
        self._sink.__exit__(type(failure) if failure else None, failure, None)

    def write(self, result: Prediction, dropped: int) -> None:
        """Put the result in the row.

        Raises:
            BaseException: what an earlier `write` of the sink raised, Ctrl-C too.
        """
        with self._changed:
            if self._drop and len(self._row) >= self._depth:
                self._row.popleft()
                self.dropped += 1
            self._changed.wait_for(lambda: len(self._row) < self._depth or self._error is not None)
            self._raise()
            self._row.append((result, dropped))
            self._changed.notify_all()

    @property
    def busy_s(self) -> float:
        """How long the sink has been at the result that it works on now; 0 where it waits for one. Any thread may ask.

        A sink that hangs, in an encoder or a disk, is seen by this alone: a row that drops never holds up the loop.
        """
        since_s = self._busy_since_s
        return 0.0 if since_s is None else time.monotonic() - since_s

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        try:
            while (item := self._next()) is not None:
                self._busy_since_s = time.monotonic()
                self._sink.write(*item)
                self._busy_since_s = None
        except BaseException as error:  # noqa: BLE001 handed to the loop, which raises it at its next write
            self._error = error
        self._busy_since_s = None
        with self._changed:
            self._row.clear()
            self._runs = False
            self._changed.notify_all()

    def _next(self) -> tuple[Prediction, int] | None:
        """The oldest result; None once there are none and no more to come."""
        with self._changed:
            self._changed.wait_for(lambda: self._row or self._closing)
            if not self._row:
                return None
            item = self._row.popleft()
            self._changed.notify_all()
            return item
