"""Objects drawn over images: the same in BGR and in a video's planes, each in the colour of its track."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
from stand_in import PEDESTRIAN, ROAD, result_of

from edge.appearance import STYLES
from edge.classes import CAMVID
from edge.contours import draw_bgr, draw_yuv, track_rgb
from edge.frame import Image, Yuv420, bgr_from_yuv
from edge.grouping import Instances
from edge.prediction import Prediction
from edge.steps import Steps
from edge.tracking import Tracks

Patch = tuple[int, int, int, int]  # left, top, width, height in cells


def seen(patches: list[Patch], source_wh: tuple[int, int] = (640, 480), value: int = 90) -> Prediction:
    classes: Image = np.full((96, 128), ROAD, np.uint8)
    for x, y, width, height in patches:
        classes[y : y + height, x : x + width] = PEDESTRIAN
    image = np.full((source_wh[1], source_wh[0], 3), value, np.uint8)
    return Steps([Instances(CAMVID), Tracks()]).update(result_of(0, classes, image=image, media_ns=0))


def grey_planes(wh: tuple[int, int], value: int) -> Yuv420:
    half = ((wh[1] + 1) // 2, (wh[0] + 1) // 2)
    return Yuv420(np.full(wh[::-1], value, np.uint8), np.full(half, 128, np.uint8), np.full(half, 128, np.uint8))


def drawn_bgr(result: Prediction) -> Image:
    image = result.frame.image.copy()
    draw_bgr(image, result.marks(result.frame.size_wh))
    return image


def test_a_contour_runs_along_the_objects_border_in_its_tracks_colour() -> None:
    result = seen([(30, 40, 20, 40)])
    image = drawn_bgr(result)
    colour = np.array(track_rgb(1)[::-1], np.uint8)
    rows, columns = np.nonzero((image == colour).all(axis=2))
    below_label = rows >= 202
    assert (columns[below_label].min(), columns[below_label].max()) == (152, 247)  # centres of the outermost cells
    assert rows.max() == 397
    assert (image[210:390, 160:240] == 90).all()


def test_tracks_have_colours_of_their_own_and_who_is_not_followed_is_grey_without_a_label() -> None:
    colours = [track_rgb(i) for i in range(1, 13)]
    apart = [np.abs(np.subtract(one, other)).max() for i, one in enumerate(colours) for other in colours[:i]]
    assert min(apart) >= 25
    result = seen([(30, 40, 20, 40)])
    unfollowed = tuple(dataclasses.replace(one, track_id=None) for one in result.instances or ())
    (mark,) = dataclasses.replace(result, instances=unfollowed).marks((640, 480))
    assert (mark.label, mark.rgb) == ("", (160, 160, 160))


@pytest.mark.parametrize("source_wh", [(640, 480), (641, 481), (1280, 720), (300, 500), (20, 14)])
@pytest.mark.parametrize("patch", [(0, 0, 128, 96), (0, 0, 9, 9), (119, 87, 9, 9), (60, 30, 3, 8)])
def test_borders_and_odd_sizes_are_drawn_within_the_image(source_wh: tuple[int, int], patch: Patch) -> None:
    result = seen([patch], source_wh)
    assert drawn_bgr(result).shape == (source_wh[1], source_wh[0], 3)
    planes = grey_planes((source_wh[0] // 2 * 2, source_wh[1] // 2 * 2), 90)
    draw_yuv(planes, result.marks(source_wh), "bt601", full_range=False)


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", ["bt601", "bt709"])
def test_in_planes_it_looks_as_in_bgr(matrix: str, full_range: bool) -> None:
    result = seen([(30, 40, 20, 40), (70, 20, 30, 60)], (1280, 960), 128)
    planes = grey_planes((1280, 960), 128 if full_range else 126)
    draw_yuv(planes, result.marks((1280, 960)), matrix, full_range)  # type: ignore[arg-type]
    found, expected = bgr_from_yuv(dataclasses.replace(planes, matrix=matrix, full_range=full_range)), drawn_bgr(result)  # type: ignore[arg-type]
    blurred = [cv2.blur(image, (9, 9)).astype(int) for image in (found, expected)]
    assert np.abs(blurred[0] - blurred[1]).mean() < 1.5
    assert np.percentile(np.abs(blurred[0] - blurred[1]), 99) < 45


def test_an_overlay_shows_objects_and_without_them_is_as_it_was() -> None:
    result = seen([(30, 40, 20, 40)])
    plain = dataclasses.replace(result, instances=None)
    assert (result.overlay() != plain.overlay()).any(axis=2).sum() > 500
    without = dataclasses.replace(result, instances=())
    np.testing.assert_array_equal(without.overlay(), plain.overlay())


@pytest.mark.parametrize("style", STYLES)
def test_objects_are_drawn_in_every_style_unless_their_class_is_not_painted(style: str) -> None:
    result = seen([(30, 40, 20, 40)])
    plain = dataclasses.replace(result, instances=None)
    changed = [
        (result.overlay(style=style, classes=names) != plain.overlay(style=style, classes=names)).any(axis=2)
        for names in (result.instances[0].class_name, "Sky")  # type: ignore[index]
    ]
    assert changed[0][:, -640:].sum() > 300
    assert not changed[0][:, :-640].any()
    assert not changed[1].any()


def test_over_a_smaller_image_of_the_frame_marks_are_smaller() -> None:
    (large,), (small,) = (seen([(30, 40, 20, 40)]).marks(wh) for wh in ((640, 480), (320, 240)))
    assert np.abs(large.contours[0] / 2 - small.contours[0]).max() <= 1
    assert (small.at[0] * 2, small.at[1] * 2) == large.at


def test_a_video_has_them_drawn(tmp_path: Path) -> None:
    import av

    from edge.sinks.video import OverlayVideo
    from edge.timing import Stages

    result = seen([(30, 40, 20, 40)])
    images = []
    for name, one in (("with", result), ("without", dataclasses.replace(result, instances=None))):
        with OverlayVideo(tmp_path / f"{name}.mp4", 10, Stages()) as sink:
            sink.write(one, 0)
        with av.open(str(tmp_path / f"{name}.mp4")) as file:
            images.append(next(file.decode(video=0)).to_ndarray(format="bgr24").astype(int))
    changed = np.abs(images[0] - images[1]).max(axis=2) > 40
    rows, columns = np.nonzero(changed)
    assert changed.sum() > 300
    assert columns.min() >= 146
    assert rows.max() <= 404
