"""A trained net into a bundle: one ONNX graph that takes a camera's bytes and gives class ids.

torch exports the net alone; `edge.compile.wrap` puts what surrounds it into the graph.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import ModelProto, TensorProto
from torch import Tensor, nn

import edge
from edge.backends.openvino import get_core
from edge.card import Card, Graph, Measured, Versions
from edge.compile.portable import INVALID, OPSET, forget_origin, halve_weights, lower_opset
from edge.compile.rewrite import rewrite
from edge.compile.wrap import OURS, InputScaling, outputs_of, wrap
from edge.config import data_path
from edge.engine import MODEL_FILE, Bundle, write_bundle
from edge.errors import EngineError
from edge.frame import Image
from edge.nets import make_net
from edge.nets.heads import Headed
from edge.train.checkpoint import read_checkpoint, weights_sha256
from edge.train.heads import read_heads
from edge.train.recipe import Recipe

AGREEMENT_WANTED = 0.999
PARITY_FRAMES = 8
_LOGITS = "logits"


@dataclass(frozen=True)
class Parity:
    """How well an exported graph agrees with its net.

    `agreement` is the part of all pixels with the same class. Where they differ, `widest_margin` is by how much, at
    most, the net preferred its class over the graph's, in units of its logits: near 0, they were ties.
    """

    agreement: float
    widest_margin: float


# ----------------------------------------------------------------------------------------------------------- the graph


def export_onnx(
    net: nn.Module, input_wh: tuple[int, int], scaling: InputScaling = OURS, *, halve: bool = True
) -> bytes:
    """The ONNX file of a net: bytes in, classes out, weights stored as half floats if `halve`.

    `net` takes float (1, 3, H, W) and gives two or more classes' logits (1, C, h, w); it is put into evaluation mode.

    Raises:
        EngineError: the net holds something that cannot be exported.
    """
    kept = net.further if isinstance(net, Headed) else ()
    plain = rewrite(plain_onnx(net, input_wh))
    model = wrap(plain, input_wh, scaling, output=_LOGITS if kept else None, kept=kept)
    if halve:
        halve_weights(model)
    return model.SerializeToString(deterministic=True)


def plain_onnx(net: nn.Module, input_wh: tuple[int, int]) -> ModelProto:
    """The net alone: `input`, float (1, 3, H, W), in and what it gives out, in opset 17.

    Raises:
        EngineError: the net holds something that cannot be exported.
    """
    model = _traced(net.eval(), input_wh)
    forget_origin(model)
    try:
        lower_opset(model)
    except INVALID as error:
        raise EngineError(f"the net cannot be said in ONNX opset {OPSET}: {error}") from error
    return model


def _traced(net: nn.Module, input_wh: tuple[int, int]) -> ModelProto:
    image = torch.zeros(1, 3, *input_wh[::-1])
    try:
        with _quiet():
            program = torch.onnx.export(
                net,
                (image,),
                dynamo=True,
                opset_version=18,
                verbose=False,
                input_names=["input"],
                output_names=[_LOGITS, *(o.tensor for o in net.further)] if isinstance(net, Headed) else None,
            )
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


# -------------------------------------------------------------------------------------------------------------- parity


@torch.no_grad()
def parity(net: nn.Module, model: bytes, images: Sequence[Image], scaling: InputScaling = OURS) -> Parity:
    """How well the graph, run by OpenVINO in float32, agrees with the net, run by torch with its own resize and argmax.

    `images` are uint8 (H, W, 3) BGR of the graph's input size.
    """
    core = get_core()
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
    found = net.eval()(x.permute(2, 0, 1)[None])
    logits = found[0] if isinstance(found, tuple) else found
    return F.interpolate(logits, size=image.shape[:2], mode="bilinear", align_corners=False)[0]


# ---------------------------------------------------------------------------------------------------------- the bundle


def make_bundle(
    recipe: Recipe, checkpoint: Path, folder: Path, images: Sequence[Image] = (), *, halve: bool | None = None
) -> Bundle:
    """Export the averaged weights of a training run into a bundle in `folder`.

    The graph is compared with the net on `images`, uint8 (H, W, 3) BGR at the recipe's input size; on frames of the
    rendered street if none are given. Weights are stored as half floats where the graph then agrees with the net, else
    whole; `halve` decides that beforehand, for graphs of one bundle must store them alike (`holds_halves`).

    Raises:
        ConfigError: there is no such checkpoint, or it is of another net or other classes.
        EngineError: the graph does not agree with the net.
    """
    state = read_checkpoint(checkpoint, recipe)
    table = recipe.table
    net, weights = _net_of(recipe, state["averaged"])
    model = _agreeing(net, recipe.input_wh, images or rendered_frames(recipe.input_wh), halve, str(folder))
    card = Card(
        name=recipe.name,
        description=f"{', '.join(table.groups)} and the other of {len(table)} classes, at {recipe.input_size}",
        table=table,
        input_wh=recipe.input_wh,
        resize=recipe.resize,
        net=recipe.net,
        precision="fp32",
        training_data=recipe.training_data,
        licence=recipe.licence,
        trained_steps=state["step"],
        recipe_sha256=hashlib.sha256(json.dumps(state["recipe"], sort_keys=True).encode()).hexdigest(),
        created=dt.datetime.now(dt.timezone.utc).date().isoformat(),
        versions=Versions(edge=edge.__version__, torch=torch.__version__, opset=OPSET),
        graphs=(Graph(MODEL_FILE, "fp32", "any", hashlib.sha256(model).hexdigest()),),
        weights_sha256=weights,
        outputs=outputs_of(onnx.load_from_string(model), net.further if isinstance(net, Headed) else ()),
        measured=Measured(),
    )
    return write_bundle(folder, {MODEL_FILE: model}, card)


def _net_of(recipe: Recipe, weights: dict[str, Tensor]) -> tuple[nn.Module, str]:
    """The net with these weights and with the recipe's heads, if it has any; and the hash of both's weights."""
    net = make_net(recipe.net, len(recipe.table)).eval()
    net.load_state_dict(weights)
    if recipe.heads is None or recipe.heads.checkpoint is None:
        return net, weights_sha256(weights)
    heads = read_heads(data_path(recipe.heads.checkpoint), recipe, weights_sha256(weights))["averaged"]
    headed = Headed(net, recipe.heads.names)
    headed.heads.load_state_dict(heads)
    return headed.eval(), weights_sha256({**weights, **{f"heads.{name}": value for name, value in heads.items()}})


def _agreeing(
    net: nn.Module, input_wh: tuple[int, int], images: Sequence[Image], halve: bool | None, origin: str
) -> bytes:
    """The graph, with half-stored weights or, where these cost too much agreement, whole ones: in a SegNet rounding
    moves maxima of its poolings that are nearly ties.
    """
    model = export_onnx(net, input_wh, halve=halve is not False)
    found = parity(net, model, images)
    if halve is None and found.agreement < AGREEMENT_WANTED:
        model = export_onnx(net, input_wh, halve=False)
        found = parity(net, model, images)
    check_parity(found, origin)
    return model


def holds_halves(model: bytes) -> bool:
    """Whether weights of the graph are stored as half floats."""
    constants = onnx.load_from_string(model).graph.initializer
    return any(constant.data_type == TensorProto.FLOAT16 for constant in constants)


def check_parity(found: Parity, origin: str) -> None:
    """Raise EngineError where a graph disagrees with its net."""
    if found.agreement < AGREEMENT_WANTED:
        raise EngineError(
            f"{origin}: not exported, the graph agrees with the net on {found.agreement:.4%} of pixels, expected"
            f" {AGREEMENT_WANTED:.1%}; where they differ, the net's logits differ by up to {found.widest_margin:.2g}"
        )


def rendered_frames(input_wh: tuple[int, int], count: int = PARITY_FRAMES) -> list[Image]:
    """Frames of a rendered street, uint8 (H, W, 3) BGR, to compare a graph and its net on."""
    from edge.street.render import StreetScene  # late: rendering is only for exports without frames

    scene = StreetScene(seed=1, size_wh=input_wh)
    return [scene.render(index * 45).image for index in range(count)]
