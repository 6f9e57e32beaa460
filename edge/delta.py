"""A file as its difference from another one: copies of the other's parts, and what is new in between.

A net's graph for another input size holds the same weights; only a few small constants differ. Stored as a difference,
it takes some ten kilobytes in place of some megabytes. Whoever applies one checks the hash of what comes out.
"""

from __future__ import annotations

import struct
import zlib

_MAGIC = b"edge delta 1\n"
_TEXT_MAX_BYTES = 1 << 24  # of records and what is new, inflated
_GROWTH, _GROWTH_BYTES = 4, 1 << 20  # a file is at most so many times its base, and so many bytes more
_BLOCK = 64  # bytes; shorter parts that are equal are not looked for
_COPY, _NEW = b"c", b"n"
_RECORD = struct.Struct("<cQQ")  # kind, offset in the base (0 for what is new), length


def make_delta(base: bytes, target: bytes) -> bytes:
    """What `apply_delta` makes `target` of, given `base`."""
    places = {base[at : at + _BLOCK]: at for at in range(len(base) - len(base) % _BLOCK - _BLOCK, -1, -_BLOCK)}
    records: list[bytes] = []
    done = at = 0
    while at + _BLOCK <= len(target):
        place = places.get(target[at : at + _BLOCK])
        if place is None:
            at += 1
            continue
        before = _equal_before(base, place, target, at, at - done)
        length = before + _equal_from(base, place, target, at)
        records += _new(target[done : at - before])
        records.append(_RECORD.pack(_COPY, place - before, length))
        done = at = at - before + length
    records += _new(target[done:])
    return _MAGIC + zlib.compress(b"".join(records), 9)


def apply_delta(base: bytes, delta: bytes, limit_bytes: int) -> bytes:
    """The file that the difference stands for.

    Raises:
        ValueError: it is not a difference, not one from `base`, or gives more than `limit_bytes` or about four times
            its base.
    """
    if not delta.startswith(_MAGIC):
        raise ValueError("not a difference between files")
    inflater = zlib.decompressobj()
    try:
        text = inflater.decompress(delta[len(_MAGIC) :], min(limit_bytes, _TEXT_MAX_BYTES))
    except zlib.error as error:
        raise ValueError(f"damaged: {error}") from error
    if not inflater.eof:
        raise ValueError("cut off, or too large")
    file, at = bytearray(), 0
    most = min(limit_bytes, _GROWTH * len(base) + len(text) + _GROWTH_BYTES)
    while at < len(text):
        if at + _RECORD.size > len(text):
            raise ValueError("a record is cut off")
        kind, offset, length = _RECORD.unpack_from(text, at)
        at += _RECORD.size
        source = base if kind == _COPY else text
        start = offset if kind == _COPY else at
        if kind not in (_COPY, _NEW) or not length or start + length > len(source):
            raise ValueError("a record reaches beyond its file, or is empty")
        if len(file) + length > most:
            raise ValueError("too large for a file made of this one")
        file += memoryview(source)[start : start + length]
        at += length if kind == _NEW else 0
    return bytes(file)


def _new(part: bytes) -> list[bytes]:
    return [_RECORD.pack(_NEW, 0, len(part)), part] if part else []


def _equal_from(base: bytes, place: int, target: bytes, at: int) -> int:
    """How many bytes are equal from here on."""
    length, step = 0, _BLOCK
    while step:
        one = base[place + length : place + length + step]
        if len(one) == step and one == target[at + length : at + length + step]:
            length += step
            step *= 2
        else:
            step //= 2
    return length


def _equal_before(base: bytes, place: int, target: bytes, at: int, most: int) -> int:
    """How many bytes before here are equal, up to `most`."""
    length = 0
    while length < min(most, place) and base[place - length - 1] == target[at - length - 1]:
        length += 1
    return length
