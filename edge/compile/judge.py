"""How much right an engine loses against its own fp32 graph, frame by frame, and the frames on which it loses most."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from edge.classes import ClassTable
from edge.engine import Engine
from edge.errors import ConfigError
from edge.evaluate import Labelled, labelled_results
from edge.frame import Image
from edge.prediction import Prediction
from edge.score import Score
from edge.segmenter import Segmenter

WORST = 10
CELL_WIDTH, CAPTION_HEIGHT = 320, 20
DISAGREEMENT = "disagreement"
MIOU = "miou"


@dataclass(order=True)
class BadFrame:
    """A frame on which a candidate sees other classes than fp32, by the share of pixels that differ."""

    disagreement: float
    index: int
    name: str = field(compare=False)
    image: Image = field(compare=False, repr=False)
    truth: Image | None = field(compare=False, repr=False)
    reference: Image = field(compare=False, repr=False)
    candidate: Image = field(compare=False, repr=False)


@dataclass
class Judged(Score):
    """What one engine made of the frames, against labels where there are any, and against fp32."""

    differing: int = 0  # pixels, against fp32
    pixels: int = 0
    worst: list[BadFrame] = field(default_factory=list)

    @property
    def disagreement(self) -> float:
        """The part of all pixels that have another class than with fp32."""
        return self.differing / max(1, self.pixels)

    def compare(self, labelled: Labelled, found: Prediction) -> None:
        """Compare one frame, at source size, with what fp32 made of it."""
        wanted, given = labelled.result.class_map(), found.class_map()
        self.add(labelled.truth, given, labelled.where)
        differing = int(np.count_nonzero(wanted != given))
        self.differing += differing
        self.pixels += wanted.size
        frame = found.frame
        share = differing / wanted.size
        if len(self.worst) < WORST or share > self.worst[0].disagreement:
            name = f"{Path(frame.source).name} {frame.index}"
            bad = BadFrame(share, -frame.index, name, frame.image.copy(), labelled.truth, wanted, given)
            heapq.heappush(self.worst, bad)
            if len(self.worst) > WORST:
                heapq.heappop(self.worst)


def judge(
    reference: Engine,
    candidates: Mapping[str, Engine],
    frames: str,
    labels: Path | None,
    on_frame: Callable[[], None] = lambda: None,
) -> tuple[Score, dict[str, Judged]]:
    """What the reference and each candidate make of every frame of a source, with labels or without.

    Raises:
        DataError: labels are missing or do not fit.
        SourceError: the frames cannot be read, or not all of them.
    """
    table = reference.card.table
    own, others = Score(table), {name: Judged(table) for name in candidates}
    asked = {name: Segmenter(engine) for name, engine in candidates.items()}
    for labelled in labelled_results(frames, labels, reference):
        own.add(labelled.truth, labelled.result.class_map(), labelled.where)
        for name, segmenter in asked.items():
            others[name].compare(labelled, segmenter.segment(labelled.result.frame))
        on_frame()
    return own, others


# ---------------------------------------------------------------------------------------------------------- the limits


def parse_limits(text: str, table: ClassTable) -> dict[str, float]:
    """Points that may be lost, from "miou:0.5,road:0.3": of mIoU, a class or group, or "disagreement" with fp32.

    Raises:
        ConfigError: it is not of that form, or names what the table does not have.
    """
    limits: dict[str, float] = {}
    for part in text.split(","):
        name, points = (word.strip() for word in part.partition(":")[::2])
        if name in limits:
            raise ConfigError(f"limit {name}: is given twice")
        try:
            limits[name] = float(points)
        except ValueError as error:
            raise ConfigError(f"a limit is NAME:POINTS, such as miou:0.5,road:0.3; found {part.strip()!r}") from error
    return check_limits(limits, table)


def check_limits(limits: Mapping[str, float], table: ClassTable) -> dict[str, float]:
    """The limits, if each can be judged.

    Raises:
        ConfigError: a name is neither a class nor a group of the table, or a limit is no number of points.
    """
    known = [MIOU, DISAGREEMENT, *table.groups, *table.names]
    for name, points in limits.items():
        if name not in known:
            raise ConfigError(f"limit {name!r}: the engine has no such class or group; there are: {', '.join(known)}")
        if not 0 <= points <= 100:
            raise ConfigError(f"limit {name}: expected points from 0 to 100, got {points:g}")
    return dict(limits)


def points_lost(reference: Score, found: Judged, table: ClassTable, limits: Mapping[str, float]) -> dict[str, float]:
    """Points lost against the reference: of mIoU, of each group, and of what else has a limit; negative is a gain.

    Without labels there is only "disagreement", which is always there.

    Raises:
        ConfigError: a limit is on what does not occur in the labels.
    """
    lost = {DISAGREEMENT: found.disagreement * 100}
    if reference.has_labels:
        lost[MIOU] = (reference.confusion.miou() - found.confusion.miou()) * 100
        for name in dict.fromkeys([*table.groups, *(set(limits) - {MIOU, DISAGREEMENT})]):
            ids = table.ids(name)
            lost[name] = (reference.confusion.group_iou(ids) - found.confusion.group_iou(ids)) * 100
    lost = {name: round(points, 3) for name, points in lost.items() if np.isfinite(points)}
    if missing := [name for name in limits if name not in lost]:
        why = "does not occur in the labels" if reference.has_labels else "needs labels, and there are none"
        raise ConfigError(f"limit {missing[0]}: cannot be judged, it {why}")
    return lost


def broken_limits(lost: Mapping[str, float], limits: Mapping[str, float]) -> list[str]:
    """The limits that do not hold."""
    return [name for name, points in limits.items() if lost[name] > points]


# ----------------------------------------------------------------------------------------------------------- the image


def worst_frames(judged: Judged, table: ClassTable, title: str) -> Image:
    """uint8 BGR: the worst frames, one a row: the frame, its truth where there is one, fp32, the candidate, and in red
    the pixels where these two differ.
    """
    return np.concatenate([_row(bad, table, title) for bad in sorted(judged.worst, reverse=True)])


def _row(bad: BadFrame, table: ClassTable, title: str) -> Image:
    differs = bad.image // 3
    differs[bad.reference != bad.candidate] = (60, 60, 255)
    cells = [(bad.name, bad.image)]
    if bad.truth is not None:
        cells.append(("truth", _coloured(bad.image, bad.truth, table)))
    cells += [
        ("fp32", _coloured(bad.image, bad.reference, table)),
        (title, _coloured(bad.image, bad.candidate, table)),
        (f"{bad.disagreement:.2%} differ", differs),
    ]
    return np.concatenate([_captioned(*cell) for cell in cells], axis=1)


def _coloured(image: Image, classes: Image, table: ClassTable) -> Image:
    """The image under the classes' colours; ids outside the table, unlabelled ones, are black."""
    return cv2.addWeighted(image, 0.3, table.palette_rgb[classes][..., ::-1], 0.7, 0)


def _captioned(text: str, image: Image) -> Image:
    height = round(image.shape[0] * CELL_WIDTH / image.shape[1])
    cell = cv2.resize(image, (CELL_WIDTH, height), interpolation=cv2.INTER_AREA)
    cell[:CAPTION_HEIGHT] //= 4
    cv2.putText(cell, text, (6, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1, cv2.LINE_AA)
    return cell
