"""Decompression with a limit that is checked on the way: a header may claim less than what comes out."""

from __future__ import annotations

import bz2
import os
import shutil
import zlib
from collections.abc import Callable
from io import BytesIO
from typing import IO

RATIO_MAX = 1000  # of a whole file, beyond LIMIT_BYTES
_DISK_KEPT = 20  # a twentieth of a disk is left free
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


class InflatingFile:
    """A zstd file that is read inflated, in pieces; it ends with an error before it fills the disk it is copied to.

    At most `RATIO_MAX` times the file's own size comes out, or `LIMIT_BYTES` if that is more, and at most what leaves
    the disk of `folder` a twentieth free.
    """

    def __init__(self, file: IO[bytes], folder: str) -> None:
        """Raises ImportError: the library is missing."""
        import zstandard

        packed, disk = os.fstat(file.fileno()).st_size, shutil.disk_usage(folder)
        self._folder, self._left_bytes = folder, max(LIMIT_BYTES, RATIO_MAX * packed)
        self._room_bytes = disk.free - disk.total // _DISK_KEPT
        self._reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True, closefd=False)

    def __enter__(self) -> InflatingFile:
        return self

    def __exit__(self, *exception: object) -> None:
        self._reader.close()

    def read(self, size: int = -1) -> bytes:
        """The next bytes, at most a mebibyte; b"" at the end.

        Raises:
            ValueError: it is damaged, or more comes out than may.
        """
        import zstandard

        try:
            piece = self._reader.read(1 << 20 if size < 0 else min(size, 1 << 20))
        except zstandard.ZstdError as error:
            raise ValueError(f"zstd: {error}") from error
        self._left_bytes -= len(piece)
        self._room_bytes -= len(piece)
        if self._left_bytes < 0:
            raise ValueError(f"more than {RATIO_MAX} times its size when decompressed. If it is meant: zstd -d FILE")
        if self._room_bytes < 0:
            raise ValueError(f"decompressed, it does not fit into {self._folder}. Name a larger disk: TMPDIR=FOLDER")
        return piece


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
