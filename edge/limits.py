"""How large an image may be: checked by its header, before memory is taken for what it claims."""

from __future__ import annotations

import os

DEFAULT_PIXELS = 7680 * 4320
VARIABLE = "EDGE_MAX_MEGAPIXELS"


def max_pixels() -> int:
    """The most pixels that an image or frame may have: 7680x4320, or what EDGE_MAX_MEGAPIXELS says (1 to 1000)."""
    try:
        megapixels = float(os.environ.get(VARIABLE, ""))
    except ValueError:
        return DEFAULT_PIXELS
    return round(min(max(megapixels, 1.0), 1000.0) * 1e6) if megapixels == megapixels else DEFAULT_PIXELS


def size_error(size_wh: tuple[int, int]) -> str:
    """Why an image of that size is refused, with what to do; "" where it may be decoded."""
    width, height = size_wh
    if width * height <= (limit := max_pixels()):
        return ""
    return (
        f"{width}x{height} is {width * height / 1e6:.1f} megapixels, expected at most {limit / 1e6:.1f}."
        f" Scale it first, or raise the limit: {VARIABLE}={-(-width * height // 1_000_000)}"
    )
