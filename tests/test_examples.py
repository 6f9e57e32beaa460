"""The programs in examples/ run as they are, from a folder of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import pytest

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
