"""A trained net into a bundle: one ONNX graph that takes a camera's bytes and gives class ids.

    uint8 (1, H, W, 3) BGR -> float -> (x - mean) * scale -> net -> bilinear to H x W -> argmax -> uint8 (1, H, W)

Of the forms that are exact, each step has the one that was fastest in OpenVINO (2026.4, DDRNet-23-slim, 480x360, 11
classes, Zen 5) and that TensorRT reads from version 8.5 on: operator set 17, uint8 only next to a Cast, no TopK.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import logging
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import AttributeProto, ModelProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn

import edge
from edge.backends.openvino import import_openvino
from edge.card import Card, Graph, Measured, Versions
from edge.classes import CAMVID
from edge.engine import MODEL_FILE, Bundle, write_bundle
from edge.errors import EngineError
from edge.frame import Image
from edge.nets import make_net
from edge.train.recipe import Recipe

OPSET = 17  # the newest that TensorRT 8.5 and 8.6 read right; they misread newer ones without a word
IR_VERSION = 8  # the one of opset 17
HALF_FROM_ELEMENTS = 4096  # smaller weights stay float32: they weigh nothing, and the first convolution is among them
AGREEMENT_WANTED = 0.999
PARITY_FRAMES = 8


@dataclass(frozen=True)
class InputScaling:
    """How bytes become a net's input: (x - mean) * scale for each channel in the net's order. Ours take BGR in 0..1."""

    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: tuple[float, float, float] = (1 / 255, 1 / 255, 1 / 255)
    order: Literal["bgr", "rgb"] = "bgr"


OURS = InputScaling()


@dataclass(frozen=True)
class Parity:
    """How well an exported graph agrees with its net.

    `agreement` is the part of all pixels with the same class. Where they differ, `widest_margin` is by how much, at
    most, the net preferred its class over the graph's, in units of its logits: near 0, they were ties.
    """

    agreement: float
    widest_margin: float


# ----------------------------------------------------------------------------------------------------------- the graph


class BytesToClasses(nn.Module):
    """A net with all that surrounds it in the graph: uint8 (1, H, W, 3) BGR to uint8 (1, H, W) class ids."""

    def __init__(self, net: nn.Module, input_wh: tuple[int, int], scaling: InputScaling) -> None:
        super().__init__()
        self.net, self.size_wh = net, input_wh
        self.flip = scaling.order == "rgb"
        bgr = slice(None, None, -1) if self.flip else slice(None)
        self.centred = any(scaling.mean)
        self.register_buffer("mean", _uniform(scaling.mean[bgr]))
        self.register_buffer("scale", _uniform(scaling.scale[bgr]))
        width, height = input_wh
        with torch.no_grad():
            logits = net(torch.zeros(1, 3, height, width))
        self.rows = RowBlend(logits.shape[2], height)
        self.register_buffer("columns", _bilinear_matrix(logits.shape[3], width).T.contiguous())

    def forward(self, image: Tensor) -> Tensor:
        # Scaled before it is transposed: with arithmetic in between, OpenVINO's convolution reads NHWC as it lies. With
        # 1/255 folded into the first weights instead, it transposes twice (0.3 ms of 28, on one core).
        x = image.float()
        if self.centred:  # padding comes after, in the net, so that its zeros stay zeros
            x = x - self.mean
        x = x * self.scale
        if self.flip:
            x = x[..., [2, 1, 0]]
        # Contiguous costs nothing in the graph; without, the exporter spells strides out around a global pooling.
        logits = self.net(x.permute(0, 3, 1, 2).contiguous())
        return self._classes(logits @ self.columns)

    def _classes(self, wide: Tensor) -> Tensor:
        """uint8 (1, H, W) argmax of logits (1, C, h, W) that still have to be stretched in height.

        Class by class, so that the stretched logits are never stored: a compiler fuses blend and comparison. On one
        core, in float32, from logits to classes: 1.0 ms; with a second matrix product and ArgMax 1.4, with Resize and
        ArgMax 8.7. Strictly greater: of equals, the lowest id wins.
        """
        above, below = self.rows(wide)
        scores = [self.rows.blend(*pair) for pair in zip(above.split(1, 1), below.split(1, 1), strict=True)]
        best, classes = scores[0], torch.zeros(())
        for index, score in enumerate(scores[1:], start=1):
            better = score > best
            classes = torch.where(better, torch.tensor(float(index)), classes)
            best = torch.maximum(score, best)
        return classes.reshape(1, *self.size_wh[::-1]).to(torch.uint8)


class RowBlend(nn.Module):
    """Bilinear interpolation in height, as F.interpolate(align_corners=False) has it: each row of the output blends the
    same two rows of the input as its neighbours do, so rows are fetched once per group of neighbours.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        above, below, share = _bilinear(inputs, outputs)
        changes = (np.flatnonzero(np.diff(above)) + 1).tolist()
        group = math.gcd(outputs, *changes)
        self.register_buffer("above", torch.from_numpy(above[::group].copy()))
        self.register_buffer("below", torch.from_numpy(below[::group].copy()))
        share = share.reshape(1, 1, outputs // group, group, 1)
        self.register_buffer("share_above", torch.from_numpy(1 - share))
        self.register_buffer("share_below", torch.from_numpy(share))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The rows above and below, each (N, C, groups, 1, W), of x (N, C, h, W)."""
        return tuple(x.index_select(2, rows).unsqueeze(3) for rows in (self.above, self.below))

    def blend(self, above: Tensor, below: Tensor) -> Tensor:
        """(N, C, groups, group, W), which is (N, C, H, W)."""
        return above * self.share_above + below * self.share_below


def _bilinear(inputs: int, outputs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each output cell: the two input cells it lies between, int64, and the second one's share, float32."""
    position = np.maximum((np.arange(outputs) + 0.5) * (inputs / outputs) - 0.5, 0)
    first = np.floor(position).astype(np.int64)
    return first, np.minimum(first + 1, inputs - 1), (position - first).astype(np.float32)


def _bilinear_matrix(inputs: int, outputs: int) -> Tensor:
    """float32 (outputs, inputs): interpolates a column."""
    first, second, share = _bilinear(inputs, outputs)
    matrix = np.zeros((outputs, inputs), np.float32)
    np.add.at(matrix, (np.arange(outputs), first), 1 - share)
    np.add.at(matrix, (np.arange(outputs), second), share)
    return torch.from_numpy(matrix)


def _uniform(values: Sequence[float]) -> Tensor:
    """A scalar if all are equal, else a vector."""
    return torch.tensor(values[0] if len(set(values)) == 1 else values)


def export_onnx(net: nn.Module, input_wh: tuple[int, int], scaling: InputScaling = OURS) -> bytes:
    """The ONNX file of a net: bytes in, classes out, weights stored as half floats.

    `net` takes float (1, 3, H, W) and gives two or more classes' logits (1, C, h, w); it is put into evaluation mode.

    Raises:
        EngineError: the net holds something that cannot be exported.
    """
    model = _traced(BytesToClasses(net.eval(), input_wh, scaling).eval(), input_wh)
    _forget_origin(model)
    _lower_opset(model)
    _halve_weights(model)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise EngineError(f"the net cannot be said in ONNX opset {OPSET}: {error}") from error
    return model.SerializeToString(deterministic=True)


def _traced(module: nn.Module, input_wh: tuple[int, int]) -> ModelProto:
    image = torch.zeros(1, *input_wh[::-1], 3, dtype=torch.uint8)
    names: dict[str, Any] = {"input_names": ["image"], "output_names": ["classes"]}
    try:
        with _quiet():
            program = torch.onnx.export(module, (image,), dynamo=True, opset_version=18, verbose=False, **names)
    except torch.onnx.OnnxExporterError as error:
        raise EngineError(f"torch cannot export the net: {str(error).splitlines()[0]}") from error
    assert program is not None  # it is None only when a file is written
    return program.model_proto


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns of torchvision's absence, of its own deprecations and of what it does not optimise; none of it
    is the user's concern.
    """
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _forget_origin(model: ModelProto) -> None:
    """Drop stack traces, which hold paths of this machine and make up a tenth of the nodes' size, and shape notes."""
    del model.metadata_props[:]
    for node in model.graph.node:
        del node.metadata_props[:]
        node.ClearField("doc_string")
    del model.graph.value_info[:]
    del model.graph.metadata_props[:]
    for value in [*model.graph.input, *model.graph.output, *model.graph.initializer]:
        value.ClearField("doc_string")
        del value.metadata_props[:]


_DEFAULTS_SINCE_18 = {"antialias": 0, "keep_aspect_ratio_policy": b"stretch", "noop_with_empty_axes": 0}
_REDUCTIONS = ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2")  # ReduceSum changed in 13


def _lower_opset(model: ModelProto) -> None:
    """From opset 18, the exporter's lowest, to 17. What cannot be said in 17 is left, and the checker refuses it."""
    constants = {init.name: init for init in model.graph.initializer}
    for node in model.graph.node:
        kept = [a for a in node.attribute if not _is_void_in_17(a)]
        if node.op_type in _REDUCTIONS and len(node.input) == 2 and node.input[1] in constants:
            kept.append(helper.make_attribute("axes", numpy_helper.to_array(constants[node.input[1]]).tolist()))
            del node.input[1:]
        del node.attribute[:]
        node.attribute.extend(kept)
    _drop_unused(model)
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", OPSET))
    model.ir_version = IR_VERSION


def _is_void_in_17(attribute: AttributeProto) -> bool:
    """Whether an attribute came with opset 18 and says what 17 does anyway; Split divides evenly unless told sizes."""
    name = attribute.name
    if name == "num_outputs":
        return True
    return name in _DEFAULTS_SINCE_18 and helper.get_attribute_value(attribute) == _DEFAULTS_SINCE_18[name]


def _drop_unused(model: ModelProto) -> None:
    used = {name for node in model.graph.node for name in node.input}
    kept = [i for i in model.graph.initializer if i.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def _halve_weights(model: ModelProto) -> None:
    """Store convolution weights as half floats, cast back in the graph, which halves the file. Runtimes fold the casts
    when they compile, so nothing is slower; sums and products stay float32.
    """
    weights = {node.input[1] for node in model.graph.node if node.op_type in ("Conv", "ConvTranspose")}
    casts = []
    for init in model.graph.initializer:
        if init.name in weights and init.data_type == TensorProto.FLOAT and math.prod(init.dims) >= HALF_FROM_ELEMENTS:
            half = numpy_helper.to_array(init).astype(np.float16)
            casts.append(helper.make_node("Cast", [f"{init.name}.half"], [init.name], to=TensorProto.FLOAT))
            init.CopyFrom(numpy_helper.from_array(half, f"{init.name}.half"))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


# -------------------------------------------------------------------------------------------------------------- parity


@torch.no_grad()
def parity(net: nn.Module, model: bytes, images: Sequence[Image], scaling: InputScaling = OURS) -> Parity:
    """How well the graph, run by OpenVINO in float32, agrees with the net, run by torch with its own resize and argmax.

    `images` are uint8 (H, W, 3) BGR of the graph's input size.
    """
    openvino = import_openvino()
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(model, b""), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    same, total, widest = 0, 0, 0.0
    for image in images:
        logits = _reference(net, image, scaling)
        wanted = logits.argmax(0)
        found = torch.from_numpy(compiled([image[None]])[0][0].astype(np.int64))
        margin = logits.max(0).values - logits.gather(0, found[None])[0]
        same += int((wanted == found).sum())
        total += found.numel()
        widest = max(widest, float(margin.max()))
    return Parity(same / total, widest)


def _reference(net: nn.Module, image: Image, scaling: InputScaling) -> Tensor:
    """float (C, H, W): the net's logits at input size, by torch's own means."""
    pixels = torch.from_numpy(np.ascontiguousarray(image[..., ::-1] if scaling.order == "rgb" else image)).float()
    x = (pixels - torch.tensor(scaling.mean)) * torch.tensor(scaling.scale)
    logits = net.eval()(x.permute(2, 0, 1)[None])
    return F.interpolate(logits, size=image.shape[:2], mode="bilinear", align_corners=False)[0]


# ---------------------------------------------------------------------------------------------------------- the bundle


def make_bundle(recipe: Recipe, checkpoint: Path, folder: Path, images: Sequence[Image] = ()) -> Bundle:
    """Export the averaged weights of a training run into a bundle in `folder`.

    The graph is compared with the net on `images`, uint8 (H, W, 3) BGR at the recipe's input size; on frames of the
    rendered street if none are given.

    Raises:
        EngineError: there is no such checkpoint, it is of another net, or the graph does not agree with the net.
    """
    state = _load_checkpoint(checkpoint, recipe)
    table = CAMVID
    net = make_net(recipe.net, len(table)).eval()
    net.load_state_dict(state["averaged"])
    model = export_onnx(net, recipe.input_wh)
    check_parity(parity(net, model, images or _rendered(recipe.input_wh)), str(folder))
    card = Card(
        name=recipe.name,
        description=f"{', '.join(table.groups)} and the other of {len(table)} classes, at {recipe.input_size}",
        table=table,
        input_wh=recipe.input_wh,
        resize=recipe.resize,
        net=recipe.net,
        precision="fp32",
        training_data=recipe.data_note,
        licence=recipe.licence,
        trained_steps=state["step"],
        recipe_sha256=hashlib.sha256(json.dumps(state["recipe"], sort_keys=True).encode()).hexdigest(),
        created=dt.datetime.now(dt.timezone.utc).date().isoformat(),
        versions=Versions(edge=edge.__version__, torch=torch.__version__, opset=OPSET),
        graphs=(Graph(MODEL_FILE, "fp32", "any", hashlib.sha256(model).hexdigest()),),
        weights_sha256=weights_sha256(state["averaged"]),
        measured=Measured(),
    )
    return write_bundle(folder, {MODEL_FILE: model}, card)


def check_parity(found: Parity, origin: str) -> None:
    """Raise EngineError where a graph disagrees with its net."""
    if found.agreement < AGREEMENT_WANTED:
        raise EngineError(
            f"{origin}: not exported, the graph agrees with the net on {found.agreement:.4%} of pixels, wanted are"
            f" {AGREEMENT_WANTED:.1%}; where they differ, the net's logits differ by up to {found.widest_margin:.2g}"
        )


def weights_sha256(state: dict[str, Tensor]) -> str:
    """A hash of names and values, independent of how they are stored."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _load_checkpoint(path: Path, recipe: Recipe) -> dict[str, Any]:
    if not path.is_file():
        raise EngineError(f"{path}: there is no checkpoint. Train first: edge train engines/{recipe.name}.yaml")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen types for a file that is not a checkpoint
        raise EngineError(f"{path}: is not a readable checkpoint: {type(error).__name__}") from error
    if state["recipe"]["net"] != recipe.net:
        raise EngineError(f"{path}: holds a {state['recipe']['net']}, the recipe {recipe.name} is for a {recipe.net}")
    return state


def _rendered(input_wh: tuple[int, int]) -> list[Image]:
    from edge.sources.scene import StreetScene  # late: rendering is only for exports without frames

    scene = StreetScene(seed=1, size_wh=input_wh)
    return [scene.render(index * 45).image for index in range(PARITY_FRAMES)]
