"""INT8 in the graph: quantised weights and rounded activations, in the form that each runtime reads right and fast.

OpenVINO: every quantised convolution's input is rounded to unsigned 8 bits, asymmetric; nothing else is. Its compiler
computes wrongly where signed activations feed a Concat, and crashes on some graphs with more roundings (2026.4).

TensorRT: inputs are rounded to signed 8 bits, symmetric, zero point 0, and so is the branch that skips a residual
block, because then the addition is fused into the convolution. No rounding between a convolution and its ReLU, none of
biases.

In both, weights are signed 8 bits, a scale per output channel, stored as such: the file is a quarter of the float one.
Both take their steps from the same ranges, and a rounding is shared by all convolutions that read the tensor.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edge.compile.observe import CONVOLUTIONS, Range, layer_name, quantisable, skip_of
from edge.errors import CalibrationError, ConfigError, EngineError

Form = Literal["openvino", "tensorrt"]

SMALLEST_STEP = 2.0**-20  # of an activation
SMALLEST_HALF = 2.0**-14  # with all its digits
WEIGHT_LEVELS = 127  # -128 stays unused: symmetric


def write_int8(
    model: ModelProto, ranges: Mapping[str, Range], form: Form, keep_float: Collection[str] = ()
) -> ModelProto:
    """A copy of the fp32 graph whose convolutions compute in INT8, but for the last and those named in `keep_float`.

    What skips a residual block stays as it is where it has no range: TensorRT then does not fuse the addition.

    Raises:
        CalibrationError: what a convolution reads has no range.
        ConfigError: `keep_float` names what is no convolution of the graph.
        EngineError: a convolution's weights are not constant, or not numbers.
    """
    _check_layers(model, keep_float)
    written = ModelProto()
    written.CopyFrom(model)
    writer = _Writer(written, ranges, form)
    inner = {node.output[0] for node in quantisable(written) if layer_name(node) not in set(keep_float)}
    skips = {end: skip for end, skip in skip_of(written).items() if form == "tensorrt" and skip in ranges}
    for node in written.graph.node:
        if node.output[0] in inner:
            node.input[0] = writer.rounded(node.input[0])
            node.input[1] = writer.weights(node)
        elif node.output[0] in skips:
            place = list(node.input).index(skips[node.output[0]])
            if node.input[1 - place] in inner:  # a convolution in INT8, so there is something to fuse with
                node.input[place] = writer.rounded(node.input[place])
    writer.finish()
    return written


def _check_layers(model: ModelProto, keep_float: Collection[str]) -> None:
    known = [layer_name(node) for node in model.graph.node if node.op_type in CONVOLUTIONS]
    if unknown := sorted(set(keep_float) - set(known)):
        raise ConfigError(
            f"layer {unknown[0]!r} cannot be kept in float: the net has no such convolution;"
            f" there are: {', '.join(known)}"
        )


class _Writer:
    """Adds roundings and INT8 weights to one graph; each tensor's once."""

    def __init__(self, model: ModelProto, ranges: Mapping[str, Range], form: Form) -> None:
        self._graph, self._ranges = model.graph, ranges
        self._form: Form = form
        self._constants = {constant.name: constant for constant in model.graph.initializer}
        self._casts = {node.output[0]: node for node in model.graph.node if node.op_type == "Cast"}
        self._rounded: dict[str, list[NodeProto]] = {}  # the pair of nodes, by tensor
        self._weights: list[NodeProto] = []

    def rounded(self, tensor: str) -> str:
        """The name of the tensor after rounding."""
        if tensor not in self._rounded:
            if tensor not in self._ranges:
                raise CalibrationError(f"tensor {tensor} has no range. Calibrate again: edge calibrate run RECIPE")
            scale, zero = _step(self._ranges[tensor], self._form)
            self._add(f"{tensor}.scale", np.array(scale, np.float32))
            self._add(f"{tensor}.zero", zero)
            step = [f"{tensor}.scale", f"{tensor}.zero"]
            self._rounded[tensor] = [
                helper.make_node("QuantizeLinear", [tensor, *step], [f"{tensor}.int8"], name=f"{tensor}.quantize"),
                helper.make_node(
                    "DequantizeLinear", [f"{tensor}.int8", *step], [f"{tensor}.rounded"], name=f"{tensor}.dequantize"
                ),
            ]
        return f"{tensor}.rounded"

    def weights(self, node: NodeProto) -> str:
        """The name of a convolution's weights after rounding."""
        name = node.input[1]
        rounded = f"{name}.rounded"
        if any(made.output[0] == rounded for made in self._weights):
            return rounded
        axis = 0 if node.op_type == "Conv" else 1  # of the output channels
        if node.op_type == "ConvTranspose" and _groups(node) > 1:
            raise EngineError(
                f"layer {layer_name(node)}: is transposed and in groups, which cannot be INT8; keep it float"
            )
        floats = self._floats(name, layer_name(node))
        values, scales = quantise_weights(floats, axis, half_scales=self._form == "tensorrt")
        self._add(f"{name}.int8", values)
        self._add(f"{name}.scale", scales)
        self._add(f"{name}.zero", np.zeros(scales.shape, np.int8))
        inputs = [f"{name}.int8", f"{name}.scale", f"{name}.zero"]
        self._weights.append(
            helper.make_node("DequantizeLinear", inputs, [rounded], name=f"{name}.dequantize", axis=axis)
        )
        return rounded

    def _floats(self, name: str, layer: str) -> NDArray[np.float32]:
        """Constant weights, which may be stored as half floats behind a Cast."""
        stored = self._casts[name].input[0] if name in self._casts else name
        if stored not in self._constants:
            raise EngineError(f"layer {layer}: its weights are computed, not constant; keep it float")
        weights = numpy_helper.to_array(self._constants[stored]).astype(np.float32)
        if not np.isfinite(weights).all():
            raise EngineError(f"layer {layer}: holds weights that are not finite; the training went wrong")
        return weights

    def _add(self, name: str, value: NDArray) -> None:
        self._graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))

    def finish(self) -> None:
        """Put the new nodes where their inputs are ready, and drop what is not read any more."""
        nodes: list[NodeProto] = [*self._weights]
        inputs = {value.name for value in self._graph.input}
        nodes += [made for tensor, pair in self._rounded.items() if tensor in inputs for made in pair]
        for node in self._graph.node:
            nodes.append(node)
            nodes += [made for name in node.output for made in self._rounded.get(name, ())]
        nodes = [_copy(node) for node in nodes]
        read = {name for node in nodes for name in node.input} | {value.name for value in self._graph.output}
        kept = [node for node in nodes if any(name in read for name in node.output)]
        read = {name for node in kept for name in node.input}
        constants = [constant for constant in self._graph.initializer if constant.name in read]
        constants = [TensorProto.FromString(constant.SerializeToString()) for constant in constants]
        del self._graph.node[:], self._graph.initializer[:]
        self._graph.node.extend(kept)
        self._graph.initializer.extend(constants)


def _copy(node: NodeProto) -> NodeProto:
    """Apart from its graph, which is about to be emptied."""
    return NodeProto.FromString(node.SerializeToString())


def _step(found: Range, form: Form) -> tuple[float, NDArray]:
    """Scale and zero point for a range."""
    if form == "tensorrt":
        scale = np.array(max(max(-found.low, found.high) / 127, SMALLEST_STEP), np.float32)
        return float(as_half(scale)), np.array(0, np.int8)
    scale = max((found.high - found.low) / 255, SMALLEST_STEP)
    return scale, np.array(np.clip(round(-found.low / scale), 0, 255), np.uint8)


def as_half(scales: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scales that a half float holds exactly, none smaller than before, so that TensorRT's FP16 form rounds as this one
    does. Those beyond the range of half floats stay what they are.
    """
    with np.errstate(over="ignore"):
        half = scales.astype(np.float16)
        half = np.where(half < scales, np.nextafter(half, np.float16(np.inf)), half).astype(np.float32)
    return np.where((scales >= SMALLEST_HALF) & np.isfinite(half), half, scales)


def quantise_weights(
    weights: NDArray[np.float32], axis: int, *, half_scales: bool = False
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """int8 values of the same shape, and float32 scales, one per channel of `axis`: weights = values * scales, rounded.

    A channel's largest weight becomes 127 or -127, with `half_scales` at least almost; one of zeros has a scale of 1.
    """
    others = tuple(a for a in range(weights.ndim) if a != axis)
    scales = np.abs(weights).max(axis=others) / np.float32(WEIGHT_LEVELS)
    scales[scales < np.finfo(np.float32).tiny] = 1  # nothing there; and 0 is no scale
    if half_scales:
        scales = as_half(scales)
    shape = [-1 if a == axis else 1 for a in range(weights.ndim)]
    values = np.rint(weights / scales.reshape(shape)).clip(-WEIGHT_LEVELS, WEIGHT_LEVELS)
    return values.astype(np.int8), scales


def _groups(node: NodeProto) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)


def to_bytes(model: ModelProto) -> bytes:
    """The file's bytes; the same graph gives the same ones."""
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)
