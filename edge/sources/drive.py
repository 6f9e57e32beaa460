"""Recorded drives in MCAP, ours and others' with Foxglove's images; frame by frame, or by number."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import av
from av.error import FFmpegError
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from edge.card import Card
from edge.closing import Closing
from edge.drive.file import DriveFile, Messages
from edge.drive.location import RecordedFixes
from edge.drive.schema import ABOUT, CARD, CONFIG, END, IMAGE, MASKS, OUTPUTS
from edge.errors import ConfigError, NotAVideo, SourceDamaged, SourceError, SourceNotFound
from edge.frame import Frame, Image, Yuv420
from edge.limits import max_pixels
from edge.sources.container import usable_aspect
from edge.sources.imagefile import ImageError
from edge.sources.index import median_rate_hz
from edge.sources.jpegscan import decode_whole_image
from edge.sources.messages import ENCODINGS, kind_of, parse_message
from edge.sources.place import TOPIC, place_of
from edge.sources.planes import planes
from edge.sources.rawimage import bgr_of_rows
from edge.sources.recorded import Recorded, RecordedResults
from edge.sources.source import Source
from edge.timing import Durations

log = logging.getLogger(__name__)

BAG_SUFFIXES = (".bag", ".db3", ".db3.zstd", ".mcap.zstd")
STORAGES = ("*.db3", "*.db3.zstd", "*.mcap.zstd")  # of a ROS 2 bag's folder; one of *.mcap may also be a drive
_MANY_UNDECODED = 1000
_KEY_SLICE, _OTHER_SLICE = 5, 1  # NAL units (ITU-T H.264, table 7-1)


class _Packet(NamedTuple):
    """An image message, and which one of its file it is; 0 where the writer may have counted otherwise."""

    message: Any
    file: Path
    sequence: int

    @property
    def data(self) -> bytes:
        """The coded image, or its rows."""
        return bytes(self.message.data)

    def follows(self, other: _Packet) -> bool:
        """Whether no image can be missing between the two."""
        return self.file == other.file and (not self.sequence or self.sequence == other.sequence + 1)


class Drive(Closing):
    """An MCAP file, or a folder of the segments of one drive, as a source.

    Attributes:
        about: what the drive says about itself; see docs/drives.md. Empty for others' files.
        config: the settings it was recorded with, as YAML; "" where there are none.
    """

    live = False

    def __init__(self, place: str) -> None:
        """`place` may end in "?topic=/camera/image", where there are several.

        Raises:
            SourceError: there are no images in it.
            ConfigError: the libraries are not installed.
        """
        self.name = place
        path, topic = split_topic(place)
        self.decode = Durations()
        self.files = [DriveFile(file) for file in segment_files(path)]
        self.topic = topic = _image_topic(self.files, topic, place)
        self._frames = Messages(self.files, topic)
        self._results, self._fixes = RecordedResults(self.files, self.name), RecordedFixes(self.files, self.name)
        first_file = next(file for file in self.files if topic in file.schemas)
        self._schema, self._encoding = first_file.schemas[topic], first_file.channels[topic].message_encoding
        self.about = self.files[0].metadata.get(ABOUT, {})
        self.config = self.files[0].attachments.get(CONFIG, b"").decode(errors="replace")
        decoders = {"video": _Video, "image": _Images, "raw": _RawImages}
        self._decoder = decoders[kind_of(self._schema.name) or "image"](self.name, self._packet)
        self.frame_count = len(self._frames)
        self.rate_hz = median_rate_hz(self._frames.times_ns.tolist())
        first = self._first_that_decodes()
        self.size_wh, self.pixel_aspect = first.size_wh, first.pixel_aspect

    def close(self) -> None:
        """Nothing is held open."""

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
            image = self._decoder.at(index)
        time_ns = self._frames[index].time_ns
        yuv, bgr = (image, None) if isinstance(image, Yuv420) else (None, image)
        now_ns = time.monotonic_ns()
        return Frame(
            index=index,
            captured_ns=now_ns,
            media_ns=time_ns - self._frames[0].time_ns,
            source=self.name,
            yuv=yuv,
            bgr=bgr,
            pixel_aspect=self._decoder.pixel_aspect,
            fix=self._fixes.at(time_ns),
        )

    @property
    def card(self) -> Card | None:
        """Of the engine whose masks are in the drive; None where there are none.

        Raises:
            EngineError: the recorded card is not valid.
        """
        text = self.files[0].attachments.get(CARD)
        return None if text is None else Card.from_json(text.decode(errors="replace"), f"{self.name}: {CARD}")

    def recorded(self, index: int) -> Recorded | None:
        """What was seen in frame `index` when it was recorded; None where nothing was.

        Raises:
            SourceDamaged: that cannot be read.
        """
        return self._results.at(self._frames[index].time_ns)

    def _packet(self, index: int) -> _Packet:
        file, place = self._frames[index]
        content, sequence = file.read_numbered(self.topic, place)
        message = parse_message(self._encoding, self._schema, content, f"{self.name}: frame {index}")
        return _Packet(message, file.path, sequence if ABOUT in file.metadata else 0)

    def _first_that_decodes(self) -> Frame:
        for index in range(self.frame_count):
            if index == _MANY_UNDECODED:
                log.warning("%s: the first %d frames do not decode, trying all %d", self.name, index, self.frame_count)
            if isinstance(first := self._tried(index), Frame):
                return first
        raise NotAVideo(f"{self.name}: none of its {self.frame_count} frames can be decoded. {self._tried(0)}")

    @property
    def damage(self) -> str:
        """What is missing by the drive's own account, for people; "" in a whole one. An image that does not decode is
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
        if faults := [*self._lacks(decoded), *filter(None, [first_loss.removesuffix(".")])]:
            raise SourceDamaged(
                f"{self.name}: is damaged: {'; '.join(faults)}. The results cover the {decoded} decoded frames only."
            )


class _Images:
    """Each frame an image that stands for itself, whatever its message calls its format."""

    pixel_aspect = 1.0

    def __init__(self, name: str, packet: Callable[[int], _Packet]) -> None:
        self._name, self._packet = name, packet

    def at(self, index: int) -> Yuv420 | Image:
        """The image of that index, decoded from the last key frame before it unless it follows the last one."""
        """Frame `index`; decoded on from the last one asked for, or from the key frame before it."""
        packet = self._packet(index)
        try:
            return decode_whole_image(packet.data)
        except ImageError as error:
            raise SourceDamaged(f"{self._name}: frame {index} ({packet.message.format}) {error}") from error


class _RawImages:
    """Each frame as rows of pixels."""

    pixel_aspect = 1.0

    def __init__(self, name: str, packet: Callable[[int], _Packet]) -> None:
        self._name, self._packet = name, packet

    def at(self, index: int) -> Yuv420 | Image:
        packet, what = self._packet(index), f"{self._name}: frame {index}"
        message = packet.message
        size_wh = (int(message.width), int(message.height))
        return bgr_of_rows(message.encoding, size_wh, int(message.step), packet.data, what)


class _Video:
    """H.264 without frames that need later ones, as Foxglove wants it: decoded on from the last frame asked for, or
    from the key frame before.
    """

    def __init__(self, name: str, packet: Callable[[int], _Packet]) -> None:
        self._name, self._packet = name, packet
        self._codec: VideoCodecContext = av.CodecContext.create("h264", "r")
        self._codec.thread_count = 1  # see edge.sources.recording
        self._codec.options = {"max_pixels": str(max_pixels())}
        self._codec.flags |= av.codec.context.Flags.low_delay
        self._next = -1
        self._before: _Packet | None = None  # decoded last
        self._last: tuple[int, Yuv420] | None = None

    @property
    def pixel_aspect(self) -> float:
        """Of what was decoded last, by its own header."""
        return usable_aspect(self._codec.sample_aspect_ratio)

    def at(self, index: int) -> Yuv420 | Image:
        """The frame of that number, decoded from the key frame before it, or from where the last one ended.

        Raises:
            SourceError: it is not H.264, or cannot be decoded.
        """
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

    def _h264(self, index: int) -> _Packet:
        packet = self._packet(index)
        if packet.message.format.lower().removeprefix("video/") != "h264":
            raise SourceError(f"{self._name}: its video is {packet.message.format!r}, expected 'h264'")
        return packet

    def _begin(self, index: int) -> int:
        """Where to decode from: the nearest key frame, or where the decoder stands."""
        for number in range(index, -1, -1):
            if number == self._next or is_key_frame(self._h264(number).data):
                return number
        raise SourceDamaged(f"{self._name}: frame {index} has no key frame before it")

    def _decode(self, index: int) -> VideoFrame:
        """Raises SourceDamaged: also where some before it are missing, for which the decoder makes up in silence."""
        packet, before = self._h264(index), self._before
        self._before = packet
        if not is_key_frame(packet.data) and not (before is not None and packet.follows(before)):
            raise SourceDamaged(f"{self._name}: before frame {index} some are missing")
        try:
            decoded = self._codec.decode(Packet(packet.data))
        except FFmpegError as error:
            raise SourceDamaged(f"{self._name}: frame {index} does not decode ({error.strerror})") from error
        if len(decoded) != 1 or decoded[0].is_corrupt:
            raise SourceDamaged(f"{self._name}: frame {index} is corrupt, or no single frame")
        return decoded[0]


def is_key_frame(data: bytes) -> bool:
    """Whether H.264 in Annex B form can be decoded from here on."""
    at = data.find(b"\0\0\1")
    while 0 <= at < len(data) - 3:
        kind = data[at + 3] & 31
        if _OTHER_SLICE <= kind <= _KEY_SLICE:
            return kind == _KEY_SLICE
        at = data.find(b"\0\0\1", at + 3)
    return False


def open_recorded(name: str) -> Source:
    """A drive, or a ROS bag: whatever lies there.

    Raises:
        SourceError: it is neither, or there are no images in it.
        ConfigError: there is no such topic, or the libraries are not installed.
    """
    path, _ = split_topic(name)
    is_bag = path.name.lower().endswith(BAG_SUFFIXES) or holds_bag(path)
    if is_bag or (path.is_file() and DriveFile(path).profile == "ros2"):
        from edge.sources.bag import Bag

        return Bag(name)
    return Drive(name)


def holds_bag(path: Path) -> bool:
    """Whether a folder is a ROS 2 bag: by its metadata, or by its storage where the recorder was killed before."""
    return (path / "metadata.yaml").exists() or any(any(path.glob(each)) for each in STORAGES)


def split_topic(name: str) -> tuple[Path, str | None]:
    """Path and topic of "drive.mcap?topic=/camera/image"; a file may have such a name, too."""
    place = place_of(name)
    return place.path, place.value if place.key == TOPIC else None


def segment_files(path: Path) -> list[Path]:
    """The segments in a folder, in their order; or the one file."""
    if not path.is_dir():
        return [path]
    found = sorted(path.glob("*.mcap"), key=lambda file: (file.stem.rpartition("-")[2].zfill(12), file.name))
    if not found:
        raise SourceNotFound(f"{path}: no drive there (.mcap). Look at what is there: ls {path}")
    return found


def choose_topic(kinds: Mapping[str, str], chosen: str | None, name: str, others: Mapping[str, str] = {}) -> str:
    """The topic to take images from: the chosen one, or the only one, or ours. `kinds` are their schemas, `others` are
    the topics whose images cannot be read, and how they are coded.

    Raises:
        ConfigError: there is no such topic, or none can be preferred.
        NotAVideo: there are no images at all.
    """
    if chosen in others or (others and not kinds):
        there = ", ".join(f"{topic}: {kind}" for topic, kind in sorted(others.items()))
        raise NotAVideo(f"{name}: its images are coded in a way that cannot be read ({there})")
    if not kinds:
        raise NotAVideo(f"{name}: no topic in it holds images.")
    if chosen is None and len(kinds) > 1 and IMAGE not in kinds:
        example = f"{name}?topic={min(kinds)}"
        raise ConfigError(f"{name}: several topics hold images: {', '.join(sorted(kinds))}. Choose one: {example!r}")
    topic = chosen or (IMAGE if IMAGE in kinds else next(iter(kinds)))
    if topic not in kinds:
        raise ConfigError(f"{name}: no topic {topic!r} with images; there are: {', '.join(sorted(kinds))}")
    return topic


def _image_topic(files: list[DriveFile], chosen: str | None, name: str) -> str:
    kinds, others = dict[str, str](), dict[str, str]()
    for file in files:
        for topic, schema in file.schemas.items():
            is_ours = (topic == MASKS or topic.startswith(OUTPUTS)) and ABOUT in file.metadata
            if kind_of(schema.name) is None or not file.places[topic] or is_ours:
                continue
            encoding = file.channels[topic].message_encoding
            if encoding in ENCODINGS:
                kinds[topic] = schema.name
            else:
                others[topic] = f"{schema.name} in {encoding}; expected {', '.join(ENCODINGS)}"
    return choose_topic(kinds, chosen, name, others)


def _missing(file: DriveFile, topic: str) -> int:
    """How many images the writer counted that are not there."""
    count = file.metadata.get(END, {}).get(topic, "0")
    is_number = count.isdecimal() and len(count) < 20
    return max(0, int(count) - len(file.places.get(topic, []))) if is_number else 0
