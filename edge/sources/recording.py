"""Video files, decoded to planes; a damaged file is never passed over in silence."""

from __future__ import annotations

import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.frame import VideoFrame

from edge.errors import NotAVideo, SourceDamaged, SourceError, SourceNotFound
from edge.frame import Frame, Image, Matrix, Yuv420
from edge.timing import Durations

_PLANAR_420 = ("yuv420p", "yuvj420p")
_AVCOL_SPC = {1: "bt709", 5: "bt601", 6: "bt601"}  # libavutil/pixfmt.h: BT709, BT470BG, SMPTE170M
_AVCOL_RANGE_FULL = 2
_TURNS = {90: cv2.ROTATE_90_COUNTERCLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_CLOCKWISE}


class Recording:
    """A video file as a source of every one of its frames. Planes are views of the decoder's memory, never copied."""

    live = False

    def __init__(self, path: str) -> None:
        self.name = path
        self.decode = Durations()
        self._container = _open(Path(path))
        try:
            self._stream = self._container.streams.video[0]
            # Slices share a frame's work without holding frames back, as frame threads do: the age stays honest.
            self._stream.codec_context.thread_type = "SLICE"
            self._frames = self._decoded()
            self._first = next(self._frames, None)
        except BaseException:
            self._container.close()
            raise
        if self._first is None:
            self._container.close()
            raise NotAVideo(f"{path}: no frame in it can be decoded. Is it truncated or encrypted? Try: ffprobe {path}")
        self.size_wh = self._first.size_wh
        rate = self._stream.average_rate or self._stream.guessed_rate
        self.rate_hz = float(rate) if rate else None
        self.frame_count = self._stream.frames or None

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *exception: object) -> None:
        self._container.close()

    def __iter__(self) -> Iterator[Frame]:
        """The frames, once.

        Raises:
            SourceDamaged: after the last frame, where some could not be decoded or fewer came than the file promises.
        """
        if self._first is not None:
            # Decoded when the file was opened; its age counts from when it is asked for, as the others' does.
            self._first.captured_ns = time.monotonic_ns()
            yield self._first
            self._first = None
        yield from self._frames

    def _decoded(self) -> Iterator[Frame]:
        index, broken = 0, 0
        packets = self._container.demux(self._stream)
        while True:
            start_ns = time.perf_counter_ns()
            try:
                packet = next(packets, None)
                pictures = self._stream.decode(packet) if packet is not None else []
            except av.error.FFmpegError:
                # One unreadable packet does not end a drive: count it, go on, and say so at the end. A demuxer that
                # fails ends by itself at its next call.
                broken += 1
                continue
            if packet is None:
                break
            for picture in pictures:
                broken += picture.is_corrupt
                frame = self._frame(picture, index)
                self.decode.add(time.perf_counter_ns() - start_ns)
                yield frame
                start_ns = time.perf_counter_ns()
                index += 1
        self._complain_if_damaged(index, broken)

    def _frame(self, picture: VideoFrame, index: int) -> Frame:
        media = picture.pts * Fraction(picture.time_base or 0) if picture.pts is not None else None
        return Frame(
            index=index,
            captured_ns=time.monotonic_ns(),
            media_ns=None if media is None else round(media * 1_000_000_000),
            source=self.name,
            yuv=planes(picture),
        )

    def _complain_if_damaged(self, decoded: int, broken: int) -> None:
        expected = self._stream.frames or decoded
        if broken or decoded < expected:
            raise SourceDamaged(
                f"{self.name}: is damaged: {decoded} of {max(expected, decoded)} frames were decoded, {broken} packets or"
                " frames were corrupt. The results cover the decoded frames only; copy the file again from its origin."
            )


def _open(path: Path) -> av.container.InputContainer:
    if not path.exists():
        raise SourceNotFound(f"{path}: there is no such file. Look at what is there: ls {path.parent}")
    if path.is_file() and path.stat().st_size == 0:
        raise NotAVideo(f"{path}: is empty (0 bytes). Was the copy or recording interrupted? Copy it again.")
    try:
        container = av.open(str(path))
    except PermissionError as error:
        raise SourceError(f"{path}: may not be read by this user. Try: sudo chmod a+r {path}") from error
    except av.error.FFmpegError as error:
        raise NotAVideo(
            f"{path}: is not a video that can be read ({error.strerror}). A file cut off while it was written looks like"
            f" this too. Try: ffprobe {path}"
        ) from error
    if not container.streams.video:
        container.close()
        raise NotAVideo(f"{path}: holds no video stream")
    return container


def planes(picture: VideoFrame) -> Yuv420:
    """The decoder's planes of a picture as views, turned upright; other pixel formats are converted first.

    An untagged picture is taken as BT.601 up to 576 lines and BT.709 above, as players do.
    """
    matrix = _AVCOL_SPC.get(int(picture.colorspace), "bt709" if picture.height > 576 else "bt601")
    full_range = picture.format.name.startswith("yuvj") or int(picture.color_range) == _AVCOL_RANGE_FULL
    turn = _TURNS.get(int(picture.rotation) % 360)
    if picture.format.name not in _PLANAR_420:
        picture = picture.reformat(format="yuv420p")
    width, height = picture.width, picture.height
    half = (height + 1) // 2, (width + 1) // 2
    y, u, v = (
        _plane(plane, size) for plane, size in zip(picture.planes, ((height, width), half, half), strict=True)
    )
    if turn is not None:
        y, u, v = (cv2.rotate(plane, turn) for plane in (y, u, v))
    return Yuv420(y, u, v, _matrix(matrix), full_range, owner=picture)


def _matrix(name: str) -> Matrix:
    return "bt709" if name == "bt709" else "bt601"


def _plane(plane: av.video.plane.VideoPlane, size_hw: tuple[int, int]) -> Image:
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
    return rows[: size_hw[0], : size_hw[1]]
