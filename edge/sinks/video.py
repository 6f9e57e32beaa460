"""The overlay as an H.264 video: tinted in the planes, which the encoder takes as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

import numpy as np

from edge.appearance import Appearance
from edge.errors import OutputError
from edge.frame import Frame, Matrix, Yuv420
from edge.prediction import Prediction
from edge.sinks.drawing import Drawing
from edge.sinks.files import PendingFile, output_error, refuse_terminal
from edge.timing import Stages

if TYPE_CHECKING:
    from av import VideoFrame
    from av.packet import Packet

FORMATS = {".mp4": "mp4", ".mkv": "matroska", ".mov": "mov"}
STREAM_SUFFIX = ".mkv"  # of a pipe without an ending: Matroska needs no seeking
_UNSEEKABLE = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}  # MP4 down a pipe
# A fixed quantiser spares x264 the look at each frame that its rate control takes: a quarter of its time. At 28 the
# 720p street has 35 dB in 4.5 Mbit/s; cv2.VideoWriter's MPEG-4 37 dB in 9 (benchmarks/overlay_quality.py).
ENCODER = {"preset": "ultrafast", "qp": "28"}
_SWAPPED_FRAMES = 2
TICKS_HZ = 90_000  # the clock of video timestamps (ISO/IEC 13818-1)
AVCOL_SPC: dict[Matrix, int] = {"bt709": 1, "bt601": 6}  # libavutil/pixfmt.h
AVCOL_RANGE = {False: 1, True: 2}


def nominal_rate(rate_hz: float | None) -> Fraction:
    """Frames per second as an encoder takes them: exact for 30000/1001 and the like; 10 where the source has none."""
    return max(Fraction(rate_hz or 10.0).limit_denominator(1001), Fraction(1, 1001))


class OverlayVideo:
    """Writes each frame with its tints and a line of figures. Size and colours are those of the first frame; a frame of
    another size, as from a camera that came back with one, is scaled into that, with black around it. Down a pipe goes
    Matroska, or MP4 in fragments.
    """

    def __init__(
        self,
        path: Path,
        rate_hz: float | None,
        stages: Stages,
        encoder_threads: int = 1,
        look: Appearance | None = None,
    ) -> None:
        """Raises:
        OutputError: the file cannot be written, or its ending names no video.
        """
        self.path, self._stages, self._threads = path, stages, encoder_threads
        self._rate, self._look = nominal_rate(rate_hz), look or Appearance()
        if path.suffix and path.suffix.lower() not in FORMATS:  # before a folder is made
            raise _unknown_ending(path)
        refuse_terminal(path)
        self._pending = PendingFile(path)
        suffix = path.suffix or (STREAM_SUFFIX if self._pending.is_stream else "")
        if not suffix:
            raise _unknown_ending(path)
        self._format = FORMATS[suffix.lower()]
        self._encoder: VideoEncoder | None = None
        self._pipe: BinaryIO | None = None
        self._failed = False

    def __enter__(self) -> OverlayVideo:
        return self

    def __exit__(self, *exception: object) -> None:
        """Complete the file; one without any frame, or that failed, is removed."""
        with self._translated():
            if self._encoder is not None:
                self._encoder.close(flush=not self._failed)
            if self._pipe is not None:
                self._pipe.close()
        if self._encoder is None or self._failed:
            self._pending.discard()
        else:
            self._pending.commit()

    def write(self, result: Prediction, dropped: int) -> None:
        """Draw, encode and write the frame; see `edge.sinks.sink.Sink.write`. The first opens the file."""
        with self._translated():
            if self._encoder is None:
                self._encoder = self._begin(result)
            with self._stages["overlay"].span():
                self._encoder.draw(result, dropped)
            with self._stages["encode"].span():
                packets = self._encoder.encode(result.frame)
            with self._stages["write"].span():
                self._encoder.mux(packets)

    def _begin(self, first: Prediction) -> VideoEncoder:
        if not self._pending.is_stream:
            return VideoEncoder(self._pending.partial, self._format, self._rate, first, self._threads, look=self._look)
        self._pipe = self._pending.open()
        options = {} if self._format == "matroska" else _UNSEEKABLE
        target = _Unseekable(self._pipe)
        return VideoEncoder(target, self._format, self._rate, first, self._threads, container=options, look=self._look)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """FFmpeg's and the system's errors as OutputError; the file is then given up."""
        from av.error import FFmpegError

        try:
            yield
        except (OSError, FFmpegError) as error:
            if self._failed:
                return  # closing after the first failure fails again, and has nothing to add
            self._failed = True
            self._pending.discard()
            if isinstance(error, OutputError):
                raise
            raise output_error(self.path, error) from error


class Output(Protocol):
    """Takes bytes, one after another; `write` gives how many, as FFmpeg asks of a file object."""

    def write(self, data: bytes, /) -> int: ...


class _Unseekable:
    """A pipe as FFmpeg takes one: what has a `seek` it believes to be a file."""

    def __init__(self, pipe: BinaryIO) -> None:
        self._pipe = pipe

    def write(self, data: bytes, /) -> int:
        written = self._pipe.write(data)
        self._pipe.flush()
        return written


def _unknown_ending(path: Path) -> OutputError:
    return OutputError(f"{path}: expected an overlay that ends with {', '.join(FORMATS)}; got {path.suffix or 'none'}")


class VideoEncoder:
    """An open video file with its encoder, and the one image that is drawn into again and again."""

    def __init__(
        self,
        target: Path | Output,
        container_format: str,
        rate: Fraction,
        first: Prediction,
        threads: int,
        *,
        container: Mapping[str, str] | None = None,
        encoder: Mapping[str, str] | None = None,
        look: Appearance | None = None,
    ) -> None:
        """`target` is a path, or what takes the file's bytes as they come; `container` and `encoder` are options of
        FFmpeg beside our own; `look` is that of what `draw` paints.

        Raises:
            ConfigError: the class table has not the classes that are to be painted.
            OutputError: the frame is smaller than a video can be.
            OSError, FFmpegError: the file or the encoder cannot be opened.
        """
        import av

        self._drawing = drawing = Drawing(first, look or Appearance(), self._new_image)
        # "file:", because FFmpeg takes what stands before a colon for a protocol.
        place = f"file:{target}" if isinstance(target, Path) else target
        self._container = av.open(place, "w", format=container_format, options=dict(container or {}))
        self._stream = self._container.add_stream("libx264", rate=rate, options=ENCODER | dict(encoder or {}))
        (self._stream.width, self._stream.height), self._stream.pix_fmt = drawing.size_wh, "yuv420p"
        context = self._stream.codec_context
        context.time_base = Fraction(1, TICKS_HZ)
        context.sample_aspect_ratio = Fraction(first.frame.pixel_aspect).limit_denominator(1000)
        context.thread_count = threads
        context.colorspace, context.color_range = AVCOL_SPC[drawing.matrix], AVCOL_RANGE[drawing.full_range]
        self._by_media = first.frame.media_ns is not None
        self._usual_step = max(1, round(TICKS_HZ / rate))
        # How far the video is ahead of the source's times after a step back, and how many frames since are below the
        # latest of these.
        self._ahead_ticks, self._latest_tick, self._below = 0, -(1 << 62), 0
        self._source_tick, self._tick = self._ticks(first.frame) - self._usual_step, -self._usual_step

    def draw(self, result: Prediction, dropped: int) -> None:
        """The frame, its tints and the line of figures into the encoder's image."""
        self._drawing.draw(result, dropped)

    def copy(self, frame: Frame) -> None:
        """The frame as it is into the encoder's image."""
        self._drawing.copy(frame)

    def _new_image(self, width: int, height: int) -> Yuv420:
        from av import VideoFrame

        # libx264 copies an image when it takes it (x264_encoder_encode), so that one serves for all frames.
        self._image = VideoFrame(width, height, "yuv420p")
        return writable_planes(self._image)

    def encode(self, frame: Frame) -> list[Packet]:
        """What the encoder gives for the image that was drawn or copied, shown when `frame` was taken; it may be
        nothing.
        """
        self._image.pts = self._next_tick(frame)
        self._image.time_base = Fraction(1, TICKS_HZ)
        return self._stream.encode(self._image)

    def _next_tick(self, frame: Frame) -> int:
        """When the frame is shown: as long after the last one as it was taken, by the clock that the first frame had.

        A time that is missing or goes back counts as one usual step. Where at most two frames go on below the latest
        time, they were swapped: the steps behind them are shortened, so that the video does not drift. Where more do,
        recordings were joined.
        """
        last, self._source_tick = self._source_tick, self._ticks(frame)
        step = self._source_tick - last
        if step <= 0:
            self._latest_tick = max(self._latest_tick, last)
            self._ahead_ticks += self._usual_step - step
            step = self._usual_step
        elif self._source_tick > self._latest_tick:
            shortened = max(step - self._ahead_ticks, min(step, self._usual_step // 2), 1)
            self._ahead_ticks, self._below = self._ahead_ticks - (step - shortened), 0
            step = shortened
        self._below += self._source_tick <= self._latest_tick
        if self._below > _SWAPPED_FRAMES:
            self._ahead_ticks, self._below, self._latest_tick = 0, 0, self._source_tick
        self._tick += step
        return self._tick

    def _ticks(self, frame: Frame) -> int:
        time_ns = frame.media_ns if self._by_media else frame.captured_ns
        if time_ns is None:
            return self._source_tick + self._usual_step
        return round(time_ns * TICKS_HZ / 1_000_000_000)

    def mux(self, packets: list[Packet]) -> None:
        """Write what `encode` gave.

        Raises:
            OSError, FFmpegError: the target takes no more.
        """
        self._container.mux(packets)

    def close(self, flush: bool) -> None:
        """End the file; with `flush`, behind what the encoder still holds."""
        try:
            if flush:
                self.mux(self._stream.encode(None))
        finally:
            self._container.close()


def writable_planes(image: VideoFrame) -> Yuv420:
    """The planes of a yuv420p image as writable views."""
    arrays = [np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size) for plane in image.planes]
    y, u, v = (a[: p.height, : p.width] for a, p in zip(arrays, image.planes, strict=True))
    return Yuv420(y, u, v, owner=image)
