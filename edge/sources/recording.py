"""Video files, decoded to planes; damage that the file or its decoder lets one see is never passed over in silence."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.error import FFmpegError, InvalidDataError
from av.packet import Packet
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from edge.errors import NotAVideo, SourceDamaged, SourceError, SourceNotFound
from edge.frame import Frame, Image, Matrix, Yuv420
from edge.sources.index import check_times, load_times, time_of, usual_rate_hz
from edge.sources.wholeness import why_not_whole
from edge.timing import Durations

_PLANAR_420 = ("yuv420p", "yuvj420p")
_AVCOL_SPC: dict[int, Matrix] = {1: "bt709", 5: "bt601", 6: "bt601"}  # libavutil/pixfmt.h: BT709, BT470BG, SMPTE170M
_SWS_CS: dict[Matrix, int] = {"bt709": 1, "bt601": 5}  # libswscale/swscale.h
_LIMITED, _FULL = 1, 2  # AVCOL_RANGE_MPEG, AVCOL_RANGE_JPEG
_TURNS = {90: cv2.ROTATE_90_COUNTERCLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_CLOCKWISE}
# Where a packet is a frame, if the container keeps packets apart. Not VP9 and AV1: they have frames that nobody shows.
_FRAME_CODECS, _FRAME_CONTAINERS = ("h264", "hevc", "mpeg4", "mjpeg"), ("mp4", "matroska", "avi")
_PARSED_CODECS = ("h264", "hevc")  # where FFmpeg finds the frames in a transport stream, a packet each
_FIELDS_SLACK = 0.1
_SKIPPED_BYTES = 16  # MPEG-4 writes a few bytes for a frame that is as the last one, and shows none
_STEP_S, _STEP_PERIODS, _LONGEST_STEP_S = 1.0, 4, 10.0  # between one frame that an edit list cuts off and the next
_MOST_PIXELS = 7680 * 4320  # damage may claim 65535x65535: minutes, and gigabytes
_SLACK_PERIODS, _SLACK_S = 0.75, 0.2  # a header's figure is rounded; without a rate, a last frame's duration unknown


class Recording:
    """A video file as a source of every one of its frames. Planes are views of the decoder's memory, never copied."""

    live = False

    def __init__(self, path: str) -> None:
        self.name = path
        self.decode = Durations()
        self._container = open_container(Path(path))
        try:
            self._stream = video_stream_of(self._container, path)
            set_up_decoder(self._stream.codec_context)
            rate = self._stream.average_rate or self._stream.guessed_rate
            self.rate_hz = float(rate) if rate else None
            self._indexed = len(self._stream.index_entries)
            self._times_ns = load_times(path)
            if self._times_ns:
                self.rate_hz = usual_rate_hz(self._times_ns) or self.rate_hz
            codec = self._stream.codec_context.name
            parsed = self._container.format.name == "mpegts" and codec in _PARSED_CODECS
            self._tally = _Tally(_SKIPPED_BYTES if codec == "mpeg4" else 0, by_time=parsed)
            self._frames = self._decoded()
            self._first = next(self._frames, None)
        except BaseException:  # Ctrl-C too: there is no object yet that somebody could close
            self._container.close()
            raise
        if self._first is None:
            self._container.close()
            raise NotAVideo(f"{path}: no frame in it can be decoded. {_cut_off_hint(path)}")
        self.size_wh = self._first.size_wh
        self.frame_count = self._frame_count()

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *exception: object) -> None:
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

    def _frame_count(self) -> int | None:
        """How many frames the file says it shows: an edit list may skip some of those that it holds.

        Where the index is longer than the header says, the rest is in fragments, and nobody says how many there are.
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
            for picture in self._pictures(packet):
                frame = self._frame(picture, self._tally.frames)
                self._tally.count(picture)
                self.decode.add(time.perf_counter_ns() - start_ns)
                yield frame
                start_ns = time.perf_counter_ns()
        self._complain_if_damaged()
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

    def _pictures(self, packet: Packet | None) -> list[VideoFrame]:
        """What a packet decodes to. One that does not decode ends no drive: it is counted, and told at the end."""
        try:
            return self._stream.decode(packet)
        except FFmpegError:
            self._tally.undecodable += 1
            return []

    def _frame(self, picture: VideoFrame, index: int) -> Frame:
        return Frame(
            index=index,
            captured_ns=time.monotonic_ns(),
            media_ns=self._media_ns(picture, index),
            source=self.name,
            yuv=planes(picture),
        )

    def _media_ns(self, picture: VideoFrame, index: int) -> int | None:
        if self._times_ns is not None:
            return time_of(self._times_ns, index, self.name)
        media = picture.pts * Fraction(picture.time_base or 0) if picture.pts is not None else None
        return None if media is None else round(media * 1_000_000_000)

    def _complain_if_damaged(self) -> None:
        tally = self._tally
        promised = self._promised_packets()
        missing, surplus = max(0, promised - tally.packets), max(0, tally.packets - promised) if promised else 0
        untimely = tally.untimely or tally.cut_apart_s > self._longest_step_s() or (tally.cut and self._shows_all())
        passed_over = tally.due - tally.frames if self._shows_each_packet() else tally.passed_over
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
            why_not_whole(Path(self.name), self._container.format.name, tally.packets),
        ]
        if any(faults) and tally.frames:
            raise SourceDamaged(
                f"{self.name}: is damaged: {tally.frames} frames were decoded ({', '.join(filter(None, faults))}). The"
                " results cover the decoded frames only; copy the file again from its origin."
            )

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
        self.packets = self.due = self.cut = self.untimely = self.undecodable = self.frames = self.corrupt = 0
        self._last_s: float | None = None
        self._longest_s = self.cut_apart_s = 0.0
        self._last: Packet | None = None
        self._awaited = Counter[int]()  # packets by the time of their frame, while that has not come
        self._first_pts: int | None = None
        self._has_fields = False

    @property
    def end_s(self) -> float | None:
        """When the last frame ends, in the file's time: it may last as long as any before it did."""
        return None if self._last_s is None else self._last_s + self._longest_s

    @property
    def passed_over(self) -> int:
        """Packets behind the first frame of which none came; those before it may lack what they are made from.

        Where each frame has two packets, they are its fields.
        """
        first = self._first_pts
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
        if not packet.is_discard:
            self.due += packet.size > self._skipped_bytes
            return
        self.cut += 1
        if last is not None and packet.pts is not None and last.pts is not None:
            self.cut_apart_s = max(self.cut_apart_s, float(abs(packet.pts - last.pts) * (packet.time_base or 0)))
        if last is not None and packet.dts is not None and last.dts is not None:
            self.untimely += packet.dts <= last.dts

    def count(self, picture: VideoFrame) -> None:
        self.frames += 1
        self.corrupt += picture.is_corrupt
        if self._by_time and picture.pts is not None:
            self._arrived(picture.pts, picture.interlaced_frame)
        if picture.pts is not None and picture.time_base:
            tick_s = float(picture.time_base)
            at_s, lasts_s = picture.pts * tick_s, (picture.duration or 0) * tick_s
            step_s = at_s - self._last_s if self._last_s is not None else 0.0
            self._longest_s = max(self._longest_s, lasts_s, step_s)
            self._last_s = at_s if self._last_s is None else max(self._last_s, at_s)

    def _arrived(self, pts: int, has_fields: bool) -> None:
        if self._first_pts is None:
            self._first_pts = pts
        self._has_fields |= has_fields
        self._awaited[pts] -= 1
        if self._awaited[pts] <= 0:
            del self._awaited[pts]


def open_container(path: Path) -> av.container.InputContainer:
    """A video file, open; close it.

    Raises:
        SourceNotFound: there is no such file.
        NotAVideo: it is empty, or FFmpeg knows no such format.
        SourceError: it may not be read.
    """
    try:
        # "file:", because FFmpeg takes what stands before a colon for a protocol.
        return av.open(f"file:{path}", metadata_errors="replace")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise SourceNotFound(f"{path}: there is no such file. Look at what is there: ls {path.parent}") from error
    except PermissionError as error:
        raise SourceError(f"{path}: may not be read by this user. See who may: namei -l {path}") from error
    except FFmpegError as error:
        if isinstance(error, InvalidDataError) and path.stat().st_size == 0:
            raise NotAVideo(f"{path}: is empty (0 bytes). Was the recording cut short? Copy it again.") from error
        raise NotAVideo(f"{path}: is not a video ({error.strerror}). {_cut_off_hint(path)}") from error


def _cut_off_hint(path: object) -> str:
    return f"A file cut off while it was written looks like this too. Try: ffprobe {path}"


def video_stream_of(container: av.container.InputContainer, path: str) -> VideoStream:
    """The stream to decode; a song's cover picture is none."""
    streams = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not streams:
        raise NotAVideo(f"{path}: holds no video stream. {_cut_off_hint(path)}")
    if streams[0].codec_context is None:
        raise NotAVideo(f"{path}: is coded in a way that FFmpeg does not know. {_cut_off_hint(path)}")
    return streams[0]


def set_up_decoder(codec: VideoCodecContext) -> None:
    """Slices share a frame's work without holding frames back, as frame threads do: the age stays honest.

    With slice threads, though, FFmpeg's H.264 decoder neither conceals nor reports damage (h264dec.c, enable_er). Most
    encoders write one slice per picture and gain nothing from them (measured: 1.0 ms per 720p frame with and without).
    """
    codec.thread_type = "SLICE"
    codec.options = {"max_pixels": str(_MOST_PIXELS)}
    if codec.name == "h264":
        codec.thread_count = 1


def planes(picture: VideoFrame) -> Yuv420:
    """The decoder's planes of a picture as views, turned upright; other pixel formats are converted first.

    An untagged picture is taken as BT.601 up to 576 lines and BT.709 above, as players do.
    """
    matrix = _AVCOL_SPC.get(int(picture.colorspace), "bt709" if picture.height > 576 else "bt601")
    full_range = picture.format.name.startswith("yuvj") or int(picture.color_range) == _FULL
    turn = _TURNS.get(int(picture.rotation) % 360)
    if picture.format.name not in _PLANAR_420:
        picture, full_range = _as_planar_420(picture, matrix, full_range)
    width, height = picture.width, picture.height
    half = (height + 1) // 2, (width + 1) // 2
    sizes_hw = (height, width), half, half
    y, u, v = (_plane(plane, size_hw) for plane, size_hw in zip(picture.planes, sizes_hw, strict=True))
    if turn is not None:
        y, u, v = (cv2.rotate(plane, turn) for plane in (y, u, v))
    return Yuv420(y, u, v, matrix, full_range, owner=picture)


def _as_planar_420(picture: VideoFrame, matrix: Matrix, full_range: bool) -> tuple[VideoFrame, bool]:
    """The picture as yuv420p, and whether that is of full range."""
    if picture.format.is_rgb or picture.format.has_palette:
        return picture.reformat(format="yuv420p", dst_colorspace=_SWS_CS[matrix], dst_color_range=_LIMITED), False
    if picture.format.name.startswith("gray"):
        # libswscale takes every grey for full range, whatever its tag; full to full keeps the values as they are.
        same = picture.reformat(format="yuv420p", src_color_range=_FULL, dst_color_range=_FULL)
        return same, int(picture.color_range) != _LIMITED
    level = _FULL if full_range else _LIMITED
    return picture.reformat(format="yuv420p", src_color_range=level, dst_color_range=level), full_range


def _plane(plane: av.video.plane.VideoPlane, size_hw: tuple[int, int]) -> Image:
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
    return rows[: size_hw[0], : size_hw[1]]
