"""The image in the making: an image with its labels, and the strokes that change both together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.street.memory import Scratch
from edge.street.place import Floats, Image

# Fractional bits of the coordinates given to OpenCV's polygon fill.
SHIFT = 4
# Something to paint: how far along the road it is, and the stroke.
Paint = tuple[float, Callable[[], object]]
# Flat things narrower than this are painted as a few bands of colour.
_FLAT_PX = 9.0
# Grey levels which the air adds that may be added to all of a cut-out's colours alike.
_THIN_AIR = 14.0


def fixed(points: Floats) -> NDArray[np.int32]:
    """Pixel coordinates as fixed point for OpenCV's drawing; pixel centres are at .5 here, at whole numbers there."""
    return (points * (1 << SHIFT) - 0.5 * ((1 << SHIFT) - 1)).astype(np.int32)


class Texture:
    """An image of a flat thing, uint8 (h, w, 3 or 4), and its smaller copies, made when first wanted."""

    __slots__ = ("_framed", "_levels", "image")

    def __init__(self, image: Image) -> None:
        self.image = image
        self._levels: dict[tuple[int, int], Image] = {}
        self._framed: dict[tuple[int, int], Image] = {}

    def bands(self, count: int) -> Image:
        """uint8 (count, 1, 3): the mean colours of that many bands, from the top."""
        if (-1, count) not in self._framed:
            self._framed[-1, count] = cv2.resize(self.image, (1, count), interpolation=cv2.INTER_AREA)
        return self._framed[-1, count]

    def framed(self, halvings_x: int, halvings_y: int) -> Image:
        """A level with its outermost texels repeated once around it."""
        key = (halvings_x, halvings_y)
        if key not in self._framed:
            level = self.level(*key)
            self._framed[key] = cv2.copyMakeBorder(level, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
        return self._framed[key]

    def level(self, halvings_x: int, halvings_y: int) -> Image:
        """uint8 (h, w, 3): the texture halved so many times in each direction, as far as it goes; kept."""
        height, width = self.image.shape[:2]
        key = (max(0, min(halvings_x, width.bit_length() - 2)), max(0, min(halvings_y, height.bit_length() - 2)))
        if key == (0, 0):
            return self.image
        if key not in self._levels:
            size = (max(1, width >> key[0]), max(1, height >> key[1]))
            self._levels[key] = cv2.resize(self.image, size, interpolation=cv2.INTER_AREA)
        return self._levels[key]


def _halvings(texels: float, pixels: float) -> int:
    """How often a texture can be halved and still have about a texel per pixel."""
    return max(0, int(np.log2(max(texels, 1.0) / max(pixels, 1.0)) + 0.35))


@dataclass(frozen=True)
class Outline:
    """What of a thing with gaps its label covers: where a box of `gap` pixels has a mean alpha above `least`.

    People who label images draw a line round a tree, not round its leaves.
    """

    gap: int
    least: int


class CutOut:
    """An image with much empty space, uint8 (h, w, 4), kept as the few parts that hold something.

    `parts` are ((x, y) of the part's top left, texture); `size_wh`, `alpha` and `outline` (gap in texels) are of the
    whole.
    """

    def __init__(self, image: Image, outline: Outline, cut_y: int | None = None) -> None:
        self.outline = outline
        self.size_wh = (image.shape[1], image.shape[0])
        self.alpha = Texture(np.ascontiguousarray(image[:, :, 3]))
        # The parts overlap by two rows: where each fades out at its edge the other is still whole.
        bands = [(0, image.shape[0])] if cut_y is None else [(0, cut_y), (max(0, cut_y - 2), image.shape[0])]
        self.parts: list[tuple[tuple[int, int], Texture]] = []
        for y0, y1 in bands:
            x, y, w, h = cv2.boundingRect(image[y0:y1, :, 3])
            if w and h:
                top, bottom = (y0 if y0 else y), (y1 if y1 < image.shape[0] else y0 + y + h)
                part = np.ascontiguousarray(image[top:bottom, x : x + w])
                self.parts.append(((x, top), Texture(part)))


@dataclass
class Canvas:
    """Image uint8 (H, W, 3), class ids uint8 (H, W), instance ids uint16 (H, W).

    `weave` is uint8 (H, W, 4) about 128: the fine unevenness of cloth and paint, laid over things close by.
    """

    image: Image
    classes: Image
    instances: NDArray[np.uint16]
    scratch: Scratch
    weave: Image

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height of the image in pixels."""
        return self.image.shape[1], self.image.shape[0]

    def box(self, points: Floats, margin_px: int = 1) -> tuple[int, int, int, int] | None:
        """x0, y0, x1, y1 of the part of the image that the points (N, 2) span; None if they span none of it."""
        xs, ys = zip(*points.tolist(), strict=True)
        height, width = self.classes.shape
        x0, y0 = max(0, int(min(xs)) - margin_px), max(0, int(min(ys)) - margin_px)
        x1, y1 = min(width, int(max(xs)) + 1 + margin_px), min(height, int(max(ys)) + 1 + margin_px)
        return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None

    def label(self, polygon_fixed: NDArray[np.int32], class_id: int) -> None:
        """Write the class of a convex polygon."""
        cv2.fillConvexPoly(self.classes, polygon_fixed, class_id, cv2.LINE_8, SHIFT)

    def flat(self, polygon: Floats, colour: Floats, class_id: int) -> None:
        """A convex polygon (N, 2) in one BGR colour."""
        points = fixed(polygon)
        cv2.fillConvexPoly(self.image, points, tuple(map(float, colour)), cv2.LINE_AA, SHIFT)
        self.label(points, class_id)

    def textured(
        self,
        texture: Texture,
        corners: Floats,
        tone: Floats,
        class_id: int,
        outline: Floats | None = None,
        part: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        """A texture on a flat quadrilateral.

        Args:
            corners: float32 (4, 2) pixels of the texture's top left, top right, bottom right and bottom left.
            tone: (3, 4) applied to the texture's colours.
            outline: the convex polygon (N, 2) to fill where that is not the whole quadrilateral.
            part: the columns of the texture to use, from and to, as shares of its width.
        """
        polygon = corners if outline is None else outline
        if (box := self.box(polygon)) is None:
            return
        x0, y0, x1, y1 = box
        (ax, ay), (bx, by), (cx, cy), (dx, dy) = corners.tolist()
        wide, tall = max(abs(bx - ax), abs(cx - dx), 1.0), max(abs(dy - ay), abs(cy - by), 1.0)
        height, width = texture.image.shape[:2]
        if (wide < _FLAT_PX or tall < _FLAT_PX / 2) and texture.image.shape[2] == 3:
            self._banded(texture, corners, tone, class_id, 4 if tall > 12 else 1)
            return
        # Framed, because a constant border is several times as quick as a replicated one where the box is outside.
        texels = texture.framed(_halvings(width * (part[1] - part[0]), wide), _halvings(height, tall))
        h, w = texels.shape[0] - 2, texels.shape[1] - 2
        left, right = part[0] * w + 0.5, part[1] * w + 0.5
        # Texel centres lie at half-integers on the surface: corner (0, 0) is half a texel outside the first centre.
        source = np.array([[left, 0.5], [right, 0.5], [right, h + 0.5], [left, h + 0.5]], np.float32)
        target = corners - np.array([x0 + 0.5, y0 + 0.5], np.float32)
        matrix = cv2.getPerspectiveTransform(target, source)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        size_hw, take = (y1 - y0, x1 - x0), self.scratch.take
        warped = take("warped", (*size_hw, texels.shape[2]))
        cv2.warpPerspective(texels, matrix, size_hw[::-1], warped, flags, cv2.BORDER_CONSTANT)
        points = fixed(polygon)
        cover = take("cover", size_hw)
        cover[:] = 0
        local = points - np.array([x0 << SHIFT, y0 << SHIFT], np.int32)
        cv2.fillConvexPoly(cover, local, 255, cv2.LINE_AA, SHIFT)
        if warped.shape[2] == 4:
            cover = cv2.multiply(cover, cv2.extractChannel(warped, 3), scale=1 / 255)
            warped = cv2.cvtColor(warped, cv2.COLOR_BGRA2BGR)
        lit = cv2.transform(warped, tone, take("lit", warped.shape))
        self.blend(self.image[y0:y1, x0:x1], lit, cover)
        self.label(points, class_id)

    def _banded(self, texture: Texture, corners: Floats, tone: Floats, class_id: int, bands: int) -> None:
        """A texture too small to show more than bands, one below the other."""
        lit = cv2.transform(texture.bands(bands), tone)[:, 0].tolist()
        left, right = corners[3] - corners[0], corners[2] - corners[1]
        edges = fixed(
            np.concatenate(
                [[corners[0] + left * (k / bands), corners[1] + right * (k / bands)] for k in range(bands + 1)]
            )
        )
        for k, colour in enumerate(lit):
            cv2.fillConvexPoly(self.image, edges[[2 * k, 2 * k + 1, 2 * k + 3, 2 * k + 2]], colour, cv2.LINE_AA, SHIFT)
        self.label(edges[[0, 1, 2 * bands + 1, 2 * bands]], class_id)

    def cutout(self, whole: CutOut, corner: tuple[float, float], scale: float, tone: Floats, class_id: int) -> None:
        """A cut-out with its top left at `corner`, `scale` pixels per texel."""
        for (x, y), texture in whole.parts:
            at = corner[0] + x * scale, corner[1] + y * scale
            outline = Outline(round(whole.outline.gap * scale), whole.outline.least)
            self.sprite(texture, at, (scale, scale), tone, class_id, outline)

    def sprite(
        self,
        texture: Texture,
        corner: tuple[float, float],
        scale: tuple[float, float],
        tone: Floats,
        class_id: int,
        outline: Outline | None = None,
    ) -> None:
        """A cut-out image, BGR with alpha (premultiplied), its top left at `corner`, `scale` pixels per texel."""
        height, width = texture.image.shape[:2]
        ends = np.array([corner, (corner[0] + width * scale[0], corner[1] + height * scale[1])])
        if (box := self.box(ends, 0)) is None:
            return
        x0, y0, x1, y1 = box
        down = _halvings(width, width * scale[0]), _halvings(height, height * scale[1])
        texels = texture.level(*down)
        sx, sy = scale[0] * width / texels.shape[1], scale[1] * height / texels.shape[0]
        matrix = np.array(
            [[1 / sx, 0, (x0 + 0.5 - corner[0]) / sx - 0.5], [0, 1 / sy, (y0 + 0.5 - corner[1]) / sy - 0.5]]
        )
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        warped = self.scratch.take("warped", (y1 - y0, x1 - x0, 4))
        cv2.warpAffine(texels, matrix, (x1 - x0, y1 - y0), warped, flags, cv2.BORDER_CONSTANT)
        self.stamp(warped, (x0, y0), class_id, tone=tone, outline=outline)

    def stamp(
        self,
        image: Image,
        at: tuple[int, int],
        class_id: int,
        instance: int = 0,
        tone: Floats | None = None,
        outline: Outline | None = None,
    ) -> None:
        """Lay an image, uint8 (h, w, 4) BGR times alpha and alpha, over the canvas.

        Labels go where alpha is at least 128, or within `outline`.
        """
        h, w = image.shape[:2]
        take, rgb = self.scratch.take, (h, w, 3)
        alpha = cv2.extractChannel(image, 3, take("alpha", (h, w)))
        rows, columns = slice(at[1], at[1] + h), slice(at[0], at[0] + w)
        region = self.image[rows, columns]
        colours = cv2.cvtColor(image, cv2.COLOR_BGRA2BGR, take("colours", rgb))
        cover = cv2.cvtColor(alpha, cv2.COLOR_GRAY2BGR, take("cover3", rgb))
        if tone is not None and tone[:, 3].max() < _THIN_AIR:
            near = tone.copy()
            near[[0, 1, 2], [0, 1, 2]] += tone[:, 3] / 90
            near[:, 3] = 0
            cv2.transform(colours, near, colours)
        elif tone is not None:
            # The air's own colour comes with the thing's cover: its share scales with alpha.
            lit, air = np.zeros((3, 4)), np.zeros((3, 4))
            lit[:, :3] = tone[:, :3]
            air[[0, 1, 2], [0, 1, 2]] = tone[:, 3] / 255
            cv2.transform(colours, lit, colours)
            cv2.add(colours, cv2.transform(cover, air, take("air", rgb)), colours)
        cv2.bitwise_not(cover, cover)
        cv2.multiply(region, cover, region, scale=1 / 255)
        cv2.add(region, colours, region)
        if outline and outline.gap > 1:
            cv2.blur(alpha, (outline.gap, outline.gap), alpha, borderType=cv2.BORDER_CONSTANT)
        solid = cv2.threshold(alpha, outline.least if outline else 127, 255, cv2.THRESH_BINARY)[1]
        cv2.copyTo(np.full((h, w), class_id, np.uint8), solid, self.classes[rows, columns])
        if instance:
            cv2.copyTo(np.full((h, w), instance, np.uint16), solid, self.instances[rows, columns])

    def glow(self, at: tuple[float, float], radius_px: float, colour: tuple[float, ...]) -> None:
        """Add a soft light about a point; labels stay."""
        if not 1.0 < radius_px < self.image.shape[1]:
            return
        middle = np.array([at])
        if (box := self.box(np.concatenate([middle - radius_px, middle + radius_px]), 0)) is None:
            return
        x0, y0, x1, y1 = box
        x = (np.arange(x0, x1, dtype=np.float32) + 0.5 - at[0]) / np.float32(radius_px)
        y = (np.arange(y0, y1, dtype=np.float32) + 0.5 - at[1]) / np.float32(radius_px)
        fall = np.maximum(0, 1 - np.square(x)[None] - np.square(y)[:, None]) ** 4
        light = (fall[:, :, None] * np.array(colour, np.float32)).astype(np.uint8)
        region = self.image[y0:y1, x0:x1]
        cv2.add(region, light, region)

    def settle(self, first_instanced: int) -> None:
        """Take the instance ids off all that strokes of a class below `first_instanced` covered later.

        Those strokes need not write that there is no instance, which makes them quicker.
        """
        gone = cv2.compare(self.classes, first_instanced, cv2.CMP_LT, self.scratch.take("cover", self.classes.shape))
        none = self.scratch.take("none", (*self.classes.shape, 2)).view(np.uint16)[:, :, 0]
        none[:] = 0
        cv2.copyTo(none, gone, self.instances)

    def blend(self, region: Image, image: Image, cover: Image) -> None:
        """region = image where cover is 255, itself where it is 0; uses up `image`. All of one height and width."""
        cover3 = cv2.cvtColor(cover, cv2.COLOR_GRAY2BGR, self.scratch.take("cover3", image.shape))
        cv2.multiply(image, cover3, image, scale=1 / 255)
        cv2.bitwise_not(cover3, cover3)
        cv2.multiply(region, cover3, region, scale=1 / 255)
        cv2.add(region, image, region)
