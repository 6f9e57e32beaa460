"""The strips of a report: lines over time, also through what is measured now and then."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.evaluate.strips import _GAP_COLUMNS, _line

NAN = float("nan")


def path_of(values: list[float]) -> str:
    (path,) = re.findall(r'<path d="([^"]*)"', _line("steady", np.array(values), 0, []))
    return path


@pytest.mark.parametrize("every", [2, 3, 15])
def test_what_is_measured_every_few_frames_is_one_line(every: int) -> None:
    values = [0.9 + 0.001 * place if place % every == 1 else NAN for place in range(300)]
    path = path_of(values)
    assert path.count("M") == 1
    assert path.count("L") == sum(np.isfinite(values)) - 1


def test_a_wide_gap_stays_one_and_a_point_alone_is_a_dot() -> None:
    gap = [NAN] * (_GAP_COLUMNS + 5)
    path = path_of([0.5] * 5 + [0.6, *gap, 0.7, *gap, 0.8, 0.9])
    assert path.count("M") == 3
    assert path.count("L") == 6
    assert path.count("h0") == 3


@given(st.lists(st.floats(0, 1) | st.just(NAN), min_size=1, max_size=80).filter(lambda v: np.isfinite(v).any()))
def test_every_known_value_is_drawn_once(values: list[float]) -> None:
    points = re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", path_of(values))
    assert len(points) == np.isfinite(values).sum()
    assert all(0 <= float(y) <= 54 for _, y in points)
