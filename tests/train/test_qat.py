"""Quantisation-aware training of a small residual net, against the INT8 graphs that are written of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

pytest.importorskip("torch", reason="training needs torch")
pytest.importorskip("onnxruntime", reason="runs the INT8 graph as it is written")

import onnxruntime as ort
import torch
from test_train import WH, make_frames

from edge.compile.export import export_onnx
from edge.compile.observe import (
    Range,
    find_ranges,
    layer_name,
    quantisable,
    skip_of,
    tensors_to_observe,
)
from edge.compile.quantize import Form, quantise_weights, to_bytes, write_int8
from edge.config import parse_tree
from edge.errors import ConfigError
from edge.frame import Image
from edge.metrics import Confusion
from edge.nets import make_net
from edge.nets.blocks import BasicBlock, bn_relu_conv, conv_bn, init_weights
from edge.train.augment import Pair
from edge.train.data import load_folder
from edge.train.loop import Trainer
from edge.train.qat import FakeQuantised, QatScales, Rounding, qat_scales, rounded_weights, trace
from edge.train.recipe import Recipe

FORMS: tuple[Form, ...] = ("openvino", "tensorrt")
LOUD = 300  # by how much a spoilt channel is louder than the others


class ResidualNet(torch.nn.Module):
    """A residual block, a second sum, and two convolutions that read the same tensor."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem = conv_bn(3, 12, 3, 2)
        self.block = BasicBlock(12, 12)
        self.side = conv_bn(12, 12, 1)
        self.other = conv_bn(12, 12, 1)
        self.head = torch.nn.Sequential(bn_relu_conv(12, 16, 3), bn_relu_conv(16, classes, 1, bias=True))
        init_weights(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.block(self.stem(x))
        return self.head(x + self.side(x) + self.other(x))


@pytest.fixture(autouse=True)
def residual_net(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.train.loop.make_net", lambda name, classes: ResidualNet(classes))
    monkeypatch.setattr("edge.train.loop.write_plots", lambda *args: [])


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return make_recipe(tmp_path)


def make_recipe(root: Path, **more: Any) -> Recipe:
    data = {"frames": str(root / "data/frames"), "labels": str(root / "data/labels")}
    if not (root / "data").exists():
        make_frames(root / "data", 4)
    tree = {
        "name": "small",
        "net": "residual",
        "input_size": "96x64",
        "train": [data],
        "val": data,
        "optimisation": {
            "steps": 80,
            "batch": 4,
            "warmup_steps": 0,
            "learning_rate": 0.01,
            "ema_decay": 0.9,
            "precision": "fp32",
        },
        "licence": "none",
        "data_note": "made up",
        **more,
    }
    return parse_tree(tree, Recipe, "test")


def run(recipe: Recipe, folder: Path, steps: int | None = None) -> Trainer:
    trainer = Trainer(recipe, folder, "cpu")
    reports = trainer.run()
    for count, _ in enumerate(reports, start=1):
        if count == steps:
            reports.close()
            break
    return trainer


def frames_of(recipe: Recipe) -> list[Pair]:
    return load_folder(recipe.val, recipe.table, recipe.input_wh)


# ------------------------------------------------------------------------------------------------ with the INT8 graph


def with_learned(model: Any, seen: Mapping[str, Range], learned: QatScales) -> dict[str, Range]:
    """The ranges of a graph's tensors, those that training learned in place of those that were seen."""
    ranges = dict(seen)
    makers = {name: node for node in model.graph.node for name in node.output}
    for name, found in seen.items():
        if found.feeds:
            (pair,) = {learned.inputs[layer] for layer in found.feeds}  # layers of one tensor learned one range
            ranges[name] = Range(*pair, *pair, feeds=found.feeds)
    for node in model.graph.node:
        skip = skip_of(model).get(node.output[0])
        if skip is not None:
            block = next(name for name in node.input if name != skip)
            pair = learned.skips[layer_name(makers[block])]
            ranges[skip] = Range(*pair, *pair, feeds=seen[skip].feeds)
    return ranges


def int8_classes(exported: bytes, frames: list[Pair], form: Form, learned: QatScales | None = None) -> Image:
    """uint8 (N, H, W): what ONNX Runtime finds with the INT8 graph, in ranges that were learned or just seen."""
    model = onnx.load_from_string(exported)
    feeds = tensors_to_observe(model)
    pictures = [(str(place), image) for place, (image, _) in enumerate(frames)]
    ranges = find_ranges(exported, feeds, lambda: pictures, "max", None)
    ranges = with_learned(model, ranges, learned) if learned else ranges
    session = ort.InferenceSession(to_bytes(write_int8(model, ranges, form)))
    return np.stack([session.run(None, {"image": image[None]})[0][0] for image, _ in frames])


def miou(found: Image, frames: list[Pair]) -> float:
    confusion = Confusion(11, (11, 255))
    for (_, labels), classes in zip(frames, found, strict=True):
        confusion.add(labels, classes)
    return confusion.miou()


def spoil(state: dict[str, Any]) -> None:
    """Make three channels of the residual sum loud, and what reads them as much quieter: the same net in floats, but
    INT8's steps, one size for all channels of a tensor, become too coarse for the others.
    """
    for net in (state["net"], state["averaged"]):
        for channel in (0, 3, 7):
            for norm in ("stem.1", "block.body.1.1", "side.1", "other.1"):
                for part in ("weight", "bias"):
                    net[f"{norm}.{part}"][channel] *= LOUD
            for reader in ("block.body.0.0", "side.0", "other.0"):
                net[f"{reader}.weight"][:, channel] /= LOUD
            net["head.0.0.running_mean"][channel] *= LOUD
            net["head.0.0.running_var"][channel] *= LOUD**2


@pytest.fixture
def spoilt(recipe: Recipe, tmp_path: Path) -> Path:
    """A checkpoint whose net loses much in INT8."""
    run(recipe, tmp_path / "run")
    state = torch.load(tmp_path / "run/last.pt", weights_only=True)
    spoil(state)
    torch.save(state, tmp_path / "spoilt.pt")
    return tmp_path / "spoilt.pt"


def exported(checkpoint: Path) -> bytes:
    """Of a checkpoint's averaged weights, which are those of a net like any other."""
    net = ResidualNet(11)
    net.load_state_dict(torch.load(checkpoint, weights_only=True)["averaged"])
    return export_onnx(net, WH)


def test_a_net_that_loses_in_int8_loses_less_after_training_with_its_rounding(spoilt: Path, tmp_path: Path) -> None:
    plan = make_recipe(tmp_path, qat={"checkpoint": str(spoilt), "steps": 60, "learning_rate": 0.002})
    frames = frames_of(plan)
    trained = run(plan, tmp_path / "qat")
    learned = qat_scales(tmp_path / "qat/last.pt")
    before, after = exported(spoilt), exported(tmp_path / "qat/last.pt")
    assert isinstance(trained.averaged, FakeQuantised)
    for form in FORMS:
        found = int8_classes(after, frames, form, learned)
        trained.averaged.form = form
        assert np.mean(found == np.stack([trained.predict(image) for image, _ in frames])) > 0.99
        assert miou(found, frames) > miou(int8_classes(before, frames, form), frames) + 0.03
        assert miou(found, frames) > 0.9


def test_an_interrupted_run_goes_on_to_the_same_bits(recipe: Recipe, tmp_path: Path) -> None:
    run(recipe, tmp_path / "run", steps=3)
    plan = make_recipe(tmp_path, qat={"checkpoint": str(tmp_path / "run/last.pt"), "steps": 6})
    unbroken = run(plan, tmp_path / "unbroken")
    run(plan, tmp_path / "broken", steps=2)
    resumed = run(plan, tmp_path / "broken")
    assert all(map(torch.equal, unbroken.averaged.state_dict().values(), resumed.averaged.state_dict().values()))
    assert qat_scales(tmp_path / "broken/last.pt") == qat_scales(tmp_path / "unbroken/last.pt")


def test_batch_norms_keep_their_statistics(recipe: Recipe, tmp_path: Path) -> None:
    run(recipe, tmp_path / "run", steps=3)
    plan = make_recipe(tmp_path, qat={"checkpoint": str(tmp_path / "run/last.pt"), "steps": 4, "learning_rate": 0.01})
    run(plan, tmp_path / "qat")
    before, after = (torch.load(tmp_path / name / "last.pt", weights_only=True) for name in ("run", "qat"))
    for name, value in after["net"].items():
        kept = torch.equal(value, before["averaged"][name])
        assert kept == ("running_" in name or "num_batches" in name), name


def test_a_run_without_rounding_is_not_gone_on_with(recipe: Recipe, tmp_path: Path) -> None:
    run(recipe, tmp_path / "run", steps=2)
    plan = make_recipe(tmp_path, qat={"checkpoint": str(tmp_path / "run/last.pt"), "steps": 4})
    with pytest.raises(ConfigError, match="expected a run with quantisation in the loop, got one without"):
        Trainer(plan, tmp_path / "run", "cpu")


def test_a_checkpoint_to_start_from_that_is_not_there_is_named(tmp_path: Path) -> None:
    plan = make_recipe(tmp_path, qat={"checkpoint": str(tmp_path / "none.pt"), "steps": 4})
    with pytest.raises(ConfigError, match=r"none.pt: checkpoint not found"):
        Trainer(plan, tmp_path / "qat", "cpu")


def test_a_net_trained_without_rounding_has_no_ranges(recipe: Recipe, tmp_path: Path) -> None:
    run(recipe, tmp_path / "run", steps=1)
    assert qat_scales(tmp_path / "run/last.pt") == QatScales({}, {})
    (tmp_path / "run/last.pt").write_bytes(b"no checkpoint")
    with pytest.raises(ConfigError, match=r"last.pt: is not a checkpoint of edge train"):
        qat_scales(tmp_path / "run/last.pt")


# -------------------------------------------------------------------------------------------------------- what is seen


@pytest.mark.parametrize("name", ["ddrnet23_slim", "fcn8s_resnet18", "residual"])
def test_torch_and_the_graph_agree_on_what_is_rounded(name: str) -> None:
    torch.manual_seed(2)
    net = ResidualNet(11) if name == "residual" else make_net(name, 11)
    for module in net.modules():  # fresh norms do nothing, so that different tensors would be equal
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.bias.data.normal_(0, 0.1)
    found = trace(net, torch.rand(1, 3, 64, 96))
    model = onnx.load_from_string(export_onnx(net, WH))
    assert set(found.inputs) == {layer_name(node) for node in quantisable(model)}
    shared = {
        frozenset(layer for layer, key in found.inputs.items() if key == wanted) for wanted in found.inputs.values()
    }
    assert shared == {frozenset(layers) for layers in tensors_to_observe(model).values() if layers}
    makers = {output: node for node in model.graph.node for output in node.output}
    skips = {
        layer_name(makers[next(side for side in node.input if side != skip_of(model)[node.output[0]])])
        for node in model.graph.node
        if node.output[0] in skip_of(model)
    }
    assert set(found.skips) == skips


def test_observed_ranges_are_the_extremes_with_zero_inside() -> None:
    net = FakeQuantised(torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1), torch.nn.Conv2d(2, 2, 1)), torch.rand(1, 3, 4, 4))
    images = [torch.full((1, 3, 4, 4), 0.25), torch.full((1, 3, 4, 4), 0.75)]
    net.observe(images)
    assert net.ranges() == {"0": (0.0, 0.75)}
    with torch.no_grad():
        hidden = torch.cat([net.net[0](image) for image in images])  # type: ignore[index]
    assert hidden.min() < 0 or hidden.max() > 0
    net.observe([-image for image in images])
    assert net.ranges() == {"0": (-0.75, 0.0)}


# ------------------------------------------------------------------------------------------------------------ rounding


def rounding(low: float, high: float) -> Rounding:
    made = Rounding()
    made.seen.copy_(torch.tensor([low, high]))
    return made


def test_openvinos_rounding_has_256_steps_from_low_to_high() -> None:
    x = torch.tensor([-2.0, -1.0, 0.0, 0.4, 0.5, 0.6, 1.5, 254.0, 300.0])
    assert rounding(-1.0, 254.0)(x, "openvino").tolist() == [-1, -1, 0, 0, 0, 1, 2, 254, 254]  # halves go to even


def test_tensorrts_rounding_is_as_wide_on_both_sides() -> None:
    x = torch.tensor([-200.0, -128.0, -1.0, 0.0, 0.6, 127.0, 130.0])
    assert rounding(-1.0, 127.0)(x, "tensorrt").tolist() == [-128, -128, -1, 0, 1, 127, 127]


def test_values_inside_pass_their_gradient_and_clipped_ones_pull_at_the_range() -> None:
    layer = rounding(0.0, 255.0)
    x = torch.tensor([3.3, 300.0], requires_grad=True)
    layer(x, "openvino").sum().backward()
    assert x.grad is not None
    assert layer.moved.grad is not None
    assert x.grad.tolist() == [1.0, 0.0]
    assert layer.moved.grad[1] > 0  # a wider range would give more


@pytest.mark.parametrize("axis", [0, 1])
def test_weights_are_rounded_as_they_are_written_for_either_runtime(axis: int) -> None:
    torch.manual_seed(1)
    layer = torch.nn.Conv2d(3, 4, 3) if axis == 0 else torch.nn.ConvTranspose2d(3, 4, 3)
    layer.weight.data.select(axis, 2).zero_()
    values, scales = quantise_weights(layer.weight.detach().numpy(), axis)
    shape = [-1 if place == axis else 1 for place in range(4)]
    np.testing.assert_array_equal(rounded_weights(layer).detach().numpy(), values * scales.reshape(shape))
