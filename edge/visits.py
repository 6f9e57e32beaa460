"""Who is where, since when: people on the road and in zones, one by one, counted as they enter and leave.

Each track has a state of its own for each place. Someone who is not seen for a moment stays where they were for as long
as the tracker waits for them, so that one visit gives one event at its beginning and one at its end.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BeforeValidator, Field, Strict, field_validator

from edge.classes import ClassTable
from edge.config import StrictModel
from edge.frame import Frame, Letterbox
from edge.hysteresis import Hysteresis
from edge.instances import Instance
from edge.prediction import Prediction
from edge.status import Status
from edge.steps import MAX_GAP_NS
from edge.tracking import LOST_NS

log = logging.getLogger(__name__)
ROAD = "road"  # the place that the mask says, besides the zones
GONE_NS = LOST_NS + 500_000_000  # a track not seen for longer is over; results may be left out under load
ZONE_MIN = 1e-5  # share of the image: two pixels of 640x360
_FOOT = 0.1  # of an object's height: what is beside so much of its lower end, it stands on

Share = Annotated[float, Field(ge=0, le=1)]
# Not strict: behind a validator that runs before, YAML's lists come as lists, and tuples would refuse them.
Corners = Annotated[tuple[Annotated[tuple[Share, Share], Strict(False)], ...], Strict(False)]
PlaceName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]


def _holds_something(zone: Corners) -> Corners:
    if cv2.contourArea(cv2.convexHull(np.array(zone, np.float32))) < ZONE_MIN:
        raise ValueError("the zone holds no pixel: its corners are one point or lie on one line")
    return zone


# Corners as [x, y] in shares of the image's width and height from its upper left.
Zone = Annotated[Corners, Field(min_length=3), AfterValidator(_holds_something)]


def _are_lists(value: Any) -> Any:
    """Before pydantic shows what it found in their place."""
    if isinstance(value, dict) and not all(
        isinstance(one, (list, tuple)) for one in cast("dict[Any, Any]", value).values()
    ):
        raise ValueError("expected a list of corners for each zone, such as {crossing: [[0, 0.5], [1, 0.5], [1, 1]]}")
    return value


Zones = Annotated[dict[PlaceName, Zone], BeforeValidator(_are_lists)]


class VisitOptions(StrictModel):
    """Which objects are followed into which places.

    Attributes:
        groups: of classes, some of `edge.instances.THINGS`.
        road: whether the road is a place.
        zones: further places, by name.
        hold_s: how long someone is in a place before they have entered it, and out of it before they have left.
    """

    groups: tuple[Literal["pedestrian", "cyclist", "vehicle"], ...] = Field(default=("pedestrian",), min_length=1)
    road: bool = True
    zones: Zones = Field(default_factory=dict)
    hold_s: float = Field(default=0.3, ge=0, le=60)

    @field_validator("zones")
    @classmethod
    def _is_free(cls, zones: dict[str, Corners]) -> dict[str, Corners]:
        if ROAD in zones:
            raise ValueError(f"{ROAD} is the road that the mask shows: expected another name")
        return zones


@dataclass(frozen=True)
class Visit:
    """What an event says of who entered or left a place.

    Attributes:
        track_id, group: who.
        place: "road" or a zone's name.
        dwell_s: how long they were there; None while they are.
        now, passed: how many of the group are there, and have been there since the start.
    """

    track_id: int
    group: str
    place: str
    dwell_s: float | None
    now: int
    passed: int

    def as_json(self) -> dict[str, object]:
        """As JSON takes it; without `dwell_s` where that is unknown."""
        values = {name: getattr(self, name) for name in ("track_id", "group", "place", "now", "passed")}
        return values if self.dwell_s is None else {**values, "dwell_s": round(self.dwell_s, 3)}


@dataclass(frozen=True)
class Event:
    """An event that began or ended. `at_ns` is when its frame was captured; `value` the figure then; `visit` says who
    came or went; `facts` are what else is known, as JSON takes it.
    """

    name: str
    active: bool
    at_ns: int
    frame: int
    value: float
    visit: Visit | None = None
    facts: Mapping[str, object] = field(default_factory=dict)

    def about(self) -> dict[str, object]:
        """Whom and what it is about, as JSON takes it."""
        return {**(self.visit.as_json() if self.visit else {}), **self.facts}

    def as_json(self) -> dict[str, object]:
        """The message of a drive's events; `captured_ns` is on the monotonic clock of the machine that recorded."""
        return {
            "event": self.name,
            "active": self.active,
            "captured_ns": self.at_ns,
            "frame": self.frame,
            "value": round(self.value, 5),
            **self.about(),
        }


@dataclass(frozen=True)
class _Bounds:
    """Of a figure that is 0 outside and 1 inside."""

    hold_s: float
    begin: float = 0.5
    end: float = 0.5


@dataclass
class _Stay:
    """One track and one place. Times in ns: since when it has been inside or outside, and since when a visit lasts."""

    state: Hysteresis
    inside: bool = False
    changed_ns: int = 0
    entered_ns: int = 0
    counted: bool = False

    def update(self, inside: bool, now_ns: int) -> bool:
        """Whether a visit begins or ends."""
        if inside != self.inside:
            self.inside, self.changed_ns = inside, now_ns
        if not self.state.update(float(inside), now_ns):
            return False
        if self.state.active:
            self.entered_ns = self.changed_ns
        return True


@dataclass
class _Track:
    group: str
    seen_ns: int
    stays: dict[str, _Stay] = field(default_factory=dict)


class Visits:
    """Follows the objects of one camera's results, which come in order; some may be missing.

    Attributes:
        counts: replaced as a whole, so that any thread may read it.
    """

    def __init__(self, options: VisitOptions, table: ClassTable) -> None:
        """Raises:
        ConfigError: the engine has no such group, or no road.
        """
        self._options = options
        self._group_of = {i: group for group in options.groups for i in table.ids(group)}
        self._road = table.membership(ROAD) if options.road else None
        self._zones = {name: np.array(zone, np.float32) for name, zone in options.zones.items()}
        self._tracks: dict[int, _Track] = {}
        self._warned = False
        self._last: Frame | None = None
        self._letterbox: Letterbox | None = None  # another shape of frames: the tracker began anew
        self._now: Counter[tuple[str, str]] = Counter()
        self._passed: Counter[tuple[str, str]] = Counter()
        self._keys = [(group, place) for group in options.groups for place in self._place_names]
        self.counts = self._counted()

    @property
    def _place_names(self) -> list[str]:
        return [*([ROAD] if self._road is not None else []), *self._zones]

    def _counted(self) -> Status:
        names = {key: "_".join(key).replace("-", "_") for key in self._keys}  # as metrics are called
        passed = {f"{name}_passed": self._passed[key] for key, name in names.items()}
        return Status(totals=passed, levels={f"{name}_now": self._now[key] for key, name in names.items()})

    def look(self, result: Prediction) -> list[Event]:
        """Who enters or leaves with this result. Where it does not follow the last one, all visits ended with that."""
        frame, events = result.frame, list[Event]()
        if result.instances is None and not self._warned:
            self._warned = True
            log.warning("events.tracks: results hold no objects. Write `instances: true` in the config of `edge serve`")
        if self._last is not None and not (follows(frame, self._last) and result.letterbox == self._letterbox):
            events += self._over(list(self._tracks), self._last)
        self._last, self._letterbox, now_ns = frame, result.letterbox, frame.taken_ns
        for one in result.instances or ():
            if one.track_id is not None and (group := self._group_of.get(one.class_id)):
                track = self._tracks.setdefault(one.track_id, _Track(group, now_ns))
                track.seen_ns = now_ns
                events += self._update(one, track, result)
        lost = [number for number, track in self._tracks.items() if now_ns - track.seen_ns > GONE_NS]
        events += self._over(lost, frame)
        if events:
            self.counts = self._counted()
        return events

    def _update(self, one: Instance, track: _Track, result: Prediction) -> Iterator[Event]:
        assert one.track_id is not None
        for place, inside in self._places(one, result):
            if inside or place in track.stays:
                stay = track.stays.setdefault(place, _Stay(Hysteresis(_Bounds(self._options.hold_s))))
                if stay.update(inside, result.frame.taken_ns):
                    end_ns = None if stay.state.active else stay.changed_ns
                    yield self._event(one.track_id, track, place, end_ns, result.frame)

    def _places(self, one: Instance, result: Prediction) -> Iterator[tuple[str, bool]]:
        """Each place, and whether the object stands there."""
        if self._road is not None:
            yield ROAD, stands_on(self._road, one, result)
        width, height = result.frame.size_wh
        foot = (one.box[0] + one.box[2]) / 2 / width, one.box[3] / height
        for name, zone in self._zones.items():
            yield name, cv2.pointPolygonTest(zone, foot, False) >= 0

    def _over(self, numbers: list[int], frame: Frame) -> list[Event]:
        """The ends of all visits of these tracks, which are over."""
        events = list[Event]()
        for number in numbers:
            track = self._tracks.pop(number)
            for place, stay in track.stays.items():
                if stay.state.active:
                    end_ns = track.seen_ns if stay.inside else stay.changed_ns
                    events.append(self._event(number, track, place, end_ns, frame))
        return events

    def _event(self, number: int, track: _Track, place: str, end_ns: int | None, frame: Frame) -> Event:
        key, stay = (track.group, place), track.stays[place]
        self._now[key] += 1 if end_ns is None else -1
        self._passed[key] += end_ns is None and not stay.counted
        stay.counted = True
        dwell_s = None if end_ns is None else (end_ns - stay.entered_ns) / 1e9
        visit = Visit(number, track.group, place, dwell_s, self._now[key], self._passed[key])
        name = "on_road" if place == ROAD else "in_zone"
        return Event(name, end_ns is None, frame.captured_ns, frame.index, dwell_s or 0.0, visit)


def follows(frame: Frame, last: Frame) -> bool:
    """Whether track ids still mean the same. Frames that are left out do no harm: a tracker that was reset gives new
    ids, and the old ones are soon not seen any more. Another source begins with frame 0.
    """
    return frame.index > last.index and 0 <= frame.taken_ns - last.taken_ns <= MAX_GAP_NS


def stands_on(ground: NDArray[np.uint8], one: Instance, result: Prediction) -> bool:
    """Whether most of what is beside and below the object's lower end is ground, uint8 (256,), by the mask."""
    box = result.letterbox
    across, down = box.content_xywh[2] / box.source_wh[0], box.content_xywh[3] / box.source_wh[1]
    semantic = result.content("semantic")
    left, right = round(one.box[0] * across) - 2, round(one.box[2] * across) + 2
    top, bottom = round((one.box[3] - _FOOT * (one.box[3] - one.box[1])) * down) - 1, round(one.box[3] * down) + 2
    around = semantic[max(0, top) : bottom, max(0, left) : right]
    others = around[around != one.class_id]
    return bool(2 * np.count_nonzero(ground[others]) > others.size)
