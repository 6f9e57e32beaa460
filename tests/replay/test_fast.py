from __future__ import annotations

import json
from pathlib import Path

import pytest
from bundles import Edge
from videos import cut, noise, write_video

from edge.engine import Bundle


def named(text: str) -> str:
    return next(line for line in text.splitlines() if line.startswith("masks "))


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_video(tmp_path / "a.mp4")


@pytest.mark.slow
def test_a_fast_replay_says_how_many_frames_it_decoded_and_names_its_masks(
    edge_here: Edge, video: Path, colour_bundle: Bundle, tmp_path: Path
) -> None:
    engine = ("--engine", colour_bundle.folder, "--backend", "openvino")
    first = edge_here("replay", video, "--fast", *engine, "--json", tmp_path / "a.json", "--masks", tmp_path / "masks")
    second = edge_here("replay", video, "--fast", *engine, "--threads", 1)
    assert first.returncode == 0, first.stderr
    assert "decoded  12 of 12 frames" in first.stdout
    assert named(first.stdout) == named(second.stdout)
    figures = json.loads((tmp_path / "a.json").read_text())
    assert named(first.stdout).endswith(figures["sha256"])
    assert (figures["frames_decoded"], figures["frames_expected"], figures["failure"]) == (12, 12, None)
    assert len(list((tmp_path / "masks").glob("*.png"))) == 12


def test_a_fast_replay_compares_two_engines(
    edge_here: Edge, video: Path, colour_bundle: Bundle, tmp_path: Path
) -> None:
    engine = ("--engine", colour_bundle.folder, "--diff", f"{colour_bundle.folder}:f32", "--backend", "openvino")
    done = edge_here("replay", video, "--fast", *engine, "--json", tmp_path / "a.json")
    assert done.returncode == 0, done.stderr
    assert "colours f32 and colours f32 (2): 12 of 12 frames compared" in done.stdout
    figures = json.loads((tmp_path / "a.json").read_text())
    assert figures["differing"] == [0.0] * 12
    assert figures["groups"] == ["warm", "cold"]


def test_a_damaged_recording_is_replayed_as_far_as_it_goes_and_never_taken_for_a_whole_one(
    edge_here: Edge, colour_bundle: Bundle, tmp_path: Path
) -> None:
    path = cut(write_video(tmp_path / "a.mkv", [noise(i) for i in range(30)], options={"g": "5"}), 0.6)
    done = edge_here("replay", path, "--fast", "--engine", colour_bundle.folder, "--backend", "openvino")
    assert done.returncode == 69
    assert "masks    sha256" in done.stdout
    assert "is damaged" in done.stderr


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (["--masks", "x"], "Add --fast"),
        (["--fast", "--web"], "Leave one of them out"),
        ([], "wants a terminal"),
        (["--fast", "--diff", "recorded"], "holds no recorded masks"),
        (["--fast", "--diff", "nobody"], "no engine is called 'nobody'"),
    ],
)
def test_what_cannot_be_had_is_refused_with_what_can(
    edge_here: Edge, options: list[str], wanted: str, video: Path, colour_bundle: Bundle
) -> None:
    done = edge_here("replay", video, *options, "--engine", colour_bundle.folder, "--backend", "openvino")
    assert done.returncode in (70, 78)
    assert wanted in done.stderr
    assert "Traceback" not in done.stderr
