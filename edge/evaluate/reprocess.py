"""Single frames of drives again, with what the engine sees in them: for images of the worst, and for labelling."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from edge.classes import ClassTable
from edge.errors import SourceError
from edge.evaluate.drives import Drive
from edge.evaluate.object_labels import AnyLabels, find_labels
from edge.evaluate.overlaps import TrueObjects
from edge.evaluate.run import Worker
from edge.frame import Frame, Image
from edge.prediction import Prediction
from edge.segmenter import Segmenter
from edge.sources.source import display_wh_of


@dataclass(frozen=True)
class Seen:
    """A frame's segmentation through all steps, as if it were the drive's first; and what is known of its truth: its
    label, uint8 (H, W), and its objects.
    """

    drive: Drive
    result: Prediction
    truth: Image | None
    objects: TrueObjects | None


def reprocess(drive: Drive, numbers: Sequence[int], worker: Worker, table: ClassTable) -> Iterator[Seen]:
    """The frames of those numbers, ascending; one that cannot be decoded alone, in a damaged drive, is left out.

    Raises:
        SourceError: the drive is gone.
        DataError: its labels are.
    """
    recording = worker.recording(drive.frames)
    segmenter = worker.config.segmenter(worker.engine(display_wh_of(recording)))
    binary = worker.config.labels_of is not None
    truths = find_labels(recording, drive.labels, drive.sparse, table, binary=binary)  # type: ignore[arg-type]
    for number in sorted(numbers):
        with suppress(SourceError):
            frame = recording.at(number)
            yield _seen(drive, segmenter, truths, frame)


def _seen(drive: Drive, segmenter: Segmenter, truths: AnyLabels | None, frame: Frame) -> Seen:
    segmenter.steps.reset()
    result = segmenter.steps.update(segmenter.segment(frame))
    if truths is None:
        return Seen(drive, result, None, None)
    return Seen(drive, result, truths.find(frame), truths.objects(frame) if result.instances is not None else None)
