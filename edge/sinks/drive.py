"""Drives: what the camera saw and what was seen in it, in MCAP. docs/drives.md has the format.

What is written is the system's within a tenth of a second, and on the disk within half a second: a kill costs no more
than the one, a power cut no more than the other.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, NamedTuple

import cv2
import numpy as np

from edge.card import Card
from edge.classes import ClassTable
from edge.drive.calibration import calibration_message
from edge.drive.location import add_fix
from edge.drive.outlines import outlines_of
from edge.drive.outputs import output_channel, output_message
from edge.drive.scene import road_parts
from edge.drive.schema import (
    CALIBRATION,
    CARD,
    CONFIG,
    FRAME_ID,
    IMAGE,
    IMAGE_SCHEMA,
    MASKS,
    OUTLINES,
    OUTPUTS,
    RESULTS,
    VIDEO_SCHEMA,
    message_class,
)
from edge.drive.writer import DriveWriter
from edge.errors import OutputError
from edge.frame import Frame, Letterbox
from edge.indexed_png import encode_indexed
from edge.prediction import Prediction
from edge.sinks.files import escaped, limit_command, writing
from edge.sinks.jsonl import as_record
from edge.sinks.recorder import SYNC_S
from edge.sinks.shelf import SegmentFile
from edge.sinks.stamps import DriveClock
from edge.sinks.video import VideoEncoder, nominal_rate
from edge.timing import Stages

if TYPE_CHECKING:
    from typing_extensions import Self

Codec = Literal["h264", "jpeg"]
CHUNK_S = 0.1  # what a kill can cost
# A drive is looked at by engines again: of 60 frames of a city at 480x360, 99.0 % of the pixels keep their class at 22,
# 98.7 % at 25, 98.4 % at 28, 99.5 % as JPEG, in 28, 22, 17 and 52 KB a frame.
QUANTISER = "22"
_JPEG = [cv2.IMWRITE_JPEG_QUALITY, 90]
_NOTHING = np.empty((0, 0), np.uint8)
_NO_CLASSES = ClassTable(("nothing",), ((0, 0, 0),), {}, {})


@dataclass(frozen=True)
class DriveOptions:
    """What a drive is to say about itself, and how its frames are coded.

    Attributes:
        software: what records, with its version.
        source, rate_hz: of the source; the rate is nominal.
        card, precision: of the engine; None and "" where it is unknown.
        config: the settings of the program that records, as YAML.
    """

    software: str
    source: str
    rate_hz: float | None = None
    card: Card | None = None
    precision: str = ""
    config: str = ""
    codec: Codec = "h264"

    def attachments(self) -> dict[str, bytes]:
        """The card and the config as files by name, as far as there are such."""
        texts = {CARD: self.card.to_json() if self.card else "", CONFIG: self.config}
        return {name: text.encode() for name, text in texts.items() if text}


class FrameEncoder:
    """Frames to messages of the image topic, in one codec."""

    def __init__(self, options: DriveOptions, first: Prediction) -> None:
        self.size_wh = first.frame.size_wh
        self._encoder: VideoEncoder | None = None
        if options.codec == "h264":
            rate = nominal_rate(options.rate_hz)
            # A keyframe a second, to jump to. Foxglove wants no B frames, and x264 at zerolatency makes none.
            encoder = {"qp": QUANTISER, "tune": "zerolatency", "g": str(max(1, round(rate))), "sc_threshold": "0"}
            self._encoder = VideoEncoder(_Unused(), "h264", rate, first, 1, encoder=encoder)

    def message(self, frame: Frame, time_ns: int, stages: Stages) -> tuple[bytes, bool]:
        """The message, and whether its frame stands for itself.

        Raises:
            OutputError: the frame is of another size than the first.
        """
        if frame.size_wh != self.size_wh:
            (width, height), (was_width, was_height) = frame.size_wh, self.size_wh
            raise OutputError(
                f"frame {frame.index} is {width}x{height}, the drive began as {was_width}x{was_height}: a file has"
                " one size. In a folder a new file begins"
            )
        with stages["encode"].span():
            data, is_key = self._jpeg(frame) if self._encoder is None else self._h264(self._encoder, frame)
        message = message_class(IMAGE_SCHEMA if self._encoder is None else VIDEO_SCHEMA)()
        message.timestamp.FromNanoseconds(time_ns)
        message.frame_id, message.data, message.format = FRAME_ID, data, "jpeg" if self._encoder is None else "h264"
        return message.SerializeToString(), is_key

    def _h264(self, encoder: VideoEncoder, frame: Frame) -> tuple[bytes, bool]:
        encoder.copy(frame)
        packets = encoder.encode(frame)
        if len(packets) != 1:
            raise OutputError(f"frame {frame.index}: x264 made {len(packets)} packets of it; expected one")
        return bytes(packets[0]), packets[0].is_keyframe

    def _jpeg(self, frame: Frame) -> tuple[bytes, bool]:
        return cv2.imencode(".jpg", frame.image, _JPEG)[1].tobytes(), True

    def close(self) -> None:
        """Free the encoder. It keeps no frame back, so none is lost."""
        if self._encoder is not None:
            self._encoder.close(flush=False)


class _Unused:
    """Where FFmpeg would write a file: the packets are taken before."""

    def write(self, data: bytes, /) -> int:
        return len(data)


def open_writer(fd: int, options: DriveOptions, clock: DriveClock, size_wh: tuple[int, int]) -> DriveWriter:
    """A drive in an empty file, which says about itself what there is to say."""
    about = {
        "software": options.software,
        "source": escaped(options.source),
        "codec": options.codec,
        "size": f"{size_wh[0]}x{size_wh[1]}",
        "rate_hz": f"{options.rate_hz:g}" if options.rate_hz else "",
        "engine": options.card.name if options.card else "",
        "precision": options.precision,
        "wall_minus_capture_ns": str(clock.offset_ns),
    }
    return DriveWriter(fd, about, options.attachments(), time.time_ns())


class Part(NamedTuple):
    """One message about a frame: `topic`, what the topic's `channel` says of itself, and `make`, which gives the
    message's bytes for the frame's time in ns.
    """

    topic: str
    channel: Mapping[str, str]
    make: Callable[[int], bytes]


def seen_in(result: Prediction, dropped: int) -> Iterator[Part]:
    """What was seen in a frame: its mask, outlines to show, figures, what else the engine gives, and with a camera
    model the camera's calibration and what is where on the road.
    """
    if result.ground is not None:
        yield Part(CALIBRATION, {}, partial(calibration_message, result.ground))
        yield from (Part(topic, {}, make) for topic, make in road_parts(result, result.ground))
    yield Part(MASKS, {}, partial(mask_message, result))
    yield Part(OUTLINES, {}, partial(outlines_of, result))
    yield Part(RESULTS, {}, lambda time_ns: json.dumps(as_record(result, dropped)).encode())
    for output in result.further():
        yield Part(OUTPUTS + output.name, output_channel(output), partial(output_message, result, output))


def add_seen(writer: DriveWriter, result: Prediction, dropped: int, time_ns: int) -> None:
    """All that `seen_in` gives."""
    for topic, channel, make in seen_in(result, dropped):
        writer.add(topic, time_ns, make(time_ns), channel)


def mask_message(result: Prediction, time_ns: int) -> bytes:
    """A foxglove.CompressedImage: the class ids of the frame, without black bars, as indexed PNG at network size."""
    message = message_class(IMAGE_SCHEMA)(frame_id=FRAME_ID, format="png")
    message.data = encode_indexed(result.letterbox.content(result.semantic), result.table.colours_rgb)
    message.timestamp.FromNanoseconds(time_ns)
    return message.SerializeToString()


def without_result(frame: Frame) -> Prediction:
    """A frame that no engine was asked about, as drives take it."""
    return Prediction(frame, {"semantic": _NOTHING}, Letterbox(frame.size_wh, (0, 0), (0, 0, 0, 0)), _NO_CLASSES, 0)


class DriveSegments:
    """Drives as a `edge.sinks.recorder.Recorder` keeps them: in segments, within a quota."""

    suffix = ".mcap"

    def __init__(self, options: DriveOptions) -> None:
        """Raises:
        ConfigError: the libraries are not installed.
        """
        message_class(VIDEO_SCHEMA)
        self._options = options
        self._clock: DriveClock | None = None

    def begin(self, path: Path, number: int, first: Prediction) -> DriveSegment:
        """A file on the clock that all segments share; see `edge.sinks.recorder.SegmentKind.begin`."""
        self._clock = self._clock or DriveClock(first.frame)  # one for all: times go on from file to file
        return DriveSegment(path, number, first, self._options, self._clock)

    def repair(self, path: Path) -> None:
        """Nothing: a drive that was cut off is read up to there, and reported as cut off."""


class DriveSegment:
    """One file, which gets its name when it holds a frame."""

    def __init__(self, path: Path, number: int, first: Prediction, options: DriveOptions, clock: DriveClock) -> None:
        self.path, self.number, self._clock = path, number, clock
        self.size_wh = first.frame.size_wh
        self._encoder = FrameEncoder(options, first)
        self._next_chunk_s = 0.0  # the first frame is a chunk of its own: the file is there at once
        self._file = SegmentFile(path)
        try:
            self._writer = open_writer(self._file.fd, options, clock, self.size_wh)
        except BaseException:  # Ctrl-C too: no other owner could close the file
            self._file.leave()
            raise

    @property
    def plays(self) -> bool:
        """Whether it has its name, which it has from the end of its first chunk on."""
        return self._file.is_named

    @property
    def size_bytes(self) -> int:
        """Of the chunks that are whole."""
        return self._writer.size_bytes

    def write(self, result: Prediction, dropped: int, stages: Stages) -> None:
        """Add a frame and what was seen in it; one `without_result` has no mask.

        Raises:
            OutputError: the frame is of another size than the first.
            OSError, FFmpegError: it cannot be written or encoded.
        """
        time_ns = self._clock.stamp_ns(result.frame)
        image, _ = self._encoder.message(result.frame, time_ns, stages)
        with stages["write"].span():
            self._writer.add(IMAGE, time_ns, image)
            add_fix(self._writer, result.frame, time_ns)
            if result.semantic.size:
                add_seen(self._writer, result, dropped, time_ns)
            if time.monotonic() >= self._next_chunk_s:
                self._end_chunk()

    def _end_chunk(self) -> None:
        self._writer.flush()
        self._next_chunk_s = time.monotonic() + CHUNK_S
        if not self.plays:
            self._file.give_name()

    def sync(self) -> None:
        """End the chunk, and have it on the disk when this is over."""
        self._end_chunk()
        self._writer.sync()

    def close(self) -> None:
        """Write what makes the file quick to open; one that cannot be completed ends with its last whole chunk."""
        try:
            self._encoder.close()
            self._writer.finish()
        finally:
            self._file.leave(self._writer.size_bytes)


class DriveSink:
    """One drive in one file. It is there from its first frame on, and whole up to a tenth of a second ago."""

    def __init__(self, path: Path, options: DriveOptions, stages: Stages) -> None:
        """Raises:
        OutputError: there is such a file, or it may not be written.
        ConfigError: the libraries are not installed.
        """
        self._segments, self._path, self._stages = DriveSegments(options), path, stages
        self._segment: DriveSegment | None = None
        self._frames, self._next_sync_s = 0, 0.0
        with writing(path):
            if path.exists():
                raise OutputError(f"{path}: there is one already, and a drive is never overwritten. Name another file.")
            path.parent.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Complete the file; one that failed ends with its last whole chunk."""
        if self._segment is not None:
            with suppress(OutputError) if error else nullcontext(), self._translated():
                self._segment.close()

    def write(self, result: Prediction, dropped: int) -> None:
        """Add a frame; see `edge.sinks.sink.Sink.write`. The first makes the file."""
        with self._translated():
            if self._segment is None:
                self._segment = self._segments.begin(self._path, 0, result)
            self._segment.write(result, dropped, self._stages)
            self._frames += 1
            if time.monotonic() >= self._next_sync_s:
                self._segment.sync()
                self._next_sync_s = time.monotonic() + SYNC_S

    def __str__(self) -> str:
        """For people."""
        size_mb = self._segment.size_bytes / 1e6 if self._segment else 0.0
        return f"drive    {self._path}: {self._frames} frames, {size_mb:.1f} MB"

    @contextmanager
    def _translated(self) -> Iterator[None]:
        from av.error import FFmpegError

        try:
            yield
        except OutputError:
            raise
        except (OSError, FFmpegError) as error:
            plays = self._segment is not None and self._segment.plays
            raise OutputError(
                f"{self._path}: cannot be written on: {error.strerror or error}."
                f" {'It holds what was recorded until then' if plays else 'Nothing was recorded'}."
                f" See: {limit_command(self._path, error)}"
            ) from error
