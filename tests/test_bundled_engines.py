"""What holds for every engine that comes with edge, in the wheel or in the repository."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from scenes import iou_of_street

from edge.backends import open_engine
from edge.engine import Engine

pytestmark = pytest.mark.slow

LARGE = str(Path(__file__).parents[1] / "engines" / "large")


@pytest.fixture(scope="module", params=["road", "small", "open", LARGE])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        with open_engine(request.param, backend="openvino") as engine:
            yield engine


def test_it_runs_in_int8_and_lost_no_more_to_fp32_than_it_may(engine: Engine) -> None:
    assert engine.precision == "int8"
    gate = engine.card.gate
    assert gate is not None
    assert gate.limits == {"miou": 0.5, "road": 0.3, "pedestrian": 0.5 if engine.card.name == "road" else 1.0}
    for lost in gate.lost.values():
        assert all(lost[name] <= points for name, points in gate.limits.items())


def test_it_sees_the_road_and_the_sky_of_a_rendered_street(engine: Engine) -> None:
    iou = iou_of_street(engine)
    assert "Road" in iou
    assert {name: value for name, value in iou.items() if value <= 0.8} == {}
