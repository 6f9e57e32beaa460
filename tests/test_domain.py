from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from stand_in import ROAD, SKY, result_of

from edge.appearance import Appearance
from edge.card import Fingerprint
from edge.classes import CAMVID
from edge.domain import EVERY_FRAMES, UnlikeNow, UnlikeShare, fingerprint_of, warning
from edge.events import Limits
from edge.frame import Image
from edge.pipeline import Summary
from edge.prediction import Prediction
from edge.report import summary_json, summary_text
from edge.sinks.window import _Shown
from edge.timing import Durations

FRAME_NS = 100_000_000


def classes(upper: int, lower: int) -> Image:
    found = np.full((60, 80), upper, np.uint8)
    found[30:] = lower
    return found


STREET, UPSIDE_DOWN = classes(SKY, ROAD), classes(ROAD, SKY)


def seen(index: int, ids: Image) -> Prediction:
    image = np.full((120, 160, 3), 90, np.uint8)
    return result_of(index, ids, image=image, captured_ns=1_000_000_000 + index * FRAME_NS)


@pytest.fixture(scope="module")
def known() -> Fingerprint:
    """Of an engine that is at home on streets."""
    return fingerprint_of([seen(index, STREET) for index in range(3)], CAMVID)


def share_of(known: Fingerprint | None, frames: list[Image]) -> float | None:
    counter = UnlikeShare(known)
    for index, ids in enumerate(frames):
        counter.add(seen(index, ids))
    return counter.share


def test_of_a_few_images_each_one_counts(known: Fingerprint) -> None:
    assert share_of(known, [STREET, UPSIDE_DOWN, UPSIDE_DOWN, STREET]) == 0.5


@pytest.mark.parametrize("frames", [11, 20, 49, 120, 700])
def test_a_run_of_any_length_is_judged_by_its_end_too(known: Fingerprint, frames: int) -> None:
    share = share_of(known, [STREET] * 10 + [UPSIDE_DOWN] * (frames - 10))
    assert share == pytest.approx(1 - 10 / frames, abs=0.1)


def test_of_a_long_run_the_share_is_that_of_its_frames_though_few_are_looked_at(known: Fingerprint) -> None:
    share = share_of(known, [STREET] * 200 + [UPSIDE_DOWN] * 200)
    assert share == pytest.approx(0.5, abs=EVERY_FRAMES / 400)


def test_a_run_without_frames_or_of_an_engine_without_a_fingerprint_has_no_share(known: Fingerprint) -> None:
    assert share_of(known, []) is None
    assert share_of(None, [UPSIDE_DOWN]) is None


def test_the_summary_warns_of_an_unfamiliar_scene_and_of_no_other() -> None:
    summary = Summary("room.mp4", "road (int8)", Durations(), {"infer": Durations()}, 6, 6, elapsed_s=1, cpu_s=1)
    summary.age.add(1)
    summary.stages["infer"].add(1)
    summary.unlike = 0.8333
    line = "scene    unlike the training data in 83 % of frames: do not trust these masks"
    assert line in summary_text(summary).splitlines()
    assert summary_json(summary)["unlike_training"] == 0.8333
    for familiar in (None, 0.0, 0.01):
        summary.unlike = familiar
        assert "training data" not in summary_text(summary)
        assert summary_json(summary)["unlike_training"] == familiar
        assert warning(familiar) == ""


def test_a_scene_is_unlike_now_when_it_is_for_a_while_until_it_no_longer_is(known: Fingerprint) -> None:
    watch = UnlikeNow(known, Limits(begin=0.9, end=0.8, hold_s=0.5))
    frames = [STREET] * 20 + [UPSIDE_DOWN] * 40 + [STREET] * 400
    states = [watch.look(seen(index, ids)) for index, ids in enumerate(frames)]
    assert not any(states[:25])
    assert states[59]
    assert not states[-1]


def test_the_window_warns_beside_its_figures(known: Fingerprint, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    monkeypatch.setattr("edge.sinks.window.write_caption", lambda image, text: written.append(text))
    shown = _Shown(UnlikeNow(known), Appearance())
    for index in range(40):
        shown.take(seen(index, UPSIDE_DOWN), 0)
        shown.image(1_000_000_000 + index * FRAME_NS)
    assert written[0].startswith("age")
    assert written[-1].startswith("SCENE UNLIKE THE TRAINING DATA: do not trust these masks")


def edge(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge.cli", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["run", "evaluate"])
def test_run_and_evaluate_warn_of_coloured_blocks_and_not_of_a_street(command: str, tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "blocks.png"), np.kron(colours, np.ones((40, 40, 1), np.uint8)))
    for source, unlike in ((str(tmp_path / "blocks.png"), 1), ("scene:street?seed=3&frames=6&size=480x360&fps=10", 0)):
        result = edge(command, source, "--json", tmp_path / "figures.json")
        assert result.returncode == 0, result.stderr
        assert json.loads((tmp_path / "figures.json").read_text())["unlike_training"] == unlike
        assert ("unlike the training data in 100 % of frames: do not trust these masks" in result.stdout) == bool(
            unlike
        )
