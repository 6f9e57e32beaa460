"""Tiles of material that repeat without a seam: asphalt, paving, grass, brick, plaster, roof tiles."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.street.place import Floats, Image


def smooth_noise(rng: np.random.Generator, size_wh: tuple[int, int], cell_px: float) -> NDArray[np.float32]:
    """float32 (h, w) noise with spots of about cell_px, mean 0, deviation about 1; it repeats without a seam."""
    w, h = max(2, round(size_wh[0] / cell_px)), max(2, round(size_wh[1] / cell_px))
    small = rng.standard_normal((h, w), np.float32)
    ringed = cv2.copyMakeBorder(small, 2, 2, 2, 2, cv2.BORDER_WRAP)
    scale = (size_wh[0] / w, size_wh[1] / h)
    big = cv2.resize(ringed, None, fx=scale[0], fy=scale[1], interpolation=cv2.INTER_CUBIC)
    x, y = round(2 * scale[0]), round(2 * scale[1])
    big = big[y : y + size_wh[1], x : x + size_wh[0]]
    return np.ascontiguousarray(big) * np.float32(1.4)


def grain(rng: np.random.Generator, size_wh: tuple[int, int]) -> NDArray[np.float32]:
    """float32 (h, w): noise of single pixels, mean 0, deviation 1."""
    return rng.standard_normal((size_wh[1], size_wh[0]), np.float32)


def tinted(grey: Floats, colour: tuple[float, float, float]) -> Image:
    """uint8 (h, w, 3): the BGR colour times 1 + grey."""
    return cv2.merge([np.clip((1 + grey) * c, 0, 255).astype(np.uint8) for c in colour])


def asphalt(rng: np.random.Generator, size_px: int, level: float) -> Image:
    """uint8 (size, size, 3): fine grain, lighter stones, soft blotches."""
    size = (size_px, size_px)
    grey = 0.05 * grain(rng, size) + 0.022 * smooth_noise(rng, size, 3) + 0.026 * smooth_noise(rng, size, 40)
    grey += 0.026 * smooth_noise(rng, size, 170) + 0.14 * (rng.random((size_px, size_px), np.float32) > 0.985)
    return tinted(grey, (level * 1.01, level * 1.0, level * 0.985))


def paving(rng: np.random.Generator, size_px: int, kind: str, ppm: tuple[float, float]) -> Image:
    """uint8 (size, size, 3) of pavement; ppm: pixels per metre across and along the street."""
    if kind == "asphalt":
        return asphalt(rng, size_px, float(rng.uniform(105, 135)))
    unit_m = (0.6, 0.75) if kind == "slabs" else (0.2, 0.1)
    counts = [max(1, round(size_px / (u * p))) for u, p in zip(unit_m, ppm, strict=True)]
    tones = rng.standard_normal((counts[1], counts[0]), np.float32) * (0.05 if kind == "slabs" else 0.09)
    grey = cv2.resize(tones, (size_px, size_px), interpolation=cv2.INTER_NEAREST)
    for axis, count in ((1, counts[0]), (0, counts[1])):
        # A joint is a dark line with a light one beside it: its far edge catches the light.
        for line in (np.arange(count) * size_px // count).tolist():
            index = [slice(None), slice(None)]
            index[axis] = slice(line, line + 2 if kind == "slabs" and ppm[1 - axis] > 30 else line + 1)
            grey[tuple(index)] -= 0.2 if kind == "slabs" else 0.16
    size = (size_px, size_px)
    grey += 0.035 * grain(rng, size) + 0.04 * smooth_noise(rng, size, 25) + 0.03 * smooth_noise(rng, size, 130)
    colour = (148, 152, 156) if kind == "slabs" else (108, 118, 142)
    return tinted(grey, tuple(np.array(colour) * rng.uniform(0.85, 1.08)))


def grass(rng: np.random.Generator, size_px: int) -> Image:
    """uint8 (size, size, 3): short grass with blades, bare spots and fallen leaves."""
    size = (size_px, size_px)
    grey = 0.16 * grain(rng, size) + 0.12 * smooth_noise(rng, size, 4) + 0.12 * smooth_noise(rng, size, 60)
    green = tinted(grey, (52, 104, 88))
    dry = tinted(grey, (78, 112, 122))
    mix = np.clip(smooth_noise(rng, size, 90) * 0.35 + 0.2, 0, 1).astype(np.float32)
    return cv2.blendLinear(dry, green, mix, 1 - mix)


def brick(rng: np.random.Generator, size_px: int, ppm: float, colour: tuple[float, float, float]) -> Image:
    """uint8 (size, size, 3): courses of brick 0.225 x 0.075 m in stretcher bond, with mortar."""
    wide = max(2, round(size_px / (0.225 * ppm)))
    high = max(2, round(size_px / (0.075 * ppm)) // 2 * 2)
    y, x = np.mgrid[0:size_px, 0:size_px].astype(np.float32)
    course = (y * high / size_px).astype(np.int32)
    across = x * wide / size_px + 0.5 * (course % 2)
    tones = 0.11 * rng.standard_normal((high, wide), np.float32)
    tones -= 0.16 * (rng.random((high, wide)) < 0.08)
    grey = tones[course, across.astype(np.int32) % wide]
    mortar = ((y * high / size_px) % 1 < 0.16) | (across % 1 < 0.07)
    size = (size_px, size_px)
    grey += 0.05 * grain(rng, size) + 0.05 * smooth_noise(rng, size, 60)
    wall = tinted(grey, colour)
    wall[mortar] = (0.55 * wall[mortar] + 0.45 * np.array([140, 150, 158])).astype(np.uint8)
    return wall


def plaster(rng: np.random.Generator, size_px: int, colour: tuple[float, float, float]) -> Image:
    """uint8 (size, size, 3): painted render with rain streaks."""
    size = (size_px, size_px)
    streaks = cv2.resize(smooth_noise(rng, (size_px, 8), 6), size, interpolation=cv2.INTER_CUBIC)
    grey = 0.018 * grain(rng, size) + 0.03 * smooth_noise(rng, size, 70) + 0.012 * streaks
    return tinted(grey, colour)


def roof_tiles(rng: np.random.Generator, size_px: int, ppm: float, colour: tuple[float, float, float]) -> Image:
    """uint8 (size, size, 3): overlapping rows of tiles or slates, each row darker under the one above."""
    rows, columns = max(2, round(size_px / (0.24 * ppm))), max(2, round(size_px / (0.26 * ppm)))
    y, x = np.mgrid[0:size_px, 0:size_px].astype(np.float32)
    row = y * rows / size_px
    column = x * columns / size_px + 0.5 * (row.astype(np.int32) % 2)
    tones = 0.1 * rng.standard_normal((rows, columns), np.float32)
    grey = tones[row.astype(np.int32), column.astype(np.int32) % columns]
    grey += 0.12 * (row % 1 - 0.5) - 0.15 * (column % 1 < 0.08)
    return tinted(grey + 0.07 * smooth_noise(rng, (size_px, size_px), 50), colour)


def tiled(tile: Image, size_wh: tuple[int, int], offset_xy: tuple[int, int] = (0, 0)) -> Image:
    """uint8 (h, w, ...) cut from the endless repetition of the tile, beginning at the offset."""
    h, w = tile.shape[:2]
    x, y = offset_xy[0] % w, offset_xy[1] % h
    times = (-(-(y + size_wh[1]) // h), -(-(x + size_wh[0]) // w))
    wide = np.concatenate([tile] * times[1], axis=1) if times[1] > 1 else tile
    whole = np.concatenate([wide] * times[0], axis=0) if times[0] > 1 else wide
    return whole[y : y + size_wh[1], x : x + size_wh[0]]


def weave(rng: np.random.Generator, size_wh: tuple[int, int]) -> Image:
    """uint8 (h, w, 4) about 128, the last channel 128 throughout: folds and threads, scratches and dust."""
    half = (size_wh[0] // 2 + 1, size_wh[1] // 2 + 1)
    folds = cv2.resize(smooth_noise(rng, half, 5) + 0.7 * smooth_noise(rng, half, 2), size_wh)
    grey = np.clip(128 + 5.0 * folds + 3.0 * grain(rng, size_wh), 90, 166).astype(np.uint8)
    return cv2.merge([grey, grey, grey, np.full_like(grey, 128)])


def stones(rng: np.random.Generator, size_wh: tuple[int, int]) -> Image:
    """uint8 (h, w) about 128: the roughness of a road seen from close by; it repeats without a seam."""
    grey = 0.6 * smooth_noise(rng, size_wh, 2.2) + 0.5 * grain(rng, size_wh) + 0.3 * smooth_noise(rng, size_wh, 5)
    return np.clip(128 + 11 * grey, 60, 200).astype(np.uint8)
