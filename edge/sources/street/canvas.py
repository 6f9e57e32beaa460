"""The picture in the making: an image with its labels, and the strokes that change both together."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Floats = NDArray[np.floating]

# Fractional bits of the coordinates given to OpenCV's polygon fill.
SHIFT = 4


def fixed(points: Floats) -> NDArray[np.int32]:
    """Pixel coordinates as fixed point for OpenCV's drawing; pixel centres are at .5 here, at whole numbers there."""
    return np.round((np.clip(points, -4000.0, 8000.0) - 0.5) * (1 << SHIFT)).astype(np.int32)


class Texture:
    """A picture of a flat thing, uint8 (h, w, 3 or 4), and its smaller copies, made when first wanted."""

    __slots__ = ("_levels", "image")

    def __init__(self, image: Image) -> None:
        self.image = image
        self._levels: dict[tuple[int, int], Image] = {}

    def level(self, halvings_x: int, halvings_y: int) -> Image:
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


@dataclass
class Canvas:
    """Image uint8 (H, W, 3), class ids uint8 (H, W), instance ids uint16 (H, W)."""

    image: Image
    classes: Image
    instances: NDArray[np.uint16]
    cover: Image = field(init=False)

    def __post_init__(self) -> None:
        self.cover = np.zeros_like(self.classes)

    @property
    def size_wh(self) -> tuple[int, int]:
        return self.image.shape[1], self.image.shape[0]

    def box(self, points: Floats, margin_px: int = 1) -> tuple[int, int, int, int] | None:
        """x0, y0, x1, y1 of the part of the picture that the points (N, 2) span; None if they span none of it."""
        low, high = points.min(axis=0), points.max(axis=0)
        x0, y0 = max(0, int(low[0]) - margin_px), max(0, int(low[1]) - margin_px)
        x1 = min(self.image.shape[1], int(high[0]) + 1 + margin_px)
        y1 = min(self.image.shape[0], int(high[1]) + 1 + margin_px)
        return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None

    def label(self, polygon_fixed: NDArray[np.int32], class_id: int, instance: int = 0) -> None:
        """Write the labels of a convex polygon."""
        cv2.fillConvexPoly(self.classes, polygon_fixed, class_id, cv2.LINE_8, SHIFT)
        cv2.fillConvexPoly(self.instances, polygon_fixed, instance, cv2.LINE_8, SHIFT)

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
        wide = max(abs(corners[1, 0] - corners[0, 0]), abs(corners[2, 0] - corners[3, 0]), 1.0)
        tall = max(abs(corners[3, 1] - corners[0, 1]), abs(corners[2, 1] - corners[1, 1]), 1.0)
        height, width = texture.image.shape[:2]
        texels = texture.level(_halvings(width * (part[1] - part[0]), float(wide)), _halvings(height, float(tall)))
        h, w = texels.shape[:2]
        left, right = part[0] * w - 0.5, part[1] * w - 0.5
        # Texel centres lie at half-integers on the surface: corner (0, 0) is half a texel outside the first centre.
        source = np.array([[left, -0.5], [right, -0.5], [right, h - 0.5], [left, h - 0.5]], np.float32)
        target = (corners - np.array([x0 + 0.5, y0 + 0.5])).astype(np.float32)
        matrix = cv2.getPerspectiveTransform(target, source)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        warped = cv2.warpPerspective(texels, matrix, (x1 - x0, y1 - y0), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        points = fixed(polygon)
        cover = self.cover[y0:y1, x0:x1]
        cover[:] = 0
        cv2.fillConvexPoly(cover, points - np.array([x0, y0]) * (1 << SHIFT), 255, cv2.LINE_AA, SHIFT)
        if warped.shape[2] == 4:
            cover = cv2.multiply(cover, warped[:, :, 3], scale=1 / 255)
            warped = warped[:, :, :3]
        blend(self.image[y0:y1, x0:x1], cv2.transform(warped, tone), cover)
        self.label(points, class_id)

    def sprite(self, texture: Texture, corner: tuple[float, float], scale: tuple[float, float], tone: Floats,
               class_id: int) -> None:  # fmt: skip
        """A cut-out picture, BGR with alpha (premultiplied), its top left at `corner`, `scale` pixels per texel."""
        height, width = texture.image.shape[:2]
        ends = np.array([corner, (corner[0] + width * scale[0], corner[1] + height * scale[1])])
        if (box := self.box(ends, 0)) is None:
            return
        x0, y0, x1, y1 = box
        down = _halvings(width, width * scale[0]), _halvings(height, height * scale[1])
        texels = texture.level(*down)
        sx, sy = scale[0] * width / texels.shape[1], scale[1] * height / texels.shape[0]
        matrix = np.array([[1 / sx, 0, (x0 + 0.5 - corner[0]) / sx - 0.5], [0, 1 / sy, (y0 + 0.5 - corner[1]) / sy - 0.5]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        warped = cv2.warpAffine(texels, matrix, (x1 - x0, y1 - y0), flags=flags, borderMode=cv2.BORDER_CONSTANT)
        self.stamp(warped, (x0, y0), class_id, tone=tone)

    def stamp(
        self, picture: Image, at: tuple[int, int], class_id: int, instance: int = 0, tone: Floats | None = None
    ) -> None:
        """Lay a picture, uint8 (h, w, 4) BGR times alpha and alpha, over the canvas; labels go where alpha >= 128."""
        h, w = picture.shape[:2]
        alpha = picture[:, :, 3]
        region = self.image[at[1] : at[1] + h, at[0] : at[0] + w]
        if tone is None:
            colours = picture[:, :, :3]
        else:
            # The air's own colour comes with the thing's cover: its share scales with alpha.
            full = np.zeros((3, 5))
            full[:, :3], full[:, 3] = tone[:, :3], tone[:, 3] / 255
            colours = cv2.transform(picture, full)
        around = cv2.multiply(region, cv2.cvtColor(cv2.bitwise_not(alpha), cv2.COLOR_GRAY2BGR), scale=1 / 255)
        cv2.add(around, colours, dst=region)
        solid = alpha >= 128
        self.classes[at[1] : at[1] + h, at[0] : at[0] + w][solid] = class_id
        self.instances[at[1] : at[1] + h, at[0] : at[0] + w][solid] = instance


def blend(region: Image, picture: Image, cover: Image) -> None:
    """region = picture where cover is 255, itself where it is 0, between in between; all of one height and width."""
    cover3 = cv2.cvtColor(cover, cv2.COLOR_GRAY2BGR)
    inside = cv2.multiply(picture, cover3, scale=1 / 255)
    cv2.multiply(region, cv2.bitwise_not(cover3), dst=region, scale=1 / 255)
    cv2.add(region, inside, dst=region)
