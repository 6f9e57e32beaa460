"""Compares two lanes over a whole recording, beside whoever looks at it, and keeps what it finds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from edge.errors import EdgeError, SourceDamaged
from edge.replay.identity import recording_sha256
from edge.replay.lane import Lane
from edge.replay.strip import Strip, kept_at
from edge.sources.seek import Playable, open_recording

SAVE_EVERY_S = 5.0
_FORMAT = 1


class Survey:
    """Compares the first two lanes into a strip, in a thread of its own, which has the recording open a second time.

    What an earlier survey found of the same recording, lanes and libraries is taken as it is.

    Attributes:
        failure: what ended it early; None as long as nothing did.
        damaged: how many frames could not be compared because the recording is damaged; first_damage: the first one's.
    """

    def __init__(self, recording: str, lanes: Sequence[Lane], strip: Strip) -> None:
        self._recording, self._lanes, self._strip = recording, tuple(lanes[:2]), strip
        self._ends = threading.Event()
        self.failure: EdgeError | None = None
        self.damaged, self.first_damage = 0, ""
        self._thread = threading.Thread(target=self._run, name="survey", daemon=True)

    def __enter__(self) -> Survey:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ends.set()
        self._thread.join()

    def wait(self, on_progress: Callable[[], object] = lambda: None) -> None:
        """Until it is through.

        Raises:
            EdgeError: it ended early.
        """
        while self._thread.is_alive():
            self._thread.join(0.2)
            on_progress()
        if self.failure is not None:
            raise self.failure

    def _run(self) -> None:
        try:
            with open_recording(self._recording) as source:
                self._work(source)
        except EdgeError as error:
            self.failure = error

    def _work(self, source: Playable) -> None:
        lanes = [lane.identity for lane in self._lanes]
        path = kept_at(_FORMAT, recording_sha256(source), *lanes)
        self._strip.load(path)
        before = self._strip.known
        try:
            self._compare(source, path)
        finally:
            if self._strip.known != before:
                self._strip.save(path)

    def _compare(self, source: Playable, path: Path) -> None:
        saved_s = time.monotonic()
        for index in range(source.frame_count):
            if self._ends.is_set():
                return
            if self._strip.knows(index):
                continue
            try:
                frame = source.at(index)
                first, second = (lane.of(source, frame) for lane in self._lanes)
                if first is not None and second is not None:
                    self._strip.compare(index, first, second)
            except SourceDamaged as error:  # the frame stays unknown, and reports it when it is shown
                self.damaged += 1
                self.first_damage = self.first_damage or str(error)
            if time.monotonic() - saved_s > SAVE_EVERY_S:
                self._strip.save(path)
                saved_s = time.monotonic()
