"""The sky and the far skyline, as images wider than the view."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.street.canvas import Canvas
from edge.street.light import Light, Sky
from edge.street.materials import smooth_noise
from edge.street.memory import stored
from edge.street.place import BUILDING, FAR_M, SKY, TREE, Floats, Image, Optics, rng_of
from edge.street.view import View

# The light of the sky is worked out at these moments and mixed between them.
_KEY_S = 20.0


class Backdrop:
    """Paints sky, clouds and the skyline of one street at one image size."""

    def __init__(self, seed: int, sky: Sky, size_wh: tuple[int, int], optics: Optics) -> None:
        self._sky, self._size_wh = sky, size_wh
        rng = rng_of(seed, 50)
        self._rows = int(size_wh[1] * (optics.horizon + 0.05)) + 2
        self._clouds = _cloud_field(rng, (1024, 512))
        # As tall as a house of ten metres at the far end of what is drawn one by one.
        tall_px = int(optics.focal * size_wh[1] * 10.0 / FAR_M)
        self._skyline, self._kinds = _skyline(rng, size_wh, max(12, tall_px))
        self._keys: dict[int, Image] = {}

    def _image(self, key: int) -> Image:
        """uint8 (rows, W + margin, 3): the sky at key * _KEY_S seconds."""
        if key not in self._keys:
            if len(self._keys) > 3:
                self._keys.pop(min(self._keys, key=lambda k: -abs(k - key)))
            width = int(self._size_wh[0] * 1.12)
            self._keys[key] = _painted(self._clouds, self._sky.at(key * _KEY_S), (width, self._rows), key * _KEY_S)
        return self._keys[key]

    def draw(self, canvas: Canvas, view: View, light: Light, time_s: float) -> None:
        """Fill the image above the horizon with the sky of this time, skyline included."""
        key = int(np.floor(time_s / _KEY_S))
        share = time_s / _KEY_S - key
        first, second = self._image(key), self._image(key + 1)
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
        base = int(view.horizon_v + view.focal_px * view.height_m / FAR_M) + 3
        width, high = self._size_wh[0], self._skyline.shape[0]
        start = int(turn) % (self._skyline.shape[1] - width)
        top = max(0, base - high)
        strip = self._skyline[top - base + high :, start : start + width]
        kinds = self._kinds[top - base + high :, start : start + width]
        canvas.stamp(np.ascontiguousarray(strip), (0, top), TREE, tone=light.tone(FAR_M * 1.1, light.ground_gain))
        cv2.copyTo(np.full_like(kinds, BUILDING), cv2.compare(kinds, BUILDING, cv2.CMP_EQ), canvas.classes[top:base])


def _cloud_field(rng: np.random.Generator, size_wh: tuple[int, int]) -> Floats:
    field = np.zeros((size_wh[1], size_wh[0]), np.float32)
    for cell, weight in ((300, 1.0), (130, 0.6), (56, 0.34), (24, 0.2), (11, 0.11), (5, 0.06)):
        field += weight * smooth_noise(rng, size_wh, cell)
    return field / np.float32(field.std())


def _painted(clouds: Floats, light: Light, size_wh: tuple[int, int], time_s: float) -> Image:
    """The sky as one image: clouds shrink towards the horizon, as on a flat layer overhead."""
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
    image = np.clip(blue + (cloud - blue) * cover * (0.55 + 0.45 * up[:, None, None]), 0, 255).astype(np.uint8)
    return stored(cv2.resize(image, size_wh, interpolation=cv2.INTER_CUBIC))


def _skyline(rng: np.random.Generator, size_wh: tuple[int, int], high: int) -> tuple[Image, NDArray[np.uint8]]:
    """A strip of far trees and houses, uint8 (high, w, 4) BGR times alpha, and its class ids, uint8 (high, w).

    It closes on itself: its last image's width repeats its first.
    """
    length = size_wh[0] * 3
    strip, kinds = np.zeros((high, length, 4), np.uint8), np.zeros((high, length), np.uint8)
    unit = high / 100
    x = 0
    while x < length:
        wide = int(rng.uniform(25, 80) * unit) + 2
        if rng.random() < 0.55:
            _far_house(rng, strip, kinds, (x, wide, int(rng.uniform(42, 78) * unit)))
        x += int(wide * rng.uniform(0.5, 1.3))
    for _ in range(int(length / (9 * unit))):
        at, tall = int(rng.uniform(0, length)), rng.uniform(30, 74) * unit * (0.7 + 0.3 * np.sin(rng.uniform(0, 7)))
        _far_tree(rng, strip, kinds, (at, tall))
    again = slice(0, size_wh[0])
    return np.concatenate([strip, strip[:, again]], axis=1), np.concatenate([kinds, kinds[:, again]], axis=1)


def _far_house(rng: np.random.Generator, strip: Image, kinds: Image, place: tuple[int, int, int]) -> None:
    x, wide, tall = place
    high = strip.shape[0]
    wall = np.array(((96, 108, 124), (140, 146, 150), (74, 88, 112), (110, 112, 114))[int(rng.integers(4))])
    colour = (wall * rng.uniform(0.8, 1.1)).tolist()
    cv2.rectangle(strip, (x, high - tall), (x + wide, high), (*colour, 255), -1)
    roof = int(tall * rng.uniform(0.12, 0.25))
    cv2.rectangle(strip, (x, high - tall), (x + wide, high - tall + roof), (66, 68, 76, 255), -1)
    cv2.rectangle(kinds, (x, high - tall), (x + wide, high), BUILDING, -1)
    step = max(4, high // 14)
    for row in range(high - tall + roof + step // 2, high, step * 2):
        for column in range(x + step // 2, x + wide - step // 2, step + step // 2):
            cv2.rectangle(strip, (column, row), (column + step // 2, row + step), (58, 56, 54, 255), -1)


def _far_tree(rng: np.random.Generator, strip: Image, kinds: Image, place: tuple[int, float]) -> None:
    x, tall = place
    high = strip.shape[0]
    green = np.array(((44, 76, 62), (50, 70, 60), (56, 80, 84))[int(rng.integers(3))])
    for _ in range(26):
        dx, y = rng.normal(0, 0.2) * tall, high - tall * rng.uniform(0.25, 0.95)
        radius = max(2, int(tall * rng.uniform(0.08, 0.2)))
        shade = rng.uniform(0.75, 1.25) + 0.25 * (high - y) / max(1.0, tall) - 0.15
        cv2.circle(strip, (int(x + dx), int(y)), radius, (*(green * shade).tolist(), 255), -1, cv2.LINE_AA)
        cv2.circle(kinds, (int(x + dx), int(y)), radius, TREE, -1)
    cv2.rectangle(
        strip,
        (int(x - tall * 0.3), int(high - tall * 0.3)),
        (int(x + tall * 0.3), high),
        (*(green * 0.8).tolist(), 255),
        -1,
    )
    cv2.rectangle(kinds, (int(x - tall * 0.3), int(high - tall * 0.3)), (int(x + tall * 0.3), high), TREE, -1)
