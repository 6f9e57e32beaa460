from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="pip install 'edge-segmentation[serve]'")
import prometheus_client
from prometheus_client.parser import text_string_to_metric_families
from web_client import ask

import edge
from edge.status import Status
from edge.timing import Stages
from edge.web.metrics import Metrics
from edge.web.server import WebServer
from edge.web.state import Live


def samples(text: bytes) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families = text_string_to_metric_families(text.decode())
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def plain(**labels: str) -> frozenset[tuple[str, str]]:
    return frozenset(labels.items())


def test_metrics_say_what_happened(live: Live, make_result: Any, stages: Stages) -> None:
    stages["infer"].add(5_000_000)
    stages["infer"].add(7_000_000)
    live.publish(make_result(0, age_ms=12), 0)
    live.publish(make_result(1, age_ms=60), 4)
    live.set_camera_state("degraded", "fps")
    live.count_sent("mqtt")
    found = samples(Metrics({"": live}, lambda name: 3).text())
    assert found["edge_frames_total", plain()] == 2
    assert found["edge_frames_dropped_total", plain()] == 4
    assert found["edge_frame_age_seconds_bucket", plain(le="0.01")] == 0
    assert found["edge_frame_age_seconds_bucket", plain(le="0.02")] == 1
    assert found["edge_frame_age_seconds_bucket", plain(le="0.075")] == 2
    assert found["edge_frame_age_seconds_bucket", plain(le="+Inf")] == 2
    assert found["edge_frame_age_seconds_count", plain()] == 2
    assert round(found["edge_frame_age_seconds_sum", plain()], 6) == 0.072
    assert found["edge_stage_seconds_count", plain(stage="infer")] == 2
    assert round(found["edge_stage_seconds_sum", plain(stage="infer")], 6) == 0.012
    assert found["edge_camera_state", plain(state="degraded")] == 1
    assert found["edge_camera_state", plain(state="ok")] == 0
    assert found["edge_results_sent_total", plain(output="mqtt")] == 1
    assert found["edge_page_viewers", plain()] == 3
    assert found["edge_build_info", plain(version=edge.__version__, engine="colours", precision="int8")] == 1
    assert found["edge_newest_frame_age_seconds", plain()] > 0.06
    assert found["process_resident_memory_bytes", plain()] > 1e6


def test_each_of_several_cameras_has_its_label(make_card: Any, make_result: Any) -> None:
    engine: Any = SimpleNamespace(card=make_card(b""), precision="int8")
    lives = {name: Live(engine, name, dict) for name in ("front", "rear")}
    lives["rear"].publish(make_result(), 0)
    found = samples(Metrics(lives, {"front": 1, "rear": 0}.__getitem__).text())
    assert found["edge_frames_total", plain(camera="front")] == 0
    assert found["edge_frames_total", plain(camera="rear")] == 1
    assert found["edge_camera_state", plain(camera="rear", state="ok")] == 1
    assert found["edge_page_viewers", plain(camera="front")] == 1


def test_outputs_say_how_they_are_and_what_they_count(make_card: Any) -> None:
    health = Status("lost", "no such host", totals={"frames_sent": 7}, levels={"events_waiting": 3})
    engine: Any = SimpleNamespace(card=make_card(b""), precision="int8")
    live = Live(engine, "0", dict, outputs=lambda: {"mqtt": health})
    found = samples(Metrics({"": live}, lambda name: 0).text())
    assert found["edge_output_state", plain(output="mqtt", state="lost")] == 1
    assert found["edge_output_state", plain(output="mqtt", state="ok")] == 0
    assert found["edge_mqtt_frames_sent_total", plain()] == 7
    assert found["edge_mqtt_events_waiting", plain()] == 3


def test_before_the_first_frame_there_is_no_age_to_tell(live: Live) -> None:
    found = samples(Metrics({"": live}, lambda name: 0).text())
    assert ("edge_newest_frame_age_seconds", plain()) not in found
    assert found["edge_frames_total", plain()] == 0


def test_prometheus_reads_them_over_http(server: WebServer) -> None:
    answer = ask(server, "/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert samples(answer.body)["edge_frames_total", plain()] == 0


def test_two_pages_in_one_process_do_not_mix_and_the_global_registry_stays_as_it_was(live: Live) -> None:
    before = prometheus_client.generate_latest().count(b"edge_")
    pages = [Metrics({"": live}, lambda name: 1), Metrics({"": live}, lambda name: 2)]
    assert pages[0].text() != pages[1].text()
    assert prometheus_client.generate_latest().count(b"edge_") == before == 0
