"""Results as JSON lines, one object per frame."""

from __future__ import annotations

import json
from io import TextIOWrapper
from pathlib import Path

from edge.prediction import Prediction
from edge.sinks.files import PendingFile, writing
from edge.timing import Stages


class JsonLines:
    """One line per frame:

    {"frame": 12, "media_s": 0.4, "captured_ns": 81234567890, "age_ms": 21.4, "shares": {"Road": 0.31, ...},
     "dropped": 0}

    `frame` counts what the source produced; `media_s` is the time in the recording or null; `captured_ns` is on this
    machine's monotonic clock; `age_ms` runs from capture to mask; `shares` are parts of the frame; `dropped` counts
    frames dropped since the run began. Of a source of image files there is `file` too, the image's path. Where the
    engine gives more than classes, `outputs` has each in numbers: {"confidence": {"mean": 0.93, "low": 0.04}}.
    With instances, `instances` is a list of objects, each as `edge.instances.Instance.as_json`; with a camera model,
    `free_space` is as `edge.geometry.free_space.FreeSpace.as_json` and `lane` as `edge.geometry.lane.EgoLane.as_json`.
    With a GPS that has a fix, `fix` is as `edge.location.Fix.as_json`.
    """

    def __init__(self, path: Path, stages: Stages, *, names_files: bool = False, grows: bool = False) -> None:
        """With `names_files`, each frame is an image file, which its line names as `file`. With `grows`, the file has
        its name from the start, and each line is in it as soon as it is written.

        Raises:
            OutputError: it cannot be written.
        """
        self._pending, self._names_files = PendingFile(path, grows=grows), names_files
        self._stages = stages
        self._failed = False

    def __enter__(self) -> JsonLines:
        with writing(self._pending.path):
            self._file = TextIOWrapper(self._pending.open(), encoding="utf-8", line_buffering=self._pending.is_stream)
        return self

    def __exit__(self, *exception: object) -> None:
        """Complete the file; one that failed is removed."""
        try:
            with writing(self._pending.path):
                self._file.close()
        except OSError:
            self._pending.discard()
            if not self._failed:
                raise
        if self._failed:
            self._pending.discard()
        else:
            self._pending.commit()

    def write(self, result: Prediction, dropped: int) -> None:
        """Add a line; see `edge.sinks.sink.Sink.write`."""
        with self._stages["write"].span(), writing(self._pending.path):
            try:
                file = {"file": result.frame.source} if self._names_files else {}
                self._file.write(json.dumps({**as_record(result, dropped), **file}) + "\n")
            except OSError:
                self._failed = True
                raise


def as_record(result: Prediction, dropped: int) -> dict[str, object]:
    """The line for one result, as JSON takes it."""
    media_ns = result.frame.media_ns
    record: dict[str, object] = {
        "frame": result.frame.index,
        "media_s": None if media_ns is None else round(media_ns / 1e9, 6),
        "captured_ns": result.frame.captured_ns,
        "age_ms": round(result.age_ms, 3),
        "shares": {name: round(share, 5) for name, share in result.shares().items()},
        "dropped": dropped,
    }
    if result.further():
        record["outputs"] = result.summaries()
    if result.instances is not None:
        record["instances"] = [one.as_json() for one in result.instances]
    if result.free_space is not None:
        record["free_space"] = result.free_space.as_json()
    if result.lane is not None:
        record["lane"] = result.lane.as_json()
    if result.frame.fix is not None:
        record["fix"] = result.frame.fix.as_json()
    return record
