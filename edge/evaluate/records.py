"""What was measured of each frame, as columns; all that a report says is made from these."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.errors import DataError
from edge.evaluate.metres import NO_METRES
from edge.evaluate.overlaps import FRAME, NOTHING

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Record:
    """One frame. All counts are of pixels, and whole numbers: adding them up is exact in any order.

    Attributes:
        index: the frame's, from 0.
        media_ns: its time within the recording; -1 where the source has none.
        age_ns: from its decoding to its mask, waiting included.
        seen: (C,) pixels of each predicted class, at network size.
        followed: (2,) pixels whose motion from the frame before is known, and all; zeros for a drive's first frame.
        steady: (C, 3) of the followed pixels: those that kept the class, had it before, have it now.
        agreement: (2,) pixels of the same class with the other engine, and all; zeros without one.
        mirrored: (2,) pixels of the same class in the mirrored image, and all; zeros if not asked for.
        unlike: (2,) 1 if unlike the training data, 1 if looked at; zeros where not sampled or unknown.
        confusion: (B, C, C) truth by prediction, per distance band; None for a frame without label.
        other: (C, C) the other engine's; zeros without one. None for a frame without label.
        outlines: (C, 4) see `edge.metrics.count_outlines`; None for a frame without label.
        people: (S, 4) per size: pedestrians, those found, their pixels, those found; None for a frame without label.
        objects: how well its objects are known: 0 not at all, else `edge.evaluate.overlaps.MASKS` or `BOXES`.
        truths, found, overlaps: (n, 6), (n, 7) and (n, 4), the tables of `edge.evaluate.overlaps`; None if not at all.
        outputs: what else the engine gives, in numbers, as JSON: `Prediction.summaries`.
        speed_mm_s: of the car, by the drive's GPS; -1 where that is unknown.
        in_metres: 1 where the truth is known in metres.
        placed, lane, free: see `edge.evaluate.metres.FrameMetres`. Where it is not, `placed` is None, and the others
            say nothing.
    """

    index: int
    media_ns: int
    age_ns: int
    seen: Counts
    followed: Counts
    steady: Counts
    agreement: Counts
    mirrored: Counts
    unlike: Counts
    confusion: Counts | None = None
    other: Counts | None = None
    outlines: Counts | None = None
    people: Counts | None = None
    objects: int = 0
    truths: Counts | None = None
    found: Counts | None = None
    overlaps: Counts | None = None
    outputs: str = "{}"
    speed_mm_s: int = -1
    in_metres: int = 0
    placed: Counts | None = None
    lane: Counts = dataclasses.field(default_factory=lambda: NO_METRES.lane)
    free: Counts = dataclasses.field(default_factory=lambda: NO_METRES.free)


OF_LABELS = ("confusion", "other", "outlines", "people")
OF_OBJECTS = {
    "truths": NOTHING.truths,
    "found": NOTHING.found,
    "overlaps": NOTHING.overlaps,
    "placed": NO_METRES.placed,
}


@dataclass(frozen=True)
class Records:
    """Records as columns in the order of frames: `index` (N,), `seen` (N, C) and so on, int64; `outputs` (N,), text.

    `labelled` (N,) is 1 where the frame has a label. The columns of labels have a row for each of these M frames only;
    those of objects, and `placed`, have one for each object or pair, which names its frame.
    """

    index: Counts
    media_ns: Counts
    age_ns: Counts
    seen: Counts
    followed: Counts
    steady: Counts
    agreement: Counts
    mirrored: Counts
    unlike: Counts
    labelled: Counts
    confusion: Counts
    other: Counts
    outlines: Counts
    people: Counts
    objects: Counts
    truths: Counts
    found: Counts
    overlaps: Counts
    outputs: NDArray[np.str_]
    speed_mm_s: Counts
    in_metres: Counts
    placed: Counts
    lane: Counts
    free: Counts

    def __len__(self) -> int:
        return len(self.index)

    @classmethod
    def of(cls, records: Sequence[Record], empty: Record) -> Records:
        """The records as columns; `empty` is a record of the right shapes, for columns without rows."""
        columns: dict[str, Any] = {"labelled": np.array([record.confusion is not None for record in records], np.int64)}
        for field in dataclasses.fields(Record):
            rows = [value for record in records if (value := getattr(record, field.name)) is not None]
            if field.name in OF_OBJECTS:
                columns[field.name] = np.concatenate([OF_OBJECTS[field.name], *rows])
                continue
            shape = np.shape(getattr(empty, field.name))
            kind = np.str_ if field.name == "outputs" else np.int64
            columns[field.name] = np.array(rows, kind).reshape(len(rows), *shape)
        return cls(**columns)

    @classmethod
    def joined(cls, parts: Sequence[Records]) -> Records:
        """The parts, one behind the other."""
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})

    def chosen(self, frames: NDArray[np.bool_]) -> Records:
        """Of all frames those where (N,) is True."""
        labelled, numbers = frames[self.label_rows], self.index[frames]
        columns: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            column = getattr(self, field.name)
            if field.name in OF_OBJECTS:
                columns[field.name] = column[np.isin(column[:, FRAME], numbers)]
            else:
                columns[field.name] = column[labelled if field.name in OF_LABELS else frames]
        return Records(**columns)

    def output_columns(self) -> dict[tuple[str, str], NDArray[np.float64]]:
        """(N,) each number of each further output, by the output's name and its own; NaN where a frame has none."""
        rows: list[dict[str, dict[str, float]]] = [json.loads(text) for text in self.outputs.tolist()]
        keys = dict.fromkeys((name, key) for row in rows for name, numbers in row.items() for key in numbers)
        nan = float("nan")
        return {(name, key): np.array([row.get(name, {}).get(key, nan) for row in rows]) for name, key in keys}

    @property
    def label_rows(self) -> Counts:
        """(M,) the positions of the frames that have a label."""
        return np.flatnonzero(self.labelled)


def to_bytes(records: Records, facts: str) -> bytes:
    """Records and a text about them, to be kept in a file."""
    file = io.BytesIO()
    columns: dict[str, Any] = {field.name: getattr(records, field.name) for field in dataclasses.fields(Records)}
    np.savez_compressed(file, facts=np.frombuffer(facts.encode(), np.uint8), **columns)
    return file.getvalue()


def from_bytes(content: bytes, origin: str) -> tuple[Records, str]:
    """What `to_bytes` kept.

    Raises:
        DataError: it is something else.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            columns = {field.name: file[field.name] for field in dataclasses.fields(Records)}
            return Records(**columns), file["facts"].tobytes().decode()
    except Exception as error:  # zipfile, zlib and numpy each have their own for a file that is not whole
        raise DataError(f"{origin}: is not the result of a part of a drive ({error}). Remove it.") from error
