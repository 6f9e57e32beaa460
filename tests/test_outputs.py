from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from bundles import card_of

from edge.backends.openvino import OpenVinoEngine
from edge.card import Card
from edge.engine import Bundle
from edge.errors import EngineError
from edge.frame import Frame, Image, Letterbox
from edge.outputs import CONFIDENCE, SEMANTIC, Output, output_problems, select
from edge.prediction import Prediction


@pytest.mark.parametrize(
    ("shape", "expected"), [(("H", "W"), (48, 65)), (("H/8", "W/8", 2), (6, 9, 2)), ((7, "W/64"), (7, 2))]
)
def test_a_shape_is_relative_to_the_input_and_rounded_up(shape: tuple[int | str, ...], expected: object) -> None:
    assert dataclasses.replace(SEMANTIC, shape=shape).shape_at((65, 48)) == expected


def test_a_card_lists_its_outputs_and_reads_them_back() -> None:
    card = dataclasses.replace(card_of(), outputs=(SEMANTIC, CONFIDENCE), precision="fp32", graphs=())
    tree = card.to_json()
    assert '"tensor": "confidence"' in tree


@pytest.mark.parametrize(
    ("outputs", "problem"),
    [
        ((CONFIDENCE,), "expected one called semantic"),
        ((SEMANTIC, SEMANTIC), "semantic is listed twice"),
        ((SEMANTIC, dataclasses.replace(CONFIDENCE, decoder="depth")), "expected a decoder of class_ids"),
        ((SEMANTIC, dataclasses.replace(CONFIDENCE, dtype="float32")), "confidence expects uint8, got float32"),
    ],
)
def test_a_list_of_outputs_that_cannot_be_is_refused(outputs: tuple[Output, ...], problem: str) -> None:
    assert any(problem in found for found in output_problems(outputs))


def test_default_outputs_are_computed_and_others_when_they_are_asked_for() -> None:
    listed = (SEMANTIC, CONFIDENCE)
    assert select(listed, (), "x") == (SEMANTIC,)
    assert select(listed, ["confidence"], "x") == listed
    with pytest.raises(EngineError, match="engine x: expected an output of semantic, got 'confidence'"):
        select((SEMANTIC,), ["confidence"], "x")


def test_an_engine_computes_confidence_only_when_it_is_asked_for(colour_bundle: Bundle, flag: Image) -> None:
    card = dataclasses.replace(colour_bundle.card, outputs=(SEMANTIC, CONFIDENCE))
    bundle = Bundle(colour_bundle.folder, card)
    with OpenVinoEngine(bundle) as plain, OpenVinoEngine(bundle, outputs=["confidence"]) as asked:
        assert set(plain.infer(flag)) == {"semantic"}
        found = asked.infer(flag)
    assert set(found) == {"semantic", "confidence"}
    assert found["confidence"].shape == found["semantic"].shape
    assert found["confidence"].min() < found["confidence"].max()


def test_the_engine_of_a_card_without_a_list_of_outputs_gives_class_ids(tmp_path: Path, make_card: object) -> None:
    old = dataclasses.replace(card_of(), format=2, outputs=(dataclasses.replace(SEMANTIC, tensor="classes"),))
    text = old.to_json()
    assert "outputs" not in text
    with pytest.raises(EngineError, match="precision: no graph is fp32"):  # all else is in order
        Card.from_json(text, "card.json")


@pytest.mark.parametrize("step", [1, 8])
def test_the_bars_are_cut_off_a_map_at_any_resolution(step: int) -> None:
    box = Letterbox.fit((64, 32), (64, 48))  # 8 rows of bar above and below
    spec = Output("depth", "float32", (f"H/{step}", f"W/{step}"), "value_map", "", "depth")
    depth = np.zeros((48 // step, 64 // step), np.float32)
    depth[8 // step : 40 // step] = 1
    frame = Frame(index=0, captured_ns=0, source="x", bgr=np.zeros((32, 64, 3), np.uint8))
    outputs = {"semantic": np.zeros((48, 64), np.uint8), "depth": depth}
    result = Prediction(frame, outputs, box, card_of().table, 1, {"semantic": SEMANTIC, "depth": spec})
    assert result.content("depth").shape == (32 // step, 64 // step)
    assert result.summaries() == {"depth": {"mean": 1.0, "min": 1.0, "max": 1.0}}
