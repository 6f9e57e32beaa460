"""A net trained elsewhere, as an engine: its ONNX file and a card file that says what ONNX has no place for.

    adopted = adopt(Path("city.onnx"), Path("city.yaml"))
    write_bundle(folder, adopted.files, adopted.card)

The graph of the bundle is compared with what the file gives when it is used as its makers use it: the image scaled by
numpy, the net run by ONNX Runtime, its answer stretched by OpenCV. See docs/bring-your-own-net.md.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto

import edge
from edge.card import Card, Graph, Versions
from edge.classes import ClassTable
from edge.compile.card_file import CardFile, load_card_file
from edge.compile.foreign import (
    Precision,
    fix_input,
    is_symmetric,
    load_foreign,
    precision_of,
    to_known_opset,
    widen,
)
from edge.compile.head import Head, chosen_output, only_input, read_head, read_output
from edge.compile.one_channel import to_two_channels
from edge.compile.portable import INVALID, forget_origin, halve_weights, opset_of
from edge.compile.rewrite import rewrite
from edge.compile.trial import run_in_subprocess, trial
from edge.compile.wrap import outputs_of, wrap
from edge.engine import MODEL_FILE
from edge.errors import EngineError
from edge.frame import Image

# Runtimes round half floats and bytes at different places, which turns near ties: in OpenVINO and ONNX Runtime, INT8
# graphs of road agree on 99.7 to 99.9 % of street pixels. Float32 leaves next to none.
AGREEMENT_WANTED: Mapping[Precision, float] = {"fp32": 0.999, "fp16": 0.99, "int8": 0.99}
COMPARED_FRAMES = 4
REST = ("other", "background")  # a class of such a name takes the ids that label_map does not name


# ------------------------------------------------------------------------------------------------------------ adoption


@dataclass(frozen=True)
class Adopted:
    """A bundle to be written: `write_bundle(folder, adopted.files, adopted.card)`.

    `agreement` is the part of all compared pixels that have the class which the net itself gives them.
    """

    card: Card
    files: Mapping[str, bytes]
    agreement: float


def adopt(onnx_path: Path, card_path: Path, images: Sequence[Image] = ()) -> Adopted:
    """An engine of an ONNX file made elsewhere.

    It is tried on `images`, uint8 (H, W, 3) BGR of the input's size, or on frames of the rendered street.

    Raises:
        ConfigError: the card file is not in order.
        EngineError: the net is not one that edge can take, or the engine does not give what the net gives.
    """
    spec = load_card_file(card_path)
    model = load_foreign(onnx_path)
    made_by = f"{model.producer_name or 'unknown'} {model.producer_version}".strip()
    origin = Origin(str(onnx_path), made_by, spec.net or onnx_path.stem, _sha256(card_path.read_bytes()))
    try:
        input_wh = fix_input(model, spec.input.size_wh, spec.input.layout)
        frames = checked_frames(images, input_wh)
        answers = _answers(model, spec, frames)
    except EngineError as error:
        raise EngineError(f"{onnx_path}: {error}") from error
    return adopt_model(model, spec, origin, frames, answers)


@dataclass(frozen=True)
class Origin:
    """Where a net comes from: `path` for messages, the rest for the card."""

    path: str
    made_by: str
    net: str
    card_sha256: str


def adopt_model(
    model: ModelProto, spec: CardFile, origin: Origin, frames: Sequence[Image], answers: NDArray[Any]
) -> Adopted:
    """An engine of a net with one input of fixed size. `answers` (N, ...) are what its head gives for the frames.

    The model is used up.

    Raises:
        EngineError: as `adopt`.
    """
    height, width, _ = frames[0].shape
    precision = precision_of(model)
    try:
        _check_answers(answers)
        if spec.threshold is not None:
            model, answers = to_two_channels(model, spec.output, answers, spec.threshold)
        plain = _prepared(model, spec.output, answers)
        head = read_head(plain, (width, height), spec.output)
        _check_whole(head, answers)
        labels = _labels(spec, head)
        content = _finished(plain, spec, (width, height), labels)
        found = trial(content, frames, "int8" if precision == "int8" else "f32")
        wanted = expected_classes(answers, read_output(plain, (width, height), spec.output), (width, height), labels)
        agreement = float(np.mean(found == wanted))
        _check_agreement(agreement, precision)
        _check_ids(found, spec.table)
    except EngineError as error:
        raise EngineError(f"{origin.path}: {error}") from error
    graph, files = _file(plain, precision, content)
    card = _card(spec, origin, plain, graph, (width, height))
    outputs = outputs_of(onnx.load_from_string(content), [further.output for further in spec.outputs])
    return Adopted(dataclasses.replace(card, outputs=outputs), files, agreement)


def checked_frames(images: Sequence[Image], input_wh: tuple[int, int]) -> Sequence[Image]:
    """The images, or frames of the rendered street if there are none.

    Raises:
        EngineError: an image is not uint8 (H, W, 3) of the input's size.
    """
    for image in images:
        if image.dtype != np.uint8 or image.shape != (*input_wh[::-1], 3):
            raise EngineError(f"an image to compare is {image.dtype} {image.shape}, the input is {input_wh} (w, h)")
    return images or rendered(input_wh)


def rendered(input_wh: tuple[int, int]) -> list[Image]:
    """uint8 (H, W, 3) BGR frames of the rendered street."""
    from edge.street.render import StreetScene  # late: rendering is only for those who bring no frames

    scene = StreetScene(seed=1, size_wh=input_wh)
    return [scene.render(index * 45).image for index in range(COMPARED_FRAMES)]


def _prepared(model: ModelProto, output: str | None, answers: NDArray[Any]) -> ModelProto:
    """In float32 or INT8, in opset 17 where it can be, the head's shape known."""
    plain = to_known_opset(model)
    widen(plain)
    plain = rewrite(plain)
    head = chosen_output(plain, output)
    element = head.type.tensor_type.elem_type
    head.CopyFrom(onnx.helper.make_tensor_value_info(head.name, element, answers.shape[1:]))
    return plain


def _finished(plain: ModelProto, spec: CardFile, input_wh: tuple[int, int], labels: list[int] | None) -> bytes:
    kept = [further.output for further in spec.outputs]
    wrapped = wrap(plain, input_wh, spec.input.scaling, output=spec.output, labels=labels, kept=kept)
    halve_weights(wrapped)
    forget_origin(wrapped)
    try:
        onnx.checker.check_model(wrapped, full_check=True)
    except INVALID as error:
        raise EngineError(f"wrapped, it is not valid ONNX any more: {error}") from error
    return wrapped.SerializeToString(deterministic=True)


def _file(plain: ModelProto, precision: Precision, content: bytes) -> tuple[Graph, dict[str, bytes]]:
    """An INT8 graph that is not in TensorRT's form is for OpenVINO alone."""
    if precision != "int8":
        name, kind, runtime = MODEL_FILE, "fp32", "any"
    elif is_symmetric(plain):
        name, kind, runtime = "int8.onnx", "int8", "any"
    else:
        name, kind, runtime = "int8.openvino.onnx", "int8", "openvino"
    return Graph(name, kind, runtime, _sha256(content)), {name: content}


def _card(spec: CardFile, origin: Origin, plain: ModelProto, graph: Graph, input_wh: tuple[int, int]) -> Card:
    table = spec.table
    return Card(
        name=spec.name,
        description=spec.description or f"{', '.join(table.names)}, at {input_wh[0]}x{input_wh[1]}",
        table=table,
        input_wh=input_wh,
        resize=spec.resize,
        net=origin.net,
        precision=graph.precision,
        training_data=spec.training_data,
        licence=spec.licence,
        trained_steps=0,
        recipe_sha256=origin.card_sha256,
        created=dt.datetime.now(dt.timezone.utc).date().isoformat(),
        versions=Versions(edge=edge.__version__, torch=origin.made_by, opset=opset_of(plain)),
        graphs=(graph,),
        weights_sha256=_weights_sha256(plain),
    )


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _weights_sha256(model: ModelProto) -> str:
    """A hash of names, types and values, independent of the graph's order."""
    digest = hashlib.sha256()
    for init in sorted(model.graph.initializer, key=lambda item: item.name):
        values = onnx.numpy_helper.to_array(init)
        digest.update(f"{init.name} {values.dtype} {values.shape}\n".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


# -------------------------------------------------------------------------------------------------------------- labels


def _labels(spec: CardFile, head: Head) -> list[int] | None:
    """The table's id for each id of the net; None if they are the same."""
    table = spec.table
    if spec.label_map is None:
        if head.kind == "logits" and head.channels != len(table):
            raise EngineError(
                f"the net has {head.channels} classes, the card {len(table)} ({', '.join(table.names)});"
                " list all of them in the net's order, or say with label_map which is which"
            )
        return None
    count = head.channels if head.kind == "logits" else 256
    if beyond := [key for key in spec.label_map if key >= count]:
        raise EngineError(f"label_map names id {beyond[0]}, the net's ids go from 0 to {count - 1}")
    rest = next((index for index, name in enumerate(table.names) if name.lower() in REST), None)
    unnamed = [index for index in range(count) if index not in spec.label_map]
    if unnamed and rest is None:
        which = f"ids {', '.join(map(str, unnamed))}" if head.kind == "logits" else "every other id of a class map"
        raise EngineError(
            f"label_map does not say what becomes of {which}, and no class of the card is called Other or"
            " Background; name them, or add such a class for the rest"
        )
    ids = {key: table.names.index(name) for key, name in spec.label_map.items()}
    return [ids.get(index, rest if rest is not None else 0) for index in range(count)]


# ------------------------------------------------------------------------------------------------------------ agreement


def scaled(frames: Sequence[Image], spec: CardFile, *, last: bool, dtype: Any) -> NDArray[Any]:
    """(N, 3, H, W), or (N, H, W, 3) with channels `last`: frames as the net's makers feed it, by numpy."""
    images = np.stack(frames).astype(np.float32)
    if spec.input.order == "rgb":
        images = images[..., ::-1]
    if spec.input.pixels == "0..1":
        images = images / np.float32(255)
    x = (images - np.array(spec.input.mean, np.float32)) / np.array(spec.input.std, np.float32)
    return np.ascontiguousarray(x if last else x.transpose(0, 3, 1, 2)).astype(dtype)


def _answers(model: ModelProto, spec: CardFile, frames: Sequence[Image]) -> NDArray[Any]:
    """(N, ...): what the head gives, by ONNX Runtime where it is installed."""
    head, tensor = chosen_output(model, spec.output), only_input(model).type.tensor_type
    last = tensor.shape.dim[1].dim_value != 3
    inputs = scaled(frames, spec, last=last, dtype=onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    runtime = "onnxruntime" if importlib.util.find_spec("onnxruntime") else "openvino"
    return run_in_subprocess(model.SerializeToString(), inputs, runtime=runtime, output=head.name)


def _check_answers(answers: NDArray[Any]) -> None:
    if np.issubdtype(answers.dtype, np.floating) and (share := float(np.isnan(answers).mean())):
        raise EngineError(
            f"the net itself gives NaN, in {share:.1%} of its answers; is it fed as the card says,"
            " and does it compute in half floats what is too large for them?"
        )


def _check_whole(head: Head, answers: NDArray[Any]) -> None:
    """Class ids that came as floats are whole; probabilities of one class are not."""
    if head.kind == "ids" and not np.array_equal(answers, np.trunc(answers)):
        raise EngineError(
            f"output {head.name!r}: a class map is expected to hold whole numbers, this one holds fractions. If they"
            " are probabilities, or logits, of one class: add `threshold: 0.5` to the card file"
        )


def expected_classes(
    answers: NDArray[Any], head: Head, input_wh: tuple[int, int], labels: Sequence[int] | None
) -> Image:
    """uint8 (N, H, W): the classes in what a head gave, by OpenCV and numpy."""
    ids = np.stack([_ids(answer, head, input_wh) for answer in answers])
    table = np.arange(256) if labels is None else np.array(labels)
    return table[np.clip(ids, 0, len(table) - 1)].astype(np.uint8)


def _ids(answer: NDArray[Any], head: Head, input_wh: tuple[int, int]) -> NDArray[np.int64]:
    """int64 (H, W)."""
    if head.kind == "ids":
        small = answer.reshape(head.size_hw).astype(np.float32)
        return cv2.resize(small, input_wh, interpolation=cv2.INTER_NEAREST_EXACT).astype(np.int64)
    planes = answer[0].transpose(2, 0, 1) if head.channels_last else answer[0]
    return np.stack([cv2.resize(plane.astype(np.float32), input_wh) for plane in planes]).argmax(0)


def _check_agreement(agreement: float, precision: Precision) -> None:
    if agreement >= (wanted := AGREEMENT_WANTED[precision]):
        return
    text = f"not adopted, the engine agrees with the net itself on {agreement:.2%} of pixels, expected {wanted:.1%}"
    if precision == "int8":
        text += "; OpenVINO may misread this form of quantisation: give the float model, edge quantises it itself"
    raise EngineError(text)


def _check_ids(found: Image, table: ClassTable) -> None:
    """The ids of a class map are unknown before it was seen."""
    if (highest := int(found.max())) >= len(table):
        raise EngineError(
            f"the net gives class id {highest}, the card has {len(table)} classes, 0 to {len(table) - 1};"
            " list all of them, or say with label_map which is which"
        )
