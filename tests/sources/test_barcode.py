"""The barcode comes back as it was written, through a codec and a tint, or not at all."""

from __future__ import annotations

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge.barcode import barcode_rect_xywh, draw_barcode, read_barcode
from edge.errors import ConfigError

Image = NDArray[np.uint8]

sizes = st.tuples(st.integers(160, 960), st.integers(90, 540)).map(lambda half: (2 * half[0], 2 * half[1]))


def noisy(size_wh: tuple[int, int], level: int = 110, seed: int = 3) -> Image:
    rng = np.random.default_rng(seed)
    grain = rng.integers(-40, 40, (size_wh[1] // 8 + 1, size_wh[0] // 8 + 1, 3)) + level
    return cv2.resize(np.clip(grain, 0, 255).astype(np.uint8), size_wh, interpolation=cv2.INTER_CUBIC)


@settings(max_examples=60, deadline=None)
@given(sizes, st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1), st.integers(0, 255))
def test_any_index_and_time_come_back_at_any_size(
    size_wh: tuple[int, int], index: int, captured_ns: int, level: int
) -> None:
    picture = np.full((size_wh[1], size_wh[0], 3), level, np.uint8)
    draw_barcode(picture, index, captured_ns)
    assert read_barcode(picture) == (index, captured_ns)


@pytest.mark.parametrize("size_wh", [(320, 180), (480, 360), (640, 360), (1280, 720), (1920, 1080)])
def test_the_code_hides_little_and_nothing_outside_its_rectangle(size_wh: tuple[int, int]) -> None:
    before = noisy(size_wh)
    after = before.copy()
    draw_barcode(after, 7, 8)
    x, y, w, h = barcode_rect_xywh(size_wh)
    assert w * h < 0.025 * size_wh[0] * size_wh[1]
    assert min(x, y) >= 0
    assert x + w <= size_wh[0]
    after[y : y + h, x : x + w] = before[y : y + h, x : x + w]
    np.testing.assert_array_equal(after, before)


def through_x264(pictures: list[Image], path: str, crf: int) -> list[Image]:
    with av.open(path, "w") as out:
        stream = out.add_stream("libx264", rate=30, options={"crf": str(crf), "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = pictures[0].shape[1], pictures[0].shape[0], "yuv420p"
        for picture in pictures:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        out.mux(stream.encode())
    with av.open(path) as back:
        return [frame.to_ndarray(format="bgr24") for frame in back.decode(video=0)]


@pytest.mark.parametrize("size_wh", [(640, 360), (1280, 720)])
def test_the_code_survives_x264_at_crf_28_over_a_moving_picture(tmp_path, size_wh: tuple[int, int]) -> None:
    wide = noisy((size_wh[0] + 64, size_wh[1]))
    pictures = [wide[:, 5 * k : 5 * k + size_wh[0]].copy() for k in range(8)]
    for k, picture in enumerate(pictures):
        draw_barcode(picture, 1000 + k, 10**15 + 12345 * k)
    decoded = through_x264(pictures, str(tmp_path / "scene.mp4"), crf=28)
    assert [read_barcode(picture) for picture in decoded] == [(1000 + k, 10**15 + 12345 * k) for k in range(8)]


@pytest.mark.parametrize("tint", [(40, 190, 120), (255, 60, 60), (0, 0, 0)])
def test_the_code_survives_a_tint_and_half_the_size(tint: tuple[int, int, int]) -> None:
    picture = noisy((1280, 720))
    draw_barcode(picture, 2**31, 2**63)
    tinted = cv2.addWeighted(picture, 0.55, np.full_like(picture, tint), 0.45, 0)
    assert read_barcode(tinted) == (2**31, 2**63)
    assert read_barcode(cv2.resize(tinted, (640, 360), interpolation=cv2.INTER_AREA)) == (2**31, 2**63)


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((360, 640, 3), np.uint8),
        np.full((360, 640, 3), 255, np.uint8),
        noisy((640, 360)),
        np.random.default_rng(1).integers(0, 256, (360, 640, 3)).astype(np.uint8),
        np.zeros((20, 20, 3), np.uint8),
    ],
    ids=["black", "white", "smooth noise", "pixel noise", "too small"],
)
def test_a_picture_without_a_code_gives_none(picture: Image) -> None:
    assert read_barcode(picture) is None


@settings(max_examples=60, deadline=None)
@given(st.sets(st.tuples(st.integers(0, 7), st.integers(0, 15)), min_size=1, max_size=6))
def test_flipped_cells_give_none(cells: set[tuple[int, int]]) -> None:
    picture = np.full((720, 1280, 3), 128, np.uint8)
    draw_barcode(picture, 123456, 987654321)
    x, y, _, _ = barcode_rect_xywh((1280, 720))
    for row, column in cells:
        top, left = y + 8 * (row + 2), x + 8 * (column + 2)
        picture[top : top + 8, left : left + 8] = 251 - picture[top : top + 8, left : left + 8]
    assert read_barcode(picture) is None


def test_a_code_half_covered_gives_none() -> None:
    picture = noisy((1280, 720))
    draw_barcode(picture, 5, 6)
    x, y, w, h = barcode_rect_xywh((1280, 720))
    picture[y : y + h, x : x + w // 2] = 90
    assert read_barcode(picture) is None


@pytest.mark.parametrize(("index", "captured_ns"), [(-1, 0), (2**32, 0), (0, -1), (0, 2**64)])
def test_numbers_that_do_not_fit_are_refused(index: int, captured_ns: int) -> None:
    with pytest.raises(ConfigError, match="barcode"):
        draw_barcode(np.zeros((360, 640, 3), np.uint8), index, captured_ns)
