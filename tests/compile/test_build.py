"""From an fp32 bundle to one with INT8 graphs that hold their limits, or to a refusal that says why."""

from __future__ import annotations

import dataclasses
import hashlib
import sys
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from bundles import COLOUR_WH, COLOURS, MakeCard

from edge.backends import open_engine
from edge.card import Card
from edge.compile.attempt import Report
from edge.compile.build import build, refusal
from edge.compile.build_report import report_text, write_report
from edge.compile.calibration import CalibrationSet, choose, find_candidates, make_set
from edge.compile.observe import observe
from edge.engine import MODEL_FILE, load_bundle, write_bundle
from edge.errors import ConfigError, EngineError, GateRefused
from edge.frame import Image
from edge.train.recipe import BuildPlan, Calibration, GatePlan

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

LIMITS = {"miou": 1.0, "warm": 1.0}
LAYERS = ("0", "2", "4")


def colour_net(scale: float = 1.0) -> Any:
    """Says which of blue, green and red is strongest, by three convolutions in INT8's reach and a last one. With
    `scale`, one channel between the second and the third is that many times as large: the same function, but not in
    INT8.
    """
    torch.manual_seed(3)
    mix = torch.linalg.qr(torch.randn(8, 8))[0]
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1, padding_mode="zeros", bias=False),
        torch.nn.ReLU(),
        torch.nn.Conv2d(8, 8, 1, bias=False),
        torch.nn.ReLU(),
        torch.nn.Conv2d(8, 8, 3, padding=1, bias=False),
        torch.nn.ReLU(),
        torch.nn.Conv2d(8, 3, 1, bias=False),
    )
    with torch.no_grad():
        blur = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16
        spread = torch.eye(8)[:, :3] + 0.2
        net[0].weight.copy_(spread[:, :, None, None] * blur)
        net[2].weight.copy_((torch.eye(8) + 0.05 * mix.abs())[:, :, None, None])
        net[4].weight.copy_((torch.eye(8) + 0.05 * mix.abs())[:, :, None, None] * blur)
        net[6].weight.copy_((torch.eye(8)[:3] - 0.1 * torch.ones(3, 8))[:, :, None, None])
        net[2].weight[5] *= scale
        net[4].weight[:, 5] /= scale
    return net.eval()


@dataclasses.dataclass(frozen=True)
class Street:
    """Frames of coloured patches with their labels, and a calibration set of others."""

    frames: Path
    labels: Path
    chosen: CalibrationSet


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Street:
    home = tmp_path_factory.mktemp("street")
    for name, seed, count in (("val", 0, 12), ("train", 100, 8)):
        (home / name).mkdir()
        (home / f"{name}-labels").mkdir()
        for index in range(count):
            image, classes = patches(seed + index)
            cv2.imwrite(str(home / name / f"{index:02}.png"), image)
            cv2.imwrite(str(home / f"{name}-labels" / f"{index:02}.png"), classes)
    candidates = find_candidates([str(home / "train")], every=1)
    chosen, coverage = choose(candidates, 6)
    return Street(home / "val", home / "val-labels", make_set("patches", candidates, chosen, coverage))


def patches(seed: int) -> tuple[Image, Image]:
    """BGR at network size, and which channel is strongest; close calls among them."""
    random = np.random.default_rng(seed)
    width, height = COLOUR_WH
    cells = random.integers(40, 200, (height // 8, width // 8, 3))
    image = np.kron(cells, np.ones((8, 8, 1))).astype(np.uint8)
    return image, image.argmax(-1).astype(np.uint8)


Made = Callable[..., tuple[Report, Path]]


@pytest.fixture
def make(street: Street, make_card: MakeCard, tmp_path: Path) -> Made:
    """Build an engine from a net; gives the report and the folder it may have been written to."""
    from edge.compile.export import export_onnx

    def made(net: Any, limits: dict[str, float] = LIMITS, labels: bool = True, **plan: Any) -> tuple[Report, Path]:
        model = export_onnx(net, COLOUR_WH)
        bundle = write_bundle(tmp_path / "fp32", {MODEL_FILE: model}, make_card(model))
        scales = observe(model, bundle.card, street.chosen, "max")
        at_size = partial(export_onnx, net)
        gate = GatePlan(frames=str(street.frames), labels=str(street.labels) if labels else None, limits=limits)
        gate = plan.pop("gate", gate)
        wish = BuildPlan(calibration=Calibration(set="calibration/patches.yaml"), gate=gate, **plan)
        folder = tmp_path / "built"
        sensitivity_cache = tmp_path / "sensitivity_cache.json"
        return build(bundle, wish, street.chosen, scales, folder, sensitivity_cache, at_size=at_size), folder

    return made


def test_a_sound_net_gets_int8_graphs_that_hold_the_limits_and_are_its_default(make: Made, street: Street) -> None:
    report, folder = make(colour_net())
    assert report.holds, report_text(report)
    bundle = load_bundle(folder)
    card: Card = bundle.card
    assert [(g.file, g.precision, g.runtime) for g in card.graphs] == [
        ("model.onnx", "fp32", "any"),
        ("int8.openvino.onnx", "int8", "openvino"),
        ("int8.tensorrt.onnx", "int8", "tensorrt"),
    ]
    assert card.precision == "int8"
    assert all(hashlib.sha256(bundle.read(graph)).hexdigest() == graph.sha256 for graph in card.graphs)
    with open_engine(folder, backend="openvino") as engine:
        assert engine.precision == "int8"
        image, truth = patches(7)
        assert np.mean(engine.infer(image)["semantic"] == truth) > 0.75  # the blur costs the patches' borders


def test_a_gate_takes_masks_of_another_label_set_by_its_map(make: Made, street: Street, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    for mask in street.labels.iterdir():
        cv2.imwrite(str(theirs / mask.name), cv2.imread(str(mask), cv2.IMREAD_UNCHANGED) + 10)
    by_id = {10 + id_: name for id_, name in enumerate(COLOURS.names)}
    gate = GatePlan(frames=str(street.frames), labels=str(theirs), map=by_id, limits=LIMITS)  # pyright: ignore[reportArgumentType]
    mapped = load_bundle(make(colour_net(), gate=gate)[1]).card
    own = load_bundle(make(colour_net())[1]).card
    assert mapped.measured.accuracy[0].miou == own.measured.accuracy[0].miou
    assert {one.command for one in mapped.measured.accuracy} == {f"edge build engines/{mapped.name}.yaml"}


def test_the_card_holds_what_every_form_lost_and_how_right_each_is(make: Made) -> None:
    _, folder = make(colour_net())
    card = load_bundle(folder).card
    assert card.gate is not None
    assert card.gate.limits == LIMITS
    assert card.gate.frames == 12
    assert {"int8.openvino.onnx", "int8.tensorrt.onnx", "model.onnx (half)"} <= set(card.gate.lost)
    assert all(lost["miou"] <= 1.0 for lost in card.gate.lost.values())
    judges = {(a.graph, a.precision): a.judge.split()[0] for a in card.measured.accuracy}
    assert judges["model.onnx", "f32"] == "OpenVINO"
    assert judges["int8.openvino.onnx", "int8"] == "OpenVINO"
    assert judges["int8.tensorrt.onnx", "int8"] == "ONNX"
    assert judges["model.onnx (half)", "fp16"] == "ONNX"
    assert {speed.precision for speed in card.measured.speed} >= {"int8", "f32"}


def test_a_net_that_breaks_in_int8_is_healed_by_the_one_layer_that_breaks_it(make: Made) -> None:
    limits = {"miou": 3.0, "warm": 3.0}  # unhealed, it loses 30; a CPU without VNNI rounds coarser: 1.8, healed
    report, folder = make(colour_net(scale=1000), limits)
    assert report.holds, report_text(report)
    assert report.attempts[0].broken(limits)
    assert report.attempts[-1].kept_float == ("4",)  # the layer that reads the large channel
    card = load_bundle(folder).card
    assert card.gate is not None
    assert card.gate.kept_float == ("4",)
    text = report_text(report)
    assert "0 in float: int8.openvino.onnx breaks" in text
    assert "1 in float (+ 4): all limits hold" in text


def test_an_engine_past_its_limits_is_refused_with_the_reason_and_not_written(make: Made, tmp_path: Path) -> None:
    report, folder = make(colour_net(scale=1000), limits={"disagreement": 0.0}, targets=("openvino",))
    assert not report.holds
    assert not folder.exists()
    words = str(refusal(report, tmp_path / "report"))
    assert isinstance(refusal(report, tmp_path), GateRefused)
    assert "int8.openvino.onnx lost" in words
    assert "of disagreement, allowed 0" in words
    assert "REFUSED" in report_text(report)


def test_the_report_has_tables_the_front_as_a_picture_and_the_worst_frames(make: Made, tmp_path: Path) -> None:
    report, _ = make(colour_net())
    folder = write_report(report, tmp_path / "report")
    text = (folder / "report.txt").read_text()
    for words in ("points lost to fp32", "costliest layers", "speed and accuracy", "fp32", "INT8 but 1"):
        assert words in text
    front, worst = (cv2.imread(str(folder / name)) for name in ("front.png", "worst-int8.tensorrt.png"))
    assert front is not None
    assert worst is not None
    assert worst.shape[0] == 10 * 240  # ten frames of 4:3, 320 wide


def test_without_labels_an_engine_is_judged_by_the_pixels_it_sees_otherwise(make: Made) -> None:
    report, folder = make(colour_net(), limits={"disagreement": 5.0}, labels=False)
    assert report.holds
    card = load_bundle(folder).card
    assert card.gate is not None
    assert set(card.gate.lost["int8.openvino.onnx"]) == {"disagreement"}
    assert card.measured.accuracy == ()


def test_a_plan_without_tensorrt_makes_no_graph_for_it(make: Made) -> None:
    _, folder = make(colour_net(), targets=("openvino",))
    assert sorted(path.name for path in folder.iterdir()) == ["card.json", "int8.openvino.onnx", "model.onnx"]


def test_another_input_size_costs_no_second_copy_of_the_weights_and_is_judged_too(make: Made) -> None:
    report, folder = make(colour_net(), sizes=("64x36",), limits={"disagreement": 5.0})
    assert report.holds, report_text(report)
    assert "int8.openvino.onnx 64x36" in report.attempts[-1].lost
    assert len(list(folder.glob("*.onnx"))) == 3
    image = cv2.resize(patches(3)[0], (64, 36))
    with open_engine(folder, backend="openvino", source_wh=(1280, 720)) as engine:
        assert (engine.precision, engine.card.input_wh) == ("int8", (64, 36))
        wide = engine.infer(image)["semantic"]
    with open_engine(folder, backend="openvino", source_wh=(1280, 720), precision="f32") as engine:
        assert np.mean(engine.infer(image)["semantic"] == wide) > 0.9


def test_a_limit_that_cannot_be_judged_is_refused_before_any_work(make: Made) -> None:
    with pytest.raises(ConfigError, match="limit 'sheep': the engine has no such class or group"):
        make(colour_net(), limits={"sheep": 1.0})


def test_what_each_layer_costs_is_listed_the_costliest_first(make: Made) -> None:
    report, _ = make(colour_net(scale=1000))
    assert next(iter(report.sensitivity)) == "4"
    assert sorted(report.sensitivity) == sorted(LAYERS)
    shares = list(report.sensitivity.values())
    assert shares == sorted(shares, reverse=True)


@pytest.mark.parametrize(
    ("saturates", "agree", "refused"), [(False, 0.95, True), (True, 0.95, False), (True, 0.8, True)]
)
def test_a_graph_may_differ_more_between_runtimes_where_products_saturate(
    monkeypatch: pytest.MonkeyPatch, saturates: bool, agree: float, refused: bool
) -> None:
    module = sys.modules["edge.compile.build"]  # not the function of that name

    one, other = np.zeros((1, 10, 10), np.uint8), np.zeros((1, 1, 10, 10), np.uint8)
    other.flat[: round(100 * (1 - agree))] = 1
    monkeypatch.setattr(module, "int8_saturates", lambda: saturates)
    monkeypatch.setattr(module, "trial", lambda *_, **__: one)
    monkeypatch.setattr(module, "run_in_subprocess", lambda *_, **__: other)
    with pytest.raises(EngineError, match="wrongly") if refused else nullcontext():
        module._try(b"", "openvino", [np.zeros((10, 10, 3), np.uint8)])
