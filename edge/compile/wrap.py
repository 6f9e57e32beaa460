"""What surrounds a net in its graph, the same for ours and for those that users bring:

    image, uint8 (1, H, W, 3) BGR -> float -> (x - mean) * scale -> net -> bilinear to H x W -> argmax -> semantic

Of the forms that are exact, each step has the one that was fastest in OpenVINO (2026.4, DDRNet-23-slim, 480x360, 11
classes, Zen 5) and that TensorRT reads from version 8.5 on: uint8 only next to a Cast, no TopK. The nodes mean the same
in every operator set from 13 on.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from edge.compile.head import FLOATS, Head, Sampling, describe, only_input, read_head
from edge.compile.portable import drop_unused, opset_of, rename
from edge.errors import EngineError
from edge.outputs import CONFIDENCE, SEMANTIC, Output

CHAIN_UP_TO = 64
"""Classes that are compared one by one; above, ArgMax. In OpenVINO (480x360, two cores, min of 9) the chain takes as
long as ArgMax for 11, 19 and 40 classes and 1.1 times as long for 150, but there 17 times as long to compile. TensorRT
makes a sort of ArgMax, which is slow (onnx-tensorrt#669)."""


@dataclass(frozen=True)
class InputScaling:
    """How bytes become a net's input: (x - mean) * scale for each channel in the net's order. Ours take BGR in 0..1."""

    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: tuple[float, float, float] = (1 / 255, 1 / 255, 1 / 255)
    order: Literal["bgr", "rgb"] = "bgr"


OURS = InputScaling()


def wrap(
    model: ModelProto,
    input_wh: tuple[int, int],
    scaling: InputScaling = OURS,
    *,
    output: str | None = None,
    labels: Sequence[int] | None = None,
    kept: Sequence[Output] = (),
) -> ModelProto:
    """The net with its surroundings: `image`, uint8 (1, H, W, 3) BGR, in; `semantic`, uint8 (1, H, W), out; where the
    head has logits, `confidence` too; and of the net's own outputs those that are `kept`, under their names.

    `model` has one float input of fixed size, (1, 3, H, W) or (1, H, W, 3), and opset 13 or newer; it stays as it is.
    `output` names the head where there are several. `labels` is the id to write for each id of the net: for a head of C
    logits C of them, for a class map 256, since its ids are not known before it runs.

    Raises:
        EngineError: the model's input or head is not of that kind, or it has not the outputs to keep.
    """
    wrapped = ModelProto()
    wrapped.CopyFrom(model)
    head = read_head(wrapped, input_wh, output)
    if labels is not None and len(labels) != (wanted := head.channels if head.kind == "logits" else 256):
        raise EngineError(f"output {head.name!r}: expected {wanted} labels, got {len(labels)}")
    listed = [SEMANTIC, *([CONFIDENCE] if head.kind == "logits" and head.channels > 1 else []), *kept]
    tensors = {value.name: value for value in wrapped.graph.output}
    nodes = _Nodes(wrapped)
    taken = ["image", *(o.name for o in listed)]  # a net may have such names, too
    ours = {name: nodes.fresh(f"net.{name}") for name in taken}
    rename(wrapped, lambda name: ours.get(name, name))
    _prologue(nodes, only_input(wrapped), input_wh, scaling)
    before = len(nodes.nodes)
    _epilogue(nodes, dataclasses.replace(head, name=ours.get(head.name, head.name)), input_wh, labels)
    for further in kept:
        _keep(nodes, further, tensors.get(further.tensor), ours.get(further.tensor, further.tensor), input_wh)
    _assemble(wrapped, nodes, before, input_wh, listed)
    return wrapped


def outputs_of(model: ModelProto, kept: Sequence[Output] = ()) -> tuple[Output, ...]:
    """The outputs of a wrapped graph as its card lists them; `kept` describes those that are the net's own."""
    known = {o.name: o for o in (SEMANTIC, CONFIDENCE, *(dataclasses.replace(o, tensor=o.name) for o in kept))}
    return tuple(known[value.name] for value in model.graph.output)


def _keep(nodes: _Nodes, output: Output, found: ValueInfoProto | None, tensor: str, input_wh: tuple[int, int]) -> None:
    """Pass one of the net's own outputs on, in the type and shape that its card says; dimensions of 1 may differ, as
    the one channel of a map does.
    """
    shape = (1, *output.shape_at(input_wh))
    if found is None:
        raise EngineError(f"output {output.name}: expected an output of the net called {output.tensor!r}, got none")
    there = tuple(dim.dim_value for dim in found.type.tensor_type.shape.dim)
    if [n for n in there if n != 1] != [n for n in shape if n != 1]:
        raise EngineError(f"output {output.name}: expected {output.tensor!r} of shape {shape}, got {describe(found)}")
    if there != shape:
        tensor = nodes.add("Reshape", [tensor, nodes.constant(f"{output.name}.shape", shape, np.int64)], "kept")
    nodes.into("Cast", [tensor], output.name, to=_element(output))


def _element(output: Output) -> int:
    return helper.np_dtype_to_tensor_dtype(np.dtype(output.dtype))


def _assemble(
    model: ModelProto, ours: _Nodes, before: int, input_wh: tuple[int, int], outputs: Sequence[Output]
) -> None:
    """Put the first `before` of our nodes in front of the net's, the others behind them."""
    graph = model.graph
    nodes = [*ours.nodes[:before], *graph.node, *ours.nodes[before:]]
    width, height = input_wh
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, [1, height, width, 3])
    for field in (graph.node, graph.input, graph.output, graph.value_info):
        del field[:]
    graph.node.extend(nodes)
    graph.input.append(image)
    for output in outputs:
        shape = [1, *output.shape_at(input_wh)]
        graph.output.append(helper.make_tensor_value_info(output.name, _element(output), shape))
    graph.initializer.extend(ours.constants)
    drop_unused(model)


# ------------------------------------------------------------------------------------------------------------- surgery


class _Nodes:
    """Nodes and constants to be added to a graph, under names that it does not have yet."""

    def __init__(self, model: ModelProto) -> None:
        graph = model.graph
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self.opset = opset_of(model)
        self._taken = {name for node in graph.node for name in (*node.input, *node.output)}
        self._taken.update(value.name for value in (*graph.input, *graph.output, *graph.initializer))
        self._known: dict[bytes, str] = {}

    def fresh(self, name: str) -> str:
        count = 1
        candidate = name
        while candidate in self._taken:
            count += 1
            candidate = f"{name}.{count}"
        self._taken.add(candidate)
        return candidate

    def constant(self, name: str, values: Any, dtype: Any = np.float32) -> str:
        array = np.asarray(values, dtype)
        key = f"{array.dtype}{array.shape}".encode() + array.tobytes()
        if key not in self._known:
            self._known[key] = self.fresh(name)
            self.constants.append(numpy_helper.from_array(array, self._known[key]))
        return self._known[key]

    def add(self, kind: str, inputs: Sequence[str], name: str, **given: Any) -> str:
        """The name of the one output of a new node."""
        return self._add(kind, inputs, [self.fresh(name)], **given)[0]

    def split(self, value: str, parts: int, name: str) -> list[str]:
        """The channels of (1, parts, ...), each (1, 1, ...)."""
        given = {"num_outputs": parts} if self.opset >= 18 else {}
        return self._add("Split", [value], [self.fresh(f"{name}.{index}") for index in range(parts)], axis=1, **given)

    def largest(self, value: str, name: str) -> str:
        """The maximum over the channels of (1, C, ...), which stay as a dimension of 1."""
        if self.opset >= 18:
            return self.add("ReduceMax", [value, self.constant("axes", [1], np.int64)], name, keepdims=1)
        return self.add("ReduceMax", [value], name, axes=[1], keepdims=1)

    def into(self, kind: str, inputs: Sequence[str], output: str, **given: Any) -> None:
        """A node whose output has its name already."""
        self._add(kind, inputs, [output], **given)

    def _add(self, kind: str, inputs: Sequence[str], outputs: list[str], **given: Any) -> list[str]:
        self.nodes.append(helper.make_node(kind, inputs, outputs, name=f"edge/{outputs[0]}", **given))
        return outputs


def _prologue(nodes: _Nodes, entrance: ValueInfoProto, input_wh: tuple[int, int], scaling: InputScaling) -> None:
    """From `image` to the net's own input.

    Scaled before it is transposed: with arithmetic in between, OpenVINO's convolution reads NHWC as it lies. With 1/255
    folded into the first weights instead, it transposes twice (0.3 ms of 28, on one core).
    """
    last, element = _input_form(entrance, input_wh)
    bgr = slice(None, None, -1) if scaling.order == "rgb" else slice(None)
    x = nodes.add("Cast", ["image"], "pixels", to=TensorProto.FLOAT)
    if any(scaling.mean):  # padding comes after, in the net, so that its zeros stay zeros
        x = nodes.add("Sub", [x, nodes.constant("mean", _uniform(scaling.mean[bgr]))], "centred")
    if set(scaling.scale) != {1.0}:
        x = nodes.add("Mul", [x, nodes.constant("scale", _uniform(scaling.scale[bgr]))], "scaled")
    if scaling.order == "rgb":
        x = nodes.add("Gather", [x, nodes.constant("rgb", [2, 1, 0], np.int64)], "flipped", axis=3)
    if element != TensorProto.FLOAT:
        x = nodes.add("Cast", [x], "typed", to=element)
    if last:
        nodes.into("Identity", [x], entrance.name)
    else:
        nodes.into("Transpose", [x], entrance.name, perm=[0, 3, 1, 2])


def _input_form(entrance: ValueInfoProto, input_wh: tuple[int, int]) -> tuple[bool, int]:
    """Whether the channels come last, and the element type."""
    tensor = entrance.type.tensor_type
    shape = tuple(dim.dim_value for dim in tensor.shape.dim)
    width, height = input_wh
    if tensor.elem_type not in FLOATS:
        raise EngineError(f"input {describe(entrance)}: expected floats, so that edge can scale the pixels itself")
    if shape not in ((1, 3, height, width), (1, height, width, 3)):
        raise EngineError(
            f"input {describe(entrance)}: expected (1, 3, {height}, {width}) or (1, {height}, {width}, 3)"
        )
    return shape[1] != 3, tensor.elem_type


def _uniform(values: Sequence[float]) -> Sequence[float] | float:
    """A scalar if all are equal, else a vector."""
    return values[0] if len(set(values)) == 1 else values


def _epilogue(nodes: _Nodes, head: Head, input_wh: tuple[int, int], labels: Sequence[int] | None) -> None:
    """From the head to `semantic` and, where there are logits of several classes, `confidence`."""
    x = head.name
    if head.element != TensorProto.FLOAT:
        x = nodes.add("Cast", [x], "head.float", to=TensorProto.FLOAT)
    size_hw = (input_wh[1], input_wh[0])
    margin = None
    if head.kind == "ids":
        ids = _mapped_ids(nodes, _enlarged(nodes, x, head.size_hw, size_hw), labels)
    else:
        if head.channels_last:
            x = nodes.add("Transpose", [x], "logits", perm=[0, 3, 1, 2])
        choose = _compared if head.channels <= CHAIN_UP_TO else _argmax
        ids, margin = choose(nodes, _Stretched(nodes, x, head, size_hw), labels or range(head.channels))
    shape = nodes.constant("shape", [1, *size_hw], np.int64)
    # Float up to here: TensorRT makes uint8 of floats only.
    nodes.into("Cast", [nodes.add("Reshape", [ids, shape], "ids")], SEMANTIC.name, to=TensorProto.UINT8)
    if margin is not None:
        level = nodes.add("Reshape", [_level_of(nodes, margin), shape], "level")
        nodes.into("Cast", [level], CONFIDENCE.name, to=TensorProto.UINT8)


def _level_of(nodes: _Nodes, margin: str) -> str:
    """round(255 * tanh(margin / 2)): of a softmax over the two likeliest classes, how much likelier the first is."""
    half = nodes.add("Mul", [margin, nodes.constant("half", 0.5)], "margin.half")
    level = nodes.add("Mul", [nodes.add("Tanh", [half], "share"), nodes.constant("white", 255)], "share.scaled")
    return nodes.add("Floor", [nodes.add("Add", [level, nodes.constant("half", 0.5)], "share.raised")], "share.rounded")


class _Stretched:
    """Logits (1, C, h, w) on their way to (1, C, H, W): columns by a matrix product, rows blended when asked."""

    def __init__(self, nodes: _Nodes, logits: str, head: Head, size_hw: tuple[int, int]) -> None:
        self._nodes, self._channels = nodes, head.channels
        (height, width), (rows, columns) = head.size_hw, size_hw
        self._parts, self.rank = [logits], 4
        if width != columns:
            matrix = nodes.constant("columns", bilinear_matrix(width, columns, head.sampling).T)
            self._parts = [nodes.add("MatMul", [logits, matrix], "wide")]
        self._shares: list[str] = []
        if height != rows:
            self._fetch_rows(RowBlend.between(height, rows, head.sampling))

    def _fetch_rows(self, blend: RowBlend) -> None:
        nodes, wide, axis = self._nodes, self._parts[0], self._nodes.constant("axis", [3], np.int64)
        self._parts, self._shares, self.rank = [], [], 5
        for name, rows, share in (("above", blend.above, 1 - blend.share), ("below", blend.below, blend.share)):
            fetched = nodes.add("Gather", [wide, nodes.constant(f"rows.{name}", rows, np.int64)], name, axis=2)
            self._parts.append(nodes.add("Unsqueeze", [fetched, axis], f"{name}.grouped"))
            self._shares.append(nodes.constant(f"share.{name}", share))

    def whole(self) -> str:
        """(1, C, H, W), or (1, C, groups, group, W), which is the same."""
        return self._blended(self._parts)

    def channels(self) -> list[str]:
        """C times (1, 1, H, W), or the same in groups."""
        split = [self._nodes.split(part, self._channels, "logit") for part in self._parts]
        return [self._blended(parts) for parts in zip(*split, strict=True)]

    def _blended(self, parts: Sequence[str]) -> str:
        if not self._shares:
            return parts[0]
        add = self._nodes.add
        weighted = [add("Mul", pair, "weighted") for pair in zip(parts, self._shares, strict=True)]
        return add("Add", weighted, "score")


def _compared(nodes: _Nodes, logits: _Stretched, labels: Sequence[int]) -> tuple[str, str | None]:
    """The ids, and the margin between the two largest logits, None for a single class.

    Class by class, so that the stretched logits are never stored: a compiler fuses blend and comparison.

    On one core, in float32, from logits to classes: 1.0 ms; with a second matrix product and ArgMax 1.4, with Resize
    and ArgMax 8.7. Strictly greater: of equals, the lowest id wins. Other labels cost nothing.
    """
    scores = logits.channels()
    best, classes = scores[0], nodes.constant(f"label.{labels[0]}", labels[0])
    second: str | None = None
    for score, label in zip(scores[1:], labels[1:], strict=True):
        better = nodes.add("Greater", [score, best], "better")
        classes = nodes.add("Where", [better, nodes.constant(f"label.{label}", label), classes], "best.label")
        lesser = nodes.add("Min", [score, best], "lesser")
        second = lesser if second is None else nodes.add("Max", [second, lesser], "second")
        best = nodes.add("Max", [score, best], "best")
    return classes, None if second is None else nodes.add("Sub", [best, second], "margin")


def _argmax(nodes: _Nodes, logits: _Stretched, labels: Sequence[int]) -> tuple[str, str | None]:
    """The ids, and the margin; the second largest logit is the largest where the first of the largest is taken away."""
    scores = logits.whole()
    best = nodes.add("ArgMax", [scores], "best", axis=1, keepdims=1)
    classes = nodes.constant("class", np.arange(len(labels)).reshape(1, -1, *[1] * (logits.rank - 2)), np.int64)
    is_best = nodes.add("Equal", [best, classes], "is.best")
    rest = nodes.add("Where", [is_best, nodes.constant("least", -3e38), scores], "others")
    margin = nodes.add("Sub", [nodes.largest(scores, "first"), nodes.largest(rest, "second")], "margin")
    if list(labels) == list(range(len(labels))):
        return nodes.add("Cast", [best], "best.float", to=TensorProto.FLOAT), margin
    return nodes.add("Gather", [nodes.constant("labels", labels), best], "best.label"), margin


def _enlarged(nodes: _Nodes, ids: str, size_hw: tuple[int, int], wanted_hw: tuple[int, int]) -> str:
    """A class map (1, h, w), float, at another size: each pixel gets the cell that holds its centre."""
    if size_hw == wanted_hw:
        return ids
    x = nodes.add("Reshape", [ids, nodes.constant("cells", [1, *size_hw], np.int64)], "ids.small")
    for axis, (have, want) in enumerate(zip(size_hw, wanted_hw, strict=True), start=1):
        if have != want:
            cells = nodes.constant(f"nearest.{axis}", nearest(have, want), np.int64)
            x = nodes.add("Gather", [x, cells], "ids.enlarged", axis=axis)
    return x


def _mapped_ids(nodes: _Nodes, ids: str, labels: Sequence[int] | None) -> str:
    if labels is None:
        return ids
    low, high = nodes.constant("lowest", 0), nodes.constant("highest", len(labels) - 1)
    whole = nodes.add("Cast", [nodes.add("Clip", [ids, low, high], "ids.clipped")], "ids.whole", to=TensorProto.INT32)
    return nodes.add("Gather", [nodes.constant("labels", labels), whole], "ids.label")


# ------------------------------------------------------------------------------------------------------- interpolation


@dataclass(frozen=True)
class RowBlend:
    """Bilinear interpolation in height: each row of the output blends two rows of the input, often the same two as its
    neighbours do, so rows are fetched once per group of neighbours.

    `above` and `below` are int64 (groups,) rows of the input; `share`, float32 (1, 1, groups, group, 1), is what each
    row of the output takes from the one below.
    """

    above: NDArray[np.int64]
    below: NDArray[np.int64]
    share: NDArray[np.float32]

    @classmethod
    def between(cls, inputs: int, outputs: int, sampling: Sampling = "half_pixel") -> RowBlend:
        """From `inputs` rows to `outputs`, in the largest groups that divide the output and blend the same two rows."""
        above, below, share = _bilinear(inputs, outputs, sampling)
        changes = np.flatnonzero(np.diff(above) | np.diff(below)) + 1
        group = math.gcd(outputs, *changes.tolist())
        return cls(above[::group].copy(), below[::group].copy(), share.reshape(1, 1, outputs // group, group, 1))


def bilinear_matrix(inputs: int, outputs: int, sampling: Sampling = "half_pixel") -> NDArray[np.float32]:
    """float32 (outputs, inputs): interpolates a column."""
    first, second, share = _bilinear(inputs, outputs, sampling)
    matrix = np.zeros((outputs, inputs), np.float32)
    np.add.at(matrix, (np.arange(outputs), first), 1 - share)
    np.add.at(matrix, (np.arange(outputs), second), share)
    return matrix


def _bilinear(
    inputs: int, outputs: int, sampling: Sampling
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """For each output cell: the two input cells it lies between, and the second one's share.

    "half_pixel" is F.interpolate(align_corners=False), "align_corners" is with True.
    """
    if sampling == "half_pixel":
        position = np.maximum((np.arange(outputs) + 0.5) * (inputs / outputs) - 0.5, 0)
    else:
        position = np.arange(outputs) * ((inputs - 1) / max(outputs - 1, 1))
    first = np.minimum(np.floor(position).astype(np.int64), inputs - 1)
    return first, np.minimum(first + 1, inputs - 1), (position - first).astype(np.float32)


def nearest(inputs: int, outputs: int) -> NDArray[np.int64]:
    """int64 (outputs,): the input cell that holds the centre of each output cell."""
    return ((np.arange(outputs) * 2 + 1) * inputs) // (2 * outputs)
