"""Class maps as indexed PNG, held against Pillow, which is another's reader and writer."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from edge.classes import CAMVID
from edge.errors import DataError
from edge.indexed_png import decode_ids, encode_indexed

PIL_Image = pytest.importorskip("PIL.Image")
COLOURS = [(number, 255 - number, number // 2) for number in range(256)]
maps = arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=40))


def by_pillow(ids: np.ndarray, **options: object) -> bytes:
    """An indexed PNG as others write it."""
    image = PIL_Image.fromarray(ids, "L")
    image.putpalette([part for colour in COLOURS for part in colour])
    file = io.BytesIO()
    image.save(file, "png", **options)
    return file.getvalue()


@given(maps)
def test_ids_come_back(ids: np.ndarray) -> None:
    assert np.array_equal(decode_ids(encode_indexed(ids, COLOURS)), ids)


@given(maps)
def test_another_reader_finds_the_ids_as_indices_and_the_colours_as_palette(ids: np.ndarray) -> None:
    image = PIL_Image.open(io.BytesIO(encode_indexed(ids, COLOURS)))
    assert image.mode == "P"
    assert np.array_equal(np.asarray(image), ids)
    assert np.array_equal(np.asarray(image.convert("RGB")), np.array(COLOURS)[ids])


@given(maps, st.sampled_from([1, 2, 4, 8]))
def test_indexed_files_of_any_depth_are_read(ids: np.ndarray, bits: int) -> None:
    ids = ids & np.uint8(2**bits - 1)
    assert np.array_equal(decode_ids(by_pillow(ids, bits=bits, optimize=False)), ids)


@given(maps)
def test_grey_files_are_read(ids: np.ndarray) -> None:
    assert np.array_equal(decode_ids(cv2.imencode(".png", ids)[1].tobytes()), ids)


@given(maps, st.sampled_from([2, 4]))
def test_ids_of_grey_files_of_few_bits_are_not_stretched(ids: np.ndarray, bits: int) -> None:
    ids = ids & np.uint8(2**bits - 1)
    indexed = by_pillow(ids, bits=bits, optimize=False)
    start = indexed.index(b"IHDR")
    head = indexed[start : start + 13] + b"\0" + indexed[start + 14 : start + 17]
    palette = indexed.index(b"PLTE") - 4
    (length,) = struct.unpack_from(">I", indexed, palette)
    rest = indexed[palette + 12 + length :]
    assert np.array_equal(decode_ids(indexed[:start] + head + struct.pack(">I", zlib.crc32(head)) + rest), ids)


def test_a_file_that_is_no_png_holds_no_ids() -> None:
    jpeg = cv2.imencode(".jpg", np.zeros((8, 8), np.uint8))[1].tobytes()
    with pytest.raises(DataError, match="got no PNG"):
        decode_ids(jpeg)


def test_a_view_is_encoded_as_what_it_shows() -> None:
    ids = np.arange(48, dtype=np.uint8).reshape(6, 8)[::2, 1:7]
    assert np.array_equal(decode_ids(encode_indexed(ids, COLOURS)), ids)


def test_a_map_of_a_street_is_small() -> None:
    ids = np.zeros((360, 480), np.uint8)
    for number in range(1, 11):
        cv2.circle(ids, (45 * number, 180), 60, number, -1)
    assert len(encode_indexed(ids, CAMVID.colours_rgb)) < 4000


@pytest.mark.parametrize(
    ("ids", "complaint"),
    [
        (np.zeros((2, 2), np.int64), "expected class ids as uint8 .h, w., got int64"),
        (np.zeros((2, 2, 3), np.uint8), "got uint8 .2, 2, 3."),
        (np.zeros((0, 4), np.uint8), "got uint8 .0, 4."),
        (np.full((2, 2), 11, np.uint8), "expected class ids below 11, got 11"),
    ],
)
def test_what_is_no_class_map_is_refused(ids: np.ndarray, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        encode_indexed(ids, CAMVID.colours_rgb)


def colour_png() -> bytes:
    return cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1].tobytes()


def deep_png() -> bytes:
    return cv2.imencode(".png", np.zeros((4, 4), np.uint16))[1].tobytes()


@pytest.mark.parametrize("data", [b"", b"text", b"\x89PNG\r\n\x1a\n", colour_png(), deep_png()])
def test_what_holds_no_class_map_is_refused(data: bytes) -> None:
    with pytest.raises(DataError, match="expected an indexed or 8-bit grey PNG"):
        decode_ids(data)


@given(st.data())
def test_a_damaged_file_is_refused_or_the_same(data: st.DataObject) -> None:
    ids = np.arange(64, dtype=np.uint8).reshape(8, 8)
    png = bytearray(encode_indexed(ids, COLOURS))
    png[data.draw(st.integers(0, len(png) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found = decode_ids(bytes(png))
    except DataError:
        return
    assert np.array_equal(found, ids)


def test_a_file_cut_off_is_refused(tmp_path: Path) -> None:
    png = encode_indexed(np.arange(64, dtype=np.uint8).reshape(8, 8), COLOURS)
    for length in range(len(png) - 12):  # without its last chunk, which holds nothing, a file may be taken for whole
        with pytest.raises(DataError):
            decode_ids(png[:length])
