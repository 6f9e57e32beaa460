"""The engine for products: trained on what may be shipped in one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from edge.backends import open_engine
from edge.engine import Engine, find_bundle
from edge.frame import Frame
from edge.segmenter import Segmenter
from edge.street.render import StreetScene


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        with open_engine("open", backend="openvino") as engine:
            yield engine


def test_nothing_that_it_learned_from_forbids_a_product() -> None:
    card = find_bundle("open").card
    said = " ".join([card.licence, card.training_data])
    assert "Apache-2.0" in said
    assert not any(word in said.lower() for word in ("non-commercial", "camvid", "coco", "flickr"))


def test_it_has_the_groups_that_events_and_overlays_ask_for() -> None:
    card, road = find_bundle("open").card, find_bundle("road").card
    assert {"road", "pavement", "pedestrian", "vehicle"} <= set(card.table.groups)
    assert {one.input_wh for one in card.graphs} <= {one.input_wh for one in road.graphs}
    assert "marking_grades" in {output.name for output in card.outputs}


@pytest.mark.slow
def test_it_runs_in_int8_and_lost_no_more_to_fp32_than_it_may(engine: Engine) -> None:
    gate = engine.card.gate
    assert (engine.precision, gate is not None) == ("int8", True)
    assert gate is not None
    for lost in gate.lost.values():
        assert all(lost[name] <= points for name, points in gate.limits.items())


@pytest.mark.slow
def test_it_sees_the_road_of_a_rendered_street(engine: Engine) -> None:
    drawn = StreetScene(7, (640, 360)).render(40)
    result = Segmenter(engine).segment(Frame(index=0, captured_ns=0, source="street", bgr=drawn.image))
    found = np.isin(result.class_map(), list(engine.card.table.ids("road")))
    truth = drawn.classes == 3  # Road of CamVid, which the street is drawn in
    assert (found & truth).sum() / (found | truth).sum() > 0.8
