from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from videos import picture

from edge.classes import CAMVID, ClassTable, make_table
from edge.frame import Letterbox, Matrix, Yuv420, bgr_from_yuv, yuv_to_bgr_coefficients
from edge.overlay import YuvPainter, _plane_tints, paint_bgr, tint_map

Image = NDArray[np.uint8]
SKY, ROAD, PEDESTRIAN = 0, 3, 9
ALPHA = 0.5


def yuv_of(bgr: Image, matrix: Matrix = "bt601", full_range: bool = False) -> Yuv420:
    """The planes of a picture, converted in floating point."""
    a = yuv_to_bgr_coefficients(matrix, full_range).astype(float)
    y, u, v = np.moveaxis((bgr.astype(float) - a[:, 3]) @ np.linalg.inv(a[:, :3]).T, -1, 0)
    half_wh = ((bgr.shape[1] + 1) // 2, (bgr.shape[0] + 1) // 2)
    u, v = (cv2.resize(plane, half_wh, interpolation=cv2.INTER_AREA) for plane in (u, v))
    y, u, v = (np.rint(plane).clip(0, 255).astype(np.uint8) for plane in (y, u, v))
    return Yuv420(y, u, v, matrix, full_range)


def empty_like(yuv: Yuv420, value: int = 7) -> Yuv420:
    y, u, v = (np.full_like(plane, value) for plane in (yuv.y, yuv.u, yuv.v))
    return Yuv420(y, u, v, yuv.matrix, yuv.full_range)


def painted(source: Yuv420, classes: Image, box: Letterbox, table: ClassTable = CAMVID, alpha: float = ALPHA) -> Yuv420:
    target = empty_like(source)
    size_wh = (source.y.shape[1], source.y.shape[0])
    YuvPainter(size_wh, table, source.matrix, source.full_range, alpha).paint(source, target, classes, box)
    return target


def far_from_borders(classes: Image, box: Letterbox, pixels: int) -> NDArray[np.bool_]:
    """Where all source pixels around are of one class."""
    seen = box.to_source(classes)
    neighbours = np.ones((2 * pixels + 1, 2 * pixels + 1), np.uint8)
    return cv2.dilate(seen, neighbours) == cv2.erode(seen, neighbours)


def blobs(seed: int, size_wh: tuple[int, int]) -> Image:
    """Class ids in regions as nets give them: sky, road and some people."""
    values = np.random.default_rng(seed).random((size_wh[1] // 8 + 2, size_wh[0] // 8 + 2)).astype(np.float32)
    smooth = cv2.resize(values, size_wh, interpolation=cv2.INTER_CUBIC)
    return np.select([smooth < 0.4, smooth < 0.75], [SKY, ROAD], PEDESTRIAN).astype(np.uint8)


# ------------------------------------------------------------------------------------------------------ planes and BGR


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", ["bt601", "bt709"])
def test_painting_the_planes_gives_the_picture_that_painting_bgr_gives(matrix: Matrix, full_range: bool) -> None:
    source = yuv_of(picture(1, (160, 96)), matrix, full_range)
    classes, box = blobs(2, (80, 48)), Letterbox.fit((160, 96), (80, 48))
    by_planes = bgr_from_yuv(painted(source, classes, box))
    by_bgr = paint_bgr(bgr_from_yuv(source), classes, box, CAMVID, ALPHA)
    inner = far_from_borders(classes, box, 4)
    assert 0.2 < inner.mean() < 1
    assert np.abs(by_planes.astype(int) - by_bgr)[inner].max() <= 3


def test_a_tint_is_blended_as_strong_as_it_says() -> None:
    table = make_table([("Sky", (0, 0, 0)), ("Lane", (9, 9, 9))], {"road": ["Lane"]}, {"road": (200, 100, 50)}, 255)
    image, classes = np.full((8, 8, 3), 100, np.uint8), np.ones((4, 4), np.uint8)
    box = Letterbox.fit((8, 8), (4, 4))
    assert paint_bgr(image, classes, box, table, 0.25)[3, 3].tolist() == [88, 100, 125]
    planes = painted(yuv_of(image), classes, box, table, 0.25)
    assert bgr_from_yuv(planes)[3, 3] == pytest.approx([88, 100, 125], abs=2)


def test_the_source_is_not_painted_into() -> None:
    image = picture(1)
    before, classes = image.copy(), np.full((12, 16), ROAD, np.uint8)
    box = Letterbox.fit((64, 48), (16, 12))
    result = paint_bgr(image, classes, box, CAMVID)
    assert np.array_equal(image, before)
    assert result is not image


# -------------------------------------------------------------------------------------------------------------- places


@pytest.mark.parametrize("source_wh", [(64, 48), (61, 47), (33, 80), (7, 5), (1, 1), (2, 1), (1, 2)])
def test_pixels_without_a_tint_keep_their_bytes(source_wh: tuple[int, int]) -> None:
    source = yuv_of(picture(3, source_wh))
    box = Letterbox.fit(source_wh, (32, 24))
    classes = np.full((24, 32), SKY, np.uint8)
    target = painted(source, classes, box)
    for plane, was in zip((target.y, target.u, target.v), (source.y, source.u, source.v), strict=True):
        assert np.array_equal(plane, was)
    assert np.array_equal(paint_bgr(picture(3, source_wh), classes, box, CAMVID), picture(3, source_wh))


@pytest.mark.parametrize("source_wh", [(64, 48), (61, 47), (33, 80), (7, 5), (1, 1), (2, 1), (1, 2)])
def test_a_whole_frame_of_road_tints_every_pixel_of_every_plane(source_wh: tuple[int, int]) -> None:
    black = yuv_of(np.zeros((source_wh[1], source_wh[0], 3), np.uint8))
    target = painted(black, np.full((24, 32), ROAD, np.uint8), Letterbox.fit(source_wh, (32, 24)))
    for plane, was in zip((target.y, target.u, target.v), (black.y, black.u, black.v), strict=True):
        assert np.all(plane != was)
        assert len(np.unique(plane)) == 1


@pytest.mark.parametrize("source_wh", [(128, 96), (100, 50), (50, 100), (91, 37), (20, 15), (16, 64)])
@pytest.mark.parametrize("policy", ["letterbox", "stretch"])
def test_tints_lie_where_the_class_map_has_them(source_wh: tuple[int, int], policy: str) -> None:
    box = Letterbox.fit(source_wh, (32, 24), policy)  # type: ignore[arg-type]
    classes = blobs(5, (32, 24))
    black = yuv_of(np.zeros((source_wh[1], source_wh[0], 3), np.uint8))
    by_planes = np.asarray(painted(black, classes, box).y != black.y[0, 0])
    by_bgr = paint_bgr(np.zeros((*black.y.shape, 3), np.uint8), classes, box, CAMVID).max(-1) > 0
    wanted = CAMVID.membership("road")[box.to_source(classes)] | CAMVID.membership("pedestrian")[box.to_source(classes)]
    # A smoothed border lies within a cell of the cells' own.
    cell = max(source_wh[0] / box.content_xywh[2], source_wh[1] / box.content_xywh[3])
    inner = far_from_borders(classes, box, int(np.ceil(cell)))
    assert inner.any()
    assert np.array_equal(by_planes[inner], wanted[inner].astype(bool))
    assert np.array_equal(by_bgr[inner], wanted[inner].astype(bool))
    around = np.ones((5, 5), np.uint8)  # of planes, a border goes in steps of two pixels
    sure = cv2.dilate(by_bgr.view(np.uint8), around) == cv2.erode(by_bgr.view(np.uint8), around)
    assert np.array_equal(by_planes[sure], by_bgr[sure])


def test_what_the_bars_hold_is_not_painted() -> None:
    box = Letterbox.fit((64, 32), (32, 32))
    classes = np.full((32, 32), ROAD, np.uint8)
    box.content(classes)[:] = SKY
    assert not paint_bgr(np.zeros((32, 64, 3), np.uint8), classes, box, CAMVID).any()


def test_the_pedestrian_is_on_top_where_two_tints_meet() -> None:
    classes = np.full((12, 16), ROAD, np.uint8)
    classes[4:8, 6:10] = PEDESTRIAN
    image = paint_bgr(np.zeros((48, 64, 3), np.uint8), classes, Letterbox.fit((64, 48), (16, 12)), CAMVID, 1.0)
    road, pedestrian = (list(CAMVID.tints[name][::-1]) for name in ("road", "pedestrian"))
    assert image[24, 32].tolist() == pedestrian
    assert image[4, 4].tolist() == road
    assert {tuple(pixel) for pixel in image.reshape(-1, 3)} == {tuple(road), tuple(pedestrian)}


def test_the_later_of_two_tints_wins_on_a_class_that_both_hold() -> None:
    table = make_table(
        [("Lane", (1, 1, 1))], {"road": ["Lane"], "all": ["Lane"]}, {"road": (9, 8, 7), "all": (60, 50, 40)}, 255
    )
    image = paint_bgr(
        np.zeros((4, 4, 3), np.uint8), np.zeros((2, 2), np.uint8), Letterbox.fit((4, 4), (2, 2)), table, 1
    )
    assert np.array_equal(image, np.full((4, 4, 3), [40, 50, 60]))


def test_a_table_without_tints_paints_nothing() -> None:
    table = make_table([("Lane", (1, 1, 1))], {"road": ["Lane"]}, {}, 255)
    source = yuv_of(picture(2))
    target = painted(source, np.zeros((12, 16), np.uint8), Letterbox.fit((64, 48), (16, 12)), table)
    assert np.array_equal(target.y, source.y)


def test_a_tint_map_has_a_rank_one_cell_around_its_cover() -> None:
    classes = np.full((5, 5), SKY, np.uint8)
    classes[2, 2] = PEDESTRIAN
    tints = tint_map(classes, Letterbox.fit((5, 5), (5, 5)), CAMVID)
    assert tints.cover.tolist() == [[255 if (row, column) == (2, 2) else 0 for column in range(5)] for row in range(5)]
    assert (tints.rank == 2).sum() == 9


# ---------------------------------------------------------------------------------------------- rows painted in a part


def painted_whole(source: Yuv420, classes: Image, box: Letterbox) -> Yuv420:
    """What YuvPainter paints, worked out on whole planes."""
    tints, target = tint_map(classes, box, CAMVID), empty_like(source)
    coarse = all(cells <= pixels for cells, pixels in zip(tints.cover.shape, source.u.shape, strict=True))
    size_wh = (source.u if coarse else source.y).shape[::-1]
    cover = cv2.resize(tints.cover, size_wh, interpolation=cv2.INTER_LINEAR) > 127
    rank = cv2.resize(tints.rank, size_wh, interpolation=cv2.INTER_NEAREST)
    values = _plane_tints(CAMVID, source.matrix, source.full_range).view(np.uint8).reshape(256, 4)
    for channel, (plane, out) in enumerate(((source.y, target.y), (source.u, target.u), (source.v, target.v))):
        covered, colour = cover, values[rank, channel]
        if coarse and channel == 0:
            covered, colour = (
                np.kron(x, np.ones((2, 2), x.dtype))[: len(plane), : plane.shape[1]] for x in (cover, colour)
            )
        if not coarse and channel > 0:
            covered, colour = cover[::2, ::2], colour[::2, ::2]
        out[:] = np.where(covered, cv2.addWeighted(plane, 1 - ALPHA, colour.copy(), ALPHA, 0), plane)
    return target


@pytest.mark.slow
@settings(max_examples=200)
@given(
    source_wh=st.tuples(st.integers(2, 120), st.integers(2, 120)),
    cells_wh=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    corners=st.tuples(*[st.floats(0, 1)] * 4),
)
def test_a_region_is_painted_without_a_seam_wherever_it_lies(
    source_wh: tuple[int, int], cells_wh: tuple[int, int], corners: tuple[float, float, float, float]
) -> None:
    width, height = cells_wh
    left, right = sorted(round(corner * (width - 1)) for corner in corners[:2])
    top, bottom = sorted(round(corner * (height - 1)) for corner in corners[2:])
    classes = np.full((height, width), SKY, np.uint8)
    classes[top : bottom + 1, left : right + 1] = PEDESTRIAN
    source = yuv_of(picture(1, source_wh))
    box = Letterbox.fit(source_wh, cells_wh, "stretch")
    part, whole = painted(source, classes, box), painted_whole(source, classes, box)
    assert np.array_equal(part.y, whole.y)
    assert np.array_equal(part.u, whole.u)
    assert np.array_equal(part.v, whole.v)


@pytest.mark.parametrize("row", [0, 1, 23, 47])
def test_a_single_row_of_cells_is_painted_in_all_its_height(row: int) -> None:
    classes = np.full((48, 64), SKY, np.uint8)
    classes[row] = ROAD
    black = yuv_of(np.zeros((192, 256, 3), np.uint8))
    tinted = painted(black, classes, Letterbox.fit((256, 192), (64, 48))).y[:, 100] != black.y[0, 0]
    assert np.flatnonzero(tinted).tolist() == list(range(4 * row, 4 * row + 4))


def test_a_single_cell_is_painted() -> None:
    classes = np.full((48, 64), SKY, np.uint8)
    classes[20, 30] = PEDESTRIAN
    target = painted(yuv_of(np.zeros((192, 256, 3), np.uint8)), classes, Letterbox.fit((256, 192), (64, 48)))
    rows, columns = np.nonzero(target.y != target.y[0, 0])
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (80, 83, 120, 123)


def test_a_frame_leaves_nothing_of_the_frame_before() -> None:
    box, sky = Letterbox.fit((64, 48), (16, 12)), np.full((12, 16), SKY, np.uint8)
    first, second = yuv_of(picture(1)), yuv_of(picture(9))
    painter, target = YuvPainter((64, 48), CAMVID, "bt601", False, ALPHA), empty_like(first)
    painter.paint(first, target, np.full((12, 16), ROAD, np.uint8), box)
    painter.paint(second, target, sky, box)
    assert np.array_equal(target.y, second.y)
    assert np.array_equal(target.u, second.u)
    assert np.array_equal(target.v, second.v)
