"""Class maps as indexed PNG: ids are palette indices, class colours the palette.

Every reader of PNG shows them in colour and finds the ids again (Pillow's mode P, `matplotlib`, Foxglove, GIMP). OpenCV
writes no palette and reads one as colours, so both ways go through its grey PNG, which differs in a few bytes only.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import DataError
from edge.limits import size_error

Image = NDArray[np.uint8]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEAD = struct.Struct(">IIBBBBB")  # width, height, bits, colour type, compression, filter, interlace
_GREY, _INDEXED = 0, 3
_FORMS_OF_IDS = {
    bytes(form) for form in ((1, _INDEXED), (2, _INDEXED), (4, _INDEXED), (8, _INDEXED), (2, _GREY), (4, _GREY))
}


def encode_indexed(ids: Image, colours: Sequence[tuple[int, int, int]]) -> bytes:
    """A PNG of uint8 (h, w) class ids, which may be a view; `colours` are RGB by id.

    Raises:
        DataError: the map is empty or of another type, or an id has no colour.
    """
    if ids.dtype != np.uint8 or ids.ndim != 2 or not ids.size:
        raise DataError(f"expected class ids as uint8 (h, w), got {ids.dtype} {ids.shape}")
    if ids.max() >= len(colours):
        raise DataError(f"expected class ids below {len(colours)}, got {ids.max()}")
    height, width = ids.shape
    rows = np.empty((height, 1 + width), np.uint8)
    rows[:, 0] = 2  # filter "up": the difference to the row above, nearly always 0
    rows[0, 1:] = ids[0]
    np.subtract(ids[1:], ids[:-1], out=rows[1:, 1:])
    head = _HEAD.pack(width, height, 8, _INDEXED, 0, 0, 0)
    palette = np.asarray(colours, np.uint8).tobytes()
    deflate = zlib.compressobj(1, strategy=zlib.Z_RLE)  # of such rows a third less than level 6, in a third of its time
    data = deflate.compress(rows.data) + deflate.flush()
    chunks = [(b"IHDR", head), (b"PLTE", palette), (b"IDAT", data), (b"IEND", b"")]
    return _SIGNATURE + b"".join(_chunk(kind, content) for kind, content in chunks)


def holds_ids(content: bytes) -> bool:
    """Whether a file's bytes are those of a PNG with a palette, or with 2 or 4 bits of grey, which hold ids too."""
    return content.startswith(_SIGNATURE) and content[24:26] in _FORMS_OF_IDS


def decode_ids(png: bytes) -> Image:
    """uint8 (h, w): the ids in a PNG that is indexed or grey, also of fewer than 8 bits; 1-bit grey gives 0 and 255.

    Raises:
        DataError: it is damaged, or of another kind.
    """
    if not png.startswith(_SIGNATURE) or len(png) < 26:
        raise DataError("expected an indexed or 8-bit grey PNG of class ids, got no PNG")
    bits, kind = png[24], png[25]
    width, height = struct.unpack_from(">II", png, 16)
    if fault := size_error((width, height)):
        raise DataError(fault)
    if kind == _INDEXED:
        png = _as_grey(png)
    # OpenCV logs, and gives nothing, where data are damaged.
    ids = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED) if png else None
    if ids is None or ids.ndim != 2 or ids.dtype != np.uint8:
        found = "no image" if ids is None else f"{ids.dtype} {ids.shape}"
        raise DataError(f"expected an indexed or 8-bit grey PNG of class ids, got {found}")
    # OpenCV stretches few bits to 8, as is right for grey levels.
    return ids // (255 // (2**bits - 1)) if bits < 8 and (kind == _INDEXED or bits > 1) else ids


def _as_grey(png: bytes) -> bytes:
    """The same pixels, declared as grey levels."""
    kept = []
    for kind, content in _chunks(png):
        if kind == b"IHDR" and len(content) == _HEAD.size:
            content = content[:9] + bytes([_GREY]) + content[10:]
        if kind in (b"IHDR", b"IDAT", b"IEND"):
            kept.append(_chunk(kind, content))
    return _SIGNATURE + b"".join(kept)


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of each whole chunk.

    Raises:
        DataError: a checksum is wrong.
    """
    at = len(_SIGNATURE)
    while at + 12 <= len(png):
        (length,) = struct.unpack_from(">I", png, at)
        body, end = png[at + 4 : at + 8 + length], at + 12 + length
        if end > len(png) or zlib.crc32(body) != struct.unpack_from(">I", png, end - 4)[0]:
            raise DataError(f"a PNG is damaged or cut off at byte {at}")
        yield body[:4], body[4:]
        at = end


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
