"""A barcode that carries a frame's index and capture time through an encoder, and back out of the image.

It stands in the top right corner, over sky or roofs, and scales with the image: a cell is 1/90 of the height.

    white ring, black ring, then 8 rows of 16 cells, white for 1, most significant bit first:
    index (32 bits), captured_ns (64 bits), CRC-32 of both (32 bits)
"""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import ConfigError

Image = NDArray[np.uint8]

_PAYLOAD = struct.Struct(">IQ")
_BITS_HW = (8, 16)
_GRID_HW = (_BITS_HW[0] + 4, _BITS_HW[1] + 4)
# Less contrast between the rings than this is not a barcode: a codec and a tint leave far more (measured > 90).
_MIN_CONTRAST = 36.0
# The image's own height or width over this gives the cell: 8 px at 1280x720, and never less than 1 px.
_CELLS_PER_HEIGHT, _CELLS_PER_WIDTH = 90, 140


def _corner_and_cell_px(size_wh: tuple[int, int]) -> tuple[float, float, float]:
    """The left and top edge of the code and the side of its cells, in pixels, not rounded."""
    width, height = size_wh
    cell = min(height / _CELLS_PER_HEIGHT, width / _CELLS_PER_WIDTH)
    return width - (_GRID_HW[1] + 1) * cell, cell, cell


def barcode_rect_xywh(size_wh: tuple[int, int]) -> tuple[int, int, int, int]:
    """The pixels which a barcode covers in an image of that size."""
    left, top, cell = _corner_and_cell_px(size_wh)
    x, y = round(left), round(top)
    return x, y, round(left + _GRID_HW[1] * cell) - x, round(top + _GRID_HW[0] * cell) - y


def _rings() -> NDArray[np.bool_]:
    """bool (12, 20): the cells of a code whose bits are all 0; white is True."""
    grid = np.zeros(_GRID_HW, np.bool_)
    grid[[0, -1], :] = True
    grid[:, [0, -1]] = True
    return grid


def draw_barcode(image: Image, index: int, captured_ns: int) -> None:
    """Write the index (0 to 2**32 - 1) and the time (0 to 2**64 - 1) into the image, uint8 (H, W, 3), in place.

    Raises:
        ConfigError: a number does not fit.

    >>> image = np.zeros((720, 1280, 3), np.uint8)
    >>> draw_barcode(image, 41, 123_456_789)
    >>> read_barcode(image)
    (41, 123456789)
    """
    if not (0 <= index < 2**32 and 0 <= captured_ns < 2**64):
        raise ConfigError(f"barcode: index {index} and time {captured_ns} ns must fit 32 and 64 bits without a sign")
    payload = _PAYLOAD.pack(index, captured_ns)
    payload += zlib.crc32(payload).to_bytes(4, "big")
    grid = _rings()
    grid[2:-2, 2:-2] = np.unpackbits(np.frombuffer(payload, np.uint8)).reshape(_BITS_HW)
    size_wh = (image.shape[1], image.shape[0])
    x, y, width, height = barcode_rect_xywh(size_wh)
    left, top, cell = _corner_and_cell_px(size_wh)
    columns = np.clip((np.arange(x, x + width) + 0.5 - left) / cell, 0, _GRID_HW[1] - 1).astype(int)
    rows = np.clip((np.arange(y, y + height) + 0.5 - top) / cell, 0, _GRID_HW[0] - 1).astype(int)
    image[y : y + height, x : x + width] = np.where(grid, 235, 16).astype(np.uint8)[rows][:, columns, None]


def _cell_means(image: Image) -> NDArray[np.float32]:
    """float32 (12, 20): the brightness of each cell about its middle."""
    left, top, cell = _corner_and_cell_px((image.shape[1], image.shape[0]))
    # Nine points in the middle half of each cell: the outer quarters have the codec's ringing and the neighbours' blur.
    inside = (np.arange(3) - 1) * (0.25 if cell >= 3 else 0.0)
    xs = (left + cell * (np.arange(_GRID_HW[1])[:, None] + 0.5 + inside)).ravel() - 0.5
    ys = (top + cell * (np.arange(_GRID_HW[0])[:, None] + 0.5 + inside)).ravel() - 0.5
    at_x, at_y = np.meshgrid(xs.astype(np.float32), ys.astype(np.float32))
    how = cv2.INTER_LINEAR if cell >= 3 else cv2.INTER_NEAREST
    picked = cv2.remap(image, at_x, at_y, how, borderMode=cv2.BORDER_REPLICATE)
    grey = cv2.cvtColor(picked, cv2.COLOR_BGR2GRAY).astype(np.float32)
    return grey.reshape(_GRID_HW[0], 3, _GRID_HW[1], 3).mean(axis=(1, 3))


def read_barcode(image: Image) -> tuple[int, int] | None:
    """(index, captured_ns) of the barcode in an image, uint8 (H, W, 3); None where it is missing or damaged."""
    if min(image.shape[:2]) < 60:
        return None
    cells = _cell_means(image)
    rings = _rings()
    white, black = cells[rings], np.concatenate([cells[1, 1:-1], cells[-2, 1:-1], cells[1:-1, 1], cells[1:-1, -2]])
    if white.mean() - black.mean() < _MIN_CONTRAST:
        return None
    middle = (white.mean() + black.mean()) / 2
    if (white > middle).mean() < 0.9 or (black < middle).mean() < 0.9:
        return None
    payload = np.packbits(cells[2:-2, 2:-2] > middle).tobytes()
    body, crc = payload[: _PAYLOAD.size], payload[_PAYLOAD.size :]
    if zlib.crc32(body).to_bytes(4, "big") != crc:
        return None
    return _PAYLOAD.unpack(body)
