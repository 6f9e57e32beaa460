from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edge.arrays import MAX_BYTES, decode_array, encode_array
from edge.errors import DataError
from edge.outputs import DTYPES

SHAPES = arrays.array_shapes(min_dims=1, max_dims=4, max_side=6)
ANY = st.sampled_from(DTYPES).flatmap(lambda dtype: arrays.arrays(dtype, SHAPES))


@pytest.mark.slow
@given(array=ANY)
def test_an_array_of_any_dtype_and_shape_comes_back_as_it_was(array: np.ndarray) -> None:
    found = decode_array(encode_array(array), array.dtype.name, array.ndim)
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


def test_a_view_of_an_array_is_sent_without_what_lies_around_it() -> None:
    array = np.arange(48, dtype=np.float32).reshape(6, 8)
    np.testing.assert_array_equal(decode_array(encode_array(array[1:5, 2:6]), "float32", 2), array[1:5, 2:6])


@pytest.mark.slow
@given(array=ANY, at=st.integers(0, 1 << 20), bit=st.integers(0, 7))
def test_a_damaged_bit_is_found(array: np.ndarray, at: int, bit: int) -> None:
    message = bytearray(encode_array(array))
    message[at % len(message)] ^= 1 << bit
    with pytest.raises(DataError):
        decode_array(bytes(message), array.dtype.name, array.ndim)


@pytest.mark.slow
@given(array=ANY, length=st.integers(0, 1 << 20))
def test_a_message_that_is_cut_off_is_refused(array: np.ndarray, length: int) -> None:
    message = encode_array(array)
    with pytest.raises(DataError):
        decode_array(message[: length % len(message)], array.dtype.name, array.ndim)


@pytest.mark.parametrize(
    ("dtype", "ndim", "expected"),
    [("float16", 2, "expected float16 of 2"), ("float32", 1, "of 1 dimensions"), ("uint8", 2, r"got float32 \(2, 3\)")],
)
def test_another_kind_of_array_than_announced_is_refused(dtype: str, ndim: int, expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        decode_array(encode_array(np.ones((2, 3), np.float32)), dtype, ndim)


def test_a_map_in_place_of_numbers_is_refused() -> None:
    with pytest.raises(DataError, match="expected float32 of 2 dimensions"):
        decode_array(encode_array(np.ones((2, 3), np.uint8)), "float32", 2)


@pytest.mark.parametrize("shape", [(1 << 31, 1 << 31), (MAX_BYTES // 4 + 1, 1), (0, 5)])
def test_a_size_beyond_the_limit_is_refused_before_it_is_allocated(shape: tuple[int, int]) -> None:
    text = struct.pack("<4sBB2I", b"EAr1", DTYPES.index("float32"), 2, *shape) + zlib.compress(b"")[2:-4]
    with pytest.raises(DataError, match="expected an array of 1 to"):
        decode_array(text + struct.pack("<I", zlib.crc32(text)), "float32", 2)


def test_values_that_inflate_to_more_than_their_shape_are_refused() -> None:
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    text = (
        struct.pack("<4sBBI", b"EAr1", DTYPES.index("uint8"), 1, 4) + deflate.compress(bytes(1 << 20)) + deflate.flush()
    )
    with pytest.raises(DataError, match="expected 4 bytes of values"):
        decode_array(text + struct.pack("<I", zlib.crc32(text)), "uint8", 1)


@pytest.mark.parametrize("array", [np.ones(3, np.float64), np.ones((), np.uint8), np.ones((1,) * 5, np.uint8)])
def test_what_no_output_can_be_is_not_sent(array: np.ndarray) -> None:
    with pytest.raises(DataError, match="expected an array of"):
        encode_array(array)
