"""The engine that is opened while its camera still is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edge.backends import open_engine
from edge.backends.shared import SharedEngines
from edge.config import parse_tree
from edge.engine import Engine
from edge.errors import EngineError
from edge.service.config import ServeConfig
from edge.service.engines import EarlyEngine


class Opened(list[Engine]):
    """Each engine that is opened, in turn; no more than `most`."""

    most = 9

    def __call__(self, *words: Any, **options: Any) -> Engine:
        if len(self) == self.most:
            raise EngineError("a graph is damaged")
        self.append(open_engine(*words, **options))
        return self[-1]


@pytest.fixture
def opened() -> Opened:
    return Opened()


def early(opened: Opened, **settings: Any) -> EarlyEngine:
    config = parse_tree({"camera": "/dev/video0", **settings}, ServeConfig, "a test")
    return EarlyEngine(config, "", "test: engine", shared=SharedEngines(opened))


def is_closed(engine: Engine) -> bool:
    width, height = engine.card.input_wh
    try:
        engine.infer(np.zeros((height, width, 3), np.uint8))
    except EngineError as error:
        return "is closed" in str(error)
    return False


def soon(holds: Callable[[], bool], within_s: float = 60.0) -> bool:
    waits = threading.Event()
    return any(holds() or waits.wait(0.01) for _ in range(round(within_s / 0.01)))


@pytest.mark.slow
def test_a_camera_of_the_usual_shape_gets_the_engine_that_was_opened_meanwhile(opened: Opened) -> None:
    with early(opened).for_frames((640, 360)).engine as engine:
        assert len(opened) == 1
        assert engine.card.input_wh == (480, 288)


@pytest.mark.slow
def test_a_camera_of_another_shape_gets_an_engine_of_its_own_and_the_other_is_closed(opened: Opened) -> None:
    with early(opened).for_frames((640, 480)).engine as engine:
        assert engine.card.input_wh == (480, 360)
        assert soon(lambda: len(opened) == 2 and any(map(is_closed, opened)))  # they are opened side by side
        assert {one.card.input_wh: is_closed(one) for one in opened} == {(480, 360): False, (480, 288): True}


@pytest.mark.slow
def test_with_a_ladder_all_its_sizes_are_opened_meanwhile(opened: Opened) -> None:
    with early(opened, ladder={}).for_frames((1920, 1080)).engine as engine:
        assert [step.card.input_wh for step in opened] == [(480, 288), (320, 200)]
        assert engine.card.input_wh == (480, 288)


@pytest.mark.slow
def test_an_engine_that_nobody_asks_for_is_closed_when_it_is_open(opened: Opened) -> None:
    waiting = early(opened)
    assert soon(lambda: len(opened) == 1)
    waiting.close()
    assert soon(lambda: is_closed(opened[0]))


def test_what_keeps_it_from_opening_is_said_where_it_is_asked_for(opened: Opened) -> None:
    with pytest.raises(EngineError, match="1 to"):
        early(opened, threads=999).for_frames((1280, 720))


@pytest.mark.slow
def test_where_a_step_of_the_ladder_does_not_open_those_before_it_are_closed(opened: Opened) -> None:
    opened.most = 1
    with pytest.raises(EngineError, match="a graph is damaged"):
        early(opened, ladder={}).for_frames((1920, 1080))
    assert is_closed(opened[0])
