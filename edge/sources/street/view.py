"""The camera of one frame: from street coordinates to pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.sources.street.place import Optics, Path

Floats = NDArray[np.floating]

NEAR_M = 0.6


@dataclass(frozen=True)
class View:
    """A pinhole camera that looks along the tangent of the road.

    The bend of the road and the camera's pitch shift the picture instead of turning it, as a view camera's lens does:
    so depth is constant along every row of the ground, and fronts along the road stay flat quadrilaterals.
    """

    size_wh: tuple[int, int]
    focal_px: float
    centre_u: float
    horizon_v: float
    height_m: float
    s: float
    x: float
    path: Path

    def bend(self, s: Floats | float) -> Floats:
        """Sideways shift in metres of what lies at S, beyond the tangent at the camera."""
        return self.path.offset(s) - self.path.offset(self.s) - self.path.offset(self.s, 1) * (np.asarray(s) - self.s)

    def project(self, points: Floats) -> tuple[NDArray[np.float32], Floats]:
        """Pixels, float32 (N, 2), and depths in metres (N,), of street points (N, 3) as (X, Y, S)."""
        depth = points[:, 2] - self.s
        scale = self.focal_px / np.maximum(depth, NEAR_M)
        u = self.centre_u + scale * (points[:, 0] + self.bend(points[:, 2]) - self.x)
        v = self.horizon_v + scale * (self.height_m - points[:, 1])
        return np.stack([u, v], axis=1).astype(np.float32), depth

    def ground_rows(self, top_v: int) -> tuple[Floats, Floats, Floats]:
        """For pixel rows top_v to the last: depth z, and u = centre + scale * X: (z, centre, scale), each (rows,)."""
        rows = np.arange(top_v, self.size_wh[1]) + 0.5
        depth = self.focal_px * self.height_m / (rows - self.horizon_v)
        scale = self.focal_px / depth
        return depth, self.centre_u + scale * (self.bend(self.s + depth) - self.x), scale


def make_view(size_wh: tuple[int, int], optics: Optics, path: Path, time_s: float) -> View:
    """The camera at a time: it follows its lane and shakes with the road."""
    width, height = size_wh
    t, shake = time_s, optics.shake
    # Body bounce near 1.3 Hz, wheel hop near 11 Hz, and a slow wander; shares of the picture's height.
    bob = np.sin(8.3 * t + 0.6 * np.sin(1.7 * t)) * 0.0022 + np.sin(69.0 * t) * 0.0005 + np.sin(0.9 * t) * 0.0015
    sway = np.sin(5.1 * t + 1.0) * 0.0010 + np.sin(0.63 * t) * 0.004
    return View(
        size_wh=size_wh,
        focal_px=optics.focal * height * min(1.0, (width / height) / (4 / 3)),
        centre_u=width / 2 + sway * height * shake,
        horizon_v=height * (optics.horizon + bob * shake),
        height_m=optics.height_m + 0.012 * shake * float(np.sin(8.3 * t + 0.5)),
        s=path.car_s(time_s),
        x=path.lane_x_m + 0.18 * float(np.sin(0.31 * t)) + 0.05 * float(np.sin(0.83 * t)),
        path=path,
    )
