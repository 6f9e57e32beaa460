"""The engine that is opened while its camera still is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edge.backends import open_engine
from edge.config import parse_tree
from edge.engine import Engine
from edge.errors import EngineError
from edge.service import engines
from edge.service.config import ServeConfig
from edge.service.engines import EarlyEngine


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Engine]:
    """Each engine that is opened, in turn."""
    found: list[Engine] = []

    def opens(*words: Any, **options: Any) -> Engine:
        found.append(open_engine(*words, **options))
        return found[-1]

    monkeypatch.setattr(engines, "open_engine", opens)
    return found


def early(**settings: Any) -> EarlyEngine:
    return EarlyEngine(parse_tree({"camera": "/dev/video0", **settings}, ServeConfig, "a test"), "", "test: engine")


def is_closed(engine: Engine) -> bool:
    width, height = engine.card.input_wh
    try:
        engine.infer(np.zeros((height, width, 3), np.uint8))
    except EngineError as error:
        return "is closed" in str(error)
    return False


def test_a_camera_of_the_usual_shape_gets_the_engine_that_was_opened_meanwhile(opened: list[Engine]) -> None:
    with early().for_frames((640, 360)).engine as engine:
        assert opened == [engine]
        assert engine.card.input_wh == (480, 288)


@pytest.mark.slow
def test_a_camera_of_another_shape_gets_an_engine_of_its_own_and_the_other_is_closed(opened: list[Engine]) -> None:
    with early().for_frames((640, 480)).engine as engine:
        assert engine.card.input_wh == (480, 360)
        first, second = opened
        assert engine is second
        assert is_closed(first)
        assert not is_closed(second)


@pytest.mark.slow
def test_with_a_ladder_all_its_sizes_are_opened_meanwhile(opened: list[Engine]) -> None:
    with early(ladder={}).for_frames((1920, 1080)).engine as engine:
        assert [step.card.input_wh for step in opened] == [(480, 288), (320, 200)]
        assert engine.card.input_wh == (480, 288)


def test_an_engine_that_nobody_asks_for_is_closed_when_it_is_open(opened: list[Engine]) -> None:
    waiting = early()
    expected = waiting._expected
    assert expected is not None
    waiting.close()
    expected.result(30)
    assert is_closed(opened[0])


def test_what_keeps_it_from_opening_is_said_where_it_is_asked_for() -> None:
    with pytest.raises(EngineError, match="1 to"):
        early(threads=999).for_frames((1280, 720))


def test_where_a_step_of_the_ladder_does_not_open_those_before_it_are_closed(
    opened: list[Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    opens = engines.open_engine

    def opens_one(*words: Any, **options: Any) -> Engine:
        if opened:
            raise EngineError("a graph is damaged")
        return opens(*words, **options)

    monkeypatch.setattr(engines, "open_engine", opens_one)
    with pytest.raises(EngineError, match="a graph is damaged"):
        early(ladder={}).for_frames((1920, 1080))
    assert is_closed(opened[0])
