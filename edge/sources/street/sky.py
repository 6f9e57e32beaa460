"""The sky and the far skyline, as pictures wider than the view."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.sources.street.canvas import Canvas
from edge.sources.street.light import Light, Sky
from edge.sources.street.materials import smooth_noise
from edge.sources.street.place import BUILDING, FAR_M, SKY, TREE, Floats, rng_of
from edge.sources.street.view import View

Image = NDArray[np.uint8]

# The light of the sky is worked out at these moments and mixed between them.
_KEY_S = 20.0


class Backdrop:
    """Paints sky, clouds and the skyline of one street at one picture size."""

    def __init__(self, seed: int, sky: Sky, size_wh: tuple[int, int], horizon: float) -> None:
        self._sky, self._size_wh = sky, size_wh
        rng = rng_of(seed, 50)
        self._rows = int(size_wh[1] * (horizon + 0.05)) + 2
        self._clouds = _cloud_field(rng, (1024, 512))
        self._skyline = _skyline(rng, size_wh)
        self._keys: dict[int, Image] = {}

    def _picture(self, key: int) -> Image:
        """uint8 (rows, W + margin, 3): the sky at key * _KEY_S seconds."""
        if key not in self._keys:
            if len(self._keys) > 3:
                self._keys.pop(min(self._keys, key=lambda k: -abs(k - key)))
            width = int(self._size_wh[0] * 1.12)
            self._keys[key] = _painted(self._clouds, self._sky.at(key * _KEY_S), (width, self._rows), key * _KEY_S)
        return self._keys[key]

    def draw(self, canvas: Canvas, view: View, light: Light, time_s: float) -> None:
        key = int(np.floor(time_s / _KEY_S))
        share = time_s / _KEY_S - key
        first, second = self._picture(key), self._picture(key + 1)
        # The sky stands still while the street bends: it moves against the tangent of the road.
        turn = -view.turn * view.focal_px
        x = int(np.clip(self._size_wh[0] * 0.06 - 0.3 * turn, 0, self._size_wh[0] * 0.12))
        rows = min(self._rows, int(view.horizon_v) + 3)
        y = self._rows - rows
        cut = (slice(y, y + rows), slice(x, x + self._size_wh[0]))
        cv2.addWeighted(first[cut], 1 - share, second[cut], share, 0, dst=canvas.image[:rows])
        canvas.image[rows : rows + 24] = light.air
        canvas.classes[: rows + 24] = SKY
        self._draw_skyline(canvas, view, light, turn)

    def _draw_skyline(self, canvas: Canvas, view: View, light: Light, turn: float) -> None:
        """Trees and roofs beyond the end of the street, hazy."""
        heights, kinds = self._skyline
        width, base = self._size_wh[0], view.horizon_v + view.focal_px * view.height_m / FAR_M + 2
        shift = int(turn) % len(heights)
        index = (np.arange(width) + shift) % len(heights)
        top = base - heights[index] * view.focal_px
        clear = float(light.clear(FAR_M * 1.15))
        for class_id, colour in ((TREE, (58, 74, 66)), (BUILDING, (96, 100, 106))):
            tops = np.where(kinds[index] == class_id, top, base)
            outline = np.column_stack([np.arange(width) + 0.5, tops])
            points = np.concatenate([outline, [[width + 9, base], [-9, base]]])
            lit = np.array(colour) * light.ground_gain * clear + light.air * (1 - clear)
            fixed_points = np.round((points - 0.5) * 16).astype(np.int32)
            cv2.fillPoly(canvas.image, [fixed_points], tuple(map(float, lit)), cv2.LINE_AA, 4)
            cv2.fillPoly(canvas.classes, [fixed_points], class_id, cv2.LINE_8, 4)


def _cloud_field(rng: np.random.Generator, size_wh: tuple[int, int]) -> NDArray[np.float32]:
    field = np.zeros((size_wh[1], size_wh[0]), np.float32)
    for cell, weight in ((300, 1.0), (130, 0.6), (56, 0.34), (24, 0.2), (11, 0.11), (5, 0.06)):
        field += weight * smooth_noise(rng, size_wh, cell)
    return field / np.float32(field.std())


def _painted(clouds: Floats, light: Light, size_wh: tuple[int, int], time_s: float) -> Image:
    """The sky as one picture: clouds shrink towards the horizon, as on a flat layer overhead."""
    width, rows = size_wh
    half = (max(2, width // 2), max(2, rows // 2))
    up = np.linspace(1.0, 0.0, half[1], dtype=np.float32)
    distance = 0.32 / (up + 0.10)
    across = (np.arange(half[0], dtype=np.float32) / half[0] - 0.5) * 900
    map_x = np.multiply.outer(distance, across) + np.float32(512 + 1.6 * time_s)
    map_y = np.repeat((distance * 420 + 0.9 * time_s)[:, None], half[0], axis=1).astype(np.float32)
    field = cv2.remap(clouds, map_x.astype(np.float32), map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    lower = cv2.remap(clouds, map_x.astype(np.float32), map_y + 16, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    gate = 1.1 - 2.2 * light.clouds
    cover = np.clip((field - gate) * 0.85 + 0.25 * light.clouds, 0, 1)[:, :, None]
    relief = np.clip(0.5 + 0.38 * (field - lower) + 0.06 * field, 0, 1)[:, :, None]
    blue = light.horizon + (light.zenith - light.horizon) * (up[:, None, None] ** 0.7)
    bright = np.minimum(light.horizon * 1.06 + 10, 252)
    cloud = bright * (1 - light.cloud_shade * (1 - relief) * (0.35 + 0.65 * up[:, None, None]))
    picture = np.clip(blue + (cloud - blue) * cover * (0.55 + 0.45 * up[:, None, None]), 0, 255).astype(np.uint8)
    return cv2.resize(picture, size_wh, interpolation=cv2.INTER_CUBIC)


def _skyline(rng: np.random.Generator, size_wh: tuple[int, int]) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Heights over depth (tangents) and class ids of the skyline's columns; it closes on itself."""
    length = size_wh[0] * 3
    bumps = smooth_noise(rng, (length, 8), 34)[0] * 0.5 + smooth_noise(rng, (length, 8), 8)[0] * 0.3
    heights = 0.034 + 0.006 * bumps + 0.008 * smooth_noise(rng, (length, 8), 160)[0]
    kinds = np.full(length, TREE, np.uint8)
    x = 0
    while x < length:
        wide = int(rng.uniform(20, 90) * size_wh[0] / 1280) + 2
        if rng.random() < 0.5:
            heights[x : x + wide] = rng.uniform(0.026, 0.05)
            kinds[x : x + wide] = BUILDING
        x += wide
    return np.maximum(heights, 0.02).astype(np.float32), kinds
