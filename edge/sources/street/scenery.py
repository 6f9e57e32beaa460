"""Paints what stands still: houses, fences and hedges, trees, lamps and signs."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.sources.street import materials
from edge.sources.street.canvas import Canvas, Texture
from edge.sources.street.facades import PPM, front_texture, wall_tile
from edge.sources.street.light import Light
from edge.sources.street.place import BUILDING, FENCE, POLE, SIGN, TREE, Floats, Place, rng_of
from edge.sources.street.plants import VARIANTS, make_plant
from edge.sources.street.shadows import ShadowMap
from edge.sources.street.signs import make_sign
from edge.sources.street.view import View
from edge.sources.street.world import Barrier, Building, Standing

Image = NDArray[np.uint8]
_NEAR_M = 1.2
_BARRIER_CLASS = {"railing": FENCE, "planks": FENCE, "wall": BUILDING, "hedge": TREE}
_ROOFS = ((62, 64, 68), (58, 72, 108), (48, 50, 54), (66, 84, 128))


class Scenery:
    """Keeps the pictures of one street's houses and plants, and paints them."""

    def __init__(self, seed: int, place: Place, lamps: float) -> None:
        self._seed, self._place, self._lamps = seed, place, lamps
        self._walls: dict[int, Image] = {}
        self._fronts: dict[int, Texture] = {}
        self._shared: dict[str, Texture] = {}

    def _wall(self, colour: int) -> Image:
        if colour not in self._walls:
            self._walls[colour] = wall_tile(self._seed, colour)
        return self._walls[colour]

    def _front(self, building: Building) -> Texture:
        if building.key not in self._fronts:
            if len(self._fronts) > 160:
                for key in list(self._fronts)[:60]:
                    del self._fronts[key]
            self._fronts[building.key] = front_texture(self._seed, building, self._wall(building.colour), self._lamps)
        return self._fronts[building.key]

    def _shared_texture(self, name: str, number: int = 0) -> Texture:
        key = f"{name}{number}"
        if key not in self._shared:
            self._shared[key] = self._make_shared(name, number)
        return self._shared[key]

    def _make_shared(self, name: str, number: int) -> Texture:
        rng = rng_of(self._seed, 60, sum(map(ord, name)), number)
        if name == "gable":
            return Texture(materials.tiled(self._wall(number), (round(9 * PPM), round(9 * PPM))))
        if name == "roof":
            return Texture(materials.roof_tiles(rng, 512, PPM * 0.9, _ROOFS[number]))
        if name in _BARRIER_CLASS:
            return Texture(barrier_picture(rng, name, self._wall(self._place.wall_colours[0])))
        if name.startswith("shade_"):
            return Texture(np.ascontiguousarray(self._shared_texture(name[6:], number).image[:, :, 3]))
        if name.startswith("sign_"):
            return Texture(make_sign(rng, name))
        return make_plant(self._seed, name, number)

    def building(self, canvas: Canvas, view: View, light: Light, house: Building) -> None:
        s0 = max(house.s0, view.s + _NEAR_M)
        if house.s1 - s0 < 0.3:
            return
        x, high = house.sign * house.face, house.height_m
        middle = max(4.0, (s0 + house.s1) / 2 - view.s)
        if house.s0 > view.s + _NEAR_M:
            self._gable(canvas, view, light, house)
        if house.roof == "gable":
            self._roof(canvas, view, light, house, s0)
        ends = (s0, house.s1) if house.sign < 0 else (house.s1, s0)
        corners, _ = view.project(np.array([[x, y, s] for y, s in ((high, ends[0]), (high, ends[1]), (0, ends[1]), (0, ends[0]))]))
        cut = (s0 - house.s0) / (house.s1 - house.s0)
        part = (cut, 1.0) if house.sign < 0 else (0.0, 1.0 - cut)
        tone = light.tone(middle, light.gain(np.array([-house.sign, 0.0, 0.0])))
        if canvas.box(corners) is not None:
            canvas.textured(self._front(house), corners, tone, BUILDING, part=part)

    def _gable(self, canvas: Canvas, view: View, light: Light, house: Building) -> None:
        """The wall that faces the camera."""
        near, far = house.face, house.face + house.depth_m
        rise = 0.36 * house.depth_m if house.roof == "gable" else 0.0
        left, right = sorted((house.sign * near, house.sign * far))
        high = house.height_m
        outline = [[left, high], [(left + right) / 2, high + rise], [right, high], [right, 0], [left, 0]]
        points, _ = view.project(np.array([[x, y, house.s0] for x, y in outline]))
        corners, _ = view.project(
            np.array([[x, y, house.s0] for x, y in ((left, high + rise), (right, high + rise), (right, 0), (left, 0))])
        )
        if canvas.box(points) is not None:
            tone = light.tone(house.s0 - view.s, light.gain(np.array([0.0, 0.0, -1.0])))
            canvas.textured(self._shared_texture("gable", house.colour), corners, tone, BUILDING, outline=points)
        if house.chimney:
            self._chimney(canvas, view, light, house, rise)

    def _chimney(self, canvas: Canvas, view: View, light: Light, house: Building, rise: float) -> None:
        x = house.sign * (house.face + house.depth_m / 2)
        y0, y1 = house.height_m + rise - 0.7, house.height_m + rise + 1.0
        s0, s1 = house.s0 + 0.1, house.s0 + 0.9
        inner = x - house.sign * 0.5
        brick = self._wall(house.colour).reshape(-1, 3)[::997].mean(axis=0) * 0.85
        faces = (
            ([[inner, y1, s0], [inner, y1, s1], [inner, y0, s1], [inner, y0, s0]], [-house.sign, 0.0, 0.0]),
            ([[inner, y1, s0], [x, y1, s0], [x, y0, s0], [inner, y0, s0]], [0.0, 0.0, -1.0]),
        )
        for corners, normal in faces:
            points, _ = view.project(np.array(corners))
            tone = light.tone(s0 - view.s, light.gain(np.array(normal)))
            canvas.flat(points, tone[:, :3] @ brick + tone[:, 3], BUILDING)

    def _roof(self, canvas: Canvas, view: View, light: Light, house: Building, s0: float) -> None:
        eave, ridge = house.face - 0.25, house.face + house.depth_m / 2
        low, top = house.height_m - 0.1, house.height_m + 0.36 * house.depth_m
        ends = (s0, house.s1) if house.sign < 0 else (house.s1, s0)
        points = [[house.sign * x, y, s] for x, y, s in ((ridge, top, ends[0]), (ridge, top, ends[1]), (eave, low, ends[1]), (eave, low, ends[0]))]
        corners, _ = view.project(np.array(points))
        ab, cd = corners[2] - corners[0], corners[3] - corners[1]
        if ab[0] * cd[1] - ab[1] * cd[0] <= 0 or canvas.box(corners) is None:
            return
        normal = np.array([-house.sign * 0.58, 0.81, 0.0])
        tone = light.tone(max(4.0, (s0 + house.s1) / 2 - view.s), light.gain(normal))
        number = house.colour % len(_ROOFS)
        canvas.textured(self._shared_texture("roof", number), corners, tone, BUILDING)

    def barrier(self, canvas: Canvas, view: View, light: Light, thing: Barrier) -> None:
        """Fences repeat their picture every three metres, hedges and walls too."""
        s = max(thing.s0, view.s + _NEAR_M)
        sign = 1 if thing.x > 0 else -1
        gain = light.gain(np.array([-sign, 0.0, 0.0]))
        texture = self._shared_texture(thing.kind)
        pieces = np.arange(thing.s0, thing.s1, 3.0)[::-1].tolist()
        for start in pieces:
            end = min(start + 3.0, thing.s1)
            near = max(start, s)
            if end - near < 0.05:
                continue
            ends, part = ((near, end), ((near - start) / 3, (end - start) / 3))
            if sign > 0:
                ends, part = (end, near), (1 - part[1], 1 - part[0])
            corners, _ = view.project(
                np.array([[thing.x, y, z] for y, z in ((thing.height_m, ends[0]), (thing.height_m, ends[1]), (0, ends[1]), (0, ends[0]))])
            )
            if canvas.box(corners) is not None:
                canvas.textured(texture, corners, light.tone(near - view.s, gain), _BARRIER_CLASS[thing.kind], part=part)

    def plant_picture(self, thing: Standing, light: Light) -> tuple[Texture, Texture, tuple[float, float]]:
        """A plant's picture, the cut-out of its shadow, and its width and height in metres."""
        number = thing.key % VARIANTS
        texture = self._shared_texture(thing.kind, number)
        h, w = texture.image.shape[:2]
        return texture, self._shared_texture("shade_" + thing.kind, number), (thing.height_m * w / h, thing.height_m)

    def plant(self, canvas: Canvas, view: View, light: Light, thing: Standing) -> None:
        texture, _, (wide, high) = self.plant_picture(thing, light)
        foot, depth = view.project(np.array([[thing.x, 0.0, thing.s]]))
        if depth[0] < 3.0:
            return
        scale = view.focal_px * high / float(depth[0]) / texture.image.shape[0]
        corner = (float(foot[0, 0]) - texture.image.shape[1] * scale / 2, float(foot[0, 1]) - texture.image.shape[0] * scale)
        gain = light.gain(np.array([0.0, 0.35, 0.0])) + 0.55 * light.direct
        if light.to_sun[2] > 0:
            # Against the sun we look at the shaded side.
            gain = gain * 0.82
        canvas.sprite(texture, corner, (scale, scale), light.tone(float(depth[0]), gain), TREE)

    def post(self, canvas: Canvas, view: View, light: Light, thing: Standing) -> None:
        """A pole with what it carries."""
        depth = thing.s - view.s
        if depth < 2.0 or view.focal_px * 0.11 / depth < 0.7:
            return
        tone = light.tone(depth, light.gain(np.array([-0.5 if thing.x > 0 else 0.5, 0.2, -0.8])))
        if thing.kind == "lamp":
            self._lamp(canvas, view, tone, thing)
        elif thing.kind == "beacon":
            self._beacon(canvas, view, tone, thing)
        elif thing.kind == "bollard":
            self._upright(canvas, view, tone, thing, (0.0, thing.height_m), 0.16, (40, 40, 40))
            self._upright(canvas, view, tone, thing, (0.72, 0.82), 0.165, (190, 196, 200))
        elif thing.kind == "signal":
            self._upright(canvas, view, tone, thing, (0.0, thing.height_m), 0.12, (60, 60, 60))
            self._plate(canvas, view, tone, thing, "sign_signal", (0.36, 0.95))
        elif thing.kind == "sign_name":
            self._upright(canvas, view, tone, thing, (0.0, 0.6), 0.08, (70, 70, 70))
            self._plate(canvas, view, tone, thing, "sign_name", (1.0, 0.28))
        else:
            self._upright(canvas, view, tone, thing, (0.0, thing.height_m), 0.08, (118, 120, 120))
            size = (0.62, 0.62) if thing.kind != "sign_small" else (0.36, 0.5)
            self._plate(canvas, view, tone, thing, thing.kind, size)

    def _upright(self, canvas: Canvas, view: View, tone: Floats, thing: Standing, span: tuple[float, float], wide: float,
                 colour: tuple[float, float, float], shift: float = 0.0) -> None:  # fmt: skip
        """A round post: three strips, darker to the sides."""
        strips = ((-0.5, 0.5, 0.72), (-0.3, 0.5, 1.0), (0.22, 0.5, 0.8))
        for x0, x1, gain in strips:
            points = np.array([[thing.x + shift + wide * x, y, thing.s] for x, y in ((x0, span[1]), (x1, span[1]), (x1, span[0]), (x0, span[0]))])
            pixels, _ = view.project(points)
            lit = tone[:, :3] @ (np.array(colour) * gain) + tone[:, 3]
            canvas.flat(pixels, np.clip(lit, 0, 255), POLE)
            if view.focal_px * wide / (thing.s - view.s) < 3:
                break

    def _lamp(self, canvas: Canvas, view: View, tone: Floats, thing: Standing) -> None:
        high, inward = thing.height_m, -1 if thing.x > 0 else 1
        colour = ((100, 104, 102), (52, 54, 52), (128, 130, 130))[self._place.lamp_style]
        self._upright(canvas, view, tone, thing, (0.0, 1.3), 0.20, colour)
        self._upright(canvas, view, tone, thing, (0.0, high), 0.12, colour)
        arm = np.array([[0, high - 0.12], [0, high], [inward * 1.3, high + 0.28], [inward * 1.3, high + 0.2]])
        head = np.array([[inward * 1.2, high + 0.16], [inward * 1.2, high + 0.3], [inward * 1.9, high + 0.36], [inward * 1.9, high + 0.22]])
        for outline, shade in ((arm, colour), (head, tuple(0.8 * c for c in colour))):
            pixels, _ = view.project(np.array([[thing.x + x, y, thing.s] for x, y in outline]))
            lit = tone[:, :3] @ np.array(shade) + tone[:, 3]
            canvas.flat(pixels, np.clip(lit, 0, 255), POLE)
        if self._lamps > 0.5:
            under = [[inward * 1.25, high + 0.14], [inward * 1.85, high + 0.2], [inward * 1.85, high + 0.26], [inward * 1.25, high + 0.2]]
            pixels, _ = view.project(np.array([[thing.x + x, y, thing.s] for x, y in under]))
            canvas.flat(pixels, np.array([170.0, 225, 255]), POLE)

    def _beacon(self, canvas: Canvas, view: View, tone: Floats, thing: Standing) -> None:
        for band in range(6):
            colour = (225, 228, 228) if band % 2 else (30, 30, 30)
            self._upright(canvas, view, tone, thing, (band * 0.42, (band + 1) * 0.42), 0.12, colour)
        self._plate(canvas, view, tone, thing, "sign_globe", (0.36, 0.36), foot=2.5)

    def _plate(self, canvas: Canvas, view: View, tone: Floats, thing: Standing, name: str, size_m: tuple[float, float],
               foot: float | None = None) -> None:  # fmt: skip
        """A sign that faces the traffic, its top at the top of its post."""
        y0 = thing.height_m - size_m[1] if foot is None else foot
        foot_px, depth = view.project(np.array([[thing.x - size_m[0] / 2, y0 + size_m[1], thing.s]]))
        texture = self._shared_texture(name, thing.key % 3)
        h, w = texture.image.shape[:2]
        scale = (view.focal_px * size_m[0] / float(depth[0]) / w, view.focal_px * size_m[1] / float(depth[0]) / h)
        canvas.sprite(texture, (float(foot_px[0, 0]), float(foot_px[0, 1])), scale, tone, SIGN)

    def shade(self, shadows: ShadowMap, view: View, light: Light, thing: Building | Barrier | Standing) -> None:
        """Cast the shadow of a thing on the ground."""
        if isinstance(thing, Building):
            x0, x1 = house_x(thing)
            high = thing.height_m * (1.0 if thing.roof == "flat" else 1.12)
            shadows.cast(_box(x0, x1, thing.s0, thing.s1, high))
            shadows.close(np.array([[house_x(thing)[0], thing.s0], [house_x(thing)[1], thing.s0], [x1, thing.s1], [x0, thing.s1]]), 0.25)
        elif isinstance(thing, Barrier):
            if thing.kind != "railing":
                shadows.cast(_box(thing.x - 0.1, thing.x + 0.1, thing.s0, thing.s1, thing.height_m))
        elif thing.kind in ("lamp", "signal", "beacon", "bollard") or thing.kind.startswith("sign"):
            if thing.s - view.s < 45:
                shadows.cast(_box(thing.x - 0.07, thing.x + 0.07, thing.s - 0.07, thing.s + 0.07, thing.height_m))
        else:
            _, cutout, size = self.plant_picture(thing, light)
            if thing.s - view.s < 90:
                shadows.cast_cutout(cutout, thing.x, thing.s, size)


def house_x(house: Building) -> tuple[float, float]:
    low, high = sorted((house.sign * (house.face - 0.05), house.sign * (house.face + house.depth_m)))
    return low, high


def _box(x0: float, x1: float, s0: float, s1: float, high: float) -> Floats:
    return np.array([[x, y, s] for x in (x0, x1) for y in (0.0, high) for s in (s0, s1)])


def barrier_picture(rng: np.random.Generator, kind: str, wall: Image) -> Image:
    """Three metres of it: uint8 (128, 384, 3), railings with alpha."""
    if kind == "wall":
        part = materials.tiled(wall, (384, 128)).copy()
        part[:10] = (150, 158, 164)
        part[10:13] = (60, 62, 66)
        return part
    if kind == "hedge":
        return _hedge(rng)
    if kind == "planks":
        grey = np.repeat(0.12 * rng.standard_normal(32).astype(np.float32), 12)[None] + 0.06 * materials.smooth_noise(rng, (384, 128), 5)
        grey[:, ::12] -= 0.4
        part = materials.tinted(grey, (74, 98, 122))
        part[[20, 21, 100, 101]] = (part[[20, 21, 100, 101]] * 0.7).astype(np.uint8)
        return part
    part = np.zeros((128, 384, 4), np.uint8)
    colour = (44, 46, 46, 255)
    for x in range(4, 384, 14):
        cv2.line(part, (x, 4), (x, 124), colour, 3)
    for y in (10, 112):
        cv2.line(part, (0, y), (383, y), colour, 5)
    for x in (2, 194):
        cv2.line(part, (x, 0), (x, 127), colour, 8)
    return part


def _hedge(rng: np.random.Generator) -> Image:
    part = np.zeros((128, 384, 3), np.uint8)
    part[:] = (20, 42, 30)
    count = 5200
    x, y = rng.integers(0, 384, count), np.sort(rng.integers(0, 128, count))[::-1]
    light = np.clip(0.75 - 0.5 * y / 128 + 0.3 * rng.standard_normal(count), 0.1, 1.4)[:, None]
    colours = (light * np.array([58, 112, 80]) * (1 + 0.1 * rng.standard_normal((count, 3)))).clip(8, 220)
    for at, colour in zip(np.column_stack([x, y]).tolist(), colours.tolist(), strict=True):
        cv2.ellipse(part, at, (3, 2), float(at[0] * 37 % 180), 0, 360, colour, -1)
    return part
