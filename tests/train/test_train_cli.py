"""From labelled frames to masks, by the commands of the README."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from test_train import make_frames

pytest.importorskip("torch", reason="training needs torch")


def edge(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge.cli", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    folder = make_frames(tmp_path / "data", 4).model_dump()
    tree = {
        "name": "tiny",
        "net": "ddrnet23_slim",
        "input_size": "96x64",
        "train": [dict(folder)],
        "val": dict(folder),
        "rendered": {"streets": 1, "frames": 2, "share": 0.5},
        "optimisation": {"steps": 60, "batch": 4, "warmup_steps": 0, "learning_rate": 0.004},
        "licence": "none",
        "data_note": "made up",
    }
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def test_a_net_is_trained_exported_measured_and_run(recipe: Path, tmp_path: Path) -> None:
    trained = edge("train", recipe, "--run", tmp_path / "run")
    assert trained.returncode == 0, trained.stderr
    assert "Next: edge build" in trained.stdout
    exported = edge("build", recipe, "--run", tmp_path / "run", "--to", tmp_path / "tiny")
    assert exported.returncode == 0, exported.stderr
    assert "trained for 60 steps" in exported.stdout
    assert re.search(r"Road +\d\.\d{4}", exported.stdout)
    ran = edge("run", tmp_path / "data" / "frames", "-e", tmp_path / "tiny", "--masks", tmp_path / "masks")
    assert ran.returncode == 0, ran.stderr
    assert len(list((tmp_path / "masks").iterdir())) == 4


def test_an_interrupted_training_says_where_it_stopped_and_goes_on_from_there(recipe: Path, tmp_path: Path) -> None:
    longer = recipe.read_text().replace("steps: 60", "steps: 100000")
    recipe.write_text(longer)
    command = [
        sys.executable,
        "-m",
        "edge.cli",
        "train",
        str(recipe),
        "--run",
        str(tmp_path / "run"),
        "--device",
        "cpu",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "run" / "rendered.npz").exists() and process.poll() is None:
        time.sleep(0.1)
    time.sleep(3)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    stopped = re.search(r"stopped at step (\d+), saved in", stderr)
    assert stopped, stderr
    step = int(stopped[1])
    recipe.write_text(longer.replace("100000", str(step + 1)))
    resumed = edge("train", recipe, "--run", tmp_path / "run", "--device", "cpu")
    assert resumed.returncode == 0, resumed.stderr
    assert f"step {step + 1}: val mIoU" in resumed.stderr


def test_a_recipe_with_several_mistakes_lists_them_all(recipe: Path, tmp_path: Path) -> None:
    text = recipe.read_text().replace("steps: 60", "setps: 60").replace("input_size: 96x64", "input_size: 96")
    recipe.write_text(text)
    result = edge("train", recipe, "--run", tmp_path / "run")
    assert result.returncode == 78
    assert "did you mean 'steps'" in result.stderr
    assert "input_size" in result.stderr
    assert "Traceback" not in result.stderr
