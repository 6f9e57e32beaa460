"""Paints what stands still: houses, fences and hedges, trees, lamps and signs."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from edge.street import materials
from edge.street.canvas import SHIFT, Canvas, CutOut, Texture, fixed
from edge.street.facades import PPM, front_texture, gable_image, wall_tile
from edge.street.light import Light
from edge.street.place import BUILDING, FAR_M, FENCE, POLE, SIGN, TREE, Floats, Image, Place, rng_of
from edge.street.plants import VARIANTS, make_plant
from edge.street.shadows import ShadowMap
from edge.street.signs import make_sign
from edge.street.view import View
from edge.street.world import Barrier, Block, Building, SideRow, Standing

_NEAR_M = 1.2
# The image of a barrier is this long; none is longer.
_BARRIER_M = 15.0
_CHIMNEY_REACH_M = 75.0
_EAVES_M = 0.25
_RISE_M = 25.0
# Side walls lower than this show no bricks.
_PLAIN_PX = 44.0
_BARRIER_CLASS = {"railing": FENCE, "planks": FENCE, "wall": BUILDING, "hedge": TREE}
_ROOFS = ((62, 64, 68), (58, 72, 108), (48, 50, 54), (66, 84, 128))


class Scenery:
    """Keeps the images of one street's houses and plants, and paints them."""

    def __init__(self, seed: int, place: Place, lamps: float) -> None:
        self._seed, self._place, self._lamps = seed, place, lamps
        self._walls: dict[int, Image] = {}
        self._fronts: dict[int, Texture] = {}
        self._shared: dict[str, Texture] = {}
        self._plants: dict[str, CutOut] = {}

    def keep(self, blocks: list[Block]) -> None:
        """Forget the houses of all other blocks: at up to 6 MB each, and as much again for their smaller copies."""
        near = {house.key for block in blocks for house in block.buildings}
        near |= {row.front.key for block in blocks for row in block.side_rows}
        for key in self._fronts.keys() - near:
            del self._fronts[key]

    def _wall(self, colour: int) -> Image:
        if colour not in self._walls:
            self._walls[colour] = wall_tile(self._seed, colour)
        return self._walls[colour]

    def _front(self, building: Building) -> Texture:
        if building.key not in self._fronts:
            self._fronts[building.key] = front_texture(self._seed, building, self._wall(building.colour), self._lamps)
        return self._fronts[building.key]

    def _shared_texture(self, name: str, number: int = 0) -> Texture:
        key = f"{name}{number}"
        if key not in self._shared:
            self._shared[key] = self._make_shared(name, number)
        return self._shared[key]

    def _make_shared(self, name: str, number: int) -> Texture:
        rng = rng_of(self._seed, 60, sum(map(ord, name)), number)
        if name == "roof":
            return Texture(materials.roof_tiles(rng, 512, PPM * 0.9, _ROOFS[number]))
        if name in _BARRIER_CLASS:
            piece = barrier_image(rng, name, self._wall(self._place.wall_colours[0]))
            return Texture(np.concatenate([piece] * round(_BARRIER_M / 3), axis=1))
        if name == "gable":
            return Texture(gable_image(rng, self._wall(number % 10), windows=number >= 10))
        return Texture(make_sign(rng, name))

    def building(self, canvas: Canvas, view: View, light: Light, house: Building) -> None:
        """Draw a house: front, gable and roof, as far as they are seen."""
        s0 = max(house.s0, view.s + _NEAR_M)
        if house.s1 - s0 < 0.3:
            return
        near = house.s0 - view.s
        if near > FAR_M - 2:
            return
        front = self._front(house)
        if near > FAR_M - _RISE_M:
            # Far houses come up from behind the skyline; at full height at once they would pop up.
            share = 0.3 + 0.7 * (FAR_M - near) / _RISE_M
            house = replace(house, height_m=house.height_m * share, rise_m=house.rise_m * share)
        x, high = house.sign * house.face, house.height_m
        middle = max(4.0, (s0 + house.s1) / 2 - view.s)
        if house.s0 > view.s + _NEAR_M and house.hidden_m < house.height_m + house.rise_m:
            self._gable(canvas, view, light, house)
        if house.chimney and house.s0 - view.s < _CHIMNEY_REACH_M:
            for unit in range(house.units):
                self._chimney(canvas, view, light, house, house.s0 + unit * (house.s1 - house.s0) / house.units)
        ends = (s0, house.s1) if house.sign < 0 else (house.s1, s0)
        corners = view.polygon([(x, y, s) for y, s in ((high, ends[0]), (high, ends[1]), (0, ends[1]), (0, ends[0]))])
        cut = (s0 - house.s0) / (house.s1 - house.s0)
        part = (cut, 1.0) if house.sign < 0 else (0.0, 1.0 - cut)
        tone = light.tone(middle, light.facing(-house.sign, 0.0, 0.0))
        if canvas.box(corners) is not None:
            canvas.textured(front, corners, tone, BUILDING, part=part)
        if house.rise_m:
            self._roof(canvas, view, light, house, s0)

    def _gable(self, canvas: Canvas, view: View, light: Light, house: Building) -> None:
        """The wall that faces the camera."""
        near, far = house.face, house.face + house.depth_m
        rise = house.rise_m
        left, right = sorted((house.sign * near, house.sign * far))
        high, foot = house.height_m, min(max(0.0, house.hidden_m - 0.1), house.height_m)
        outline = ((left, high), ((left + right) / 2, high + rise), (right, high), (right, foot), (left, foot))
        points = view.polygon([(x, y, house.s0) for x, y in outline])
        corners = view.polygon(
            [(x, y, house.s0) for x, y in ((left, high + rise), (right, high + rise), (right, 0), (left, 0))]
        )
        if canvas.box(points) is not None:
            tone = light.tone(house.s0 - view.s, light.facing(0.0, 0.0, -1.0))
            # Windows would be stretched on a tall wall, and cut by a neighbour's roof.
            variety = house.colour + 10 * (house.key % 3) * (house.height_m < 10 and not house.hidden_m)
            texture = self._shared_texture("gable", variety)
            if float(points[:, 1].max() - points[:, 1].min()) < _PLAIN_PX:
                canvas.flat(points, cv2.transform(texture.bands(1), tone)[0, 0], BUILDING)
            else:
                canvas.textured(texture, corners, tone, BUILDING, outline=points)

    def side_row(self, canvas: Canvas, view: View, light: Light, row: SideRow) -> None:
        """Draw the row of houses at the back of a junction."""
        depth = row.s - view.s
        if not _NEAR_M < depth < FAR_M - _RISE_M:
            return
        ends = (row.x1, row.x0) if row.front.sign < 0 else (row.x0, row.x1)
        left, right = (row.front.sign * x for x in ends)
        high = row.front.height_m
        corners = view.polygon([(x, y, row.s) for x, y in ((left, high), (right, high), (right, 0.0), (left, 0.0))])
        if canvas.box(corners) is not None:
            tone = light.tone(depth, light.facing(0.0, 0.0, -1.0))
            canvas.textured(self._front(row.front), corners, tone, BUILDING)

    def _chimney(self, canvas: Canvas, view: View, light: Light, house: Building, s0: float) -> None:
        if s0 - view.s < 4:
            return
        x = house.sign * (house.face + house.depth_m / 2)
        y0, y1 = house.height_m + house.rise_m - 0.7, house.height_m + house.rise_m + 1.0
        s0, s1 = s0 + 0.1, s0 + 0.9
        inner = x - house.sign * 0.5
        brick = self._wall(house.colour).reshape(-1, 3)[::997].mean(axis=0) * 0.85
        faces = (
            ([(inner, y1, s0), (inner, y1, s1), (inner, y0, s1), (inner, y0, s0)], [-house.sign, 0.0, 0.0]),
            ([(inner, y1, s0), (x, y1, s0), (x, y0, s0), (inner, y0, s0)], [0.0, 0.0, -1.0]),
        )
        for corners, normal in faces:
            points = view.polygon(corners)
            tone = light.tone(s0 - view.s, light.facing(*normal))
            canvas.flat(points, tone[:, :3] @ brick + tone[:, 3], BUILDING)

    def _roof(self, canvas: Canvas, view: View, light: Light, house: Building, s0: float) -> None:
        eave, ridge = house.face - _EAVES_M, house.face + house.depth_m / 2
        # Low enough that the roof's edge covers the top of the wall behind it, from where the camera is.
        shown = (house.height_m - view.height_m) * eave / house.face
        low, top = view.height_m + shown - 0.06, house.height_m + house.rise_m
        ends = (s0, house.s1) if house.sign < 0 else (house.s1, s0)
        places = ((ridge, top, ends[0]), (ridge, top, ends[1]), (eave, low, ends[1]), (eave, low, ends[0]))
        corners = view.polygon([(house.sign * x, y, s) for x, y, s in places])
        ab, cd = corners[2] - corners[0], corners[3] - corners[1]
        if ab[0] * cd[1] - ab[1] * cd[0] <= 0 or canvas.box(corners) is None:
            return
        tone = light.tone(max(4.0, (s0 + house.s1) / 2 - view.s), light.facing(-house.sign * 0.58, 0.81, 0.0))
        number = house.colour % len(_ROOFS)
        canvas.textured(self._shared_texture("roof", number), corners, tone, BUILDING)
        gutter = np.array([corners[3], corners[2]])
        thick = max(1, round(0.11 * view.focal_px / max(4.0, (s0 + house.s1) / 2 - view.s)))
        cv2.line(canvas.image, *fixed(gutter).tolist(), (tone @ (46, 44, 44, 1)).tolist(), thick, cv2.LINE_AA, SHIFT)

    def barrier(self, canvas: Canvas, view: View, light: Light, thing: Barrier) -> None:
        """Draw a railing, fence, wall or hedge along the road."""
        near = max(thing.s0, view.s + _NEAR_M)
        if thing.s1 - near < 0.05:
            return
        sign = 1 if thing.x > 0 else -1
        ends, part = (near, thing.s1), ((near - thing.s0) / _BARRIER_M, (thing.s1 - thing.s0) / _BARRIER_M)
        if sign > 0:
            ends, part = ends[::-1], (1 - part[1], 1 - part[0])
        top = thing.height_m
        corners = view.polygon(
            [(thing.x, y, z) for y, z in ((top, ends[0]), (top, ends[1]), (0, ends[1]), (0, ends[0]))]
        )
        if canvas.box(corners) is not None:
            tone = light.tone(near - view.s, light.facing(-sign, 0.0, 0.0))
            canvas.textured(self._shared_texture(thing.kind), corners, tone, _BARRIER_CLASS[thing.kind], part=part)

    def _plant(self, thing: Standing) -> CutOut:
        key = f"{thing.kind}{thing.key % VARIANTS}"
        if key not in self._plants:
            self._plants[key] = make_plant(self._seed, thing.kind, thing.key % VARIANTS)
        return self._plants[key]

    def upright(self, canvas: Canvas, view: View, light: Light, thing: Standing) -> None:
        """A plant, or a post with what it carries."""
        if _is_post(thing):
            self.post(canvas, view, light, thing)
        else:
            self.plant(canvas, view, light, thing)

    def plant(self, canvas: Canvas, view: View, light: Light, thing: Standing) -> None:
        """Draw a tree or bush, flat and facing the camera."""
        depth = thing.s - view.s
        if not 3.0 < depth < FAR_M or view.focal_px * thing.height_m / depth < 12.0:
            return
        image = self._plant(thing)
        wide, high = image.size_wh
        u, v = view.pixel(thing.x, 0.0, thing.s)
        grown = min(1.0, 0.3 + (FAR_M - depth) / _RISE_M)
        scale = view.focal_px * thing.height_m * grown / depth / high
        gain = light.facing(0.0, 0.35, 0.0) + 0.55 * light.direct
        if light.to_sun[2] > 0:
            # Against the sun we look at the shaded side.
            gain = gain * 0.82
        corner = (u - wide * scale / 2, v - high * scale)
        canvas.cutout(image, corner, scale, light.tone(depth, gain), TREE)

    def post(self, canvas: Canvas, view: View, light: Light, thing: Standing) -> None:
        """A pole with what it carries."""
        depth = thing.s - view.s
        if depth < 2.0 or view.focal_px * 0.11 / depth < 0.9:
            return
        tone = light.tone(depth, light.facing(-0.5 if thing.x > 0 else 0.5, 0.2, -0.8))
        if thing.kind == "lamp":
            self._lamp(canvas, view, light, tone, thing)
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

    def _upright(
        self,
        canvas: Canvas,
        view: View,
        tone: Floats,
        thing: Standing,
        span: tuple[float, float],
        wide: float,
        colour: tuple[float, float, float],
    ) -> None:
        """A round post from span[0] to span[1] above the ground: three strips, darker to the sides."""
        strips = ((-0.5, 0.5, 0.72), (-0.3, 0.5, 1.0), (0.22, 0.5, 0.8))
        for x0, x1, gain in strips:
            edges = ((x0, span[1]), (x1, span[1]), (x1, span[0]), (x0, span[0]))
            pixels = view.polygon([(thing.x + wide * x, y, thing.s) for x, y in edges])
            lit = tone[:, :3] @ (np.array(colour) * gain) + tone[:, 3]
            canvas.flat(pixels, np.clip(lit, 0, 255), POLE)
            if view.focal_px * wide / (thing.s - view.s) < 5:
                break

    def _lamp(self, canvas: Canvas, view: View, light: Light, tone: Floats, thing: Standing) -> None:
        high, inward = thing.height_m, -1 if thing.x > 0 else 1
        colour = ((100, 104, 102), (52, 54, 52), (128, 130, 130))[self._place.lamp_style]
        self._upright(canvas, view, tone, thing, (0.0, 1.3), 0.20, colour)
        self._upright(canvas, view, tone, thing, (0.0, high), 0.12, colour)
        arm = np.array([[0, high - 0.12], [0, high], [inward * 1.3, high + 0.28], [inward * 1.3, high + 0.2]])
        head = np.array(
            [
                [inward * 1.2, high + 0.16],
                [inward * 1.2, high + 0.3],
                [inward * 1.9, high + 0.36],
                [inward * 1.9, high + 0.22],
            ]
        )
        for outline, shade in ((arm, colour), (head, tuple(0.8 * c for c in colour))):
            pixels = view.polygon([(thing.x + x, y, thing.s) for x, y in outline.tolist()])
            lit = tone[:, :3] @ np.array(shade) + tone[:, 3]
            canvas.flat(pixels, np.clip(lit, 0, 255), POLE)
        if light.lamps:
            at = view.pixel(thing.x + inward * 1.55, high + 0.2, thing.s)
            radius = view.focal_px * 0.9 / (thing.s - view.s) + 2
            canvas.glow(at, radius, tuple(light.lamps * c for c in (110.0, 190.0, 235.0)))

    def _beacon(self, canvas: Canvas, view: View, tone: Floats, thing: Standing) -> None:
        for band in range(6):
            colour = (225, 228, 228) if band % 2 else (30, 30, 30)
            self._upright(canvas, view, tone, thing, (band * 0.42, (band + 1) * 0.42), 0.12, colour)
        self._plate(canvas, view, tone, thing, "sign_globe", (0.36, 0.36), foot=2.5)

    def _plate(self, canvas: Canvas, view: View, tone: Floats, thing: Standing, name: str, size_m: tuple[float, float],
               foot: float | None = None) -> None:  # fmt: skip
        """A sign that faces the traffic, its top at the top of its post."""
        y0 = thing.height_m - size_m[1] if foot is None else foot
        corner, depth = view.pixel(thing.x - size_m[0] / 2, y0 + size_m[1], thing.s), thing.s - view.s
        texture = self._shared_texture(name, thing.key % 3)
        h, w = texture.image.shape[:2]
        scale = (view.focal_px * size_m[0] / depth / w, view.focal_px * size_m[1] / depth / h)
        canvas.sprite(texture, corner, scale, tone, SIGN)

    def shade(self, shadows: ShadowMap, view: View, light: Light, thing: Building | Barrier | Standing) -> None:
        """Cast the shadow of a thing on the ground."""
        if isinstance(thing, Building):
            if thing.s0 - view.s > 85 or (shadows.throw[0] * thing.sign > 0 and abs(shadows.throw[1]) < 1.0):
                return
            x0, x1 = house_x(thing)
            high = thing.height_m + 0.3 * thing.rise_m
            shadows.cast(_box(x0, x1, thing.s0 - view.s, thing.s1 - view.s, high))
        elif isinstance(thing, Barrier):
            if thing.kind != "railing" and thing.s0 - view.s < 40:
                shadows.cast(_box(thing.x - 0.1, thing.x + 0.1, thing.s0 - view.s, thing.s1 - view.s, thing.height_m))
        elif _is_post(thing):
            if thing.s - view.s < 28:
                z = thing.s - view.s
                shadows.cast(_box(thing.x - 0.07, thing.x + 0.07, z - 0.07, z + 0.07, thing.height_m))
        else:
            if thing.s - view.s < 55 and shadows.has_sun:
                image = self._plant(thing)
                wide_m = thing.height_m * image.size_wh[0] / image.size_wh[1]
                shadows.cast_cutout(image.alpha, thing.x, thing.s - view.s, (wide_m, thing.height_m))


def _is_post(thing: Standing) -> bool:
    return thing.kind in ("lamp", "signal", "beacon", "bollard") or thing.kind.startswith("sign_")


def house_x(house: Building) -> tuple[float, float]:
    """The least and largest X of a house, in metres."""
    low, high = sorted((house.sign * (house.face - 0.05), house.sign * (house.face + house.depth_m)))
    return low, high


def _box(x0: float, x1: float, s0: float, s1: float, high: float) -> Floats:
    return np.array([[x, y, s] for x in (x0, x1) for y in (0.0, high) for s in (s0, s1)])


def barrier_image(rng: np.random.Generator, kind: str, wall: Image) -> Image:
    """Three metres of it: uint8 (128, 384, 3), railings with alpha."""
    if kind == "wall":
        part = materials.tiled(wall, (384, 128)).copy()
        part[:10] = (150, 158, 164)
        part[10:13] = (60, 62, 66)
        return part
    if kind == "hedge":
        return _hedge(rng)
    if kind == "planks":
        grey = np.repeat(0.12 * rng.standard_normal(32).astype(np.float32), 12)[None] + 0.06 * materials.smooth_noise(
            rng, (384, 128), 5
        )
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
