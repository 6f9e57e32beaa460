"""One figure in a hurry: an engine's confusion on labelled frames, and nothing else. Builds and cards take it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge.classes import ClassTable
from edge.engine import Engine
from edge.errors import DataError
from edge.evaluate.labels import Labels, make_confusion
from edge.metrics import Confusion
from edge.pipeline import segment
from edge.prediction import Prediction
from edge.report import table
from edge.sources.open import open_source


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
            **confusion_figures(self.confusion, self.table),
        }


def confusion_figures(confusion: Confusion, table: ClassTable) -> dict[str, Any]:
    """mIoU, pixel accuracy, and IoU by class and group, as JSON takes them."""
    return {
        "miou": plain(confusion.miou()),
        "pixel_accuracy": plain(confusion.pixel_accuracy()),
        "iou": {n: plain(v) for n, v in zip(table.names, confusion.iou(), strict=True)},
        "group_iou": {g: plain(confusion.group_iou(table.ids(g))) for g in table.groups},
    }


def evaluate(
    frames: str, labels: Path, engine: Engine, on_result: Callable[[Prediction], None] = lambda result: None
) -> Score:
    """Segment every frame and compare it with its label, at the label's resolution.

    `frames` is a folder of images, matched with labels by name, or a video, whose frame i has the i-th label in name
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
        try:
            confusion.add(truth.of(result.frame), result.class_map())
        except DataError as error:
            where = truth.where(result.frame)
            raise error if where in str(error) else DataError(f"{where}: {error}") from error
        count += 1
        on_result(result)
    truth.check_count(count)
    return Score(engine.card.name, engine.precision, frames, count, classes, confusion)


def plain(value: float) -> float | None:
    """A figure as JSON takes it, to five digits; None for NaN."""
    return None if np.isnan(value) else round(float(value), 5)


def score_text(score: Score) -> str:
    """The score a person reads."""
    lines = [
        f"engine {score.engine} ({score.precision}) on {score.frame_count} frames of {score.frames}",
        "",
        table(("class", "IoU", "pixels"), class_rows(score.confusion, score.table)),
        "",
        f"mIoU {figure(score.confusion.miou())}   pixel accuracy {figure(score.confusion.pixel_accuracy())}",
    ]
    return "\n".join(lines)


def class_rows(confusion: Confusion, classes: ClassTable) -> list[tuple[str, str, str]]:
    """Name, IoU and share of the labelled pixels, a row per class."""
    shares = confusion.counts.sum(1) / max(1, confusion.counts.sum())
    figures = zip(classes.names, confusion.iou(), shares, strict=True)
    return [(name, figure(iou), f"{share:.2%}") for name, iou, share in figures]


def figure(value: float | None) -> str:
    """Four digits; "-" for what is missing."""
    return "-" if value is None or np.isnan(value) else f"{value:.4f}"
