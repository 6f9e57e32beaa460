"""Image files as bytes: how large they say they are, whether a JPEG is whole, and their pixels.

The header is read first, so that memory is taken for images of a size that is allowed, and for no others.
"""

from __future__ import annotations

import re
import struct
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from edge.limits import size_error
from edge.shortage import check_shortage

if TYPE_CHECKING:  # a capture process reads headers without NumPy and OpenCV
    from edge.frame import Image

_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
_SIZES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15; DHT, JPG and DAC are none (ITU-T T.81, B.1)
_ALONE = {0x01, *range(0xD0, 0xD8)}  # TEM and RSTn have no length
_BEHIND_A_SCAN = {_EOI, 0xC4, 0xDA, 0xDB, 0xDC, 0xDD, 0xFE, *range(0xE0, 0xF0)}
_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])", re.DOTALL)  # in coded data, 0xFF is followed by 0 or is RSTn
_SCANS_MAX, _MARKERS_MAX = 100, 10_000
_TIFF_SIDES = {256: "width", 257: "height"}


class ImageError(ValueError):
    """Why bytes are not an image that may be decoded, in words that go behind its name."""


def decode_image(data: bytes, *, unchanged: bool = False) -> Image:
    """uint8 (H, W, 3) BGR of a JPEG, PNG, WebP, BMP or TIFF; with `unchanged`, its own channels and depth.

    Raises:
        ImageError: it is of another format, larger than allowed, or not whole.
        ResourceError: memory ran out.
    """
    import cv2
    import numpy as np

    size_wh = image_size_wh(data)
    if size_wh is None:
        raise ImageError("is not an image that can be read (JPEG, PNG, WebP, BMP or TIFF)")
    if fault := size_error(size_wh) or (jpeg_fault(data) if is_jpeg(data) else ""):
        raise ImageError(fault)
    flags = cv2.IMREAD_UNCHANGED if unchanged else cv2.IMREAD_COLOR
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:  # some malformed headers, where None is usual
        check_shortage(error)
        raise ImageError(f"does not decode ({error.err or 'OpenCV'})") from error
    if image is None:
        raise ImageError("does not decode: it is damaged, cut off, or of a kind that OpenCV does not read")
    return image


def is_jpeg(data: bytes) -> bool:
    """Whether the bytes begin as a JPEG does."""
    return data[:2] == b"\xff\xd8"


def jpeg_fault(data: bytes) -> str:
    """What is wrong with a JPEG by its markers; "" if nothing. Decoders fill what is missing with grey, in silence.

    Bytes behind its end are allowed: drivers pad.
    """
    try:
        markers = Counter(islice(_markers(data), _MARKERS_MAX))
    except ImageError as error:
        return str(error)
    if markers.total() == _MARKERS_MAX or markers[_SOS] > _SCANS_MAX:  # each scan goes over the whole image
        return f"has more than {_SCANS_MAX} scans or {_MARKERS_MAX} markers, expected about ten"
    return "" if markers.keys() & _SIZES else "holds no image"


def _markers(data: bytes) -> Iterator[int]:
    """The markers up to the end of the image.

    Raises:
        ImageError: one is missing, or where none may be.
    """
    at, marker = 2, _SOI
    if not is_jpeg(data):
        raise ImageError("does not begin as a JPEG")
    while marker != _EOI:
        found = _MARKER.search(data, at) if marker == _SOS else None
        if found and found[1][0] not in _BEHIND_A_SCAN:
            raise ImageError(f"is damaged: marker {found[1].hex()} within its data")
        marker, start = next_marker(data, found.start() if found else len(data) if marker == _SOS else at)
        if marker is None:
            raise ImageError("is cut off: its end marker is missing")
        at = start if marker == _EOI or marker in _ALONE else _segment_end(data, start)
        yield marker


def _segment_end(data: bytes, start: int) -> int:
    length = int.from_bytes(data[start : start + 2], "big")
    if start + max(2, length) > len(data):
        raise ImageError("is cut off within its headers")
    if length < 2:
        raise ImageError(f"is damaged: no sense at byte {start}")
    return start + length


def next_marker(data: bytes, at: int) -> tuple[int | None, int]:
    """A marker and where what follows it begins. Fill bytes and strays before it are passed over, as libjpeg does."""
    at = data.find(b"\xff", at)
    while 0 <= at < len(data) - 1:
        if data[at + 1] not in (0x00, 0xFF):
            return data[at + 1], at + 2
        at = data.find(b"\xff", at + 1)
    return None, len(data)


def image_size_wh(data: bytes) -> tuple[int, int] | None:
    """Width and height by the header of a JPEG, PNG, WebP, BMP or TIFF; None for anything else."""
    readers = {b"\xff\xd8": _jpeg_wh, b"\x89PNG": _png_wh, b"RIFF": _webp_wh, b"BM": _bmp_wh}
    readers |= {b"II*\0": _tiff_wh, b"MM\0*": _tiff_wh}
    reader = next((reader for magic, reader in readers.items() if data.startswith(magic)), None)
    try:
        return reader(data) if reader is not None else None
    except (struct.error, IndexError):  # it ends within its header
        return None


def _jpeg_wh(data: bytes) -> tuple[int, int] | None:
    at = 2
    while True:
        marker, start = next_marker(data, at)
        if marker in _SIZES:
            height, width = struct.unpack_from(">HH", data, start + 3)
            return width, height
        if marker is None or marker in (_SOS, _EOI):
            return None
        at = start if marker in _ALONE else start + max(2, struct.unpack_from(">H", data, start)[0])


def _png_wh(data: bytes) -> tuple[int, int] | None:
    width, height = struct.unpack_from(">II", data, 16)
    return (width, height) if data[12:16] == b"IHDR" else None


def _webp_wh(data: bytes) -> tuple[int, int] | None:
    kind = data[8:16]
    if kind == b"WEBPVP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"WEBPVP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"WEBPVP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def _bmp_wh(data: bytes) -> tuple[int, int] | None:
    (header_bytes,) = struct.unpack_from("<I", data, 14)
    if header_bytes == 12:
        return struct.unpack_from("<HH", data, 18)
    width, height = struct.unpack_from("<ii", data, 18)
    return abs(width), abs(height)  # rows from the top down have a negative height


def _tiff_wh(data: bytes) -> tuple[int, int] | None:
    order = "<" if data[:2] == b"II" else ">"
    (at,) = struct.unpack_from(f"{order}I", data, 4)
    (entries,) = struct.unpack_from(f"{order}H", data, at)
    sides: dict[str, int] = {}
    for number in range(entries):
        tag, kind = struct.unpack_from(f"{order}HH", data, at + 2 + 12 * number)
        if tag in _TIFF_SIDES:
            form = {3: "H", 4: "I"}.get(kind, "I")
            (sides[_TIFF_SIDES[tag]],) = struct.unpack_from(f"{order}{form}", data, at + 10 + 12 * number)
    return (sides["width"], sides["height"]) if len(sides) == 2 else None
