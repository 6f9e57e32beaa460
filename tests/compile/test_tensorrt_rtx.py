"""Every graph that edge makes for TensorRT is parsed and built by TensorRT for RTX, which needs no GPU for it.

It refuses what TensorRT 11's parser and strongly typed builder refuse. What only a GPU shows is not tested here: speed,
classes, and what older versions make of the same graph.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.engine import find_bundle

onnx = pytest.importorskip("onnx")
torch = pytest.importorskip("torch")
graphs = pytest.importorskip("edge.compile.graphs")
observe = pytest.importorskip("edge.compile.observe")
write_int8 = pytest.importorskip("edge.compile.quantize").write_int8
export_onnx = pytest.importorskip("edge.compile.export").export_onnx
nets = pytest.importorskip("edge.nets")

pytestmark = pytest.mark.skipif(
    find_spec("tensorrt_rtx") is None, reason="tensorrt-rtx is not installed; it is for Linux on x86-64"
)

TENSORRT = (11, 0, 0)
SMALL_WH = (160, 96)
DEFAULT = "ddrnet23_slim"
ARITHMETIC = {"f32": "FLOAT", "fp16": "HALF", "int8": "INT8"}  # of all convolutions but the heads
LAST = {"f32": "FLOAT", "fp16": "HALF", "int8": "HALF"}
SERVED = {"fp32": ("f32", "fp16"), "int8": ("int8",)}  # by a graph of the bundle
ROAD = find_bundle("road")
ROAD_PRECISIONS = [p for g in ROAD.card.graphs if g.runtime != "openvino" for p in SERVED[g.precision]]


def build(model: bytes, folder: Path) -> dict[str, Any]:
    """What build_with_rtx.py says of a graph. If it dies, the test fails with its last words."""
    path = folder / "model.onnx"
    path.write_bytes(model)
    command = [sys.executable, str(Path(__file__).with_name("build_with_rtx.py")), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    if done.returncode:
        pytest.fail(f"TensorRT ended with {done.returncode}: {done.stderr[-2000:] or 'without a word'}")
    return json.loads(done.stdout.splitlines()[-1])


Exported = Callable[[str], Any]
Built = Callable[[str, str], dict[str, Any]]


@pytest.fixture(scope="module")
def exported() -> Exported:
    """The fp32 graph of an untrained net of that name, small; all but the default one narrow: FCN's take a minute."""
    made = {}

    def export(name: str) -> Any:
        if name not in made:
            torch.manual_seed(1)
            net = nets.make_net(name, 11) if name == DEFAULT else nets.NETS[name](11, width=16)
            made[name] = onnx.load_model_from_string(export_onnx(net, SMALL_WH))
        return made[name]

    return export


@pytest.fixture(scope="module")
def built(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """What TensorRT says of a net's graph at a precision."""
    made = {}

    def build_net(name: str, precision: str) -> dict[str, Any]:
        if (name, precision) not in made:
            model = quantised(exported(name), "tensorrt") if precision == "int8" else exported(name)
            graph = graphs.for_tensorrt(model.SerializeToString(), precision, TENSORRT)
            made[name, precision] = build(graph, tmp_path_factory.mktemp(name))
        return made[name, precision]

    return build_net


def quantised(model: Any, form: str) -> Any:
    """The graph with Q/DQ. A builder does not care for which ranges."""
    some = observe.Range(-2.0, 6.0, -2.0, 6.0, ())
    return write_int8(model, dict.fromkeys(observe.tensors_to_observe(model), some), form)


def heads_of(model: Any) -> int:
    """How many convolutions have none behind them: FCNs add the results of two."""
    convolutions = [node for node in model.graph.node if node.op_type in observe.CONVOLUTIONS]
    return len(convolutions) - len(observe.quantisable(model))


def check(found: dict[str, Any], precision: str, input_wh: tuple[int, int], heads: int) -> None:
    width, height = input_wh
    assert "refused" not in found, found["refused"]
    assert found["inputs"] == [["image", "UINT8", [1, height, width, 3]]]
    assert found["outputs"] == [["semantic", "UINT8", [1, height, width]], ["confidence", "UINT8", [1, height, width]]]
    inner, last = found["convolutions"][:-heads], found["convolutions"][-heads:]
    assert len(inner) >= 5
    assert set(inner) == {ARITHMETIC[precision]}
    assert set(last) == {LAST[precision]}


TYPES = {"uint8": "UINT8", "float32": "FLOAT"}


# ---------------------------------------------------------------------------------------------------------- what builds


@pytest.mark.parametrize("precision", ARITHMETIC)
@pytest.mark.parametrize("name", nets.NETS)
def test_every_net_builds_and_computes_in_its_precision(
    built: Built, exported: Exported, name: str, precision: str
) -> None:
    check(built(name, precision), precision, SMALL_WH, heads_of(exported(name)))


@pytest.mark.parametrize("precision", ROAD_PRECISIONS)
def test_the_road_engine_builds_at_its_own_size(precision: str, tmp_path: Path) -> None:
    graph = graphs.for_tensorrt(ROAD.read(ROAD.graph(precision, "tensorrt")), precision, TENSORRT)
    found = build(graph, tmp_path)
    assert "refused" not in found, found["refused"]
    assert found["inputs"] == [["image", "UINT8", [1, 360, 480, 3]]]
    listed = [[o.tensor, TYPES[o.dtype], [1, *o.shape_at((480, 360))]] for o in ROAD.card.outputs]
    assert found["outputs"] == listed
    assert ARITHMETIC[precision] in found["convolutions"]  # some layers of a gated INT8 engine may be kept in float


def test_a_plan_holds_weights_in_its_precision(built: Built) -> None:
    f32, fp16, int8 = (built(DEFAULT, precision)["bytes"] for precision in ARITHMETIC)
    parameters = sum(p.numel() for p in nets.make_net(DEFAULT, 11).parameters())
    assert f32 - fp16 > parameters
    assert int8 < fp16


def test_int8_with_weights_quantised_in_the_graph_builds_too(exported: Exported, tmp_path: Path) -> None:
    model = graphs.with_float_weights(quantised(exported(DEFAULT), "tensorrt"))
    *inner, _ = build(model.SerializeToString(), tmp_path)["convolutions"]
    assert len(inner) > 50
    assert set(inner) == {"INT8"}


def test_a_mean_over_the_whole_map_builds(tmp_path: Path) -> None:
    model = parse("""g (uint8[1,8,8,3] image) => (float[1,3,8,8] y) {
        x = Cast<to: int = 1>(image)  t = Transpose<perm: ints = [0,3,1,2]>(x)
        a = Conv(t, w)  m = ReduceMean<axes: ints = [-1,-2], keepdims: int = 1>(a)  g = Conv(m, w)
        s = Add(a, g)  c = Conv(s, w)  y = Identity(c) }""")
    assert build(graphs.typed_half(model).SerializeToString(), tmp_path)["convolutions"] == ["HALF"] * 3


# ------------------------------------------------------------------------------------------ what it must be able to say


def parse(body: str) -> Any:
    """A graph in ONNX's own notation, with weights w, float (3, 3, 1, 1), and v, the same in half floats."""
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> {body}')
    weights = np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1)
    constants = {"w": weights, "v": weights.astype(np.float16)}
    used = {name for node in model.graph.node for name in node.input}
    model.graph.initializer.extend(onnx.numpy_helper.from_array(constants[n], n) for n in sorted(used & set(constants)))
    return model


REFUSED = {
    "a transpose of bytes": """g (uint8[1,8,8,3] image) => (float[1,3,8,8] y) {
        t = Transpose<perm: ints = [0,3,1,2]>(image)  y = Cast<to: int = 1>(t) }""",
    "an operator that TensorRT does not have": """g (float[1,3,8,8] x) => (float[1,3,8,8] y) {
        p, i = MaxPool<kernel_shape: ints = [2,2], strides: ints = [2,2]>(x)
        y = MaxUnpool<kernel_shape: ints = [2,2], strides: ints = [2,2]>(p, i) }""",
    "data and weights of two types": """g (float[1,3,8,8] x) => (float[1,3,8,8] y) {
        a = Conv(x, w)  y = Conv(a, v) }""",
}


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED)
def test_it_refuses(body: str, tmp_path: Path) -> None:
    assert build(parse(body).SerializeToString(), tmp_path)["refused"]


def test_it_refuses_the_int8_graph_that_is_for_openvino(exported: Exported, tmp_path: Path) -> None:
    model = quantised(exported(DEFAULT), "openvino")
    assert "UINT8" in build(model.SerializeToString(), tmp_path)["refused"]


def test_a_crash_fails_the_test_with_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crashing = tmp_path / "tensorrt_rtx.py"
    crashing.write_text(
        "import os, signal, sys\nprint('the end', file=sys.stderr, flush=True)\nos.kill(os.getpid(), 11)"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(pytest.fail.Exception, match="ended with -11: the end"):
        build(b"", tmp_path)
