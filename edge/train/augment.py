"""Random views of a labelled frame: geometry for both, light for the image. OpenCV and NumPy, one pair at a time."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from edge.frame import Image
from edge.train.lens import add_drops, add_glare, borrow_style, expose, through_h264
from edge.train.recipe import Augmentation

Pair = tuple[Image, Image]  # uint8 (H, W, 3) BGR and uint8 (H, W) class ids


def augment(
    pair: Pair, donor: Pair, rare: NDArray[np.bool_], plan: Augmentation, ignore_id: int, rng: Generator
) -> Pair:
    """One random training view of `pair`, same size as it: `view_of`, its light varied."""
    image, labels = view_of(pair, donor, rare, plan, ignore_id, rng)
    return vary_light(image, plan, rng, donor[0]), labels


def view_of(
    pair: Pair, donor: Pair, rare: NDArray[np.bool_], plan: Augmentation, ignore_id: int, rng: Generator
) -> Pair:
    """One random view of `pair`, same size as it, in the light that it was taken in.

    `donor` is another frame; its pixels of the classes marked in `rare`, bool (256,), may be pasted in. What the view
    shows beyond the frame is black and ignored, so that the net learns the black bars of a letterbox.
    """
    if rng.random() < plan.mix_rare:
        pair = paste_rare(pair, donor, rare)
    return warp(pair, plan, ignore_id, rng)


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
    matrix = np.eye(3)
    matrix[:2] = np.column_stack([linear, centre - linear @ centre + rng.uniform(-1, 1, 2) * room])
    if plan.pitch_deg:
        matrix = matrix @ _pitched(np.deg2rad(rng.uniform(-1, 1) * plan.pitch_deg), width, height, rng)
    move = cv2.warpPerspective if plan.pitch_deg else cv2.warpAffine
    matrix = matrix if plan.pitch_deg else matrix[:2]
    image = move(pair[0], matrix, (width, height), flags=cv2.INTER_LINEAR)
    labels = move(
        pair[1], matrix, (width, height), flags=cv2.INTER_NEAREST, borderValue=ignore_id, borderMode=cv2.BORDER_CONSTANT
    )
    return image, labels


def _pitched(angle: float, width: int, height: int, rng: Generator) -> NDArray[np.float64]:
    """The homography of a camera that nods by `angle`, of a horizontal field of view between 50 and 90 degrees."""
    focal = width / 2 / np.tan(np.deg2rad(rng.uniform(50, 90)) / 2)
    camera = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    nod = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    return camera @ nod @ np.linalg.inv(camera)


def vary_light(image: Image, plan: Augmentation, rng: Generator, other: Image) -> Image:
    """What other light and other cameras make of an image, each by chance, in the order in which light goes: the
    colours of `other`, night, colour, exposure, glare, drops on the glass, blur, the sensor's noise, low resolution,
    JPEG, H.264. What is off draws no random number, so that a recipe's batches stay what they were when another way is
    added; but for blur and noise, which came first.

    Black stays black: gain and gamma only, so that a letterbox's bars look as they do at run time.
    """

    def chance(share: float) -> bool:
        return share > 0 and rng.random() < share

    if chance(plan.style):
        image = borrow_style(image, other, rng)
    if chance(plan.night):
        image = darken(image, rng)
    image = vary_colour(image, plan.colour, rng)
    for share, change in ((plan.exposure, expose), (plan.glare, add_glare), (plan.drops, add_drops)):
        image = change(image, rng) if chance(share) else image
    if rng.random() < plan.blur:
        image = cv2.GaussianBlur(image, (5, 5), rng.uniform(0.3, 1.5))
    if chance(plan.motion_blur):
        image = blur_along(image, rng)
    if rng.random() < plan.noise:
        image = add_noise(image, rng.uniform(1, 8), rng)
    last = ((plan.low_resolution, lower_resolution), (plan.jpeg, recompress), (plan.h264, through_h264))
    for share, change in last:
        image = change(image, rng) if chance(share) else image
    return image


def vary_colour(image: Image, c: float, rng: Generator) -> Image:
    """Contrast, brightness, colour cast, saturation and gamma, each by up to about the part `c`."""
    levels = np.linspace(0, 1, 256, dtype=np.float32)[:, None]
    gamma = np.exp(rng.uniform(-c, c))
    gains = rng.uniform(1 - c, 1 + c) * rng.uniform(1 - c / 4, 1 + c / 4, 3)
    table = np.clip(255 * levels**gamma * gains, 0, 255).astype(np.uint8)
    image = cv2.LUT(image, table.reshape(1, 256, 3))
    saturation = rng.uniform(1 - c, 1 + c)
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    return cv2.addWeighted(image, saturation, grey, 1 - saturation, 0)


def darken(image: Image, rng: Generator) -> Image:
    """Night: steep gamma, little light of a warm or cold colour, and the noise of a sensor at high gain."""
    warmth = rng.uniform(-0.2, 0.3)
    gains = rng.uniform(0.35, 0.8) * np.array([1 - warmth, 1, 1 + warmth])
    levels = np.linspace(0, 1, 256)[:, None] ** rng.uniform(1.2, 2.2)
    table = np.clip(255 * levels * gains, 0, 255).astype(np.uint8)
    return add_noise(cv2.LUT(image, table.reshape(1, 256, 3)), rng.uniform(2, 10), rng)


def blur_along(image: Image, rng: Generator) -> Image:
    """Motion blur along a line of 3 to 11 pixels, rather across the frame than along its height."""
    length = int(rng.integers(1, 6)) * 2 + 1
    kernel = np.zeros((length, length), np.float32)
    kernel[length // 2] = 1
    turn = cv2.getRotationMatrix2D((length // 2, length // 2), rng.normal(0, 30), 1)
    kernel = cv2.warpAffine(kernel, turn, (length, length))
    return cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)


def add_noise(image: Image, sigma: float, rng: Generator) -> Image:
    """Normal noise of `sigma` grey levels; black stays black."""
    grain = rng.normal(0, sigma, image.shape).astype(np.float32)
    return np.where(image > 0, np.clip(image + grain, 0, 255), 0).astype(np.uint8)


def lower_resolution(image: Image, rng: Generator) -> Image:
    """Scaled down by 1.2 to 3, and up again."""
    height, width = image.shape[:2]
    factor = rng.uniform(1.2, 3)
    small = cv2.resize(image, (round(width / factor), round(height / factor)), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def recompress(image: Image, rng: Generator) -> Image:
    """Encoded as JPEG of quality 10 to 60, and decoded."""
    _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(10, 61))])
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)
