"""The frames on which an engine did worst, and images of them."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.classes import ClassTable
from edge.evaluate.figures import flicker_of, frame_miou, ratio
from edge.evaluate.labels import ignored_ids
from edge.evaluate.records import Records
from edge.evaluate.reprocess import Seen, reprocess
from edge.evaluate.run import DriveResult, Worker
from edge.frame import Image

COUNT = 12
WIDTH_PX = 480
APART_NS = 1_000_000_000  # neighbours look alike: one of them will do
_APART_FRAMES = 15  # where frames have no times
_QUALITY = 82
_TRUE_BGR, _FOUND_BGR, _WRONG_BGR = (255, 255, 255), (255, 60, 255), (0, 230, 255)


@dataclass(frozen=True)
class Place:
    """One frame of the results, and how bad it is: `score` is the higher the worse."""

    result: DriveResult
    row: int
    score: float

    @property
    def records(self) -> Records:
        """Those of its whole drive."""
        assert self.result.measured is not None
        return self.result.measured.records

    @property
    def index(self) -> int:
        """The frame's, from 0."""
        return int(self.records.index[self.row])

    def is_near(self, other: Place, apart: float = 1.0) -> bool:
        """Within a second of the same drive, or within the given part of one."""
        if self.result is not other.result:
            return False
        times = self.records.media_ns[[self.row, other.row]]
        if (times >= 0).all():
            return abs(int(times[0] - times[1])) < apart * APART_NS
        return abs(self.index - other.index) < apart * _APART_FRAMES


def badness(records: Records, table: ClassTable) -> tuple[str, NDArray[np.float64]]:
    """What frames are ranked by, and (N,) how bad each is, NaN where that is unknown: mIoU where there are labels, else
    the other engine's disagreement, else flicker.
    """
    if len(records.label_rows):
        scores = np.full(len(records), np.nan)
        scores[records.label_rows] = 1 - frame_miou(records, table)
        return "mIoU", scores
    if records.agreement.any():
        return "agreement", 1 - ratio(*records.agreement.T)
    return "flicker", flicker_of(records)


def worst_places(results: Sequence[DriveResult], table: ClassTable, count: int = COUNT) -> list[Place]:
    """The worst frames of all drives, no two within a second of each other. Drives with labels come first."""
    places: list[Place] = []
    labelled = any(r.measured and len(r.measured.records.label_rows) for r in results)
    for result in results:
        if result.measured and bool(len(result.measured.records.label_rows)) == labelled:
            _, scores = badness(result.measured.records, table)
            places += [Place(result, int(row), float(scores[row])) for row in np.flatnonzero(np.isfinite(scores))]
    return thinned(sorted(places, key=lambda place: -place.score), count)


def thinned(places: Iterable[Place], count: int, apart: float = 1.0) -> list[Place]:
    """The first so many that are not near one another."""
    chosen: list[Place] = []
    for place in places:
        if len(chosen) == count:
            break
        if not any(place.is_near(other, apart) for other in chosen):
            chosen.append(place)
    return chosen


@dataclass(frozen=True)
class Shot:
    """A frame in two JPEG images, as data URIs: with outlines, and in the classes' colours."""

    place: Place
    outlined: str
    coloured: str


def shots_of(places: Sequence[Place], worker: Worker, table: ClassTable) -> list[Shot]:
    """Images of these frames, in their order.

    Raises:
        SourceError, DataError: a drive or its labels are gone.
    """
    shots: dict[tuple[str, int], Shot] = {}
    for place, seen in visits(places, worker, table):
        outlined, coloured = images_of(seen, table)
        shots[place.result.drive.name, place.index] = Shot(place, data_uri(outlined), data_uri(coloured))
    keys = [(place.result.drive.name, place.index) for place in places]
    return [shots[key] for key in keys if key in shots]


def visits(places: Sequence[Place], worker: Worker, table: ClassTable) -> Iterator[tuple[Place, Seen]]:
    """Each place's frame again, drive by drive."""
    by_drive: dict[str, list[Place]] = {}
    for place in places:
        by_drive.setdefault(place.result.drive.name, []).append(place)
    for group in by_drive.values():
        by_index = {place.index: place for place in group}
        for seen in reprocess(group[0].result.drive, list(by_index), worker, table):
            yield by_index[seen.result.frame.index], seen


def images_of(seen: Seen, table: ClassTable) -> tuple[Image, Image]:
    """uint8 BGR: the frame with true (white) and found (magenta) outlines; the found classes, wrong in yellow."""
    frame, found = seen.result.frame, seen.result.class_map()
    size_wh = (WIDTH_PX, max(1, round(frame.size_wh[1] * WIDTH_PX / frame.size_wh[0])))
    image = cv2.resize(frame.image, size_wh, interpolation=cv2.INTER_AREA)
    found = cv2.resize(found, size_wh, interpolation=cv2.INTER_NEAREST_EXACT)
    outlined = image.copy()
    coloured = cv2.addWeighted(image, 0.35, table.palette_rgb[found][..., ::-1], 0.65, 0)
    outlined[edges_of(found)] = _FOUND_BGR
    if seen.truth is not None:
        truth = cv2.resize(seen.truth, size_wh, interpolation=cv2.INTER_NEAREST_EXACT)
        unknown = np.isin(truth, ignored_ids(table))
        coloured[(truth != found) & ~unknown] = _WRONG_BGR
        coloured[unknown] //= 4
        outlined[edges_of(truth)] = _TRUE_BGR
    return outlined, coloured


def edges_of(ids: Image) -> NDArray[np.bool_]:
    """bool (H, W): where a map of ids changes."""
    return cv2.morphologyEx(ids, cv2.MORPH_GRADIENT, np.ones((2, 2), np.uint8)) > 0


def data_uri(image: Image) -> str:
    """An image as a page's own JPEG."""
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
