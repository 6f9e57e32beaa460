"""The step that says what is how far, where a camera model is given: distances, speeds, the free road ahead, the lane.

A distance is that of the foot point, the middle of the lower border of an object's box, on a flat road. No distance is
made up: an object without one says why.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from edge.classes import ClassTable
from edge.errors import ConfigError
from edge.frame import Letterbox
from edge.geometry.free_space import SURE_SHARE, FreeSpaceFinder
from edge.geometry.ground import GroundPlane
from edge.geometry.lane import EgoLane
from edge.geometry.lane_finder import LaneFinder
from edge.geometry.lane_points import ROAD, THING
from edge.geometry.lane_tracker import LaneTracker
from edge.instances import ABOVE_HORIZON, CUT, THINGS, TOO_FAR, Instance, thing_ids
from edge.outputs import GRADES
from edge.prediction import Prediction

if TYPE_CHECKING:
    from edge.geometry.model import CameraModel

WINDOW_NS, LEAST_NS = 1_000_000_000, 400_000_000  # a speed is over a second; from less than 0.4 s it is unknown
LEAST_SEEN = 4
SPEED_SD_MAX_M_S = 2.0  # a speed whose standard error is larger is left out
_ROAD = "road"


class Metres:
    """The step: gives objects their place and speed in metres; the prediction its `free_space`, `lane` and `ground`."""

    def __init__(self, model: CameraModel, table: ClassTable) -> None:
        """Raises:
        ConfigError: the engine's classes have neither road nor anything to count.
        """
        self._model, self._has_road = model, _ROAD in table.groups
        if not self._has_road and not thing_ids(table):
            raise ConfigError(
                f"camera model: expected an engine with a group of {', '.join((_ROAD, *THINGS))}, got"
                f" {', '.join(table.groups)}. Name its classes in the card file, under groups:"
            )
        self._cover = table.membership(_ROAD).copy() if self._has_road else None  # ROAD, and THING of who hides it
        if self._cover is not None:
            self._cover[list(thing_ids(table))] = THING
        self._shape: tuple[Letterbox, float] | None = None
        self._speeds, self._lane = Speeds(), LaneTracker()

    def reset(self) -> None:
        """All speeds are unknown again, and the lane is that of the next frame alone."""
        self._speeds, self._lane = Speeds(), LaneTracker()

    def update(self, prediction: Prediction) -> Prediction:
        """The prediction in metres; see `edge.steps.Step.update`.

        Raises:
            ConfigError: frames are of another shape than the camera model's images.
        """
        self._fit(prediction)
        free_space = lane = None
        if self._cover is not None:
            cover = cv2.LUT(np.ascontiguousarray(prediction.content("semantic")), self._cover)
            free_space = self._finder.find(cv2.compare(cover, ROAD, cv2.CMP_EQ))
            seen = self._lanes.find(prediction.frame, cover, prediction.outputs.get(GRADES.name))
            lane = self._lane.update(seen, prediction.frame.taken_ns)
        instances = prediction.instances
        if instances:
            placed = place(instances, self._plane, _cell_px(prediction.letterbox), lane)
            instances = self._speeds.update(placed, prediction.frame.taken_ns)
        return replace(prediction, instances=instances, free_space=free_space, lane=lane, ground=self._plane)

    def _fit(self, prediction: Prediction) -> None:
        """What is worked out once for frames of a shape."""
        shape = (prediction.letterbox, prediction.frame.pixel_aspect)
        if shape != self._shape:
            self._plane = GroundPlane(self._model, prediction.frame.size_wh, prediction.frame.pixel_aspect)
            self._finder = FreeSpaceFinder(self._plane, prediction.letterbox)
            self._lanes = LaneFinder(self._plane, prediction.letterbox)
            self._shape = shape


def place(
    found: Sequence[Instance], plane: GroundPlane, cell_px: float, lane: EgoLane | None = None
) -> tuple[Instance, ...]:
    """The objects with distance, lateral place and standard error, or why they have none; and whether they are in the
    lane. `cell_px` is the height of a cell of the mask in pixels: a foot point is known that well.
    """
    feet = np.array([((one.box[0] + one.box[2]) / 2, one.box[3]) for one in found], np.float64)
    places, sds = plane.ground(feet), plane.distance_sd(feet, cell_px)
    bottom = plane.size_wh[1] * (1 - plane.model.bonnet_share) - cell_px / 2
    placed: list[Instance] = []
    for one, (right, ahead), sd in zip(found, places.tolist(), sds.tolist(), strict=True):
        reason = _no_distance(one, ahead, sd, bottom)
        if reason:
            placed.append(replace(one, distance_m=None, lateral_m=None, distance_sd_m=None, no_distance=reason))
            continue
        far, aside = round(ahead, 2), round(right, 2)
        known = {"distance_m": far, "lateral_m": aside, "distance_sd_m": round(sd, 2), "no_distance": None}
        placed.append(replace(one, **known, in_lane=lane.holds(aside, far) if lane else one.in_lane))
    return tuple(placed)


def _no_distance(one: Instance, ahead: float, sd: float, bottom: float) -> str | None:
    if one.box[3] >= bottom:
        return CUT
    if not math.isfinite(ahead) or ahead <= 0:
        return ABOVE_HORIZON
    return TOO_FAR if not sd <= SURE_SHARE * ahead else None


def _cell_px(box: Letterbox) -> float:
    return box.source_wh[1] / box.content_xywh[3]


class Speeds:
    """How fast tracks move, relative to the camera: a line through their places of the last second, each weighted by
    how well it is known.
    """

    def __init__(self) -> None:
        self._places: dict[int, deque[tuple[int, float, float, float]]] = {}

    def update(self, found: Sequence[Instance], now_ns: int) -> tuple[Instance, ...]:
        """The objects with their speeds, as far as these are known."""
        self._places = {track: kept for track, kept in self._places.items() if now_ns - kept[-1][0] <= WINDOW_NS}
        return tuple(self._with_speed(one, now_ns) for one in found)

    def _with_speed(self, one: Instance, now_ns: int) -> Instance:
        if one.track_id is None or one.distance_m is None or one.lateral_m is None or not one.distance_sd_m:
            return one
        places = self._places.setdefault(one.track_id, deque())
        places.append((now_ns, one.lateral_m, one.distance_m, one.distance_sd_m))
        while now_ns - places[0][0] > WINDOW_NS:
            places.popleft()
        if len(places) < LEAST_SEEN or now_ns - places[0][0] < LEAST_NS:
            return one
        across, ahead, sd = _slopes(np.array(places, np.float64))
        if sd > SPEED_SD_MAX_M_S:
            return one
        return replace(one, speed_m_s=round(math.hypot(across, ahead), 2), closing_m_s=round(-ahead, 2))


def _slopes(places: np.ndarray) -> tuple[float, float, float]:
    """Metres per second to the right and ahead of rows of time (ns), right, ahead and standard error (m); and the
    standard error of the second, by how much the places scatter about their line.
    """
    at_s = (places[:, 0] - places[-1, 0]) / 1e9
    weights = 1 / np.square(places[:, 3])
    weights /= weights.sum()
    off_s = at_s - weights @ at_s
    spread = weights @ np.square(off_s)
    slopes = (weights * off_s) @ places[:, 1:3] / spread
    left = places[:, 1:3] - weights @ places[:, 1:3] - off_s[:, None] * slopes
    variance = weights @ np.square(left[:, 1]) / spread / max(1, len(places) - 2)
    return float(slopes[0]), float(slopes[1]), math.sqrt(variance)
