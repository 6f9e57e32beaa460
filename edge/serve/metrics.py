"""What is true now, as Prometheus reads it. Names and units follow its conventions: base units, counters in _total."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Metric, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    SummaryMetricFamily,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

import edge
from edge.serve.state import AGE_BOUNDS_S, CAMERA_STATES, Live, Snapshot

CONTENT_TYPE = CONTENT_TYPE_LATEST


class Metrics:
    """A registry of our own: the library's global one is for whoever else is in the process."""

    def __init__(self, live: Live, viewers: Callable[[], int]) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_LiveCollector(live, viewers))
        ProcessCollector(registry=self._registry)  # CPU, memory and open files of this process

    def text(self) -> bytes:
        """The exposition in Prometheus's text format."""
        return generate_latest(self._registry)


class _LiveCollector(Collector):
    def __init__(self, live: Live, viewers: Callable[[], int]) -> None:
        self._live, self._viewers = live, viewers

    def describe(self) -> Iterable[Metric]:
        return ()  # else the registry would collect once to learn the names

    def collect(self) -> Iterable[Metric]:
        live, now = self._live, self._live.look()
        about = {"version": edge.__version__, "engine": live.card.name, "precision": live.precision}
        yield InfoMetricFamily("edge_build", "What runs.", value=about)
        yield CounterMetricFamily("edge_frames", "Frames segmented.", value=now.frames)
        yield CounterMetricFamily(
            "edge_frames_dropped", "Frames dropped because a newer one was there.", value=now.dropped
        )
        yield _age(now)
        if now.newest_age_s is not None:
            help_text = "Since the capture of the newest frame that has a mask."
            yield GaugeMetricFamily("edge_newest_frame_age_seconds", help_text, value=now.newest_age_s)
        yield _stages(now)
        yield from _camera(now)
        yield _sent(now)
        yield GaugeMetricFamily("edge_page_viewers", "Browsers that look at the live page.", value=self._viewers())


def _age(now: Snapshot) -> Metric:
    """Buckets are cumulative, each with its upper end; what none holds is below infinity."""
    buckets: list[tuple[str, float]] = []
    total = 0
    for end, count in zip((*map(str, AGE_BOUNDS_S), "+Inf"), now.age_counts, strict=True):
        total += count
        buckets.append((end, total))
    help_text = "From a frame's capture to its finished mask."
    return HistogramMetricFamily("edge_frame_age_seconds", help_text, buckets=buckets, sum_value=now.age.total_ns / 1e9)


def _stages(now: Snapshot) -> Metric:
    family = SummaryMetricFamily("edge_stage_seconds", "Time per frame in each stage.", labels=["stage"])
    for name, stage in now.stages.items():
        family.add_metric([name], count_value=stage.count, sum_value=stage.total_ns / 1e9)
    return family


def _camera(now: Snapshot) -> Iterable[Metric]:
    state = GaugeMetricFamily("edge_camera_state", "1 for the state that the camera is in, else 0.", labels=["state"])
    for name in CAMERA_STATES:
        state.add_metric([name], float(name == now.camera.state))
    yield state
    help_text = "How often the camera gave frames again after it was lost."
    yield CounterMetricFamily("edge_camera_restarts", help_text, value=now.camera.restarts)
    changed_s = time.time() - (now.at_ns - now.camera.since_ns) / 1e9
    help_text = "When the camera came into its state, Unix time."
    yield GaugeMetricFamily("edge_camera_state_changed_timestamp_seconds", help_text, value=changed_s)


def _sent(now: Snapshot) -> Metric:
    family = CounterMetricFamily("edge_results_sent", "Results sent, by output.", labels=["output"])
    for output, count in now.sent.items():
        family.add_metric([output], count)
    return family
