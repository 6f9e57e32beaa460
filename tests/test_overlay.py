from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from videos import picture

from edge.appearance import ALPHA, STYLES, Appearance
from edge.borders import borders_of
from edge.caption import legend_of
from edge.classes import CAMVID, ClassTable, make_table
from edge.errors import ConfigError
from edge.frame import Letterbox, Matrix, Yuv420, bgr_from_yuv, yuv_to_bgr_coefficients
from edge.overlay import YuvPainter, paint_bgr

Image = NDArray[np.uint8]
SKY, ROAD, PEDESTRIAN = 0, 3, 9
PLAIN = Appearance(legend=False)
OPAQUE = Appearance(alpha=1.0, legend=False)


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


def painted(
    source: Yuv420, classes: Image, box: Letterbox, table: ClassTable = CAMVID, look: Appearance = PLAIN
) -> Yuv420:
    target = empty_like(source)
    if look.is_doubled:
        y, u, v = (np.hstack([plane, plane]) for plane in (target.y, target.u, target.v))
        target = Yuv420(y, u, v, source.matrix, source.full_range)
    size_wh = (source.y.shape[1], source.y.shape[0])
    YuvPainter(size_wh, table, source.matrix, source.full_range, look).paint(source, target, classes, box)
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
@pytest.mark.parametrize("style", STYLES)
def test_painting_the_planes_gives_the_picture_that_painting_bgr_gives(
    style: str, matrix: Matrix, full_range: bool
) -> None:
    source, look = yuv_of(picture(1, (160, 96)), matrix, full_range), Appearance(style, legend=False)
    classes, box = blobs(2, (80, 48)), Letterbox.fit((160, 96), (80, 48))
    by_planes = bgr_from_yuv(painted(source, classes, box, look=look))
    by_bgr = paint_bgr(bgr_from_yuv(source), classes, box, CAMVID, look, matrix)
    inner = far_from_borders(classes, box, 5)
    if look.is_doubled:
        inner = np.hstack([inner, inner])
        inner[:, 158:162] = False  # where the colours of the halves run into each other
    assert by_planes.shape == by_bgr.shape
    assert 0.1 < inner.mean() < 1
    assert np.abs(by_planes.astype(int) - by_bgr)[inner].max() <= 4


def test_a_tint_covers_colour_as_strong_as_it_says_and_brightness_less() -> None:
    table = make_table([("Sky", (0, 0, 0)), ("Lane", (9, 9, 9))], {"road": ["Lane"]}, {"road": (200, 100, 50)}, 255)
    image, classes = np.full((8, 8, 3), 100, np.uint8), np.ones((4, 4), np.uint8)
    box = Letterbox.fit((8, 8), (4, 4))
    luma, strength = 0.299 * 200 + 0.587 * 100 + 0.114 * 50, 0.25
    expected = [
        100 + strength * (colour - luma) + strength**2 * (luma - 100) for colour in (50, 100, 200)
    ]  # blue, green, red
    look = Appearance(alpha=strength, legend=False)
    assert paint_bgr(image, classes, box, table, look)[3, 3] == pytest.approx(expected, abs=1)
    assert bgr_from_yuv(painted(yuv_of(image), classes, box, table, look))[3, 3] == pytest.approx(expected, abs=2)


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_the_ends_of_alpha_are_the_image_and_the_colour(alpha: float) -> None:
    image, classes, look = picture(1), np.full((12, 16), ROAD, np.uint8), Appearance(alpha=alpha, legend=False)
    box, road = Letterbox.fit((64, 48), (16, 12)), np.array(CAMVID.tints["road"][::-1])
    found = paint_bgr(image, classes, box, CAMVID, look).astype(int)
    assert np.abs(found - (road if alpha else image)).max() <= 1
    source = yuv_of(image)
    planes = bgr_from_yuv(painted(source, classes, box, look=look)).astype(int)
    assert np.abs(planes - (road if alpha else bgr_from_yuv(source))).max() <= 2


def test_a_lane_marking_stands_out_more_than_a_blend_of_that_strength_leaves_it() -> None:
    image = np.full((48, 64, 3), 90, np.uint8)
    image[:, 30:34] = 230
    found = paint_bgr(image, np.full((12, 16), ROAD, np.uint8), Letterbox.fit((64, 48), (16, 12)), CAMVID, PLAIN)
    grey = cv2.cvtColor(found, cv2.COLOR_BGR2GRAY).astype(int)
    assert grey[24, 32] - grey[24, 10] > 0.75 * (230 - 90) > (1 - ALPHA) * (230 - 90)


def test_the_source_is_not_painted_into() -> None:
    image = picture(1)
    before, classes = image.copy(), np.full((12, 16), ROAD, np.uint8)
    box = Letterbox.fit((64, 48), (16, 12))
    result = paint_bgr(image, classes, box, CAMVID, PLAIN)
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
    assert np.array_equal(paint_bgr(picture(3, source_wh), classes, box, CAMVID, PLAIN), picture(3, source_wh))


@pytest.mark.parametrize("source_wh", [(64, 48), (61, 47), (33, 80), (7, 5), (1, 1), (2, 1), (1, 2)])
def test_a_whole_frame_of_road_tints_every_pixel_of_every_plane(source_wh: tuple[int, int]) -> None:
    black = yuv_of(np.zeros((source_wh[1], source_wh[0], 3), np.uint8))
    target = painted(black, np.full((24, 32), ROAD, np.uint8), Letterbox.fit(source_wh, (32, 24)))
    for plane, was in zip((target.y, target.u, target.v), (black.y, black.u, black.v), strict=True):
        assert np.all(plane != was)
        assert len(np.unique(plane)) == 1


@pytest.mark.parametrize("source_wh", [(128, 96), (100, 50), (50, 100), (91, 37), (40, 30), (32, 128)])
@pytest.mark.parametrize("policy", ["letterbox", "stretch"])
def test_tints_lie_where_the_class_map_has_them(source_wh: tuple[int, int], policy: str) -> None:
    box = Letterbox.fit(source_wh, (32, 24), policy)  # type: ignore[arg-type]
    classes = blobs(5, (32, 24))
    black = yuv_of(np.zeros((source_wh[1], source_wh[0], 3), np.uint8))
    by_planes = np.asarray(painted(black, classes, box, look=OPAQUE).y != black.y[0, 0])
    by_bgr = paint_bgr(np.zeros((*black.y.shape, 3), np.uint8), classes, box, CAMVID, OPAQUE).max(-1) > 0
    wanted = CAMVID.membership("road")[box.to_source(classes)] | CAMVID.membership("pedestrian")[box.to_source(classes)]
    # A smoothed border lies within a cell of the cells' own.
    cell = max(source_wh[0] / box.content_xywh[2], source_wh[1] / box.content_xywh[3])
    inner = far_from_borders(classes, box, int(np.ceil(cell)) + 2)  # a line is two pixels wide
    assert inner.any()
    assert np.array_equal(by_planes[inner], wanted[inner].astype(bool))
    assert np.array_equal(by_bgr[inner], wanted[inner].astype(bool))
    assert (by_planes != by_bgr).mean() < 0.02  # what rounding makes of soft edges


def test_what_the_bars_hold_is_not_painted() -> None:
    box = Letterbox.fit((64, 32), (32, 32))
    classes = np.full((32, 32), ROAD, np.uint8)
    box.content(classes)[:] = SKY
    assert not paint_bgr(np.zeros((32, 64, 3), np.uint8), classes, box, CAMVID, PLAIN).any()


def test_the_pedestrian_is_on_top_where_two_tints_meet() -> None:
    classes = np.full((12, 16), ROAD, np.uint8)
    classes[4:8, 6:10] = PEDESTRIAN
    image = paint_bgr(np.zeros((48, 64, 3), np.uint8), classes, Letterbox.fit((64, 48), (16, 12)), CAMVID, OPAQUE)
    road, pedestrian = (list(CAMVID.tints[name][::-1]) for name in ("road", "pedestrian"))
    assert image[24, 32].tolist() == pedestrian
    assert image[4, 4].tolist() == road
    far = far_from_borders(classes, Letterbox.fit((64, 48), (16, 12)), 3)
    assert {tuple(pixel) for pixel in image[far]} == {tuple(road), tuple(pedestrian)}


def test_the_later_of_two_tints_wins_on_a_class_that_both_hold() -> None:
    table = make_table(
        [("Lane", (1, 1, 1))], {"road": ["Lane"], "all": ["Lane"]}, {"road": (9, 8, 7), "all": (60, 50, 40)}, 255
    )
    image = paint_bgr(
        np.zeros((4, 4, 3), np.uint8), np.zeros((2, 2), np.uint8), Letterbox.fit((4, 4), (2, 2)), table, OPAQUE
    )
    assert np.array_equal(image, np.full((4, 4, 3), [40, 50, 60]))


def test_a_table_without_tints_paints_nothing() -> None:
    table = make_table([("Lane", (1, 1, 1))], {"road": ["Lane"]}, {}, 255)
    source = yuv_of(picture(2))
    target = painted(source, np.zeros((12, 16), np.uint8), Letterbox.fit((64, 48), (16, 12)), table)
    assert np.array_equal(target.y, source.y)


# ------------------------------------------------------------------------------------------------------------- borders


@pytest.mark.parametrize("row", [0, 1, 23, 47])
def test_a_single_row_of_cells_is_painted_in_all_its_height(row: int) -> None:
    classes = np.full((48, 64), SKY, np.uint8)
    classes[row] = ROAD
    black = yuv_of(np.zeros((192, 256, 3), np.uint8))
    found = painted(black, classes, Letterbox.fit((256, 192), (64, 48)), look=OPAQUE).y[:, 100]
    tinted = np.flatnonzero(found > 70).tolist()
    assert set(range(4 * row, 4 * row + 4)) <= set(tinted) <= set(range(4 * row - 1, 4 * row + 5))


def test_a_single_cell_is_painted() -> None:
    classes = np.full((48, 64), SKY, np.uint8)
    classes[20, 30] = PEDESTRIAN
    box = Letterbox.fit((256, 192), (64, 48))
    target = painted(yuv_of(np.zeros((192, 256, 3), np.uint8)), classes, box, look=OPAQUE)
    rows, columns = np.nonzero(target.y > 70)
    assert (rows.min(), columns.min()) >= (79, 119)
    assert (rows.max(), columns.max()) <= (84, 124)
    assert len(rows) >= 16


def test_a_diagonal_border_has_no_steps() -> None:
    """Steps of the cells, ten pixels wide, would make the border's distance from the line vary by 3.5 pixels."""
    rows, columns = np.mgrid[:48, :64]
    classes = np.where(columns > rows, ROAD, SKY).astype(np.uint8)
    black = np.zeros((480, 640, 3), np.uint8)
    found = paint_bgr(black, classes, Letterbox.fit((640, 480), (64, 48)), CAMVID, Appearance("mask", legend=False))
    first = (found > 60).any(-1).argmax(axis=1)[60:420]
    strays = (first - np.arange(60, 420)) / np.sqrt(2)
    assert strays.max() - strays.min() < 1.5


def test_a_hole_stays_open() -> None:
    classes = np.full((48, 64), ROAD, np.uint8)
    classes[10:30, 20:40] = SKY
    image = np.zeros((192, 256, 3), np.uint8)
    found = paint_bgr(image, classes, Letterbox.fit((256, 192), (64, 48)), CAMVID, OPAQUE)
    assert not found[60:100, 100:140].any()
    assert found[:30].any(-1).all()


@pytest.mark.parametrize("style", ["tint", "outline"])
def test_no_line_is_drawn_along_the_edge_of_the_image(style: str) -> None:
    image, classes = np.zeros((96, 128, 3), np.uint8), np.full((48, 64), ROAD, np.uint8)
    found = paint_bgr(image, classes, Letterbox.fit((128, 96), (64, 48)), CAMVID, Appearance(style, legend=False))
    assert (found == found[48, 64]).all()


def test_a_border_is_drawn_around_a_region() -> None:
    classes = np.full((48, 64), SKY, np.uint8)
    classes[12:36, 16:48] = ROAD
    found = paint_bgr(
        np.zeros((192, 256, 3), np.uint8), classes, Letterbox.fit((256, 192), (64, 48)), CAMVID, PLAIN
    ).max(-1)
    assert found[96, 60:68].max() > 1.5 * found[96, 128] > 0


def test_a_map_without_regions_has_no_borders() -> None:
    assert borders_of(np.zeros((5, 5), np.uint8), 4) is None


@pytest.mark.slow
@pytest.mark.parametrize("size_wh", [(64, 48), (80, 60), (7, 5), (1, 1), (2, 9), (400, 300)])
@pytest.mark.parametrize("seed", range(6))
def test_noise_of_any_size_is_painted(size_wh: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    classes = rng.choice(np.array([SKY, ROAD, PEDESTRIAN], np.uint8), (48, 64), p=(0.7, 0.2, 0.1))
    source, box = yuv_of(picture(seed, size_wh)), Letterbox.fit(size_wh, (64, 48), "stretch")
    assert painted(source, classes, box).y.shape == size_wh[::-1]
    assert paint_bgr(picture(seed, size_wh), classes, box, CAMVID).shape == (*size_wh[::-1], 3)


def test_a_frame_leaves_nothing_of_the_frame_before() -> None:
    box, sky = Letterbox.fit((64, 48), (16, 12)), np.full((12, 16), SKY, np.uint8)
    first, second = yuv_of(picture(1)), yuv_of(picture(9))
    painter, target = YuvPainter((64, 48), CAMVID, "bt601", False, PLAIN), empty_like(first)
    painter.paint(first, target, np.full((12, 16), ROAD, np.uint8), box)
    painter.paint(second, target, sky, box)
    assert np.array_equal(target.y, second.y)
    assert np.array_equal(target.u, second.u)
    assert np.array_equal(target.v, second.v)


# -------------------------------------------------------------------------------------------------------------- styles

SCENE = np.full((48, 64), SKY, np.uint8)
SCENE[24:] = ROAD
SCENE[10:30, 20:30] = PEDESTRIAN
SCENE_BOX = Letterbox.fit((256, 192), (64, 48))
GREY = np.full((192, 256, 3), 100, np.uint8)
SKY_AT, ROAD_AT, PERSON_AT = (20, 20), (150, 200), (80, 100)


def scene(look: Appearance) -> Image:
    return paint_bgr(GREY, SCENE, SCENE_BOX, CAMVID, look)


def test_an_outline_leaves_the_inside_and_a_mask_the_outside_alone() -> None:
    outline, mask = scene(Appearance("outline", legend=False)), scene(Appearance("mask", legend=False))
    assert [outline[at].tolist() for at in (SKY_AT, ROAD_AT, PERSON_AT)] == [[100] * 3] * 3
    assert (outline != GREY).any(-1).mean() > 0.01
    colours = [[0, 0, 0], list(CAMVID.tints["road"][::-1]), list(CAMVID.tints["pedestrian"][::-1])]
    assert [mask[at].tolist() for at in (SKY_AT, ROAD_AT, PERSON_AT)] == colours


def test_side_by_side_has_the_frame_on_the_left_and_the_tinted_one_on_the_right() -> None:
    found = scene(Appearance("side-by-side"))
    assert np.array_equal(found[:, :256], GREY)
    assert np.array_equal(found[:, 256:], scene(Appearance()))


def test_only_the_named_classes_are_painted_in_the_colour_of_their_group() -> None:
    found = scene(Appearance(alpha=1.0, classes=("Pedestrian", "Sky"), legend=False))
    colours = [list(CAMVID.colours_rgb[SKY][::-1]), [100] * 3, list(CAMVID.tints["pedestrian"][::-1])]
    assert [found[at].tolist() for at in (SKY_AT, ROAD_AT, PERSON_AT)] == colours


def test_what_the_table_tints_lies_above_what_is_named_besides() -> None:
    table = make_table(
        [("Sky", (1, 1, 1)), ("Lane", (2, 2, 2))], {"road": ["Lane"], "all": ["Sky", "Lane"]}, {"road": (9, 8, 7)}, 255
    )
    assert list(Appearance(classes=("road", "all")).table(table).tints) == ["all", "road"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"style": "blur"}, "style: expected one of tint, outline, mask, side-by-side, got 'blur'"),
        ({"alpha": 1.5}, "alpha: expected a number from 0 .no tint. to 1 .opaque., got 1.5"),
        ({"alpha": float("nan")}, "alpha: expected a number .* got nan"),
        ({"alpha": "half"}, "alpha: expected a number .* got 'half'"),
        ({"alpha": 0.5, "style": "mask"}, "alpha: style mask blends nothing. Leave alpha out, or take style tint or"),
        ({"classes": ("dog",)}, "classes: no group or class is called 'dog'; there are the groups road, pedestrian"),
        ({"classes": ("dog",)}, "and the classes Sky, Building"),
    ],
)
def test_what_cannot_be_painted_is_refused_with_the_choices(options: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        scene(Appearance(**options))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


# -------------------------------------------------------------------------------------------------------------- legend


def test_a_legend_names_what_is_painted_and_leaves_the_rest_of_the_image() -> None:
    grey = np.full((720, 1280, 3), 100, np.uint8)
    few, all_ = grey.copy(), grey.copy()
    legend_of((1280, 720), (("road", (0, 255, 0)),)).draw_bgr(few)
    legend_of((1280, 720), tuple(CAMVID.tints.items())).draw_bgr(all_)
    rows = [np.flatnonzero((image != 100).any((1, 2))).max() for image in (few, all_)]
    assert 20 < rows[0] < rows[1] / 2 < 120
    assert (few[:, 200:] == 100).all()
    assert (few == (0, 255, 0)).all(-1).sum() > 100


@pytest.mark.parametrize("full_range", [False, True])
def test_a_legend_looks_the_same_in_planes(full_range: bool) -> None:
    grey = np.full((480, 640, 3), 100, np.uint8)
    classes, box = np.full((48, 64), SKY, np.uint8), Letterbox.fit((640, 480), (64, 48))
    planes = bgr_from_yuv(painted(yuv_of(grey, "bt601", full_range), classes, box, look=Appearance()))
    difference = np.abs(planes.astype(int) - paint_bgr(grey, classes, box, CAMVID))
    assert np.percentile(difference, 99.5) < 40
    assert difference.mean() < 1


def test_an_image_too_small_for_a_legend_has_none() -> None:
    classes, box = np.full((12, 16), SKY, np.uint8), Letterbox.fit((64, 48), (16, 12))
    assert np.array_equal(paint_bgr(picture(1), classes, box, CAMVID), picture(1))
    source = yuv_of(picture(1))
    assert np.array_equal(painted(source, classes, box, look=Appearance()).y, source.y)
