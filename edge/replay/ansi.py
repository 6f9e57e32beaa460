"""Images and a timeline of values as text: half blocks in colour, and blocks of eight heights."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.frame import Image
from edge.replay.timeline import DisagreementTimeline

RESET = "\x1b[0m"
_BLOCKS = "▁▂▃▄▅▆▇█"
_GREEN, _YELLOW, _RED, _GREY = 42, 220, 196, 240  # of the 256 colours that terminals share
_SCALE_LEAST = 0.002  # of the pixels: where masks differ less, the timeline does not make it look like much


def image_lines(image: Image, columns: int, rows: int, truecolour: bool) -> list[str]:
    """uint8 (H, W, 3) BGR as at most that many columns and rows of half blocks, its shape kept, two pixels in each."""
    height, width = image.shape[:2]
    scale = min(columns / width, 2 * rows / height)
    size_wh = max(1, int(width * scale)), 2 * max(1, int(height * scale / 2))
    small = cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA)[..., ::-1]
    codes = _truecolour(small) if truecolour else _of_256(small)
    return [_line(top, bottom) for top, bottom in zip(codes[::2], codes[1::2], strict=True)]


def _line(top: list[str], bottom: list[str]) -> str:
    """A row of cells; a colour is named only where it changes."""
    parts, last = [], ("", "")
    for pair in zip(top, bottom, strict=True):
        if pair[0] != last[0]:
            parts.append(f"\x1b[38;{pair[0]}m")
        if pair[1] != last[1]:
            parts.append(f"\x1b[48;{pair[1]}m")
        parts.append("▀")
        last = pair
    return "".join(parts) + RESET


def _truecolour(rgb: Image) -> list[list[str]]:
    """Rounded to 64 steps a channel, so that more neighbours are alike: half of the bytes over a slow line."""
    return [[f"2;{r};{g};{b}" for r, g, b in row] for row in (rgb & 0xFC).tolist()]


def _of_256(rgb: Image) -> list[list[str]]:
    """The nearest of the cube of 6x6x6 colours, at 16 of the 256; its steps are 0, 95, 135, 175, 215 and 255."""
    steps = np.searchsorted([48, 115, 155, 195, 235], rgb)
    return [[f"5;{code}" for code in row] for row in (16 + steps @ np.array([36, 6, 1])).tolist()]


def timeline_line(timeline: DisagreementTimeline, width: int, colour: bool) -> tuple[str, float]:
    """The timeline in blocks, and the share that the highest block stands for. A dot is a frame not compared yet."""
    shares = timeline.columns(width)
    top = max(_SCALE_LEAST, float(np.fmax.reduce(shares, initial=0.0)))
    return "".join(_block(share, top, colour) for share in _stretched(shares, width)) + (RESET if colour else ""), top


def _stretched(values: NDArray[np.float32], width: int) -> list[float]:
    """A short recording fills the line, too."""
    return values[np.arange(width) * len(values) // width].tolist()


def _block(share: float, top: float, colour: bool) -> str:
    if np.isnan(share):
        return f"\x1b[38;5;{_GREY}m·" if colour else "·"
    level = min(7, int(8 * share / top))
    block = _BLOCKS[level]
    return f"\x1b[38;5;{(_GREEN, _YELLOW, _RED)[level * 3 // 8]}m{block}" if colour else block


def marker_line(index: int, frame_count: int, width: int) -> str:
    """A mark under the column that frame `index` is in, and the ends of the recording."""
    column = min(width - 1, (2 * index + 1) * width // (2 * frame_count))
    return " " * column + "▲"
