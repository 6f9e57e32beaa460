"""ONNX files made elsewhere: read with distrust, checked, and brought into the form that `wrap` takes.

Each check says what was found and what to do, since whoever brings a net knows less of edge than of the net.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, inliner, numpy_helper, version_converter
from onnx.external_data_helper import load_external_data_for_tensor, uses_external_data
from onnx.reference import ReferenceEvaluator

from edge.compile.head import attributes, describe, only_input
from edge.compile.portable import INVALID, IR_VERSION, OPSET, all_graphs, lower_opset, opset_of
from edge.engine import GRAPH_LIMIT_BYTES
from edge.errors import EngineError
from edge.regular import read_regular

Precision = Literal["fp32", "fp16", "int8"]
Layout = Literal["nchw", "nhwc"]

WRAPPED_FROM = 13  # the oldest operator set that the nodes of `wrap` are written in
MIN_SIZE, MAX_SIZE = 8, 8192  # pixels, as in a card
FOLDED_ELEMENTS = 4096  # shapes are short; what is longer is a weight, and stays
_ASYMMETRIC_TO = 10  # the last opset in which Upsample and Resize had one way to find their pixels
_FOLDED = (
    *("Shape", "Size", "Gather", "Unsqueeze", "Squeeze", "Concat", "Cast", "Slice", "Reshape", "Identity"),
    *("Add", "Sub", "Mul", "Div", "Mod", "Neg", "Floor", "Ceil", "Min", "Max", "ReduceProd", "Equal", "Not", "Where"),
)
_QUANTISED = ("QuantizeLinear", "DequantizeLinear")
_UNREADABLY_QUANTISED = (
    *("QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger", "DynamicQuantizeLinear"),
    *("DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "FusedConv"),
)


# ------------------------------------------------------------------------------------------------------------- reading


def load_foreign(path: Path) -> ModelProto:
    """The model in a file, whole: weights in files beside it are read, and checked to be beside it.

    Raises:
        EngineError: it cannot be read, is no ONNX model, or one that edge cannot take in.
    """
    model = _parse(path)
    try:
        _read_external(model, path)
        if model.functions:
            model = inliner.inline_local_functions(model)
        check_foreign(model)
    except EngineError as error:
        raise EngineError(f"{path}: {error}") from error.__cause__
    return model


def _parse(path: Path) -> ModelProto:
    try:
        size = path.stat().st_size
        if size > GRAPH_LIMIT_BYTES:
            raise EngineError(f"{path}: has {size >> 20} MiB, edge takes up to {GRAPH_LIMIT_BYTES >> 20}")
        content = read_regular(path, GRAPH_LIMIT_BYTES)
    except OSError as error:
        raise EngineError(f"{path}: cannot be read: {error.strerror}") from error
    if content.startswith((b"PK\x03\x04", b"\x80")):
        raise EngineError(f"{path}: is a file of torch.save, not ONNX; give it as the weights of a torch net")
    try:
        model = onnx.load_model_from_string(content)
    except DecodeError as error:
        raise EngineError(f"{path}: is not an ONNX file, or broke off") from error
    if not model.graph.node or not model.opset_import:
        raise EngineError(f"{path}: is not an ONNX file, or holds no graph")
    return model


def _tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Every constant, wherever it lies."""
    for graph in all_graphs(model.graph):
        yield from graph.initializer
        for attribute in (a for node in graph.node for a in node.attribute):
            if attribute.type == onnx.AttributeProto.TENSOR:
                yield attribute.t


def _read_external(model: ModelProto, path: Path) -> None:
    folder, total = path.parent.resolve(), 0
    for tensor in filter(uses_external_data, _tensors(model)):
        said = {item.key: item.value for item in tensor.external_data}
        file = _beside(folder, tensor.name, said.get("location", ""))
        length = said.get("length", "")
        total += int(length) if length.isdecimal() else file.stat().st_size
        if total > GRAPH_LIMIT_BYTES:
            raise EngineError(f"its constants are larger than {GRAPH_LIMIT_BYTES >> 20} MiB, which is all edge takes")
        try:
            load_external_data_for_tensor(tensor, str(folder))
        except (OSError, ValueError, onnx.checker.ValidationError) as error:
            raise EngineError(f"constant {tensor.name!r} cannot be read from {file}: {_first_line(error)}") from error
        tensor.ClearField("external_data")
        tensor.data_location = TensorProto.DEFAULT


def _beside(folder: Path, name: str, location: str) -> Path:
    """The file that a constant lies in; links must not lead out of the folder either."""
    if "\0" in location or not (file := (folder / location).resolve()).is_relative_to(folder):
        raise EngineError(f"constant {name!r} is in {location!r}, outside the model's folder; refused")
    if not file.is_file():
        raise EngineError(f"constant {name!r} is in {location!r}, which is not beside the model")
    return file


# ------------------------------------------------------------------------------------------------------------ checking


def check_foreign(model: ModelProto) -> None:
    """Raise EngineError for what is not valid ONNX, or is but not what edge can wrap."""
    nodes = [node for graph in all_graphs(model.graph) for node in graph.node]
    _refuse_unreadable_quantisation(nodes)
    if odd := [node for node in nodes if node.domain not in ("", "ai.onnx")]:
        raise EngineError(
            f"it has operators that are not ONNX's own: {_listed(odd)}."
            " Export it again without the optimisations of one runtime"
        )
    if any(node.op_type == "BatchNormalization" and attributes(node).get("training_mode") for node in nodes):
        raise EngineError("it was exported while in training; call net.eval() before torch.onnx.export")
    try:
        onnx.checker.check_model(model, full_check=True)
    except (*INVALID, ValueError) as error:  # ValueError: text that is not UTF-8, types that there are not
        raise EngineError(f"it is not valid ONNX: {_first_line(error)}") from error
    _check_constants(model)


def _refuse_unreadable_quantisation(nodes: Sequence[NodeProto]) -> None:
    if found := [node for node in nodes if node.op_type in _UNREADABLY_QUANTISED]:
        raise EngineError(
            f"it is quantised in a form that edge does not take: {_listed(found)}."
            " Give the float model, edge quantises it itself; or one with QuantizeLinear and DequantizeLinear"
        )


def _listed(nodes: Sequence[NodeProto]) -> str:
    """For each kind how many and which: "com.microsoft.FusedConv (4: conv1, conv2, conv3, …)"."""
    kinds = Counter(f"{node.domain}.{node.op_type}".lstrip(".") for node in nodes)
    return "; ".join(f"{kind} ({count}: {_names(nodes, kind)})" for kind, count in kinds.items())


def _names(nodes: Sequence[NodeProto], kind: str) -> str:
    alike = [node for node in nodes if f"{node.domain}.{node.op_type}".lstrip(".") == kind]
    names = [f"{node.name}" or f"-> {(*node.output, '?')[0]}" for node in alike]
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def _check_constants(model: ModelProto) -> None:
    for tensor in _tensors(model):
        try:
            values = numpy_helper.to_array(tensor)
        except (ValueError, TypeError) as error:
            raise EngineError(f"constant {tensor.name!r} is damaged: {_first_line(error)}") from error
        if tensor.data_type not in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE):
            continue
        broken = np.isnan(values) if values.size == 1 else ~np.isfinite(values)  # a lone infinity is a bound
        if broken.any():
            raise EngineError(
                f"constant {tensor.name!r} holds NaN or infinity in {int(broken.sum())} of {values.size} places;"
                " training went astray, or the export did"
            )


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__).strip()


def precision_of(model: ModelProto) -> Precision:
    """What a model computes in."""
    if any(node.op_type in _QUANTISED for graph in all_graphs(model.graph) for node in graph.node):
        return "int8"
    halves = any(tensor.data_type == TensorProto.FLOAT16 for tensor in _tensors(model))
    return "fp16" if halves or _element(model) == TensorProto.FLOAT16 else "fp32"


def _element(model: ModelProto) -> int:
    return only_input(model).type.tensor_type.elem_type


def is_symmetric(model: ModelProto) -> bool:
    """Whether a quantised model has zero points of 0 and signed bytes only, as TensorRT wants."""
    constants = {init.name: init for graph in all_graphs(model.graph) for init in graph.initializer}
    for node in (n for n in model.graph.node if n.op_type in _QUANTISED):
        point = constants.get(node.input[2]) if len(node.input) > 2 else None
        if point is None or point.data_type != TensorProto.INT8 or numpy_helper.to_array(point).any():
            return False
    return True


# ---------------------------------------------------------------------------------------------------------- input size


def fix_input(model: ModelProto, input_wh: tuple[int, int] | None, layout: Layout | None) -> tuple[int, int]:
    """Give the input a fixed size, one image, and work out all that depends on it. The size is returned, as (W, H).

    `input_wh` is what the card says, if it does; the model's own sizes win no argument: the two must agree.

    Raises:
        EngineError: they do not, or neither says it.
    """
    entrance = only_input(model)
    dims = entrance.type.tensor_type.shape.dim
    sizes = [dim.dim_value if dim.dim_value > 0 else None for dim in dims]
    if len(sizes) != 4:
        raise EngineError(f"input {describe(entrance)}: expected an image, (1, 3, H, W) or (1, H, W, 3)")
    if sizes[0] not in (None, 1):
        raise EngineError(f"input {describe(entrance)}: is for {sizes[0]} images at once; export it for a batch of 1")
    last = _channels_last(sizes, layout, describe(entrance))
    found = (sizes[2], sizes[1]) if last else (sizes[3], sizes[2])
    width, height = _agreed_size(found, input_wh, describe(entrance))
    if not all(MIN_SIZE <= size <= MAX_SIZE for size in (width, height)):
        raise EngineError(f"the input is {width}x{height} pixels, expected {MIN_SIZE} to {MAX_SIZE} each")
    fixed = (1, height, width, 3) if last else (1, 3, height, width)
    for dim, size in zip(dims, fixed, strict=True):
        dim.dim_value = size
    _forget_shapes(model)
    fold_shapes(model)
    return width, height


def _channels_last(sizes: Sequence[int | None], layout: Layout | None, found: str) -> bool:
    first, last = sizes[1] in (None, 3), sizes[3] in (None, 3)
    if layout is not None and not (last if layout == "nhwc" else first):
        raise EngineError(f"input {found}: is not {layout} of 3 channels, which the card says it is")
    if layout is not None:
        return layout == "nhwc"
    if sizes[1] == 3 or sizes[3] == 3:
        return sizes[1] != 3
    if not (first or last):
        raise EngineError(
            f"input {found}: has {_odd_channels(sizes)} channels, expected 3, those of a camera image."
            " Put what makes the others of the image into the net before it is exported"
        )
    if first and last:
        return False  # all is dynamic: as torch has it
    return last


def _odd_channels(sizes: Sequence[int | None]) -> int | None:
    """The one of the two places that can be channels: the smaller."""
    return min(size for size in (sizes[1], sizes[3]) if size is not None)


def _agreed_size(
    found: tuple[int | None, int | None], declared: tuple[int, int] | None, entrance: str
) -> tuple[int, int]:
    if declared is None:
        if found[0] is None or found[1] is None:
            raise EngineError(f"input {entrance}: leaves the size open; say it in the card, input.size: 640x480")
        return found[0], found[1]
    if all(size in (None, want) for size, want in zip(found, declared, strict=True)):
        return declared
    sizes = "x".join(str(size or "?") for size in found)
    text = f"input {entrance}: is {sizes} (width x height), the card says {declared[0]}x{declared[1]}"
    if all(size in (None, want) for size, want in zip(found, declared[::-1], strict=True)):
        raise EngineError(f"{text}: width and height are swapped, in the card or in the export")
    raise EngineError(text)


def _forget_shapes(model: ModelProto) -> None:
    """All but the input's: they speak of open sizes."""
    del model.graph.value_info[:]
    for output in model.graph.output:
        for dim in output.type.tensor_type.shape.dim:
            dim.Clear()


def fold_shapes(model: ModelProto) -> None:
    """Put numbers in the place of arithmetic on shapes, now that sizes are fixed; older TensorRTs are bad at it.

    Raises:
        EngineError: the net cannot take this size.
    """
    _name_constants(model)
    while _fold(model, onnx.shape_inference.infer_shapes(model, data_prop=True)):
        pass
    try:
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        raise EngineError(f"the net does not take images of this size: {_first_line(error)}") from error
    for output, known in zip(model.graph.output, inferred.graph.output, strict=True):
        output.CopyFrom(known)


def _name_constants(model: ModelProto) -> None:
    """Constant nodes become initialisers."""
    graph = model.graph
    outputs = {output.name for output in graph.output}
    for node in [n for n in graph.node if n.op_type == "Constant" and n.output[0] not in outputs]:
        tensor = attributes(node).get("value") or numpy_helper.from_array(_evaluated(node, model, {}))
        graph.initializer.add().CopyFrom(tensor)
        graph.initializer[-1].name = node.output[0]
        graph.node.remove(node)


def _fold(model: ModelProto, inferred: ModelProto) -> bool:
    """Whether anything was found to fold."""
    graph = model.graph
    outputs = {output.name for output in graph.output}
    values = [*inferred.graph.value_info, *inferred.graph.input]
    shapes = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in values}
    known = {i.name: numpy_helper.to_array(i) for i in graph.initializer if math.prod(i.dims) <= FOLDED_ELEMENTS}
    folded = []
    for node in graph.node:
        value = None if node.output[0] in outputs else _value(node, model, known, shapes)
        if value is not None and value.size <= FOLDED_ELEMENTS:
            known[node.output[0]] = value
            graph.initializer.append(numpy_helper.from_array(value, node.output[0]))
            folded.append(node)
    for node in folded:
        graph.node.remove(node)
    return bool(folded)


def _value(
    node: NodeProto, model: ModelProto, known: dict[str, NDArray[Any]], shapes: dict[str, list[int]]
) -> NDArray[Any] | None:
    """What a node gives whatever the image is; None if it depends on it."""
    if node.op_type == "Shape":
        shape, given = shapes.get(node.input[0], []), attributes(node)
        whole = shape and all(shape)
        return np.array(shape[given.get("start", 0) : given.get("end")], np.int64) if whole else None
    inputs = [name for name in node.input if name]
    if node.op_type not in _FOLDED or not inputs or any(name not in known for name in inputs):
        return None
    return _evaluated(node, model, {name: known[name] for name in inputs})


def _evaluated(node: NodeProto, model: ModelProto, inputs: dict[str, NDArray[Any]]) -> NDArray[Any]:
    try:
        return np.asarray(ReferenceEvaluator(_alone(node, model)).run(None, inputs)[0])
    except Exception as error:  # numpy's errors for a node that asks for what is not there, of many types
        raise EngineError(f"{node.op_type} {node.name or node.output[0]!r} cannot be: {_first_line(error)}") from error


def _alone(node: NodeProto, model: ModelProto) -> ModelProto:
    """A model of one node."""
    entrances = [helper.make_value_info(name, onnx.TypeProto()) for name in dict.fromkeys(node.input) if name]
    exits = [helper.make_value_info(name, onnx.TypeProto()) for name in node.output]
    graph = helper.make_graph([node], "alone", entrances, exits)
    return helper.make_model(graph, opset_imports=model.opset_import)


# --------------------------------------------------------------------------------------------------- types and versions


def widen(model: ModelProto) -> None:
    """Make float32 of half floats. Every half is a float32, so that weights keep their values."""
    for graph in all_graphs(model.graph):
        for value in [*graph.input, *graph.output, *graph.value_info]:
            if value.type.tensor_type.elem_type == TensorProto.FLOAT16:
                value.type.tensor_type.elem_type = TensorProto.FLOAT
        for attribute in (a for node in graph.node for a in node.attribute if a.name in ("to", "dtype")):
            if attribute.i == TensorProto.FLOAT16:
                attribute.i = TensorProto.FLOAT
    for tensor in _tensors(model):
        if tensor.data_type == TensorProto.FLOAT16:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))


def _keep_asymmetric(model: ModelProto) -> None:
    """Say of each Resize what it meant where it had no attribute to say so: the converter leaves that out
    (onnx/onnx#8480), and the defaults are others since opset 11.
    """
    resizes = [node for graph in all_graphs(model.graph) for node in graph.node if node.op_type == "Resize"]
    meaning = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    for node in resizes:
        kept = [attribute for attribute in node.attribute if attribute.name not in meaning]
        del node.attribute[:]
        node.attribute.extend([*kept, *(helper.make_attribute(name, value) for name, value in meaning.items())])


def to_known_opset(model: ModelProto) -> ModelProto:
    """The model in opset 17 where it can be said in that; else as it is, if `wrap` can write it.

    Raises:
        EngineError: it is older than `wrap` can write, and cannot be converted.
    """
    found = opset_of(model)
    if found == OPSET:
        return model
    changed = ModelProto()
    changed.CopyFrom(model)
    try:
        if found > OPSET:
            lower_opset(changed)
            return changed
        changed = version_converter.convert_version(changed, OPSET)
        if found <= _ASYMMETRIC_TO:
            _keep_asymmetric(changed)
        changed.ir_version = IR_VERSION
        onnx.checker.check_model(changed, full_check=True)
        return changed
    except (*INVALID, RuntimeError, version_converter.ConvertError) as error:
        if found < WRAPPED_FROM:
            raise EngineError(
                f"it is of opset {found}, and cannot be converted to {OPSET} ({_first_line(error)});"
                f" export it again with opset_version={OPSET}"
            ) from error
        return model  # newer TensorRTs and OpenVINO read it; the card says which opset it is
