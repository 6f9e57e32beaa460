"""Decompression with a limit that is checked on the way: a header may claim less than what comes out."""

from __future__ import annotations

import bz2
import zlib
from collections.abc import Callable
from io import BytesIO

LIMIT_BYTES = 1 << 28  # of a chunk or message: larger than a raw 8K frame


def inflate(data: bytes, compression: str, limit_bytes: int | None = None) -> bytes:
    """What was compressed; `compression` is "zstd", "lz4", "bz2", or "" or "none" for nothing.

    Raises:
        ValueError: it is damaged, more than `limit_bytes` (LIMIT_BYTES if not given), or compressed in another way.
        ImportError: the library for it is missing.
    """
    limit_bytes = LIMIT_BYTES if limit_bytes is None else limit_bytes
    if compression not in _INFLATERS:
        raise ValueError(f"compressed as {compression!r}, expected one of: {', '.join(filter(None, _INFLATERS))}")
    try:
        content = _INFLATERS[compression](data, limit_bytes)
    except (ImportError, ValueError):
        raise
    except Exception as error:  # each library raises its own class at damaged data
        raise ValueError(f"{compression}: {error}") from error
    if len(content) > limit_bytes:
        raise ValueError(f"more than {limit_bytes} bytes when decompressed")
    return content


def checked(content: bytes, size_bytes: int, crc: int) -> bytes:
    """The content of a chunk, as long as announced and with its CRC-32; 0 stands for none.

    Raises:
        ValueError: it is another one.
    """
    if len(content) != size_bytes:
        raise ValueError(f"{len(content)} bytes, expected {size_bytes}")
    if crc and zlib.crc32(content) != crc:
        raise ValueError("its checksum is wrong")
    return content


def _zstd(data: bytes, limit_bytes: int) -> bytes:
    import zstandard

    with zstandard.ZstdDecompressor().stream_reader(BytesIO(data), read_across_frames=True) as reader:
        return _read_all(reader.read, limit_bytes)


def _lz4(data: bytes, limit_bytes: int) -> bytes:
    import lz4.frame

    return lz4.frame.LZ4FrameDecompressor().decompress(data, max_length=limit_bytes + 1)


def _bz2(data: bytes, limit_bytes: int) -> bytes:
    return bz2.BZ2Decompressor().decompress(data, max_length=limit_bytes + 1)


def _read_all(read: Callable[[int], bytes], limit_bytes: int) -> bytes:
    """Up to one byte more than the limit, by pieces: one large read takes its memory at once."""
    pieces, length = [], 0
    while length <= limit_bytes and (piece := read(min(1 << 20, limit_bytes + 1 - length))):
        pieces.append(piece)
        length += len(piece)
    return b"".join(pieces)


_INFLATERS: dict[str, Callable[[bytes, int], bytes]] = {
    "": lambda data, _: data,
    "none": lambda data, _: data,
    "zstd": _zstd,
    "lz4": _lz4,
    "bz2": _bz2,
}
