"""What a street knows of its own camera and of everybody's place, in metres."""

from __future__ import annotations

import math
from dataclasses import dataclass


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
    """A walker, cyclist or car: its number in the labels' instances, its class id, and where it stands: metres to the
    right of the lens and ahead of it.
    """

    instance: int
    class_id: int
    right_m: float
    ahead_m: float
