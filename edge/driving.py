"""What a driver would want to know in metres and seconds: someone on the way, near or soon reached; the line under the
wheels; the road that ends. It takes a camera model (docs/metres.md).

A figure that falls to a limit, and stays there, begins an event; one that rises above another ends it. What is unknown
neither begins an event nor, for a while, ends it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field, model_validator

from edge.classes import ClassTable
from edge.config import StrictModel
from edge.frame import Frame
from edge.geometry.lane import EgoLane
from edge.hysteresis import Hysteresis
from edge.instances import CUT, Instance
from edge.prediction import Prediction
from edge.visits import GONE_NS, ROAD, Event, follows, stands_on

log = logging.getLogger(__name__)
STANDING_M_S = 1.0  # slower than this a car counts as standing: GPS says little

PERSON_NEAR, PERSON_SOON, LANE_DEPARTURE, ROAD_SHORT = "person_near", "person_soon", "lane_departure", "road_short"
PERSON_EVENTS = (PERSON_NEAR, PERSON_SOON)
NAMES = (*PERSON_EVENTS, LANE_DEPARTURE, ROAD_SHORT)


class Falling(StrictModel):
    """A figure begins an event at `begin` or below, kept for `hold_s` seconds; it ends at `end` or above, likewise."""

    begin: float = Field(gt=0, le=200)
    end: float = Field(gt=0, le=200)
    hold_s: float = Field(default=0.2, ge=0, le=60)

    @model_validator(mode="after")
    def _are_in_order(self) -> Falling:
        if self.end < self.begin:
            raise ValueError(f"end ({self.end:g}) must not be below begin ({self.begin:g}): the figure falls")
        return self


class PersonLimits(Falling):
    """Of each person by itself: metres ahead (`person_near`), or seconds until the car is there (`person_soon`).

    Attributes:
        groups: who counts.
        where: "road": whoever stands on what the mask calls road, or in the lane; "lane": in the lane alone, where both
            of its boundaries are known.
    """

    groups: tuple[Literal["pedestrian", "cyclist"], ...] = Field(default=("pedestrian",), min_length=1)
    where: Literal["road", "lane"] = "road"


class LaneLimits(Falling):
    """Of the metres between a side of the car and the lane's boundary there; less than 0 is over the line.

    Attributes:
        width_m: of the car, at its tyres.
        lens_right_m: how far the lens is to the right of the car's middle.
    """

    begin: float = Field(ge=-2, le=3)
    end: float = Field(ge=-2, le=3)
    hold_s: float = Field(default=0.3, ge=0, le=60)
    width_m: float = Field(default=1.8, gt=0.3, le=4)
    lens_right_m: float = Field(default=0.0, ge=-2, le=2)

    def nearest(self, lane: EgoLane) -> tuple[str, float] | None:
        """The side whose boundary is nearer, and how far it is from there; None where no marking and no curb is known.
        The edge of a mask is too uncertain for an alarm.
        """
        half = self.width_m / 2
        sides: list[tuple[str, float]] = []
        if lane.left is not None and lane.left.kind != "road_edge":
            sides.append(("left", -lane.left.offset_m - self.lens_right_m - half))
        if lane.right is not None and lane.right.kind != "road_edge":
            sides.append(("right", lane.right.offset_m + self.lens_right_m - half))
        return min(sides, key=lambda side: side[1], default=None)


@dataclass(frozen=True)
class _Mirrored:
    """Limits of a figure that rises, of those of one that falls."""

    begin: float
    end: float
    hold_s: float


@dataclass
class _Watched:
    """A figure over time. `figure` is the last, `value` the last that was finite, `facts` what was known then."""

    state: Hysteresis
    known_ns: int = 0
    figure: float = math.inf
    value: float = 0.0
    facts: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def of(cls, limits: Falling) -> _Watched:
        return cls(Hysteresis(_Mirrored(-limits.begin, -limits.end, limits.hold_s)))

    def update(self, value: float, now_ns: int, facts: Mapping[str, object]) -> bool:
        """Whether an event begins or ends with the figure; infinite: there is nothing to warn of."""
        self.known_ns, self.figure = now_ns, value
        if math.isfinite(value):
            self.value, self.facts = value, facts
        return self.state.update(-value, now_ns)

    def is_over(self, now_ns: int) -> bool:
        """Whether the figure is unknown for too long."""
        return now_ns - self.known_ns > GONE_NS


class Driving:
    """Looks at one camera's results in turn, which come in order; some may be missing."""

    def __init__(self, limits: Mapping[str, Falling], table: ClassTable) -> None:
        """`limits` by the events' names, of those that are watched for.

        Raises:
            ConfigError: the engine has no road, or no such group.
        """
        self._limits = limits
        self._road = table.membership(ROAD) if limits else None
        self._ids = {
            name: {number for group in one.groups for number in table.ids(group)}
            for name, one in limits.items()
            if isinstance(one, PersonLimits)
        }
        self._group_of = {i: g for g in ("pedestrian", "cyclist") if g in table.groups for i in table.ids(g)}
        self._watched: dict[tuple[str, int], _Watched] = {}  # by event, and track or 0
        self._last: Frame | None = None
        self._warned = False

    @property
    def active(self) -> dict[str, bool]:
        """Of every event that is watched for: whether it is going on, of anyone."""
        on = {name for (name, _), one in self._watched.items() if one.state.active}
        return {name: name in on for name in self._limits}

    def look(self, result: Prediction) -> list[Event]:
        """The events that this result begins or ends. Where it does not follow the last one, all have ended."""
        if not self._limits:
            return []
        frame, events = result.frame, list[Event]()
        if self._last is not None and not follows(frame, self._last):
            events += self._ended(list(self._watched), self._last)
        self._last = frame
        if result.free_space is None and result.lane is None and not self._warned:
            self._warned = True
            log.warning("events: %s: results are not in metres. Give a camera model", ", ".join(self._limits))
        for key, value, facts in self._figures(result):
            one = self._watched.get(key) or self._watched.setdefault(key, _Watched.of(self._limits[key[0]]))
            if one.update(value, frame.taken_ns, facts):
                events.append(_event(key[0], one, frame))
        over = [key for key, one in self._watched.items() if one.is_over(frame.taken_ns)]
        return events + self._ended(over, frame)

    def _figures(self, result: Prediction) -> Iterator[tuple[tuple[str, int], float, Mapping[str, object]]]:
        """Event and track, figure and facts of all that is known of this result."""
        for name, limits in self._limits.items():
            if isinstance(limits, PersonLimits):
                yield from self._of_people(name, limits, result)
            elif isinstance(limits, LaneLimits):
                if result.lane is not None and (nearest := limits.nearest(result.lane)) is not None:
                    side, margin_m = nearest
                    yield (name, 0), margin_m, {"side": side, "margin_m": round(margin_m, 2)}
            elif result.free_space is not None and (ahead_m := result.free_space.ahead_m) is not None:
                yield (name, 0), ahead_m, {"ahead_m": ahead_m}

    def _of_people(
        self, name: str, limits: PersonLimits, result: Prediction
    ) -> Iterator[tuple[tuple[str, int], float, Mapping[str, object]]]:
        fix = result.frame.fix
        speed = None if fix is None else fix.speed_m_s
        for one in result.instances or ():
            if one.track_id is None or one.class_id not in self._ids[name]:
                continue
            key = name, one.track_id
            if one.distance_m is None:
                # Whose feet are below the image is nearer than can be measured: what was known of them holds on.
                if one.no_distance == CUT and (last := self._watched.get(key)) is not None:
                    yield key, last.figure, last.facts
                continue
            time_s = _time_s(one.distance_m, speed)
            figure = one.distance_m if name == PERSON_NEAR else time_s
            if figure is not None:
                figure = figure if self._is_in_the_way(one, limits, result) else math.inf
                yield key, figure, self._facts(one, time_s)

    def _is_in_the_way(self, one: Instance, limits: PersonLimits, result: Prediction) -> bool:
        assert self._road is not None
        return bool(one.in_lane) or (limits.where == "road" and stands_on(self._road, one, result))

    def _facts(self, one: Instance, time_s: float | None) -> dict[str, object]:
        facts = {"track_id": one.track_id, "group": self._group_of[one.class_id], "distance_m": one.distance_m}
        known = {"time_s": round(time_s, 2) if time_s is not None and math.isfinite(time_s) else None}
        known["in_lane"] = one.in_lane
        return {**facts, **{name: value for name, value in known.items() if value is not None}}

    def _ended(self, keys: list[tuple[str, int]], frame: Frame) -> list[Event]:
        """The ends of all events of these; they are not watched any more."""
        gone = [(name, self._watched.pop((name, track))) for name, track in keys]
        active = [(name, one) for name, one in gone if one.state.active]
        for _, one in active:
            one.state.active = False
        return [_event(name, one, frame) for name, one in active]


def _time_s(distance_m: float, speed_m_s: float | None) -> float | None:
    """Until the car is there, if it goes on like that; None where its speed is unknown."""
    if speed_m_s is None:
        return None
    return distance_m / speed_m_s if speed_m_s >= STANDING_M_S else math.inf


def _event(name: str, one: _Watched, frame: Frame) -> Event:
    return Event(name, one.state.active, frame.captured_ns, frame.index, one.value, facts=one.facts)
