"""What the bounds in pyproject.toml allow: wheels for a Jetson, and the oldest and the newest set of libraries."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Without tensorrt, whose pycuda is compiled on the device against its CUDA, and dev.
EXTRAS = ("train", "serve", "drives", "foxglove", "ros2", "sign", "scale", "docs")
OFFLINE = re.compile(
    r"dns error|Connection|Could not connect|error sending request|tls handshake|Failed to fetch", re.I
)
pytestmark = [pytest.mark.release, pytest.mark.timeout(900)]


def uv(*words: str | Path, cwd: Path) -> str:
    """What uv prints; skipped where no index is reached."""
    pytest.importorskip("uv", reason="uv is not installed")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL"))}
    command = [sys.executable, "-m", "uv", *map(str, words)]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    if done.returncode and OFFLINE.search(done.stderr):
        pytest.skip(f"no package index here: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("python", "platform"),
    [("3.10", "aarch64-manylinux_2_35"), ("3.12", "aarch64-manylinux_2_39")],
    ids=["JetPack 6", "JetPack 7"],
)
@pytest.mark.parametrize("extras", [(), EXTRAS], ids=["base", "extras"])
def test_wheels_for_a_jetson_exist_of_all_that_is_asked_for(
    extras: tuple[str, ...], python: str, platform: str, tmp_path: Path
) -> None:
    """Metadata is fetched, and no wheel: markers are those of the device."""
    target = ["--python-version", python, "--python-platform", platform, "--only-binary", ":all:"]
    asked = [word for extra in extras for word in ("--extra", extra)]
    found = uv("pip", "compile", *target, *asked, "--no-header", "--no-annotate", ROOT / "pyproject.toml", cwd=tmp_path)
    names = set(re.findall(r"^([\w.-]+)==", found, re.MULTILINE))
    assert {"numpy", "openvino", "opencv-python-headless", "av"} <= names
    assert ("torch" in names) == ("train" in extras)


@pytest.mark.slow
@pytest.mark.parametrize("resolution", ["lowest-direct", "highest"], ids=["oldest", "newest"])
def test_a_set_that_the_bounds_allow_segments_records_and_replays(resolution: str, tmp_path: Path) -> None:
    uv("venv", "--python", sys.executable, tmp_path / "set", cwd=tmp_path)
    python = tmp_path / "set/bin/python"
    asked = f"{ROOT}[serve,drives,foxglove,ros2,sign]"
    uv("pip", "install", "--python", python, "--resolution", resolution, asked, cwd=tmp_path)

    def edge(*words: str) -> str:
        command = [str(python), "-m", "edge.cli", *words]
        environment = {**os.environ, "PYTHONPATH": ""}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout

    scene = "scene:street?frames=8&size=320x180&fps=30"
    edge("run", scene, "--overlay", "out.mp4", "--masks", "masks")
    assert len(list((tmp_path / "masks").iterdir())) == 8
    edge("record", scene, "drive.mcap", "--quiet")
    assert "8 of 8 frames" in edge("replay", "drive.mcap", "--fast")
    assert "mIoU" in edge("evaluate", scene)
    edge("run", "out.mp4", "--sink", "foxglove=127.0.0.1:0", "--quiet")
    edge("keygen", "release.key")
