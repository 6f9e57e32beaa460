"""How right an engine is: its masks against labelled frames, per class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge.classes import ClassTable
from edge.engine import Engine
from edge.errors import DataError
from edge.frame import Frame, Image
from edge.metrics import Confusion
from edge.pipeline import segment
from edge.report import table
from edge.segmentation import Segmentation
from edge.sources.open import open_source
from edge.sources.pictures import Pictures
from edge.sources.source import Source

UNLABELLED = 255  # by convention, besides the card's own ignore id


@dataclass
class Score:
    """An engine's confusion on a set of frames, and where it came from."""

    engine: str
    precision: str
    frames: str
    frame_count: int
    table: ClassTable
    confusion: Confusion

    def as_json(self) -> dict[str, Any]:
        """Figures as JSON takes them; a class that does not occur is null."""
        return {
            "engine": self.engine,
            "precision": self.precision,
            "frames": self.frames,
            "frame_count": self.frame_count,
            "miou": plain(self.confusion.miou()),
            "pixel_accuracy": plain(self.confusion.pixel_accuracy()),
            "iou": {n: plain(v) for n, v in zip(self.table.names, self.confusion.iou(), strict=True)},
            "group_iou": {g: plain(self.confusion.group_iou(self.table.ids(g))) for g in self.table.groups},
        }


def evaluate(
    frames: str, labels: Path, engine: Engine, on_result: Callable[[Segmentation], None] = lambda result: None
) -> Score:
    """Segment every frame and compare it with its label, at the label's resolution.

    `frames` is a folder of pictures, matched with labels by name, or a video, whose frame i has the i-th label in name
    order. Labels are one-channel PNG files of class ids; 255 and the card's ignore id do not count.

    Raises:
        DataError: a frame has no label, or a label does not fit its frame or the engine's classes.
        SourceError: the frames cannot be read, or not all of them.
    """
    source = open_source(frames)
    truth = Labels(source, labels)
    classes = engine.card.table
    confusion = make_confusion(classes)
    count = 0
    for result in segment(source, engine, live=False):
        truth.add_to(confusion, result.frame, result.class_map())
        count += 1
        on_result(result)
    truth.check_count(count)
    return Score(engine.card.name, engine.precision, frames, count, classes, confusion)


def make_confusion(table: ClassTable) -> Confusion:
    """An empty confusion of these classes; unlabelled pixels will not count."""
    return Confusion(len(table), sorted({table.ignore_id, UNLABELLED}))


class Labels:
    """The labels of a source's frames: pictures have theirs by name, frame i of a video the i-th in name order.

    Raises:
        DataError: there are none, or a picture has none.
    """

    def __init__(self, source: Source, folder: Path) -> None:
        self._name, self._folder, self.paths = source.name, folder, _label_paths(folder)
        by_name = isinstance(source, Pictures)
        self._path_of = _by_name(source, self.paths, folder) if by_name else _by_order(self.paths, folder)

    def of(self, frame: Frame) -> Image:
        """uint8 (H, W) class ids.

        Raises:
            DataError: the frame has no label, or it is not one.
        """
        return _read_label(self._path_of(frame))

    def add_to(self, confusion: Confusion, frame: Frame, prediction: Image) -> None:
        """Count one frame's prediction, uint8 (H, W) at the label's size.

        Raises:
            DataError: as `of`; or the label does not fit frame or classes.
        """
        try:
            confusion.add(self.of(frame), prediction)
        except DataError as error:
            path = self._path_of(frame)
            raise error if str(path) in str(error) else DataError(f"{path}: {error}") from error

    def check_count(self, frames: int) -> None:
        """Refuse a source that had fewer frames than there are labels."""
        if frames != len(self.paths):
            raise DataError(
                f"{self._name} has {frames} frames, {self._folder} {len(self.paths)} labels;"
                " there must be one label per frame"
            )


def _label_paths(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder of labels")
    paths = sorted(folder.glob("*.png"))
    if not paths:
        raise DataError(f"{folder}: holds no labels; they are one-channel PNG files of class ids")
    return paths


def _by_name(source: Pictures, paths: list[Path], folder: Path) -> Callable[[Frame], Path]:
    by_stem = {path.stem: path for path in paths}
    if missing := [path for path in source.paths if path.stem not in by_stem]:
        raise DataError(f"{missing[0]}: has no label {folder}/{missing[0].stem}.png ({len(missing)} frames have none)")
    return lambda frame: by_stem[Path(frame.source).stem]


def _by_order(paths: list[Path], folder: Path) -> Callable[[Frame], Path]:
    def label_of(frame: Frame) -> Path:
        if frame.index >= len(paths):
            raise DataError(f"{folder}: has {len(paths)} labels, the video more frames; there must be one per frame")
        return paths[frame.index]

    return label_of


def _read_label(path: Path) -> Image:
    label = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if label is None or label.ndim != 2 or label.dtype != np.uint8:
        found = "unreadable" if label is None else f"{label.shape}, {label.dtype}"
        raise DataError(f"{path}: a label is a one-channel 8-bit PNG of class ids; found {found}")
    return label


def plain(value: float) -> float | None:
    """A figure as JSON takes it, to five digits; None for NaN."""
    return None if np.isnan(value) else round(float(value), 5)


def score_text(score: Score) -> str:
    """The score a person reads."""
    shares = score.confusion.counts.sum(1) / max(1, score.confusion.counts.sum())
    figures = zip(score.table.names, score.confusion.iou(), shares, strict=True)
    rows = [(name, _figure(iou), f"{share:.2%}") for name, iou, share in figures]
    lines = [
        f"engine {score.engine} ({score.precision}) on {score.frame_count} frames of {score.frames}",
        "",
        table(("class", "IoU", "pixels"), rows),
        "",
        f"mIoU {_figure(score.confusion.miou())}   pixel accuracy {_figure(score.confusion.pixel_accuracy())}",
    ]
    return "\n".join(lines)


def _figure(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.4f}"
