from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from stand_in import ROAD, SKY, BrightnessEngine
from videos import noise, picture

from edge.classes import CAMVID
from edge.errors import EngineError, SourceDamaged
from edge.frame import Frame, Image, Matrix, Yuv420, bgr_from_yuv, shrink
from edge.segmenter import Segmenter, small_bgr_from_yuv

LENGTHS = st.one_of(st.integers(1, 9), st.integers(10, 150))


def frame_of(image: Image) -> Frame:
    return Frame(index=4, captured_ns=time.monotonic_ns(), source="test", bgr=image)


def shrunk(image: Image, size_wh: tuple[int, int]) -> Image:
    target = np.full((size_wh[1], size_wh[0], *image.shape[2:]), 77, np.uint8)
    shrink(image, target)
    return target


# -------------------------------------------------------------------------------------------------------------- shrink


def test_half_a_size_is_the_mean_of_two_by_two() -> None:
    image = np.array([[10, 20, 100, 104], [30, 40, 108, 112]], np.uint8)
    assert shrunk(image, (2, 1)).tolist() == [[25, 106]]


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_a_power_of_two_is_what_area_averaging_gives(factor: int) -> None:
    image = noise(1, (64, 48))
    wanted = cv2.resize(image, (64 // factor, 48 // factor), interpolation=cv2.INTER_AREA)
    assert np.abs(shrunk(image, (64 // factor, 48 // factor)).astype(int) - wanted).max() <= factor.bit_length() - 2


@pytest.mark.parametrize("size_wh", [(48, 64), (24, 64), (64, 24), (17, 64), (64, 9), (20, 15), (13, 31)])
def test_stripes_too_fine_to_keep_become_grey_and_no_moire(size_wh: tuple[int, int]) -> None:
    """From 2:1 on, in one direction or in both."""
    for axis, length in ((1, size_wh[0]), (0, size_wh[1])):
        stripes = np.zeros((64, 64), np.uint8)
        stripes[(slice(None),) * axis + (slice(None, None, 2),)] = 255
        if length <= 32:
            assert np.abs(shrunk(stripes, size_wh).astype(int) - 127).max() <= 1


@given(from_wh=st.tuples(LENGTHS, LENGTHS), to_wh=st.tuples(LENGTHS, LENGTHS), grey=st.booleans())
@example(from_wh=(1, 1), to_wh=(1, 1), grey=True)
@example(from_wh=(2, 2), to_wh=(1, 1), grey=False)
@example(from_wh=(1, 9), to_wh=(9, 1), grey=False)
def test_any_size_becomes_any_other_in_place_and_nothing_beside_it_changes(
    from_wh: tuple[int, int], to_wh: tuple[int, int], grey: bool
) -> None:
    channels = () if grey else (3,)
    image = np.full((from_wh[1], from_wh[0], *channels), 90, np.uint8)
    canvas = np.full((to_wh[1] + 4, to_wh[0] + 6, *channels), 33, np.uint8)
    shrink(image, canvas[2:-2, 3:-3])
    assert np.all(canvas[2:-2, 3:-3] == 90)
    canvas[2:-2, 3:-3] = 33
    assert np.all(canvas == 33)


@given(from_wh=st.tuples(st.integers(8, 150), st.integers(8, 150)), to_wh=st.tuples(LENGTHS, LENGTHS))
def test_things_stay_where_they_are(from_wh: tuple[int, int], to_wh: tuple[int, int]) -> None:
    """A slope keeps its height everywhere: what halving an odd length leaves out is less than a pixel of the result."""
    slope = np.zeros((from_wh[1], from_wh[0]), np.float32)
    slope[:] = (np.arange(from_wh[0]) + 0.5) / from_wh[0] * 200
    found = shrunk(np.rint(slope).astype(np.uint8), to_wh)[0]
    wanted = (np.arange(to_wh[0]) + 0.5) / to_wh[0] * 200
    pixel = max(200 / to_wh[0], 200 / from_wh[0])
    assert np.abs(found - wanted).max() <= pixel + 1


@given(seed=st.integers(0, 50), to_wh=st.tuples(st.integers(4, 64), st.integers(4, 48)))
def test_the_mean_brightness_stays(seed: int, to_wh: tuple[int, int]) -> None:
    image = picture(seed)
    assert shrunk(image, to_wh).mean() == pytest.approx(image.mean(), abs=3)


# -------------------------------------------------------------------------------------------------------------- planes


@pytest.mark.parametrize("size_wh", [(32, 24), (20, 15), (64, 48), (90, 60), (7, 3)])
@pytest.mark.parametrize("matrix", ["bt601", "bt709"])
def test_shrinking_planes_first_gives_what_converting_first_gives(matrix: Matrix, size_wh: tuple[int, int]) -> None:
    image = cv2.cvtColor(picture(3), cv2.COLOR_BGR2YUV_I420)
    y, u, v = image[:48], image[48:60].reshape(24, 32), image[60:].reshape(24, 32)
    yuv = Yuv420(y, u, v, matrix)
    target = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
    small_bgr_from_yuv(yuv, target)
    assert np.abs(target.astype(int) - shrunk(bgr_from_yuv(yuv), size_wh)).max() <= 6


# ----------------------------------------------------------------------------------------------------------- segmenter


def test_a_frame_of_the_networks_size_reaches_the_engine_byte_for_byte(make_card: Any) -> None:
    engine = BrightnessEngine(make_card)
    image = noise(1, (32, 24))
    Segmenter(engine).segment(frame_of(image))
    assert np.array_equal(engine.seen[0], image)


def test_the_picture_is_letterboxed_with_black(make_card: Any) -> None:
    engine = BrightnessEngine(make_card)
    Segmenter(engine).segment(frame_of(np.full((16, 64, 3), 200, np.uint8)))
    assert np.all(engine.seen[0][8:16] == 200)
    assert not engine.seen[0][:8].any()
    assert not engine.seen[0][16:].any()


def test_the_bars_stay_black_when_the_frame_size_changes(make_card: Any) -> None:
    engine = BrightnessEngine(make_card)
    segmenter = Segmenter(engine)
    wide, high, same = np.full((16, 64, 3), 200, np.uint8), np.full((96, 32, 3), 180, np.uint8), noise(1, (32, 24))
    for image in (wide, high, same, wide):
        segmenter.segment(frame_of(image))
    first, second, third, fourth = engine.seen
    assert np.array_equal(fourth, first)
    assert np.array_equal(third, same)
    assert np.all(second[:, 12:20] == 180)
    assert not second[:, :12].any()
    assert not second[:, 20:].any()


def test_a_stretching_engine_sees_the_picture_over_its_whole_input(make_card: Any) -> None:
    engine = BrightnessEngine(make_card, resize="stretch")
    result = Segmenter(engine).segment(frame_of(np.full((16, 64, 3), 200, np.uint8)))
    assert np.all(engine.seen[0] == 200)
    assert result.letterbox.content_xywh == (0, 0, 32, 24)


def test_planes_and_their_bgr_picture_are_seen_alike(make_card: Any) -> None:
    engine = BrightnessEngine(make_card)
    i420 = cv2.cvtColor(picture(3), cv2.COLOR_BGR2YUV_I420)
    yuv = Yuv420(i420[:48], i420[48:60].reshape(24, 32), i420[60:].reshape(24, 32))
    segmenter = Segmenter(engine)
    segmenter.segment(Frame(index=0, captured_ns=1, source="test", yuv=yuv))
    segmenter.segment(frame_of(bgr_from_yuv(yuv)))
    assert np.abs(engine.seen[0].astype(int) - engine.seen[1]).max() <= 6


def test_a_result_knows_its_frame_its_table_and_its_age(make_card: Any) -> None:
    frame = frame_of(np.zeros((48, 64, 3), np.uint8))
    result = Segmenter(BrightnessEngine(make_card)).segment(frame)
    assert result.frame is frame
    assert result.table is CAMVID
    assert 0 < result.age_ms == (result.ready_ns - frame.captured_ns) / 1e6


def test_masks_have_the_frames_size_and_shares_leave_the_bars_out(make_card: Any) -> None:
    image = np.full((16, 64, 3), 200, np.uint8)
    image[:, :16] = 20
    result = Segmenter(BrightnessEngine(make_card)).segment(frame_of(image))
    road = result.mask("road")
    assert road.shape == (16, 64)
    assert road.dtype == np.bool_
    assert np.array_equal(road, image[:, :, 0] == 20)
    assert np.array_equal(result.class_map(), np.where(road, ROAD, SKY))
    assert result.shares()["Road"] == pytest.approx(0.25)
    assert sum(result.shares().values()) == pytest.approx(1)
    assert result.overlay().shape == (16, 64, 3)


def test_results_do_not_change_with_the_next_frame(make_card: Any) -> None:
    segmenter = Segmenter(BrightnessEngine(make_card))
    first = segmenter.segment(frame_of(np.zeros((24, 32, 3), np.uint8)))
    segmenter.segment(frame_of(np.full((24, 32, 3), 250, np.uint8)))
    assert np.all(first.semantic == ROAD)


def test_resize_and_infer_are_timed_for_each_frame(make_card: Any) -> None:
    segmenter = Segmenter(BrightnessEngine(make_card))
    for _ in range(3):
        segmenter.segment(frame_of(picture(0)))
    assert {name: times.count for name, times in segmenter.stages.by_name.items()} == {"resize": 3, "infer": 3}


class SlowOnDark(BrightnessEngine):
    """Two inferences side by side; dark pictures take longer, so that later ones overtake them."""

    streams = 2

    def infer(self, image: Image) -> dict[str, Image]:
        time.sleep(0.03 if image.mean() < 100 else 0.001)
        return super().infer(image)


def test_results_keep_the_order_of_the_frames_whichever_is_done_first(make_card: Any) -> None:
    levels = [20, 200, 20, 200, 200, 20, 200]
    frames = [numbered(i, level) for i, level in enumerate(levels)]
    results = list(Segmenter(SlowOnDark(make_card)).segment_all(frames))
    assert [result.frame.index for result in results] == list(range(7))
    assert [int(result.semantic[0, 0]) for result in results] == [ROAD if level == 20 else SKY for level in levels]


def test_what_the_frames_raise_comes_out_behind_the_last_result(make_card: Any) -> None:
    def frames() -> Iterator[Frame]:
        for index in range(3):
            yield numbered(index, 200)
        raise SourceDamaged("broken off")

    seen = []
    with pytest.raises(SourceDamaged, match="broken off"):  # noqa: PT012 the error must come after the results
        for result in Segmenter(SlowOnDark(make_card)).segment_all(frames()):
            seen.append(result.frame.index)  # noqa: PERF401
    assert seen == [0, 1, 2]


def test_frames_are_taken_no_further_ahead_than_the_engine_has_streams(make_card: Any) -> None:
    taken = []

    def frames() -> Iterator[Frame]:
        for index in range(20):
            taken.append(index)
            yield numbered(index, 200)

    results = Segmenter(SlowOnDark(make_card)).segment_all(frames())
    next(results)
    assert len(taken) == 3
    results.close()
    assert len(taken) == 3
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("segment")]


def test_an_error_of_the_engine_comes_out_and_ends_the_work(make_card: Any) -> None:
    class Failing(SlowOnDark):
        def infer(self, image: Image) -> dict[str, Image]:
            raise EngineError("inference failed")

    with pytest.raises(EngineError, match="inference failed"):
        list(Segmenter(Failing(make_card)).segment_all([numbered(0, 9), numbered(1, 9)]))


def numbered(index: int, level: int) -> Frame:
    return Frame(index=index, captured_ns=1, source="test", bgr=np.full((24, 32, 3), level, np.uint8))
