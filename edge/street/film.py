"""What the camera does to the light: lens softness, vignetting, exposure, colour, noise."""

from __future__ import annotations

import cv2
import numpy as np

from edge.street.light import Light
from edge.street.memory import roomy, stored
from edge.street.place import Floats, Image, Optics, rng_of

_SPARE_PX = 64
_MIDDLE_GREY = 104.0
# Rows worked on at a time: few enough to stay in the processor's cache between steps.
_STRIP_PX = 48


class Film:
    """Turns the clean image of a frame into the camera's."""

    def __init__(self, seed: int, optics: Optics, size_wh: tuple[int, int], soften: bool) -> None:
        self._seed, self._optics, self._soften = seed, optics, soften
        width, height = size_wh
        x = (np.arange(width) + 0.5) / width - 0.5
        y = (np.arange(height) + 0.5) / height - 0.5
        fall = 1 - optics.vignette * 2 * (np.square(x)[None] + np.square(y)[:, None])
        self._vignette = stored(cv2.merge([np.round(fall * 255).astype(np.uint8)] * 3))
        self._spare = roomy(self._vignette.shape)
        rng = rng_of(seed, 80)
        shape = (_STRIP_PX + _SPARE_PX, width + _SPARE_PX)
        # A small image is a large one reduced, which evens out some of its noise.
        sigma = optics.noise * min(1.0, height / 720) ** 0.5
        # Sensor noise after demosaicing is a little wider than a pixel, and mostly in brightness.
        grey = cv2.GaussianBlur(rng.standard_normal(shape, np.float32), (3, 3), 0.6) * 1.7 * sigma
        coarse = rng.standard_normal((shape[0] // 2 + 1, shape[1] // 2 + 1, 3), np.float32)
        noise = np.round(grey[:, :, None] + 0.5 * sigma * cv2.resize(coarse, shape[::-1]))
        # Brighter and darker grains apart: two saturating byte operations take half the time of a weighted sum.
        self._brighter = np.maximum(noise, 0).astype(np.uint8)
        self._darker = np.maximum(-noise, 0).astype(np.uint8)

    def developed(self, image: Image, light: Light, index: int) -> Image:
        """The camera's image; `image` may be changed."""
        exposure = light.exposure * _metered(image)
        soft = cv2.GaussianBlur(image, (3, 3), 0, dst=self._spare) if self._soften else image
        matrix = self._grade(exposure)
        rng = rng_of(self._seed, 81, index)
        height, width = image.shape[:2]
        for top in range(0, height, _STRIP_PX):
            rows = slice(top, min(top + _STRIP_PX, height))
            # Every strip takes its noise from elsewhere on the same small tile, which stays in the cache too.
            x, y = rng.integers(0, _SPARE_PX, 2).tolist()
            grains = slice(y, y + rows.stop - top), slice(x, x + width)
            strip = cv2.transform(soft[rows], matrix, image[rows])
            cv2.multiply(strip, self._vignette[rows], strip, scale=1 / 255)
            cv2.add(strip, self._brighter[grains], strip)
            cv2.subtract(strip, self._darker[grains], strip)
        return image

    def _grade(self, exposure: float) -> Floats:
        """float64 (3, 4): saturation, colour balance, contrast about middle grey and exposure, as one matrix."""
        optics = self._optics
        luma = np.array([0.114, 0.587, 0.299])
        mix = optics.saturation * np.eye(3) + (1 - optics.saturation) * np.outer(np.ones(3), luma)
        matrix = np.diag(optics.warmth) @ mix * (exposure * optics.contrast)
        offset = np.full((3, 1), 96.0 * exposure * (1 - optics.contrast))
        return np.hstack([matrix, offset])


def _metered(image: Image) -> float:
    """What the camera's meter makes of an image: it lifts dark streets and dims bright ones, each by about half."""
    street = image[image.shape[0] // 3 :: 12, ::12]
    return float(np.clip((_MIDDLE_GREY / max(1.0, float(street.mean()))) ** 0.55, 0.8, 1.38))
