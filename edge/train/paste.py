"""Objects of other images pasted into training frames, standing on the ground at the size that fits the place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from edge.classes import ClassTable
from edge.config import data_path
from edge.errors import DataError
from edge.frame import Image
from edge.natural import is_hidden
from edge.train.augment import Pair
from edge.train.data import read_image
from edge.train.plans import Pasted

SMALLEST_PX, LEAST_ASPECT = 48, 1.2  # of an object in its own image: smaller is blurred, wider is cut off or lies


@dataclass(frozen=True)
class Cutout:
    """One object: uint8 (h, w, 3) BGR, and its mask as uint8 (h, w), 255 inside."""

    image: Image
    mask: Image


def load_cutouts(plan: Pasted) -> list[Cutout]:
    """The objects of a folder that are large and upright, and not cut off by the bottom of their image.

    Raises:
        DataError: a folder is missing, an image or mask is unreadable, or no object is usable.
    """
    frames, instances = data_path(plan.frames), data_path(plan.instances)
    if not frames.is_dir() or not instances.is_dir():
        raise DataError(f"{frames if not frames.is_dir() else instances}: folder not found")
    images = [path for path in sorted(frames.iterdir()) if not is_hidden(path)]
    found = [cutout for path in images for cutout in _cutouts(path, instances / f"{path.stem}.png")]
    if not found:
        raise DataError(f"{instances}: holds no object of {SMALLEST_PX} or more rows that stands inside its image")
    return found


def _cutouts(frame: Path, mask: Path) -> list[Cutout]:
    image, ids = read_image(frame), read_image(mask, unchanged=True)
    if ids.shape != image.shape[:2]:
        raise DataError(f"{frame}: expected an image with a mask of its size, uint8 {mask}")
    found = []
    for number in range(1, int(ids.max()) + 1):
        inside = ids == number
        rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        if not rows.size or rows[-1] >= ids.shape[0] - 2:
            continue
        area = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        height, width = inside[area].shape
        if height >= SMALLEST_PX and height >= LEAST_ASPECT * width:
            found.append(Cutout(np.asarray(image[area], np.uint8).copy(), inside[area].astype(np.uint8) * 255))
    return found


class Paster:
    """Pastes a recipe's objects into frames."""

    def __init__(self, plan: Pasted, table: ClassTable) -> None:
        self.plan = plan
        self.cutouts: Sequence[Cutout] = load_cutouts(plan)
        (self.class_id,) = table.ids(plan.label)
        self.ground = np.zeros(256, np.bool_)
        self.ground[[i for name in plan.on for i in table.ids(name)]] = True

    def __call__(self, pair: Pair, rng: Generator) -> Pair:
        """`pair`, or by chance a copy with objects in it, the farthest first."""
        if rng.random() >= self.plan.chance:
            return pair
        ground = self.ground[pair[1]]
        rows, columns = np.nonzero(ground)
        if rows.size < SMALLEST_PX:
            return pair
        horizon = int(rows[0])
        camera_m = rng.uniform(*self.plan.camera_height_m)
        picks = rng.integers(rows.size, size=int(rng.integers(1, self.plan.most + 1)))
        view = pair[0].copy(), pair[1].copy()
        for pick in sorted(picks.tolist()):  # rows ascend: what is nearer is pasted over what is farther
            height_px = (int(rows[pick]) - horizon) * rng.uniform(*self.plan.height_m) / camera_m
            cutout = self.cutouts[int(rng.integers(len(self.cutouts)))]
            if 10 <= height_px <= 1.2 * view[1].shape[0]:
                box, inside = paste(view[0], cutout, (int(columns[pick]), int(rows[pick])), height_px, rng)
                view[1][box][inside] = self.class_id
        return view


def paste(
    image: Image, cutout: Cutout, foot_xy: tuple[int, int], height_px: float, rng: Generator
) -> tuple[tuple[slice, slice], NDArray[np.bool_]]:
    """Paste in place, with the foot's centre at a pixel; mirrored by chance, its brightness drawn towards the image's.
    Gives the rectangle that it fills, and where in it the object is.
    """
    factor = height_px / cutout.mask.shape[0]
    size = max(3, round(cutout.mask.shape[1] * factor)), max(3, round(height_px))
    shrink = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    object_, alpha = (cv2.resize(part, size, interpolation=shrink) for part in (cutout.image, cutout.mask))
    if rng.random() < 0.5:
        object_, alpha = object_[:, ::-1], alpha[:, ::-1]
    left, top = foot_xy[0] - size[0] // 2, foot_xy[1] - size[1] + 1
    box, part = _visible(left, top, size, image.shape)
    object_, alpha = object_[part], alpha[part].astype(np.float32)[..., None] / 255
    if alpha.size:
        towards = (image[box].mean() + 20) / (object_.mean() + 20)
        gain = np.clip(towards ** rng.uniform(0.2, 0.9), 0.3, 2)
        lit = np.clip(object_ * np.float32(gain), 0, 255)
        image[box] = (lit * alpha + image[box] * (1 - alpha)).astype(np.uint8)
    return box, alpha[..., 0] > 0.5


def _visible(
    left: int, top: int, size_wh: tuple[int, int], frame_hw: tuple[int, ...]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """What of a rectangle lies in the frame: there, and in the rectangle itself."""
    x0, y0 = max(0, left), max(0, top)
    x1, y1 = min(frame_hw[1], left + size_wh[0]), min(frame_hw[0], top + size_wh[1])
    x1, y1 = max(x0, x1), max(y0, y1)
    return (slice(y0, y1), slice(x0, x1)), (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
