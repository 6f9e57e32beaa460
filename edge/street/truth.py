"""What a street knows of its own camera, of everybody's place and of the lane, in metres."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class StreetCamera:
    """The camera of one frame, in pixels of the image: a pinhole that looks level along the road, whose principal point
    (`centre_u`, `horizon_v`) is where the road vanishes, as in a view camera with a shifted lens.
    """

    focal_px: float
    centre_u: float
    horizon_v: float
    height_m: float
    size_wh: tuple[int, int]

    @property
    def pitch_deg(self) -> float:
        """Of a camera that sees the horizon there with its principal point in the middle of the image."""
        return math.degrees(math.atan((self.size_wh[1] / 2 - self.horizon_v) / self.focal_px))

    @property
    def hfov_deg(self) -> float:
        """Horizontal field of view."""
        return math.degrees(2 * math.atan(self.size_wh[0] / 2 / self.focal_px))


@dataclass(frozen=True)
class Placed:
    """A walker, cyclist or car: its number in the labels' instances, its class id, and where its middle is: metres to
    the right of the lens and ahead of it; and how far ahead the nearest of it is: of a car its end.
    """

    instance: int
    class_id: int
    right_m: float
    ahead_m: float
    near_m: float


@dataclass(frozen=True)
class TrueBoundary:
    """One side of the lane that the car drives in.

    Attributes:
        kind: as it is painted; "curb" where nothing is.
        right_m: metres to the right of the lens at 0, 1, 2 ... metres ahead.
        seen_m: how much of it the frame shows from `SEEN_FROM_M` to `SEEN_TO_M` ahead: the paint or the kerb itself,
            without gaps and what is hidden.
    """

    kind: Literal["solid", "dashed", "curb"]
    right_m: tuple[float, ...]
    seen_m: float

    def right_at(self, ahead_m: float) -> float:
        """Metres to the right of the lens, between the metres that are known along a straight line."""
        first = min(max(0, int(ahead_m)), len(self.right_m) - 2)
        here, then = self.right_m[first : first + 2]
        return here + (then - here) * (ahead_m - first)


@dataclass(frozen=True)
class StreetLane:
    """The lane of one frame."""

    left: TrueBoundary
    right: TrueBoundary


SEEN_FROM_M, SEEN_TO_M, KNOWN_TO_M = 4.0, 25.0, 60
