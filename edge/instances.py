"""Objects one by one: what is known of each person, cyclist and vehicle of a frame, and its form in JSON.

`edge.grouping` finds them; `Prediction.instances` holds them. Imports nothing but the class tables: carriers read and
write objects without knowing how they were found.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from edge.classes import ClassTable
from edge.errors import DataError

INSTANCES = "instances"  # the output's name, and what is asked for
THINGS = ("pedestrian", "cyclist", "vehicle")  # groups whose classes can be counted
ABOVE_HORIZON, CUT, TOO_FAR = "above the horizon", "cut by the image's bottom", "too far to tell"
NO_DISTANCE = (ABOVE_HORIZON, CUT, TOO_FAR)
_MEASURED = ("age_s", "speed_px_s", "distance_m", "lateral_m", "distance_sd_m", "speed_m_s", "closing_m_s")
_UNKNOWN = (None, None, None)
MOST = 255  # objects of a frame: their ids fit a byte

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Instance:
    """One object in one frame. Pixels are the source's; figures are rounded so that JSON gives back the same object.

    Attributes:
        id: 1 to 255, in this frame alone: its number in the output "instances". The largest object has 1.
        class_id, class_name: what it is, by the engine's class table.
        box: left, top, right and bottom in pixels, right and bottom exclusive.
        area: in pixels.
        centre: x and y of its centre of mass, in pixels.
        confidence: mean of the output "confidence" over its pixels, 0 to 1; None where the engine does not compute it.
        track_id: the same from frame to frame for as long as it is followed (`edge.tracking`); None for an object that
            the engine is not sure of and that was not followed before.
        age_s: seconds since it was first seen.
        speed_px_s: of its box's centre, in pixels per second; None where it was seen once.
        distance_m, lateral_m: with a camera model, how far ahead of the lens and to the right of it the object stands,
            on a flat road (`edge.metres`); distance_sd_m: the standard error of the distance.
        no_distance: with a camera model, why the distance is unknown: one of `NO_DISTANCE`.
        in_lane: with a camera model, whether it stands in the lane that the car drives in; None where that is unknown.
        speed_m_s: relative to the camera; closing_m_s: how fast it comes nearer, negative where it draws away. None
            until they are known.
    """

    id: int
    class_id: int
    class_name: str
    box: Box
    area: float
    centre: tuple[float, float]
    confidence: float | None = None
    track_id: int | None = None
    age_s: float | None = None
    speed_px_s: float | None = None
    distance_m: float | None = None
    lateral_m: float | None = None
    distance_sd_m: float | None = None
    no_distance: str | None = None
    speed_m_s: float | None = None
    closing_m_s: float | None = None
    in_lane: bool | None = None

    def followed(self, track_id: int, age_s: float, speed_px_s: float | None) -> Instance:
        """The object with what is known of its track."""
        about = (self.id, self.class_id, self.class_name, self.box, self.area, self.centre, self.confidence)
        return Instance(*about, track_id, age_s, speed_px_s)

    def in_metres(
        self,
        known: tuple[float, float, float] | None,
        unavailable_reason: str | None,
        in_lane: bool | None,
        speed: tuple[float, float] | None,
    ) -> Instance:
        """The object with distance, place to the side and standard error, or why these are unknown; whether it is in
        the lane; speed and closing speed. `dataclasses.replace` takes four times as long, of every object and frame.
        """
        about = (self.id, self.class_id, self.class_name, self.box, self.area, self.centre, self.confidence)
        track = (self.track_id, self.age_s, self.speed_px_s)
        return Instance(*about, *track, *(known or _UNKNOWN), unavailable_reason, *(speed or _UNKNOWN[:2]), in_lane)

    def as_json(self) -> dict[str, object]:
        """As JSON takes it; what is None is left out."""
        values = ((name, getattr(self, name)) for name in self.__slots__)
        return {name: value for name, value in values if value is not None}


def thing_ids(table: ClassTable) -> tuple[int, ...]:
    """The class ids of the groups `THINGS`, as far as the table has them, ascending."""
    return tuple(sorted({i for group in THINGS if group in table.groups for i in table.ids(group)}))


def instances_from_json(rows: object) -> tuple[Instance, ...]:
    """The objects of a list by `Instance.as_json`, as a message or a file has it.

    Raises:
        DataError: it is no such list.
    """
    if not isinstance(rows, list) or len(cast("list[Any]", rows)) > MOST:
        raise DataError(f"instances: expected a list of at most {MOST} objects, got {type(rows).__name__}")
    found = tuple(_instance(row) for row in cast("list[Any]", rows))
    if len({one.id for one in found}) != len(found):
        raise DataError("instances: expected each id once, got one twice")
    return found


def _instance(row: Any) -> Instance:
    if not isinstance(row, dict):
        raise DataError(f"instances: expected an object, got {type(row).__name__}")
    given = cast("dict[str, Any]", row)
    name = given.get("class_name")
    if not isinstance(name, str):
        raise DataError(f"instances: class_name: expected a text, got {name!r}")
    reason = given.get("no_distance")
    if reason is not None and reason not in NO_DISTANCE:
        raise DataError(f"instances: no_distance: expected one of {', '.join(NO_DISTANCE)}, got {reason!r}")
    left, top, right, bottom = _numbers(given.get("box"), 4, "box")
    x, y = _numbers(given.get("centre"), 2, "centre")
    return Instance(
        _whole(given, "id", MOST, least=1),
        _whole(given, "class_id", 254),
        name,
        (left, top, right, bottom),
        _numbers([given.get("area")], 1, "area")[0],
        (x, y),
        _optional(given, "confidence"),
        None if given.get("track_id") is None else _whole(given, "track_id", (1 << 63) - 1, least=1),
        no_distance=reason,
        in_lane=_flag(given, "in_lane"),
        **{name: _optional(given, name) for name in _MEASURED},
    )


def _whole(given: dict[str, Any], name: str, most: int, least: int = 0) -> int:
    value = given.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise DataError(f"instances: {name}: expected a whole number from {least} to {most}, got {value!r}")
    return value


def _flag(given: dict[str, Any], name: str) -> bool | None:
    value = given.get(name)
    if value is not None and not isinstance(value, bool):
        raise DataError(f"instances: {name}: expected true or false, got {value!r}")
    return value


def _optional(given: dict[str, Any], name: str) -> float | None:
    return None if given.get(name) is None else _numbers([given[name]], 1, name)[0]


def _numbers(values: object, count: int, name: str) -> Sequence[float]:
    listed = cast("list[Any]", values) if isinstance(values, list) else []
    plain = [value for value in listed if isinstance(value, (int, float)) and not isinstance(value, bool)]
    if len(plain) != count or len(listed) != count or not all(map(math.isfinite, plain)):
        raise DataError(f"instances: {name}: expected {count} finite numbers, got {values!r}")
    return [float(value) for value in plain]
