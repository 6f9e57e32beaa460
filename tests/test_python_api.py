"""What a Python user does with arrays of their own, and what a result gives them."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from bundles import COLOURS
from hypothesis import given
from hypothesis import strategies as st

import edge
from edge.backends import open_engine
from edge.engine import Bundle, Engine
from edge.errors import ConfigError, EngineError
from edge.frame import Frame, Image, Letterbox
from edge.prediction import Prediction


@pytest.fixture(params=["openvino", "onnxruntime"])
def engine(request: pytest.FixtureRequest, colour_bundle: Bundle) -> Iterator[Engine]:
    pytest.importorskip(request.param)
    with open_engine(colour_bundle.folder, backend=request.param) as opened:
        yield opened


def plain(colour: int, shape: tuple[int, int] = (48, 64)) -> Image:
    """All of one of the classes 0, 1, 2."""
    image = np.zeros((*shape, 3), np.uint8)
    image[..., colour] = 255
    return image


def test_a_result_prints_as_one_line_of_what_was_seen(colour_bundle: Bundle) -> None:
    with open_engine(colour_bundle.folder) as engine:
        result = engine(plain(2))
    name = colour_bundle.card.table.names[2]
    assert re.fullmatch(rf"<Prediction of frame 0, 64x48, \d+ ms old: {name} 100\.0%>", repr(result)), repr(result)


def classes_of(results: Any) -> list[set[int]]:
    return [set(np.unique(result.class_map()).tolist()) for result in results]


@pytest.mark.parametrize("shape", [(48, 64), (480, 640), (7, 90), (333, 111)])
def test_an_image_of_any_size_is_answered_at_its_size(engine: Engine, shape: tuple[int, int]) -> None:
    result = engine.predict(plain(1, shape))
    assert result.class_map().shape == shape
    assert classes_of([result]) == [{1}]
    assert result.age_ms >= 0


def test_an_engine_is_called_like_a_function(engine: Engine) -> None:
    assert classes_of([engine(plain(2))]) == [{2}]
    assert classes_of(engine([plain(0), plain(1)])) == [{0}, {1}]


def test_an_engine_answers_many_at_once_each_its_own(colour_bundle: Bundle) -> None:
    async def ask(engine: Engine) -> list[Prediction]:
        return await asyncio.gather(*(asyncio.to_thread(engine, plain(number % 3)) for number in range(24)))

    with open_engine(colour_bundle.folder, side_by_side=True) as engine:
        assert classes_of(asyncio.run(ask(engine))) == [{number % 3} for number in range(24)]


def test_a_list_or_a_stack_of_images_is_answered_in_its_order(engine: Engine) -> None:
    images = [plain(2, (30, 40)), plain(0, (90, 40)), plain(1)]
    assert classes_of(engine.predict(images)) == [{2}, {0}, {1}]
    assert classes_of(engine.predict(np.stack([plain(1), plain(2)]))) == [{1}, {2}]
    assert engine.predict([]) == []


@pytest.mark.parametrize(
    ("image", "found"),
    [
        (np.zeros((48, 64), np.uint8), r"got uint8 \(48, 64\)"),
        (np.zeros((48, 64, 4), np.uint8), r"got uint8 \(48, 64, 4\)"),
        (np.zeros((48, 64, 3), np.float32), r"got float32 \(48, 64, 3\)"),
        (np.zeros((0, 64, 3), np.uint8), r"got uint8 \(0, 64, 3\)"),
        ([None], "got NoneType"),  # what cv2.imread gives for a file that is not there
        (["a.png"], "got str"),
    ],
)
def test_what_is_no_image_is_an_error_that_says_what_it_is(image: Any, found: str, colour_bundle: Bundle) -> None:
    with open_engine(colour_bundle.folder) as engine:
        with pytest.raises(EngineError, match=rf"image 0: expected .*uint8 \(H, W, 3\) BGR, {found}"):
            engine.predict(image)
        with pytest.raises(EngineError, match=found):
            list(edge.segment(image, engine))


@pytest.mark.parametrize("live", [None, True])
def test_segment_takes_a_generator_of_images_of_ones_own(live: bool | None, colour_bundle: Bundle) -> None:
    def frames() -> Iterator[Image]:
        yield from (plain(number % 3) for number in range(7))

    results = list(edge.segment(frames(), colour_bundle.folder, live=live))
    assert classes_of(results) == [{number % 3} for number in range(7)]
    assert [result.frame.index for result in results] == list(range(7))


def test_segment_takes_one_image_lists_stacks_and_none(colour_bundle: Bundle) -> None:
    assert classes_of(edge.segment(plain(2), colour_bundle.folder)) == [{2}]
    assert classes_of(edge.segment([plain(1), plain(0)], colour_bundle.folder)) == [{1}, {0}]
    assert classes_of(edge.segment(np.stack([plain(0), plain(2)]), colour_bundle.folder)) == [{0}, {2}]
    assert list(edge.segment([], colour_bundle.folder)) == []


# ------------------------------------------------------------------------------------------------------------ a result


def seen(classes: Image) -> Prediction:
    """A result at the frame's own size."""
    height, width = classes.shape
    frame = Frame(index=0, captured_ns=0, source="array", bgr=np.zeros((height, width, 3), np.uint8))
    return Prediction(frame, {"semantic": classes}, Letterbox.fit((width, height), (width, height)), COLOURS, 0)


@pytest.fixture
def two_squares() -> Prediction:
    """Class 1 in a square of 4 by 4 with its corner at x 2, y 1, and in one of 10 by 10 at 20, 30."""
    classes = np.zeros((48, 64), np.uint8)
    classes[1:5, 2:6] = 1
    classes[30:40, 20:30] = 1
    return seen(classes)


def name_of(number: int) -> str:
    return COLOURS.names[number]


def test_polygons_are_outlines_in_source_pixels_the_largest_first(two_squares: Prediction) -> None:
    large, small = two_squares.polygons(name_of(1))
    assert large.dtype == np.int32
    assert (large.min(axis=0).tolist(), large.max(axis=0).tolist()) == ([20, 30], [29, 39])
    assert (small.min(axis=0).tolist(), small.max(axis=0).tolist()) == ([2, 1], [5, 4])
    assert len(two_squares.polygons(name_of(1), min_area_px=50)) == 1
    assert two_squares.polygons(name_of(2)) == []
    with pytest.raises(ConfigError, match="no group or class 'sea'"):
        two_squares.polygons("sea")


@given(st.integers(0, 2**32 - 1))
def test_filled_polygons_cover_the_mask(seed: int) -> None:
    noise = np.random.default_rng(seed).integers(0, 3, (6, 8), np.uint8).repeat(8, 0).repeat(8, 1)
    result = seen(noise)
    canvas = np.zeros(noise.shape, np.uint8)
    cv2.fillPoly(canvas, result.polygons(name_of(1)), 1)
    assert canvas[result.mask(name_of(1))].all()


def test_coco_run_lengths_are_of_the_source_size(two_squares: Prediction) -> None:
    found = two_squares.coco_rle(name_of(1))
    assert found["size"] == [48, 64]
    assert isinstance(found["counts"], str)


def test_detections_hold_a_mask_and_a_box_for_each_name_that_was_seen(
    two_squares: Prediction, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "supervision", SimpleNamespace(Detections=SimpleNamespace))
    found = two_squares.detections([name_of(1), name_of(2)])
    assert found.xyxy.tolist() == [[2, 1, 30, 40]]
    assert found.data["class_name"].tolist() == [name_of(1)]
    np.testing.assert_array_equal(found.mask, two_squares.mask(name_of(1))[None])
    known = [*COLOURS.groups, *COLOURS.names]
    assert [known[number] for number in found.class_id] == [name_of(1)]
    empty = two_squares.detections([name_of(2)])
    assert (empty.mask.shape, empty.xyxy.shape) == ((0, 48, 64), (0, 4))


def test_an_overlay_is_painted_as_it_is_told(two_squares: Prediction) -> None:
    image = two_squares.frame.image
    assert two_squares.overlay(style="side-by-side").shape == (48, 128, 3)
    np.testing.assert_array_equal(two_squares.overlay(alpha=0.0, classes=[name_of(2)]), image)
    mask = two_squares.overlay(style="mask", classes=name_of(1))
    assert (mask[35, 25] != 0).any()
    assert not mask[44, 60].any()
    with pytest.raises(ConfigError, match="style: expected one of tint, outline, mask, side-by-side, got 'x'"):
        two_squares.overlay(style="x")


def test_a_notebook_shows_the_overlay(two_squares: Prediction) -> None:
    image = cv2.imdecode(np.frombuffer(two_squares._repr_png_(), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(image, two_squares.overlay())
