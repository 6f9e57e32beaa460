"""Any output's array in a message that describes itself: what carriers send of outputs that they know nothing about.

A uint8 map is a message of `edge.maskcodec`. Everything else is:

    bytes  content, little endian
    4      b"EAr1"
    1, 1   dtype, the place in `edge.outputs.DTYPES`; number of dimensions, 1 to 4
    4, ... each dimension
    ...    deflate without header (RFC 1951) of the values, row by row, little endian
    4      CRC-32 of all before

Size, dtype and shape are checked before anything is allocated for them.
"""

from __future__ import annotations

import math
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.errors import DataError
from edge.maskcodec import MAX_PIXELS, decode_mask, encode_mask
from edge.outputs import DTYPES

MAX_BYTES = 1 << 24  # of the values: 2048x2048 of float32; bounds what a hostile message can make its reader allocate
MAX_DIMENSIONS = 4

_MAGIC = b"EAr1"
_HEAD = struct.Struct("<4sBB")
_CRC = struct.Struct("<I")


def encode_array(array: NDArray[Any]) -> bytes:
    """The message for an array, which may be a view.

    Raises:
        DataError: its dtype is not one of `DTYPES`, or it is empty, too large or of too many dimensions.
    """
    _check(array.dtype.name, array.shape)
    if _is_mask(array.dtype.name, array.shape):
        return encode_mask(array)
    head = _HEAD.pack(_MAGIC, DTYPES.index(array.dtype.name), array.ndim) + struct.pack(f"<{array.ndim}I", *array.shape)
    deflate = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    values = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    text = head + deflate.compress(values.data) + deflate.flush()
    return text + _CRC.pack(zlib.crc32(text))


def decode_array(message: bytes, dtype: str, ndim: int) -> NDArray[Any]:
    """The array of a message by `encode_array`, which is to have that dtype and number of dimensions.

    Raises:
        DataError: the message is damaged, or holds another kind of array.
    """
    if not message.startswith(_MAGIC):
        if (dtype, ndim) != ("uint8", 2):
            raise DataError(f"expected {dtype} of {ndim} dimensions, got a message that begins with {message[:4]!r}")
        return decode_mask(message)
    found, shape, begin = _read_head(message)
    if (found, len(shape)) != (dtype, ndim):
        raise DataError(f"expected {dtype} of {ndim} dimensions, got {found} {shape}")
    if _CRC.unpack(message[-_CRC.size :])[0] != zlib.crc32(message[: -_CRC.size]):
        raise DataError("an array is damaged: its checksum is wrong")
    kind = np.dtype(dtype).newbyteorder("<")
    size = math.prod(shape) * kind.itemsize
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        values = inflater.decompress(message[begin : -_CRC.size], size + 1)
    except zlib.error as error:
        raise DataError(f"an array is damaged: {error}") from error
    if len(values) != size or not inflater.eof or inflater.unused_data:
        raise DataError(f"an array is damaged: expected {size} bytes of values, got {len(values)} or more")
    return np.frombuffer(values, kind).reshape(shape).astype(dtype)


def _read_head(message: bytes) -> tuple[str, tuple[int, ...], int]:
    """Dtype, shape, and where the values begin; all of it within the limits."""
    if len(message) < _HEAD.size + _CRC.size:
        raise DataError(f"an array of {len(message)} bytes is cut off")
    _, place, ndim = _HEAD.unpack_from(message)
    begin = _HEAD.size + 4 * ndim
    if place >= len(DTYPES) or not 1 <= ndim <= MAX_DIMENSIONS or len(message) < begin + _CRC.size:
        raise DataError(f"an array is damaged: dtype {place} and {ndim} dimensions in {len(message)} bytes")
    shape = struct.unpack_from(f"<{ndim}I", message, _HEAD.size)
    _check(DTYPES[place], shape)
    return DTYPES[place], shape, begin


def _check(dtype: str, shape: tuple[int, ...]) -> None:
    if dtype not in DTYPES or not 1 <= len(shape) <= MAX_DIMENSIONS:
        raise DataError(f"expected an array of {', '.join(DTYPES)} with 1 to 4 dimensions, got {dtype} {shape}")
    if not 0 < math.prod(shape) * np.dtype(dtype).itemsize <= MAX_BYTES:
        raise DataError(f"expected an array of 1 to {MAX_BYTES} bytes, got {dtype} {shape}")


def _is_mask(dtype: str, shape: tuple[int, ...]) -> bool:
    """Whether `edge.maskcodec` takes it."""
    return dtype == "uint8" and len(shape) == 2 and max(shape) <= 0xFFFF and math.prod(shape) <= MAX_PIXELS
