from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import edge
from edge.backends import open_engine
from edge.engine import write_bundle
from edge.errors import ConfigError, EdgeError, EngineError
from edge.frame import Image

onnx = pytest.importorskip("onnx")
torch = pytest.importorskip("torch")
adopting = pytest.importorskip("edge.compile.adopt")
card_file = pytest.importorskip("edge.compile.card_file")
foreign = pytest.importorskip("edge.compile.foreign")
torch_module = pytest.importorskip("edge.compile.torch_module")
adopt, adopt_torch = adopting.adopt, torch_module.adopt_torch

FLAG_WH = (64, 48)
CARD = {
    "name": "flags",
    "licence": "MIT",
    "training_data": "flags",
    "classes": [
        {"name": "Blue", "colour_rgb": [0, 0, 255]},
        {"name": "Green", "colour_rgb": [0, 255, 0]},
        {"name": "Red", "colour_rgb": [255, 0, 0]},
    ],
    "input": {"order": "bgr", "pixels": "0..1"},
}
# Logits: the mean blue, green and red of 8x8 cells.
POOL = "AveragePool <kernel_shape = [8, 8], strides = [8, 8]>"
FLAG_NET = f"(float[1,3,48,64] x) => (float[1,3,6,8] y) {{ y = {POOL} (x) }}"

Write = Callable[..., Path]


def net(text: str, opset: int = 17, extra: str = "") -> Any:
    return onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}{extra}]> net {text}')


@pytest.fixture
def model_file(tmp_path: Path) -> Write:
    """`model_file(text or model)` is the path of an ONNX file."""

    def write(model: Any, name: str = "net.onnx") -> Path:
        model = net(model) if isinstance(model, str) else model
        (tmp_path / name).write_bytes(model.SerializeToString())
        return tmp_path / name

    return write


@pytest.fixture
def card(tmp_path: Path) -> Write:
    """`card(key=value)` is the path of a card file, with those keys changed or, where None, left out."""

    def write(**changes: Any) -> Path:
        tree = {key: value for key, value in {**CARD, **changes}.items() if value is not None}
        (tmp_path / "card.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
        return tmp_path / "card.yaml"

    return write


def engine_of(adopted: Any, tmp_path: Path) -> Any:
    return open_engine(write_bundle(tmp_path / "bundle", adopted.files, adopted.card).folder)


def exported(module: Any, path: Path, **options: Any) -> None:
    """A user's file, as torch's own exporter writes it for them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about itself
        torch.onnx.export(module.eval(), (torch.zeros(1, 3, 48, 64),), str(path), verbose=False, **options)


# ------------------------------------------------------------------------------------------------------------- adoption


@pytest.mark.slow
def test_a_net_becomes_an_engine_that_knows_itself(
    model_file: Write, card: Write, tmp_path: Path, flag: Image, flag_classes: Image, lying_flag: Image
) -> None:
    adopted = adopt(model_file(FLAG_NET), card(), [flag, lying_flag])
    assert adopted.agreement == 1
    assert list(adopted.files) == ["model.onnx"]
    made = adopted.card
    assert (made.name, made.input_wh, made.licence, made.training_data) == ("flags", FLAG_WH, "MIT", "flags")
    assert (made.net, made.precision, made.versions.opset, made.resize) == ("net", "fp32", 17, "letterbox")
    assert made.table.groups == {"blue": ("Blue",), "green": ("Green",), "red": ("Red",)}
    with engine_of(adopted, tmp_path) as engine:
        assert engine.card == made
        np.testing.assert_array_equal(engine.infer(flag)["semantic"], flag_classes)


@pytest.mark.slow
def test_a_net_keeps_the_output_that_its_card_file_lists_and_knows_how_sure_it_is(
    model_file: Write, card: Write, tmp_path: Path, flag: Image
) -> None:
    depth = "depth = ReduceMax <axes = [1], keepdims = 1> (y)"
    text = f"(float[1,3,48,64] x) => (float[1,3,6,8] y, float[1,1,6,8] depth) {{ y = {POOL} (x) {depth} }}"
    listed = {
        "name": "depth",
        "dtype": "float32",
        "shape": ["H/8", "W/8"],
        "decoder": "value_map",
        "meaning": "made up",
    }
    adopted = adopt(model_file(text), card(output="y", outputs=[listed]), [flag])
    assert [output.name for output in adopted.card.outputs] == ["semantic", "confidence", "depth"]
    folder = write_bundle(tmp_path / "engine", adopted.files, adopted.card).folder
    cv2.imwrite(str(tmp_path / "0.png"), flag)
    (result,) = edge.segment(tmp_path / "0.png", folder, outputs=["confidence"])
    np.testing.assert_allclose(result.content("depth")[3], flag[28, 4::8].max(-1) / 255, atol=1e-3)
    assert set(result.summaries()) == {"confidence", "depth"}


class Cityscapes(torch.nn.Module):
    """A net of 19 classes with two heads at two strides, as many published ones are."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.body = torch.nn.Conv2d(3, 16, 3, stride=4, padding=1)
        self.head = torch.nn.Conv2d(16, 19, 1)
        self.auxiliary = torch.nn.Conv2d(16, 19, 1)

    def forward(self, x: Any) -> Any:
        features = torch.relu(self.body(x))
        logits = torch.nn.functional.interpolate(self.head(features), x.shape[2:], mode="bilinear")
        return {"out": logits, "aux": self.auxiliary(features)}


IMAGENET = {"order": "rgb", "pixels": "0..1", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
STREET = [
    {"name": "Road", "colour_rgb": [128, 64, 128]},
    {"name": "Pedestrian", "colour_rgb": [220, 20, 60]},
    {"name": "Other", "colour_rgb": [0, 0, 0]},
]


OPEN = torch.export.Dim.DYNAMIC
EXPORTERS = {
    "torch.export": {"dynamo": True, "dynamic_shapes": [{2: OPEN, 3: OPEN}]},
    "tracing": {"dynamo": False, "dynamic_axes": {"rgb": {0: "batch", 2: "height", 3: "width"}}, "opset_version": 12},
}


@pytest.mark.slow
@pytest.mark.parametrize("options", EXPORTERS.values(), ids=EXPORTERS)
def test_a_net_with_open_sizes_two_heads_and_foreign_labels_is_adopted(
    options: dict[str, Any], card: Write, tmp_path: Path
) -> None:
    path = tmp_path / "net.onnx"
    exported(Cityscapes(), path, input_names=["rgb"], output_names=["out", "aux"], **options)
    changes = {"classes": STREET, "label_map": {0: "Road", 11: "Pedestrian", 12: "Pedestrian"}}
    adopted = adopt(path, card(**changes, output="out", input={**IMAGENET, "size": "96x72"}))
    assert adopted.agreement > 0.999
    assert adopted.card.input_wh == (96, 72)
    assert adopted.card.table.groups["road"] == ("Road",)
    assert set(adopted.card.table.tints) == {"road", "pedestrian"}
    graph = onnx.load_model_from_string(adopted.files["model.onnx"])
    assert not {"Resize", "Shape", "ArgMax"} & {node.op_type for node in graph.graph.node}
    frame = np.random.default_rng(2).integers(0, 256, (72, 96, 3), dtype=np.uint8)
    rgb = torch.from_numpy(frame[..., ::-1].copy()).float() / 255
    x = (rgb - torch.tensor(IMAGENET["mean"])) / torch.tensor(IMAGENET["std"])
    ids = Cityscapes().eval()(x.permute(2, 0, 1)[None])["out"][0].argmax(0).numpy()
    with engine_of(adopted, tmp_path) as engine:
        wanted = np.select([ids == 0, (ids == 11) | (ids == 12)], [0, 1], 2)
        assert len(np.unique(wanted)) == 3
        assert np.mean(engine.infer(frame)["semantic"] == wanted) > 0.999


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        f"(float[n,3,h,w] x) => (float[n,3,6,8] y) {{ y = {POOL} (x) }}",
        f"(float[1,h,w,3] x) => (float[1,3,6,8] y) {{ t = Transpose <perm = [0,3,1,2]> (x) y = {POOL} (t) }}",
        f"(float16[1,3,48,64] x) => (float16[1,3,6,8] y) {{ y = {POOL} (x) }}",
        f"(float[1,3,48,64] x) => (int64[1,6,8] y) {{ p = {POOL} (x) y = ArgMax <axis = 1, keepdims = 0> (p) }}",
    ],
    ids=["open sizes", "channels last", "half floats", "class map"],
)
def test_nets_of_other_forms_are_adopted(
    text: str, model_file: Write, card: Write, tmp_path: Path, flag: Image, flag_classes: Image
) -> None:
    adopted = adopt(model_file(text), card(input={**CARD["input"], "size": "64x48"}), [flag])
    with engine_of(adopted, tmp_path) as engine:
        np.testing.assert_array_equal(engine.infer(flag)["semantic"], flag_classes)


@pytest.mark.slow
@pytest.mark.parametrize(("opset", "recorded"), [(11, 17), (13, 17), (18, 17), (20, 17)])
def test_other_operator_sets_become_the_one_that_all_runtimes_read(
    opset: int, recorded: int, model_file: Write, card: Write, flag: Image
) -> None:
    adopted = adopt(model_file(net(FLAG_NET, opset=opset)), card(), [flag])
    assert adopted.card.versions.opset == recorded


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["linear", "nearest"])
@pytest.mark.parametrize(("opset", "kind"), [(9, "Upsample"), (10, "Resize")])
def test_a_resize_of_before_opset_11_samples_as_it_did(
    opset: int, kind: str, mode: str, model_file: Write, card: Write, flag: Image
) -> None:
    text = f"""(float[1,3,48,64] x) => (float[1,3,48,64] y) <float[4] scales = {{1, 1, 8, 8}}> {{
        p = {POOL} (x)
        y = {kind} <mode = "{mode}"> (p, scales)
    }}"""
    noise = np.random.default_rng(5).integers(0, 256, flag.shape, np.uint8)
    assert adopt(model_file(net(text, opset=opset)), card(), [flag, noise]).agreement == 1


TWO_CLASSES = CARD["classes"][:2]
RED = "i = Constant <value = int64[1] {2}> () r = Gather <axis = 1> (x, i)"  # the red channel, 0 to 1
CENTRED = f"{RED} h = Constant <value = float {{0.5}}> () c = Sub (r, h)"
ONE_CHANNEL = {
    "logits": (CENTRED, "y = Identity (c)", "1,1,48,64"),
    "probabilities": (CENTRED, "y = Sigmoid (c)", "1,1,48,64"),
    "without channels": (CENTRED, "s = Sigmoid (c) y = Squeeze <axes = [1]> (s)", "1,48,64"),
    "channels last": (CENTRED, "s = Sigmoid (c) y = Transpose <perm = [0, 2, 3, 1]> (s)", "1,48,64,1"),
    "a sigmoid written out": (CENTRED, "n = Neg (c) e = Exp (n) o = Constant <value = float {1}> () "
                              "d = Add (e, o) y = Reciprocal (d)", "1,1,48,64"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after", "shape"), ONE_CHANNEL.values(), ids=ONE_CHANNEL)
@pytest.mark.parametrize("threshold", [0.5, 0.6])
def test_a_net_of_one_channel_is_a_mask_above_a_threshold(
    before: str, after: str, shape: str, threshold: float, model_file: Write, card: Write, tmp_path: Path
) -> None:
    text = f"(float[1,3,48,64] x) => (float[{shape}] y) {{ {before} {after} }}"
    opset = 12 if "axes" in after else 17
    image = np.random.default_rng(2).integers(0, 256, (48, 64, 3), np.uint8)
    image[0, 0], image[0, 1] = 0, 255
    adopted = adopt(model_file(net(text, opset=opset)), card(classes=TWO_CLASSES, threshold=threshold), [image])
    chance = 1 / (1 + np.exp(0.5 - image[..., 2] / 255))
    assert adopted.agreement == 1
    with engine_of(adopted, tmp_path) as engine:
        np.testing.assert_array_equal(engine.infer(image)["semantic"], chance > threshold)


@pytest.mark.slow
def test_a_net_of_one_channel_without_a_threshold_is_refused_with_what_to_add(
    model_file: Write, card: Write, flag: Image
) -> None:
    for name in ("probabilities", "without channels"):
        before, after, shape = ONE_CHANNEL[name]
        text = f"(float[1,3,48,64] x) => (float[{shape}] y) {{ {before} {after} }}"
        with pytest.raises(EngineError, match=r"add `threshold: 0\.5` to the card file|Add `threshold: 0\.5`"):
            adopt(model_file(net(text, opset=12)), card(classes=TWO_CLASSES), [flag])
    with pytest.raises(EngineError, match="`threshold` is for an output of one channel"):
        adopt(model_file(FLAG_NET), card(threshold=0.5), [flag])


@pytest.mark.slow
def test_what_cannot_be_said_in_an_older_operator_set_stays_in_its_own(model_file: Write, card: Write, flag) -> None:
    text = f"(float[1,3,48,64] x) => (float[1,3,6,8] y) {{ p = {POOL} (x) y = Gelu (p) }}"
    assert adopt(model_file(net(text, opset=20)), card(), [flag]).card.versions.opset == 20


@pytest.mark.slow
def test_a_quantised_net_is_adopted_as_int8(
    model_file: Write, card: Write, tmp_path: Path, flag: Image, flag_classes: Image
) -> None:
    text = f"""(float[1,3,48,64] x) => (float[1,3,6,8] y) {{
        s = Constant <value = float {{0.0078125}}> ()
        z = Constant <value = int8 {{0}}> ()
        q = QuantizeLinear (x, s, z)
        d = DequantizeLinear (q, s, z)
        y = {POOL} (d)
    }}"""
    adopted = adopt(model_file(text), card(), [flag])
    (graph,) = adopted.card.graphs
    assert (graph.file, graph.precision, graph.runtime, adopted.card.precision) == ("int8.onnx", "int8", "any", "int8")
    with engine_of(adopted, tmp_path) as engine:
        np.testing.assert_array_equal(engine.infer(flag)["semantic"], flag_classes)
    unsigned = text.replace("int8 {0}", "uint8 {0}")
    (graph,) = adopt(model_file(unsigned), card(), [flag]).card.graphs
    assert (graph.file, graph.runtime) == ("int8.openvino.onnx", "openvino")


@pytest.mark.slow
def test_weights_in_a_file_beside_the_model_are_taken_in(card: Write, tmp_path: Path, flag: Image) -> None:
    model = net(f"(float[1,3,48,64] x) => (float[1,3,6,8] y) {{ p = {POOL} (x) y = Mul (p, w) }}")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((1, 3, 6, 8), np.float32), "w"))
    onnx.save(model, tmp_path / "net.onnx", save_as_external_data=True, location="net.data", size_threshold=0)
    (file,) = adopt(tmp_path / "net.onnx", card(), [flag]).files.values()
    assert onnx.load_model_from_string(file).graph.initializer[0].data_location == 0
    (tmp_path / "net.data").unlink()
    with pytest.raises(EngineError, match=r"constant 'w' is in 'net.data', which is not beside the model"):
        adopt(tmp_path / "net.onnx", card(), [flag])


@pytest.mark.slow
def test_an_engine_that_does_not_give_what_the_net_gives_is_refused(
    model_file: Write, card: Write, flag: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        adopting, "wrap", lambda *given, labels, **named: adopting_wrap(*given, labels=[1, 0, 2], **named)
    )
    from edge.compile.wrap import wrap as adopting_wrap

    with pytest.raises(
        EngineError, match=r"not adopted, the engine agrees with the net itself on 37\.50% of pixels, expected"
    ):
        adopt(model_file(FLAG_NET), card(), [flag])


def test_a_net_that_gives_nan_is_refused(model_file: Write, card: Write, flag: Image) -> None:
    with pytest.raises(EngineError, match=r"the net itself gives NaN, in 66\.7% of its answers"):
        adopt(model_file("(float[1,3,48,64] x) => (float[1,3,48,64] y) { y = Div (x, x) }"), card(), [flag])


def test_a_crash_of_the_runtime_is_a_message(
    model_file: Write, card: Write, flag: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*given: Any) -> Any:
        raise EngineError("openvino crashed over the graph: SIGSEGV")

    monkeypatch.setattr(adopting, "trial", crash)
    with pytest.raises(EngineError, match=r"net\.onnx: openvino crashed over the graph: SIGSEGV"):
        adopt(model_file(FLAG_NET), card(), [flag])


# ------------------------------------------------------------------------------------------------------------- refusals

WEIGHT = "y = Mul (x, w)"
REFUSED = {
    "(float[1,1,48,64] x) => (float[1,1,48,64] y) { y = Exp (x) }": r"\(1, 1, 48, 64\): has 1 channels, expected 3",
    "(float[1,4,48,64] x) => (float[1,4,48,64] y) { y = Exp (x) }": "has 4 channels, expected 3",
    "(float[8,3,48,64] x) => (float[8,3,48,64] y) { y = Exp (x) }": "is for 8 images at once",
    "(float[1,3,64,48] x) => (float[1,3,64,48] y) { y = Exp (x) }": (
        r"is 48x64 \(width x height\), the card says 64x48: width and height are swapped"
    ),
    "(float[1,3,32,64] x) => (float[1,3,32,64] y) { y = Exp (x) }": r"is 64x32 .*, the card says 64x48$",
    "(float[3,64] x) => (float[3,64] y) { y = Exp (x) }": r"expected an image, \(1, 3, H, W\)",
    "(float[1,3,48,64] x) => (float[1,3,48,64] y, float[1,3,48,64] z) { y = Exp (x) z = Exp (y) }": (
        r"2 outputs \(y float32 \(1, 3, 48, 64\); z .*say with `output`"
    ),
    "(float[1,3,48,64] x) => (float[1,6,48,64] y) { y = Concat <axis = 1> (x, x) }": (
        r"the net has 6 classes, the card 3 \(Blue, Green, Red\); list all of them .* or say with label_map"
    ),
    "(float[1,3,48,64] x) => (float[1,3,48,64] y) { w = Constant <value_floats = [1.0, 0.0]> () y = Mul (x, w) }": (
        "is not valid ONNX|does not take images of this size"
    ),
    "(float[1,3,48,64] x) => (float y) { q, s, z = DynamicQuantizeLinear (x) y = DequantizeLinear (q, s, z) }": (
        r"quantised in a form .* DynamicQuantizeLinear \(1: -> q\)\. Give the float model"
    ),
    "(float[1,3,48,64] x) => (float[1,3,48,64] y) { y = com.microsoft.Gelu (x) }": (
        r"operators that are not ONNX's own: com\.microsoft\.Gelu \(1: -> y\)"
    ),
    "(float[1,3,48,64] x) => (float[1,3,48,64] y) { y = NoSuchThing (x) }": "it is not valid ONNX: .*NoSuchThing",
}  # fmt: skip


@pytest.mark.parametrize(("text", "words"), REFUSED.items())
def test_what_edge_cannot_take_is_refused_with_what_was_found(
    text: str, words: str, model_file: Write, card: Write, flag: Image
) -> None:
    model = net(text, extra=', "com.microsoft": 1')
    with pytest.raises(EngineError, match=words) as caught:
        adopt(model_file(model), card(input={**CARD["input"], "size": "64x48"}), [flag])
    assert str(caught.value).startswith(str(model_file(model)))


def test_a_size_that_nobody_says_is_asked_for(model_file: Write, card: Write) -> None:
    text = FLAG_NET.replace("1,3,48,64", "1,3,h,w")
    with pytest.raises(EngineError, match=r"leaves the size open; say it in the card, input\.size: 640x480"):
        adopt(model_file(text), card())


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_broken_weights_are_named(value: float, model_file: Write, card: Write) -> None:
    model = net("(float[1,3,48,64] x) => (float[1,3,48,64] y) { y = Mul (x, stem) }")
    model.graph.initializer.append(
        onnx.numpy_helper.from_array(np.array([[[1.0]], [[value]], [[2.0]]], np.float32), "stem")
    )
    with pytest.raises(EngineError, match=r"constant 'stem' holds NaN or infinity in 1 of 3 places"):
        adopt(model_file(model), card())


def test_a_net_exported_in_training_is_refused(model_file: Write, card: Write) -> None:
    model = net(
        """(float[1,3,48,64] x) => (float[1,3,48,64] y) {
            y, m, v = BatchNormalization <training_mode = 1> (x, ones, ones, ones, ones) }"""
    )
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(3, np.float32), "ones"))
    with pytest.raises(EngineError, match=r"exported while in training; call net\.eval\(\)"):
        adopt(model_file(model), card())


@pytest.mark.parametrize("place", ["../weights", "/etc/hostname", "link/weights"])
def test_weights_outside_the_models_folder_are_refused(place: str, tmp_path: Path, card: Write) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "weights").write_bytes(bytes(4))
    (home / "link").symlink_to(tmp_path)
    model = net("(float[1,3,48,64] x) => (float[1,3,48,64] y) { y = Mul (x, w) }")
    tensor = model.graph.initializer.add(name="w", data_type=1, data_location=onnx.TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=place)
    (home / "net.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(EngineError, match=f"constant 'w' is in '{place}', outside the model's folder; refused"):
        adopt(home / "net.onnx", card())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not an ONNX file"),
        (b"hello, this is no model", "is not an ONNX file"),
        (b"PK\x03\x04 a zip", "is a file of torch.save, not ONNX"),
    ],
)
def test_what_is_no_onnx_is_refused(content: bytes, words: str, tmp_path: Path, card: Write) -> None:
    (tmp_path / "net.onnx").write_bytes(content)
    with pytest.raises(EngineError, match=words):
        adopt(tmp_path / "net.onnx", card())


def test_a_file_that_broke_off_is_refused(model_file: Write, card: Write) -> None:
    path = model_file(FLAG_NET)
    whole = path.read_bytes()
    for end in range(0, len(whole), 7):
        path.write_bytes(whole[:end])
        with pytest.raises(EdgeError):
            adopt(path, card())


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=100)
def test_no_damage_to_a_file_gives_more_than_a_message(seed: int) -> None:
    rng = np.random.default_rng(seed)
    model = net(
        """(float[n,3,h,w] x) => (float[n,3,h,w] y) {
            s = Shape (x)
            k = Constant <value = int64[2] {2, 3}> ()
            hw = Gather (s, k)
            one = Constant <value = int64[2] {1, 3}> ()
            all = Concat <axis = 0> (one, hw)
            y = Resize <mode = "linear"> (x, , , all)
        }"""
    )
    content = bytearray(model.SerializeToString())
    for place in rng.integers(0, len(content), rng.integers(1, 4)):
        content[place] = rng.integers(0, 256)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "net.onnx")
        path.write_bytes(content)
        try:
            damaged = foreign.load_foreign(path)
            foreign.fix_input(damaged, FLAG_WH, None)
            adopting.read_head(damaged, FLAG_WH)
        except EdgeError as error:
            assert str(error)  # noqa: PT017  # any other exception is the failure


def test_a_file_that_is_not_there_is_said_so(tmp_path: Path, card: Write) -> None:
    with pytest.raises(EngineError, match=r"none\.onnx: cannot be read: No such file"):
        adopt(tmp_path / "none.onnx", card())


# ------------------------------------------------------------------------------------------------------ labels and card


@pytest.mark.slow
def test_every_unmapped_label_needs_a_place(model_file: Write, card: Write, flag: Image) -> None:
    with pytest.raises(EngineError, match=r"what becomes of ids 0, 1, and no class of the card is called Other"):
        adopt(model_file(FLAG_NET), card(label_map={2: "Red"}), [flag])
    with pytest.raises(EngineError, match="label_map names id 3, the net's ids go from 0 to 2"):
        adopt(model_file(FLAG_NET), card(label_map={0: "Blue", 1: "Red", 2: "Red", 3: "Red"}), [flag])


@pytest.mark.slow
def test_ids_that_no_class_has_are_found_in_a_class_map(model_file: Write, card: Write, flag: Image) -> None:
    text = f"""(float[1,3,48,64] x) => (int64[1,6,8] y) {{
        p = {POOL} (x) a = ArgMax <axis = 1, keepdims = 0> (p)
        seven = Constant <value = int64 {{7}}> () y = Add (a, seven) }}"""
    with pytest.raises(EngineError, match="gives class id 9, the card has 3 classes, 0 to 2"):
        adopt(model_file(text), card(), [flag])
    mapped = card(
        label_map={7: "Blue", 8: "Green"}, classes=[*CARD["classes"][:2], {**CARD["classes"][2], "name": "Other"}]
    )
    assert adopt(model_file(text), mapped, [flag]).agreement == 1


def test_all_that_is_wrong_in_a_card_file_is_listed_at_once(card: Write, model_file: Write) -> None:
    path = card(licence=None, input={"order": "grb", "std": [1, 0, 1]}, classes="ade20k", colour="red")
    with pytest.raises(ConfigError) as caught:
        adopt(model_file(FLAG_NET), path)
    for word in ("licence: is missing", "input.order", "input.pixels: is missing", "input.std", "colour: no such key"):
        assert word in str(caught.value)


def test_labels_and_groups_must_be_of_classes_that_there_are(card: Write, model_file: Write) -> None:
    with pytest.raises(ConfigError, match=r"label_map\.4: no class is called 'Raod'"):
        adopt(model_file(FLAG_NET), card(label_map={4: "Raod", 0: "Red"}))
    with pytest.raises(ConfigError, match=r"card\.yaml: group 'road': no class is called 'Road'"):
        adopt(model_file(FLAG_NET), card(groups={"road": ["Road"]}))


def test_the_camvid_classes_need_no_list(card: Write) -> None:
    table = card_file.load_card_file(card(classes="camvid")).table
    assert (len(table), table.groups["road"], set(table.tints)) == (
        11,
        ("Road",),
        {"road", "pedestrian", "cyclist", "vehicle"},
    )


def test_the_card_file_in_the_docs_is_a_valid_one(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "bring-your-own-net.md").read_text(encoding="utf-8")
    (tmp_path / "city.yaml").write_text(page.split("```yaml\n")[1].split("```")[0], encoding="utf-8")
    spec = card_file.load_card_file(tmp_path / "city.yaml")
    assert spec.input.size_wh == (1024, 512)
    assert spec.table.ids("vehicle") == (2,)
    np.testing.assert_allclose(spec.input.scaling.mean, (123.675, 116.28, 103.53))


def test_mean_and_std_are_in_the_pixels_units() -> None:
    small = card_file.InputFile(order="rgb", pixels="0..1", mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 1.0)).scaling
    large = card_file.InputFile(
        order="rgb", pixels="0..255", mean=(127.5, 63.75, 0.0), std=(127.5, 63.75, 255.0)
    ).scaling
    np.testing.assert_allclose(small.mean, large.mean)
    np.testing.assert_allclose(small.scale, large.scale)


def test_images_to_compare_must_be_of_the_inputs_size(card: Write, model_file: Write, flag: Image) -> None:
    with pytest.raises(EngineError, match=r"an image to compare is uint8 \(48, 63, 3\), the input is \(64, 48\)"):
        adopt(model_file(FLAG_NET), card(), [flag[:, 1:]])


# ----------------------------------------------------------------------------------------------------------- torch nets


@pytest.fixture
def users_net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory of a user who has a net and its weights, "city.pt"."""
    (tmp_path / "usersnet.py").write_text(
        """
import torch

class Net(torch.nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.body = torch.nn.Conv2d(3, 8, 3, stride=4, padding=1)
        self.head = torch.nn.Conv2d(8, classes, 1)
    def forward(self, x):
        features = torch.relu(self.body(x))
        return self.head(features), features

def make_net(classes=3):
    return Net(classes)

def fail():
    raise KeyError("no config")
""",
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    import usersnet  # type: ignore[import-not-found]

    torch.manual_seed(9)
    state = {f"module.{key}": value for key, value in usersnet.Net(3).state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "city.pt")
    yield tmp_path
    del torch_module.sys.modules["usersnet"]


@pytest.mark.slow
def test_a_torch_net_is_adopted_by_its_factory(users_net: Path, card: Write) -> None:
    path = card(output="0", input={**CARD["input"], "size": "64x48"}, arguments={"classes": 3})
    adopted = adopt_torch("usersnet:make_net", users_net / "city.pt", path)
    assert adopted.agreement > 0.999
    assert (adopted.card.net, adopted.card.versions.torch) == ("usersnet:make_net", torch.__version__)
    with engine_of(adopted, users_net) as engine:
        assert engine.infer(np.zeros((48, 64, 3), np.uint8))["semantic"].shape == (48, 64)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("factory", "changes", "words"),
    [
        ("usersnet", {}, "given as module:factory"),
        ("nosuch:net", {}, "cannot be imported from .* ModuleNotFoundError: No module named 'nosuch'"),
        ("usersnet:nosuch", {}, "the module usersnet has no function or class 'nosuch'"),
        ("usersnet:fail", {}, r"usersnet:fail\(\) failed: KeyError"),
        ("usersnet:make_net", {"arguments": {"depth": 1}}, r"make_net\(depth=1\) failed: TypeError"),
        (
            "usersnet:make_net",
            {"arguments": {"classes": 4}},
            r"2 of another shape: head\.weight \(3, 8, 1, 1\) in the file",
        ),
        ("builtins:dict", {}, "gave a dict, expected a torch.nn.Module"),
        ("usersnet:make_net", {"output": None}, r"say with `output` which of these is meant: 0 \(1, 3, 12, 16\); 1"),
        ("usersnet:make_net", {"input": CARD["input"]}, "a torch net wants input.size"),
    ],
)
def test_a_torch_net_that_cannot_be_had_is_refused(
    users_net: Path, card: Write, factory: str, changes: dict[str, Any], words: str
) -> None:
    path = card(**{"output": "0", "input": {**CARD["input"], "size": "64x48"}, **changes})
    with pytest.raises(EdgeError, match=words):
        adopt_torch(factory, users_net / "city.pt", path)


def test_weights_of_another_net_are_told_apart_in_a_few_lines(users_net: Path) -> None:
    torch.save({"body.weight": torch.zeros(8, 3, 3, 3), "tail": torch.zeros(1)}, "other.pt")
    with pytest.raises(EngineError) as caught:
        torch_module.load_net("usersnet:make_net", Path("other.pt"), {})
    assert "3 missing: body.bias, head.weight, head.bias\n  1 not in the net: tail" in str(caught.value)


def test_a_file_that_holds_code_is_not_run(users_net: Path) -> None:
    import usersnet  # type: ignore[import-not-found]

    torch.save(usersnet.Net(3), "whole.pt")
    with pytest.raises(
        EngineError, match=r"is not a file of weights alone .* save them by torch\.save\(net\.state_dict"
    ):
        torch_module.load_net("usersnet:make_net", Path("whole.pt"), {})
    with pytest.raises(EngineError, match=r"none\.pt: there is no such file"):
        torch_module.load_net("usersnet:make_net", Path("none.pt"), {})
