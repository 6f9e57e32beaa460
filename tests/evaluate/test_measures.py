"""What is measured of one frame, on images whose answer is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stand_in import PEDESTRIAN, ROAD, SKY, BrightnessEngine, result_of

from edge.classes import CAMVID
from edge.errors import ConfigError, DataError
from edge.evaluate.measures import BANDS, SIZES, Measures, check_tables, view_of
from edge.frame import Frame, Image
from edge.geometry.model import CameraModel
from edge.segmenter import Segmenter


class Known:
    """Labels that are handed in."""

    count = 1
    dense = False

    def __init__(self, label: Image) -> None:
        self.label = label

    def find(self, frame: Frame) -> Image:
        return self.label

    def objects(self, frame: Frame) -> None:
        return None

    def where(self, frame: Frame) -> str:
        return "label.png"


def texture(size_wh: tuple[int, int] = (320, 240)) -> Image:
    """uint8 (h, w, 3): blobs that flow can hold on to."""
    small = np.random.default_rng(5).integers(0, 256, (size_wh[1] // 16, size_wh[0] // 16, 3), np.uint8)
    return cv2.resize(small, size_wh, interpolation=cv2.INTER_CUBIC)


def halves(size_wh: tuple[int, int], edge: int) -> Image:
    """uint8 (h, w): road left of the edge, sky right of it."""
    classes = np.full((size_wh[1], size_wh[0]), SKY, np.uint8)
    classes[:, :edge] = ROAD
    return classes


def flicker(images: tuple[Image, Image], classes: tuple[Image, Image]) -> tuple[float, float]:
    """The parts of the image that changed class and that could be followed."""
    results = [result_of(i, c, image=p) for i, (p, c) in enumerate(zip(images, classes, strict=True))]
    before, now = map(view_of, results)
    record = Measures(CAMVID)(results[1], (before, now))
    known, total = record.followed
    return 1 - record.steady[:, 0].sum() / known, known / total


def test_masks_that_move_with_the_picture_do_not_flicker() -> None:
    still = texture()
    moved = np.roll(still, 8, axis=1)
    changed, followed = flicker((still, moved), (halves((320, 240), 100), halves((320, 240), 108)))
    assert followed > 0.8
    assert changed < 0.005


def test_masks_that_move_over_a_still_picture_flicker_by_what_they_sweep() -> None:
    still = texture()
    changed, followed = flicker((still, still), (halves((320, 240), 100), halves((320, 240), 132)))
    assert followed > 0.99
    assert changed == pytest.approx(32 / 320, abs=0.005)


def test_what_comes_into_the_picture_is_not_held_against_a_mask() -> None:
    still = texture((336, 240))
    classes = halves((320, 240), 100), halves((320, 240), 116)
    classes[1][:, :16] = PEDESTRIAN  # was outside, left of the image
    changed, followed = flicker((still[:, 16:336].copy(), still[:, :320].copy()), classes)
    assert 0.7 < followed < 0.97
    assert changed < 0.02  # of 5 % that is new


def test_the_first_frame_follows_none() -> None:
    result = result_of(0, halves((64, 48), 20), image=texture((64, 48)))
    record = Measures(CAMVID)(result, None)
    assert record.followed.tolist() == [0, 0]


def test_outlines_of_a_video_with_a_label_for_each_frame_are_measured_on_one_in_five() -> None:
    truths = Known(halves((64, 48), 20))
    measured = []
    for dense in (False, True):
        truths.dense = dense
        results = (result_of(index, truths.label, image=texture((64, 48))) for index in range(8))
        records = [Measures(CAMVID, truths)(result, None) for result in results]
        measured.append([record.index for record in records if np.any(record.outlines)])
    assert measured == [list(range(8)), [0, 5]]


def test_rows_below_the_horizon_are_bands_of_distance() -> None:
    truth = np.full((100, 40), ROAD, np.uint8)
    found = truth.copy()
    found[45:50], found[62:70], found[90:] = SKY, PEDESTRIAN, SKY
    result = result_of(0, found, image=np.zeros((100, 40, 3), np.uint8))
    record = Measures(CAMVID, Known(truth), horizon=0.4)(result, None)
    assert record.confusion is not None
    assert record.confusion.shape == (len(BANDS), 11, 11)
    assert record.confusion.sum((1, 2)).tolist() == [40 * 40, 10 * 40, 15 * 40, 35 * 40]  # 0-40, 40-50, 50-65, 65-100
    assert record.confusion[:, ROAD, SKY].tolist() == [0, 5 * 40, 0, 10 * 40]
    assert record.confusion[:, ROAD, PEDESTRIAN].tolist() == [0, 0, 3 * 40, 5 * 40]


def test_with_a_camera_model_the_bands_are_metres() -> None:
    truth = np.full((100, 40), ROAD, np.uint8)
    result = result_of(0, truth, image=np.zeros((100, 40, 3), np.uint8))
    level = CameraModel(height_m=1.9, focal_px=100, image_wh=(40, 100))  # 190 / z rows below row 50
    record = Measures(CAMVID, Known(truth), camera_model=level)(result, None)
    assert record.confusion is not None
    assert record.confusion.sum((1, 2)).tolist() == [50 * 40, 10 * 40, 14 * 40, 26 * 40]  # 19 m: row 60; 8 m: 73.75


def test_pedestrians_count_by_their_height_and_are_found_by_half() -> None:
    truth = np.full((100, 80), ROAD, np.uint8)
    truth[10:14, 5:10] = PEDESTRIAN  # 4 rows: under 5 %
    truth[20:27, 20:25] = PEDESTRIAN  # 7 rows: 5 to 10 %
    truth[40:65, 40:50] = PEDESTRIAN  # 25 rows
    truth[90:92, 60:62] = PEDESTRIAN  # 4 pixels: a speck
    found = np.full_like(truth, ROAD)
    found[20:24, 20:25] = PEDESTRIAN  # 20 of 35
    found[40:65, 40:44] = PEDESTRIAN  # 100 of 250
    result = result_of(0, found, image=np.zeros((100, 80, 3), np.uint8))
    record = Measures(CAMVID, Known(truth))(result, None)
    assert record.people is not None
    assert len(record.people) == len(SIZES)
    assert record.people.tolist() == [[1, 0, 20, 0], [1, 1, 35, 20], [0, 0, 0, 0], [1, 0, 250, 100]]


def test_a_picture_seen_alike_in_the_mirror_agrees_with_itself(make_card: object) -> None:
    engine = BrightnessEngine(make_card, input_wh=(32, 24))
    image = np.full((48, 64, 3), 200, np.uint8)
    image[:, :20] = 10
    segmenter = Segmenter(engine)
    result = segmenter.segment(Frame(index=0, captured_ns=1, source="x", bgr=image))
    record = Measures(CAMVID, mirror=segmenter)(result, None)
    assert record.mirrored[0] == record.mirrored[1] > 0
    np.testing.assert_array_equal(engine.seen[1], engine.seen[0][:, ::-1])


def test_two_engines_agree_where_they_see_the_same_class(make_card: object) -> None:
    class Blind(BrightnessEngine):
        def infer(self, image: Image) -> dict[str, Image]:
            return {"semantic": np.full(image.shape[:2], SKY, np.uint8)}

    image = np.full((24, 32, 3), 200, np.uint8)
    image[:, :8] = 10
    frame = Frame(index=0, captured_ns=1, source="x", bgr=image)
    result = Segmenter(BrightnessEngine(make_card)).segment(frame)
    record = Measures(CAMVID, other=Segmenter(Blind(make_card)))(result, None)
    assert record.agreement.tolist() == [24 * 24, 24 * 32]


def test_a_label_with_a_strange_id_is_an_error_that_names_it() -> None:
    result = result_of(0, halves((32, 24), 8), image=np.zeros((24, 32, 3), np.uint8))
    with pytest.raises(DataError, match=r"label\.png: .*id 77"):
        Measures(CAMVID, Known(np.full((24, 32), 77, np.uint8)))(result, None)


def test_engines_of_other_classes_are_not_compared() -> None:
    from bundles import COLOURS

    with pytest.raises(ConfigError, match="Sky against Blue"):
        check_tables(CAMVID, COLOURS)


@given(st.integers(0, 2**32 - 1))
def test_bands_add_up_to_the_whole(seed: int) -> None:
    chance = np.random.default_rng(seed)
    truth, found = (chance.integers(0, 11, (37, 20), np.uint8) for _ in range(2))
    result = result_of(0, found, image=np.zeros((37, 20, 3), np.uint8))
    record = Measures(CAMVID, Known(truth), horizon=float(chance.uniform(0.05, 0.95)))(result, None)
    assert record.confusion is not None
    known = truth != CAMVID.ignore_id
    whole = np.bincount(truth[known] * 11 + found[known], minlength=121).reshape(11, 11)
    np.testing.assert_array_equal(record.confusion.sum(0), whole)
