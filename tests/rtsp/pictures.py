"""What the test cameras show: colours that follow the frame's number, which its barcode tells with the time."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from edge.barcode import barcode_rect_xywh, draw_barcode

Image = NDArray[np.uint8]
COLOURS = (
    (200, 20, 20),
    (20, 200, 20),
    (20, 20, 200),
)  # BGR; what the engine `colours` of tests/conftest.py tells apart
FRAMES_PER_COLOUR = 8


def shown(index: int) -> list[int]:
    """The classes of the three upright stripes of frame `index`, left to right."""
    return [(index // FRAMES_PER_COLOUR + place) % 3 for place in range(3)]


def picture(index: int, size_wh: tuple[int, int]) -> Image:
    """uint8 (H, W, 3) BGR: frame `index` as it is now, on the monotonic clock."""
    width, height = size_wh
    image = np.empty((height, width, 3), np.uint8)
    for place, colour in enumerate(shown(index)):
        image[:, place * width // 3 : (place + 1) * width // 3] = COLOURS[colour]
    draw_barcode(image, index, time.monotonic_ns())
    return image


def agreement(classes: Image, index: int) -> float:
    """The part of a class map, uint8 (h, w), that is right for frame `index`; the barcode is left out."""
    height, width = classes.shape
    wanted = np.repeat(shown(index), -(-width // 3))[:width]
    counts = np.ones(classes.shape, bool)
    x, y, w, h = barcode_rect_xywh((width, height))
    counts[max(0, y - 2) : y + h + 2, max(0, x - 2) : x + w + 2] = False
    return float((classes == wanted[None])[counts].mean())
