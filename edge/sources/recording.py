"""Video files, decoded to planes; damage that the file or its decoder lets one see is never passed over in silence."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction

import av
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame

from edge.closing import Closing
from edge.errors import NotAVideo, SourceDamaged
from edge.frame import Frame
from edge.sources.container import (
    is_regular,
    note_other_streams,
    open_container,
    pixel_aspect_of,
    refusal,
    set_up_decoder,
    video_stream_of,
)
from edge.sources.index import check_times, load_times, median_rate_hz, time_of
from edge.sources.place import place_of, stream_number
from edge.sources.planes import planes, swaps_sides
from edge.sources.wholeness import integrity_error
from edge.timing import Durations

# Where a packet is a frame, if the container keeps packets apart. Not VP9 and AV1, which have hidden frames.
_FRAME_CODECS, _FRAME_CONTAINERS = ("h264", "hevc", "mpeg4", "mjpeg"), ("mp4", "matroska", "avi")
_PARSED_CODECS = ("h264", "hevc")  # where FFmpeg finds the frames in a transport stream, a packet each
_FIELDS_SLACK = 0.1
_SKIPPED_BYTES = 16  # MPEG-4 writes a few bytes for a frame that is as the last one, and shows none
_STEP_S, _STEP_PERIODS, _LONGEST_STEP_S = 1.0, 4, 10.0  # between one frame that an edit list cuts off and the next
_GAP_PERIODS = 1.5  # between one frame that is shown and the next, where none is missing
_SLACK_PERIODS, _SLACK_S = 0.75, 0.2  # a header's figure is rounded; without a rate, a last frame's duration unknown


class Recording(Closing):
    """A video file as a source of every one of its frames. Planes are views of the decoder's memory, never copied."""

    live = False

    def __init__(self, name: str) -> None:
        """`name` is a path; "#stream=1" behind it chooses one of several videos.

        Raises:
            SourceError: it cannot be read as a video.
            ConfigError: there is no such stream.
        """
        self.name = name
        self.decode = Durations()
        place = place_of(name)
        self.path, self._stream_number = place.path, stream_number(place)
        self._container = open_container(self.path)
        try:
            self._stream = video_stream_of(self._container, self.path, self._stream_number)
            if self._stream_number is None:
                note_other_streams(self._container, self._stream, name)
            self.pixel_aspect = pixel_aspect_of(self._stream)
            set_up_decoder(self._stream.codec_context)
            rate = self._stream.average_rate or self._stream.guessed_rate
            self.rate_hz = float(rate) if rate else None
            self._indexed = len(self._stream.index_entries)
            self._times_ns = load_times(str(self.path))
            if self._times_ns:
                self.rate_hz = median_rate_hz(self._times_ns) or self.rate_hz
            codec = self._stream.codec_context.name
            parsed = self._container.format.name == "mpegts" and codec in _PARSED_CODECS
            self._tally = _Tally(_SKIPPED_BYTES if codec == "mpeg4" else 0, by_time=parsed)
            self.frame_count = self._shown_count()
            self._frames = self._decoded()
            self._first = next(self._frames, None)
        except BaseException:  # Ctrl-C too: the caller has no object to close yet
            self._container.close()
            raise
        if self._first is None:
            self._container.close()
            raise NotAVideo(f"{name}: {refusal(self.path, 'no frame in it can be decoded')}")
        self.size_wh, self.pixel_aspect = self._first.size_wh, self._first.pixel_aspect

    def close(self) -> None:
        """Let go of the file; it may be called twice."""
        self._container.close()

    def __iter__(self) -> Iterator[Frame]:
        """The frames, once.

        Raises:
            SourceDamaged: after the last frame, where some are corrupt or missing.
        """
        if self._first is not None:
            # Decoded when the file was opened; its age counts from when it is asked for, as the others' does.
            first, self._first = self._first, None
            first.captured_ns = time.monotonic_ns()
            yield first
        yield from self._frames

    def _shown_count(self) -> int | None:
        """How many frames come of a sound file: of those that it says it shows, less what its edit list hides."""
        count, listed = self._frame_count(), self._stream.index_entries
        if count is None or "mp4" not in self._container.format.name:
            return count
        return min(count, sum(not entry.is_discard for entry in listed))

    def _frame_count(self) -> int | None:
        """How many frames the file's header says it shows: an edit list may skip some of those that it holds.

        Where the index is longer than the header says, the rest is in fragments, whose number is not stored.
        """
        stream = self._stream
        if "mp4" in self._container.format.name and self._indexed > stream.frames:
            return None
        if not stream.frames or not stream.duration or not stream.time_base or not self.rate_hz:
            return stream.frames or None
        return min(stream.frames, max(1, round(float(stream.duration * stream.time_base) * self.rate_hz)))

    def _decoded(self) -> Iterator[Frame]:
        packets = self._container.demux(self._stream)
        flushed = False
        while not flushed:
            start_ns = time.perf_counter_ns()
            packet = self._next_packet(packets)
            flushed = packet is None or packet.size == 0
            for decoded in self._decode(packet):
                frame = self._frame(decoded, self._tally.frames)
                self._tally.count(decoded)
                self.decode.add(time.perf_counter_ns() - start_ns)
                yield frame
                start_ns = time.perf_counter_ns()
        self._complain_if_damaged()
        if self.frame_count is not None:  # those that an open GOP lacks are known only now
            self.frame_count = max(self._tally.frames, self.frame_count - self._tally.leading)
        if self._times_ns is not None:
            check_times(self._times_ns, self._tally.frames, self.name)

    def _next_packet(self, packets: Iterator[Packet]) -> Packet | None:
        """The next packet, an empty one at the end; None where the demuxer gives up, which ends it."""
        try:
            packet = next(packets, None)
        except FFmpegError:
            self._tally.undecodable += 1
            return None
        if packet is not None and packet.size:
            self._tally.announce(packet)
        return packet

    def _decode(self, packet: Packet | None) -> list[VideoFrame]:
        """What a packet decodes to. One that does not decode ends no drive: it is counted, and reported at the end."""
        try:
            return self._stream.decode(packet)
        except FFmpegError:
            self._tally.undecodable += 1
            return []

    def _frame(self, decoded: VideoFrame, index: int) -> Frame:
        return Frame(
            index=index,
            captured_ns=time.monotonic_ns(),
            media_ns=self._media_ns(decoded, index),
            source=self.name,
            yuv=planes(decoded),
            pixel_aspect=self._pixel_aspect_of(decoded),
        )

    def _pixel_aspect_of(self, decoded: VideoFrame) -> float:
        aspect = pixel_aspect_of(self._stream)
        return 1 / aspect if aspect != 1.0 and swaps_sides(decoded) else aspect

    def _media_ns(self, decoded: VideoFrame, index: int) -> int | None:
        if self._times_ns is not None:
            return time_of(self._times_ns, index, self.name)
        media = decoded.pts * Fraction(decoded.time_base or 0) if decoded.pts is not None else None
        return None if media is None else round(media * 1_000_000_000)

    def _complain_if_damaged(self) -> None:
        tally = self._tally
        promised = self._promised_packets()
        missing, surplus = max(0, promised - tally.packets), max(0, tally.packets - promised) if promised else 0
        untimely = tally.untimely or tally.cut_apart_s > self._longest_step_s() or self._cuts_what_it_shows()
        passed_over = tally.due - tally.frames - tally.leading if self._shows_each_packet() else tally.passed_over
        undecoded = passed_over - tally.undecodable
        short_s = (self._promised_end_s() or 0.0) - (tally.end_s or 0.0)
        faults = [
            f"{missing} missing" if missing else "",
            f"{surplus} more than it says" if surplus else "",
            "times that make no sense" if untimely else "",
            f"{tally.undecodable} undecodable" if tally.undecodable else "",
            f"{undecoded} passed over by the decoder" if undecoded > 0 else "",
            f"{tally.corrupt} corrupt" if tally.corrupt else "",
            f"the last {short_s:.2f} s missing" if tally.end_s and short_s > self._slack_s() else "",
            self._structure_error(tally.packets),
        ]
        if any(faults) and tally.frames:
            raise SourceDamaged(
                f"{self.name}: is damaged: {tally.frames} frames were decoded ({', '.join(filter(None, faults))}). The"
                " results cover the decoded frames only; copy the file again from its origin."
            )

    def _structure_error(self, packets: int) -> str:
        """What the file's structure shows to be missing; a pipe cannot be read a second time."""
        if not is_regular(self.path):
            return ""
        videos = self._container.streams.video
        number = next(n for n, stream in enumerate(videos) if stream.index == self._stream.index)
        return integrity_error(self.path, self._container.format.name, packets, number)

    def _shows_each_packet(self) -> bool:
        container = self._container.format.name
        return self._stream.codec_context.name in _FRAME_CODECS and any(n in container for n in _FRAME_CONTAINERS)

    def _promised_packets(self) -> int:
        """How many packets the file says it holds; 0 where it does not say.

        The index counts better than the header, which includes what was edited out or never recorded. An index that
        grew while the file was read was missing and is made of what came; then the header's number has to do. Where
        an MP4's is longer than its header says, the rest is in fragments, which count for themselves.
        """
        listed = len(self._stream.index_entries)
        is_mp4 = "mp4" in self._container.format.name
        if not self._stream.frames or (is_mp4 and listed > self._stream.frames):
            return 0
        return self._stream.frames if listed > self._indexed or (is_mp4 and self._shows_all()) else self._indexed

    def _promised_end_s(self) -> float | None:
        """When the video ends by its header. Matroska says so, and AVI; others count their packets, or say nothing."""
        stream = self._stream
        if self._container.format.name == "avi" and stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base)
        if "matroska" not in self._container.format.name:
            return None
        if match := re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", self._stream.metadata.get("DURATION", "")):
            hours, minutes, seconds = match.groups()
            return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
        if len(self._container.streams) == 1 and self._container.duration:
            return self._container.duration / av.time_base
        return None

    def _shows_all(self) -> bool:
        """Whether its header says that it cuts nothing off."""
        return self._stream.frames > 0 and self._frame_count() == self._stream.frames

    def _cuts_what_it_shows(self) -> bool:
        """Whether its edit list cuts off what its header says is shown. Leading frames of an open GOP may be: nothing
        that is shown is missing then. A frame that damaged times made one of them leaves a gap.
        """
        tally = self._tally
        has_gap = self.rate_hz is not None and tally.longest_s * self.rate_hz > _GAP_PERIODS
        return bool(tally.cut or (tally.hidden and has_gap)) and self._shows_all()

    def _longest_step_s(self) -> float:
        """Damaged times make a rate of nothing of it, too."""
        return min(max(_STEP_S, _STEP_PERIODS / self.rate_hz if self.rate_hz else 0.0), _LONGEST_STEP_S)

    def _slack_s(self) -> float:
        return _SLACK_PERIODS / self.rate_hz if self.rate_hz else _SLACK_S


class _Tally:
    """What came out of a file so far."""

    def __init__(self, skipped_bytes: int, *, by_time: bool) -> None:
        """Packets of up to `skipped_bytes` may show nothing; `by_time`: look for each packet's frame by its time."""
        self._skipped_bytes, self._by_time = skipped_bytes, by_time
        self.packets = self.due = self.cut = self.hidden = self.untimely = self.undecodable = self.frames = (
            self.corrupt
        ) = 0
        self._last_s: float | None = None
        self.longest_s = self.cut_apart_s = 0.0
        self._last: Packet | None = None
        self._awaited = Counter[int]()  # packets by the time of their frame, while that has not come
        self.first_pts: int | None = None  # of the first frame that came
        self._has_fields = False
        self._key_pts: int | None = None  # of the first packet, while what follows may be shown before it
        self._leading = Counter[int | None]()  # by time

    @property
    def leading(self) -> int:
        """Frames that did not come because they are made from others before the file's beginning: it was cut at a key
        frame in whose group the first frames refer to the group before (an open GOP).
        """
        return sum(self._leading.values())

    @property
    def end_s(self) -> float | None:
        """When the last frame ends, in the file's time: it may last as long as any before it did."""
        return None if self._last_s is None else self._last_s + self.longest_s

    @property
    def passed_over(self) -> int:
        """Packets behind the first frame of which none came; those before it may lack what they are made from.

        Where each frame has two packets, they are its fields.
        """
        first = self.first_pts
        if first is None or self._has_fields:
            return 0
        passed_over = sum(count for pts, count in self._awaited.items() if pts > first)
        return 0 if abs(passed_over - self.frames) <= _FIELDS_SLACK * self.frames else passed_over

    def announce(self, packet: Packet) -> None:
        """A packet came. What an edit list cuts off is discarded; damaged times look like such a cut."""
        last, self._last = self._last, packet
        self.packets += 1
        if self._by_time and packet.pts is not None:
            self._awaited[packet.pts] += 1
        leads, holds_frame = self._leads(packet), packet.size > self._skipped_bytes
        if not packet.is_discard:
            self.due += holds_frame
            if leads:
                self._leading[packet.pts] += holds_frame
            return
        if leads:
            self.hidden += 1
            return
        self.cut += 1
        if last is not None and packet.pts is not None and last.pts is not None:
            self.cut_apart_s = max(self.cut_apart_s, float(abs(packet.pts - last.pts) * (packet.time_base or 0)))
        if last is not None and packet.dts is not None and last.dts is not None:
            self.untimely += packet.dts <= last.dts

    def _leads(self, packet: Packet) -> bool:
        """Leading frames follow the key frame in the file and are shown before it. Matroska has no such times: there
        they have none, or the key frame's.
        """
        if self.packets == 1:
            self._key_pts = packet.pts if packet.is_keyframe else None
            return False
        leads = self._key_pts is not None and not packet.is_keyframe
        leads = leads and (packet.pts is None or packet.pts <= self._key_pts)
        self._key_pts = self._key_pts if leads else None
        return leads

    def count(self, decoded: VideoFrame) -> None:
        """Take note of a frame that came out of the decoder."""
        self.frames += 1
        if self.frames == 1:
            self.first_pts = decoded.pts
        if self._leading[decoded.pts] > 0 and not decoded.key_frame:
            self._leading[decoded.pts] -= 1
        self.corrupt += decoded.is_corrupt
        if self._by_time and decoded.pts is not None:
            self._arrived(decoded.pts, decoded.interlaced_frame)
        if decoded.pts is not None and decoded.time_base:
            tick_s = float(decoded.time_base)
            at_s, lasts_s = decoded.pts * tick_s, (decoded.duration or 0) * tick_s
            step_s = at_s - self._last_s if self._last_s is not None else 0.0
            self.longest_s = max(self.longest_s, lasts_s, step_s)
            self._last_s = at_s if self._last_s is None else max(self._last_s, at_s)

    def _arrived(self, pts: int, has_fields: bool) -> None:
        self._has_fields |= has_fields
        self._awaited[pts] -= 1
        if self._awaited[pts] <= 0:
            del self._awaited[pts]
