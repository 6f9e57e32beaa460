"""What the camera does to the light: lens softness, vignetting, exposure, colour, noise."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.sources.street.light import Light
from edge.sources.street.place import Floats, Optics, rng_of

Image = NDArray[np.uint8]
_SPARE_PX = 64
_MIDDLE_GREY = 104.0


class Film:
    """Turns the clean picture of a frame into the camera's."""

    def __init__(self, seed: int, optics: Optics, size_wh: tuple[int, int], soften: bool) -> None:
        self._seed, self._optics, self._soften = seed, optics, soften
        width, height = size_wh
        x = (np.arange(width) + 0.5) / width - 0.5
        y = (np.arange(height) + 0.5) / height - 0.5
        fall = 1 - optics.vignette * 2 * (np.square(x)[None] + np.square(y)[:, None])
        self._vignette = cv2.merge([np.round(fall * 255).astype(np.uint8)] * 3)
        self._spare = np.empty_like(self._vignette)
        rng = rng_of(seed, 80)
        shape = (height + _SPARE_PX, width + _SPARE_PX)
        fine = rng.standard_normal(shape, np.float32)
        # Sensor noise after demosaicing is a little wider than a pixel, and mostly in brightness.
        # A small picture is a large one reduced, which evens out some of its noise.
        sigma = optics.noise * min(1.0, height / 720) ** 0.5
        grey = cv2.GaussianBlur(fine, (3, 3), 0.6) * 1.7 * sigma
        coarse = rng.standard_normal((shape[0] // 2 + 1, shape[1] // 2 + 1, 3), np.float32)
        tint = cv2.resize(coarse, shape[::-1]) * sigma
        noise = np.round(grey[:, :, None] + 0.5 * tint)
        # Brighter and darker grains apart: two saturating byte operations take half the time of a weighted sum.
        self._brighter = np.maximum(noise, 0).astype(np.uint8)
        self._darker = np.maximum(-noise, 0).astype(np.uint8)

    def developed(self, image: Image, light: Light, index: int) -> Image:
        """The camera's picture; `image` may be changed."""
        exposure = light.exposure * _metered(image)
        soft = cv2.GaussianBlur(image, (3, 3), 0.55, dst=self._spare) if self._soften else image
        graded = cv2.transform(soft, self._grade(exposure), image)
        dimmed = cv2.multiply(graded, self._vignette, self._spare, scale=1 / 255)
        x, y = rng_of(self._seed, 81, index).integers(0, _SPARE_PX, 2).tolist()
        height, width = image.shape[:2]
        grains = (slice(y, y + height), slice(x, x + width))
        return cv2.subtract(cv2.add(dimmed, self._brighter[grains], dimmed), self._darker[grains], image)

    def _grade(self, exposure: float) -> Floats:
        """float64 (3, 4): saturation, colour balance, contrast about middle grey and exposure, as one matrix."""
        optics = self._optics
        luma = np.array([0.114, 0.587, 0.299])
        mix = optics.saturation * np.eye(3) + (1 - optics.saturation) * np.outer(np.ones(3), luma)
        matrix = np.diag(optics.warmth) @ mix * (exposure * optics.contrast)
        offset = np.full((3, 1), 96.0 * exposure * (1 - optics.contrast))
        return np.hstack([matrix, offset])


def _metered(image: Image) -> float:
    """What the camera's meter makes of a picture: it lifts dark streets and dims bright ones, each by about half."""
    street = image[image.shape[0] // 3 :: 12, ::12]
    return float(np.clip((_MIDDLE_GREY / max(1.0, float(street.mean()))) ** 0.55, 0.8, 1.38))
