"""The engine that comes with edge."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from bundles import graph_of

import edge
from edge.classes import CAMVID
from edge.engine import Engine, find_bundle, open_engine
from edge.evaluate import evaluate
from edge.frame import Frame
from edge.metrics import Confusion
from edge.segmenter import Segmenter
from edge.sources.scene import StreetScene

DATA = Path(os.environ.get("EDGE_DATA") or Path(__file__).parents[2] / "shared" / "data")


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        with open_engine() as engine:
            yield engine


def test_it_is_whole_small_enough_for_the_wheel_and_says_what_it_was_trained_on() -> None:
    bundle = find_bundle()
    assert len(graph_of(bundle)) <= 12e6
    assert bundle.card.name == "road"
    assert bundle.card.table == CAMVID
    assert "CamVid" in bundle.card.training_data
    assert "non-commercial" in bundle.card.licence
    assert bundle.card.measured.accuracy[0].iou["Road"] is not None
    assert bundle.card.measured.speed[0].p50_ms > 0


def test_it_sees_the_road_and_the_sky_of_a_rendered_street(road: Engine) -> None:
    scene, segmenter, confusion = StreetScene(7, (640, 360)), Segmenter(road), Confusion(11, (11, 255))
    for index in range(0, 300, 60):
        drawn = scene.render(index)
        result = segmenter.segment(Frame(index=index, captured_ns=0, source="street", bgr=drawn.image))
        confusion.add(drawn.classes, result.class_map())
    iou = dict(zip(CAMVID.names, confusion.iou(), strict=True))
    assert iou["Road"] > 0.8
    assert iou["Sky"] > 0.8
    assert iou["Car"] > 0.5


def test_the_api_of_the_readme_works(road: Engine) -> None:
    results = list(edge.segment("scene:street?seed=7&frames=2&size=320x180", road))
    assert [result.frame.index for result in results] == [0, 1]
    assert results[0].mask("road").shape == (180, 320)
    assert 0.1 < results[0].mask("road").mean() < 0.7
    assert results[0].mask("pedestrian").dtype == np.bool_
    assert results[0].age_ms > 0
    assert results[0].overlay().shape == (180, 320, 3)


@pytest.mark.skipif(not (DATA / "camvid" / "val").is_dir(), reason=f"no CamVid in {DATA}; set EDGE_DATA")
def test_its_card_tells_the_truth_about_camvid_val(road: Engine) -> None:
    score = evaluate(str(DATA / "camvid" / "val"), DATA / "camvid" / "valannot", road).as_json()
    claimed = road.card.measured.accuracy[0]
    assert score["frame_count"] == claimed.frames == 101
    assert score["miou"] == pytest.approx(claimed.miou, abs=0.002)
    assert score["iou"]["Road"] == pytest.approx(claimed.iou["Road"], abs=0.002)
    assert score["iou"]["Pedestrian"] == pytest.approx(claimed.iou["Pedestrian"], abs=0.005)
