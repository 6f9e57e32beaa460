"""Which true object and which found one share how many pixels: what all figures of objects are made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.errors import DataError
from edge.instances import INSTANCES, Instance, thing_ids
from edge.prediction import Prediction

Ints = NDArray[np.int64]
MASKS, BOXES = 1, 2  # kinds of truth: which pixels are whose, or boxes alone
BACKGROUND = 256  # the number of a class that is not counted is this + its id, as in `Prediction.panoptic`
_BEHIND = 1 << 16  # the number of a class of a true map, behind those of its objects
_BOX_UNITS = 100  # areas of boxes are in hundredths of a pixel: whole numbers add up exactly

# Columns of the three tables. Every row begins with its frame's index.
FRAME, NUMBER, CLASS, TRACK = range(4)  # of truths and of found objects; TRACK is 0 where it is unknown
COUNTS, TRUE_AREA = 4, 5  # of truths: 0 in COUNTS is neither demanded nor punished (COCO's crowd)
SCORE, VOID, AREA = 4, 5, 6  # of found objects: 10,000 x confidence, -1 unknown; pixels of unknown truth; all pixels
TRUE, FOUND, SHARED = 1, 2, 3  # of overlaps: numbers of both, and the pixels that they share


@dataclass(frozen=True)
class TrueObjects:
    """The truth of one frame.

    Attributes:
        rows: int64 (T, 4) number, class id, track (0 = none) and whether it counts (0 or 1), a row for each object and
            for each class of background.
        ids: int32 (H, W), the number of each pixel's row, 0 = unknown, at most some 100,000; None where truth is boxes.
        boxes: float (T, 4) left, top, width and height in pixels; None where truth is masks.
    """

    rows: Ints
    ids: NDArray[np.int32] | None = None
    boxes: NDArray[np.float64] | None = None


def objects_of_maps(
    classes: NDArray[np.uint8],
    instances: NDArray[np.uint16],
    things: Sequence[int],
    ignored: Sequence[int],
    least: float,
) -> TrueObjects:
    """The objects of two maps (H, W), class ids and instance numbers, 0 for none. What is of a class of `things` and
    has no number does not count, and neither does an object that is smaller than the part `least` of the frame.
    """
    ids = np.where(instances > 0, instances, np.int32(_BEHIND) + classes)
    areas = np.bincount(ids.ravel())
    class_of = np.zeros(len(areas), np.int64)
    class_of[ids] = classes
    numbers = np.flatnonzero(areas)
    numbers = numbers[~np.isin(class_of[numbers], ignored)]
    is_one = numbers < _BEHIND
    counts = np.where(is_one, areas[numbers] >= least * ids.size, ~np.isin(class_of[numbers], things))
    return TrueObjects(np.stack([numbers, class_of[numbers], np.where(is_one, numbers, 0), counts], axis=1), ids)


@dataclass(frozen=True)
class Overlaps:
    """Of one frame: `truths` int64 (T, 6), `found` (F, 7), `overlaps` (P, 4), whose columns are named above."""

    kind: int
    truths: Ints
    found: Ints
    overlaps: Ints


NOTHING = Overlaps(0, np.zeros((0, 6), np.int64), np.zeros((0, 7), np.int64), np.zeros((0, 4), np.int64))


def overlaps_of(result: Prediction, truth: TrueObjects) -> Overlaps:
    """What a result and the truth of its frame share.

    Raises:
        DataError: the truth is of another size than the frame.
    """
    if truth.ids is not None:
        return _of_masks(result, truth.rows, truth.ids)
    boxes = np.zeros((0, 4)) if truth.boxes is None else truth.boxes
    return _of_boxes(result, truth.rows, boxes)


def _of_masks(result: Prediction, rows: Ints, ids: NDArray[np.int32]) -> Overlaps:
    if ids.shape != result.frame.size_wh[::-1]:
        expected, found = result.frame.size_wh, ids.shape[::-1]
        raise DataError(f"expected objects of the frame's size {expected[0]}x{expected[1]}, got {found[0]}x{found[1]}")
    seen = _found_ids(result)
    numbers, places = _dense(ids)
    shared = np.bincount(places.ravel() * (2 * BACKGROUND) + seen.ravel(), minlength=len(numbers) * 2 * BACKGROUND)
    shared = shared.reshape(len(numbers), 2 * BACKGROUND)
    areas = dict(zip(numbers.tolist(), shared.sum(1).tolist(), strict=True))
    rows = rows[[areas.get(number, 0) > 0 for number in rows[:, 0].tolist()]]
    known = np.isin(numbers, rows[:, 0])
    void, seen_areas = shared[~known].sum(0), shared.sum(0)
    found = [
        (number, class_id, track, score, int(void[number]), int(seen_areas[number]))
        for number, class_id, track, score in _found_rows(result)
        if seen_areas[number]
    ]
    true_places, seen_places = np.nonzero(np.where(known[:, None], shared, 0)[:, 1:])
    pairs = np.stack([numbers[true_places], seen_places + 1, shared[true_places, seen_places + 1]], axis=1)
    true_areas = np.array([areas[number] for number in rows[:, 0].tolist()], np.int64)
    return _tables(result, MASKS, np.column_stack([rows, true_areas]), np.array(found, np.int64).reshape(-1, 6), pairs)


def _dense(ids: NDArray[np.int32]) -> tuple[Ints, Ints]:
    """The numbers that occur, ascending, and the place of each pixel's among them."""
    there = np.zeros(int(ids.max(initial=0)) + 1, np.bool_)
    there[ids] = True
    numbers = np.flatnonzero(there)
    table = np.zeros(len(there), np.int64)
    table[numbers] = np.arange(len(numbers))
    return numbers, table[ids]


def _found_ids(result: Prediction) -> NDArray[np.int64]:
    """(H, W) as `Prediction.panoptic` numbers them; 0 for what is too small to be an object."""
    number = result.letterbox.to_source(result.outputs[INSTANCES]).astype(np.int64)
    background = np.arange(BACKGROUND, 2 * BACKGROUND)
    background[list(thing_ids(result.table))] = 0
    return np.where(number > 0, number, background[result.class_map()])


def _found_rows(result: Prediction) -> list[tuple[int, int, int, int]]:
    things = [(one.id, one.class_id, one.track_id or 0, _score(one)) for one in result.instances or ()]
    return things + [(BACKGROUND + class_id, class_id, 0, -1) for class_id in range(len(result.table))]


def _score(one: Instance) -> int:
    return -1 if one.confidence is None else round(10_000 * one.confidence)


def _of_boxes(result: Prediction, rows: Ints, boxes: NDArray[np.float64]) -> Overlaps:
    """Of the classes that the truth speaks of."""
    seen = [one for one in result.instances or () if one.class_id in rows[:, 1]] if len(rows) else []
    corners = np.array([one.box for one in seen], np.float64).reshape(-1, 4)
    ends = boxes[:, :2] + boxes[:, 2:]
    high = np.minimum(ends[:, None], corners[None, :, 2:])
    shared = np.maximum(0, high - np.maximum(boxes[:, None, :2], corners[None, :, :2])).prod(-1)
    areas = (corners[:, 2:] - corners[:, :2]).prod(1)
    found = [
        (one.id, one.class_id, one.track_id or 0, _score(one), 0, area)
        for one, area in zip(seen, _units(areas).tolist(), strict=True)
    ]
    at, of = np.nonzero(shared)
    numbers = np.array([one.id for one in seen], np.int64)
    pairs = np.stack([rows[at, 0], numbers[of], _units(shared[at, of])], axis=1)
    truths = np.column_stack([rows, _units(boxes[:, 2:].prod(1))])
    return _tables(result, BOXES, truths, np.array(found, np.int64).reshape(-1, 6), pairs)


def _units(areas: NDArray[np.float64]) -> Ints:
    return np.rint(areas * _BOX_UNITS).astype(np.int64)


def _tables(result: Prediction, kind: int, *tables: Ints) -> Overlaps:
    index = result.frame.index
    return Overlaps(kind, *(np.insert(np.asarray(table, np.int64), 0, index, axis=1) for table in tables))
