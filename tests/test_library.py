"""What the command line does is done from Python, with typed results."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

import edge
from edge.engine import Bundle
from edge.frame import Image


@pytest.fixture
def flags(tmp_path: Path, flag: Image, flag_classes: Image) -> Path:
    """Three images with their labels."""
    for folder, image in (("frames", flag), ("labels", flag_classes)):
        (tmp_path / folder).mkdir()
        for name in ("1.png", "2.png", "3.png"):
            cv2.imwrite(str(tmp_path / folder / name), image)
    return tmp_path


def test_every_public_name_is_there_and_costs_nothing_until_it_is_used() -> None:
    assert all(callable(getattr(edge, name)) for name in edge.__all__)


def test_an_engine_is_evaluated(flags: Path, colour_bundle: Bundle) -> None:
    found = edge.evaluate_engine(flags / "frames", flags / "labels", colour_bundle.folder)
    assert found.report["miou"] == 1.0
    assert "mIoU 1.0000" in str(found)
    assert [result.error for result in found.results] == [""]


def test_a_drive_is_recorded_and_what_is_read_is_no_drive(flags: Path, colour_bundle: Bundle) -> None:
    pytest.importorskip("mcap", reason="pip install 'edge-segmentation[drives]'")
    done = edge.record(str(flags / "frames"), flags / "drive.mcap", colour_bundle.folder)
    assert (done.failure, done.summary.frames_out) == (None, 3)
    assert json.loads(json.dumps(done.as_json()))["path"].endswith("drive.mcap")
    with pytest.raises(edge.EdgeError, match="is the folder of the source"):
        edge.record(str(flags / "frames"), flags / "frames", colour_bundle.folder)
    with pytest.raises(edge.EdgeError, match="a drive is a file that ends with"):
        edge.record(str(flags / "frames"), flags / "moto.mp4", colour_bundle.folder)
    frames = [result.frame.image for result in edge.segment(str(flags / "drive.mcap"), colour_bundle.folder)]
    assert np.shape(frames) == (3, 48, 64, 3)


def test_frames_alone_are_recorded_without_an_engine(flags: Path) -> None:
    pytest.importorskip("mcap", reason="pip install 'edge-segmentation[drives]'")
    done = edge.record(str(flags / "frames"), flags / "drive.mcap", None, max_frames=2)
    assert done.failure is None
    assert str(done).startswith("drive ")
    assert "2 frames" in str(done)


@pytest.mark.slow
def test_an_onnx_file_is_built_into_an_engine_that_opens(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    net = "(float[1,3,48,64] x) => (float[1,3,6,8] y) { y = AveragePool <kernel_shape = [8, 8], strides = [8, 8]> (x) }"
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> net {net}')
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    (tmp_path / "card.yaml").write_text(
        "{name: flags, licence: MIT, training_data: flags, input: {order: bgr, pixels: 0..1}, classes: ["
        "{name: A, colour_rgb: [0, 0, 255]}, {name: B, colour_rgb: [0, 255, 0]}, {name: C, colour_rgb: [255, 0, 0]}]}"
    )
    onnx_path, card_path = tmp_path / "net.onnx", tmp_path / "card.yaml"
    built = edge.build(onnx=onnx_path, card=card_path, to=tmp_path / "bundle")
    assert (built.report, built.bundle.card.name) == (None, "flags")
    with edge.open_engine(built.bundle.folder) as engine:
        assert engine.card.input_wh == (64, 48)
    with pytest.raises(edge.EdgeError, match="would be lost"):
        edge.build(onnx=onnx_path, card=card_path, to=tmp_path)
