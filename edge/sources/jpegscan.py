"""Whether the coded data of a JPEG hold a whole image: what markers do not show.

A USB camera that loses packets sends an image with its end marker and a hole before it. Decoders fill what is missing
with grey and say nothing; FFmpeg's, asked to be strict, refuses. It is asked for an eighth of the size, which takes a
fraction of the time that a decoder of the whole needs.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from av import Packet, VideoCodecContext
from av.error import FFmpegError

from edge.limits import max_pixels
from edge.sources.imagefile import ImageError, decode_image, is_jpeg

if TYPE_CHECKING:
    from edge.frame import Image

STRICT = {"err_detect": "explode"}
_OF_THREAD = threading.local()


class JpegScans:
    """Looks at one image after another; tables that a camera sends once hold for those that follow."""

    def __init__(self) -> None:
        self._decoder = _decoder(STRICT)

    def is_whole(self, data: bytes) -> bool:
        """Whether all of the image is there, and can be read. `data` is a JPEG of a size that is allowed."""
        return _decodes(self._decoder, data)


def decode_whole_image(data: bytes) -> Image:
    """uint8 (H, W, 3) BGR of an image that stands for itself, as `decode_image`; a JPEG with a hole is refused.

    Raises:
        ImageError: it cannot be read, or a part of it is missing.
    """
    image = decode_image(data)
    # Some kinds of JPEG FFmpeg cannot read at all, such as CMYK in 4:2:0: of those nothing is known.
    if is_jpeg(data) and not _scans().is_whole(data) and _decodes(_decoder({}), data):
        raise ImageError("is damaged: a part of its image is missing")
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


def _decoder(strictness: dict[str, str]) -> VideoCodecContext:
    decoder = VideoCodecContext.create("mjpeg", "r")
    decoder.thread_count = 1
    decoder.options = {**strictness, "lowres": "3", "max_pixels": str(max_pixels())}
    return decoder
