from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
rewrite = pytest.importorskip("edge.compile.rewrite").rewrite

finite = st.floats(-(2.0**100), 2.0**100, width=32)
Slopes = hnp.arrays(np.float32, (3, 1, 1), elements=st.floats(0, 1, width=32))
AnySlopes = hnp.arrays(np.float32, (3, 1, 1), elements=st.floats(-4, 4, width=32))
Maps = hnp.arrays(np.float32, (1, 3, 2, 4), elements=finite)


def prelu(slopes: np.ndarray) -> Any:
    """A graph of one PRelu whose slopes are constant."""
    maps = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 3, 2, 4]) for name in "xy"]
    node = onnx.helper.make_node("PRelu", ["x", "a"], ["y"])
    graph = onnx.helper.make_graph([node], "g", maps[:1], maps[1:], [onnx.numpy_helper.from_array(slopes, "a")])
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)


def run(model: Any, x: np.ndarray) -> np.ndarray:
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def operators(model: Any) -> list[str]:
    return [node.op_type for node in model.graph.node]


@given(slopes=Slopes, x=Maps)
@example(slopes=np.array([0, 0.25, 1], np.float32).reshape(3, 1, 1), x=np.full((1, 3, 2, 4), -0.0, np.float32))
def test_slopes_of_0_to_1_become_a_maximum_that_is_equal_bit_for_bit(slopes: np.ndarray, x: np.ndarray) -> None:
    model = rewrite(prelu(slopes))
    assert operators(model) == ["Mul", "Max"]
    np.testing.assert_array_equal(run(model, x).view(np.int32), run(prelu(slopes), x).view(np.int32))


@given(slopes=AnySlopes, x=Maps)
def test_other_slopes_become_a_sum_that_is_equal_number_for_number(slopes: np.ndarray, x: np.ndarray) -> None:
    slopes[0] = -0.5
    model = rewrite(prelu(slopes))
    assert operators(model) == ["Relu", "Min", "Mul", "Add"]
    np.testing.assert_array_equal(run(model, x), run(prelu(slopes), x))


@pytest.mark.parametrize("shape", [(), (1,), (1, 3, 1, 1)])
def test_slopes_may_be_one_for_all_or_lie_along_the_channels(shape: tuple[int, ...]) -> None:
    slopes = np.linspace(-1, 2, int(np.prod(shape)), dtype=np.float32).reshape(shape)
    x = np.random.default_rng(1).normal(size=(1, 3, 2, 4)).astype(np.float32)
    np.testing.assert_array_equal(run(rewrite(prelu(slopes)), x), run(prelu(slopes), x))


def test_slopes_that_are_computed_are_left_to_prelu() -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["": 17]>
        g (float[1,3,2,4] x, float[3,1,1] a) => (float[1,3,2,4] y) { y = PRelu(x, a) }
    """)
    assert operators(rewrite(model)) == ["PRelu"]


def test_several_are_rewritten_in_their_places_and_the_given_graph_is_left_alone() -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["": 17]>
        g (float[1,3,2,4] x) => (float[1,3,2,4] y) <float[1] a = {-0.25}, float[1] b = {0.5}, float[1] c = {3.0}>
        { u = PRelu(x, a)  v = Abs(u)  w = Sub(u, v)  s = PRelu(w, b)  y = PRelu(s, c) }
    """)
    before = model.SerializeToString()
    x = np.random.default_rng(2).normal(size=(1, 3, 2, 4)).astype(np.float32)
    found = rewrite(model)
    assert "PRelu" not in operators(found)
    assert model.SerializeToString() == before
    np.testing.assert_array_equal(run(found, x), run(model, x))


def test_a_graph_without_prelu_is_the_same_graph() -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["": 17]>
        g (float[1,3,2,4] x) => (float[1,3,2,4] y) { y = Relu(x) }
    """)
    assert rewrite(model) == model
