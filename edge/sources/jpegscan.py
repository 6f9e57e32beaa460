"""Whether the coded data of a JPEG hold a whole image: what markers do not show.

A USB camera that loses packets sends an image with its end marker and a hole before it. Decoders fill what is missing
with grey and say nothing; FFmpeg's, asked to be strict, refuses. It is asked for an eighth of the size, which takes a
fraction of the time that a decoder of the whole needs.

Behind a hole, a decoder finds the codes again, but not the place in the image: data are left over at the end, of which
FFmpeg reports nothing. So a file is read a second time, as an image of a few blocks more than it has, which FFmpeg must
refuse.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from av import Packet, VideoCodecContext
from av.error import FFmpegError

from edge.limits import max_pixels
from edge.sources.imagefile import ImageError, decode_image, is_jpeg, next_marker

if TYPE_CHECKING:
    from edge.frame import Image

STRICT = {"err_detect": "explode"}
_OF_THREAD = threading.local()
_SOF0, _SOF1, _SOS, _DRI = 0xC0, 0xC1, 0xDA, 0xDD
_SIDE_MAX = 0xFFFF
_PADDING_BITS = 7


class JpegScans:
    """Looks at one image after another; tables that a camera sends once hold for those that follow."""

    def __init__(self) -> None:
        self._decoder = _decoder(STRICT, max_pixels())
        self._larger = _decoder(STRICT, 2 * max_pixels())

    def is_whole(self, data: bytes) -> bool:
        """Whether all of the image is there, and can be read. `data` is a JPEG of a size that is allowed."""
        return _decodes(self._decoder, data)

    def has_rest(self, data: bytes) -> bool:
        """Whether the data hold more blocks than the image has. Takes as long as `is_whole`."""
        larger = _with_more_blocks(data)
        return larger is not None and _decodes(self._larger, larger)


def decode_whole_image(data: bytes, *, live: bool = False) -> Image:
    """uint8 (H, W, 3) BGR of an image that stands for itself, as `decode_image`; a JPEG with a hole is refused.

    Of a `live` one, data that are left over are not looked for: it would make the frame older.

    Raises:
        ImageError: it cannot be read, or a part of it is missing.
    """
    image = decode_image(data)
    # Some kinds of JPEG FFmpeg cannot read at all, such as CMYK in 4:2:0: of those nothing is known.
    if is_jpeg(data):
        if not _scans().is_whole(data):
            if _decodes(_decoder({}, max_pixels()), data):
                raise ImageError("is damaged: a part of its image is missing")
        elif not live and _scans().has_rest(data):
            raise ImageError("is damaged: its data do not end where its image does")
    return image


def _scans() -> JpegScans:
    """This thread's: to make one takes as long as to use it."""
    if not hasattr(_OF_THREAD, "scans"):
        _OF_THREAD.scans = JpegScans()
    return _OF_THREAD.scans


def _decodes(decoder: VideoCodecContext, data: bytes) -> bool:
    with suppress(FFmpegError):
        return bool(decoder.decode(Packet(data)))
    return False


def _decoder(strictness: dict[str, str], pixels: int) -> VideoCodecContext:
    decoder = VideoCodecContext.create("mjpeg", "r")
    decoder.thread_count = 1
    decoder.options = {**strictness, "lowres": "3", "max_pixels": str(pixels)}
    return decoder


class _Blocks(NamedTuple):
    """What a JPEG is made of: its units (MCU in ITU-T T.81), each of a few blocks of 8 x 8."""

    size_at: int
    unit_wh: tuple[int, int]
    count: int
    per_unit: int


def _with_more_blocks(data: bytes) -> bytes | None:
    """The image with a few units more in its header; None where it is not one scan of baseline without restarts."""
    blocks = _blocks(data)
    if blocks is None:
        return None
    # The first unit too many may be made of padding, and of the last one FFmpeg does not ask where it ended.
    size_wh = _size_of(blocks.count + 2 + _PADDING_BITS // (2 * blocks.per_unit), blocks.unit_wh)
    at = blocks.size_at
    return size_wh and data[:at] + b"".join(side.to_bytes(2, "big") for side in size_wh[::-1]) + data[at + 4 :]


def _blocks(data: bytes) -> _Blocks | None:
    at, blocks, components = 2, None, 0
    while True:
        marker, start = next_marker(data, at)
        body = data[start + 2 : start + 2 + 64]
        if marker in (_SOF0, _SOF1):
            height, width, components = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big"), body[5]
            factors = [(factor >> 4, factor & 15) for factor in islice(body, 7, 6 + 3 * components, 3)]
            if components == 1:
                factors = [(1, 1)]
            unit_wh = 8 * max(w for w, _ in factors), 8 * max(h for _, h in factors)
            count = -(-width // unit_wh[0]) * -(-height // unit_wh[1])
            blocks = _Blocks(start + 3, unit_wh, count, sum(w * h for w, h in factors))
        elif marker == _SOS:
            return blocks if body[0] == components else None
        elif marker is None or (marker == _DRI and any(body[:2])):
            return None
        at = start + int.from_bytes(data[start : start + 2], "big")


@lru_cache(maxsize=16)
def _size_of(count: int, unit_wh: tuple[int, int]) -> tuple[int, int] | None:
    """Width and height of an image of as many units, or a few more where no sides have that product."""
    most_wide, most_high = (_SIDE_MAX // side for side in unit_wh)
    for units in range(count, count + 16):
        for wide in range(max(1, -(-units // most_high)), most_wide + 1):
            if units % wide == 0:
                return wide * unit_wh[0], units // wide * unit_wh[1]
            if wide * wide > units:
                break
    return None
