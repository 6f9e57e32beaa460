from __future__ import annotations

import random
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edge.maskcodec import MAX_PIXELS, Image, MaskError, decode_mask, encode_mask

DOCS = Path(__file__).parents[1] / "docs" / "mqtt.md"

noises = arrays.arrays(np.uint8, arrays.array_shapes(min_dims=2, max_dims=2, max_side=40), elements=st.integers(0, 3))


@st.composite
def streets(draw: st.DrawFn) -> Image:
    """Maps like those of a net: a few regions with slanted borders."""
    height, width = draw(st.integers(1, 60)), draw(st.integers(1, 200))
    rows, columns = np.mgrid[:height, :width]
    classes = np.full((height, width), draw(st.integers(0, 255)), np.uint8)
    for _ in range(draw(st.integers(0, 6))):
        slope, curve = draw(st.floats(-200, 200)), draw(st.floats(-5, 5))
        begin = draw(st.integers(0, width)) + slope * rows / 10 + curve * rows**2 / 10
        top, bottom, wide = (draw(st.integers(0, most)) for most in (height, height, width))
        inside = (rows >= top) & (rows < bottom) & (columns >= begin) & (columns < begin + wide)
        classes[inside] = draw(st.integers(0, 255))
    return classes


def pasted_decoder() -> Callable[[bytes], Image]:
    """The decoder of the page, as somebody pastes it."""
    (code,) = re.findall(r"```python\n(import struct.*?)```", DOCS.read_text(), re.DOTALL)
    assert len(code.splitlines()) < 30
    names: dict[str, Callable[[bytes], Image]] = {}
    exec(code, names)
    return names["decode_mask"]


def street(seed: int = 0, size_wh: tuple[int, int] = (120, 90)) -> Image:
    rng = np.random.default_rng(seed)
    width, height = size_wh
    rows, columns = np.mgrid[:height, :width]
    classes = np.zeros((height, width), np.uint8)
    for index in range(1, 9):
        x, y, radius = rng.integers(0, width), rng.integers(0, height), rng.integers(5, 40)
        classes[(columns - x) ** 2 + (rows - y) ** 2 < radius**2] = index
    return classes


@pytest.mark.slow
def test_any_map_comes_back_as_it_was() -> None:
    pasted = pasted_decoder()

    @given(streets() | noises)
    def comes_back(classes: Image) -> None:
        message = encode_mask(classes)
        for decoded in (decode_mask(message), pasted(message)):
            assert decoded.dtype == np.uint8
            assert np.array_equal(decoded, classes)

    comes_back()


@pytest.mark.parametrize("shape", [(1, 1), (1, 65535), (65535, 1), (1, 64), (64, 1), (2, 2), (1000, 3)])
def test_shapes_at_the_ends_of_what_there_is_come_back(shape: tuple[int, int]) -> None:
    for classes in (np.full(shape, 255, np.uint8), (np.indices(shape).sum(0) // 9 % 200).astype(np.uint8)):
        assert np.array_equal(decode_mask(encode_mask(classes)), classes)


def test_a_view_with_bars_around_it_is_coded_like_a_copy() -> None:
    whole = street()
    assert encode_mask(whole[7:-7, 3:-5]) == encode_mask(whole[7:-7, 3:-5].copy())


def test_smooth_regions_take_a_small_part_of_what_deflate_makes_of_them() -> None:
    classes = street(size_wh=(480, 360))
    assert len(encode_mask(classes)) < 0.4 * len(zlib.compress(classes.tobytes(), 9))


def test_noise_takes_hardly_more_than_its_own_size() -> None:
    classes = np.random.default_rng(0).integers(0, 256, (360, 480), np.uint8)
    assert len(encode_mask(classes)) < classes.size * 1.01


def test_the_decoder_belongs_to_the_caller() -> None:
    decode_mask(encode_mask(street()))[:] = 7
    decode_mask(encode_mask(np.random.default_rng(0).integers(0, 9, (30, 30), np.uint8)))[:] = 7


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((4, 4), np.int64),
        np.zeros((4, 4, 1), np.uint8),
        np.zeros((0, 4), np.uint8),
        np.zeros((1, 65536), np.uint8),
        np.broadcast_to(np.uint8(0), (MAX_PIXELS // 1024 + 1, 1024)),
    ],
)
def test_what_is_no_class_map_is_refused(wrong: np.ndarray) -> None:
    with pytest.raises(MaskError, match=r"expected|found"):
        encode_mask(wrong)


def test_a_class_that_there_is_not_is_refused() -> None:
    message = encode_mask(np.array([[0, 10]], np.uint8))
    assert decode_mask(message, 11).tolist() == [[0, 10]]
    with pytest.raises(MaskError, match="a mask has class 10; there are 10"):
        decode_mask(message, 10)


def sealed(text: bytes) -> bytes:
    """With a right checksum, as whoever means harm sends it."""
    return text + struct.pack("<I", zlib.crc32(text))


def deflated(body: bytes) -> bytes:
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    return deflate.compress(body) + deflate.flush()


def inflated(message: bytes) -> bytes:
    return zlib.decompress(message[12:-4], -15)


MESSAGES = [
    encode_mask(street()),
    encode_mask(np.random.default_rng(0).integers(0, 9, (20, 30), np.uint8)),
    encode_mask(np.zeros((5, 5), np.uint8)),
]


def mutated(text: bytes, rng: random.Random) -> bytes:
    """With some bytes changed, cut out, put in or cut off."""
    changed = bytearray(text)
    for _ in range(rng.randint(1, 4)):
        at, kind = rng.randrange(len(changed) + 1), rng.randrange(4)
        if kind == 0:
            changed[at : at + 1] = bytes([rng.randrange(256)])
        elif kind == 1:
            del changed[at : at + rng.randint(1, 9)]
        elif kind == 2:
            changed[at:at] = rng.randbytes(rng.randint(1, 9))
        else:
            del changed[at + rng.randint(0, 30) :]
    return bytes(changed)


def test_damage_is_always_seen() -> None:
    rng = random.Random(1)
    for number in range(4_000):
        message = MESSAGES[number % len(MESSAGES)]
        damaged = mutated(message, rng)
        if damaged != message:
            with pytest.raises(MaskError):
                decode_mask(damaged)


@pytest.mark.slow
def test_a_forged_message_gives_a_whole_map_or_an_error() -> None:
    """Its checksum is right: 10,000 with changes to the head, the deflated data or the chains themselves."""
    rng = random.Random(2)
    outcomes = {"map": 0, "error": 0}
    for number in range(10_000):
        message = MESSAGES[number % len(MESSAGES)]
        if number % 2:
            forged = mutated(message[:12], rng)[:12].ljust(12, b"\0") + message[12:-4]
        else:
            forged = message[:12] + deflated(mutated(inflated(message), rng))
        if number % 3 == 0:
            forged = mutated(forged, rng)
        width, height = struct.unpack("<HH", forged.ljust(8, b"\0")[4:8])
        try:
            assert decode_mask(sealed(forged)).shape == (height, width)
            outcomes["map"] += 1
        except MaskError:
            outcomes["error"] += 1
    assert min(outcomes.values()) > 100


def test_a_bomb_is_not_inflated() -> None:
    zeros = deflated(bytes(50_000_000))
    for kind in (b"EMc1", b"EMp1"):
        with pytest.raises(MaskError, match="do not end where they should"):
            decode_mask(sealed(struct.pack("<4sHHI", kind, 100, 100, 5) + zeros))
    for width, height in ((0, 5), (5, 0), (65535, 65535)):
        with pytest.raises(MaskError, match=f"got {width}x{height}"):
            decode_mask(sealed(struct.pack("<4sHHI", b"EMc1", width, height, 1) + deflated(bytes(5))))


def test_what_is_something_else_is_named() -> None:
    with pytest.raises(MaskError, match="a mask of 3 bytes is cut off"):
        decode_mask(b"EMc")
    with pytest.raises(MaskError, match=r"begins with b'EMc1' or b'EMp1'; found b'\\x89PNG'"):
        decode_mask(sealed(b"\x89PNG" + bytes(40)))
    with pytest.raises(MaskError, match="checksum"):
        decode_mask(MESSAGES[0][:-1] + b"\0")
