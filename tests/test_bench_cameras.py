"""`edge bench --cameras`: how many cameras one engine carries."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from videos import write_video

from edge.backends.openvino import OpenVinoEngine
from edge.bench_cameras import bench_cameras
from edge.cli import make_app
from edge.engine import Bundle
from edge.errors import ConfigError
from edge.frame import Image
from edge.timing import Durations

FRAMES = 12


@pytest.fixture
def video(tmp_path: Path) -> str:
    return str(write_video(tmp_path / "drive.mp4", FRAMES))


@pytest.mark.slow
def test_each_number_of_cameras_is_tried_until_one_loses_frames(
    video: str, colour_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an inference that lasts longer than eight cameras at this rate leave time for."""
    infer = OpenVinoEngine.infer

    def infer_slowly(engine: OpenVinoEngine, image: Image) -> Any:
        time.sleep(0.12)
        return infer(engine, image)

    monkeypatch.setattr(OpenVinoEngine, "infer", infer_slowly)
    found = bench_cameras(str(colour_bundle.folder), 8, video, frames=FRAMES, threads=1)
    rounds = found.figures["rounds"]
    assert [one["cameras"] for one in rounds] == list(range(1, len(rounds) + 1))
    assert [one["carried"] for one in rounds] == [True] * (len(rounds) - 1) + [False]
    assert found.figures["carried"] == len(rounds) - 1
    assert found.figures["found_limit"]
    assert f"This machine carries {len(rounds) - 1} of such cameras" in str(found)


def test_figures_go_into_the_json_file(video: str, colour_bundle: Bundle, tmp_path: Path) -> None:
    target = tmp_path / "figures.json"
    words = ["bench", "--cameras", "1", "--engine", str(colour_bundle.folder), "--source", video, "--frames", "20"]
    make_app(["bench"])([*words, "--json", str(target)], standalone_mode=False)
    figures = json.loads(target.read_text())
    assert [one["cameras"] for one in figures["rounds"]] == [1]
    assert figures["rounds"][0]["age"]["p50_ms"] > 0


def test_a_camera_cannot_be_played_several_times(colour_bundle: Bundle) -> None:
    with pytest.raises(ConfigError, match="expected a recording"):
        bench_cameras(str(colour_bundle.folder), 2, "/dev/video987")


def test_durations_together_have_all_counts() -> None:
    low, high, both = Durations(), Durations(), Durations()
    for number in range(1, 101):
        low.add(number)
        high.add(1000 * number)
        both.add(number)
        both.add(1000 * number)
    low.merge(Durations())
    low.merge(high)
    figures = [(one.count, one.total_ns, one.least_ns, one.greatest_ns) for one in (low, both)]
    assert figures[0] == figures[1]
    assert [low.percentile_ms(p) for p in (1, 50, 99)] == [both.percentile_ms(p) for p in (1, 50, 99)]
