"""Recorded drives in MCAP, ours and others' with Foxglove's pictures; frame by frame, or by number."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import av
import cv2
import numpy as np
from av.error import FFmpegError
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from edge.card import Card
from edge.drive.file import DriveFile, Place
from edge.drive.schema import (
    ABOUT,
    CARD,
    CONFIG,
    END,
    IMAGE,
    IMAGE_SCHEMA,
    MASKS,
    OLD_MASK_SCHEMA,
    RESULTS,
    VIDEO_SCHEMA,
    message_class,
)
from edge.errors import ConfigError, DataError, NotAVideo, SourceDamaged, SourceError, SourceNotFound
from edge.frame import Frame, Image, Letterbox, Yuv420
from edge.indexed_png import decode_ids
from edge.maskcodec import decode_mask
from edge.sources.container import usable_aspect
from edge.sources.index import median_rate_hz
from edge.sources.pictures import is_cut_off_jpeg
from edge.sources.place import TOPIC, place_of
from edge.sources.planes import planes
from edge.sources.source import Source
from edge.timing import Durations

KINDS = (VIDEO_SCHEMA, IMAGE_SCHEMA)
_KEY_PICTURE, _OTHER_PICTURE = 5, 1  # NAL units (ITU-T H.264, table 7-1)


@dataclass(frozen=True)
class Recorded:
    """What was seen in a frame when it was recorded.

    Attributes:
        classes: uint8 (h, w) class ids at network size; see `letterbox`.
        letterbox: network pixels <-> frame pixels.
        frame: the camera's count, whose gaps are frames that were dropped.
        captured_ns: on the monotonic clock of the machine that recorded.
        age_ms: from capture to mask.
        shares: parts of the picture by class.
        dropped: frames dropped until then.
    """

    classes: Image
    letterbox: Letterbox
    frame: int
    captured_ns: int
    age_ms: float
    shares: Mapping[str, float]
    dropped: int


class _Message(NamedTuple):
    file: DriveFile
    place: Place


class _Packet(NamedTuple):
    """A coded picture, and which one of its file it is; 0 where the writer may have counted otherwise."""

    data: bytes
    file: Path
    sequence: int

    def follows(self, other: _Packet) -> bool:
        """Whether no picture can be missing between the two."""
        return self.file == other.file and (not self.sequence or self.sequence == other.sequence + 1)


class Drive:
    """An MCAP file, or a folder of the segments of one drive, as a source.

    Attributes:
        about: what the drive says about itself; see docs/drives.md. Empty for others' files.
        config: the settings it was recorded with, as YAML; "" where there are none.
    """

    live = False

    def __init__(self, place: str) -> None:
        """`place` may end in "?topic=/camera/image", where there are several.

        Raises:
            SourceError: there are no pictures in it.
            ConfigError: the libraries are not installed.
        """
        self.name = place
        path, topic = split_topic(place)
        self.decode = Durations()
        self.files = [DriveFile(file) for file in _files(path)]
        self.topic = topic = _picture_topic(self.files, topic, place)
        self._frames = [_Message(file, p) for file in self.files for p in file.places.get(topic, [])]
        self._seen = {
            kind: {p.time_ns: _Message(file, p) for file in self.files for p in file.places.get(kind, [])}
            for kind in (MASKS, RESULTS)
        }
        self._schema = next(file.schemas[topic].name for file in self.files if topic in file.schemas)
        self.about = self.files[0].metadata.get(ABOUT, {})
        self.config = self.files[0].attachments.get(CONFIG, b"").decode(errors="replace")
        self._decoder = (_Video if self._schema == VIDEO_SCHEMA else _Pictures)(self.name, self._packet)
        self.frame_count = len(self._frames)
        self.rate_hz = median_rate_hz([message.place.time_ns for message in self._frames])
        first = self._first_that_decodes()
        self.size_wh, self.pixel_aspect = first.size_wh, first.pixel_aspect

    def __enter__(self) -> Drive:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def __iter__(self) -> Iterator[Frame]:
        """Every frame that can be decoded, as often as wanted.

        Raises:
            SourceDamaged: after the last, where frames are missing or the drive was cut off.
        """
        decoded, first_loss = 0, ""
        for outcome in map(self._tried, range(self.frame_count)):
            if isinstance(outcome, Frame):
                decoded += 1
                yield outcome
            else:
                first_loss = first_loss or str(outcome)
        self._complain_if_damaged(decoded, first_loss)

    def _tried(self, index: int) -> Frame | SourceDamaged:
        try:
            return self.at(index)
        except SourceDamaged as error:
            return error

    def at(self, index: int) -> Frame:
        """Frame `index`, which counts what was recorded.

        Raises:
            SourceDamaged: it cannot be decoded.
            SourceError: there is no such frame.
        """
        if not 0 <= index < self.frame_count:
            raise SourceError(f"{self.name}: there is no frame {index}; there are 0 to {self.frame_count - 1}")
        with self.decode.span():
            picture = self._decoder.at(index)
        media_ns = self._frames[index].place.time_ns - self._frames[0].place.time_ns
        yuv, bgr = (picture, None) if isinstance(picture, Yuv420) else (None, picture)
        now_ns = time.monotonic_ns()
        return Frame(
            index=index,
            captured_ns=now_ns,
            media_ns=media_ns,
            source=self.name,
            yuv=yuv,
            bgr=bgr,
            pixel_aspect=self._decoder.pixel_aspect,
        )

    @property
    def card(self) -> Card | None:
        """Of the engine whose masks are in the drive; None where there are none.

        Raises:
            EngineError: it is none.
        """
        text = self.files[0].attachments.get(CARD)
        return None if text is None else Card.from_json(text.decode(errors="replace"), f"{self.name}: {CARD}")

    def recorded(self, index: int) -> Recorded | None:
        """What was seen in frame `index` when it was recorded; None where nothing was.

        Raises:
            SourceDamaged: that cannot be read.
        """
        time_ns = self._frames[index].place.time_ns
        mask, result = self._seen[MASKS].get(time_ns), self._seen[RESULTS].get(time_ns)
        if mask is None or result is None:
            return None
        content, figures = mask.file.read(MASKS, mask.place), result.file.read(RESULTS, result.place)
        try:
            return _recorded(*_mask(mask.file, content, self.name), json.loads(figures))
        except (DataError, ValueError, KeyError, TypeError) as error:
            raise SourceDamaged(f"{self.name}: what was recorded with a frame is damaged: {error}") from error

    def _packet(self, index: int) -> _Packet:
        file, place = self._frames[index]
        content, sequence = file.read_numbered(self.topic, place)
        message = message_class(self._schema)()
        _parse(message, content, f"{self.name}: frame {index}")
        wanted = ("h264",) if self._schema == VIDEO_SCHEMA else ("jpeg", "png", "webp")
        if message.format not in wanted:
            raise SourceError(f"{self.name}: its pictures are {message.format!r}; {' and '.join(wanted)} can be read")
        return _Packet(message.data, file.path, sequence if ABOUT in file.metadata else 0)

    def _first_that_decodes(self) -> Frame:
        outcomes = map(self._tried, range(self.frame_count))
        first = next((outcome for outcome in outcomes if isinstance(outcome, Frame)), None)
        if first is None:
            raise NotAVideo(f"{self.name}: none of its {self.frame_count} frames can be decoded. {self._tried(0)}")
        return first

    @property
    def damage(self) -> str:
        """What is missing by the drive's own account, for people; "" in a whole one. A picture that does not decode is
        not known before it is asked for.
        """
        return "; ".join(self._lacks(self.frame_count))

    def _lacks(self, decoded: int) -> list[str]:
        expected = self.frame_count + sum(_missing(file, self.topic) for file in self.files)
        unended = [file for file in self.files if not file.ended]
        lost_bytes, lost_chunks = (sum(getattr(f, n) for f in self.files) for n in ("bytes_lost", "chunks_lost"))
        faults = [
            f"{decoded} of {expected} frames were decoded" if decoded < expected else "",
            f"{lost_chunks} chunks cannot be read" if lost_chunks else "",
            f"{unended[0].path.name} was cut off while it was recorded" if unended else "",
            f"{lost_bytes} bytes at the end are half a chunk" if lost_bytes else "",
        ]
        return [fault for fault in faults if fault]

    def _complain_if_damaged(self, decoded: int, first_loss: str) -> None:
        if faults := [*self._lacks(decoded), *filter(None, [first_loss])]:
            raise SourceDamaged(
                f"{self.name}: is damaged: {'; '.join(faults)}. The results cover the {decoded} decoded frames only."
            )


class _Pictures:
    """Each frame an image that stands for itself."""

    pixel_aspect = 1.0

    def __init__(self, name: str, packet: Callable[[int], _Packet]) -> None:
        self._name, self._packet = name, packet

    def at(self, index: int) -> Yuv420 | Image:
        data = self._packet(index).data
        image = None if is_cut_off_jpeg(data) else cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        if image is None:
            raise SourceDamaged(f"{self._name}: frame {index} is no picture, or only the upper part of one")
        return image


class _Video:
    """H.264 without frames that need later ones, as Foxglove wants it: decoded on from the last frame asked for, or
    from the key picture before.
    """

    def __init__(self, name: str, packet: Callable[[int], _Packet]) -> None:
        self._name, self._packet = name, packet
        self._codec: VideoCodecContext = av.CodecContext.create("h264", "r")
        self._codec.thread_count = 1  # see edge.sources.recording
        self._codec.flags |= av.codec.context.Flags.low_delay
        self._next = -1
        self._before: _Packet | None = None  # decoded last
        self._last: tuple[int, Yuv420] | None = None

    @property
    def pixel_aspect(self) -> float:
        """Of what was decoded last, by its own header."""
        return usable_aspect(self._codec.sample_aspect_ratio)

    def at(self, index: int) -> Yuv420 | Image:
        if self._last is None or self._last[0] != index:
            begin = self._begin(index)
            if begin != self._next:
                self._codec.flush_buffers()
            self._next, self._last = -1, None  # until all went well
            for number in range(begin, index):
                self._decode(number)
            self._last = (index, planes(self._decode(index)))
            self._next = index + 1
        return self._last[1]

    def _begin(self, index: int) -> int:
        """Where to decode from: the nearest key picture, or where the decoder stands."""
        for number in range(index, -1, -1):
            if number == self._next or is_key_picture(self._packet(number).data):
                return number
        raise SourceDamaged(f"{self._name}: frame {index} has no key picture before it")

    def _decode(self, index: int) -> VideoFrame:
        """Raises SourceDamaged: also where some before it are missing, for which the decoder makes up in silence."""
        packet, before = self._packet(index), self._before
        self._before = packet
        if not is_key_picture(packet.data) and not (before is not None and packet.follows(before)):
            raise SourceDamaged(f"{self._name}: before frame {index} some are missing")
        try:
            pictures = self._codec.decode(Packet(packet.data))
        except FFmpegError as error:
            raise SourceDamaged(f"{self._name}: frame {index} does not decode ({error.strerror})") from error
        if len(pictures) != 1 or pictures[0].is_corrupt:
            raise SourceDamaged(f"{self._name}: frame {index} is corrupt, or no single frame")
        return pictures[0]


def is_key_picture(data: bytes) -> bool:
    """Whether H.264 in Annex B form can be decoded from here on."""
    at = data.find(b"\0\0\1")
    while 0 <= at < len(data) - 3:
        kind = data[at + 3] & 31
        if _OTHER_PICTURE <= kind <= _KEY_PICTURE:
            return kind == _KEY_PICTURE
        at = data.find(b"\0\0\1", at + 3)
    return False


def open_recorded(place: str) -> Source:
    """A drive, or a ROS bag: whatever lies there.

    Raises:
        SourceError: it is neither, or there are no pictures in it.
        ConfigError: there is no such topic, or the libraries are not installed.
    """
    path, _ = split_topic(place)
    is_bag = path.suffix.lower() in (".bag", ".db3") or (path / "metadata.yaml").exists()
    if is_bag or (path.is_file() and DriveFile(path).profile in ("ros1", "ros2")):
        from edge.sources.bag import Bag

        return Bag(place)
    return Drive(place)


def split_topic(name: str) -> tuple[Path, str | None]:
    """Path and topic of "drive.mcap?topic=/camera/image"; a file may have such a name, too."""
    place = place_of(name)
    return place.path, place.value if place.key == TOPIC else None


def _files(path: Path) -> list[Path]:
    """The segments in a folder, in their order; or the one file."""
    if not path.is_dir():
        return [path]
    found = sorted(path.glob("*.mcap"), key=lambda file: (file.stem.rpartition("-")[2].zfill(12), file.name))
    if not found:
        raise SourceNotFound(f"{path}: no drive there (.mcap). Look at what is there: ls {path}")
    return found


def choose_topic(kinds: Mapping[str, str], wanted: str | None, place: str) -> str:
    """The topic to take pictures from: the one that is wanted, or the only one, or ours. `kinds` are their schemas.

    Raises:
        ConfigError: there is no such topic, or none can be preferred.
        NotAVideo: there are no pictures at all.
    """
    if not kinds:
        raise NotAVideo(f"{place}: no topic in it holds pictures.")
    if wanted is None and len(kinds) > 1 and IMAGE not in kinds:
        example = f"{place}?topic={min(kinds)}"
        raise ConfigError(f"{place}: several topics hold pictures: {', '.join(sorted(kinds))}. Say which: {example!r}")
    topic = wanted or (IMAGE if IMAGE in kinds else next(iter(kinds)))
    if topic not in kinds:
        raise ConfigError(f"{place}: no topic {topic!r} with pictures; there are: {', '.join(sorted(kinds))}")
    return topic


def _picture_topic(files: list[DriveFile], wanted: str | None, place: str) -> str:
    kinds = {
        topic: schema.name
        for file in files
        for topic, schema in file.schemas.items()
        if schema.name in KINDS and schema.encoding == "protobuf" and file.places[topic]
        if not (topic == MASKS and ABOUT in file.metadata)
    }
    return choose_topic(kinds, wanted, place)


def _missing(file: DriveFile, topic: str) -> int:
    """How many pictures the writer counted that are not there."""
    count = file.metadata.get(END, {}).get(topic, "0")
    return max(0, int(count) - len(file.places.get(topic, []))) if count.isdecimal() else 0


def _parse(message: Any, content: bytes, what: str) -> None:
    from google.protobuf.message import DecodeError

    try:
        message.ParseFromString(content)
    except DecodeError as error:
        raise SourceDamaged(f"{what} is damaged: {error}") from error


def _mask(file: DriveFile, content: bytes, name: str) -> tuple[Image, Letterbox]:
    """Class ids and where they lie on the frame: all over it, but in edge.Mask, which has bars."""
    message = message_class(OLD_MASK_SCHEMA if _is_old(file) else IMAGE_SCHEMA)()
    _parse(message, content, f"{name}: a mask")
    if not _is_old(file):
        classes = decode_ids(message.data)
        input_wh = (classes.shape[1], classes.shape[0])
        width, height = map(int, file.metadata[ABOUT]["size"].split("x"))
        return classes, Letterbox((width, height), input_wh, (0, 0, *input_wh))
    classes = decode_mask(message.data)
    x, y, width, height = message.content_xywh
    box = (x, y, width, height)
    return classes, Letterbox((message.source_width, message.source_height), classes.shape[::-1], box)


def _is_old(file: DriveFile) -> bool:
    return MASKS in file.schemas and file.schemas[MASKS].name == OLD_MASK_SCHEMA


def _recorded(classes: Image, box: Letterbox, figures: Any) -> Recorded:
    names = ("frame", "captured_ns", "age_ms", "shares", "dropped")
    return Recorded(classes, box, **{name: figures[name] for name in names})
