"""What is found in metres, against a truth in metres, frame by frame: how far people and vehicles are, the lane, the
free road. Rendered streets have such a truth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.frame import Image
from edge.geometry.free_space import FreeSpaceFinder
from edge.geometry.lane import Boundary
from edge.geometry.model import CameraModel
from edge.instances import INSTANCES, Instance, thing_ids
from edge.prediction import Prediction
from edge.street.truth import Placed, StreetCamera, StreetLane, TrueBoundary

Ints = NDArray[np.int64]

# Columns of `FrameMetres.placed`. All lengths are in millimetres: whole numbers add up exactly.
FRAME, CLASS, TRUE_MM, FOUND_MM, SD_MM, ASIDE_MM, PIXELS, HITS, OUTLINE_MM = range(9)
NOT_FOUND, NO_DISTANCE = -1, -2  # in FOUND_MM: no object is this one alone; the one that is has no distance
# OUTLINE_MM is the distance of the true outline's foot: what geometry and nodding cost without any mask.
# Columns of a side of `FrameMetres.lane`.
EXPECTED, FOUND, OFF_MM, IS_KIND = range(4)

NEAR_M, FAR_M = 2.0, 60.0  # whose distance is looked at
AT_M = 10.0  # where the lane's boundaries are compared
LEAST_SEEN_M = 4.0  # of a boundary, for it to be expected
_OWN, _COVERED = 0.7, 0.4  # an object is one thing: of all things in it, so much is this one, of which it has so much
_FEET = 0.08  # the foot is seen where the outline's lower end is so near to where it stands, in heights of a person
_TALL_M = 1.7
_SD_LEAST_DEG = 0.1


@dataclass(frozen=True)
class TrueMetres:
    """What is known of a frame: its camera, who is where, the lane, and class ids and instances, (H, W)."""

    camera: StreetCamera
    places: Sequence[Placed]
    lane: StreetLane
    classes: Image
    instances: NDArray[np.uint16]


@dataclass(frozen=True)
class FrameMetres:
    """One frame, in whole numbers.

    Attributes:
        placed: int64 (n, 9), a row for each person, cyclist and vehicle whose foot is seen.
        lane: int64 (2, 4), left and right: 1 where a boundary is expected, 1 where one is found, how far it is to the
            right of the true one at `AT_M`, 1 where its kind is the true one's.
        free: int64 (2,), how far the road ahead is free, true and found; -1 where it is unknown.
    """

    placed: Ints
    lane: Ints
    free: Ints


def street_model(cameras: Sequence[StreetCamera]) -> CameraModel:
    """The camera of a street's frames as a user would know it: all that is fixed, and the nodding as scatter."""
    pitches = [camera.pitch_deg for camera in cameras]
    return CameraModel(
        height_m=round(float(np.median([camera.height_m for camera in cameras])), 4),
        hfov_deg=round(cameras[0].hfov_deg, 4),
        pitch_deg=round(float(np.median(pitches)), 4),
        pitch_sd_deg=round(max(_SD_LEAST_DEG, float(np.std(pitches))), 3),
    )


class MetresMeasure:
    """Compares the frames of one drive. Any number of threads may, at once."""

    def __init__(self) -> None:
        self._finder: tuple[Any, FreeSpaceFinder] | None = None

    def __call__(self, result: Prediction, truth: TrueMetres) -> FrameMetres:
        """Of a result in metres."""
        sides = [
            _side(None if result.lane is None else getattr(result.lane, side), getattr(truth.lane, side))
            for side in ("left", "right")
        ]
        return FrameMetres(_placed(result, truth), np.array(sides, np.int64), self._free(result, truth))

    def _free(self, result: Prediction, truth: TrueMetres) -> Ints:
        """The road of the true classes, seen through the same camera and cells, and that of the mask."""
        assert result.ground is not None
        if self._finder is None or self._finder[0] != result.letterbox:
            self._finder = (result.letterbox, FreeSpaceFinder(result.ground, result.letterbox))
        road = result.table.membership("road")
        cells = cv2.resize(truth.classes, result.letterbox.content_xywh[2:], interpolation=cv2.INTER_NEAREST_EXACT)
        true = self._finder[1].find(cv2.LUT(cells, road)).ahead_m
        found = None if result.free_space is None else result.free_space.ahead_m
        return np.array([-1 if one is None else _mm(one) for one in (true, found)], np.int64)


def _side(found: Boundary | None, true: TrueBoundary) -> tuple[int, int, int, int]:
    expected = int(true.seen_m >= LEAST_SEEN_M)
    if found is None:
        return expected, 0, 0, 0
    return expected, 1, _mm(found.right_at(AT_M) - true.right_at(AT_M)), int(found.kind == true.kind)


def _placed(result: Prediction, truth: TrueMetres) -> Ints:
    ids = result.letterbox.to_source(result.outputs[INSTANCES])
    counted = thing_ids(result.table)
    rows: list[tuple[int, ...]] = []
    for one in truth.places:
        if one.class_id not in counted or not NEAR_M <= one.near_m < FAR_M:
            continue
        own = truth.instances == one.instance
        if not _foot_is_seen(own, truth.camera, one):
            continue
        pixels = int(np.count_nonzero(own))
        hits = np.count_nonzero(np.isin(ids[own], [i.id for i in result.instances or () if i.class_id == one.class_id]))
        seen = _instance_of(own, ids, one, result, truth)
        row = (result.frame.index, one.class_id, _mm(one.near_m), *_distance(seen, one), pixels, int(hits))
        rows.append((*row, _by_outline(own, result)))
    return np.array(rows, np.int64).reshape(-1, 9)


def _distance(seen: Instance | None, true: Placed) -> tuple[int, int, int]:
    """Found distance, its standard error, and how far to the right of the truth it is."""
    if seen is None:
        return NOT_FOUND, 0, 0
    if seen.distance_m is None or seen.distance_sd_m is None or seen.lateral_m is None:
        return NO_DISTANCE, 0, 0
    return _mm(seen.distance_m), _mm(seen.distance_sd_m), _mm(seen.lateral_m - true.right_m)


def _foot_is_seen(own: NDArray[np.bool_], camera: StreetCamera, one: Placed) -> bool:
    """Whether nothing hides where it stands: its outline goes down to there, above the image's bottom."""
    rows = np.flatnonzero(own.any(axis=1))
    if not len(rows) or rows[-1] + 1 >= len(own):
        return False
    stands = camera.horizon_v + camera.focal_px * camera.height_m / one.near_m
    return abs(rows[-1] + 1 - stands) < _FEET * camera.focal_px * _TALL_M / one.near_m


def _by_outline(own: NDArray[np.bool_], result: Prediction) -> int:
    assert result.ground is not None
    rows, columns = np.flatnonzero(own.any(axis=1)), np.flatnonzero(own.any(axis=0))
    foot = ((columns[0] + columns[-1] + 1) / 2, rows[-1] + 1)
    return _mm(float(result.ground.ground([foot])[0, 1]))


def _instance_of(
    own: NDArray[np.bool_], ids: Image, one: Placed, result: Prediction, truth: TrueMetres
) -> Instance | None:
    """The object of the mask that is this thing alone: it has enough of the thing, and hardly anything of others. What
    it has of the background does not count: masks are wider than people.
    """
    numbers = np.bincount(ids[own], minlength=256)
    numbers[0] = 0
    number = int(np.argmax(numbers))
    of_things = np.count_nonzero(truth.instances[ids == number]) if numbers[number] else 0
    if numbers[number] < _COVERED * np.count_nonzero(own) or numbers[number] < _OWN * of_things:
        return None
    return next((i for i in result.instances or () if i.id == number and i.class_id == one.class_id), None)


def _mm(metres: float) -> int:
    return round(1000 * metres) if math.isfinite(metres) else -1


NO_METRES = FrameMetres(np.zeros((0, 9), np.int64), np.zeros((2, 4), np.int64), np.full(2, -1, np.int64))
