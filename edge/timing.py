"""Durations, kept in bounded memory however long a run lasts, and what a run's figures add up to."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

BINS_PER_OCTAVE = 32  # 2.2 % resolution
OCTAVES = 44  # up to 2**44 ns, almost five hours


class Durations:
    """A histogram of durations in ns, log-spaced: percentiles to 2.2 %, exact count, sum, least and greatest.

    Any thread may add and read: sinks in threads of their own share the stages that they have in common.
    """

    __slots__ = ("_bins", "_lock", "count", "greatest_ns", "least_ns", "total_ns")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bins = [0] * (BINS_PER_OCTAVE * OCTAVES)
        self.count = 0
        self.total_ns = 0
        self.least_ns = 0
        self.greatest_ns = 0

    def add(self, duration_ns: int) -> None:
        """Count one; what is below 1 ns counts as 1 ns."""
        duration_ns = max(1, duration_ns)
        place = int(math.log2(duration_ns) * BINS_PER_OCTAVE)
        with self._lock:
            self._bins[min(place, len(self._bins) - 1)] += 1
            self.least_ns = duration_ns if self.count == 0 else min(self.least_ns, duration_ns)
            self.greatest_ns = max(self.greatest_ns, duration_ns)
            self.total_ns += duration_ns
            self.count += 1

    def merge(self, other: Durations) -> None:
        """Count all of another one, too."""
        with other._lock:
            bins, count, total_ns = list(other._bins), other.count, other.total_ns
            least_ns, greatest_ns = other.least_ns, other.greatest_ns
        if not count:
            return
        with self._lock:
            self._bins = [a + b for a, b in zip(self._bins, bins, strict=True)]
            self.least_ns = min(self.least_ns, least_ns) if self.count else least_ns
            self.greatest_ns = max(self.greatest_ns, greatest_ns)
            self.total_ns += total_ns
            self.count += count

    @contextmanager
    def span(self) -> Iterator[None]:
        """Add the time the block takes."""
        start_ns = time.perf_counter_ns()
        try:
            yield
        finally:
            self.add(time.perf_counter_ns() - start_ns)

    def percentile_ms(self, percent: float) -> float:
        """The duration in ms that `percent` of all do not exceed; NaN when there are none."""
        if self.count == 0:
            return math.nan
        rank = max(1, math.ceil(self.count * percent / 100))
        seen = 0
        for place, number in enumerate(self._bins):
            seen += number
            if seen >= rank:
                middle_ns = 2 ** ((place + 0.5) / BINS_PER_OCTAVE)
                return min(max(middle_ns, self.least_ns), self.greatest_ns) / 1e6
        return self.greatest_ns / 1e6

    @property
    def mean_ms(self) -> float:
        """Exact, not from the bins; NaN when there are none."""
        return self.total_ns / self.count / 1e6 if self.count else math.nan


class Stages:
    """Durations by stage name, in the order in which stages were first seen."""

    def __init__(self) -> None:
        self.by_name: dict[str, Durations] = {}

    def __getitem__(self, name: str) -> Durations:
        """The stage's durations; a new stage starts empty."""
        stage = self.by_name.get(name)
        return self.by_name.setdefault(name, Durations()) if stage is None else stage
