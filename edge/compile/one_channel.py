"""A net with one channel, as binary segmentation has it: its mask is where a probability is above a threshold.

The graph gets two channels, background and mask, of which the greater wins; all that follows knows only such nets.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, helper, numpy_helper

from edge.compile.head import FLOATS, chosen_output, describe
from edge.errors import EngineError

_SEEN_THROUGH = ("Identity", "Cast", "Resize", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Clip")


def to_two_channels(
    model: ModelProto, output: str | None, answers: NDArray[Any], threshold: float
) -> tuple[ModelProto, NDArray[Any]]:
    """The model and its answers (N, ...) with two channels in place of one: the mask is where the probability is above
    `threshold`, whether the output is the probability or what a sigmoid makes one of.

    Raises:
        EngineError: the output has not one channel.
    """
    changed = ModelProto()
    changed.CopyFrom(model)
    value = chosen_output(changed, output)
    element = value.type.tensor_type.elem_type
    shape, axis = _form(answers.shape[1:], describe(value), element)
    limit = threshold if _is_probability(changed, value.name, answers) else math.log(threshold / (1 - threshold))
    name, sizes = value.name, [2 if place == axis else size for place, size in enumerate(shape)]
    value.CopyFrom(helper.make_tensor_value_info(name, element, sizes))
    _append(changed, name, shape, axis, limit, helper.tensor_dtype_to_np_dtype(element))
    above = answers.reshape(len(answers), *shape).astype(np.float32) - np.float32(limit)
    return changed, np.concatenate([-above, above], axis + 1)


def _form(shape: tuple[int, ...], what: str, element: int) -> tuple[tuple[int, ...], int]:
    """The shape as four sizes, and the axis of the one channel."""
    if element not in FLOATS:
        raise EngineError(f"output {what}: `threshold` is for probabilities or logits, which are floats")
    if len(shape) < 4:
        sizes = [size for size in shape if size > 1]
        shape = (1, 1, *(sizes if len(sizes) == 2 else shape[-2:]))
    axis = 1 if shape[1] == 1 else 3
    if len(shape) != 4 or shape[0] != 1 or shape[axis] != 1:
        raise EngineError(f"output {what}: `threshold` is for an output of one channel; leave it out of the card file")
    return shape, axis


def _is_probability(model: ModelProto, name: str, answers: NDArray[Any]) -> bool:
    """Whether a sigmoid made it. One that is written out is known by what it gives, none of it outside of 0 to 1."""
    producers = {made: node for node in model.graph.node for made in node.output}
    node = producers.get(name)
    while node is not None and node.op_type in _SEEN_THROUGH:
        node = producers.get(node.input[0])
    if node is not None and node.op_type in ("Sigmoid", "HardSigmoid"):
        return True
    return bool(answers.min() >= 0 and answers.max() <= 1)


def _append(model: ModelProto, name: str, shape: tuple[int, ...], axis: int, limit: float, dtype: Any) -> None:
    """Put the two channels behind the output, under its name."""
    graph, one = model.graph, f"{name}.one"
    for node in graph.node:
        node.input[:] = [one if made == name else made for made in node.input]
        node.output[:] = [one if made == name else made for made in node.output]
    graph.initializer.append(numpy_helper.from_array(np.array(shape, np.int64), f"{name}.shape"))
    graph.initializer.append(numpy_helper.from_array(np.array(limit, dtype), f"{name}.limit"))
    steps = (
        ("Reshape", (one, f"{name}.shape"), f"{name}.map", {}),
        ("Sub", (f"{name}.map", f"{name}.limit"), f"{name}.above", {}),
        ("Neg", (f"{name}.above",), f"{name}.below", {}),
        ("Concat", (f"{name}.below", f"{name}.above"), name, {"axis": axis}),
    )
    graph.node.extend(
        helper.make_node(kind, inputs, [made], name=f"edge/{made}", **given) for kind, inputs, made, given in steps
    )
    kept = [value for value in graph.value_info if value.name != name]
    del graph.value_info[:]
    graph.value_info.extend(kept)
