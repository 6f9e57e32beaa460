"""What the camera does to the light: lens softness, vignetting, exposure, colour, noise."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.sources.street.light import Light
from edge.sources.street.place import Floats, Optics, rng_of

Image = NDArray[np.uint8]
_SPARE_PX = 64


class Film:
    """Turns the clean picture of a frame into the camera's."""

    def __init__(self, seed: int, optics: Optics, size_wh: tuple[int, int]) -> None:
        self._seed, self._optics = seed, optics
        width, height = size_wh
        x = (np.arange(width) + 0.5) / width - 0.5
        y = (np.arange(height) + 0.5) / height - 0.5
        fall = 1 - optics.vignette * 2 * (np.square(x)[None] + np.square(y)[:, None])
        self._vignette = cv2.merge([np.round(fall * 255).astype(np.uint8)] * 3)
        rng = rng_of(seed, 80)
        shape = (height + _SPARE_PX, width + _SPARE_PX)
        fine = rng.standard_normal(shape, np.float32)
        # Sensor noise after demosaicing is a little wider than a pixel, and mostly in brightness.
        grey = cv2.GaussianBlur(fine, (3, 3), 0.6) * 1.7 * optics.noise
        tint = cv2.resize(rng.standard_normal((shape[0] // 2 + 1, shape[1] // 2 + 1, 3), np.float32), shape[::-1]) * optics.noise
        noise = grey[:, :, None] + 0.5 * tint
        self._noise = np.clip(np.round(noise + 128), 0, 255).astype(np.uint8)

    def developed(self, image: Image, light: Light, index: int) -> Image:
        """The camera's picture; `image` may be changed."""
        soft = cv2.GaussianBlur(image, (3, 3), 0.55)
        graded = cv2.transform(soft, self._grade(light))
        dimmed = cv2.multiply(graded, self._vignette, scale=1 / 255)
        x, y = rng_of(self._seed, 81, index).integers(0, _SPARE_PX, 2).tolist()
        height, width = image.shape[:2]
        noise = self._noise[y : y + height, x : x + width]
        strength = 1.0 + 0.8 * max(0.0, 1 - light.exposure)
        return cv2.addWeighted(dimmed, 1.0, noise, strength, -128.0 * strength)

    def _grade(self, light: Light) -> Floats:
        """float64 (3, 4): saturation, colour balance, contrast about middle grey and exposure, as one matrix."""
        optics = self._optics
        luma = np.array([0.114, 0.587, 0.299])
        mix = optics.saturation * np.eye(3) + (1 - optics.saturation) * np.outer(np.ones(3), luma)
        matrix = np.diag(optics.warmth) @ mix * (light.exposure * optics.contrast)
        offset = np.full((3, 1), 110.0 * light.exposure * (1 - optics.contrast))
        return np.hstack([matrix, offset])
