"""The step that says what is how far, where a camera model is given: distances, speeds, the free road ahead, the lane.

A distance is that of the foot point, the middle of the lower border of an object's box, on a flat road. No distance is
made up: an object without one says why.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from edge.classes import ClassTable
from edge.errors import ConfigError
from edge.frame import Letterbox, where_any
from edge.geometry.free_space import SURE_SHARE, FreeSpaceFinder
from edge.geometry.ground import GroundPlane
from edge.geometry.lane import EgoLane
from edge.geometry.lane_finder import LaneFinder
from edge.geometry.lane_points import OTHER, ROAD, THING
from edge.geometry.lane_tracker import LaneTracker
from edge.instances import ABOVE_HORIZON, CUT, THINGS, TOO_FAR, Instance, thing_ids
from edge.outputs import GRADES
from edge.prediction import Prediction

if TYPE_CHECKING:
    from edge.geometry.model import CameraModel

WINDOW_NS, LEAST_NS = 1_000_000_000, 400_000_000  # a speed is over a second; from less than 0.4 s it is unknown
LEAST_SEEN = 4
SPEED_SD_MAX_M_S = 2.0  # a speed whose standard error is larger is left out
_AFRESH_NS = 10_000_000_000
_ROAD = "road"
Speed = tuple[float, float]  # relative to the camera, and how fast it comes nearer, metres per second
_Place = tuple[int, float, float, float]  # nanoseconds from the track's begin, metres to the right, ahead, weight


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
        self._road_ids = table.ids(_ROAD) if self._has_road else ()
        self._kinds = np.full(256, OTHER, np.uint8)
        self._kinds[list(self._road_ids)] = ROAD
        self._kinds[list(thing_ids(table))] = THING  # who hides the road
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
        now_ns = prediction.frame.taken_ns
        free_space = lane = None
        if self._has_road:
            mask = prediction.content("semantic")
            free_space = self._finder.find(where_any(mask, self._road_ids))
            grades = prediction.outputs.get(GRADES.name)
            lane = self._lane.update(lambda: self._lanes.find(prediction.frame, mask, grades), now_ns)
        instances = prediction.instances
        if instances:
            cell_px = _cell_px(prediction.letterbox)
            instances = place(instances, self._plane, cell_px, lane, lambda *known: self._speeds.add(now_ns, *known))
        return replace(prediction, instances=instances, free_space=free_space, lane=lane, ground=self._plane)

    def _fit(self, prediction: Prediction) -> None:
        """What is worked out once for frames of a shape."""
        shape = (prediction.letterbox, prediction.frame.pixel_aspect)
        if shape != self._shape:
            self._plane = GroundPlane(self._model, prediction.frame.size_wh, prediction.frame.pixel_aspect)
            self._finder = FreeSpaceFinder(self._plane, prediction.letterbox)
            self._lanes = LaneFinder(self._plane, prediction.letterbox, self._kinds)
            self._shape = shape


def place(
    found: Sequence[Instance],
    plane: GroundPlane,
    cell_px: float,
    lane: EgoLane | None = None,
    speed_of: Callable[[int, float, float, float], Speed | None] | None = None,
) -> tuple[Instance, ...]:
    """The objects with distance, lateral place and standard error, or why they have none; and whether they are in the
    lane. `cell_px` is the height of a cell of the mask in pixels: a foot point is known that well. `speed_of` gives the
    speed of a track that is seen at a lateral place, a distance and a standard error of it.
    """
    feet = plane.feet([((one.box[0] + one.box[2]) / 2, one.box[3]) for one in found], cell_px)
    bottom = plane.size_wh[1] * (1 - plane.model.bonnet_share) - cell_px / 2
    placed: list[Instance] = []
    for one, (right, ahead, sd) in zip(found, feet, strict=True):
        reason = _no_distance(one, ahead, sd, bottom)
        if reason:
            placed.append(one.in_metres(None, reason, one.in_lane, None))
            continue
        far, aside, off = round(ahead, 2), round(right, 2), round(sd, 2)
        speed = None if speed_of is None or one.track_id is None or not off else speed_of(one.track_id, aside, far, off)
        in_lane = lane.holds(aside, far) if lane else one.in_lane
        placed.append(one.in_metres((far, aside, off), None, in_lane, speed))
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
        self._tracks: dict[int, _Track] = {}
        self._now_ns = 0

    def add(self, now_ns: int, track: int, right_m: float, ahead_m: float, sd_m: float) -> Speed | None:
        """The speed of a track that is seen there now, and how fast it comes nearer; None until both are known."""
        if now_ns != self._now_ns:
            self._now_ns = now_ns
            self._tracks = {name: kept for name, kept in self._tracks.items() if kept.is_of(now_ns)}
        found = self._tracks.get(track)
        if found is None:
            found = self._tracks[track] = _Track(now_ns)
        found.add(now_ns, right_m, ahead_m, sd_m)
        return found.speed()


class _Track:
    """The places of a track in the last second, and the sums over them that a line through them takes. Places come and
    go one by one, and so the sums are kept: a camera of 60 frames a second has as many places of each track.
    """

    def __init__(self, begin_ns: int) -> None:
        self._begin_ns = begin_ns
        self._places: deque[_Place] = deque()
        self._sums = [0.0] * 8

    def is_of(self, now_ns: int) -> bool:
        """Whether it was seen in the last second."""
        return now_ns - self._begin_ns - self._places[-1][0] <= WINDOW_NS

    def add(self, now_ns: int, right_m: float, ahead_m: float, sd_m: float) -> None:
        """It is seen there; what is older than a second goes."""
        if now_ns - self._begin_ns > _AFRESH_NS:
            self._begin_again()
        at_ns = now_ns - self._begin_ns
        self._places.append((at_ns, right_m, ahead_m, 1 / (sd_m * sd_m)))
        self._count(self._places[-1], 1)
        while at_ns - self._places[0][0] > WINDOW_NS:
            self._count(self._places.popleft(), -1)

    def speed(self) -> Speed | None:
        """Metres per second, and how many nearer; None until they are known well enough."""
        places = self._places
        if len(places) < LEAST_SEEN or places[-1][0] - places[0][0] < LEAST_NS:
            return None
        w, wt, wtt, wx, wtx, wz, wtz, wzz = self._sums
        middle_s, middle_m = wt / w, wz / w
        spread = wtt / w - middle_s * middle_s
        across, ahead = (wtx / w - middle_s * wx / w) / spread, (wtz / w - middle_s * middle_m) / spread
        # How much the places scatter about the line is how well its slope is known.
        left = max(0.0, wzz / w - middle_m * middle_m - ahead * ahead * spread)
        if math.sqrt(left / spread / max(1, len(places) - 2)) > SPEED_SD_MAX_M_S:
            return None
        return round(math.hypot(across, ahead), 2), round(-ahead, 2)

    def _count(self, place: _Place, sign: int) -> None:
        at_s, right, ahead, weight = place[0] / 1e9, place[1], place[2], place[3] * sign
        sums = self._sums
        sums[0] += weight
        sums[1] += weight * at_s
        sums[2] += weight * at_s * at_s
        sums[3] += weight * right
        sums[4] += weight * right * at_s
        sums[5] += weight * ahead
        sums[6] += weight * ahead * at_s
        sums[7] += weight * ahead * ahead

    def _begin_again(self) -> None:
        """Sums anew from the places, with times from the first of these: rounding does not add up."""
        begin_ns = self._places[0][0]
        self._begin_ns += begin_ns
        self._places = deque((at - begin_ns, right, ahead, weight) for at, right, ahead, weight in self._places)
        self._sums = [0.0] * 8
        for place in self._places:
            self._count(place, 1)
