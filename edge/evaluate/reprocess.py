"""Single frames of drives again, with what the engine sees in them: for images of the worst, and for labelling."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from edge.classes import ClassTable
from edge.errors import SourceError
from edge.evaluate.drives import Drive
from edge.evaluate.object_labels import find_labels
from edge.evaluate.run import Worker
from edge.frame import Image
from edge.prediction import Prediction
from edge.sources.seek import open_recording
from edge.sources.source import display_wh_of


@dataclass(frozen=True)
class Seen:
    """A frame's segmentation, and its label where there is one, uint8 (H, W)."""

    drive: Drive
    result: Prediction
    truth: Image | None


def reprocess(drive: Drive, numbers: Sequence[int], worker: Worker, table: ClassTable) -> Iterator[Seen]:
    """The frames of those numbers, ascending; one that cannot be decoded alone, in a damaged drive, is left out.

    Raises:
        SourceError: the drive is gone.
        DataError: its labels are.
    """
    with open_recording(drive.frames) as recording:
        segmenter = worker.config.segmenter(worker.engine(display_wh_of(recording)))
        binary = worker.config.labels_of is not None
        truths = find_labels(recording, drive.labels, drive.sparse, table, binary=binary)  # type: ignore[arg-type]
        for number in sorted(numbers):
            with suppress(SourceError):
                frame = recording.at(number)
                yield Seen(drive, segmenter.segment(frame), truths.find(frame) if truths else None)
