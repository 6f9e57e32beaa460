from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stand_in import BrightnessEngine

from edge.errors import ConfigError
from edge.frame import Frame
from edge.ladder import DOWN_AFTER_S, UP_AFTER_S, Heat, Ladder, LadderEngine
from edge.segmenter import Segmenter

PERIOD_NS = 33_000_000


def steps_of(ages_ms: list[float], steps: int = 3, hot: bool = False) -> list[int]:
    """The step after each mask, at 30 Hz with a deadline of 50 ms."""
    ladder, found = Ladder(steps, 50), []
    for place, age_ms in enumerate(ages_ms):
        ladder.update(age_ms, place * PERIOD_NS, hot)
        found.append(ladder.step)
    return found


def test_masks_in_time_stay_on_the_best_step() -> None:
    assert set(steps_of([20.0] * 600)) == {0}


def test_late_masks_step_down_one_by_one_after_a_second_each() -> None:
    steps = steps_of([80.0] * 100)
    assert steps[-1] == 2
    assert steps.index(1) == pytest.approx(DOWN_AFTER_S * 1e9 / PERIOD_NS, abs=1)
    assert steps.index(2) - steps.index(1) == pytest.approx(DOWN_AFTER_S * 1e9 / PERIOD_NS, abs=1)


def test_a_few_late_masks_change_nothing() -> None:
    assert set(steps_of(([20.0] * 9 + [80.0]) * 60)) == {0}


def test_it_steps_up_only_after_ten_seconds_with_room_for_twice_the_time() -> None:
    steps = steps_of([80.0] * 35 + [15.0] * 700)
    assert steps[40] == 1
    assert steps[-1] == 0
    assert steps[40:].index(0) > 0.9 * UP_AFTER_S * 1e9 / PERIOD_NS
    assert set(steps_of([80.0] * 35 + [30.0] * 700)[40:]) == {1}  # in time, but there is no room


def test_a_hot_machine_steps_down_and_stays_there() -> None:
    assert steps_of([5.0] * 400, hot=True)[-1] == 2


@given(ages_ms=st.lists(st.floats(0, 200), max_size=300), steps=st.integers(1, 4), hot=st.booleans())
def test_it_moves_one_step_at_a_time_within_the_ladder_and_not_twice_in_a_second(
    ages_ms: list[float], steps: int, hot: bool
) -> None:
    found = [0, *steps_of(ages_ms, steps, hot)]
    changes = [place for place, (a, b) in enumerate(pairwise(found)) if a != b]
    assert all(0 <= step < steps for step in found)
    assert all(abs(a - b) <= 1 for a, b in pairwise(found))
    assert all((b - a) * PERIOD_NS >= DOWN_AFTER_S * 1e9 for a, b in pairwise(changes))


def zone(root: Path, name: str, temp: str, **trips: str) -> None:
    folder = root / "sys/class/thermal" / name
    folder.mkdir(parents=True)
    (folder / "temp").write_text(temp + "\n")
    for place, (kind, limit) in enumerate(trips.items()):
        (folder / f"trip_point_{place}_type").write_text(kind + "\n")
        (folder / f"trip_point_{place}_temp").write_text(limit + "\n")


def test_a_zone_near_the_temperature_where_its_kernel_throttles_is_hot(tmp_path: Path) -> None:
    zone(tmp_path, "thermal_zone0", "61000", critical="105000", passive="99000")
    zone(tmp_path, "thermal_zone1", "61000")
    now_s = [0.0]
    heat = Heat(tmp_path, lambda: now_s[0])
    assert not heat.is_hot()
    (tmp_path / "sys/class/thermal/thermal_zone0/temp").write_text("96500\n")
    assert not heat.is_hot()  # looked up two seconds later
    now_s[0] = 2.5
    assert heat.is_hot()


@pytest.mark.parametrize("temp", ["", "nonsense", "-40000"])
def test_a_zone_that_cannot_be_read_is_not_hot(tmp_path: Path, temp: str) -> None:
    zone(tmp_path, "thermal_zone0", temp, passive="99000")
    zone(tmp_path, "thermal_zone1", "150000", passive="0")  # a trip point that is switched off
    assert not Heat(tmp_path).is_hot()


def test_a_machine_without_zones_is_not_hot(tmp_path: Path) -> None:
    assert not Heat(tmp_path).is_hot()


def test_frames_after_a_step_are_drawn_at_its_size(make_card: object) -> None:
    large, small = BrightnessEngine(make_card, (32, 24)), BrightnessEngine(make_card, (16, 12))
    engine = LadderEngine([large, small])
    segmenter = Segmenter(engine)
    frame = Frame(index=0, captured_ns=0, source="test", bgr=np.zeros((48, 64, 3), np.uint8))
    assert segmenter.segment(frame).semantic.shape == (24, 32)
    engine.use(1)
    assert segmenter.segment(frame).semantic.shape == (12, 16)
    engine.use(0)
    assert segmenter.segment(frame).semantic.shape == (24, 32)


def test_a_ladder_needs_a_step() -> None:
    with pytest.raises(ConfigError, match="needs a step"):
        LadderEngine([])
