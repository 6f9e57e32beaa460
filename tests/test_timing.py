from __future__ import annotations

import math
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.timing import BINS_PER_OCTAVE, Durations, Stages


@given(
    times_ns=st.lists(st.integers(1, 10**12), min_size=1, max_size=200),
    percent=st.one_of(st.sampled_from([0, 50, 95, 99, 100]), st.floats(0, 100)),
)
def test_a_percentile_is_within_its_resolution_of_the_exact_one(times_ns: list[int], percent: float) -> None:
    durations = Durations()
    for time_ns in times_ns:
        durations.add(time_ns)
    exact_ms = float(np.percentile(times_ns, percent, method="inverted_cdf")) / 1e6
    assert durations.percentile_ms(percent) == pytest.approx(exact_ms, rel=2 ** (1 / BINS_PER_OCTAVE) - 1)


@given(times_ns=st.lists(st.integers(1, 10**15), min_size=1))
def test_count_sum_and_mean_are_exact_and_percentiles_stay_between_least_and_greatest(times_ns: list[int]) -> None:
    durations = Durations()
    for time_ns in times_ns:
        durations.add(time_ns)
    assert durations.count == len(times_ns)
    assert durations.total_ns == sum(times_ns)
    assert durations.mean_ms == pytest.approx(sum(times_ns) / len(times_ns) / 1e6)
    assert (durations.least_ns, durations.greatest_ns) == (min(times_ns), max(times_ns))
    for percent in (0, 50, 100):
        assert min(times_ns) / 1e6 <= durations.percentile_ms(percent) <= max(times_ns) / 1e6


def test_memory_does_not_grow_with_the_number_of_durations() -> None:
    durations = Durations()
    durations.add(1_000_000)
    before = sys.getsizeof(durations._bins)
    for time_ns in range(1, 20_000):
        durations.add(time_ns)
    assert sys.getsizeof(durations._bins) == before


def test_no_durations_have_no_percentile_and_no_mean() -> None:
    assert math.isnan(Durations().percentile_ms(50))
    assert math.isnan(Durations().mean_ms)


def test_a_duration_of_nothing_counts_as_a_nanosecond() -> None:
    durations = Durations()
    durations.add(0)
    assert (durations.count, durations.total_ns) == (1, 1)
    assert durations.percentile_ms(50) == 1e-6


def test_a_span_is_counted_even_when_its_block_fails() -> None:
    durations = Durations()
    with pytest.raises(ZeroDivisionError), durations.span():
        _ = 1 / 0
    assert durations.count == 1
    assert durations.total_ns > 0


def test_stages_keep_the_order_in_which_they_were_seen() -> None:
    stages = Stages()
    stages["write"].add(5)
    stages["encode"].add(7)
    stages["write"].add(6)
    assert [(name, times.count, times.total_ns) for name, times in stages.by_name.items()] == [
        ("write", 2, 11),
        ("encode", 1, 7),
    ]
