"""The lane that the car drives in, as its two boundaries; `edge.geometry.lane_finder` finds them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import numpy as np

from edge.errors import DataError
from edge.geometry.ground import Floats

NEAR_M = 4.0  # from where on a boundary is known
_WIDTHS_M = (2.2, 4.8)
Kind = Literal["solid", "dashed", "curb", "road_edge"]


@dataclass(frozen=True, slots=True)
class Boundary:
    """A line of the lane: at z metres ahead it is offset_m + heading_rad * z + bend_1_m * z² / 2 to the right of the
    lens, from 4 m on and up to `far_m`.

    Attributes:
        kind: "solid" or "dashed", as its markings are painted; where there are none, what ends the lane there: "curb",
            or "road_edge", the edge of the mask of the road.
        confidence: 0 to 1; 1 where 10 m of marking or curb or more are seen. Of a road's edge 0.5 at most.
    """

    offset_m: float
    heading_rad: float
    bend_1_m: float
    far_m: float
    kind: Kind
    confidence: float

    def right_at(self, ahead_m: float) -> float:
        """Metres to the right of the lens."""
        return self.offset_m + self.heading_rad * ahead_m + self.bend_1_m * ahead_m**2 / 2


@dataclass(frozen=True, slots=True)
class EgoLane:
    """The lane's boundaries; None where nothing that is seen shows one."""

    left: Boundary | None
    right: Boundary | None

    def holds(self, lateral_m: float, distance_m: float) -> bool | None:
        """Whether a place is in the lane; None where a boundary is unknown there."""
        if self.left is None or self.right is None or distance_m > min(self.left.far_m, self.right.far_m):
            return None
        return self.left.right_at(distance_m) <= lateral_m <= self.right.right_at(distance_m)

    def lines(self) -> list[Floats]:
        """Each boundary as places on the road, (N, 2) metres to the right and ahead, from near to far."""
        lines: list[Floats] = []
        for one in (self.left, self.right):
            if one is not None:
                ahead = np.geomspace(NEAR_M, max(NEAR_M, one.far_m), 24)
                lines.append(np.stack([[one.right_at(z) for z in ahead.tolist()], ahead], axis=1))
        return lines

    def as_json(self) -> dict[str, object]:
        """As JSON takes it."""
        sides = {"left": self.left, "right": self.right}
        return {
            side: None if one is None else {k: getattr(one, k) for k in one.__slots__} for side, one in sides.items()
        }


def paired(left: Boundary | None, right: Boundary | None) -> EgoLane:
    """Both as a lane. A pair whose lane would be too narrow or too wide is not one: the surer boundary stays."""
    if left is None or right is None or _WIDTHS_M[0] <= right.offset_m - left.offset_m <= _WIDTHS_M[1]:
        return EgoLane(left, right)
    return EgoLane(left, None) if left.confidence >= right.confidence else EgoLane(None, right)


def lane_from_json(given: object) -> EgoLane:
    """The lane of an object by `EgoLane.as_json`, as a message or a file has it.

    Raises:
        DataError: it is no such object.
    """
    if not isinstance(given, dict):
        raise DataError(f"lane: expected an object, got {type(given).__name__}")
    row = cast("dict[str, Any]", given)
    return EgoLane(*(_boundary(row.get(side), side) for side in ("left", "right")))


def _boundary(given: Any, side: str) -> Boundary | None:
    if given is None:
        return None
    row = cast("dict[str, Any]", given if isinstance(given, dict) else {})
    names = ("offset_m", "heading_rad", "bend_1_m", "far_m", "confidence")
    values = {name: row.get(name) for name in names}
    for name, value in values.items():
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
            raise DataError(f"lane: {side}.{name}: expected a finite number, got {value!r}")
    if row.get("kind") not in get_args(Kind):
        raise DataError(f"lane: {side}.kind: expected {' or '.join(get_args(Kind))}, got {row.get('kind')!r}")
    return Boundary(kind=row["kind"], **{name: float(cast("float", value)) for name, value in values.items()})
