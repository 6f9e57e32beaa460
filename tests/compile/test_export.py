from __future__ import annotations

import hashlib
import io
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import graph_of

import edge
from edge.backends import open_engine
from edge.classes import CAMVID
from edge.config import parse_tree
from edge.engine import Bundle, load_bundle
from edge.errors import ConfigError, EngineError
from edge.train.recipe import Recipe

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
export = pytest.importorskip("edge.compile.export")
HALF_FROM_ELEMENTS = pytest.importorskip("edge.compile.portable").HALF_FROM_ELEMENTS
nets = pytest.importorskip("edge.nets")

IMAGENET_RGB = export.InputScaling(
    mean=(123.675, 116.28, 103.53), scale=(1 / 58.395, 1 / 57.12, 1 / 57.375), order="rgb"
)


class Logits(torch.nn.Module):
    """A net that gives the same logits whatever it sees."""

    def __init__(self, logits: Any) -> None:
        super().__init__()
        self.logits = torch.as_tensor(logits, dtype=torch.float32)

    def forward(self, x: Any) -> Any:
        return self.logits + 0 * x[:, :1, :1, :1]  # OpenVINO drops inputs that nothing reads


def classes_of(model: bytes, image: np.ndarray) -> np.ndarray:
    core = export.get_core()
    compiled = core.compile_model(core.read_model(model, b""), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled([image[None]])[0][0]


@pytest.fixture
def noise() -> list[np.ndarray]:
    """uint8 (91, 150, 3) images."""
    return list(np.random.default_rng(5).integers(0, 256, (4, 91, 150, 3), dtype=np.uint8))


# ----------------------------------------------------------------------------------------------------------- the graph


def test_the_graph_is_in_the_form_that_old_runtimes_read(street_bundle: Bundle) -> None:
    model = onnx.load_from_string(graph_of(street_bundle))
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 17)]
    assert model.ir_version == 8
    nodes = model.graph.node
    assert [node.op_type for node in nodes if "image" in node.input] == ["Cast"]
    assert [(node.op_type, node.attribute[0].i) for node in nodes if "semantic" in node.output] == [
        ("Cast", onnx.TensorProto.UINT8)
    ]
    counts = Counter(node.op_type for node in nodes)
    assert not {"ArgMax", "TopK", "If", "Loop", "Shape", "ConstantOfShape"} & set(counts)
    assert counts["BatchNormalization"] == 12  # those that stand before their convolution; the others are folded
    assert counts["Resize"] == 7  # inside the net only
    assert counts["Gather"] == 2  # the rows above and the rows below
    assert (counts["Reshape"], counts["Transpose"]) == (2, 1)  # of class ids and of their confidence


def test_weights_are_stored_as_half_floats_without_the_training_head(street_bundle: Bundle, street_net: Any) -> None:
    model = onnx.load_from_string(graph_of(street_bundle))
    halves = sum(int(np.prod(i.dims)) for i in model.graph.initializer if i.data_type == onnx.TensorProto.FLOAT16)
    kernels = sum(p.numel() for n, p in street_net.named_parameters() if p.ndim == 4 and not n.startswith("auxiliary"))
    small = sum(p.numel() for p in street_net.parameters() if p.ndim == 4 and p.numel() < HALF_FROM_ELEMENTS)
    assert kernels - small < halves <= kernels
    assert not [i.name for i in model.graph.initializer if "auxiliary" in i.name]
    first = next(i for i in model.graph.initializer if i.name.endswith("stem.0.0.weight"))
    assert first.data_type == onnx.TensorProto.FLOAT


def test_the_graph_tells_nothing_of_the_machine_it_was_made_on(street_bundle: Bundle) -> None:
    model = graph_of(street_bundle)
    for trace in (str(Path(edge.__file__).parent), str(Path(torch.__file__).parent), "forward", "stack_trace"):
        assert trace.encode() not in model


@pytest.mark.slow
def test_a_net_gives_the_same_bytes_each_time() -> None:
    first, second = (export.export_onnx(torch.nn.AvgPool2d(8), (64, 48)) for _ in range(2))
    assert first == second


@pytest.mark.slow
def test_the_graph_agrees_with_the_net(street_bundle: Bundle, street_net: Any, noise: list[np.ndarray]) -> None:
    found = export.parity(street_net, graph_of(street_bundle), noise)
    assert found.agreement > 0.9999
    assert found.widest_margin < 1e-3
    assert len(np.unique(classes_of(graph_of(street_bundle), noise[0]))) > 3


@pytest.mark.slow
def test_onnx_runtime_sees_what_openvino_sees(street_bundle: Bundle, noise: list[np.ndarray]) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(graph_of(street_bundle), providers=["CPUExecutionProvider"])
    with open_engine(street_bundle.folder) as engine:
        for image in noise:
            (found,) = session.run(["semantic"], {"image": image[None]})
            assert np.mean(found[0] == engine.infer(image)["semantic"]) > 0.9999


@pytest.mark.slow
def test_other_nets_may_want_rgb_with_mean_and_deviation(noise: list[np.ndarray]) -> None:
    torch.manual_seed(2)
    net = torch.nn.Conv2d(3, 5, 3, stride=2, padding=1)  # padding zeros are mean pixels, not black ones
    model = export.export_onnx(net, (150, 91), IMAGENET_RGB)
    assert export.parity(net, model, noise, IMAGENET_RGB).agreement > 0.9999
    assert export.parity(net, model, noise).agreement < 0.9


@pytest.mark.slow
def test_a_net_that_torch_cannot_export_is_an_engine_error() -> None:
    class Fickle(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return x if x.sum() > 0 else -x

    with pytest.raises(EngineError, match="torch cannot export the net"):
        export.export_onnx(Fickle(), (16, 16))


@pytest.mark.slow
def test_reductions_and_splits_are_written_the_old_way(noise: list[np.ndarray]) -> None:
    class Mixed(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            blue, green, red = x.split(1, 1)
            return torch.cat([blue - x.mean(1, keepdim=True), green.amax((2, 3), keepdim=True) - red, red * green], 1)

    net = Mixed()
    assert export.parity(net, export.export_onnx(net, (150, 91)), noise).agreement > 0.9999


# -------------------------------------------------------------------------------------------------------------- parity


@pytest.mark.slow
def test_parity_counts_pixels_and_the_widest_margin() -> None:
    logits = np.zeros((1, 3, 2, 4), np.float32)
    logits[0, 2] = 1
    model = export.export_onnx(Logits(logits), (4, 2))
    other = logits.copy()
    other[0, 0, 0, 0] = 1.25  # here the net prefers 0 to the graph's 2 by a quarter
    other[0, 1, 1, 3] = 3.0  # and here 1 by two
    found = export.parity(Logits(other), model, [np.zeros((2, 4, 3), np.uint8)] * 2)
    assert found == export.Parity(agreement=6 / 8, widest_margin=2.0)


def test_a_graph_that_disagrees_is_refused_with_the_figures() -> None:
    export.check_parity(export.Parity(0.999, 5.0), "here")
    with pytest.raises(
        EngineError, match=r"here: not exported, .* agrees with the net on 99\.8000% .* expected 99\.9%"
    ):
        export.check_parity(export.Parity(0.998, 0.5), "here")


# ---------------------------------------------------------------------------------------------------------- the bundle


@pytest.fixture
def recipe() -> Recipe:
    return parse_tree(
        {
            "name": "tiny",
            "net": "ddrnet23_slim",
            "input_size": "150x91",
            "resize": "stretch",
            "train": [{"frames": "f", "labels": "l"}],
            "val": {"frames": "f", "labels": "l"},
            "optimisation": {"steps": 5},
            "licence": "CC0",
            "data_note": "noise",
        },
        Recipe,
        "here",
    )


@pytest.fixture
def checkpoint(tmp_path: Path, recipe: Recipe, street_net: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint of a narrow net, as the trainer writes it, after 5 steps."""

    def make_narrow(classes: int) -> Any:
        net = nets.DDRNet23Slim(classes, 8, 16, 16)
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eps = 0.0  # as in `street_net`; it is no part of a checkpoint
        return net

    monkeypatch.setitem(nets.NETS, "ddrnet23_slim", make_narrow)
    state = {"recipe": recipe.model_dump(mode="json"), "step": 5, "averaged": street_net.state_dict()}
    torch.save(state, tmp_path / "last.pt")
    return tmp_path / "last.pt"


@pytest.fixture
def quick_export(street_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exporting takes seconds; the graph of this very net is there already."""
    monkeypatch.setattr(export, "export_onnx", lambda net, input_wh, halve: graph_of(street_bundle))


@pytest.mark.usefixtures("quick_export")
def test_a_checkpoint_becomes_a_bundle_with_all_its_card_wants(
    recipe: Recipe, checkpoint: Path, tmp_path: Path, noise: list[np.ndarray], street_net: Any
) -> None:
    bundle = export.make_bundle(recipe, checkpoint, tmp_path / "built" / "tiny", noise)
    card = load_bundle(tmp_path / "built" / "tiny").card
    assert bundle.card == card
    assert (card.name, card.net, card.table, card.input_wh, card.resize) == (
        "tiny",
        "ddrnet23_slim",
        CAMVID,
        (150, 91),
        "stretch",
    )
    assert (card.training_data, card.licence, card.trained_steps, card.precision) == ("noise", "CC0", 5, "fp32")
    assert (card.versions.edge, card.versions.torch, card.versions.opset) == (edge.__version__, torch.__version__, 17)
    assert card.graphs[0].sha256 == hashlib.sha256(graph_of(bundle)).hexdigest()
    assert card.weights_sha256 == export.weights_sha256(street_net.state_dict())
    assert card.measured.accuracy == card.measured.speed == ()
    with open_engine(bundle.folder) as engine:
        assert engine.infer(noise[0])["semantic"].shape == (91, 150)


def test_a_graph_that_is_not_the_nets_makes_no_bundle(
    recipe: Recipe,
    checkpoint: Path,
    tmp_path: Path,
    noise: list[np.ndarray],
    street_bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def wrong(net: Any, input_wh: Any, halve: bool) -> bytes:
        torch.nn.init.normal_(net.stem[0][0].weight)  # as an exporter's bug would have it
        return graph_of(street_bundle)

    monkeypatch.setattr(export, "export_onnx", wrong)
    with pytest.raises(EngineError, match="not exported, the graph agrees with the net on"):
        export.make_bundle(recipe, checkpoint, tmp_path / "built", noise)
    assert not (tmp_path / "built").exists()


def test_a_missing_checkpoint_is_answered_with_the_command(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"checkpoint not found\. Train first: edge train"):
        export.make_bundle(recipe, tmp_path / "last.pt", tmp_path / "built")


def test_a_checkpoint_of_another_net_is_refused(recipe: Recipe, checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected net unet, got ddrnet23_slim"):
        export.make_bundle(recipe.model_copy(update={"net": "unet"}), checkpoint, tmp_path / "built")


class Malicious:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("touched"),))


def _weights_alone() -> bytes:
    """What torch.save makes of a state dict: readable, and nothing of a training run in it."""
    file = io.BytesIO()
    torch.save(torch.nn.Linear(2, 2).state_dict(), file)
    return file.getvalue()


@pytest.mark.parametrize("content", [b"", b"PK not a zip", pickle.dumps(Malicious()), _weights_alone()])
def test_what_is_no_checkpoint_is_refused_and_never_run(
    recipe: Recipe, tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "last.pt").write_bytes(content)
    with pytest.raises(ConfigError, match="is not a checkpoint of edge train"):
        export.make_bundle(recipe, tmp_path / "last.pt", tmp_path / "built")
    assert not (tmp_path / "touched").exists()


def test_the_weights_hash_depends_on_values_names_and_shapes_only() -> None:
    weights = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2)}
    strided = {"b": torch.ones(4)[::2], "a": weights["a"].t().contiguous().t()}
    assert export.weights_sha256(strided) == export.weights_sha256(weights)
    assert export.weights_sha256({**weights, "b": torch.zeros(2)}) != export.weights_sha256(weights)
    assert export.weights_sha256({"a": weights["a"], "c": weights["b"]}) != export.weights_sha256(weights)
    assert export.weights_sha256({**weights, "a": weights["a"].reshape(3, 2)}) != export.weights_sha256(weights)
