"""Frames as H.264 for a browser's own decoder (WebCodecs): one stream without an end for all viewers of a camera.

A frame refers to the one before, so a viewer needs every frame since a keyframe. One who missed a few gets them all in
one message, decodes them and shows the newest; for one who missed more, or comes anew, the next frame is a keyframe.
There are no other keyframes: over a WebSocket nothing is lost that they would repair.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from fractions import Fraction

from edge.errors import OutputError
from edge.frame import Frame, Matrix
from edge.sinks.video import AVCOL_RANGE, AVCOL_SPC, writable_planes
from edge.web.images import fill_planes, view_wh

BEHIND_MAX = 8  # frames in one message; so many lie between two keyframes, whoever comes and goes
_MICROSECONDS = Fraction(1, 1_000_000)
_BT709, _SRGB = 1, 13  # libavutil/pixfmt.h: a canvas's own, so that a browser converts nothing but the matrix
_ANY, _INTRA = 0, 1  # AV_PICTURE_TYPE_NONE and _I, libavutil/avutil.h
# At 26 a frame has 2 to 4 dB less than a JPEG of quality 80 (docs/web.md). A fixed quantiser and no lookahead: each
# leaves the encoder at once. Deblocking takes a tenth of the time and gives more than that in sharpness and bytes.
_OPTIONS = {
    "preset": "ultrafast",
    "tune": "zerolatency",
    "profile": "baseline",
    "qp": "26",
    "forced-idr": "1",
    "x264-params": "keyint=infinite:scenecut=0:no-deblock=0",
}


@dataclass(frozen=True, slots=True)
class Chunk:
    """One encoded frame in Annex B form; `place` is that in the stream, `time_us` when it was captured."""

    place: int
    time_us: int
    is_key: bool
    data: bytes


@dataclass(frozen=True, slots=True)
class H264Image:
    """The newest frame, behind those that a viewer may lack.

    Attributes:
        size_wh: of the image, even.
        codec: as WebCodecs names it, such as "avc1.42c01f".
        chunks: oldest first; at most `BEHIND_MAX`, none before the newest keyframe.
    """

    size_wh: tuple[int, int]
    codec: str
    chunks: tuple[Chunk, ...]

    @property
    def place(self) -> int:
        """In the stream."""
        return self.chunks[-1].place

    def since(self, place: int) -> tuple[dict[str, object], bytes] | None:
        """What a head says of it, and its bytes, for a viewer whose last frame has that place, 0 for none; None where
        the viewer cannot be helped but by a keyframe.
        """
        oldest = self.chunks[0]
        if place < oldest.place and not oldest.is_key:
            return None
        lacks = [chunk for chunk in self.chunks if chunk.place > place]
        chunks = [{"us": chunk.time_us, "bytes": len(chunk.data), "key": chunk.is_key} for chunk in lacks]
        return {"video": {"codec": self.codec, "chunks": chunks}}, b"".join(chunk.data for chunk in lacks)


class H264Images:
    """Encodes one camera's frames, each at most so wide. One thread encodes and closes; any asks for a keyframe."""

    def __init__(self, most_width: int) -> None:
        self._most_width = most_width
        self._codec: _Codec | None = None
        self._chunks = deque[Chunk](maxlen=BEHIND_MAX)
        self._place, self._wants_key = 0, False

    def encode(self, frame: Frame) -> H264Image:
        """The frame as the stream's next one. Another size or other colours begin the stream anew.

        Raises:
            OutputError: x264 cannot encode the frame.
        """
        from av.error import FFmpegError

        form = _form(frame, self._most_width)
        try:
            if self._codec is None or self._codec.form != form:
                self._codec = None  # of two encoders, one is in memory
                self._codec = _Codec(form)
            key, self._wants_key = self._wants_key, False
            is_key, data = self._codec.encode(frame, key)
        except (FFmpegError, ValueError) as error:  # PyAV refuses sizes with a ValueError
            self.close()
            raise OutputError(f"frame {frame.index}: cannot be made H.264: {error}") from error
        if is_key:
            self._chunks.clear()
        before_us = self._chunks[-1].time_us if self._chunks else -1
        self._place += 1
        self._chunks.append(Chunk(self._place, max(frame.captured_ns // 1000, before_us + 1), is_key, data))
        return H264Image(self._codec.form[0], self._codec.name, tuple(self._chunks))

    def ask_for_key(self) -> None:
        """The next frame will be one that needs no other."""
        self._wants_key = True

    def close(self) -> None:
        """Give the encoder's memory back; the next frame begins a stream."""
        self._codec = None
        self._chunks.clear()


_Form = tuple[tuple[int, int], Matrix, bool]  # size, and how the planes mean colours


def _form(frame: Frame, most_width: int) -> _Form:
    width, height = view_wh(frame.size_wh, most_width)
    even = max(2, width // 2 * 2), max(2, height // 2 * 2)
    return (even, frame.yuv.matrix, frame.yuv.full_range) if frame.yuv else (even, "bt601", False)


class _Codec:
    """x264 for images of one form, and the one image that it takes again and again. `name` is known with the first."""

    def __init__(self, form: _Form) -> None:
        from av import VideoFrame
        from av.codec import CodecContext

        self.form, self.name, self._count = form, "", 0
        (width, height), matrix, full_range = form
        self._context = context = CodecContext.create("libx264", "w")
        context.width, context.height, context.pix_fmt = width, height, "yuv420p"
        context.time_base, context.thread_count = _MICROSECONDS, 1
        context.colorspace, context.color_range = AVCOL_SPC[matrix], AVCOL_RANGE[full_range]
        context.color_primaries, context.color_trc = _BT709, _SRGB
        context.options = _OPTIONS
        self._image = VideoFrame(width, height, "yuv420p")  # libx264 copies an image when it takes it
        self._planes = writable_planes(self._image)

    def encode(self, frame: Frame, key: bool) -> tuple[bool, bytes]:
        """Whether it is a keyframe, and its bytes."""
        fill_planes(self._planes, frame)
        self._image.pict_type = _INTRA if key else _ANY
        self._image.pts, self._image.time_base = self._count, _MICROSECONDS  # with a fixed quantiser, x264 only counts
        self._count += 1
        (packet,) = self._context.encode(self._image)
        data = bytes(packet)
        self.name = self.name or codec_name(data)
        return packet.is_keyframe, data


def codec_name(data: bytes) -> str:
    """The stream's codec as WebCodecs names it (RFC 6381): profile, constraints and level, from its parameter set.

    >>> codec_name(bytes.fromhex("0000000167 42c01f da"))
    'avc1.42c01f'
    """
    at = data.index(b"\0\0\1\x67") + 4  # a sequence parameter set (ITU-T H.264, table 7-1)
    return f"avc1.{data[at : at + 3].hex()}"
