"""Where the car is and how fast it goes, as a satellite receiver says it; and its form in JSON.

Imports nothing else: frames and carriers hold a fix without knowing where it came from (`edge.gps`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from edge.errors import DataError

STALE_NS = 3_000_000_000  # receivers give a fix a second; one that is older says nothing of a frame

_LIMITS = {
    "latitude_deg": (-90.0, 90.0),
    "longitude_deg": (-180.0, 180.0),
    "altitude_m": (-1e4, 1e5),
    "error_m": (0.0, 1e7),
    "speed_m_s": (0.0, 1e3),
    "heading_deg": (0.0, 360.0),
}
_NEEDED = ("latitude_deg", "longitude_deg")
_TIME_MAX = 64  # characters


@dataclass(frozen=True, slots=True)
class Fix:
    """A position, WGS 84. What the receiver does not know is None.

    Attributes:
        altitude_m: above mean sea level.
        error_m: how far off the position may be, horizontally, by the receiver's own estimate (95 %).
        speed_m_s: over ground, by satellites.
        heading_deg: which way it goes, clockwise from true north.
        time: of the satellites, ISO 8601.
    """

    latitude_deg: float
    longitude_deg: float
    altitude_m: float | None = None
    error_m: float | None = None
    speed_m_s: float | None = None
    heading_deg: float | None = None
    time: str | None = None

    def as_json(self) -> dict[str, object]:
        """As JSON takes it; what is None is left out."""
        values = ((name, getattr(self, name)) for name in self.__slots__)
        return {name: value for name, value in values if value is not None}


def fix_from_json(given: object) -> Fix:
    """The fix of an object by `Fix.as_json`, as a message or a file has it.

    Raises:
        DataError: it is no such object.
    """
    if not isinstance(given, dict):
        raise DataError(f"fix: expected an object, got {type(given).__name__}")
    row = cast("dict[str, Any]", given)
    time = row.get("time")
    if time is not None and not (isinstance(time, str) and len(time) <= _TIME_MAX):
        raise DataError(f"fix: time: expected a text of at most {_TIME_MAX} characters, got {time!r}")
    return Fix(time=time, **{name: _number(row, name) for name in _LIMITS})  # pyright: ignore[reportArgumentType]


def _number(row: dict[str, Any], name: str) -> float | None:
    value, (least, most) = row.get(name), _LIMITS[name]
    if value is None and name not in _NEEDED:
        return None
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not least <= value <= most:  # NaN is not
        raise DataError(f"fix: {name}: expected a number from {least:g} to {most:g}, got {value!r}")
    return float(value)
