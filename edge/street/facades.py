"""Fronts of houses as flat images: walls, windows, doors, shops."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np

from edge.street import materials
from edge.street.canvas import Texture
from edge.street.place import Image, rng_of
from edge.street.world import Building

Bgr = tuple[float, ...]

# Pixels per metre of a front.
PPM = 44
_TILE_PX = 512
# BGR; the first four are bricks, the others render.
_WALLS: tuple[Bgr, ...] = (
    (72, 92, 138), (98, 132, 164), (116, 150, 172), (62, 74, 112),
    (206, 218, 224), (188, 206, 216), (196, 198, 196), (164, 186, 206),
)  # fmt: skip
_DOORS: tuple[Bgr, ...] = ((40, 40, 120), (90, 50, 30), (50, 70, 40), (40, 40, 44), (140, 110, 60), (200, 200, 200))
_FASCIAS: tuple[Bgr, ...] = (
    (40, 30, 150), (120, 60, 25), (50, 90, 40), (30, 30, 34), (190, 190, 196), (30, 140, 200), (110, 30, 90),
    (150, 120, 30),
)  # fmt: skip


def wall_tile(seed: int, colour: int) -> Image:
    """uint8 (512, 512, 3): the wall material number `colour` of a street."""
    rng = rng_of(seed, 30, colour)
    tone = tuple(np.array(_WALLS[colour]) * rng.uniform(0.88, 1.08))
    if colour < 4:
        return materials.brick(rng, _TILE_PX, PPM, tone)
    return materials.plaster(rng, _TILE_PX, tone)


class Front:
    """A front being painted; x in metres from its left edge, y in metres up from the ground."""

    def __init__(self, seed: int, building: Building, tile: Image, lamps: float) -> None:
        self.building, self.lamps = building, lamps
        self.rng = rng_of(seed, 31, building.key)
        self.width_m, self.height_m = building.s1 - building.s0, building.height_m
        self.size_wh = (max(8, round(self.width_m * PPM)), max(8, round(self.height_m * PPM)))
        offset = (int(self.rng.integers(_TILE_PX)), int(self.rng.integers(_TILE_PX)))
        self.image: Image = materials.tiled(tile, self.size_wh, offset).copy()

    def painted(self) -> Image:
        """uint8 (H, W, 3) BGR: the finished front."""
        kind = self.building.kind
        if kind == "office":
            self._office()
        elif kind == "shop":
            self._floors(3.5)
            self._shop()
        else:
            self._houses()
        self._dirt()
        return self.image

    def _houses(self) -> None:
        """One house, or several alike side by side, each with its own door."""
        whole, count = self.image, self.building.units
        width_px, style = whole.shape[1], int(self.rng.integers(2**31))
        self.width_m /= count
        for unit in range(count):
            left, right = width_px * unit // count, width_px * (unit + 1) // count
            self.image = whole[:, left:right]
            own, self.rng = self.rng, rng_of(style)
            self._floors(0.0, own)
            self.rng = own
            self._doors()
        self.image = whole
        self.width_m *= count

    def rect(self, x0: float, y0: float, x1: float, y1: float, colour: Bgr) -> None:
        """Fill a rectangle given in metres."""
        left, right = round(x0 * PPM), round(x1 * PPM)
        top, bottom = self.size_wh[1] - round(y1 * PPM), self.size_wh[1] - round(y0 * PPM)
        cv2.rectangle(self.image, (left, top), (max(left, right - 1), max(top, bottom - 1)), colour, -1)

    def _floors(self, first_m: float, own: np.random.Generator | None = None) -> None:
        """Rows of windows above `first_m`; what is behind the panes comes from `own`."""
        rng = self.rng
        self.rng = own or rng
        storey = 2.75 if self.building.kind != "shop" else 2.9
        count = max(1, int((self.height_m - first_m - 0.3) / storey))
        wide = rng.uniform(0.9, 1.5)
        columns = max(1, int(self.width_m / rng.uniform(2.0, 2.9)))
        frame = (225, 230, 232) if rng.random() < 0.75 else (50, 52, 58)
        panes = (2, 2) if rng.random() < 0.6 else (int(rng.integers(1, 4)), int(rng.integers(1, 4)))
        lintel = (188, 200, 208) if rng.random() < 0.6 else None
        for floor in range(count):
            base = first_m + floor * storey + (0.95 if floor or first_m else 0.85)
            high = min(rng.uniform(1.45, 1.5), self.height_m - base - 0.25)
            for column in range(columns):
                middle = (column + 0.5) * self.width_m / columns
                if high > 0.6:
                    self._window(middle - wide / 2, base, wide, high, frame, panes)
                    if lintel:
                        self.rect(
                            middle - wide / 2 - 0.1,
                            base + high + 0.02,
                            middle + wide / 2 + 0.1,
                            base + high + 0.2,
                            lintel,
                        )
        if self.building.kind != "shop" and rng.random() < 0.3:
            self.rect(0, storey - 0.05, self.width_m, storey + 0.12, (176, 188, 196))

    def _window(self, x: float, y: float, wide: float, high: float, frame: Bgr, panes: tuple[int, int]) -> None:
        """A window: reveal, frame, glass with a reflection of the sky and a curtain behind, sill."""
        self.rect(x - 0.03, y - 0.02, x + wide + 0.03, y + high + 0.05, (60, 66, 74))
        self.rect(x, y, x + wide, y + high, frame)
        columns, rows = panes
        lit = self.lamps > 0 and self.rng.random() < 0.35 * self.lamps
        tone = self.rng.uniform(0.5, 1.25)
        curtain = self.rng.random() < 0.5
        for row in range(rows):
            for column in range(columns):
                x0 = x + 0.06 + column * (wide - 0.06) / columns
                y0 = y + 0.06 + row * (high - 0.06) / rows
                x1, y1 = x0 + (wide - 0.06) / columns - 0.06, y0 + (high - 0.06) / rows - 0.06
                self._glass((x0, y0, x1, y1), tone, lit, (y0 - y) / high, (y1 - y) / high)
        if curtain:
            for side in (0.06, wide - 0.06 - 0.22):
                self._veil(x + side, y + 0.06, x + side + 0.22, y + high - 0.06)
        self.rect(x - 0.1, y - 0.1, x + wide + 0.1, y - 0.01, (168, 178, 184))
        self.rect(x - 0.1, y - 0.15, x + wide + 0.1, y - 0.1, (66, 70, 78))

    def _glass(self, box: tuple[float, float, float, float], tone: float, lit: bool, low: float, high: float) -> None:
        """Glass from dark at the foot to the sky's reflection at the top; `low` and `high` place it in its window."""
        left, right = round(box[0] * PPM), round(box[2] * PPM)
        top, bottom = self.size_wh[1] - round(box[3] * PPM), self.size_wh[1] - round(box[1] * PPM)
        if right <= left or bottom <= top:
            return
        ramp = np.linspace(high, low, bottom - top, dtype=np.float32)[:, None, None]
        foot, head = np.array([40, 36, 32], np.float32), np.array([112, 100, 88], np.float32) * tone
        if lit:
            foot, head = np.array([70, 130, 180], np.float32), np.array([120, 190, 235], np.float32)
        self.image[top:bottom, left:right] = np.clip(foot + (head - foot) * ramp**1.5, 0, 255).astype(np.uint8)

    def _veil(self, x0: float, y0: float, x1: float, y1: float) -> None:
        left, right = round(x0 * PPM), round(x1 * PPM)
        top, bottom = self.size_wh[1] - round(y1 * PPM), self.size_wh[1] - round(y0 * PPM)
        part = self.image[top:bottom, left:right]
        if part.size:
            part[:] = cv2.addWeighted(part, 0.6, np.full_like(part, 170), 0.4, 0)

    def _doors(self) -> None:
        rng = self.rng
        x = rng.uniform(0.25, max(0.3, self.width_m - 1.4))
        colour = _DOORS[int(rng.integers(len(_DOORS)))]
        self.rect(x - 0.14, 0, x + 1.1, 2.5, (200, 208, 212))
        self.rect(x, 0.12, x + 0.95, 2.1, colour)
        self._glass((x + 0.08, 2.16, x + 0.88, 2.42), 1.0, False, 0.5, 1.0)
        dark = tuple(0.72 * c for c in colour)
        for row in (0.3, 1.25):
            for column in (0.12, 0.53):
                self.rect(x + column, row, x + column + 0.3, row + 0.7, dark)
        self.rect(x - 0.2, 0, x + 1.15, 0.12, (150, 156, 160))

    def _shop(self) -> None:
        """A shop front: stall riser, display windows with goods, a door, the fascia with its lettering."""
        rng = self.rng
        colour = _FASCIAS[int(rng.integers(len(_FASCIAS)))]
        dark = tuple(0.6 * c for c in colour)
        self.rect(0.08, 0, self.width_m - 0.08, 3.45, dark)
        door = rng.uniform(0.25, max(0.3, self.width_m - 1.5))
        edges = [0.25, *([door, door + 1.05] if door > 0.6 else [door + 1.05]), self.width_m - 0.25]
        for x0, x1 in pairwise(edges):
            is_door = abs(x1 - x0 - 1.05) < 0.01
            if x1 - x0 > 0.4:
                self._display(x0 + 0.05, 0.1 if is_door else 0.55, x1 - 0.05, 2.55)
        self.rect(0, 2.7, self.width_m, 3.4, colour)
        self.rect(0, 3.4, self.width_m, 3.5, tuple(0.8 * c + 40 for c in colour))
        self._lettering(0.4, 2.85, self.width_m - 0.4, 3.22, (235, 238, 240) if sum(colour) < 420 else (40, 40, 60))
        if rng.random() < 0.3:
            self._awning(colour)

    def _display(self, x0: float, y0: float, x1: float, y1: float) -> None:
        rng = self.rng
        bright = self.lamps > 0 or rng.random() < 0.35
        self._glass((x0, y0, x1, y1), rng.uniform(0.7, 1.2), bright and self.lamps > 0, 0.0, 1.0)
        for _ in range(int(6 * (x1 - x0))):
            x, y = rng.uniform(x0, x1 - 0.1), y0 + abs(rng.normal(0, 0.5))
            w, h = rng.uniform(0.08, 0.4), rng.uniform(0.08, 0.45)
            base = rng.uniform(40, 200, 3) * (0.9 if bright else 0.6)
            self.rect(x, y, min(x + w, x1), min(y + h, y1 - 0.3), tuple(base))
        if rng.random() < 0.3:
            x = rng.uniform(x0, max(x0, x1 - 0.8))
            self.rect(x, y0 + 0.7, min(x + 0.7, x1), y0 + 1.6, tuple(rng.uniform(60, 230, 3)))

    def _lettering(self, x0: float, y0: float, x1: float, y1: float, colour: Bgr) -> None:
        """Strokes that read as words from a car."""
        rng = self.rng
        x = x0 + max(0.0, (x1 - x0 - rng.uniform(1.5, 4)) / 2)
        stop = x1 - (x - x0)
        while x < stop - 0.1:
            w = rng.uniform(0.12, 0.24)
            if rng.random() < 0.85:
                self.rect(x, y0, x + 0.05, y1, colour)
                self.rect(x, y1 - 0.06, x + w, y1, colour) if rng.random() < 0.6 else None
                self.rect(x, y0, x + w, y0 + 0.06, colour) if rng.random() < 0.6 else None
                self.rect(x + w - 0.05, y0, x + w, y1, colour) if rng.random() < 0.5 else None
            x += w + 0.08

    def _awning(self, colour: Bgr) -> None:
        stripes = int(self.width_m / 0.35)
        for stripe in range(stripes):
            x = stripe * self.width_m / stripes
            self.rect(x, 2.15, x + self.width_m / stripes, 2.7, colour if stripe % 2 else (215, 218, 220))

    def _office(self) -> None:
        """A grid of glass between bands of panels."""
        rng = self.rng
        storey, bay = rng.uniform(3.0, 3.6), rng.uniform(1.3, 2.6)
        panel = tuple(rng.uniform(90, 190) * np.array([1.0, 1.0, rng.uniform(0.9, 1.05)]))
        strip = rng.uniform(0.5, 0.8)
        for floor in range(int(self.height_m / storey)):
            y = floor * storey
            if rng.random() < 0.5 or floor == 0:
                self.rect(0, y + storey * strip, self.width_m, y + storey, panel)
            columns = max(1, int(self.width_m / bay))
            for column in range(columns):
                x = column * self.width_m / columns
                lit = self.lamps > 0 and rng.random() < 0.4
                tone = rng.uniform(0.8, 1.3)
                box = (
                    x + 0.08,
                    y + (0.75 if floor else 0.25),
                    x + self.width_m / columns - 0.08,
                    y + storey * strip + 0.5,
                )
                self.rect(*(box[0] - 0.04, box[1] - 0.04, box[2] + 0.04, box[3] + 0.04), (70, 72, 74))
                self._glass(box, tone, lit, 0.1, 1.0)
        self.rect(0, self.height_m - 0.5, self.width_m, self.height_m, panel)

    def _dirt(self) -> None:
        """Darker at the foot, under the eaves and along the party walls; a drainpipe."""
        height, width = self.image.shape[:2]
        y = (height - np.arange(height, dtype=np.float32)) / PPM
        shade = 1 - 0.35 * np.exp(-y / 0.25) - 0.3 * np.exp(-(self.height_m - y) / 0.2)
        if self.rng.random() < 0.6:
            pipe = float(self.rng.uniform(0.05, 0.2))
            self.rect(pipe, 0, pipe + 0.09, self.height_m, (60, 60, 62))
            self.rect(pipe + 0.02, 0, pipe + 0.045, self.height_m, (90, 90, 92))
        x = np.arange(width, dtype=np.float32) / PPM
        across = 1 - 0.25 * np.exp(-x / 0.06) - 0.25 * np.exp(-(self.width_m - x) / 0.06)
        gain = np.multiply.outer(shade, across)
        self.image[:] = cv2.multiply(self.image, cv2.merge([gain] * 3), dtype=cv2.CV_8U)


def front_texture(seed: int, building: Building, tile: Image, lamps: float) -> Texture:
    """The front of a building as it looks from the street, left edge first."""
    return Texture(Front(seed, building, tile, lamps).painted())


def gable_image(rng: np.random.Generator, tile: Image, windows: bool) -> Image:
    """Nine metres by nine of a side wall: hardly any windows, stains from the weather."""
    size = 9 * PPM
    image = materials.tiled(tile, (size, size), (int(rng.integers(_TILE_PX)), 0)).copy()
    for _ in range(int(rng.integers(1, 4)) if windows else 0):
        x, y = int(rng.uniform(1.2, 6.5) * PPM), int((3.6 if rng.random() < 0.5 else 6.4) * PPM)
        wide, high = int(rng.uniform(0.5, 1.0) * PPM), int(rng.uniform(0.9, 1.3) * PPM)
        cv2.rectangle(image, (x - 4, y - 4), (x + wide + 4, y + high + 4), (214, 220, 222), -1)
        cv2.rectangle(image, (x, y), (x + wide, y + high), (66, 60, 54), -1)
        cv2.rectangle(image, (x, y), (x + wide, y + high // 2), (98, 90, 82), -1)
        cv2.line(image, (x, y + high // 2), (x + wide, y + high // 2), (214, 220, 222), 4)
        cv2.rectangle(image, (x - 7, y + high + 4), (x + wide + 7, y + high + 9), (150, 160, 166), -1)
    stains = 1 + 0.05 * materials.smooth_noise(rng, (size, size), 90)
    rows = (size - np.arange(size, dtype=np.float32)) / PPM
    stains *= (1 - 0.25 * np.exp(-rows / 0.4))[:, None]
    return cv2.multiply(image, cv2.merge([stains] * 3), dtype=cv2.CV_8U)
