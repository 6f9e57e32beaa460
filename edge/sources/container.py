"""Video files as FFmpeg opens them: the container, the stream to decode, the decoder."""

from __future__ import annotations

import errno
import logging
import shlex
import stat
from fractions import Fraction
from pathlib import Path

import av
from av.error import FFmpegError, InvalidDataError
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from edge.errors import ConfigError, NotAVideo, SourceError, SourceNotFound
from edge.limits import max_pixels, size_error
from edge.paths import no_such_file
from edge.shortage import check_shortage
from edge.sources.mistaken import what_it_is
from edge.sources.place import STREAM

log = logging.getLogger(__name__)

_STILL = Disposition.attached_pic | Disposition.timed_thumbnails | getattr(Disposition, "still_image", 0)
_TILE = 1 << 19  # AV_DISPOSITION_DEPENDENT: what is not shown alone (libavformat/avformat.h)
_TEXT = ("ansi", "bintext", "idf", "xbin")  # codecs by which FFmpeg draws any text file as the screen of a terminal
_WIDEST_PIXEL = 8.0  # beyond, a header's pixel aspect is taken for damage


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
        raise SourceNotFound(no_such_file(path)) from error
    except PermissionError as error:
        raise SourceError(f"{path}: may not be read by this user. See who may: namei -l {path}") from error
    except FFmpegError as error:
        if error.errno != errno.ENOMEM:  # what FFmpeg also says of a damaged header that asks for too much
            check_shortage(error)
        if isinstance(error, InvalidDataError) and is_regular(path) and path.stat().st_size == 0:
            raise NotAVideo(f"{path}: is empty (0 bytes). Was the recording cut short? Copy it again.") from error
        raise NotAVideo(f"{path}: {refusal(path, f'is not a video ({error.strerror})')}") from error


def is_regular(path: Path) -> bool:
    """Whether it is a file that can be opened again and sought in: not a pipe, a socket or a device."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def refusal(path: Path, finding: str) -> str:
    """What a file that cannot be read as a video is, or may be, and what to type."""
    return what_it_is(path) or (
        f"{finding}. A file cut off while it was written looks like this too. Try: ffprobe {_typed(path)}"
    )


def _typed(path: object) -> str:
    return shlex.quote(str(path))


def video_stream_of(container: av.container.InputContainer, path: Path, number: int | None = None) -> VideoStream:
    """The stream to decode: video stream `number` of the file, or the one marked as default.

    Cover images, thumbnails and streams of a single frame beside longer ones are only taken when their number is given.

    Raises:
        NotAVideo: it has no video stream, or FFmpeg does not know its codec.
        ConfigError: there is no stream of that number.
        SourceError: its frames are larger than they may be.
        NotAVideo: it has no video stream, or FFmpeg does not know its codec; it is a photo in tiles, of which FFmpeg
            gives each by itself; or an animated GIF, of which it gives the first image.
    """
    streams = list(container.streams.video)
    if number is not None and number >= len(streams):
        raise ConfigError(f"{path}: {STREAM}{number}: expected 0 to {len(streams) - 1}; it has {len(streams)} video(s)")
    stream = streams[number] if number is not None else _default_of(streams)
    if stream is None:
        raise NotAVideo(f"{path}: {refusal(path, 'holds no video stream')}")
    if stream.codec_context is not None and stream.codec_context.name in _TEXT:
        raise NotAVideo(f"{path}: {what_it_is(path) or 'is a text file, not a video'}")
    if stream.disposition & _TILE:
        raise NotAVideo(
            f"{path}: is a photo in {len(streams)} tiles (HEIC or AVIF), which cannot be read. Make a JPEG or PNG of"
            f" it: heif-convert {_typed(path)} {_typed(path.with_suffix('.png'))}"
        )
    if stream.codec_context is None:
        raise NotAVideo(f"{path}: {refusal(path, 'is coded in a way that FFmpeg does not know')}")
    if fault := size_error((stream.codec_context.width, stream.codec_context.height)):
        raise SourceError(f"{path}: {fault}")
    if stream.codec_context.name == "gif" and stream.frames > 1:
        typed = f"ffmpeg -i {_typed(path)} {_typed(path.with_suffix('.mp4'))}"
        raise NotAVideo(f"{path}: is an animated GIF, which cannot be read. Make a video of it: {typed}")
    return stream


def _default_of(streams: list[VideoStream]) -> VideoStream | None:
    moving = [stream for stream in streams if not stream.disposition & _STILL]
    ranked = [(stream.frames == 1, not stream.disposition & Disposition.default, stream.index) for stream in moving]
    return moving[ranked.index(min(ranked))] if moving else None


def note_other_streams(container: av.container.InputContainer, chosen: VideoStream, name: str) -> None:
    """Log which other videos a file holds, where the user chose none."""
    streams = list(container.streams.video)
    others = [
        f"{STREAM}{number} ({stream.width}x{stream.height})"
        for number, stream in enumerate(streams)
        if stream.index != chosen.index and not stream.disposition & _STILL
    ]
    if others:
        number = next(number for number, stream in enumerate(streams) if stream.index == chosen.index)
        log.warning(
            "%s: has %d videos; number %d (%dx%d) is taken. Choose another by its number: %s",
            name,
            len(others) + 1,
            number,
            chosen.width,
            chosen.height,
            ", ".join(others),
        )


def set_up_decoder(codec: VideoCodecContext) -> None:
    """Slices share a frame's work without holding frames back, as frame threads do: the age stays honest.

    With slice threads, though, FFmpeg's H.264 decoder neither conceals nor reports damage (h264dec.c, enable_er). Most
    encoders write one slice per frame and gain nothing from them (measured: 1.0 ms per 720p frame with and without).
    """
    codec.thread_type = "SLICE"
    codec.options = {"max_pixels": str(max_pixels())}
    if codec.name == "h264":
        codec.thread_count = 1


def pixel_aspect_of(stream: VideoStream) -> float:
    """Width over height of a pixel as shown; the container's word counts before the codec's, as in players."""
    return usable_aspect(stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio)


def usable_aspect(ratio: Fraction | None) -> float:
    """A header's pixel aspect as a number; 1.0 where it has none, or one that only damage can have made."""
    aspect = float(ratio or 1)
    return aspect if 1 / _WIDEST_PIXEL <= aspect <= _WIDEST_PIXEL else 1.0
