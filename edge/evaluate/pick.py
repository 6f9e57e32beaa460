"""Which frames are most worth labelling, and a folder of them that training reads as it is."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.classes import ClassTable
from edge.errors import OutputError
from edge.evaluate.figures import flicker_of, ratio
from edge.evaluate.records import Counts, Records
from edge.evaluate.run import DriveResult, Worker
from edge.evaluate.worst import Place, thinned, visits
from edge.frame import Image
from edge.sinks.files import write_bytes, write_text

FRAMES, LABELS, REASONS, CLASS_NAMES = "frames", "labels", "picked.csv", "classes.txt"
_APART = (4.0, 2.0, 1.0, 0.5, 0.25, 0.0)  # seconds between picked frames: as many as leave enough to pick


@dataclass(frozen=True)
class Reasons:
    """Why frames may be worth a label; columns (N,), NaN where unknown, the higher the more.

    Attributes:
        mirror: the part of the image that the engine sees otherwise in its mirror image: what it is unsure of, for
            little on a road depends on left and right. Engines give classes, not probabilities, so entropy is out.
        engines: the part in which two engines differ; unknown without a second one.
        flicker: the part that changed class along the motion of the image.
        rarity: bits a pixel needs to say its class, given how often classes occur in all drives: many pixels of rare
            classes.
    """

    mirror: NDArray[np.float64]
    engines: NDArray[np.float64]
    flicker: NDArray[np.float64]
    rarity: NDArray[np.float64]

    @classmethod
    def of(cls, records: Records, all_seen: Counts) -> Reasons:
        """`all_seen` is (C,): pixels of each predicted class in all drives."""
        bits = -np.log2(np.maximum(all_seen, 1) / max(1, all_seen.sum()))
        rarity = records.seen @ bits / np.maximum(1, records.seen.sum(1))
        return cls(1 - ratio(*records.mirrored.T), 1 - ratio(*records.agreement.T), flicker_of(records), rarity)


def pick_frames(results: Sequence[DriveResult], worker: Worker, table: ClassTable, count: int, folder: Path) -> str:
    """Write the frames most worth a label into `folder`, with the engine's masks to start from, and say how many.

    `folder` holds `frames/*.png` with `labels/*.png`, class ids, which is the layout "pairs" of recipes, the classes'
    names by id in `classes.txt`, where `edge train --data` reads them, and `picked.csv`: why each was picked. Frames
    that have a label are not picked.

    Raises:
        OutputError: the folder holds something, or cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder}: is not empty; new labels would mix with those of before. Name another folder.")
    ranked, reasons = ranked_places(results)
    chosen = diverse(ranked, count)
    for place, seen in visits(chosen, worker, table):
        name = f"{stem_of(place)}.png"
        write_bytes(folder / FRAMES / name, _png(seen.result.frame.image))
        write_bytes(folder / LABELS / name, _png(seen.result.class_map()))
    write_text(folder / CLASS_NAMES, "".join(f"{name}\n" for name in table.names))
    write_text(folder / REASONS, _csv(chosen, reasons))
    return f"{len(chosen)} frames to label in {folder / FRAMES}, with masks to correct in {folder / LABELS}"


def ranked_places(results: Sequence[DriveResult]) -> tuple[list[Place], dict[str, Reasons]]:
    """All frames without label, the most worthwhile first, and each drive's reasons.

    A frame's worth is the mean of its ranks in each reason, among all frames: they have different units.
    """
    measured = [(result, result.measured.records) for result in results if result.measured]
    seen = sum((records.seen.sum(0) for _, records in measured), np.int64(0))
    reasons = {result.drive.name: Reasons.of(records, np.asarray(seen)) for result, records in measured}
    ranks = []
    for column in vars(next(iter(reasons.values()))):
        values = np.concatenate([getattr(reasons[result.drive.name], column) for result, _ in measured])
        if np.isfinite(values).any():
            ranks.append(_ranks(values))
    worth = np.mean(ranks, axis=0)
    places, first = [], 0
    for result, records in measured:
        rows = np.flatnonzero(records.labelled == 0)
        places += [Place(result, int(row), float(worth[first + row])) for row in rows]
        first += len(records)
    return sorted(places, key=lambda place: -place.score), reasons


def diverse(ranked: Sequence[Place], count: int) -> list[Place]:
    """The first so many that lie as far apart as leaves enough of them: neighbours teach the same."""
    chosen: list[Place] = []
    for apart in _APART:
        chosen = thinned(ranked, count, apart)
        if len(chosen) == min(count, len(ranked)):
            break
    return chosen


def stem_of(place: Place) -> str:
    """A file's name without suffix, from which layouts read the drive: what stands before the number."""
    drive = re.sub(r"[^A-Za-z0-9]+", "-", place.result.drive.name.rpartition("/")[2]).strip("-")
    return f"{drive or 'drive'}_{place.index:06d}"


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) from 0 to 1; equal values share one, unknown ones are in the middle."""
    known = np.isfinite(values)
    distinct, place = np.unique(values[known], return_inverse=True)
    ranks = np.full(len(values), 0.5)
    ranks[known] = place / max(1, len(distinct) - 1)
    return ranks


def _csv(chosen: Sequence[Place], reasons: dict[str, Reasons]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["file", "drive", "index", "media_s", "worth", *Reasons.__dataclass_fields__])
    for place in chosen:
        media_ns = int(place.records.media_ns[place.row])
        why = [float(column[place.row]) for column in vars(reasons[place.result.drive.name]).values()]
        writer.writerow(
            [
                f"{stem_of(place)}.png",
                place.result.drive.name,
                place.index,
                "" if media_ns < 0 else f"{media_ns / 1e9:.3f}",
                f"{place.score:.4f}",
                *("" if np.isnan(value) else f"{value:.5f}" for value in why),
            ]
        )
    return file.getvalue()


def _png(image: Image) -> bytes:
    _, encoded = cv2.imencode(".png", image)
    return encoded.tobytes()
