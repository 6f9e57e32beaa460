"""Pixels of one camera <-> places on a flat road.

Pixels are continuous: (0, 0) is the upper left corner of the first pixel, its middle is (0.5, 0.5). Places are metres
to the right of the lens and ahead of it, along the way that the car goes. The camera's axes are OpenCV's: right, down,
ahead; so are the road's, whose surface is `height_m` below the lens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import ConfigError
from edge.frame import Image

if TYPE_CHECKING:
    from edge.geometry.model import CameraModel

Floats = NDArray[np.float64]
_STEP = 1e-4  # radians and pixels of a numeric derivative
_UNDISTORT = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 60, 1e-10)


class GroundPlane:
    """A camera model at the size of its frames.

    Attributes:
        model: what it was made of.
        size_wh: of the frames in pixels.
        matrix: float64 (3, 3), OpenCV's camera matrix in this module's pixels: half a pixel more than OpenCV's.
        rotation: float64 (3, 3): a direction in the camera's axes -> in the road's.
    """

    def __init__(self, model: CameraModel, size_wh: tuple[int, int], pixel_aspect: float = 1.0) -> None:
        """`pixel_aspect` is the width over height of a pixel.

        Raises:
            ConfigError: the frames are of another shape than the model's images.
        """
        try:
            focal = model.focal_of(size_wh, pixel_aspect)
            scale = model.scale_of(size_wh, pixel_aspect)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        centre = np.array(size_wh) / 2 if model.centre_px is None else (np.array(model.centre_px) + 0.5) * scale
        self.model, self.size_wh = model, size_wh
        self.matrix: Floats = np.array([[focal[0], 0, centre[0]], [0, focal[1], centre[1]], [0, 0, 1]])
        self._focal, self._centre = np.diag(self.matrix)[:2], self.matrix[:2, 2]
        self.rotation = rotation_of(model.pitch_deg, model.roll_deg, model.yaw_deg)
        self._distortion = np.array(model.distortion, np.float64)
        self._nodding = rotation_of(model.pitch_deg + math.degrees(_STEP), model.roll_deg, model.yaw_deg)
        self._lens = (*self._focal.tolist(), *self._centre.tolist())
        self._turned, self._turned_more = self.rotation.tolist(), self._nodding.tolist()
        # A lens's polynomial is good for the image: far beside it, it folds back.
        self._widest = 1.05 * np.hypot(*self.rays(self._border())[:, :2].T).max() if model.distortion else math.inf

    def ground(self, pixels: Any) -> Floats:
        """float64 (N, 2): metres to the right and ahead of what lies on the road at these pixels (N, 2) of x, y; NaN
        for one at the horizon or above.
        """
        return self._meet(self.rays(pixels), self.rotation)

    def pixels(self, places: Any) -> Floats:
        """float64 (N, 2): where these places on the road, (N, 2) metres to the right and ahead, are in the image or
        beside it; NaN for one that is not before the camera, or so far beside the image that the lens's distortion is
        unknown there.
        """
        places = np.asarray(places, np.float64).reshape(-1, 2)
        down = np.full(len(places), self.model.height_m)
        return self._project(np.stack([places[:, 0], down, places[:, 1]], axis=1) @ self.rotation)

    def vanishing_point(self) -> tuple[float, float]:
        """The pixel towards which the car goes: where lines along the road meet."""
        (x, y), *_ = self._project(np.array([[0.0, 0.0, 1.0]]) @ self.rotation).tolist()
        return x, y

    def horizon(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Where the horizon leaves the image, at its left and its right border; without distortion."""
        # A direction is level where its second component in the road's axes is 0: a line in the image.
        a, b, c = (self.rotation[1] @ np.linalg.inv(self.matrix)).tolist()
        width = float(self.size_wh[0])
        return (0.0, -c / b), (width, -(a * width + c) / b)

    def distance_sd(self, pixels: Any, pixel_sd_px: float = 1.0) -> Floats:
        """float64 (N,): the standard error in metres of how far ahead `ground` finds these pixels, from those of the
        pitch, of the height, and of a pixel's row; NaN where there is no ground.
        """
        pixels = np.asarray(pixels, np.float64).reshape(-1, 2)
        rays = self.rays(np.concatenate([pixels, pixels + np.array((0.0, _STEP))]))
        here = rays[: len(pixels)]
        ahead = self._meet(here, self.rotation)[:, 1]
        by_row = (self._meet(rays[len(pixels) :], self.rotation)[:, 1] - ahead) / _STEP
        by_pitch = (self._meet(here, self._nodding)[:, 1] - ahead) / _STEP
        model = self.model
        parts = (
            by_row * pixel_sd_px,
            by_pitch * math.radians(model.pitch_sd_deg),
            ahead / model.height_m * model.height_sd_m,
        )
        return np.sqrt(np.sum(np.square(parts), axis=0))

    def feet(self, pixels: Sequence[tuple[float, float]], pixel_sd_px: float) -> list[tuple[float, float, float]]:
        """What `ground` and `distance_sd` give of a few pixels: metres to the right and ahead, and the standard error
        of the latter; NaN where there is no ground. Of the objects of a frame, plain numbers are quicker than arrays.
        """
        if len(self._distortion):
            found = np.column_stack([self.ground(pixels), self.distance_sd(pixels, pixel_sd_px)])
            return [(right, ahead, sd) for right, ahead, sd in found.tolist()]
        return [self._foot(pixel, pixel_sd_px) for pixel in pixels]

    def _foot(self, pixel: tuple[float, float], pixel_sd_px: float) -> tuple[float, float, float]:
        (fx, fy, cx, cy), model = self._lens, self.model
        x, y = (pixel[0] - cx) / fx, (pixel[1] - cy) / fy
        (r0, r1, r2), (d0, d1, d2), (a0, a1, a2) = self._turned
        down = d0 * x + d1 * y + d2
        if down <= 0:
            return math.nan, math.nan, math.nan
        height, forth = model.height_m, a0 * x + a1 * y + a2
        ahead = height * forth / down
        _, (d0, nodded_1, d2), (n0, n1, n2) = self._turned_more
        nodded_down = d0 * x + nodded_1 * y + d2
        if nodded_down <= 0:
            return height * (r0 * x + r1 * y + r2) / down, ahead, math.nan
        by_pitch = (height * (n0 * x + n1 * y + n2) / nodded_down - ahead) / _STEP * math.radians(model.pitch_sd_deg)
        by_row = (a1 * height - d1 * ahead) / down / fy * pixel_sd_px
        by_height = ahead / height * model.height_sd_m
        return height * (r0 * x + r1 * y + r2) / down, ahead, math.hypot(by_pitch, by_row, by_height)

    def rays(self, pixels: Any) -> Floats:
        """float64 (N, 3): directions in the camera's axes, 1 ahead, of pixels (N, 2); distortion is undone."""
        pixels = np.asarray(pixels, np.float64).reshape(-1, 2)
        rays = np.ones((len(pixels), 3))
        if len(self._distortion) and len(pixels):
            points = np.ascontiguousarray(pixels[:, None])
            rays[:, :2] = cv2.undistortPoints(points, self.matrix, self._distortion, criteria=_UNDISTORT)[:, 0]
        else:
            rays[:, :2] = (pixels - self._centre) / self._focal
        return rays

    def undistortion_error_px(self) -> float:
        """How far pixels of the image's border are from where distortion, undone and done again, puts them, at most."""
        border = self._border()
        off = np.abs(self._project(self.rays(border)) - border)
        return float(off.max()) if np.isfinite(off).all() else math.inf

    def _border(self) -> Floats:
        """(N, 2): pixels along the image's border."""
        width, height = self.size_wh
        along = np.linspace(0, 1, 33)[:, None]
        corners = np.array([(0, 0), (width, 0), (width, height), (0, height), (0, 0)], np.float64)
        return np.concatenate([a + (b - a) * along for a, b in pairwise(corners)])

    def birds_eye(
        self, image: Image, left_m: float, right_m: float, near_m: float, far_m: float, px_per_m: float
    ) -> Image:
        """The road from above, uint8 (h, w[, C]): the rectangle from `near_m` (below) to `far_m` (above) ahead and from
        `left_m` (negative: to the left of the lens) to `right_m`. What is beside the image is black. What stands on
        the road is drawn out backwards: only the road itself is where it seems.
        """
        width, height = round((right_m - left_m) * px_per_m), round((far_m - near_m) * px_per_m)
        right, ahead = np.meshgrid(
            left_m + (np.arange(width) + 0.5) / px_per_m, far_m - (np.arange(height) + 0.5) / px_per_m
        )
        places = np.stack([right.ravel(), ahead.ravel()], axis=1)
        at = np.nan_to_num(self.pixels(places) - 0.5, nan=-1e4).clip(-1e4, 3e4).astype(np.float32)
        maps = at[:, 0].reshape(height, width), at[:, 1].reshape(height, width)
        return cv2.remap(image, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT).astype(np.uint8, copy=False)

    def _meet(self, rays: Floats, rotation: Floats) -> Floats:
        """Where rays meet the road: metres to the right and ahead, (N, 2)."""
        towards = rays @ rotation.T
        down = towards[:, 1]
        reach = np.divide(self.model.height_m, down, out=np.full(len(down), np.nan), where=down > 0)
        return towards[:, ::2] * reach[:, None]

    def _project(self, points: Floats) -> Floats:
        """Pixels, (N, 2), of points (N, 3) in the camera's axes; NaN for what is not before it."""
        found = np.full((len(points), 2), np.nan)
        before = points[:, 2] > 1e-9
        if len(self._distortion):
            before &= np.hypot(points[:, 0], points[:, 1]) <= self._widest * points[:, 2]
        if not before.any():
            return found
        if len(self._distortion):
            zero = np.zeros(3)
            seen, _ = cv2.projectPoints(points[before][:, None], zero, zero, self.matrix, self._distortion)
            found[before] = seen[:, 0]
        else:
            flat = points[before]
            found[before] = flat[:, :2] / flat[:, 2:] * self._focal + self._centre
        return found


def rotation_of(pitch_deg: float, roll_deg: float, yaw_deg: float) -> Floats:
    """float64 (3, 3): a direction in the camera's axes -> in the road's. Roll turns first, then pitch, then yaw."""
    angles = map(math.radians, (pitch_deg, roll_deg, yaw_deg))
    (sp, cp), (sr, cr), (sy, cy) = ((math.sin(angle), math.cos(angle)) for angle in angles)
    roll = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    pitch = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    yaw = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    return yaw @ pitch @ roll


def angles_of(vanishing_point: tuple[float, float], matrix: Floats, roll_deg: float = 0.0) -> tuple[float, float]:
    """The pitch and the yaw in degrees of a camera that sees lines along the road meet there; without distortion."""
    x, y = (np.array(vanishing_point) - matrix[:2, 2]) / np.diag(matrix)[:2]
    roll = math.radians(roll_deg)
    across, down = x * math.cos(roll) - y * math.sin(roll), x * math.sin(roll) + y * math.cos(roll)
    pitch = math.atan(-down)
    return math.degrees(pitch), math.degrees(math.atan(-across * math.cos(pitch)))
