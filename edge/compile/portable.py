"""An ONNX graph in the form that every runtime reads: operator set 17, IR 8, nothing of the machine it was made on.

The functions change the model they are given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

OPSET = 17  # the newest that TensorRT 8.5 and 8.6 read right; they misread newer ones without a word
IR_VERSION = 8  # the one of opset 17
HALF_FROM_ELEMENTS = 4096  # smaller weights stay float32: they weigh nothing, and the first convolution is among them

INVALID = (onnx.checker.ValidationError, onnx.shape_inference.InferenceError)


def all_graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """The graph and all within it, of If and Loop nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs] if attribute.type in _HOLD_GRAPHS else []:
                yield from all_graphs(inner)


_HOLD_GRAPHS = (AttributeProto.GRAPH, AttributeProto.GRAPHS)


def opset_of(model: ModelProto) -> int:
    """The version of the standard operators."""
    return max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=1)


def forget_origin(model: ModelProto) -> None:
    """Drop stack traces, which hold paths of this machine and make up a tenth of the nodes' size, and shape notes."""
    model.ClearField("doc_string")
    del model.metadata_props[:]
    for graph in all_graphs(model.graph):
        graph.ClearField("doc_string")
        del graph.value_info[:]
        del graph.metadata_props[:]
        for node in graph.node:
            del node.metadata_props[:]
            node.ClearField("doc_string")
        for value in [*graph.input, *graph.output, *graph.initializer]:
            value.ClearField("doc_string")
            del value.metadata_props[:]


# ------------------------------------------------------------------------------------------------------ operator sets

_DEFAULTS_SINCE_18 = {
    "antialias": 0,
    "block_size": 0,
    "keep_aspect_ratio_policy": b"stretch",
    "noop_with_empty_axes": 0,
    "output_dtype": 0,
    "reduction": b"none",
    "round_mode": b"up",
    "saturate": 1,
}
_REDUCTIONS = ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2")  # ReduceSum changed in 13


def lower_opset(model: ModelProto) -> None:
    """Say a graph of a newer operator set in 17.

    Raises:
        one of INVALID: it cannot be said in 17; the model is then spoilt.
    """
    for graph in all_graphs(model.graph):
        constants = {init.name: init for init in graph.initializer}
        for node in graph.node:
            _lower(node, constants)
    drop_unused(model)
    others = [o for o in model.opset_import if o.domain not in ("", "ai.onnx")]
    del model.opset_import[:]
    model.opset_import.extend([helper.make_opsetid("", OPSET), *others])
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model, full_check=True)


def _lower(node: NodeProto, constants: dict[str, TensorProto]) -> None:
    kept = [a for a in node.attribute if not _is_void_in_17(node, a)]
    if node.op_type in _REDUCTIONS and len(node.input) == 2 and node.input[1] in constants:
        kept.append(helper.make_attribute("axes", numpy_helper.to_array(constants[node.input[1]]).tolist()))
        del node.input[1:]
    modes = {a.s for a in kept if a.name in ("mode", "coordinate_transformation_mode")}
    if unknown := modes & _MODES_SINCE_18:  # the checker knows names of attributes, not what they may hold
        raise onnx.checker.ValidationError(f"{node.op_type} has no {unknown.pop().decode()} in opset {OPSET}")
    del node.attribute[:]
    node.attribute.extend(kept)


_MODES_SINCE_18 = {b"wrap", b"half_pixel_symmetric", b"cubic_symmetric"}


def _is_void_in_17(node: NodeProto, attribute: AttributeProto) -> bool:
    """Whether an attribute came with an opset above 17 and says what 17 does anyway."""
    name, value = attribute.name, helper.get_attribute_value(attribute)
    if node.op_type == "Split" and name == "num_outputs":  # Split divides evenly unless it has sizes
        return True
    if node.op_type == "AveragePool" and name == "dilations":
        return set(value) == {1}
    return name in _DEFAULTS_SINCE_18 and value == _DEFAULTS_SINCE_18[name]


# ------------------------------------------------------------------------------------------------------- what it holds


def drop_unused(model: ModelProto) -> None:
    """Drop the nodes that no output depends on, and the constants that no node reads."""
    graph = model.graph
    needed = {output.name for output in graph.output}
    kept: list[NodeProto] = []
    for node in reversed(graph.node):
        if needed & set(node.output):
            kept.append(node)
            needed.update(_reads(node))
    _replace(graph.node, reversed(kept))
    _replace(graph.initializer, [i for i in graph.initializer if i.name in needed])


def _reads(node: NodeProto) -> set[str]:
    """What a node reads, the nodes of its inner graphs included."""
    inner = [a for a in node.attribute if a.type in _HOLD_GRAPHS]
    names = {name for name in node.input if name}
    for graph in (g for a in inner for held in [a.g, *a.graphs] for g in all_graphs(held)):
        names.update(name for part in graph.node for name in part.input)
        names.update(output.name for output in graph.output)
    return names


def _replace(field: Any, items: Iterable[Any]) -> None:
    kept = list(items)
    del field[:]
    field.extend(kept)


def rename(model: ModelProto, change: Callable[[str], str]) -> None:
    """Give values other names, wherever they occur."""
    for graph in all_graphs(model.graph):
        for node in graph.node:
            node.input[:] = [change(name) if name else name for name in node.input]
            node.output[:] = [change(name) if name else name for name in node.output]
        for value in [*graph.input, *graph.output, *graph.initializer, *graph.value_info]:
            value.name = change(value.name)


def halve_weights(model: ModelProto) -> None:
    """Store convolution weights as half floats, cast back in the graph, which halves the file. Runtimes fold the casts
    when they compile, so nothing is slower; sums and products stay float32.
    """
    weights = {node.input[1] for node in model.graph.node if node.op_type in ("Conv", "ConvTranspose")}
    casts = []
    for init in model.graph.initializer:
        if init.name in weights and init.data_type == TensorProto.FLOAT and math.prod(init.dims) >= HALF_FROM_ELEMENTS:
            weight = numpy_helper.to_array(init)
            if np.abs(weight).max() > np.finfo(np.float16).max:
                continue
            casts.append(helper.make_node("Cast", [f"{init.name}.half"], [init.name], to=TensorProto.FLOAT))
            init.CopyFrom(numpy_helper.from_array(weight.astype(np.float16), f"{init.name}.half"))
    _replace(model.graph.node, [*casts, *model.graph.node])
