"""What is true now, as Prometheus reads it. Names and units follow its conventions: base units, counters in _total."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

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
from edge.status import CAMERA_STATES, STATES
from edge.web.state import AGE_BOUNDS_S, Live, Snapshot

CONTENT_TYPE = CONTENT_TYPE_LATEST


class Metrics:
    """Of cameras by name; that of an only one may be empty, and its metrics then have no label for it.

    A registry of our own: the library's global one is for whoever else is in the process.
    """

    def __init__(self, lives: Mapping[str, Live], viewers: Callable[[str], int]) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Cameras(lives, viewers))
        ProcessCollector(registry=self._registry)  # CPU, memory and open files of this process

    def text(self) -> bytes:
        """The exposition in Prometheus's text format."""
        return generate_latest(self._registry)


class _Cameras(Collector):
    def __init__(self, lives: Mapping[str, Live], viewers: Callable[[str], int]) -> None:
        self._lives, self._viewers = lives, viewers

    def describe(self) -> Iterable[Metric]:
        return ()  # else the registry would collect once to learn the names

    def collect(self) -> Iterable[Metric]:
        families = _Families()
        for name, live in self._lives.items():
            families.camera = {"camera": name} if name else {}
            _of_camera(families, live, live.snapshot())
            about = "Browsers that look at the live page."
            families.put(GaugeMetricFamily, "edge_page_viewers", about, value=self._viewers(name))
        return families.by_name.values()


class _Families:
    """Metric families by name, each begun with its first value; `camera` is the label that all values get."""

    def __init__(self) -> None:
        self.by_name: dict[str, Metric] = {}
        self.camera: dict[str, str] = {}

    def put(self, kind: Any, name: str, about: str, labels: Mapping[str, str] | None = None, **value: Any) -> None:
        all_labels = {**self.camera, **(labels or {})}
        family = self.by_name.get(name)
        if family is None:
            family = self.by_name[name] = kind(name, about, labels=list(all_labels))
        family.add_metric(list(all_labels.values()), **value)  # type: ignore[attr-defined] # each kind has one of its own


def _of_camera(families: _Families, live: Live, now: Snapshot) -> None:
    about = {"version": edge.__version__, "engine": live.card.name, "precision": live.precision}
    families.put(InfoMetricFamily, "edge_build", "What runs.", value=about)
    families.put(CounterMetricFamily, "edge_frames", "Frames segmented.", value=now.frames)
    help_text = "Frames dropped because a newer one was there."
    families.put(CounterMetricFamily, "edge_frames_dropped", help_text, value=now.dropped)
    _put_ages(families, now)
    for name, stage in now.stages.items():
        value = {"count_value": stage.count, "sum_value": stage.total_ns / 1e9}
        families.put(
            SummaryMetricFamily, "edge_stage_seconds", "Time per frame in each stage.", {"stage": name}, **value
        )
    _put_health(families, now)
    for output, count in now.sent.items():
        labels = {"output": output}
        families.put(CounterMetricFamily, "edge_results_sent", "Results sent, by output.", labels, value=count)
    _put_outputs(families, now)


def _put_ages(families: _Families, now: Snapshot) -> None:
    """Buckets are cumulative, each with its upper end; what none holds is below infinity."""
    buckets: list[tuple[str, float]] = []
    total = 0
    for end, count in zip((*map(str, AGE_BOUNDS_S), "+Inf"), now.age_counts, strict=True):
        total += count
        buckets.append((end, total))
    value = {"buckets": buckets, "sum_value": now.age.total_ns / 1e9}
    about = "From a frame's capture to its finished mask."
    families.put(HistogramMetricFamily, "edge_frame_age_seconds", about, **value)
    if now.newest_age_s is not None:
        about = "Since the capture of the newest frame that has a mask."
        families.put(GaugeMetricFamily, "edge_newest_frame_age_seconds", about, value=now.newest_age_s)


def _put_health(families: _Families, now: Snapshot) -> None:
    about = "1 for the state that the camera is in, else 0."
    for name in CAMERA_STATES:
        families.put(
            GaugeMetricFamily, "edge_camera_state", about, {"state": name}, value=float(name == now.camera.state)
        )
    about = "How often the camera gave frames again after it was lost."
    families.put(CounterMetricFamily, "edge_camera_restarts", about, value=now.camera.totals.get("restarts", 0))
    changed_s = time.time() - (now.at_ns - now.camera.since_ns) / 1e9
    about = "When the camera came into its state, Unix time."
    families.put(GaugeMetricFamily, "edge_camera_state_changed_timestamp_seconds", about, value=changed_s)


def _put_outputs(families: _Families, now: Snapshot) -> None:
    """What each output says of itself: docs/web.md says what the names mean."""
    for output, health in now.outputs.items():
        for state in STATES:
            labels = {"output": output, "state": state}
            about = "1 for the state that the output is in, else 0."
            families.put(GaugeMetricFamily, "edge_output_state", about, labels, value=float(state == health.state))
        for name, count in health.totals.items():
            about = f"{name} of the output {output} since its start.".replace("_", " ")
            families.put(CounterMetricFamily, f"edge_{output}_{name}", about, value=count)
        for name, level in health.levels.items():
            about = f"{name} of the output {output} now.".replace("_", " ")
            families.put(GaugeMetricFamily, f"edge_{output}_{name}", about, value=level)
