"""AVI (Microsoft, AVI RIFF File Reference): the chunks that hold the video, whatever the index says of them."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from edge.sources.wholeness.fault import NotWhole

_LISTS = (b"RIFF", b"LIST")
_FRAME_LISTS = (b"movi", b"rec ")
_HELD = (b"AVI ", b"AVIX", *_FRAME_LISTS)
_FRAME = re.compile(rb"(\d\d)(dc|db)")  # compressed, plain


class _Chunk(NamedTuple):
    kind: bytes  # a list's own name, for a list
    start: int  # of what it holds
    end: int


def count_chunks(file: BinaryIO, size: int) -> int:
    """How many chunks of the first video stream hold something; 0 where the header names none.

    Raises:
        NotWhole: what lies among the frames is no chunk.
    """
    video, chunks = b"", 0
    for chunk in _chunks(file, 0, size):
        if chunk.kind == b"hdrl":
            video = _video_of(file, chunk)
        elif (frame := _FRAME.fullmatch(chunk.kind)) and frame[1] == video:
            chunks += chunk.end > chunk.start
    return chunks


def _chunks(file: BinaryIO, start: int, end: int, parent: bytes = b"") -> Iterator[_Chunk]:
    """The chunks of a file or list, and of the lists in it that frames lie in; a frame elsewhere is of a torn index."""
    while start + 8 <= end:
        chunk = _chunk(file, start, end)
        if not chunk.kind.isascii() or not chunk.kind.decode().isprintable():
            if parent not in _FRAME_LISTS:
                return
            raise NotWhole(f"no sense at byte {start}")
        if parent in _FRAME_LISTS or not _FRAME.fullmatch(chunk.kind):
            yield chunk
        if chunk.kind in _HELD:
            yield from _chunks(file, chunk.start, chunk.end, chunk.kind)
        start = chunk.end + chunk.end % 2


def _chunk(file: BinaryIO, start: int, end: int) -> _Chunk:
    file.seek(start)
    kind, length, name = struct.unpack("<4sI4s", file.read(12).ljust(12, b"\0"))
    if kind not in _LISTS:
        return _Chunk(kind, start + 8, min(start + 8 + length, end))
    # 0 while it is written.
    return _Chunk(name, start + 12, min(start + 8 + length, end) if length else end)


def _video_of(file: BinaryIO, header: _Chunk) -> bytes:
    """The two digits that the chunks of the first video stream begin with."""
    streams = [chunk for chunk in _chunks(file, header.start, header.end) if chunk.kind == b"strl"]
    for number, stream in enumerate(streams):
        strh = next((chunk for chunk in _chunks(file, stream.start, stream.end) if chunk.kind == b"strh"), None)
        if strh is not None:
            file.seek(strh.start)
            if file.read(4) == b"vids":
                return b"%02d" % number
    return b""
