"""Masks that stand still (`edge.steady`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
from bundles import MakeCard
from stand_in import PEDESTRIAN, ROAD, BrightnessEngine

from edge.classes import CAMVID
from edge.errors import EngineError
from edge.frame import Frame, Image, Letterbox
from edge.outputs import CONFIDENCE, SEMANTIC, select
from edge.prediction import Prediction
from edge.segmenter import Segmenter
from edge.service.config import ServeConfig
from edge.steady import MOST_CREDIT, Steady
from edge.steps import Steps

SURE, UNSURE = 255, 20
INPUT_WH = (160, 120)


def scene(shift_px: int = 0, size_wh: tuple[int, int] = INPUT_WH) -> Image:
    """A pattern in which motion can be found, moved to the right."""
    rows, columns = np.mgrid[: size_wh[1], : size_wh[0]]
    at = columns - shift_px
    waves = 60 * np.sin(at / 7) * np.cos(rows / 9) + 40 * np.sin((at + 2 * rows) / 17)
    return np.repeat((128 + waves).astype(np.uint8)[..., None], 3, axis=2)


def seen(
    classes: Image | int,
    sure: Image | int,
    index: int = 0,
    image: Image | None = None,
    input_wh: tuple[int, int] = INPUT_WH,
) -> Prediction:
    """What an engine says of a frame: classes and confidence at network size, or one for all pixels."""
    image = scene() if image is None else image
    frame = Frame(index=index, captured_ns=0, source="x", bgr=image, media_ns=index * 33_000_000)
    box = Letterbox.fit(frame.size_wh, input_wh)
    maps = (np.full(input_wh[::-1], value, np.uint8) if isinstance(value, int) else value for value in (classes, sure))
    outputs = dict(zip((SEMANTIC.name, CONFIDENCE.name), maps, strict=True))
    return Prediction(frame, outputs, box, CAMVID, 0, {SEMANTIC.name: SEMANTIC, CONFIDENCE.name: CONFIDENCE})


def through(predictions: Sequence[Prediction]) -> list[Image]:
    step = Steady()
    return [step.update(prediction).semantic for prediction in predictions]


def test_what_wavers_stands_still() -> None:
    wavering = [seen(PEDESTRIAN if index % 2 else ROAD, UNSURE, index) for index in range(8)]
    assert all((mask == ROAD).all() for mask in through(wavering))


def test_what_is_sure_changes_at_once() -> None:
    first, then = through([seen(ROAD, SURE), seen(PEDESTRIAN, MOST_CREDIT + 1, 1)])
    assert (first == ROAD).all()
    assert (then == PEDESTRIAN).all()


def test_what_is_unsure_but_stays_is_believed_in_the_end() -> None:
    masks = through([seen(ROAD, SURE), *(seen(PEDESTRIAN, UNSURE, index) for index in range(1, 8))])
    changed = [bool((mask == PEDESTRIAN).all()) for mask in masks]
    assert changed == sorted(changed)
    assert changed[-1]
    assert changed.index(True) == 1 + MOST_CREDIT // UNSURE


def test_a_class_moves_with_the_image() -> None:
    step_px = 3
    right_of_edge = np.arange(INPUT_WH[0]) >= 60
    first = np.broadcast_to(np.where(right_of_edge, PEDESTRIAN, ROAD).astype(np.uint8), INPUT_WH[::-1]).copy()
    masks = through([seen(first, SURE), *(seen(ROAD, UNSURE, i, scene(i * step_px)) for i in range(1, 4))])
    edges = [int(np.argmax(mask[60] == PEDESTRIAN)) for mask in masks]
    assert edges == pytest.approx([60, 63, 66, 69], abs=1.5)


def test_the_pixels_that_an_engine_is_sure_of_are_as_it_says() -> None:
    rng = np.random.default_rng(1)
    masks = [rng.integers(0, 11, INPUT_WH[::-1]).astype(np.uint8) for _ in range(3)]
    for mask, steady in zip(masks, through([seen(m, SURE, i) for i, m in enumerate(masks)]), strict=True):
        np.testing.assert_array_equal(steady, mask)


@pytest.mark.parametrize("size_wh", [(160, 120), (320, 180), (90, 160), (64, 64), (33, 21), (1920, 100)])
def test_frames_of_every_shape_keep_their_bars(size_wh: tuple[int, int]) -> None:
    predictions = [seen(ROAD if i % 2 else PEDESTRIAN, UNSURE, i, scene(i, size_wh)) for i in range(3)]
    for prediction, mask in zip(predictions, through(predictions), strict=True):
        inside = prediction.letterbox.content(np.ones(INPUT_WH[::-1], np.bool_))
        bars = np.ones(INPUT_WH[::-1], np.bool_)
        prediction.letterbox.content(bars)[:] = False
        assert inside.any()
        np.testing.assert_array_equal(mask[bars], prediction.semantic[bars])


def test_the_engines_own_mask_is_not_written_over() -> None:
    predictions = [seen(ROAD, SURE), seen(PEDESTRIAN, UNSURE, 1)]
    through(predictions)
    assert (predictions[1].semantic == PEDESTRIAN).all()


class UnsureEngine(BrightnessEngine):
    """Says beside each class that it is not sure."""

    outputs = (SEMANTIC, CONFIDENCE)

    def infer(self, image: Image) -> dict[str, Image]:
        classes = super().infer(image)["semantic"]
        return {"semantic": classes, "confidence": np.full_like(classes, UNSURE)}


@pytest.mark.parametrize(("asked", "given"), [(["steady"], False), (["steady", "confidence"], True), ([], True)])
def test_confidence_is_given_on_only_where_it_is_asked_for(make_card: MakeCard, asked: list[str], given: bool) -> None:
    engine = UnsureEngine(make_card, INPUT_WH)  # one that was opened with it
    result = next(Segmenter(engine, asked).segment_all([seen(ROAD, SURE).frame]))
    assert ("confidence" in result.outputs) == given


def test_it_runs_before_objects_are_found(make_card: MakeCard) -> None:
    steps = Steps.of(UnsureEngine(make_card), ["instances", "steady"])
    assert [type(step).__name__ for step in steps._steps] == ["Steady", "Instances", "Tracks"]


def test_a_gap_begins_anew(make_card: MakeCard) -> None:
    dark, bright = np.zeros((120, 160, 3), np.uint8), np.full((120, 160, 3), 250, np.uint8)
    frames = [
        Frame(index=i, captured_ns=0, source="x", bgr=image) for i, image in ((0, dark), (1, bright), (40, bright))
    ]
    shown = [
        int(r.semantic[0, 0]) for r in Segmenter(UnsureEngine(make_card, INPUT_WH), ["steady"]).segment_all(frames)
    ]
    assert shown[0] == shown[1] == ROAD
    assert shown[2] != ROAD


@pytest.mark.parametrize(
    ("wish", "outputs", "asked"),
    [(None, (SEMANTIC, CONFIDENCE), True), (False, (SEMANTIC, CONFIDENCE), False), (None, (SEMANTIC,), False)],
)
def test_a_service_holds_masks_still_where_the_engine_can(
    make_card: MakeCard, wish: bool | None, outputs: tuple[object, ...], asked: bool
) -> None:
    card = dataclasses.replace(BrightnessEngine(make_card).card, outputs=outputs)
    config = ServeConfig.model_validate({"camera": "0", "steady": wish})
    assert ("steady" in config.asked(card)) == asked


def test_an_engine_that_cannot_tell_how_sure_it_is_is_refused() -> None:
    with pytest.raises(EngineError, match="got 'confidence', which 'steady' needs"):
        select([SEMANTIC], ["steady"], "colours")
