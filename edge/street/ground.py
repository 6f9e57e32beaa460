"""The ground: pieces of road and pavement painted from above, then laid into the image row by row."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.street import materials
from edge.street.canvas import SHIFT, Canvas, Image, fixed
from edge.street.light import Light
from edge.street.place import FAR_M, PAVEMENT, ROAD, TREE, Floats, Place, Side, rng_of
from edge.street.view import View
from edge.street.world import BLOCK_M, Block, World

# A piece reaches this far to each side of the middle of the road, and is this long.
HALF_M = 18.0
PIECE_M = 24.0
# Pixels per metre across and along the street of near and far pieces; a far piece serves from 26 m on.
_PPM = ((52.0, 40.0), (26.0, 10.0))
_FAR_PIECE_M = 26.0
# Depths at which the image changes to a coarser copy, and how often that copy is halved along the street.
_BANDS = ((0.0, 0, 0), (8.0, 0, 1), (14.0, 0, 2), (_FAR_PIECE_M, 1, 1), (48.0, 1, 2), (75.0, 1, 4), (140.0, 1, 5))
_TILE_PX = 768
_THIN_AIR_M = 12.0
KERB_M = 0.16
# Single stones: a tile of this many pixels, pixels per metre, and the depths (from, to) of its fine and its flat copy.
_STONES_PX, _STONES_PPM = 512, 110.0
_STONES_M = ((0.0, 5.0), (5.0, 9.0))
WHITE = (214, 218, 218)
YELLOW = (70, 176, 208)


class Ground:
    """Paints and keeps the pieces of ground of one street."""

    def __init__(self, seed: int, place: Place, world: World) -> None:
        self._seed, self.place, self._world = seed, place, world
        self._tiles: dict[tuple[str, int], Image] = {}
        self._pieces: dict[tuple[int, int], Image] = {}
        self._coarse: dict[tuple[int, int, int], Image] = {}
        self._stones: tuple[Image, Image] | None = None

    def _tile(self, kind: str, lod: int) -> Image:
        if (kind, lod) not in self._tiles:
            if lod:
                near = self._tile(kind, 0)
                # Nearest grain survives a little: an area mean alone would look like plastic.
                self._tiles[kind, lod] = cv2.resize(near, None, fx=0.5, fy=0.25, interpolation=cv2.INTER_AREA)
            else:
                self._tiles[kind, lod] = self._make_tile(kind)
        return self._tiles[kind, lod]

    def _make_tile(self, kind: str) -> Image:
        rng = rng_of(self._seed, 20, sum(map(ord, kind)))
        if kind == "road":
            return materials.asphalt(rng, _TILE_PX, self.place.asphalt)
        if kind == "garden":
            return materials.grass(rng, _TILE_PX)
        return materials.paving(rng, _TILE_PX, kind, _PPM[0])

    def _piece(self, number: int, lod: int, halvings: int) -> Image:
        """The piece that begins at S = number * PIECE_M, first row nearest, halved along the street."""
        key = (number, lod, halvings)
        if key not in self._coarse:
            if (number, lod) not in self._pieces:
                self._pieces[number, lod] = Painter(self, number, lod).painted()
            whole = self._pieces[number, lod]
            size = (whole.shape[1], max(1, whole.shape[0] >> halvings))
            self._coarse[key] = cv2.resize(whole, size, interpolation=cv2.INTER_AREA) if halvings else whole
        return self._coarse[key]

    def forget_before(self, s: float) -> None:
        """Drop the pieces that lie behind S or so far ahead that they belong to another frame."""
        first, last = int(s // PIECE_M) - 1, int((s + FAR_M) // PIECE_M) + 2
        self._pieces = {key: piece for key, piece in self._pieces.items() if first <= key[0] <= last}
        self._coarse = {key: piece for key, piece in self._coarse.items() if first <= key[0] <= last}
        for key in [key for key in self._pieces if key[1] == 0 and key[0] > first + 4]:
            del self._pieces[key]

    def draw(self, canvas: Canvas, view: View, light: Light) -> None:
        """Lay the ground into every row below the horizon."""
        top = max(0, int(np.ceil(view.horizon_v + view.focal_px * view.height_m / FAR_M)))
        rows = view.ground_rows(top)
        for v0, v1, number, lod, halvings in _strips(view, rows[0]):
            piece = self._piece(number, lod, halvings)
            _lay(canvas, view, piece, number, lod, (v0, v1, top), rows)
        self._roughen(canvas, view, rows, top)
        _air(canvas, light, rows[0], top)
        self._label(canvas, view, rows, top)
        self.forget_before(view.s)

    def _roughen(self, canvas: Canvas, view: View, rows: tuple[Floats, Floats, Floats], top: int) -> None:
        """Add single stones to the nearest rows, where the pieces of ground are too coarse to have them."""
        if self._stones is None:
            tile = materials.stones(rng_of(self._seed, 22), (_STONES_PX, _STONES_PX))
            once = np.concatenate([np.concatenate([tile] * 4, axis=1)] * 3, axis=0)
            self._stones = (once, cv2.resize(once, None, fx=1.0, fy=0.25, interpolation=cv2.INTER_AREA))
        depth = rows[0]
        for (near, far), stones, share in zip(_STONES_M, self._stones, (1.0, 0.25), strict=True):
            v0, v1 = (int(np.searchsorted(-depth, -edge)) for edge in (far, near))
            if v1 - v0 < 2:
                continue
            z, centre, scale = (row[v0:v1].astype(np.float32) for row in rows)
            shape = (v1 - v0, canvas.size_wh[0])
            map_x, map_y = (
                canvas.scratch.take(slot, (*shape, 4)).view(np.float32)[:, :, 0] for slot in ("map_x", "map_y")
            )
            across = np.arange(shape[1], dtype=np.float32) - canvas.size_wh[0] / 2
            np.multiply((_STONES_PPM / scale)[:, None], across, out=map_x)
            map_x += ((canvas.size_wh[0] / 2 - centre) / scale * _STONES_PPM + 2 * _STONES_PX)[:, None]
            along = (z + np.float32(view.s % (_STONES_PX / _STONES_PPM))) * (_STONES_PPM * share)
            map_y[:] = along[:, None]
            grey = canvas.scratch.take("cover", shape)
            cv2.remap(stones, map_x, map_y, cv2.INTER_LINEAR, grey, cv2.BORDER_REFLECT)
            grey3 = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR, canvas.scratch.take("cover3", (*shape, 3)))
            region = canvas.image[top + v0 : top + v1]
            cv2.multiply(region, grey3, region, scale=1 / 128)

    def _label(self, canvas: Canvas, view: View, rows: tuple[Floats, Floats, Floats], top: int) -> None:
        canvas.classes[top:] = PAVEMENT
        _, centre, scale = rows
        v = np.arange(top, top + len(centre)) + 0.5

        def fill(x0: float, x1: float, class_id: int) -> None:
            low = np.stack([centre + scale * x0, v], axis=1)
            high = np.stack([centre + scale * x1, v], axis=1)
            points = np.concatenate([low, high[::-1]])
            # The last row is drawn to its lower edge and beyond, so that none is left out.
            cv2.fillPoly(canvas.classes, [fixed(points)], class_id, cv2.LINE_8, SHIFT)

        for side in (self.place.left, self.place.right):
            if side.frontage == "garden":
                fill(side.sign * side.edge, side.sign * 400, TREE)
            if side.verge_m:
                fill(side.sign * (side.kerb + KERB_M), side.sign * side.walk, TREE)
        fill(-self.place.left.kerb, self.place.right.kerb, ROAD)
        for block in self._world.blocks_near(view.s):
            for sign in (-1, 1):
                if block.junction(sign):
                    polygon = mouth_outline(self.place.side(sign), block)
                    self._fill_ground(canvas, view, polygon, ROAD)

    def _fill_ground(self, canvas: Canvas, view: View, outline: Floats, class_id: int) -> None:
        """Label a polygon on the ground, (N, 2) as (X, S)."""
        points = np.stack([outline[:, 0], np.zeros(len(outline)), np.maximum(outline[:, 1], view.s + 1.5)], axis=1)
        if outline[:, 1].max() < view.s + 1.5:
            return
        pixels, _ = view.project(points)
        cv2.fillPoly(canvas.classes, [fixed(pixels)], class_id, cv2.LINE_8, SHIFT)


def _strips(view: View, depth: Floats) -> Iterator[tuple[int, int, int, int, int]]:
    """Runs of rows (from, to, piece, level of detail, halvings) which one texture fills; rows counted in `depth`."""
    number = np.floor((view.s + depth) / PIECE_M).astype(int)
    # Taller images keep finer copies further out.
    band = np.searchsorted([b[0] * min(1.6, view.focal_px / 900) for b in _BANDS], depth, side="right") - 1
    change = np.flatnonzero((np.diff(number) != 0) | (np.diff(band) != 0)) + 1
    edges = [0, *change.tolist(), len(depth)]
    for v0, v1 in pairwise(edges):
        _, lod, halvings = _BANDS[band[v0]]
        yield v0, v1, int(number[v0]), lod, halvings


def _lay(
    canvas: Canvas,
    view: View,
    piece: Image,
    number: int,
    lod: int,
    rows_at: tuple[int, int, int],
    rows: tuple[Floats, Floats, Floats],
) -> None:
    """Fill rows v0 to v1 from a piece."""
    v0, v1, top = rows_at
    depth, centre, scale = (row[v0:v1] for row in rows)
    width = canvas.size_wh[0]
    ppm_x = _PPM[lod][0]
    step = (ppm_x / scale).astype(np.float32)
    start = ((HALF_M - (centre / scale)) * ppm_x - 0.5 + 0.5 * step).astype(np.float32)
    map_x, map_y = (
        canvas.scratch.take(slot, (v1 - v0, width, 4)).view(np.float32)[:, :, 0] for slot in ("map_x", "map_y")
    )
    np.multiply(step[:, None], np.arange(width, dtype=np.float32), out=map_x)
    map_x += start[:, None]
    along = ((view.s + depth - number * PIECE_M) * (piece.shape[0] / PIECE_M) - 0.5).astype(np.float32)
    map_y[:] = along[:, None]
    target = canvas.image[top + v0 : top + v1]
    cv2.remap(piece, map_x, map_y, cv2.INTER_LINEAR, dst=target, borderMode=cv2.BORDER_REPLICATE)


def _air(canvas: Canvas, light: Light, depth: Floats, top: int) -> None:
    """Light the ground and let the air dim it, row by row; the nearest rows, with little air before them, all alike."""
    far = int(np.searchsorted(-depth, -_THIN_AIR_M))
    gain = light.ground_gain
    if far:
        clear = light.clear(depth[:far])[:, None]
        rows = canvas.image[top : top + far]
        columns = (gain * clear * 128, light.air * (1 - clear))
        times, plus = (
            cv2.repeat(
                column.round().astype(np.uint8)[:, None], 1, rows.shape[1], canvas.scratch.take(slot, rows.shape)
            )
            for slot, column in zip(("colours", "air"), columns, strict=True)
        )
        cv2.add(cv2.multiply(rows, times, times, scale=1 / 128), plus, dst=rows)
    near = canvas.image[top + far :]
    cv2.transform(near, light.tone(_THIN_AIR_M, gain), dst=near)


def mouth_outline(side: Side, block: Block) -> Floats:
    """The mouth of a side road as a polygon (N, 2) of (X, S): its kerbs curve into the street's."""
    s0, s1 = block.junction(side.sign) or (0.0, 0.0)
    radius = min(3.0, side.edge - side.kerb)
    angle = np.linspace(0, np.pi / 2, 5)
    near = np.stack([side.kerb + radius * (1 - np.cos(angle)), s0 - radius * (1 - np.sin(angle))], axis=1)
    far = np.stack([near[:, 0], s0 + s1 - near[:, 1]], axis=1)
    deep = np.linspace(40.0, 40.0, 2)
    ends = np.stack([deep, [s0, s1]], axis=1)
    # More points along the kerb line follow the bend of the road.
    outline = np.concatenate([near, ends, far[::-1]])
    outline[:, 0] *= side.sign
    return outline


class Painter:
    """Paints one piece of ground from above: column = (X + HALF_M) * ppm, row = (S - start) * ppm."""

    def __init__(self, ground: Ground, number: int, lod: int) -> None:
        self.place, self.world, self.lod = ground.place, ground._world, lod
        self.tile = ground._tile
        self.rng = rng_of(ground._seed, 21, number)
        self.ppm = _PPM[lod]
        self.s0 = number * PIECE_M
        self.size_wh = (round(2 * HALF_M * self.ppm[0]), round(PIECE_M * self.ppm[1]))
        self.image: Image = np.empty((self.size_wh[1], self.size_wh[0], 3), np.uint8)

    def painted(self) -> Image:
        """uint8 (H, W, 3) BGR: the finished piece."""
        for side in (self.place.left, self.place.right):
            self._outside(side)
        self._strip(-self.place.left.kerb, self.place.right.kerb, "road")
        blocks = self.world.blocks_between(self.s0 - 6, self.s0 + PIECE_M + 6)
        for block in blocks:
            for sign in (-1, 1):
                if block.junction(sign):
                    self._mouth(self.place.side(sign), block)
        self._wear()
        for side in (self.place.left, self.place.right):
            self._edge_lines(side, blocks)
        self._centre_line(blocks)
        for block in blocks:
            self._crossing(block)
        self._worn_paint()
        return self.image

    def _strip(self, x0: float, x1: float, kind: str) -> None:
        c0, c1 = (int(np.clip(round((x + HALF_M) * self.ppm[0]), 0, self.size_wh[0])) for x in sorted((x0, x1)))
        offset = (c0, round(self.s0 * self.ppm[1]))
        if c1 > c0:
            self.image[:, c0:c1] = materials.tiled(self.tile(kind, self.lod), (c1 - c0, self.size_wh[1]), offset)

    def _points(self, outline: Floats) -> NDArray[np.int32]:
        return fixed((outline - np.array([-HALF_M, self.s0])) * np.array(self.ppm))

    def box(self, x0: float, x1: float, s0: float, s1: float, colour: tuple[float, float, float]) -> None:
        """Paint a rectangle."""
        outline = np.array([[x0, s0], [x1, s0], [x1, s1], [x0, s1]])
        if s1 > self.s0 and s0 < self.s0 + PIECE_M:
            cv2.fillConvexPoly(self.image, self._points(outline), colour, cv2.LINE_AA, SHIFT)

    def _shade(self, x0: float, x1: float, gain: float, plus: float = 0.0) -> None:
        c0, c1 = (int(np.clip((x + HALF_M) * self.ppm[0], 0, self.size_wh[0])) for x in sorted((x0, x1)))
        if c1 > c0:
            view = self.image[:, c0:c1]
            view[:] = cv2.convertScaleAbs(view, alpha=gain, beta=plus)

    def _outside(self, side: Side) -> None:
        """Pavement, verge, frontage and the kerb stones."""
        sign = side.sign
        self._strip(sign * side.edge, sign * HALF_M, "garden" if side.frontage == "garden" else side.paving)
        self._strip(sign * side.kerb, sign * side.edge, side.paving)
        if side.verge_m:
            self._strip(sign * (side.kerb + KERB_M), sign * side.walk, "garden")
        kerb = (sign * side.kerb, sign * (side.kerb + KERB_M))
        self._strip(*kerb, "asphalt")
        self._shade(*kerb, 1.15, 12)
        for joint in np.arange(np.ceil(self.s0), self.s0 + PIECE_M, 0.92).tolist():
            self.box(min(kerb), max(kerb), joint, joint + 0.02, (92, 94, 94))

    def _mouth(self, side: Side, block: Block) -> None:
        mask = np.zeros(self.image.shape[:2], np.uint8)
        outline = self._points(mouth_outline(side, block))
        cv2.fillPoly(mask, [outline], 255, cv2.LINE_8, SHIFT)
        road = materials.tiled(self.tile("road", self.lod), self.size_wh, (0, round(self.s0 * self.ppm[1])))
        cv2.copyTo(road, mask, self.image)
        cv2.polylines(
            self.image, [outline], False, (150, 152, 152), max(1, int(0.13 * self.ppm[0])), cv2.LINE_AA, SHIFT
        )
        self._give_way(side, block)

    def _give_way(self, side: Side, block: Block) -> None:
        """The dashes across the mouth of a side road."""
        s0, s1 = block.junction(side.sign) or (0.0, 0.0)
        x0, x1 = sorted((side.sign * (side.kerb + 0.25), side.sign * (side.kerb + 0.5)))
        for start in np.arange(s0 + 0.3, s1 - 0.4, 0.9).tolist():
            self.box(x0, x1, start, start + 0.6, WHITE)

    def _wear(self) -> None:
        """Wheel tracks, gutters, patches, cracks and covers."""
        left, right = self.place.left, self.place.right
        for middle in (-left.lane_m / 2, right.lane_m / 2):
            for track in (middle - 0.75, middle + 0.75):
                self._shade(track - 0.28, track + 0.28, 0.955)
            self._shade(middle - 0.25, middle + 0.25, 0.975)
        for side in (left, right):
            self._shade(side.sign * (side.kerb - 0.25), side.sign * side.kerb, 0.88)
            self._shade(side.sign * (side.kerb - 0.06), side.sign * side.kerb, 0.7)
        for _ in range(int(self.rng.integers(0, 4))):
            self._patch()
        for _ in range(int(self.rng.integers(1, 5))):
            self._crack()
        for _ in range(int(self.rng.integers(0, 3))):
            at = (self.rng.uniform(-left.kerb + 0.6, right.kerb - 0.6), self.s0 + self.rng.uniform(1, PIECE_M - 1))
            self._cover(at)

    def _patch(self) -> None:
        rng = self.rng
        x, s = rng.uniform(-self.place.left.kerb, self.place.right.kerb), rng.uniform(0, PIECE_M)
        wide, long = rng.uniform(0.5, 2.4), rng.uniform(0.8, 7.0)
        c0, c1 = (int((x + HALF_M + d) * self.ppm[0]) for d in (0, wide))
        limit = int((self.place.right.kerb + HALF_M) * self.ppm[0])
        r0, r1 = (int(np.clip((s + d) * self.ppm[1], 0, self.size_wh[1])) for d in (0, long))
        view = self.image[r0:r1, c0 : min(c1, limit)]
        if view.size:
            view[:] = cv2.convertScaleAbs(view, alpha=rng.uniform(0.78, 1.14))
            cv2.rectangle(view, (0, 0), (view.shape[1] - 1, view.shape[0] - 1), (58, 58, 58), 1)

    def _crack(self) -> None:
        rng = self.rng
        start = np.array([rng.uniform(-self.place.left.kerb, self.place.right.kerb), self.s0 + rng.uniform(0, PIECE_M)])
        steps = rng.normal(0, 0.22, (int(rng.integers(6, 22)), 2)) + rng.normal(0, 0.22, 2)
        points = start + np.cumsum(steps, axis=0)
        points[:, 0] = np.clip(points[:, 0], -self.place.left.kerb, self.place.right.kerb)
        cv2.polylines(self.image, [self._points(points)], False, (56, 56, 56), 1, cv2.LINE_AA, SHIFT)

    def _cover(self, at: tuple[float, float]) -> None:
        """A manhole cover, in its frame."""
        angle = np.linspace(0, 2 * np.pi, 16, endpoint=False)
        ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        for radius, colour in ((0.38, (70, 72, 72)), (0.31, (62, 66, 70)), (0.24, (76, 80, 84))):
            cv2.fillConvexPoly(self.image, self._points(np.array(at) + ring * radius), colour, cv2.LINE_AA, SHIFT)

    def _edge_lines(self, side: Side, blocks: list[Block]) -> None:
        """Double yellow lines, the cycle lane's line, and the bays of parked cars; none across a side road."""
        spans = [block.junction(side.sign) for block in blocks]
        gaps = sorted(span for span in spans if span)
        starts = [self.s0 - 1, *(gap[1] + 1.5 for gap in gaps)]
        ends = [*(gap[0] - 1.5 for gap in gaps), self.s0 + PIECE_M + 1]
        for s0, s1 in zip(starts, ends, strict=True):
            if s1 <= s0:
                continue
            if self.place.yellow_lines and not side.bay_m:
                for inset in (0.3, 0.5):
                    x = side.sign * (side.kerb - inset)
                    self.box(x - 0.04, x + 0.04, s0, s1, YELLOW)
            line = side.sign * (side.kerb - side.bay_m - side.cycle_lane_m)
            if side.cycle_lane_m:
                self.box(line - 0.05, line + 0.05, s0, s1, WHITE)
            if side.bay_m:
                x = side.sign * (side.kerb - side.bay_m)
                for dash in np.arange(np.ceil(s0), s1 - 0.6, 1.2).tolist():
                    self.box(x - 0.04, x + 0.04, dash, dash + 0.6, WHITE)

    def _centre_line(self, blocks: list[Block]) -> None:
        kind = self.place.centre_line
        if kind == "double":
            for x in (-0.14, 0.14):
                self.box(x - 0.05, x + 0.05, self.s0 - 1, self.s0 + PIECE_M + 1, WHITE)
            return
        mark, period = (2.0, 6.0) if kind == "dash" else (4.0, 6.0)
        for dash in np.arange(np.floor(self.s0 / period) * period - period, self.s0 + PIECE_M, period).tolist():
            if not any(block.zebra_s is not None and abs(dash + 1 - block.zebra_s) < 4 for block in blocks):
                self.box(-0.06, 0.06, dash, dash + mark, WHITE)

    def _crossing(self, block: Block) -> None:
        if block.zebra_s is None:
            return
        left, right = self.place.left, self.place.right
        for x in np.arange(-left.kerb + 0.3, right.kerb - 0.4, 1.1).tolist():
            self.box(x, x + 0.55, block.zebra_s - 1.4, block.zebra_s + 1.4, WHITE)
        for end in (-2.0, 1.7):
            for x in np.arange(-left.kerb + 0.2, right.kerb - 0.2, 0.8).tolist():
                self.box(x, x + 0.45, block.zebra_s + end, block.zebra_s + end + 0.25, WHITE)

    def _worn_paint(self) -> None:
        """Traffic takes paint off in spots: where the noise is high the asphalt's grain shows through."""
        c0, c1 = (int((x + HALF_M) * self.ppm[0]) for x in (-self.place.left.kerb, self.place.right.kerb))
        road = self.image[:, c0:c1]
        tile = materials.tiled(self.tile("road", self.lod), (c1 - c0, self.size_wh[1]), (c0 * 3 + 11, 7))
        cv2.addWeighted(road, 0.84, tile, 0.16, 0, dst=road)


assert BLOCK_M % 1 == 0
