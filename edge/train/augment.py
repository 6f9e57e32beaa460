"""Random views of a labelled frame: geometry for both, light for the image. OpenCV and NumPy, one pair at a time."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from edge.frame import Image
from edge.train.recipe import Augmentation

Pair = tuple[Image, Image]  # uint8 (H, W, 3) BGR and uint8 (H, W) class ids


def augment(
    pair: Pair, donor: Pair, rare: NDArray[np.bool_], plan: Augmentation, ignore_id: int, rng: Generator
) -> Pair:
    """One random training view of `pair`, same size as it.

    `donor` is another frame; its pixels of the classes marked in `rare`, bool (256,), may be pasted in. What the view
    shows beyond the frame is black and ignored, so that the net learns the black bars of a letterbox.
    """
    if rng.random() < plan.mix_rare:
        pair = paste_rare(pair, donor, rare)
    image, labels = warp(pair, plan, ignore_id, rng)
    return vary_light(image, plan, rng), labels


def paste_rare(pair: Pair, donor: Pair, rare: NDArray[np.bool_]) -> Pair:
    """The donor's pixels of the rare classes laid over `pair`, in place (ClassMix, arXiv 2007.07936, with labels)."""
    mask = rare[donor[1]]
    if not mask.any():
        return pair
    return np.where(mask[..., None], donor[0], pair[0]), np.where(mask, donor[1], pair[1])


def warp(pair: Pair, plan: Augmentation, ignore_id: int, rng: Generator) -> Pair:
    """Random scale, aspect, rotation, position and mirror as one affine map."""
    height, width = pair[1].shape
    scale = np.exp(rng.uniform(*np.log(plan.scale)))
    stretch = np.exp(rng.uniform(-1, 1) * np.log(plan.aspect) / 2)
    angle = np.deg2rad(rng.uniform(-1, 1) * plan.rotation_deg)
    mirror = -1.0 if rng.random() < plan.flip else 1.0
    linear = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = linear @ np.diag([mirror * scale * stretch, scale / stretch])
    # A view larger than the frame shows any part of it; a smaller one lies anywhere inside the black.
    room = np.abs(np.array([scale * stretch - 1, scale / stretch - 1])) * (width, height) / 2
    centre = np.array([width, height]) / 2
    matrix = np.column_stack([linear, centre - linear @ centre + rng.uniform(-1, 1, 2) * room])
    image = cv2.warpAffine(pair[0], matrix, (width, height), flags=cv2.INTER_LINEAR)
    labels = cv2.warpAffine(
        pair[1], matrix, (width, height), flags=cv2.INTER_NEAREST, borderValue=ignore_id, borderMode=cv2.BORDER_CONSTANT
    )
    return image, labels


def vary_light(image: Image, plan: Augmentation, rng: Generator) -> Image:
    """Random contrast, brightness, colour cast, saturation and gamma; sometimes blur, sometimes sensor noise.

    Black stays black: gain and gamma only, so that a letterbox's bars look as they do at run time.
    """
    c = plan.colour
    levels = np.linspace(0, 1, 256, dtype=np.float32)[:, None]
    gamma = np.exp(rng.uniform(-c, c))
    gains = rng.uniform(1 - c, 1 + c) * rng.uniform(1 - c / 4, 1 + c / 4, 3)
    table = np.clip(255 * levels**gamma * gains, 0, 255).astype(np.uint8)
    image = cv2.LUT(image, table.reshape(1, 256, 3))
    saturation = rng.uniform(1 - c, 1 + c)
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    image = cv2.addWeighted(image, saturation, grey, 1 - saturation, 0)
    if rng.random() < plan.blur:
        image = cv2.GaussianBlur(image, (5, 5), rng.uniform(0.3, 1.5))
    if rng.random() < plan.noise:
        grain = rng.normal(0, rng.uniform(1, 8), image.shape).astype(np.float32)
        image = np.where(image > 0, np.clip(image + grain, 0, 255), 0).astype(np.uint8)
    return image
