"""Somebody's ONNX file and pictures, by the commands of docs/bring-your-own-net.md."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnx.parser
import pytest
import yaml
from test_build import colour_net, patches

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")


def edge(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge.cli", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with pictures, labels, a net and its card file."""
    monkeypatch.chdir(tmp_path)
    for folder in ("train", "val", "labels"):
        (tmp_path / folder).mkdir()
    for index in range(10):
        cv2.imwrite(f"train/{index:02}.png", patches(50 + index)[0])
        image, classes = patches(index)
        cv2.imwrite(f"val/{index:02}.png", image)
        cv2.imwrite(f"labels/{index:02}.png", classes)
    write_net(1.0)
    card = {
        "name": "patches",
        "licence": "none",
        "training_data": "none",
        "classes": [
            {"name": name, "colour_rgb": [255 * (place == 2), 255 * (place == 1), 255 * (place == 0)]}
            for place, name in enumerate(("Blue", "Green", "Red"))
        ],
        "input": {"order": "bgr", "pixels": "0..1"},
        "build": {
            "calibration": {"set": "calibration/patches.yaml"},
            "gate": {"frames": "val", "labels": "labels", "limits": {"miou": 1.0, "Red": 1.0}},
        },
    }
    Path("card.yaml").write_text(yaml.safe_dump(card))
    return tmp_path


def write_net(scale: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own business
        torch.onnx.export(
            colour_net(scale), (torch.zeros(1, 3, 48, 64),), "net.onnx", dynamo=True, external_data=False, verbose=False
        )


BUILD = ("build", "--onnx", "net.onnx", "--card", "card.yaml")


@pytest.mark.slow
def test_an_onnx_file_becomes_an_int8_engine_that_runs(home: Path) -> None:
    chosen = edge("calibrate", "select", "patches", "train", "--count", "8", "--sheet", "sheet.png")
    assert chosen.returncode == 0, chosen.stderr
    assert "the 8 most different of 10 frames" in chosen.stdout
    assert cv2.imread("sheet.png") is not None
    built = edge(*BUILD)
    assert built.returncode == 0, built.stderr
    assert "patches: passed on val, 10 frames" in built.stdout
    assert Path("calibration/patches.scales.json").is_file()
    shown = edge("inspect", "patches", "--all")
    assert "int8.openvino.onnx" in shown.stdout
    assert "gate on val, 10 frames" in shown.stdout
    ran = edge("run", "val", "-e", "patches", "--masks", "masks")
    assert ran.returncode == 0, ran.stderr
    assert "engine   patches (int8)" in ran.stdout
    mask, truth = (cv2.imread(str(next(Path(folder).glob("*03.png"))), -1) for folder in ("masks", "labels"))
    assert np.mean(mask == truth) > 0.75


@pytest.mark.slow
def test_a_net_of_one_channel_and_a_sigmoid_becomes_an_engine_by_its_threshold(home: Path) -> None:
    red = "i = Constant <value = int64[1] {2}> () r = Gather <axis = 1> (x, i) y = Sigmoid (r)"
    text = f"net (float[1,3,48,64] x) => (float[1,1,48,64] y) {{ {red} }}"
    onnx.save(onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> {text}'), "mask.onnx")
    rows = [{"name": "rest", "colour_rgb": [0, 0, 0]}, {"name": "red", "colour_rgb": [255, 0, 0]}]
    card = {"name": "mask", "licence": "none", "training_data": "none", "classes": rows}
    card["input"] = {"order": "bgr", "pixels": "0..1"}
    Path("mask.yaml").write_text(yaml.safe_dump(card))
    words = ("build", "--onnx", "mask.onnx", "--card", "mask.yaml", "--json", "built.json")
    assert "Add `threshold: 0.5` to the card file" in edge(*words).stderr
    Path("mask.yaml").write_text(yaml.safe_dump({**card, "threshold": 0.6}))
    built = edge(*words)
    assert built.returncode == 0, built.stderr
    assert json.loads(Path("built.json").read_text())["name"] == "mask"
    ran = edge("run", "val", "-e", "mask", "--masks", "masks")
    assert ran.returncode == 0, ran.stderr
    image, mask = cv2.imread("val/03.png"), cv2.imread("masks/03.png", -1)
    assert image is not None
    chance = 1 / (1 + np.exp(-(image[..., 2] / 255.0)))
    np.testing.assert_array_equal(mask, chance > 0.6)


@pytest.mark.slow
def test_scales_of_other_frames_are_stale_and_those_of_a_changed_frame_are_refused(home: Path) -> None:
    chosen = edge("calibrate", "select", "patches", "train", "--count", "8", "--json", "-")
    assert sum(len(drive["frames"]) for drive in json.loads(chosen.stdout)["drives"]) == 8
    made = edge("calibrate", "run", "--onnx", "net.onnx", "--card", "card.yaml", "--json", "scales.json")
    assert made.returncode == 0, made.stderr
    found = json.loads(Path("scales.json").read_text())
    assert found["frames"] == 8
    assert found["file"].endswith("patches.scales.json")
    assert found["tensors"]
    assert edge("calibrate", "select", "patches", "train", "--count", "7").returncode == 0
    stale = edge(*BUILD)
    assert stale.returncode == 65
    assert "is stale, the frames of calibration set patches changed since" in stale.stderr
    for picture in Path("train").iterdir():
        cv2.imwrite(str(picture), patches(999)[0])
    changed = edge("calibrate", "run", "--onnx", "net.onnx", "--card", "card.yaml")
    assert changed.returncode == 65
    assert "is not the one that calibration set patches was made with" in changed.stderr
    assert "Traceback" not in stale.stderr + changed.stderr


@pytest.mark.slow
def test_an_engine_that_loses_more_than_it_may_is_refused_with_the_table_and_the_pictures(home: Path) -> None:
    write_net(1000.0)
    assert edge("calibrate", "select", "patches", "train", "--count", "8").returncode == 0
    refused = edge(*BUILD, "--limit", "disagreement:0")
    assert refused.returncode == 70
    assert "points lost to fp32" in refused.stdout
    assert "patches: refused, not written. Points lost to fp32 on val: int8.openvino.onnx lost" in refused.stderr
    assert not Path("engines/built/patches").exists()
    assert cv2.imread("engines/built/patches.report/worst-int8.openvino.png") is not None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("build",), "expected one net"),
        (("build", "road.yaml", "--onnx", "net.onnx"), "expected one net"),
        (("build", "--onnx", "net.onnx"), "--card is missing"),
        (("build", "--torch", "a:b", "--card", "card.yaml"), "--weights is missing"),
        ((*BUILD, "--limit", "sheep:1"), "no such class or group; there are: miou, disagreement"),
        ((*BUILD, "--limit", "miou"), "a limit is NAME:POINTS"),
        (("calibrate", "select", "Patches!", "train"), "found 'Patches!'"),
        (BUILD, "calibration/patches.yaml"),
    ],
)
def test_a_wrong_wish_is_one_line(home: Path, words: tuple[str, ...], said: str) -> None:
    result = edge(*words)
    assert result.returncode == 78
    assert said in result.stderr
    assert "Traceback" not in result.stderr
