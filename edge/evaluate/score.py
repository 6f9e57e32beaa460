"""An engine's masks beside their labels: the one loop that builds and cards count by; `edge evaluate` has its own, in
shards (`edge.evaluate.run`), and counts alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge.engine import Engine
from edge.evaluate.labels import Labels
from edge.frame import Image
from edge.pipeline import segment
from edge.prediction import Prediction
from edge.score import Score
from edge.sources.open import open_source


@dataclass(frozen=True)
class Labelled:
    """What an engine saw in a frame, the frame's label, uint8 (H, W) class ids, and what to call it in a complaint."""

    result: Prediction
    truth: Image | None
    where: str


def labelled_results(frames: str, labels: Path | None, engine: Engine) -> Iterator[Labelled]:
    """Every frame of a source through an engine, beside its label; without labels, None is beside it.

    `frames` is a folder of images, matched with labels by name, or a video, whose frame i has the i-th label in name
    order. Labels are one-channel PNG files of class ids; 255 and the card's ignore id do not count.

    Raises:
        DataError: a frame has no label, a label no frame, or one is not readable.
        SourceError: the frames cannot be read, or not all of them.
    """
    source = open_source(frames)
    truths = Labels(source, labels) if labels else None
    count = 0
    for result in segment(source, engine, live=False):
        truth, where = (truths.of(result.frame), truths.where(result.frame)) if truths else (None, "")
        yield Labelled(result, truth, where)
        count += 1
    if truths:
        truths.check_count(count)


def evaluate(frames: str, labels: Path, engine: Engine) -> Score:
    """Segment every frame and compare it with its label, at the label's resolution: see `labelled_results`.

    Raises:
        DataError: labels are not in order, or do not fit their frames or the engine's classes.
        SourceError: the frames cannot be read, or not all of them.
    """
    score = Score(engine.card.table)
    for one in labelled_results(frames, labels, engine):
        score.add(one.truth, one.result.class_map(), one.where)
    return score
