from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.backends.openvino import get_core
from edge.errors import EngineError
from edge.frame import Image
from edge.outputs import Output

onnx = pytest.importorskip("onnx")
ReferenceEvaluator = pytest.importorskip("onnx.reference").ReferenceEvaluator
torch = pytest.importorskip("torch")
wrapping = pytest.importorskip("edge.compile.wrap")
head = pytest.importorskip("edge.compile.head")
wrap, Scaling = wrapping.wrap, wrapping.InputScaling

FLAG_WH = (64, 48)


def net(text: str, opset: int = 17) -> Any:
    """A model in ONNX's text form: `(inputs) => (outputs) { nodes }`."""
    return onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}]> net {text}')


def constant_net(logits: np.ndarray, input_wh: tuple[int, int]) -> Any:
    """A net that gives the same logits whatever it sees."""
    width, height = input_wh
    channels, h, w = logits.shape
    model = net(
        f"""(float[1,3,{height},{width}] x) => (float[1,{channels},{h},{w}] y) {{
            least = ReduceMin <axes = [1, 2, 3]> (x)
            none = Sub (least, least)
            y = Add (none, logits)
        }}"""
    )
    model.graph.initializer.append(onnx.numpy_helper.from_array(logits[None].astype(np.float32), "logits"))
    return model


def run(model: Any, image: Image, place: int = 0) -> Any:
    onnx.checker.check_model(model, full_check=True)
    core = get_core()
    config = {"INFERENCE_PRECISION_HINT": "f32"}
    return core.compile_model(core.read_model(model.SerializeToString(), b""), "CPU", config)([image[None]])[place][0]


def black(input_wh: tuple[int, int]) -> Image:
    return np.zeros((*input_wh[::-1], 3), np.uint8)


def kinds(model: Any) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


# The mean blue, green and red of 8x8 cells: a flag's classes.
POOL = "AveragePool <kernel_shape = [8, 8], strides = [8, 8]>"
FLAG_NET = f"(float[1,3,48,64] x) => (float[1,3,6,8] y) {{ y = {POOL} (x) }}"


# -------------------------------------------------------------------------------------------------------- interpolation


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 40), st.integers(1, 40), st.sampled_from([False, True]))
def test_stretching_is_the_bilinear_one_of_torch(height: int, width: int, rows: int, columns: int, corners) -> None:
    x = torch.from_numpy(np.random.default_rng((height, width, rows, columns)).normal(size=(1, 2, height, width)))
    sampling = "align_corners" if corners else "half_pixel"
    blend = wrapping.RowBlend.between(height, rows, sampling)
    wide = x.numpy() @ wrapping.bilinear_matrix(width, columns, sampling).T
    above, below = (wide[:, :, part][:, :, :, None] for part in (blend.above, blend.below))
    stretched = (above * (1 - blend.share) + below * blend.share).reshape(1, 2, rows, columns)
    wanted = torch.nn.functional.interpolate(x, size=(rows, columns), mode="bilinear", align_corners=corners)
    np.testing.assert_allclose(stretched, wanted.numpy(), atol=1e-5, rtol=1e-5)


def test_rows_are_fetched_once_for_all_that_blend_them() -> None:
    assert len(wrapping.RowBlend.between(45, 360).above) == 90  # 8 times as high: the same two rows serve 4 output rows
    assert len(wrapping.RowBlend.between(10, 10).above) == 10
    assert len(wrapping.RowBlend.between(12, 90).above) == 90  # 7.5 times: no two neighbours are sure to share


@pytest.mark.slow
@given(st.integers(1, 4), st.integers(8, 24), st.integers(8, 24), st.integers(2, 6), st.integers(0, 2**32 - 1))
@settings(max_examples=25)
def test_classes_are_those_of_torchs_interpolate_and_argmax(
    stride: int, width: int, height: int, classes: int, seed: int
) -> None:
    logits = np.random.default_rng(seed).normal(size=(classes, -(-height // stride), -(-width // stride)))
    found = run(wrap(constant_net(logits, (width, height)), (width, height)), black((width, height)))
    stretched = torch.nn.functional.interpolate(
        torch.from_numpy(logits[None]).float(), size=(height, width), mode="bilinear", align_corners=False
    )[0]
    best = stretched.topk(2, dim=0).values
    sure = (best[0] - best[1] > 1e-5).numpy()
    np.testing.assert_array_equal(found[sure], stretched.argmax(0).numpy()[sure])


@given(inputs=st.integers(1, 30), outputs=st.integers(1, 90))
def test_a_pixel_of_an_enlarged_map_is_of_the_cell_that_holds_its_centre(inputs: int, outputs: int) -> None:
    cells = wrapping.nearest(inputs, outputs)
    centres = (np.arange(outputs) + 0.5) / outputs * inputs
    assert np.all((cells <= centres + 1e-9) & (centres <= cells + 1 + 1e-9))
    assert cells.min() >= 0
    assert cells.max() < inputs


# ------------------------------------------------------------------------------------------------------ ties and labels


@pytest.mark.parametrize("classes", [2, 4, wrapping.CHAIN_UP_TO, wrapping.CHAIN_UP_TO + 1])
def test_of_equal_logits_the_lowest_class_wins(classes: int) -> None:
    logits = np.random.default_rng(classes).integers(0, 3, (classes, 9, 16))  # three values: ties abound
    model = wrap(constant_net(logits, (16, 9)), (16, 9))
    assert ("ArgMax" in kinds(model)) == (classes > wrapping.CHAIN_UP_TO)
    np.testing.assert_array_equal(run(model, black((16, 9))), logits.argmax(0))


@pytest.mark.parametrize("classes", [2, 3, wrapping.CHAIN_UP_TO, wrapping.CHAIN_UP_TO + 1])
def test_confidence_is_the_softmax_margin_of_the_two_likeliest_classes(classes: int) -> None:
    logits = np.random.default_rng(classes).normal(0, 2, (classes, 9, 16))
    logits[:, 0, 0] = 1.0  # a tie: not confident at all
    found = run(wrap(constant_net(logits, (16, 9)), (16, 9)), black((16, 9)), 1)
    first, second = np.sort(logits, axis=0)[-1:-3:-1]
    share = 1 / (1 + np.exp(second - first))  # softmax over these two
    np.testing.assert_allclose(found, 255 * (2 * share - 1), atol=0.51)
    assert found[0, 0] == 0
    assert found.dtype == np.uint8


def test_a_class_map_has_no_confidence() -> None:
    assert [o.name for o in wrap(net(CELLS), FLAG_WH).graph.output] == ["semantic"]


TWO_HEADS = FLAG_NET.replace("y)", "y, float[1,3,6,8] depth)").replace("(x) }", "(x) depth = Neg (y) }")


def test_an_output_of_the_nets_own_is_passed_on_in_the_type_that_its_card_says(flag: Image) -> None:
    depth = Output("depth", "float16", (3, "H/8", "W/8"), "values", "minus the colours", "depth")
    wrapped = wrap(net(TWO_HEADS), FLAG_WH, output="y", kept=[depth])
    assert [o.name for o in wrapping.outputs_of(wrapped, [depth])] == ["semantic", "confidence", "depth"]
    found = run(wrapped, flag, 2)
    assert (found.shape, found.dtype) == ((3, 6, 8), np.float16)
    cells = flag.reshape(6, 8, 8, 8, 3).mean((1, 3)).transpose(2, 0, 1) / 255
    np.testing.assert_allclose(found, -cells, atol=1e-3)


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (Output("depth", "float32", ("H", "W"), "value_map", "", "depth"), r"expected 'depth' of shape \(1, 48, 64\)"),
        (
            Output("depth", "float32", ("H",), "values", "", "far"),
            "expected an output of the net called 'far', got none",
        ),
    ],
)
def test_an_output_that_the_net_does_not_have_is_refused(output: Output, words: str) -> None:
    with pytest.raises(EngineError, match=words):
        wrap(net(TWO_HEADS), FLAG_WH, output="y", kept=[output])


@pytest.mark.parametrize("classes", [5, wrapping.CHAIN_UP_TO + 20])
def test_other_labels_are_written_instead_of_the_nets_ids(classes: int) -> None:
    rng = np.random.default_rng(classes)
    logits, labels = rng.normal(size=(classes, 9, 16)), rng.integers(0, 256, classes)
    model = wrap(constant_net(logits, (16, 9)), (16, 9), labels=labels.tolist())
    np.testing.assert_array_equal(run(model, black((16, 9))), labels[logits.argmax(0)])


def test_labels_cost_no_node() -> None:
    plain = constant_net(np.zeros((4, 9, 16)), (16, 9))
    assert kinds(wrap(plain, (16, 9), labels=[3, 0, 0, 1])) == kinds(wrap(plain, (16, 9)))


def test_labels_must_be_as_many_as_the_net_has_classes(flag: Image) -> None:
    with pytest.raises(EngineError, match="output 'y': expected 3 labels, got 2"):
        wrap(net(FLAG_NET), FLAG_WH, labels=[0, 1])


# ---------------------------------------------------------------------------------------------------------- input forms


def test_colours_come_as_bgr_and_every_pixel_keeps_its_place(
    flag: Image, flag_classes: Image, lying_flag: Image, lying_flag_classes: Image
) -> None:
    model = wrap(net(FLAG_NET), FLAG_WH)
    np.testing.assert_array_equal(run(model, flag), flag_classes)
    np.testing.assert_array_equal(run(model, lying_flag), lying_flag_classes)


def test_a_net_of_rgb_gets_its_channels_turned_round(flag: Image, flag_classes: Image) -> None:
    model = wrap(net(FLAG_NET), FLAG_WH, Scaling(order="rgb"))
    np.testing.assert_array_equal(run(model, flag), 2 - flag_classes)


def test_mean_and_scale_belong_to_the_channels_in_the_nets_order(flag: Image) -> None:
    # After (x - mean) * scale, the first channel of the net's order wins everywhere.
    for order, winner in (("bgr", (200, 0, 0)), ("rgb", (0, 0, 200))):
        image = np.full((48, 64, 3), winner, np.uint8)
        scaling = Scaling(mean=(0, 400, 400), scale=(1, 1, 1), order=order)
        assert not run(wrap(net(FLAG_NET), FLAG_WH, scaling), image).any()


@pytest.mark.parametrize("element", ["float16", "double"])
def test_nets_of_other_float_types_are_given_theirs(element: str, flag: Image, flag_classes: Image) -> None:
    text = f"({element}[1,3,48,64] x) => ({element}[1,3,6,8] y) {{ y = {POOL} (x) }}"
    model = wrap(net(text), FLAG_WH)
    np.testing.assert_array_equal(run(model, flag), flag_classes)


def test_an_input_with_channels_last_is_not_transposed(flag: Image, flag_classes: Image) -> None:
    text = f"""(float[1,48,64,3] x) => (float[1,3,6,8] y) {{
        planes = Transpose <perm = [0, 3, 1, 2]> (x)
        y = {POOL} (planes)
    }}"""
    model = wrap(net(text), FLAG_WH)
    assert kinds(model)["Transpose"] == 1
    np.testing.assert_array_equal(run(model, flag), flag_classes)


def test_a_net_may_use_the_names_that_the_wrapped_graph_has(flag: Image, flag_classes: Image) -> None:
    text = f"""(float[1,3,48,64] image) => (float[1,3,6,8] classes) {{
        scaled = {POOL} (image)
        classes = Identity (scaled)
    }}"""
    np.testing.assert_array_equal(run(wrap(net(text), FLAG_WH), flag), flag_classes)


def test_the_net_itself_is_left_as_it_was() -> None:
    model = net(FLAG_NET)
    before = model.SerializeToString()
    wrap(model, FLAG_WH)
    assert model.SerializeToString() == before


def test_newer_operator_sets_are_wrapped_too(flag: Image, flag_classes: Image) -> None:
    np.testing.assert_array_equal(run(wrap(net(FLAG_NET, opset=20), FLAG_WH), flag), flag_classes)


# ---------------------------------------------------------------------------------------------------------------- heads


def full_net(tail: str, output: str) -> Any:
    """Mean colours stretched to 48x64, and what a user's tail makes of them."""
    return net(
        f"""(float[1,3,48,64] x) => ({output}) {{
            p = {POOL} (x)
            size = Constant <value = int64[4] {{1, 3, 48, 64}}> ()
            full = Resize <mode = "linear", coordinate_transformation_mode = "half_pixel"> (p, , , size)
            {tail}
        }}"""
    )


@pytest.mark.parametrize(
    ("tail", "output"),
    [
        ("y = Identity (full)", "float[1,3,48,64] y"),
        ("y = Softmax <axis = 1> (full)", "float[1,3,48,64] y"),
        ("y = LogSoftmax <axis = -3> (full)", "float[1,3,48,64] y"),
        ("y = ArgMax <axis = 1, keepdims = 0> (full)", "int64[1,48,64] y"),
        ("y = ArgMax <axis = 1, keepdims = 1> (full)", "int64[1,1,48,64] y"),
        ("s = Softmax <axis = 1> (full) a = ArgMax <axis = 1> (s) y = Cast <to = 1> (a)", "float[1,1,48,64] y"),
        ("a = ArgMax <axis = 1> (full) y = Cast <to = 2> (a)", "uint8[1,1,48,64] y"),
        ("l = Transpose <perm = [0, 2, 3, 1]> (full) y = Softmax (l)", "float[1,48,64,3] y"),
        (
            "l = Transpose <perm = [0,3,2,1]> (full) s = Softmax (l) y = Transpose <perm = [0,3,2,1]> (s)",
            "float[1,3,48,64] y",
        ),
        ("l = Transpose <perm = [0,2,3,1]> (full) y = ArgMax <axis = 3, keepdims = 0> (l)", "int64[1,48,64] y"),
    ],
)
def test_tails_that_keep_the_order_give_way_to_the_cheap_form(
    tail: str, output: str, flag: Image, lying_flag: Image
) -> None:
    plain = wrap(net(FLAG_NET), FLAG_WH)
    model = wrap(full_net(tail, output), FLAG_WH)
    assert not {"Softmax", "LogSoftmax", "ArgMax", "Resize"} & set(kinds(model))
    for image in (flag, lying_flag):
        np.testing.assert_array_equal(run(model, image), run(plain, image))


RESIZES = {
    "half_pixel": True,
    "pytorch_half_pixel": True,
    "align_corners": True,
    "asymmetric": False,
}


@pytest.mark.parametrize(("way", "replaced"), RESIZES.items())
def test_a_resize_is_replaced_where_the_cheap_form_is_the_same(way: str, replaced: bool) -> None:
    logits = np.random.default_rng(3).normal(size=(4, 6, 8))
    model = constant_net(logits, FLAG_WH)
    resize = onnx.helper.make_node(
        "Resize", ["y", "", "", "size"], ["z"], mode="linear", coordinate_transformation_mode=way
    )
    model.graph.node.append(resize)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, 4, 48, 64], np.int64), "size"))
    model.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("z", 1, [1, 4, 48, 64]))
    wrapped = wrap(model, FLAG_WH)
    assert ("Resize" not in kinds(wrapped)) == replaced
    stretched = ReferenceEvaluator(model).run(None, {"x": np.zeros((1, 3, 48, 64), np.float32)})[0]
    assert np.mean(run(wrapped, black(FLAG_WH)) == stretched[0].argmax(0)) > 0.999


@pytest.mark.parametrize(("scale", "replaced"), [(8.0, True), (8.1, False)])
def test_a_resize_by_scales_is_replaced_only_where_they_are_exact(scale: float, replaced: bool) -> None:
    model = net(
        f"""(float[1,3,48,64] x) => (float[1,3,48,64] y) {{ p = {POOL} (x)
            scales = Constant <value = float[4] {{1, 1, {scale}, {scale}}}> ()
            y = Resize <mode = "linear"> (p, , scales) }}"""
    )
    assert ("Resize" not in kinds(wrap(model, FLAG_WH))) == replaced


def test_shares_that_are_stretched_afterwards_stay_shares() -> None:
    text = f"(float[1,3,48,64] x) => (float[1,3,6,8] y) {{ p = {POOL} (x) y = Softmax <axis = 1> (p) }}"
    assert kinds(wrap(net(text), FLAG_WH))["Softmax"] == 1


def test_logits_with_channels_last_are_transposed(flag: Image, flag_classes: Image) -> None:
    text = f"""(float[1,3,48,64] x) => (float[1,6,8,3] y) {{ p = {POOL} (x)
        q = Transpose <perm = [0, 2, 3, 1]> (p) y = Mul (q, q) }}"""
    np.testing.assert_array_equal(run(wrap(net(text), FLAG_WH), flag), flag_classes)


CELLS = f"(float[1,3,48,64] x) => (int64[1,6,8] y) {{ p = {POOL} (x) y = ArgMax <axis = 1, keepdims = 0> (p) }}"


def test_a_small_class_map_is_enlarged_cell_by_cell(flag: Image, flag_classes: Image) -> None:
    np.testing.assert_array_equal(run(wrap(net(CELLS), FLAG_WH), flag), flag_classes)


def test_the_ids_of_a_class_map_are_given_other_labels(flag: Image, flag_classes: Image) -> None:
    labels = np.random.default_rng(1).permutation(256)
    np.testing.assert_array_equal(run(wrap(net(CELLS), FLAG_WH, labels=labels.tolist()), flag), labels[flag_classes])


def test_one_of_several_heads_is_chosen_and_the_others_are_dropped(flag: Image, flag_classes: Image) -> None:
    text = f"""(float[1,3,48,64] x) => (float[1,3,6,8] y, float[1,3,48,64] auxiliary) {{
        y = {POOL} (x)
        auxiliary = Exp (x)
    }}"""
    model = wrap(net(text), FLAG_WH, output="y")
    assert "Exp" not in kinds(model)
    np.testing.assert_array_equal(run(model, flag), flag_classes)
    with pytest.raises(
        EngineError, match=r"2 outputs \(y float32 \(1, 3, 6, 8\); auxiliary float32 .* say with `output`"
    ):
        wrap(net(text), FLAG_WH)
    with pytest.raises(EngineError, match=r"no output 'out'; there are: y float32 \(1, 3, 6, 8\); auxiliary"):
        wrap(net(text), FLAG_WH, output="out")


REFUSED = {
    "(float[1,1,48,64] x) => (float[1,1,48,64] y) { y = Exp (x) }": "y float32 .* it has one channel",
    "(float[1,1,48,64] x) => (float[1,2,48,64] y) { y = Concat <axis = 1> (x, x) }": r"input x .* expected \(1, 3",
    "(float[1,3,64,48] x) => (float[1,3,64,48] y) { y = Exp (x) }": "height and width are swapped: .* 48 high",
    "(float[1,3,48,64] x) => (float[1,3,1,1] y) { y = GlobalAveragePool (x) }": "not the shape of the input",
    "(float[1,3,48,64] x) => (float[1,9216] y) { y = Flatten (x) }": "not the shape of the input",
    "(uint8[1,3,48,64] x) => (float[1,3,48,64] y) { y = Cast <to = 1> (x) }": "input x uint8 .* expected floats",
    "(float[1,3,48,64] x) => (int64[1,3,48,64] y) { y = Cast <to = 7> (x) }": "several channels are no class map",
    "(float[1,3,48,64] x, float[1,3,48,64] z) => (float[1,3,48,64] y) { y = Add (x, z) }": r"2 inputs \(x .*; z",
    "(float[1,3,n,m] x) => (float[1,3,n,m] y) { y = Exp (x) }": r"\(1, 3, n, m\): its shape cannot be worked out",
    "(float[1,3,48,64] x) => (float[1,1,3,48,64] y) { a = Constant <value_ints = [0]> () y = Unsqueeze (x, a) }": (
        r"expected logits \(1, C, h, w\)"
    ),
}


@pytest.mark.parametrize(("text", "words"), REFUSED.items())
def test_what_is_no_segmentation_net_is_refused_with_what_was_found(text: str, words: str) -> None:
    with pytest.raises(EngineError, match=words):
        wrap(net(text), FLAG_WH)


# ------------------------------------------------------------------------------------------------------------- TensorRT

SHUFFLED = np.random.default_rng(1).permutation(256).tolist()
FORMS = {
    "rgb, mean and scale": lambda: wrap(net(FLAG_NET), FLAG_WH, Scaling((1, 2, 3), (0.1, 0.2, 0.3), "rgb")),
    "a class map": lambda: wrap(net(CELLS), FLAG_WH, labels=SHUFFLED),
    "many classes": lambda: wrap(constant_net(np.zeros((150, 6, 8)), FLAG_WH), FLAG_WH, labels=SHUFFLED[:150]),
    "half floats": lambda: wrap(net(FLAG_NET.replace("float[", "float16[")), FLAG_WH),
    "opset 20": lambda: wrap(net(FLAG_NET, opset=20), FLAG_WH, labels=[2, 0, 1]),
}


@pytest.mark.skipif(
    find_spec("tensorrt_rtx") is None, reason="tensorrt-rtx is not installed; it is for Linux on x86-64"
)
@pytest.mark.parametrize("form", FORMS)
def test_tensorrt_builds_what_is_wrapped(form: str, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(FORMS[form]().SerializeToString())
    command = [sys.executable, str(Path(__file__).with_name("build_with_rtx.py")), str(tmp_path / "model.onnx")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    built = json.loads(done.stdout.splitlines()[-1])
    assert built.get("inputs") == [["image", "UINT8", [1, 48, 64, 3]]], built
    names = ["semantic"] if form == "a class map" else ["semantic", "confidence"]
    assert built["outputs"] == [[name, "UINT8", [1, 48, 64]] for name in names]
