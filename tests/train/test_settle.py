"""What labels leave open, settled by an engine (`edge.train.settle`)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from bundles import MakeCard
from pydantic import ValidationError
from stand_in import ROAD, SKY, BrightnessEngine

from edge.classes import CAMVID
from edge.errors import ConfigError
from edge.frame import Image
from edge.outputs import CONFIDENCE, SEMANTIC
from edge.train.recipe import Settled
from edge.train.settle import settled
from edge.train.unions import Unions, parse_meaning

NOT_ROAD, NOT_SKY = (parse_meaning(text, CAMVID) for text in ("not Road", "not Sky"))
UNIONS = Unions(CAMVID, [NOT_ROAD, NOT_SKY])
OPEN, NO_SKY, IGNORED, TREE = UNIONS.ids[NOT_ROAD], UNIONS.ids[NOT_SKY], CAMVID.ignore_id, 5


class SureAtTheLeft(BrightnessEngine):
    """Sees sky where it is bright and road where it is dark, and is sure of it in the left half."""

    outputs = (SEMANTIC, CONFIDENCE)

    def infer(self, image: Image) -> dict[str, Image]:
        classes = super().infer(image)["semantic"]
        sure = np.zeros_like(classes)
        sure[:, : classes.shape[1] // 2] = 250
        return {"semantic": classes, "confidence": sure}


def after(make_card: MakeCard, level: int, label: int, **changes: Any) -> list[int]:
    """The labels of a frame of that grey level, all of whose pixels have that label: at the left, at the right."""
    image, labels = np.full((24, 32, 3), level, np.uint8), np.full((24, 32), label, np.uint8)
    plan = Settled(**{"engine": "brightness", "classes": ("Sky",), **changes})
    ((_, found),) = settled([(image, labels)], plan, UNIONS, SureAtTheLeft(make_card))
    assert found.dtype == np.uint8
    return [int(found[12, 4]), int(found[12, 28])]


@pytest.mark.parametrize(
    ("level", "label", "expected"),
    [
        (250, OPEN, [SKY, OPEN]),  # only where the engine is sure
        (250, NO_SKY, [NO_SKY, NO_SKY]),  # what the label excludes stays excluded
        (0, OPEN, [OPEN, OPEN]),  # of road the engine is not believed here, and the label excludes it
        (0, NO_SKY, [NO_SKY, NO_SKY]),
        (250, TREE, [TREE, TREE]),  # a label of one class stays
        (250, IGNORED, [IGNORED, IGNORED]),
    ],
)
def test_an_open_label_becomes_what_a_sure_engine_says(
    make_card: MakeCard, level: int, label: int, expected: list[int]
) -> None:
    assert after(make_card, level, label) == expected


def test_an_engine_is_believed_in_the_classes_that_are_named(make_card: MakeCard) -> None:
    assert after(make_card, 0, NO_SKY, classes=("Sky", "Road")) == [ROAD, NO_SKY]


def test_it_must_be_as_sure_as_the_recipe_wants(make_card: MakeCard) -> None:
    assert after(make_card, 250, OPEN, confidence=0.99) == [OPEN, OPEN]


def test_a_class_that_the_engine_lacks_is_refused(make_card: MakeCard) -> None:
    engine = SureAtTheLeft(make_card)
    plan = Settled(engine="brightness", classes=("Kerb",))
    with pytest.raises(ConfigError, match="brightness has no class 'Kerb'"):
        settled([], plan, UNIONS, engine)


def test_a_recipe_names_classes_of_its_own() -> None:
    with pytest.raises(ValidationError, match="classes"):
        Settled(engine="road", classes=())
