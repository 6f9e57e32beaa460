"""Shadows on the ground: everything that stands up, projected along the sun's rays."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.street.canvas import SHIFT, Canvas, Texture, fixed
from edge.street.light import Light
from edge.street.place import FAR_M, Floats
from edge.street.view import View

# Shadows are drawn at half the image's size: their edges are soft.
_SCALE = 0.5
_NEAR_M = 1.0


class ShadowMap:
    """How much sun is kept from each piece of ground in view, and how much of the sky's light close under things."""

    def __init__(self, canvas: Canvas, view: View, light: Light) -> None:
        self._canvas, self._view, self._light = canvas, view, light
        width, height = view.size_wh
        self._top = max(0, int(view.horizon_v + view.focal_px * view.height_m / FAR_M))
        size_hw = (int((height - self._top) * _SCALE) + 1, int(width * _SCALE) + 1)
        self._sun = np.zeros(size_hw, np.uint8)
        self._close = np.zeros(size_hw, np.uint8)
        up = max(0.12, float(light.to_sun[1]))
        # Metres on the ground by which the shadow of a point moves for each metre of its height: (X, S).
        self.throw = -light.to_sun[[0, 2]] / up
        self.has_sun = float(light.direct.mean()) > 0.1

    def _pixels(self, outline: Floats) -> NDArray[np.int32] | None:
        """Fixed-point pixels of the part of a convex ground polygon (N, 2) that lies before the camera.

        Here and below ground points are (X, z), z counted along the road from the camera.
        """
        before = clipped(outline, _NEAR_M)
        if len(before) < 3:
            return None
        points = self._view.on_ground(before)
        return fixed((points - np.array([0, self._top])) * _SCALE)

    def cast(self, points: Floats) -> None:
        """The shadow of a convex thing with these points (N, 3), (X, Y, z)."""
        if not self.has_sun:
            return
        flat = points[:, [0, 2]] + points[:, 1:2] * self.throw
        if (pixels := self._pixels(hull(flat))) is not None:
            cv2.fillConvexPoly(self._sun, pixels, 255, cv2.LINE_AA, SHIFT)

    def cast_cutout(self, alpha: Texture, x: float, z: float, size_m: tuple[float, float]) -> None:
        """The dappled shadow of a cut-out, uint8 (h, w), size_m wide and high, whose foot stands at (x, z)."""
        if not self.has_sun:
            return
        across = np.array([-self.throw[1], self.throw[0]]) / (np.linalg.norm(self.throw) + 1e-9)
        foot, wide, high = np.array([x, z]), across * size_m[0], self.throw * size_m[1]
        outline = np.array([foot - wide / 2 + high, foot + wide / 2 + high, foot + wide / 2, foot - wide / 2])
        if (pixels := self._pixels(hull(outline))) is None:
            return
        points = pixels[:, :].astype(np.float64) / (1 << SHIFT)
        x0, y0 = np.maximum(points.min(axis=0), 0).astype(int)
        x1, y1 = np.minimum(points.max(axis=0) + 2, self._sun.shape[::-1]).astype(int)
        if x0 >= x1 or y0 >= y1:
            return
        level = max(0, int(np.log2(alpha.image.shape[0] / max(24.0, float(y1 - y0)))))
        texels = alpha.level(level, level)
        h, w = texels.shape[:2]
        to_ground = self._ground_from_pixel(z, (x0, y0))
        # Ground (X, z, 1) to texels: the inverse of foot + across * (i / w - 0.5) * wide + throw * (1 - j / h) * high.
        basis = np.array([[wide[0] / w, -high[0] / h, 0], [wide[1] / w, -high[1] / h, 0], [0, 0, 1.0]])
        basis[:2, 2] = foot - wide / 2 + high
        if abs(np.linalg.det(basis)) < 1e-9:
            return
        matrix = np.linalg.inv(basis) @ to_ground
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        shade = cv2.warpPerspective(texels, matrix, (int(x1 - x0), int(y1 - y0)), flags=flags, borderValue=0)
        region = self._sun[y0:y1, x0:x1]
        cv2.max(region, shade, dst=region)

    def _ground_from_pixel(self, z: float, corner: tuple[int, int]) -> Floats:
        """float64 (3, 3): pixel of this map, counted from `corner`, to ground (X, z, 1); exact near that z."""
        view = self._view
        bend = float(view.bend(view.s + z))
        slope = float(view.bend(view.s + z + 1.0)) - bend
        pixel = np.array(
            [
                [1 / _SCALE, 0, (corner[0] + 0.5) / _SCALE],
                [0, 1 / _SCALE, (corner[1] + 0.5) / _SCALE + self._top],
                [0, 0, 1],
            ]
        )
        h, f, cu, hv = view.height_m, view.focal_px, view.centre_u, view.horizon_v
        constant = view.x - bend + slope * z
        across = [h, constant, -cu * h - constant * hv - slope * f * h]
        along = [0.0, 0.0, f * h]
        return np.array([across, along, [0.0, 1.0, -hv]]) @ pixel

    def close(self, outline: Floats, strength: float) -> None:
        """Darken the ground right under a thing with this ground outline (N, 2)."""
        if (pixels := self._pixels(outline)) is not None:
            cv2.fillConvexPoly(self._close, pixels, float(255 * strength), cv2.LINE_AA, SHIFT)

    def shade_at(self, x: float, s: float) -> float:
        """The share of the sun, 0 to 1, that reaches a foot on the ground; 1 where that is not in the image."""
        u, v = self._view.pixel(x, 0.0, s)
        column, row = int(u * _SCALE), int((v - self._top) * _SCALE)
        if s - self._view.s < 1 or not (0 <= row < self._sun.shape[0] and 0 <= column < self._sun.shape[1]):
            return 1.0
        return 1.0 - float(self._sun[row, column]) / 255

    def apply(self) -> None:
        """Darken the ground of the canvas."""
        take, shape = self._canvas.scratch.take, self._sun.shape
        close = cv2.bitwise_not(cv2.GaussianBlur(self._close, (5, 5), 0))
        kept = cv2.cvtColor(close, cv2.COLOR_GRAY2BGR, take("colours", (*shape, 3)))
        if self.has_sun:
            sun = cv2.cvtColor(cv2.GaussianBlur(self._sun, (3, 3), 0), cv2.COLOR_GRAY2BGR, take("air", (*shape, 3)))
            darker = np.hstack([np.diag(self._light.shadow_ratio - 1), np.full((3, 1), 255.0)])
            cv2.multiply(kept, cv2.transform(sun, darker, sun), kept, scale=1 / 255)
        size = (round(shape[1] / _SCALE), round(shape[0] / _SCALE))
        big = cv2.resize(kept, size, take("lit", (size[1], size[0], 3)), interpolation=cv2.INTER_LINEAR)
        region = self._canvas.image[self._top :]
        cv2.multiply(region, big[: region.shape[0], : region.shape[1]], dst=region, scale=1 / 255)


def hull(points: Floats) -> Floats:
    """The convex hull, (M, 2), of points (N, 2)."""
    return cv2.convexHull(points.astype(np.float32))[:, 0]


def clipped(outline: Floats, z_min: float) -> Floats:
    """The part of a convex polygon (N, 2), as (X, z), with z >= z_min."""
    inside = outline[:, 1] >= z_min
    if inside.all():
        return outline
    out = []
    for k in range(len(outline)):
        a, b = outline[k - 1], outline[k]
        if inside[k - 1] != inside[k]:
            out.append(a + (b - a) * ((z_min - a[1]) / (b[1] - a[1])))
        if inside[k]:
            out.append(b)
    return np.array(out).reshape(-1, 2)
