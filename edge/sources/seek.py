"""Recordings whose frames are taken by number: video files, frames, drives, a rendered street on a fixed clock."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Protocol

from av import Packet, VideoFrame
from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream

from edge.barcode import draw_barcode
from edge.errors import SourceDamaged, SourceError
from edge.frame import Frame
from edge.secrets import hidden_in_errors, redacted
from edge.sources.container import is_regular, open_container, set_up_decoder, video_stream_of
from edge.sources.kinds import kind_of
from edge.sources.open import open_source
from edge.sources.recording import Recording
from edge.sources.scene import SceneSource
from edge.sources.source import Seekable
from edge.timing import Durations

CACHE_BYTES = 96 << 20  # some 70 frames of 720p: a step back within them decodes nothing


class Playable(Protocol):
    """A source that is `Seekable`; see there and `edge.sources.source.Source`."""

    name: str
    size_wh: tuple[int, int]
    rate_hz: float | None
    frame_count: int
    live: bool
    decode: Durations

    def __iter__(self) -> Iterator[Frame]: ...

    def at(self, index: int) -> Frame:
        """Frame `index`; see `Seekable.at`."""
        ...

    def close(self) -> None:
        """See `edge.sources.source.Source.close`."""
        ...

    def __enter__(self) -> Playable: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


def open_recording(name: str) -> Playable:
    """The recording a name stands for, as `edge.sources.open.open_source` has them; close it.

    Raises:
        SourceError: it is not there, cannot be read, or is a camera or an endless street.
    """
    kind = kind_of(name)
    if name and kind.live:
        raise SourceError(
            f"{redacted(name)}: is a camera, expected a recording: a drive, a video or a folder of images"
        )
    if name and kind.name in _PLAYABLE:
        with hidden_in_errors(name):
            return _PLAYABLE[kind.name](name)
    source = open_source(name)
    if not isinstance(source, Seekable):
        source.close()
        raise SourceError(
            f"{redacted(name)}: its frames cannot be taken by number, so it cannot be replayed. Try: edge run"
        )
    return source  # type: ignore[return-value]  # a Source that is Seekable


class RecordedStreet(SceneSource):
    """The rendered street on the recorded clock: its barcode holds the frame's media time, so that frames repeat."""

    frame_count: int  # type: ignore[assignment]  # an endless street is refused

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        if not self.frame_count:
            raise SourceError(f"{uri}: has no end, so it is no recording. Say how long: frames=300")

    def _frame(self, index: int) -> Frame:
        media_ns = round(index * 1e9 / self.options.fps)
        with self.decode.span():
            image = self.scene.render(index).image
        draw_barcode(image, index, media_ns)
        return Frame(index=index, captured_ns=time.monotonic_ns(), source=self.name, bgr=image, media_ns=media_ns)

    def at(self, index: int) -> Frame:
        """Frame `index`; see `Seekable.at`."""
        check_number(index, self.frame_count, self.name)
        return self._frame(index)


class RecordedVideo(Recording):
    """A video file whose frames are taken by number, each the same bytes as when the file is read through.

    The packets are listed once, without decoding. A frame is decoded from the keyframe before it; going on from there
    keeps the decoder, and what was passed on the way is kept for steps back. Where some packets hold no frame, as in a
    damaged file, numbers count packets.

    Attributes:
        frame_count: packets that hold a frame to be shown.
        damage: what is missing by the file's own account, for people; "" in a sound file.
    """

    frame_count: int  # type: ignore[assignment]  # counted, not believed

    def __init__(self, name: str) -> None:
        super().__init__(name)
        try:
            if not is_regular(self.path):
                raise SourceError(
                    f"{name}: is a pipe or device; a replay needs a file. Save it first: cat {name} > FILE"
                )
            self._packets = PacketIndex.of(self.path, self._stream_number, self._tally.first_pts)
            self.damage = self._missing()
        except BaseException:  # Ctrl-C too: the caller has no object to close yet
            self._container.close()
            raise
        self.frame_count = self._packets.frame_count
        self._walk: Walk | None = None
        self._kept: OrderedDict[int, VideoFrame] = OrderedDict()

    def close(self) -> None:
        """Let go of the file and of the frames that are kept."""
        if self._walk is not None:
            self._walk.close()
        self._kept.clear()
        super().close()

    def at(self, index: int) -> Frame:
        """Frame `index`; see `Seekable.at`.

        Raises:
            SourceDamaged: it does not decode, or only with damage.
        """
        check_number(index, self.frame_count, self.name)
        start_ns = time.perf_counter_ns()
        decoded = self._kept.get(index) or self._decoded_at(index)
        self.decode.add(time.perf_counter_ns() - start_ns)
        if decoded is None or decoded.is_corrupt:
            raise SourceDamaged(f"{self.name}: frame {index} is damaged and cannot be decoded; the others may be sound")
        return self._frame(decoded, index)

    def _decoded_at(self, index: int) -> VideoFrame | None:
        """From where the decoder is, if that helps; else from ever earlier keyframes, at last from the beginning."""
        key = self._packets.key_before(index)
        walk = self._walk
        if walk is not None and key <= walk.next <= index and (decoded := self._walked(walk, index)) is not None:
            return decoded
        back = 0
        while True:
            keys = self._packets.keys
            place = max(0, bisect_right(keys, key) - 1 - back)
            decoded = self._walked(self._start_at(keys[place] if place else 0), index)
            if decoded is not None or place == 0:
                return decoded
            back = 2 * back + 1

    def _start_at(self, key: int) -> Walk:
        if self._walk is not None:
            self._walk.close()
        self._walk = Walk(self.path, self._stream_number, self._packets, key)
        return self._walk

    def _walked(self, walk: Walk, index: int) -> VideoFrame | None:
        """Decode on to frame `index`, keeping what is passed; None where it is not among what comes."""
        while walk.next <= index and (step := walk.step()) is not None:
            number, decoded = step
            self._keep(number, decoded)
            if number == index:
                return decoded
        return None

    def _keep(self, number: int, decoded: VideoFrame) -> None:
        self._kept[number] = decoded
        self._kept.move_to_end(number)
        width, height = self.size_wh
        while len(self._kept) > max(2, CACHE_BYTES // (2 * width * height)):
            self._kept.popitem(last=False)

    def _missing(self) -> str:
        packets = self._packets
        missing = max(0, self._promised_packets() - packets.packets)
        short_s = (self._promised_end_s() or 0.0) - packets.end_s
        faults = [
            f"{missing} frames missing" if missing else "",
            f"the last {short_s:.1f} s missing" if packets.end_s and short_s > self._slack_s() else "",
            self._structure_error(packets.packets),
            "packets that cannot be read" if packets.unreadable else "",
        ]
        return ", ".join(filter(None, faults))


# Sources that are read another way when their frames are taken by number.
_PLAYABLE: dict[str, Callable[[str], Playable]] = {"scene": RecordedStreet, "video": RecordedVideo}


class Listed(NamedTuple):
    """A packet without its data; times in the stream's units."""

    pts: int | None
    dts: int | None
    end: int
    is_keyframe: bool
    is_shown: bool

    @classmethod
    def of(cls, packet: Packet) -> Listed:
        """What an index keeps of a packet."""
        end = (packet.pts or 0) + (packet.duration or 0)
        return cls(packet.pts, packet.dts, end, packet.is_keyframe, not packet.is_discard)


class PacketIndex:
    """What a video file's packets say of its frames, without decoding any.

    Attributes:
        packets: how many; end_s: when the last of them ends, in the file's time, if it may last as long as any before
            it did; unreadable: the demuxer gave up.
        frame_count: packets whose frame is shown: an edit list may leave some out.
        numbers: frame by presentation time; empty where times do not tell frames apart, which then are counted from the
            beginning.
        keys: numbers of the frames that decoding may start at, ascending; key_times: where to seek for each.
    """

    def __init__(
        self, packets: list[Listed], time_base: Fraction, unreadable: bool, first_pts: int | None = None
    ) -> None:
        self.packets, self.unreadable = len(packets), unreadable
        leading = _leading_without_frame(packets, first_pts)
        shown = [packet for packet in [*packets[:1], *packets[1 + leading :]] if packet.is_shown]
        times = sorted({packet.pts for packet in shown if packet.pts is not None})
        longest = max((after - before for before, after in pairwise(times)), default=0)
        end = max((packet.end for packet in packets), default=0)
        self.end_s = float(max(end, times[-1] + longest if times else 0) * time_base)
        self.frame_count = len(shown)
        self.numbers = {pts: number for number, pts in enumerate(times)} if len(times) == len(shown) else {}
        # By decoding time, where there is one: that is what MP4 seeks by, and it is never behind the frame's own.
        starts = {
            self.numbers[packet.pts]: packet.pts if packet.dts is None else min(packet.pts, packet.dts)
            for packet in shown
            if packet.is_keyframe and packet.pts is not None and self.numbers
        }
        self.keys = sorted({0, *starts})
        self.key_times = [starts.get(number, 0) for number in self.keys]

    @classmethod
    def of(cls, path: Path, number: int | None, first_pts: int | None) -> PacketIndex:
        """Read through the file; `number` is that of the video stream, None for the default one, and `first_pts` the
        time of the first frame that decodes.

        Raises:
            SourceError: it cannot be opened.
        """
        listed: list[Listed] = []
        unreadable = False
        with open_container(path) as container:
            stream = video_stream_of(container, path, number)
            try:
                listed.extend(Listed.of(packet) for packet in container.demux(stream) if packet.size)
            except FFmpegError:
                unreadable = True
            # AVI holds the order of decoding alone: what FFmpeg makes of it, where frames are reordered, is a guess.
            if container.format.name == "avi" and stream.codec_context.has_b_frames:
                listed = [packet._replace(pts=None) for packet in listed]
            return cls(listed, stream.time_base or Fraction(0), unreadable, first_pts)

    def key_before(self, index: int) -> int:
        """The last frame up to `index` that decoding may start at."""
        return self.keys[bisect_right(self.keys, index) - 1]


def _leading_without_frame(packets: list[Listed], first_pts: int | None) -> int:
    """How many packets behind the first hold no frame, as the file was cut at an open GOP; see `_Tally.leading`."""
    if first_pts is None or not packets or not packets[0].is_keyframe or packets[0].pts != first_pts:
        return 0
    others = packets[1:]
    return next((n for n, packet in enumerate(others) if packet.pts is not None and packet.pts > first_pts), 0)


class Walk:
    """A decoder that goes forward from a keyframe. `next` is the least number that may come."""

    def __init__(self, path: Path, number: int | None, packets: PacketIndex, key: int) -> None:
        self._packets, self._key, self.next = packets, key, key
        self._container = open_container(path)
        try:
            stream = video_stream_of(self._container, path, number)
            set_up_decoder(stream.codec_context)
            if key:  # a file read from its beginning is not sought in: nothing is more exact than its beginning
                self._container.seek(packets.key_times[packets.keys.index(key)], stream=stream, backward=True)
            self._frames = _frames_of(self._container, stream)
        except FFmpegError as error:
            self._container.close()
            raise SourceError(f"{path}: frame {key} cannot be sought: {error.strerror}. Try: ffprobe {path}") from error

    def step(self) -> tuple[int, VideoFrame] | None:
        """The next frame and its number; None behind the last.

        What comes before the keyframe but is shown after the one before it may lack what it was made from: left out.
        """
        for decoded in self._frames:
            number = self._number(decoded)
            if number >= self._key:
                self.next = number + 1
                return number, decoded
        self.next = 1 << 62
        return None

    def _number(self, decoded: VideoFrame) -> int:
        if not self._packets.numbers:
            return self.next
        return -1 if decoded.pts is None else self._packets.numbers.get(decoded.pts, -1)

    def close(self) -> None:
        """Let go of the file."""
        self._container.close()


def check_number(index: int, frame_count: int, name: str) -> None:
    """Raises:
    SourceError: there is no frame of that number.
    """
    if not 0 <= index < frame_count:
        raise SourceError(f"{name}: has no frame {index}; its frames are 0 to {frame_count - 1}")


def _frames_of(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """What decodes; packets that do not are passed over, and their frames are missed by their number."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
            if packet is None:
                return
            frames = stream.decode(packet)
        except FFmpegError:
            continue
        yield from frames
