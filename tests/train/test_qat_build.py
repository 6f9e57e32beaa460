"""From training with INT8's rounding in the loop to an engine, by the commands; the net is small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="training needs torch")
pytest.importorskip("onnxruntime", reason="judges TensorRT's graph")

import onnx
import yaml
from onnx import ModelProto, numpy_helper
from test_qat import ResidualNet
from test_train import make_frames
from typer.testing import CliRunner

from edge.cli import make_app
from edge.compile.attempt import INT8_FILES
from edge.compile.quantize import Form
from edge.engine import Bundle, load_bundle
from edge.train.qat import QatScales, qat_scales

OTHER_WH = (64, 48)


@pytest.fixture(autouse=True)
def small_net(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("edge.train.loop", "edge.compile.export"):
        monkeypatch.setattr(f"{module}.make_net", lambda name, classes: ResidualNet(classes))
    monkeypatch.setattr("edge.train.loop.write_plots", lambda *args: [])


def edge(*words: str | Path) -> str:
    found = CliRunner().invoke(make_app(), [str(word) for word in words])
    assert found.exit_code == 0, (found.output, found.exception)
    return found.output


def write_recipe(path: Path, root: Path, **more: Any) -> Path:
    data = {"frames": str(root / "data/frames"), "labels": str(root / "data/labels")}
    tree = {
        "name": "small",
        "net": "residual",
        "input_size": "96x64",
        "train": [data],
        "val": data,
        "optimisation": {"steps": 40, "batch": 4, "warmup_steps": 0, "learning_rate": 0.01, "ema_decay": 0.9},
        "licence": "none",
        "data_note": "made up",
        "build": {
            "sizes": ["{}x{}".format(*OTHER_WH)],
            "calibration": {"set": str(root / "tiny.yaml")},
            "gate": {**data, "limits": {"miou": 50}},
        },
        **more,
    }
    path.write_text(yaml.dump(tree, Dumper=_PlainDumper))
    return path


class _PlainDumper(yaml.SafeDumper):
    """Writes what occurs twice out twice."""

    def ignore_aliases(self, data: object) -> bool:
        return True


@pytest.fixture
def built(tmp_path: Path) -> tuple[Bundle, QatScales]:
    """An engine, and the ranges that its training learned."""
    make_frames(tmp_path / "data", 4)
    edge("calibrate", "select", "tiny", tmp_path / "data/frames", "--count", "4", "--to", tmp_path)
    edge("train", write_recipe(tmp_path / "plain.yaml", tmp_path), "--run", tmp_path / "run")
    start = {"checkpoint": str(tmp_path / "run/last.pt"), "steps": 6, "learning_rate": 0.002}
    recipe = write_recipe(tmp_path / "qat.yaml", tmp_path, qat=start)
    edge("train", recipe, "--run", tmp_path / "qat")
    edge("build", recipe, "--run", tmp_path / "qat", "--to", tmp_path / "engine")
    return load_bundle(tmp_path / "engine"), qat_scales(tmp_path / "qat/last.pt")


def steps_of(model: ModelProto) -> list[float]:
    """The sizes of the steps that activations are rounded to, smallest first."""
    constants = {constant.name: constant for constant in model.graph.initializer}
    scales = {node.input[1] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    return sorted(float(numpy_helper.to_array(constants[name])) for name in scales)


def test_the_ranges_that_were_learned_are_those_of_the_engine_at_every_size(built: tuple[Bundle, QatScales]) -> None:
    bundle, learned = built
    assert bundle.card.gate is not None
    assert bundle.card.gate.calibration == "training"
    inputs, skips = set(learned.inputs.values()), set(learned.skips.values())
    assert skips
    unsigned = sorted((high - low) / 255 for low, high in inputs)
    signed = sorted(max(-low, high) / 127 for low, high in inputs | skips)
    forms: dict[Form, tuple[list[float], float]] = {"openvino": (unsigned, 1e-4), "tensorrt": (signed, 1e-3)}
    for sized in (bundle, bundle.at(OTHER_WH)):
        for form, (wanted, rounding) in forms.items():  # TensorRT's are half floats
            (graph,) = (g for g in sized.card.graphs if g.input_wh is None and g.file == INT8_FILES[form])
            found = steps_of(onnx.load_from_string(sized.read(graph)))
            assert found == pytest.approx(wanted, rel=rounding), form
