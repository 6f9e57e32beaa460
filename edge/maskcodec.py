"""A class map in some 800 bytes, without loss: the left edges of its regions, followed downwards.

Read row by row, a class map is a list of runs. Most runs begin a few pixels beside one of the same class in the row
above; a *chain* joins them, and says for each row only how far the edge moved. On a street at 480x360 that takes a
quarter of what deflate makes of the plain map, and it is coded in half the time (docs/mqtt.md, which has the format
and a decoder to paste).

A message stands for itself, no other is needed to read it:

    bytes  what, little endian
    4      b"EMc1": chains. b"EMp1": the plain map, for maps of so many regions that chains would not pay
    2, 2   width, height
    4      number of chains n; 0 in the plain kind
    ...    deflate without header (RFC 1951)
    4      CRC-32 of all before

Chains, inflated: three planes of n bytes, the low, middle and high byte of where each chain begins, counted in pixels
from the beginning of the one before; n class ids; then one byte for each run, chain by chain: 0 is the last run of its
chain; k is followed by a run one row below, and k // 2 to the right where k is odd, to the left where it is even.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from edge.errors import DataError

MAX_PIXELS = 1 << 22  # 2048x2048; bounds what a hostile message can make its reader allocate

_HEAD = struct.Struct("<4sHHI")
_CRC = struct.Struct("<I")
_CHAINS, _PLAIN = b"EMc1", b"EMp1"
_FARTHEST = 127  # pixels that an edge may move from one row to the next within a chain: twice that and a bit is a byte

Image = NDArray[np.uint8]
Places = NDArray[np.int64]


class MaskError(DataError):
    """Not a class map, or not the message of one."""


def encode_mask(classes: Image) -> bytes:
    """The message for a class map, uint8 (h, w), which may be a view.

    Raises:
        MaskError: it is of another type or shape, or has more than `MAX_PIXELS`.
    """
    if classes.dtype != np.uint8 or classes.ndim != 2:
        raise MaskError(f"a class map is uint8 (h, w); found {classes.dtype} {classes.shape}")
    height, width = classes.shape
    _check_size(width, height)
    flat = np.ascontiguousarray(classes).reshape(-1)
    begins = np.empty(flat.size, bool)
    begins[0] = True
    np.not_equal(flat[1:], flat[:-1], out=begins[1:])
    at = np.flatnonzero(begins)
    if at.size > _most_runs(flat.size):
        return _message(_PLAIN, width, height, 0, flat.tobytes(), level=1)
    starts, ids, codes = _chains(at, flat[at], width, height)
    gaps = np.diff(starts, prepend=0).astype("<u4").view(np.uint8).reshape(-1, 4)
    body = gaps[:, :3].T.tobytes() + ids.tobytes() + codes.tobytes()
    return _message(_CHAINS, width, height, starts.size, body, level=6)


def decode_mask(message: bytes, classes: int = 256) -> Image:
    """The class map, uint8 (h, w), of a message by `encode_mask`.

    Raises:
        MaskError: the message is damaged or no such message, or holds an id that is not below `classes`.
    """
    if len(message) < _HEAD.size + _CRC.size:
        raise MaskError(f"a mask of {len(message)} bytes is cut off")
    kind, width, height, count = _HEAD.unpack_from(message)
    if kind not in (_CHAINS, _PLAIN):
        raise MaskError(f"a mask begins with {_CHAINS!r} or {_PLAIN!r}; found {kind!r}")
    (crc,) = _CRC.unpack_from(message, len(message) - _CRC.size)
    if crc != zlib.crc32(message[: -_CRC.size]):
        raise MaskError("a mask is damaged: its checksum is wrong")
    _check_size(width, height)
    pixels = width * height
    body = _inflated(message[_HEAD.size : -_CRC.size], pixels if kind == _PLAIN else 5 * _most_runs(pixels))
    flat = _from_chains(body, count, width, pixels) if kind == _CHAINS else _from_plain(body, count, pixels)
    if flat.max() >= classes:
        raise MaskError(f"a mask has class {flat.max()}; there are {classes}")
    return flat.reshape(height, width)


def _check_size(width: int, height: int) -> None:
    if not (1 <= width <= 0xFFFF and 1 <= height <= 0xFFFF and width * height <= MAX_PIXELS):
        raise MaskError(f"expected a mask of 1 to 65535 pixels a side, {MAX_PIXELS} in all, got {width}x{height}")


def _most_runs(pixels: int) -> int:
    """More than so many runs are sent as the plain map: also a bound on what it takes to read chains."""
    return pixels // 8 + 1


def _message(kind: bytes, width: int, height: int, count: int, body: bytes, level: int) -> bytes:
    deflate = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    text = _HEAD.pack(kind, width, height, count) + deflate.compress(body) + deflate.flush()
    return text + _CRC.pack(zlib.crc32(text))


def _chains(at: Places, ids: Image, width: int, height: int) -> tuple[Places, Image, Image]:
    """Of runs that begin `at`, with class `ids`: where each chain begins, its class, and the code of every run."""
    row = at // width
    pitch = 2 * width  # apart so far that the nearest run to a place in one row is never taken from another row
    place = (ids * np.int64(height + 1) + row) * pitch + (at - row * width)
    order = np.argsort(place)
    place = place[order]
    below = _nearest(place, place + pitch)
    move = place[below] - place - pitch
    number = np.arange(place.size)
    # Each the other's nearest: so no run follows two others.
    follows = (_nearest(place, place - pitch)[below] == number) & (np.abs(move) <= min(_FARTHEST, width))
    first = number.copy()
    first[below[follows]] = number[follows]
    starts = np.sort(order[first == number])
    for _ in range(height.bit_length()):  # each round doubles how many rows up a run looks for its chain's first
        first = first[first]
    codes = np.where(follows, 2 * np.abs(move) + (move >= 0), 0)
    by_chain = np.argsort(order[first], kind="stable")
    return at[starts], ids[starts], codes[by_chain].astype(np.uint8)


def _nearest(ascending: Places, sought: Places) -> Places:
    """For each sought value the index of the one nearest to it."""
    right = np.searchsorted(ascending, sought)
    left, right = np.maximum(right - 1, 0), np.minimum(right, ascending.size - 1)
    return np.where(ascending[right] - sought <= sought - ascending[left], right, left)


def _inflated(text: bytes, limit: int) -> Image:
    """What was deflated, if it is complete and of at most `limit` bytes."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        body = inflater.decompress(text, limit + 1)
    except zlib.error as error:
        raise MaskError(f"a mask is damaged: {error}") from error
    if not inflater.eof or inflater.unused_data or len(body) > limit:
        raise MaskError("a mask is damaged: its data do not end where they should")
    return np.frombuffer(body, np.uint8)


def _from_plain(body: Image, count: int, pixels: int) -> Image:
    if body.size != pixels or count:
        raise MaskError(f"a mask is damaged: {body.size} bytes and {count} chains for {pixels} pixels")
    return body.copy()


def _from_chains(body: Image, count: int, width: int, pixels: int) -> Image:
    gaps, ids, codes = body[: 3 * count], body[3 * count : 4 * count], body[4 * count :].astype(np.int64)
    last = codes == 0
    if codes.size == 0 or not last[-1] or np.count_nonzero(last) != count:
        raise MaskError(f"a mask is damaged: its runs do not make up {count} chains")
    starts = np.cumsum(np.array([1, 1 << 8, 1 << 16]) @ gaps.reshape(3, count))
    chain = np.cumsum(last) - last
    steps = np.where(last, 0, width + np.where(codes % 2, codes // 2, -(codes // 2)))
    before = np.cumsum(steps) - steps
    firsts = np.append(0, np.flatnonzero(last)[:-1] + 1)
    at = (starts - before[firsts])[chain] + before
    order = np.argsort(at)
    lengths = np.diff(at[order], append=pixels)
    if at[order[0]] != 0 or lengths.min() < 1:
        raise MaskError("a mask is damaged: its runs overlap or leave the image")
    return np.repeat(ids[chain[order]], lengths)
