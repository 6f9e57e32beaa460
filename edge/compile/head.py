"""Where a net's classes come out: which output, logits or a class map, of what size.

What stands between the net's last arithmetic and the output, and does not change which class wins, is seen through:
`edge.compile.wrap` has faster forms of it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from edge.compile.portable import opset_of
from edge.errors import EngineError

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)
WHOLES = (TensorProto.UINT8, TensorProto.INT8, TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL)

Sampling = Literal["half_pixel", "align_corners"]


@dataclass(frozen=True)
class Head:
    """Where a net's classes come out, and how.

    `kind` is "logits" for a score per class, "ids" for a class map. `channels` is the number of classes, 1 for ids.
    `sampling` is how logits of another size than the input are stretched to it.
    """

    name: str
    kind: Literal["logits", "ids"]
    channels: int
    size_hw: tuple[int, int]
    channels_last: bool = False
    element: int = TensorProto.FLOAT
    sampling: Sampling = "half_pixel"


# --------------------------------------------------------------------------------------------------------- the two ends


def only_input(model: ModelProto) -> ValueInfoProto:
    """The input of a graph that has one. Old exporters list constants among the inputs; those do not count.

    Raises:
        EngineError: there are several or none.
    """
    constants = {init.name for init in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    if len(inputs) != 1:
        found = "; ".join(describe(value) for value in inputs) or "none"
        raise EngineError(f"the graph has {len(inputs)} inputs ({found}), expected one: the image")
    return inputs[0]


def read_head(model: ModelProto, input_wh: tuple[int, int], output: str | None = None) -> Head:
    """Where the classes come out, as far towards the net as the classes stay the same.

    A trailing ArgMax, Softmax over the classes or bilinear Resize to the input's size is not part of it: `wrap` has a
    faster form of the same.

    Raises:
        EngineError: there are several outputs and none is named, or it is neither logits nor a class map.
    """
    head, graph, size_hw = read_output(model, input_wh, output), _Graph(model), (input_wh[1], input_wh[0])
    steps = (_before_argmax, _before_softmax, _before_turned_softmax, _before_transpose, _before_resize)
    while earlier := next((found for step in steps if (found := step(graph, head, size_hw))), None):
        head = earlier
    return head


def read_output(model: ModelProto, input_wh: tuple[int, int], output: str | None = None) -> Head:
    """The output itself, with all that `read_head` sees through.

    Raises:
        EngineError: as `read_head`.
    """
    value = chosen_output(model, output)
    try:
        return _classify(_Graph(model), value.name, input_wh)
    except EngineError as error:
        raise EngineError(f"output {describe(value)}: {error}") from None


def chosen_output(model: ModelProto, name: str | None) -> ValueInfoProto:
    """The output of that name; the only one, if none is given.

    Raises:
        EngineError: there is no output of that name, or several to choose from.
    """
    outputs = list(model.graph.output)
    found = "; ".join(describe(value) for value in outputs)
    if name is None and len(outputs) != 1:
        raise EngineError(f"the graph has {len(outputs)} outputs ({found}); say with `output` which one is meant")
    chosen = next((value for value in outputs if name in (None, value.name)), None)
    if chosen is None:
        raise EngineError(f"the graph has no output {name!r}; there are: {found}")
    return chosen


def describe(value: ValueInfoProto) -> str:
    """A value for people: "logits float32 (1, 19, ?, ?)"."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return f"{value.name} {element_name(tensor.elem_type)} of unknown shape"
    sizes = [f"{d.dim_value if d.HasField('dim_value') else d.dim_param or '?'}" for d in tensor.shape.dim]
    return f"{value.name} {element_name(tensor.elem_type)} ({', '.join(sizes)})"


def element_name(element: int) -> str:
    """The name of an element type: "float32"."""
    names = {TensorProto.FLOAT: "float32", TensorProto.FLOAT16: "float16", TensorProto.DOUBLE: "float64"}
    return names.get(element) or TensorProto.DataType.Name(element).lower()


class _Graph:
    """Where each value comes from, and its shape as far as it is known."""

    def __init__(self, model: ModelProto) -> None:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
        values = [*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output]
        self._types = {value.name: value.type.tensor_type for value in values}
        self.producers = {name: node for node in inferred.graph.node for name in node.output}
        self._constants = {init.name: init for init in inferred.graph.initializer}
        self.opset = opset_of(model)

    def element(self, name: str) -> int:
        return self._types[name].elem_type if name in self._types else TensorProto.UNDEFINED

    def shape(self, name: str) -> tuple[int, ...] | None:
        """None unless every size is known."""
        tensor = self._types.get(name)
        if tensor is None or not tensor.HasField("shape"):
            return None
        sizes = tuple(dim.dim_value for dim in tensor.shape.dim)
        return sizes if min(sizes, default=1) > 0 else None

    def constant(self, name: str) -> NDArray[Any] | None:
        if name in self._constants:
            return numpy_helper.to_array(self._constants[name])
        node = self.producers.get(name)
        held = attributes(node).get("value") if node is not None and node.op_type == "Constant" else None
        return None if held is None else numpy_helper.to_array(held)


def attributes(node: NodeProto) -> dict[str, Any]:
    """A node's attributes by name."""
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def _classify(graph: _Graph, name: str, input_wh: tuple[int, int]) -> Head:
    shape, element = graph.shape(name), graph.element(name)
    if shape is None:
        raise EngineError("its shape cannot be worked out from the graph; export the net with fixed sizes")
    if element in WHOLES or (element in FLOATS and (len(shape) < 4 or _is_argmax(graph, name))):
        return _ids_head(name, shape, element, input_wh)
    if element not in FLOATS:
        raise EngineError("expected floats (logits) or whole numbers (a class map)")
    if len(shape) != 4 or shape[0] != 1:
        raise EngineError("expected logits (1, C, h, w) or (1, h, w, C), or a class map (1, h, w)")
    forms = [(shape[1], False, (shape[2], shape[3])), (shape[3], True, (shape[1], shape[2]))]
    for channels, last, size_hw in forms:
        if _is_image(size_hw, input_wh):
            if channels == 1:
                raise EngineError(
                    "it has one channel, as a mask has that a sigmoid makes. Add `threshold: 0.5` to the card file, and"
                    " give it two classes: what is not in the mask first"
                )
            return Head(name, "logits", channels, size_hw, last, element)
    raise _not_an_image([size_hw for _, _, size_hw in forms], input_wh)


def _ids_head(name: str, shape: tuple[int, ...], element: int, input_wh: tuple[int, int]) -> Head:
    sizes = [size for size in shape if size > 1]
    size_hw = (sizes[0], sizes[1]) if len(sizes) == 2 else (shape[-2], shape[-1]) if len(shape) > 1 else (1, 1)
    if math.prod(shape) != math.prod(size_hw):
        raise EngineError("whole numbers in several channels are no class map (1, h, w); give the logits as floats")
    if not _is_image(size_hw, input_wh):
        raise _not_an_image([size_hw], input_wh)
    return Head(name, "ids", 1, size_hw, element=element)


def _is_image(size_hw: Sequence[int], input_wh: tuple[int, int]) -> bool:
    """Whether a size is the input's, scaled and rounded to whole cells."""
    width, height = input_wh
    if tuple(size_hw) == (1, 1):  # one answer for the whole image
        return input_wh == (1, 1)
    return abs(size_hw[0] / height - size_hw[1] / width) <= 1.001 / min(width, height)


def _not_an_image(sizes: Sequence[Sequence[int]], input_wh: tuple[int, int]) -> EngineError:
    width, height = input_wh
    if any(_is_image(size[::-1], input_wh) for size in sizes):
        return EngineError(f"height and width are swapped: the input is {height} high and {width} wide")
    return EngineError(f"it has not the shape of the input, {height} high and {width} wide, at any scale")


# ------------------------------------------------------------------------------------------- what wrap has a form for

_KEEP_IDS = ("Cast", "Squeeze", "Unsqueeze", "Reshape", "Identity")


def _source(graph: _Graph, name: str) -> NodeProto | None:
    """The node that a class map comes from, seen through casts and changes of form."""
    node = graph.producers.get(name)
    while node is not None and node.op_type in _KEEP_IDS:
        node = graph.producers.get(node.input[0])
    return node


def _is_argmax(graph: _Graph, name: str) -> bool:
    node = _source(graph, name)
    return node is not None and node.op_type == "ArgMax"


def _before_argmax(graph: _Graph, head: Head, size_hw: tuple[int, int]) -> Head | None:
    node = _source(graph, head.name)
    if head.kind != "ids" or head.size_hw != size_hw or node is None or node.op_type != "ArgMax":
        return None
    shape, given = graph.shape(node.input[0]), attributes(node)
    if shape is None or len(shape) != 4 or given.get("select_last_index") or shape[0] != 1:
        return None
    axis = given.get("axis", 0) % 4
    sizes = {1: shape[2:], 3: shape[1:3]}
    element = graph.element(node.input[0])
    if sizes.get(axis) != size_hw or element not in FLOATS or shape[axis] < 2:
        return None
    return Head(node.input[0], "logits", shape[axis], size_hw, axis == 3, element)


def _before_softmax(graph: _Graph, head: Head, size_hw: tuple[int, int]) -> Head | None:
    """Where nothing is stretched afterwards: shares and logits have the same order, but do not blend alike."""
    node = graph.producers.get(head.name)
    if head.kind != "logits" or node is None:
        return None
    axis = attributes(node).get("axis", -1) % 4
    over_classes = node.op_type in ("Softmax", "LogSoftmax") and axis == (3 if head.channels_last else 1)
    if node.op_type == "Identity" or (over_classes and head.size_hw == size_hw):
        return dataclasses.replace(head, name=node.input[0])
    return None


def _before_turned_softmax(graph: _Graph, head: Head, size_hw: tuple[int, int]) -> Head | None:
    """Up to opset 12, Softmax wants its axis last: torch turns the classes there and back."""
    back = graph.producers.get(head.name)
    softmax = None if back is None or back.op_type != "Transpose" else graph.producers.get(back.input[0])
    there = None if softmax is None else graph.producers.get(softmax.input[0])
    if back is None or softmax is None or there is None or there.op_type != "Transpose":
        return None
    turn, turn_back = (list(attributes(node).get("perm", ())) for node in (there, back))
    axis = attributes(softmax).get("axis", -1) % 4
    if head.kind != "logits" or head.channels_last or head.size_hw != size_hw or len(turn) != 4:
        return None
    same = softmax.op_type in ("Softmax", "LogSoftmax") and [turn[place] for place in turn_back] == [0, 1, 2, 3]
    return dataclasses.replace(head, name=there.input[0]) if same and turn[axis] == 1 else None


def _before_transpose(graph: _Graph, head: Head, _size_hw: tuple[int, int]) -> Head | None:
    node = graph.producers.get(head.name)
    if not head.channels_last or node is None or node.op_type != "Transpose":
        return None
    to_last = list(attributes(node).get("perm", ())) == [0, 2, 3, 1]
    return dataclasses.replace(head, name=node.input[0], channels_last=False) if to_last else None


def _before_resize(graph: _Graph, head: Head, size_hw: tuple[int, int]) -> Head | None:
    node = graph.producers.get(head.name)
    full = head.kind == "logits" and not head.channels_last and head.size_hw == size_hw
    if not full or node is None or node.op_type != "Resize":
        return None
    shape, sampling = graph.shape(node.input[0]), _sampling(attributes(node), size_hw)
    if shape is None or sampling is None or shape[:2] != (1, head.channels) or shape[2:] == size_hw:
        return None
    if not _fits_exactly(graph, node, shape, size_hw):
        return None
    return dataclasses.replace(head, name=node.input[0], size_hw=(shape[2], shape[3]), sampling=sampling)


def _sampling(given: dict[str, Any], size_hw: tuple[int, int]) -> Sampling | None:
    """How a Resize samples, if it is plain bilinear in a way that `wrap` knows."""
    plain = given.get("mode") == b"linear" and not any(given.get(k) for k in ("antialias", "exclude_outside", "axes"))
    if not plain or given.get("keep_aspect_ratio_policy", b"stretch") != b"stretch":
        return None
    way = given.get("coordinate_transformation_mode", b"half_pixel")
    if way == b"half_pixel" or (way == b"pytorch_half_pixel" and min(size_hw) > 1):
        return "half_pixel"
    return "align_corners" if way == b"align_corners" and min(size_hw) > 1 else None


def _fits_exactly(graph: _Graph, node: NodeProto, shape: tuple[int, ...], size_hw: tuple[int, int]) -> bool:
    """Whether a Resize's scales, where it has some, are those between the two sizes: else it samples elsewhere."""
    if len(node.input) > 3 and node.input[3]:
        return True
    scales = graph.constant(node.input[2])
    exact = np.array([1, 1, size_hw[0] / shape[2], size_hw[1] / shape[3]], np.float32)
    return scales is not None and np.array_equal(scales, exact)
