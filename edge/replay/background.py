"""Compares two tracks over a whole recording, beside whoever looks at it, and keeps what it finds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from edge.errors import EdgeError, SourceDamaged
from edge.replay.identity import recording_sha256
from edge.replay.mask_track import MaskTrack
from edge.replay.timeline import DisagreementTimeline, kept_at
from edge.sources.seek import Playable, open_recording

SAVE_EVERY_S = 5.0
_FORMAT = 1


class BackgroundComparison:
    """Compares the first two tracks into a timeline, in a background thread, which opens the recording a second time.

    What an earlier comparison found of the same recording, tracks and libraries is taken as it is.

    Attributes:
        failure: what ended it early; None as long as nothing did.
        damaged: how many frames could not be compared because the recording is damaged; first_damage: the first one's.
    """

    def __init__(self, recording: str, tracks: Sequence[MaskTrack], timeline: DisagreementTimeline) -> None:
        self._recording, self._tracks, self._timeline = recording, tuple(tracks[:2]), timeline
        self._ends = threading.Event()
        self.failure: EdgeError | None = None
        self.damaged, self.first_damage = 0, ""
        self._thread = threading.Thread(target=self._run, name="comparison", daemon=True)

    def __enter__(self) -> BackgroundComparison:
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
        tracks = [track.identity for track in self._tracks]
        path = kept_at(_FORMAT, recording_sha256(source), *tracks)
        self._timeline.load(path)
        before = self._timeline.known
        try:
            self._compare(source, path)
        finally:
            if self._timeline.known != before:
                self._timeline.save(path)

    def _compare(self, source: Playable, path: Path) -> None:
        saved_s = time.monotonic()
        for index in range(source.frame_count):
            if self._ends.is_set():
                return
            if self._timeline.knows(index):
                continue
            try:
                frame = source.at(index)
                first, second = (track.of(source, frame) for track in self._tracks)
                if first is not None and second is not None:
                    self._timeline.compare(index, first, second)
            except SourceDamaged as error:  # the frame stays unknown, and reports it when it is shown
                self.damaged += 1
                self.first_damage = self.first_damage or str(error)
            if time.monotonic() - saved_s > SAVE_EVERY_S:
                self._timeline.save(path)
                saved_s = time.monotonic()
