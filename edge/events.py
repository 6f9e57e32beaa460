"""What a driver would want to know, seen in masks: a pedestrian on the way ahead, the road that is gone, a camera that
sees what the net was never shown.

Each is a figure per frame with two limits, one to begin at and one to end at, held for a time: a single odd mask
neither begins nor ends an event.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, cast

import cv2
import numpy as np
from pydantic import Field, field_validator

from edge.card import Fingerprint
from edge.classes import ClassTable
from edge.config import StrictModel
from edge.domain import UNLIKE, RunningMean, describe, ood_score
from edge.driving import NAMES, Driving, Falling, LaneLimits, PersonLimits
from edge.errors import ConfigError
from edge.frame import Image, Letterbox
from edge.hysteresis import Hysteresis
from edge.prediction import Prediction
from edge.status import Status
from edge.visits import Event, PlaceName, VisitOptions, Visits, Zone, Zones

__all__ = ["CameraZones", "Event", "EventOptions", "Limits", "Watcher", "words"]
FIGURE_MAX = 1000.0  # of a figure: the strangest masks have less than 100
NEEDS = {"pedestrian_ahead": "pedestrian", "road_gone": "road"}  # the group or class that an event is about
USUAL_S = 10.0  # the road's usual share is the median over so long


class Limits(StrictModel):
    """A figure begins an event at `begin`, kept for `hold_s`; it ends at `end`, kept for as long."""

    begin: float = Field(gt=0, le=FIGURE_MAX)
    end: float = Field(ge=0, le=FIGURE_MAX)
    hold_s: float = Field(default=0.2, ge=0, le=60)


class CameraZones(StrictModel):
    """What one of several cameras has in place of `EventOptions.zone` and of `VisitOptions.zones`."""

    zone: Zone | None = None
    zones: Zones | None = None


class EventOptions(StrictModel):
    """The events' part of a config file.

    Attributes:
        zone: the way ahead, corners as [x, y] in shares of the image's width and height from its upper left.
        pedestrian_ahead: share of the zone that pedestrians cover.
        road_gone: how much of the zone's usual road is gone, 0 to 1.
        out_of_domain: how strange the masks are over two seconds, 1 = as the strangest frame of the calibration set.
            Of road, streets have 0.2, motorways 0.4 to 0.6, people in a room 1.5, a car park 1.6 (docs/results.md).
        person_near, person_soon: someone on the road ahead or in the lane is nearer than so many metres, or reached in
            so many seconds by the speed that GPS says; lane_departure: so many metres between the car's side and the
            lane's boundary; road_short: the free road ahead is shorter than so many metres. All need a camera model.
        tracks: who is on the road and in zones, one by one; needs instances (docs/instances.md).
        cameras: zones of some of several cameras, by name, in place of those above.
        zones_file: zones that were saved on the page, in place of all these; without `web.token_file` none can be.
    """

    zone: Zone = ((0.42, 0.5), (0.58, 0.5), (0.85, 1.0), (0.15, 1.0))
    pedestrian_ahead: Limits | None = Limits(begin=0.004, end=0.002)
    road_gone: Limits | None = Limits(begin=0.6, end=0.4, hold_s=0.5)
    out_of_domain: Limits | None = Limits(**UNLIKE._asdict())
    person_near: PersonLimits | None = None
    person_soon: PersonLimits | None = None
    lane_departure: LaneLimits | None = None
    road_short: Falling | None = None
    tracks: VisitOptions | None = None
    cameras: dict[PlaceName, CameraZones] = Field(default_factory=dict)
    zones_file: str | None = Field(default=None, min_length=1)

    @field_validator("cameras", mode="before")
    @classmethod
    def _are_sections(cls, value: Any) -> Any:
        if isinstance(value, dict) and not all(isinstance(one, dict) for one in cast("dict[Any, Any]", value).values()):
            raise ValueError(
                "expected a section for each camera, such as {front: {zone: [[0, 0.5], [1, 0.5], [1, 1]]}}"
            )
        return value

    @field_validator("pedestrian_ahead", "road_gone")
    @classmethod
    def _is_share(cls, limits: Limits | None) -> Limits | None:
        if limits is not None and limits.begin > 1:
            raise ValueError(f"begin is a share, expected at most 1, got {limits.begin:g}")
        return limits

    def of_camera(self, name: str) -> EventOptions:
        """The options of the camera of that name, zones of its own in place."""
        own = self.cameras.get(name, CameraZones())
        changes: dict[str, object] = {"cameras": {}}
        if own.zone is not None:
            changes["zone"] = own.zone
        if own.zones is not None and self.tracks is not None:
            changes["tracks"] = self.tracks.model_copy(update={"zones": own.zones})
        return self.model_copy(update=changes)

    def in_metres(self) -> dict[str, Falling]:
        """The limits of the events that need a camera model, by name."""
        asked = {name: getattr(self, name) for name in NAMES}
        return {name: limits for name, limits in asked.items() if limits is not None}


class Watcher:
    """Looks at one camera's results in turn and says which events begin and end."""

    def __init__(self, options: EventOptions, table: ClassTable, fingerprint: Fingerprint | None) -> None:
        """Raises:
        ConfigError: an event is asked for that the engine's classes cannot tell.
        """
        self._options, self._table, self._fingerprint = options, table, fingerprint
        self._states: dict[str, Hysteresis] = {}
        for name, limits in self._wanted(options).items():
            self._states[name] = Hysteresis(limits)
        self._zone: tuple[Letterbox, Image] | None = None
        self._roads: deque[tuple[int, float]] = deque()
        self._running_mean = RunningMean()
        self._visits = Visits(options.tracks, table) if options.tracks else None
        self._driving = Driving(options.in_metres(), table)

    def _wanted(self, options: EventOptions) -> dict[str, Limits]:
        wanted: dict[str, Limits] = {}
        for name in ("pedestrian_ahead", "road_gone", "out_of_domain"):
            limits = getattr(options, name)
            if limits is None or (name == "out_of_domain" and self._fingerprint is None):
                continue
            if name in untellable(self._table):
                raise ConfigError(
                    f"events.{name}: the engine has no group or class {NEEDS[name]!r}; groups:"
                    f" {', '.join(self._table.groups)}; classes: {', '.join(self._table.names)}."
                    f" Switch it off with `{name}: null`"
                )
            wanted[name] = limits
        return wanted

    def set_fingerprint(self, fingerprint: Fingerprint | None) -> None:
        """Of another engine with the same classes, whose masks are looked at from here on; without one, the scene is
        taken for what it was.
        """
        self._fingerprint = fingerprint or self._fingerprint
        self._running_mean = RunningMean()

    @property
    def active(self) -> dict[str, bool]:
        """Of every event that is watched for, by name: whether it is going on."""
        return {name: state.active for name, state in self._states.items()} | self._driving.active

    @property
    def counts(self) -> Status:
        """Of who is and was where; empty unless tracks are followed. Any thread may ask."""
        return self._visits.counts if self._visits else Status()

    def look(self, result: Prediction) -> list[Event]:
        """The events that this result begins or ends."""
        now_ns = result.frame.captured_ns
        events = []
        for name, value in self._figures(result).items():
            state = self._states[name]
            if state.update(value, now_ns):
                events.append(Event(name, state.active, now_ns, result.frame.index, value))
        events += self._driving.look(result)
        return events + (self._visits.look(result) if self._visits else [])

    def _figures(self, result: Prediction) -> dict[str, float]:
        zone = self._zone_of(result.letterbox)
        figures: dict[str, float] = {}
        if "pedestrian_ahead" in self._states:
            figures["pedestrian_ahead"] = self._share(result.semantic, "pedestrian", zone)
        if "road_gone" in self._states:
            figures["road_gone"] = self._road_gone(self._share(result.semantic, "road", zone), result)
        if "out_of_domain" in self._states:
            assert self._fingerprint is not None
            seen = self._running_mean.update(describe(result), result.frame.captured_ns)
            figures["out_of_domain"] = ood_score(seen, self._fingerprint, self._table)
        return figures

    def _share(self, classes: Image, group: str, zone: Image) -> float:
        inside = cv2.bitwise_and(cv2.LUT(classes, self._table.membership(group)), zone)
        return cv2.countNonZero(inside) / max(1, cv2.countNonZero(zone))

    def _road_gone(self, share: float, result: Prediction) -> float:
        """1 - what is left of the usual share; 0 while nothing is usual yet."""
        now_ns = result.frame.captured_ns
        while self._roads and now_ns - self._roads[0][0] > USUAL_S * 1e9:
            self._roads.popleft()
        usual = float(np.median([road for _, road in self._roads])) if len(self._roads) > 5 else 0.0
        if not self._states["road_gone"].active:  # what is usual is not learnt from what is not
            self._roads.append((now_ns, share))
        return max(0.0, 1 - share / usual) if usual > 0.05 else 0.0

    def _zone_of(self, box: Letterbox) -> Image:
        """uint8 (h, w), 1 inside the zone; made once for each shape of frames."""
        if self._zone is None or self._zone[0] != box:
            mask: Image = np.zeros(box.input_wh[::-1], np.uint8)
            x, y, width, height = box.content_xywh
            corners = np.array([(x + cx * (width - 1), y + cy * (height - 1)) for cx, cy in self._options.zone])
            cv2.fillPoly(mask, [np.rint(corners).astype(np.int32)], (1,))
            self._zone = (box, mask)
        return self._zone[1]


def untellable(table: ClassTable) -> list[str]:
    """The events that an engine with such classes cannot tell, and that a config for it switches off."""
    return [name for name, group in NEEDS.items() if group not in (*table.groups, *table.names)]


def words(active: Mapping[str, bool]) -> str:
    """The events that are on, for people."""
    return ", ".join(name.replace("_", " ") for name, on in active.items() if on)
