from __future__ import annotations

import av
import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from videos import picture

from edge.errors import ConfigError
from edge.frame import Frame, Letterbox, Matrix, Yuv420, bgr_from_yuv, yuv_to_bgr_coefficients

SIZES_WH = st.tuples(st.integers(1, 300), st.integers(1, 300))

AVCOL_SPC = {"bt601": 6, "bt709": 1}


# ------------------------------------------------------------------------------------------------------------- a frame


def test_a_frame_holds_one_picture_and_not_two_or_none() -> None:
    image = np.zeros((2, 4, 3), np.uint8)
    plane = np.zeros((2, 4), np.uint8)
    with pytest.raises(ConfigError, match="either a BGR image or YUV planes"):
        Frame(index=0, captured_ns=1, source="x")
    with pytest.raises(ConfigError, match="either a BGR image or YUV planes"):
        Frame(index=0, captured_ns=1, source="x", bgr=image, yuv=Yuv420(plane, plane, plane))


def test_a_frame_of_planes_converts_them_once_and_keeps_the_picture() -> None:
    y = np.full((4, 6), 100, np.uint8)
    chroma = np.full((2, 3), 128, np.uint8)
    frame = Frame(index=3, captured_ns=5, source="x", yuv=Yuv420(y, chroma, chroma, full_range=True))
    assert frame.size_wh == (6, 4)
    assert frame.image.shape == (4, 6, 3)
    assert np.array_equal(frame.image, np.full((4, 6, 3), 100))
    assert frame.image is frame.image


# ------------------------------------------------------------------------------------------------------- the letterbox


@given(source_wh=SIZES_WH, input_wh=SIZES_WH, policy=st.sampled_from(["letterbox", "stretch"]))
def test_the_picture_lies_inside_the_input(source_wh: tuple[int, int], input_wh: tuple[int, int], policy: str) -> None:
    x, y, width, height = Letterbox.fit(source_wh, input_wh, policy).content_xywh  # type: ignore[arg-type]
    assert x >= 0
    assert y >= 0
    assert width >= 1
    assert height >= 1
    assert x + width <= input_wh[0]
    assert y + height <= input_wh[1]


@given(source_wh=SIZES_WH, input_wh=SIZES_WH)
def test_a_letterboxed_picture_fills_one_direction_keeps_its_shape_and_is_centred(
    source_wh: tuple[int, int], input_wh: tuple[int, int]
) -> None:
    x, y, width, height = Letterbox.fit(source_wh, input_wh).content_xywh
    assert width == input_wh[0] or height == input_wh[1]
    scale = min(input_wh[0] / source_wh[0], input_wh[1] / source_wh[1])
    assert abs(width - max(1, source_wh[0] * scale)) <= 0.5 + 1e-9
    assert abs(height - max(1, source_wh[1] * scale)) <= 0.5 + 1e-9
    assert 0 <= (input_wh[0] - width - x) - x <= 1
    assert 0 <= (input_wh[1] - height - y) - y <= 1


def test_a_wide_picture_gets_bars_above_and_below() -> None:
    assert Letterbox.fit((1280, 720), (512, 512)).content_xywh == (0, 112, 512, 288)


def test_an_image_of_wide_pixels_is_placed_by_the_shape_in_which_it_is_shown() -> None:
    """PAL's 720x576 for 16:9, 960H, and pixels higher than wide."""
    assert Letterbox.fit((720, 576), (480, 360), pixel_aspect=64 / 45).content_xywh == (0, 45, 480, 270)
    assert Letterbox.fit((960, 576), (480, 360), pixel_aspect=4 / 5).content_xywh == (0, 0, 480, 360)
    assert Letterbox.fit((480, 360), (480, 360), pixel_aspect=0.5).content_xywh == (120, 0, 240, 360)
    assert not Letterbox.fit((480, 360), (480, 360), pixel_aspect=0.5).is_identity


@given(st.sampled_from([(720, 576), (1440, 1080), (352, 288)]), st.floats(0.2, 5))
def test_a_map_of_an_image_of_wide_pixels_comes_back_in_its_own_pixels(
    source_wh: tuple[int, int], aspect: float
) -> None:
    box = Letterbox.fit(source_wh, (48, 36), pixel_aspect=aspect)
    classes = np.full((36, 48), 7, np.uint8)
    box.content(classes)[:] = 1
    assert (box.to_source(classes) == 1).all()
    assert box.to_source(classes).shape == source_wh[::-1]


def test_a_stretched_picture_fills_the_input() -> None:
    assert Letterbox.fit((1280, 720), (512, 384), "stretch").content_xywh == (0, 0, 512, 384)


def test_only_equal_sizes_are_the_identity() -> None:
    assert Letterbox.fit((64, 48), (64, 48)).is_identity
    assert not Letterbox.fit((128, 96), (64, 48)).is_identity


def test_a_picture_without_pixels_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"\(0, 720\)"):
        Letterbox.fit((0, 720), (64, 48))


def test_a_map_of_equal_size_comes_back_as_it_is() -> None:
    classes = np.arange(12, dtype=np.uint8).reshape(3, 4)
    back = Letterbox.fit((4, 3), (4, 3)).to_source(classes)
    assert np.array_equal(back, classes)
    assert back.flags.c_contiguous


def test_the_bars_never_reach_the_source() -> None:
    classes = np.full((8, 8), 99, np.uint8)
    classes[2:6] = [[1, 2, 3, 4, 5, 6, 7, 8]] * 4
    back = Letterbox.fit((16, 8), (8, 8)).to_source(classes)
    assert np.array_equal(back, np.repeat([[1, 2, 3, 4, 5, 6, 7, 8]], 2, axis=1).repeat(8, axis=0))


@given(source_wh=SIZES_WH, input_wh=st.tuples(st.integers(1, 90), st.integers(1, 90)))
@example(source_wh=(1920, 1080), input_wh=(768, 384))
@example(source_wh=(3840, 2160), input_wh=(1024, 512))
@example(source_wh=(5, 7), input_wh=(90, 60))
def test_each_source_pixel_takes_the_cell_that_its_centre_lies_in(
    source_wh: tuple[int, int], input_wh: tuple[int, int]
) -> None:
    box = Letterbox.fit(source_wh, input_wh)
    x, y, width, height = box.content_xywh
    across = np.zeros((input_wh[1], input_wh[0]), np.uint8)
    across[:] = np.arange(input_wh[0]) % 251
    down = np.zeros_like(across)
    down[:] = (np.arange(input_wh[1]) % 251)[:, None]
    _check_nearest(box.to_source(across)[0], source_wh[0], x, width)
    _check_nearest(box.to_source(down)[:, 0], source_wh[1], y, height)


def _check_nearest(found: np.ndarray, length: int, start: int, cells: int) -> None:
    """OpenCV counts in 1/65536 of a cell per pixel, so that a centre this near to a border may fall on either side."""
    tolerance = (length + 2) / 65536
    centres = (np.arange(length) + 0.5) * cells / length
    low = np.clip(np.floor(centres - tolerance), 0, cells - 1).astype(int) + start
    high = np.clip(np.floor(centres + tolerance), 0, cells - 1).astype(int) + start
    assert np.all((found == low % 251) | (found == high % 251))


# ------------------------------------------------------------------------------------------------------------- colours


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", ["bt601", "bt709"])
def test_white_black_and_the_primaries_have_the_codes_of_the_standards(matrix: Matrix, full_range: bool) -> None:
    a = yuv_to_bgr_coefficients(matrix, full_range)
    # 8-bit codes of 75 % limited-range red and blue: BT.601 and BT.709, 219 * luma + 16 and 224 * chroma + 128.
    red = {"bt601": (65.481 + 16, 128 - 37.797, 240), "bt709": (46.559 + 16, 128 - 25.664, 240)}[matrix]
    if full_range:
        red = ((red[0] - 16) * 255 / 219, *((value - 128) * 255 / 224 + 128 for value in red[1:]))
    black, white = ((0, 128, 128), (255, 128, 128)) if full_range else ((16, 128, 128), (235, 128, 128))
    for yuv, bgr in ((black, (0, 0, 0)), (white, (255, 255, 255)), (red, (0, 0, 255))):
        assert a @ [*yuv, 1] == pytest.approx(bgr, abs=0.6)


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", ["bt601", "bt709"])
def test_planes_become_the_picture_that_libswscale_makes_of_them(matrix: Matrix, full_range: bool) -> None:
    frame = av.VideoFrame.from_ndarray(picture(4, (96, 64)), format="bgr24").reformat(
        format="yuv420p", dst_colorspace=AVCOL_SPC[matrix], dst_color_range=2 if full_range else 1
    )
    y, u, v = (_padded(plane) for plane in frame.planes)
    wanted = frame.to_ndarray(
        format="bgr24", src_colorspace=AVCOL_SPC[matrix], src_color_range=2 if full_range else 1, dst_color_range=2
    )
    found = bgr_from_yuv(Yuv420(y, u, v, matrix, full_range))
    assert np.abs(found.astype(int) - wanted).max() <= 4
    assert np.abs(found.astype(int) - picture(4, (96, 64))).mean() <= 2


def test_the_other_matrix_or_range_gives_other_colours() -> None:
    y, chroma = np.full((2, 2), 120, np.uint8), np.full((1, 1), 180, np.uint8)
    pictures = {
        tuple(bgr_from_yuv(Yuv420(y, chroma, chroma, matrix, full_range))[0, 0])
        for matrix in ("bt601", "bt709")
        for full_range in (False, True)
    }
    assert len(pictures) == 4


def test_padding_at_the_end_of_the_rows_is_not_looked_at() -> None:
    y = np.arange(48, dtype=np.uint8).reshape(6, 8)
    u, v = y[:3, :4] + 100, y[:3, :4] + 60
    wide = [np.pad(plane, ((0, 2), (0, 7)), constant_values=255) for plane in (y, u, v)]
    padded = Yuv420(wide[0][:6, :8], wide[1][:3, :4], wide[2][:3, :4])
    assert np.array_equal(bgr_from_yuv(padded), bgr_from_yuv(Yuv420(y, u, v)))


@pytest.mark.parametrize("size_wh", [(1, 1), (5, 3), (2, 7)])
def test_odd_sizes_convert(size_wh: tuple[int, int]) -> None:
    width, height = size_wh
    half = ((height + 1) // 2, (width + 1) // 2)
    y, grey = np.full((height, width), 77, np.uint8), np.full(half, 128, np.uint8)
    assert np.array_equal(bgr_from_yuv(Yuv420(y, grey, grey, full_range=True)), np.full((height, width, 3), 77))


def test_blue_is_the_first_channel() -> None:
    y, u, v = np.full((2, 2), 41, np.uint8), np.full((1, 1), 240, np.uint8), np.full((1, 1), 110, np.uint8)
    assert bgr_from_yuv(Yuv420(y, u, v))[0, 0] == pytest.approx([255, 0, 0], abs=2)  # BT.601 blue, ITU-R BT.601-7
    assert cv2.cvtColor(bgr_from_yuv(Yuv420(y, u, v)), cv2.COLOR_BGR2RGB)[0, 0, 2] > 250


def _padded(plane: av.video.plane.VideoPlane) -> np.ndarray:
    return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
