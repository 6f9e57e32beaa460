"""Small graphs that take a picture's bytes, and whose values can be worked out by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

INPUT_WH = (6, 4)


def make_graph(nodes: Sequence[Any], constants: Mapping[str, NDArray], size_wh: tuple[int, int] = INPUT_WH) -> bytes:
    """A graph from bytes `image` to floats `out`, with the picture's planes, (1, 3, h, w), in between."""
    head = [
        helper.make_node("Cast", ["image"], ["floats"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Transpose", ["floats"], ["planes"], perm=[0, 3, 1, 2]),
    ]
    graph = helper.make_graph(
        [*head, *nodes],
        "small",
        [helper.make_tensor_value_info("image", onnx.TensorProto.UINT8, [1, *size_wh[::-1], 3])],
        [helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, [1, "channels", "height", "width"])],
        [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()


def conv(name: str, source: str, result: str, kind: str = "Conv", **attributes: Any) -> Any:
    """A convolution of that name in its net."""
    return helper.make_node(kind, [source, f"net.{name}.weight"], [result], name=f"node_{name}", **attributes)


def pointwise(*rows: tuple[float, ...]) -> NDArray[np.float32]:
    """Weights of a 1x1 convolution: a row per output channel."""
    return np.array(rows, np.float32)[..., None, None]


def make_chain() -> bytes:
    """Three convolutions: "first" gives red - green and blue / 2, "second" reads them after a ReLU, "last" ends it."""
    return make_graph(
        [
            conv("first", "planes", "a"),
            helper.make_node("Relu", ["a"], ["relu"]),
            conv("second", "relu", "b"),
            conv("last", "b", "out"),
        ],
        {
            "net.first.weight": pointwise((0, -1, 1), (0.5, 0, 0)),
            "net.second.weight": pointwise((-1, 0), (0, 1)),
            "net.last.weight": pointwise((1, 1)),
        },
    )
