"""What rain does: streaks in the air, and a road that mirrors."""

from __future__ import annotations

import cv2
import numpy as np

from edge.street.canvas import Canvas
from edge.street.place import PAVEMENT, ROAD, Image, rng_of
from edge.street.view import View

_SPARE_PX = 96


class Wet:
    """The rain of one street."""

    def __init__(self, seed: int, size_wh: tuple[int, int]) -> None:
        self._seed = seed
        rng = rng_of(seed, 90)
        width, height = size_wh[0] + _SPARE_PX, size_wh[1] + _SPARE_PX
        streaks = np.zeros((height, width), np.uint8)
        slant = rng.uniform(-0.25, 0.25)
        for _ in range(int(900 * rng.uniform(0.5, 1.2))):
            x, y = rng.uniform(0, width), rng.uniform(0, height)
            long = rng.uniform(0.012, 0.05) * height
            ends = [(int(x), int(y)), (int(x + slant * long), int(y + long))]
            cv2.line(streaks, *ends, float(rng.uniform(5, 22)), 1, cv2.LINE_AA)
        self._streaks = cv2.merge([cv2.GaussianBlur(streaks, (1, 5), 0)] * 3)

    def mirror(self, canvas: Canvas, view: View) -> None:
        """Lay a smeared mirror image of what is above the horizon over road and pavement, strongest far away."""
        horizon = int(view.horizon_v)
        below = canvas.image[horizon:]
        rows = min(horizon, below.shape[0])
        flipped = cv2.flip(canvas.image[horizon - rows : horizon], 0)
        small = cv2.resize(flipped, (max(2, flipped.shape[1] // 4), max(2, rows // 4)), interpolation=cv2.INTER_AREA)
        smeared = cv2.blur(small, (3, max(3, rows // 40) | 1))
        image = cv2.resize(smeared, (flipped.shape[1], rows))
        # Water mirrors the more, the flatter one looks at it (Fresnel); puddles are left to the imagination.
        slope = (np.arange(rows) + 0.5) / view.focal_px
        share = 0.10 * np.linspace(1, 0, rows) + 0.45 * (1 - np.minimum(1, slope * 2.2)) ** 3
        classes = canvas.classes[horizon : horizon + rows]
        ground = cv2.max(cv2.compare(classes, ROAD, cv2.CMP_EQ), cv2.compare(classes, PAVEMENT, cv2.CMP_EQ))
        column = np.round(share * 255).astype(np.uint8)[:, None]
        cover = cv2.multiply(ground, cv2.resize(column, (ground.shape[1], rows)), scale=1 / 255)
        canvas.blend(below[:rows], image, cover)

    def fall(self, image: Image, index: int) -> None:
        """Add the streaks of frame `index`, in place."""
        x, y = rng_of(self._seed, 91, index).integers(0, _SPARE_PX, 2).tolist()
        height, width = image.shape[:2]
        cv2.add(image, self._streaks[y : y + height, x : x + width], image)
