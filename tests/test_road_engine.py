"""The engine that comes with edge."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import edge
from edge.backends import open_engine
from edge.classes import CAMVID
from edge.engine import Engine, find_bundle
from edge.evaluate import evaluate
from edge.street.render import StreetScene

DATA = Path(os.environ.get("EDGE_DATA") or Path(__file__).parents[2] / "shared" / "data")


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        with open_engine(backend="openvino") as engine:
            yield engine


def test_it_is_whole_small_enough_for_the_wheel_and_says_what_it_was_trained_on() -> None:
    bundle = find_bundle()
    sizes = {g.file: len(bundle.read(g)) for g in bundle.card.graphs if g.delta is None}
    assert sizes["int8.openvino.onnx"] <= 12e6  # all that a CPU needs
    assert sum(sizes.values()) <= 30e6
    assert bundle.card.name == "road"
    assert bundle.card.table == CAMVID
    assert "CamVid" in bundle.card.training_data
    assert "non-commercial" in bundle.card.licence
    assert bundle.card.measured.accuracy[0].iou["Road"] is not None
    assert bundle.card.measured.speed[0].p50_ms > 0


def test_all_its_graphs_in_int8_and_half_floats_were_judged() -> None:
    gate = find_bundle().card.gate
    assert gate is not None
    judged = {"int8.openvino.onnx", "int8.tensorrt.onnx", "int8.tensorrt.onnx (half)", "model.onnx (half)"}
    assert judged <= set(gate.lost)


@pytest.mark.slow
def test_its_graphs_for_other_shapes_are_whole() -> None:
    bundle = find_bundle()
    others = {graph.input_wh for graph in bundle.card.graphs if graph.input_wh}
    assert bundle.fitted((1920, 1080)).card.input_wh in others
    for size_wh in others:
        fitted = bundle.at(size_wh)
        assert {graph.precision for graph in fitted.card.graphs} == {"fp32", "int8"}
        assert all(fitted.read(graph) for graph in fitted.card.graphs)  # read checks the hash


@pytest.mark.slow
def test_int8_sees_what_f32_sees(road: Engine) -> None:
    scene = StreetScene(5, (480, 360))
    with open_engine(precision="f32", backend="openvino") as exact:
        for index in (0, 150):
            image = scene.render(index).image
            assert np.mean(road.infer(image)["semantic"] == exact.infer(image)["semantic"]) > 0.985


@pytest.mark.slow
def test_the_api_of_the_readme_works(road: Engine) -> None:
    results = list(edge.segment("scene:street?seed=7&frames=2&size=320x180", road))
    assert [result.frame.index for result in results] == [0, 1]
    assert results[0].mask("road").shape == (180, 320)
    assert 0.1 < results[0].mask("road").mean() < 0.7
    assert results[0].mask("pedestrian").dtype == np.bool_
    assert results[0].age_ms > 0
    assert results[0].overlay().shape == (180, 320, 3)


@pytest.mark.slow
@pytest.mark.skipif(not (DATA / "camvid" / "val").is_dir(), reason=f"no CamVid in {DATA}; set EDGE_DATA")
def test_its_card_tells_the_truth_about_camvid_val(road: Engine) -> None:
    score = evaluate(str(DATA / "camvid" / "val"), DATA / "camvid" / "valannot", road)
    claimed = next(a for a in road.card.measured.accuracy if a.precision == "int8" and a.judge.startswith("OpenVINO"))
    assert score.frames == claimed.frames == 101
    figures = score.figures()
    assert figures["miou"] == pytest.approx(claimed.miou, abs=0.002)
    assert figures["iou"]["Road"] == pytest.approx(claimed.iou["Road"], abs=0.002)
    assert figures["iou"]["Pedestrian"] == pytest.approx(claimed.iou["Pedestrian"], abs=0.005)
