"""The engine for machines on which the default one is too slow."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from scenes import iou_of_street

from edge.backends import open_engine
from edge.classes import CAMVID
from edge.engine import Engine, find_bundle


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        with open_engine("small", backend="openvino") as engine:
            yield engine


def test_it_is_whole_and_a_third_of_the_default_engines_size() -> None:
    small, road = (find_bundle(name) for name in ("small", "road"))
    bytes_of = [sum(len(b.read(g)) for g in b.card.graphs if g.delta is None) for b in (small, road)]
    assert bytes_of[0] < bytes_of[1] / 3
    assert small.card.table == CAMVID
    assert small.card.table.groups == road.card.table.groups
    assert {g.input_wh for g in small.card.graphs} == {g.input_wh for g in road.card.graphs}
    assert "non-commercial" in small.card.licence


@pytest.mark.slow
def test_it_runs_in_int8_and_lost_no_more_to_fp32_than_it_may(small: Engine) -> None:
    assert small.precision == "int8"
    gate = small.card.gate
    assert gate is not None
    assert gate.limits == {"miou": 0.5, "road": 0.3, "pedestrian": 1.0}
    for lost in gate.lost.values():
        assert all(lost[name] <= points for name, points in gate.limits.items())


@pytest.mark.slow
def test_it_sees_the_road_and_the_sky_of_a_rendered_street(small: Engine) -> None:
    iou = iou_of_street(small)
    assert iou["Road"] > 0.8
    assert iou["Sky"] > 0.8
