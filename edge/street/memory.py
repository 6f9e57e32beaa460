"""Memory for images, in pages large enough to be quick.

Fresh memory comes from the kernel page by page. With pages of 4 KiB that took 2.3 ms for the three arrays of a frame
at 1280x720, against 0.05 ms with pages of 2 MiB (2-core AMD EPYC, 2025-11-22). NumPy asks for large pages for arrays
of 4 MiB and more, so smaller ones are cut from one of that size.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_LARGE_BYTES = 6 << 20


def roomy(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """uint8 of that shape, contents undefined."""
    size = math.prod(shape)
    return np.empty(max(size, _LARGE_BYTES), np.uint8)[:size].reshape(shape)


def stored(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The same array in roomy memory."""
    out = roomy(array.shape)
    out[:] = array
    return out


def frame_arrays(size_wh: tuple[int, int]) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint16]]:
    """An image (H, W, 3), contents undefined, and labels: classes (H, W), undefined, and instances (H, W), all 0."""
    width, height = size_wh
    pixels = width * height
    whole = roomy((6 * pixels,))
    instances = whole[: 2 * pixels].view(np.uint16).reshape(height, width)
    instances[:] = 0
    image = whole[2 * pixels : 5 * pixels].reshape(height, width, 3)
    return image, whole[5 * pixels :].reshape(height, width), instances


class Scratch:
    """Memory for intermediate images, used again for every stroke."""

    def __init__(self, size_wh: tuple[int, int]) -> None:
        self._bytes = size_wh[0] * size_wh[1] * 4
        self._slots: dict[str, NDArray[np.uint8]] = {}

    def take(self, slot: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """uint8 of that shape, contents undefined, valid until the slot is taken again."""
        size = math.prod(shape)
        if slot not in self._slots or self._slots[slot].size < size:
            self._slots[slot] = roomy((max(size, self._bytes),))
        return self._slots[slot][:size].reshape(shape)
