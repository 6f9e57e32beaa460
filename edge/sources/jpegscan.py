"""Whether the coded data of a JPEG hold a whole image: what markers do not show.

A USB camera that loses packets sends an image with its end marker and a hole before it. Decoders fill what is missing
with grey and say nothing; FFmpeg's, asked to be strict, refuses. It is asked for an eighth of the size, which takes a
fraction of the time that a decoder of the whole needs.
"""

from __future__ import annotations

from contextlib import suppress

from av.error import FFmpegError
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext

from edge.limits import max_pixels

STRICT = {"err_detect": "explode"}


class JpegScans:
    """Looks at one image after another; tables that a camera sends once hold for those that follow."""

    def __init__(self) -> None:
        self._decoder = _decoder()

    def is_whole(self, data: bytes) -> bool:
        """Whether all of the image is there, and can be read. `data` is a JPEG of a size that is allowed."""
        with suppress(FFmpegError):
            return bool(self._decoder.decode(Packet(data)))
        return False


def _decoder() -> VideoCodecContext:
    decoder = VideoCodecContext.create("mjpeg", "r")
    decoder.thread_count = 1
    decoder.options = {**STRICT, "lowres": "3", "max_pixels": str(max_pixels())}
    return decoder
