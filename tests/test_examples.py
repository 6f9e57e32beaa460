"""The programs in examples/ run as they are, from a folder of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import edge

HOME = Path(__file__).parents[1]
CLIP = HOME / "tests" / "replay" / "golden" / "street.mp4"  # 24 frames, 640x360


def run(name: str, folder: Path, *arguments: str) -> list[str]:
    command = [sys.executable, "-W", "error", str(HOME / "examples" / name), str(CLIP), *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
def test_road_ahead_says_of_every_frame_how_much_road_it_shows(tmp_path: Path) -> None:
    lines = run("road_ahead.py", tmp_path)
    assert [line.partition(":")[0] for line in lines] == [f"frame {index}" for index in range(24)]
    assert all("% road" in line for line in lines)


@pytest.mark.slow
def test_painted_frames_are_images_of_the_videos_size(tmp_path: Path) -> None:
    run("painted_frames.py", tmp_path, "painted")
    paths = sorted((tmp_path / "painted").glob("*.png"))
    assert [path.stem for path in paths] == ["000000", "000010", "000020"]
    assert {cv2.imread(str(path)).shape for path in paths} == {(360, 640, 3)}


@pytest.mark.slow
def test_a_loop_of_ones_own_sees_every_frame(tmp_path: Path) -> None:
    lines = run("own_loop.py", tmp_path)
    assert [line.partition(":")[0] for line in lines] == [f"frame {index}" for index in range(24)]


@pytest.mark.slow
def test_an_engine_opened_for_the_source_sees_what_an_engine_by_name_sees(tmp_path: Path) -> None:
    by_name = [f"frame {r.frame.index}: {r.mask('road').mean():.1%} road" for r in edge.segment(str(CLIP), "road")]
    assert run("fast_path.py", tmp_path) == by_name
    assert len(by_name) == 24


@pytest.mark.slow
@pytest.mark.parametrize("example", ["images.py", "many_at_once.py"])
def test_images_of_several_sizes_are_answered_each(example: str, tmp_path: Path) -> None:
    for name, shape in {"a.png": (90, 160, 3), "b.png": (200, 100, 3)}.items():
        cv2.imwrite(str(tmp_path / name), np.full(shape, 90, np.uint8))
    command = [sys.executable, "-W", "error", str(HOME / "examples" / example), "a.png", "b.png"]
    lines = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["a.png", "b.png"]


@pytest.mark.slow
def test_coco_annotations_are_of_the_videos_size(tmp_path: Path) -> None:
    run("coco.py", tmp_path, "coco.json")
    found = json.loads((tmp_path / "coco.json").read_text())["annotations"]
    assert len(found) == 48
    assert {tuple(one["segmentation"]["size"]) for one in found} == {(360, 640)}


SUPERVISION = """
class Detections:
    def __init__(self, *, xyxy, mask, class_id, data):
        assert len(xyxy) == len(mask) == len(class_id) == len(data["class_name"])
        self.mask, self.data = mask, data
"""


@pytest.mark.slow
def test_detections_are_made_with_supervisions_own_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "supervision.py").write_text(SUPERVISION)  # a stand-in: edge does not depend on it
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(tmp_path)])))
    lines = run("to_supervision.py", tmp_path)
    assert len(lines) == 24
    assert all("road" in line and "360, 640)" in line for line in lines)
