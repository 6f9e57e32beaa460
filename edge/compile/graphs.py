"""A bundle's graphs in the forms that TensorRT wants, made on the device that builds a plan from them.

Since TensorRT 10 precision is in the types of the graph; before, it was in flags of the builder:

                 TensorRT 8.5, 8.6                        TensorRT 10 and later, strongly typed
    f32          float32                                  float32
    fp16         float32; the builder's FP16 flag         float16 between first and last convolution
    int8         float32, Q/DQ, weights quantised in      float16, Q/DQ, weights stored as int8
                 the graph; FP16 and INT8 flags

Needs onnx and numpy, not torch. No function changes the model it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from edge.compile.portable import drop_unused
from edge.errors import EngineError

STRONGLY_TYPED_SINCE = 10
HALF_NORMAL_MIN = 2.0**-14  # smaller half floats have fewer digits
HALF_SCALES_OPSET = 19  # the first whose Q/DQ take half scales
_IR_OF_OPSET_19 = 9

_CONVOLUTIONS = ("Conv", "ConvTranspose")
_QUANTISERS = ("QuantizeLinear", "DequantizeLinear")
# They sum whole maps: 2700 cells with a mean of 25 are beyond the largest half float, 65504. Few cells come out of
# them, so that their casts cost nothing.
_KEPT_FLOAT = ("GlobalAveragePool", "ReduceMean", "ReduceSum", "ReduceL1", "ReduceL2", "ReduceSumSquare")
_POOLING_OF = {"ReduceMean": "GlobalAveragePool", "ReduceMax": "GlobalMaxPool"}
_FLOAT_INPUTS = {"Resize": (1, 2)}  # roi and scales are float32 whatever the data is
_AXES_ARE_INPUT_SINCE_18 = (
    *("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax"),
    *("ReduceMean", "ReduceMin", "ReduceProd", "ReduceSumSquare"),
)


OPSET_OF_8 = 17  # TensorRT 8.5 and 8.6


def for_tensorrt(
    model: bytes, precision: str, version: tuple[int, ...], outputs: Collection[str] | None = None
) -> bytes:
    """The graph to give to a TensorRT of that version, (10, 3, 0) say, for a precision: "f32", "fp16" or "int8".

    `model` is a bundle's fp32 graph for f32 and fp16, and its int8 graph for TensorRT for int8. `outputs` are the
    tensors that it is to give, all of the graph's by default.

    Raises:
        EngineError: it is not such a graph, or holds values that half floats do not.
    """
    if precision not in ("f32", "fp16", "int8"):
        raise EngineError(f"TensorRT has no precision {precision!r} here; there are: f32, fp16, int8")
    try:
        graph = onnx.load_model_from_string(model)
    except DecodeError as error:
        raise EngineError("the graph for TensorRT is not an ONNX file") from error
    if outputs is not None:
        keep_outputs(graph, outputs)
    if _is_quantised(graph) != (precision == "int8"):
        found = "quantised" if _is_quantised(graph) else "not quantised"
        raise EngineError(
            f"the graph for TensorRT at {precision} is {found}; give the bundle's graph of that precision"
        )
    typed = version[0] >= STRONGLY_TYPED_SINCE
    if not typed and _opset(graph) > OPSET_OF_8:
        raise EngineError(
            f"the graph is in ONNX opset {_opset(graph)}; TensorRT {version[0]} reads {OPSET_OF_8} at most, and takes"
            " newer ones wrongly without a word. A newer TensorRT is needed"
        )
    if typed and precision != "f32":
        graph = typed_half(graph)
    elif precision == "int8":
        graph = with_float_weights(graph)
    else:
        graph = with_constant_weights(graph)
    return graph.SerializeToString(deterministic=True)


def keep_outputs(model: ModelProto, names: Collection[str]) -> None:
    """Take the outputs that are not named off the graph, in place, with all that only they need."""
    kept = [output for output in model.graph.output if output.name in names]
    if len(kept) < len(model.graph.output):
        del model.graph.output[:]
        model.graph.output.extend(kept)
        drop_unused(model)


def with_constant_weights(model: ModelProto) -> ModelProto:
    """The same graph with weights that are stored as half floats and cast to float32 stored as float32.

    TensorRT reads a cast weight as a tensor of the network, not as a constant of its convolution.
    """
    model = _copy(model)
    stored = _initializers(model)
    nodes = []
    for node in model.graph.node:
        if _is_cast_weight(node, stored):
            weight = stored[node.input[0]]
            _add(model, numpy_helper.to_array(weight).astype(np.float32), node.output[0])
        else:
            nodes.append(node)
    _set_nodes(model, nodes)
    return model


def with_float_weights(model: ModelProto) -> ModelProto:
    """The same graph, value for value, with every weight that is stored as int8 stored as float32 and quantised in it.

    TensorRT takes int8 constants from version 10 on. Before, it says "invalid weights type of Int8"
    (microsoft/onnxruntime#11535) and wants float32 -> QuantizeLinear -> DequantizeLinear, which it folds as it builds.
    """
    model = with_constant_weights(model)
    stored = _initializers(model)
    nodes = []
    for node in model.graph.node:
        weight = stored.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if weight is not None and weight.data_type == TensorProto.INT8:
            nodes.append(_quantise_in_graph(model, node, stored))
        nodes.append(node)
    _set_nodes(model, nodes)
    return model


def _quantise_in_graph(model: ModelProto, dequantise: NodeProto, stored: dict[str, TensorProto]) -> NodeProto:
    """The QuantizeLinear that gives a DequantizeLinear its int8 weights.

    q * s and its quotient by s are off by half a unit in the last place each, far from where q would round elsewhere.
    """
    name = dequantise.output[0]
    quantised = numpy_helper.to_array(stored[dequantise.input[0]])
    scale = numpy_helper.to_array(stored[dequantise.input[1]])
    if len(dequantise.input) < 3:  # without a zero point QuantizeLinear gives uint8
        dequantise.input.append(_add(model, np.zeros(scale.shape, np.int8), f"{name}.zero"))
    zero = numpy_helper.to_array(_initializers(model)[dequantise.input[2]])
    axis = _axis(dequantise)
    steps = quantised.astype(np.int32) - _along(zero.astype(np.int32), axis, quantised.ndim)
    values = steps.astype(np.float32) * _along(scale, axis, quantised.ndim)
    dequantise.input[0] = f"{name}.int8"
    inputs = [_add(model, values, f"{name}.float"), *dequantise.input[1:3]]
    return helper.make_node("QuantizeLinear", inputs, [dequantise.input[0]], name=f"{name}.quantise", axis=axis)


def _along(values: np.ndarray, axis: int, dimensions: int) -> np.ndarray:
    """A scalar, or one value per channel shaped to broadcast along that axis."""
    shape = [-1 if dimension == axis % dimensions else 1 for dimension in range(dimensions)]
    return values if values.ndim == 0 else values.reshape(shape)


# ---------------------------------------------------------------------------------------------------------- half floats


def typed_half(model: ModelProto) -> ModelProto:
    """The graph with its net in half floats: all that lies between the first and the last convolution, both included.

    Bytes are scaled in float32 and cast once; logits are cast back and stretched and compared in float32. Whole-map
    means are float32 too. A graph with Q/DQ is raised to opset 19, where scales may be half floats as well, so that
    DequantizeLinear gives them. All of its Q and DQ get them: where float32 and half scales meet, TensorRT 10.16 cannot
    build on Orin (NVIDIA/TensorRT#4832). int8 weights whose scale a half float does not hold are rounded again.

    Raises:
        EngineError: a weight is larger than any half float.
    """
    model = with_constant_weights(model)
    if _is_quantised(model):
        _raise_opset(model)
    _Halving(model).run()
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise EngineError(f"the graph cannot be said in half floats; run it at f32 instead: {error}") from error
    return model


def _as_half(weight: TensorProto) -> np.ndarray:
    values = numpy_helper.to_array(weight)
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    if (np.isinf(half) & np.isfinite(values)).any():
        raise EngineError(
            f"the graph cannot be typed in half floats: {weight.name} holds {np.abs(values).max():.6g},"
            f" the largest half float is {np.finfo(np.float16).max}. Use the engine at f32"
        )
    return half


def _as_half_scale(scale: TensorProto) -> np.ndarray:
    """Small scales are rounded up: below 6e-5 half floats lose digits, below 3e-8 there is only zero."""
    half = _as_half(scale)
    clips = (half < HALF_NORMAL_MIN) & (half < numpy_helper.to_array(scale))
    return np.where(clips, np.nextafter(half, np.float16(np.inf)), half)


class _Halving:
    """Walks a graph once and makes the float32 values of its net half floats, with casts where they meet others."""

    def __init__(self, model: ModelProto) -> None:
        self.model = model
        self.stored = _initializers(model)
        self.net = {node.output[0] for node in _net(model.graph.node)}
        self.floats = _float_values(model)
        self.halved: set[str] = set()  # values of the net, which keep their names
        self.copies: set[str] = set()  # casts and half weights made so far, by name
        self.nodes: list[NodeProto] = []

    def run(self) -> None:
        """Halve the net in place, with casts where its values leave it."""
        for node in self.model.graph.node:
            if node.output[0] in self.net:
                self._halve(node)
            else:
                for index, name in enumerate(node.input):
                    if name in self.halved:
                        node.input[index] = self._cast(name, "float", TensorProto.FLOAT)
            self.nodes.append(node)
        _set_nodes(self.model, self.nodes)

    def _halve(self, node: NodeProto) -> None:
        if node.op_type in _QUANTISERS:
            self._halve_scale(node)
        elif node.op_type == "BatchNormalization":
            self._fold(node)
        for index, name in enumerate(node.input):
            if name in self.floats and index not in _FLOAT_INPUTS.get(node.op_type, ()):
                node.input[index] = self._half(name)
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.FLOAT16
        self.halved.update(name for name in node.output if name in self.floats)

    def _half(self, name: str, as_half: Callable[[TensorProto], np.ndarray] = _as_half) -> str:
        """The half-float form of a float32 value."""
        if name in self.halved:
            return name
        if name not in self.stored:
            return self._cast(name, "half", TensorProto.FLOAT16)
        if f"{name}.half" not in self.copies:
            self.copies.add(_add(self.model, as_half(self.stored[name]), f"{name}.half"))
        return f"{name}.half"

    def _cast(self, name: str, suffix: str, to: int) -> str:
        cast = f"{name}.{suffix}"
        if cast not in self.copies:
            self.copies.add(cast)
            self.nodes.append(helper.make_node("Cast", [name], [cast], name=cast, to=to))
        return cast

    def _halve_scale(self, node: NodeProto) -> None:
        """Give Q or DQ a half scale, and weights the integers that with it come nearest to what they were."""
        scale, weights = (self.stored.get(name) for name in (node.input[1], node.input[0]))
        if scale is None:
            return
        node.input[1] = self._half(scale.name, _as_half_scale)
        if weights is None or node.op_type == "QuantizeLinear":
            return
        ratio = numpy_helper.to_array(scale) / _as_half_scale(scale).astype(np.float64)
        old = numpy_helper.to_array(weights)
        new = np.rint(old * _along(ratio, _axis(node), old.ndim)).astype(np.int8)
        if (new != old).any():
            node.input[0] = _add(self.model, new, f"{node.output[0]}.int8")

    def _fold(self, node: NodeProto) -> None:
        """Leave a batch norm one scale and one shift: a running variance may be larger than any half float, and a
        quotient of rounded values is rounded twice.
        """
        if any(name not in self.stored for name in node.input[1:]):
            return
        stored = [numpy_helper.to_array(self.stored[name]) for name in node.input[1:]]
        scale, shift, mean, variance = (values.astype(np.float64) for values in stored)
        epsilon = next((a for a in node.attribute if a.name == "epsilon"), None)
        factor = scale / np.sqrt(variance + (epsilon.f if epsilon is not None else 1e-5))
        folded = (factor, shift - mean * factor, np.zeros_like(mean), np.ones_like(variance))
        for index, values in enumerate(folded, start=1):
            name = _add(self.model, values.astype(np.float32), f"{node.output[0]}.folded{index}")
            node.input[index] = name
            self.stored[name] = self.model.graph.initializer[-1]
            self.floats.add(name)
        if epsilon is not None:
            node.attribute.remove(epsilon)
        node.attribute.append(helper.make_attribute("epsilon", 0.0))


def _net(nodes: Sequence[NodeProto]) -> Iterator[NodeProto]:
    """The nodes on a path from the first convolution or quantiser to the last convolution, ends included."""
    leading: set[str] = set()  # values that a convolution depends on
    for node in reversed(nodes):
        if node.op_type in _CONVOLUTIONS or not leading.isdisjoint(node.output):
            leading.update(filter(None, node.input))  # an input that is left out has an empty name
    following: set[str] = set()  # values that depend on a convolution or quantiser
    for node in nodes:
        if node.op_type in (*_CONVOLUTIONS, *_QUANTISERS) or not following.isdisjoint(node.input):
            following.update(filter(None, node.output))
            leads = node.op_type in _CONVOLUTIONS or not leading.isdisjoint(node.output)
            if leads and node.op_type not in _KEPT_FLOAT:
                yield node


def _float_values(model: ModelProto) -> set[str]:
    """The names of all float32 values of a graph."""
    computed = {value.name for value in _values(model) if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    return computed | {init.name for init in model.graph.initializer if init.data_type == TensorProto.FLOAT}


def _maps(model: ModelProto) -> set[str]:
    """The names of all values of a graph with the four dimensions of maps, (N, C, H, W)."""
    return {value.name for value in _values(model) if len(value.type.tensor_type.shape.dim) == 4}


def _values(model: ModelProto) -> list[ValueInfoProto]:
    """All that is computed in a graph, with types and shapes; not its constants."""
    try:
        graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    except onnx.shape_inference.InferenceError as error:
        raise EngineError(f"the graph contradicts itself: {error}") from error
    return [*graph.value_info, *graph.input, *graph.output]


def _raise_opset(model: ModelProto) -> None:
    """To opset 19, with what opset 18 changed: axes of reductions are an input, Split says how many parts it makes.

    TensorRT 9 overlooks axes that are an input, 10.0 refuses them (NVIDIA/TensorRT#3467), and later versions read them:
    reductions of whole maps are said as global poolings, which every version knows.
    """
    if _opset(model) >= HALF_SCALES_OPSET:
        return
    maps = _maps(model)
    for node in model.graph.node:
        axes = next((a for a in node.attribute if a.name == "axes"), None)
        if node.op_type == "Split" and len(node.input) == 1:
            node.attribute.append(helper.make_attribute("num_outputs", len(node.output)))
        elif node.op_type in _POOLING_OF and axes is not None and _takes_whole_maps(node, axes.ints, maps):
            node.op_type = _POOLING_OF[node.op_type]
            del node.attribute[:]
        elif node.op_type in _AXES_ARE_INPUT_SINCE_18 and axes is not None:
            node.input.append(_add(model, np.array(axes.ints, np.int64), f"{node.output[0]}.axes"))
            node.attribute.remove(axes)
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", HALF_SCALES_OPSET))
    model.ir_version = max(model.ir_version, _IR_OF_OPSET_19)


def _takes_whole_maps(node: NodeProto, axes: Iterable[int], maps: set[str]) -> bool:
    keeps_dimensions = all(a.i for a in node.attribute if a.name == "keepdims")
    return node.input[0] in maps and keeps_dimensions and {axis % 4 for axis in axes} == {2, 3}


# ------------------------------------------------------------------------------------------------------------- protobuf


def _opset(model: ModelProto) -> int:
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)


def _is_quantised(model: ModelProto) -> bool:
    return any(node.op_type in _QUANTISERS for node in model.graph.node)


def _is_cast_weight(node: NodeProto, stored: dict[str, TensorProto]) -> bool:
    if node.op_type != "Cast" or node.input[0] not in stored:
        return False
    to = next(a.i for a in node.attribute if a.name == "to")
    return to == TensorProto.FLOAT and stored[node.input[0]].data_type == TensorProto.FLOAT16


def _axis(node: NodeProto) -> int:
    return next((a.i for a in node.attribute if a.name == "axis"), 1)


def _copy(model: ModelProto) -> ModelProto:
    copy = ModelProto()
    copy.CopyFrom(model)
    return copy


def _initializers(model: ModelProto) -> dict[str, TensorProto]:
    return {init.name: init for init in model.graph.initializer}


def _add(model: ModelProto, values: np.ndarray, name: str) -> str:
    """Store a constant in the graph; gives its name."""
    model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values).reshape(values.shape), name))
    return name


def _set_nodes(model: ModelProto, nodes: Iterable[NodeProto]) -> None:
    """Give the graph these nodes, of which some may be its own, and drop the constants that none of them reads."""
    kept = [_copied(node) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    used = {name for node in kept for name in node.input}
    stored = model.graph.initializer
    for index in reversed(range(len(stored))):
        if stored[index].name not in used:
            del stored[index]


def _copied(node: NodeProto) -> NodeProto:
    copy = NodeProto()
    copy.CopyFrom(node)
    return copy
