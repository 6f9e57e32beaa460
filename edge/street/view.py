"""The camera of one frame: from street coordinates to pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.street.place import FAR_M, Floats, Optics, Path

NEAR_M = 0.6
_BEHIND_M = 30.0
_LENGTH_M = _BEHIND_M + FAR_M + 90.0
_GRID_M = np.arange(_LENGTH_M)


@dataclass(frozen=True)
class View:
    """A pinhole camera that looks along the tangent of the road.

    The bend of the road and the camera's pitch shift the image instead of turning it, as a view camera's lens does:
    so depth is constant along every row of the ground, and fronts along the road stay flat quadrilaterals.
    `bends_m` holds the bend at every metre from _BEHIND_M behind the camera on, `bend_list` too, quicker to index.
    """

    size_wh: tuple[int, int]
    focal_px: float
    centre_u: float
    horizon_v: float
    height_m: float
    s: float
    x: float
    turn: float
    bends_m: Floats
    bend_list: list[float]

    def bend(self, s: Floats | float) -> Floats:
        """Sideways shift in metres of what lies at S, beyond the tangent at the camera."""
        return np.interp(np.asarray(s) - (self.s - _BEHIND_M), _GRID_M, self.bends_m)

    def project(self, points: Floats) -> tuple[NDArray[np.float32], Floats]:
        """Pixels, float32 (N, 2), and depths in metres (N,), of street points (N, 3) as (X, Y, S)."""
        depth = points[:, 2] - self.s
        scale = self.focal_px / np.maximum(depth, NEAR_M)
        pixels = np.empty((len(points), 2), np.float32)
        pixels[:, 0] = self.centre_u + scale * (points[:, 0] + self.bend(points[:, 2]) - self.x)
        pixels[:, 1] = self.horizon_v + scale * (self.height_m - points[:, 1])
        return pixels, depth

    def project_ahead(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 (N, 2): pixels of points (N, 3) whose S counts from the camera's."""
        scale = np.float32(self.focal_px) / np.maximum(points[:, 2], np.float32(NEAR_M))
        bend = np.interp(points[:, 2] + np.float32(_BEHIND_M), _GRID_M, self.bends_m).astype(np.float32)
        pixels = np.empty((len(points), 2), np.float32)
        pixels[:, 0] = scale * (points[:, 0] + bend - np.float32(self.x)) + np.float32(self.centre_u)
        pixels[:, 1] = scale * (np.float32(self.height_m) - points[:, 1]) + np.float32(self.horizon_v)
        return pixels

    def polygon(self, points: Sequence[tuple[float, float, float]]) -> NDArray[np.float32]:
        """float32 (n, 2): pixels of a few street points; quicker for them than `project`."""
        return np.array([self.pixel(*point) for point in points], np.float32)

    def on_ground(self, points: Floats) -> Floats:
        """float (N, 2): pixels of ground points (N, 2), as (X, z), z metres before the camera."""
        ahead = points[:, 1]
        scale = self.focal_px / np.maximum(ahead, NEAR_M)
        out = np.empty((len(points), 2))
        out[:, 0] = self.centre_u + scale * (
            points[:, 0] + np.interp(ahead + _BEHIND_M, _GRID_M, self.bends_m) - self.x
        )
        out[:, 1] = self.horizon_v + scale * self.height_m
        return out

    def pixel(self, x: float, y: float, s: float) -> tuple[float, float]:
        """(u, v) of the street point (X, Y, S)."""
        depth = max(s - self.s, NEAR_M)
        place = min(max(s - self.s + _BEHIND_M, 0.0), _LENGTH_M - 2.0)
        k = int(place)
        bend = self.bend_list[k] + (self.bend_list[k + 1] - self.bend_list[k]) * (place - k)
        scale = self.focal_px / depth
        return self.centre_u + scale * (x + bend - self.x), self.horizon_v + scale * (self.height_m - y)

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
    # Body bounce near 1.3 Hz, wheel hop near 11 Hz, and a slow wander; shares of the image's height.
    bob = np.sin(8.3 * t + 0.6 * np.sin(1.7 * t)) * 0.0022 + np.sin(69.0 * t) * 0.0005 + np.sin(0.9 * t) * 0.0015
    sway = np.sin(5.1 * t + 1.0) * 0.0010 + np.sin(0.63 * t) * 0.004
    at = path.car_s(time_s)
    turn = float(path.offset(at, 1))
    ahead = _GRID_M - _BEHIND_M
    bends_m = path.offset(at + ahead) - path.offset(at) - turn * ahead
    return View(
        size_wh=size_wh,
        focal_px=optics.focal * height * min(1.0, (width / height) / (4 / 3)),
        centre_u=width / 2 + float(sway) * height * shake,
        horizon_v=height * (optics.horizon + float(bob) * shake),
        height_m=optics.height_m + 0.012 * shake * float(np.sin(8.3 * t + 0.5)),
        s=at,
        x=path.lane_x_m + 0.18 * float(np.sin(0.31 * t)) + 0.05 * float(np.sin(0.83 * t)),
        turn=turn,
        bends_m=bends_m,
        bend_list=bends_m.tolist(),
    )
