"""The nets, one file per paper. Torch lives here, in `edge.train` and in `edge.compile`, nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from edge.errors import ConfigError
from edge.nets.ddrnet import DDRNet23Slim
from edge.nets.edge_small import EdgeSmall
from edge.nets.efficientnet import EfficientNetLiteFine, EfficientNetLiteSeg
from edge.nets.fcn import fcn_resnet18, fcn_vgg16
from edge.nets.segnet import SegNet, SegNetBasic
from edge.nets.unet import UNet, UNetResNet34

NETS: dict[str, Callable[..., nn.Module]] = {
    "ddrnet23_slim": DDRNet23Slim,
    "edge_small": EdgeSmall,
    "efficientnet_lite0": EfficientNetLiteSeg,
    "efficientnet_lite0_fine": EfficientNetLiteFine,
    "segnet": SegNet,
    "segnet_basic": SegNetBasic,
    "unet": UNet,
    "unet_resnet34": UNetResNet34,
    "fcn32s_vgg16": partial(fcn_vgg16, stride=32),
    "fcn16s_vgg16": partial(fcn_vgg16, stride=16),
    "fcn8s_vgg16": partial(fcn_vgg16, stride=8),
    "fcn32s_resnet18": partial(fcn_resnet18, stride=32),
    "fcn16s_resnet18": partial(fcn_resnet18, stride=16),
    "fcn8s_resnet18": partial(fcn_resnet18, stride=8),
}
"""By name: what makes the net for a number of classes. All take `width`, the channels of the first layer."""


def make_net(name: str, classes: int) -> nn.Module:
    """A freshly initialised net, in training mode.

    Its forward takes float (N, 3, H, W) BGR in 0..1 and gives logits (N, classes, h, w) at the net's own stride; in
    training mode it may give a tuple, the auxiliary heads' logits behind the main ones.
    """
    if name not in NETS:
        raise ConfigError(f"no net is called {name!r}; there are: {', '.join(NETS)}")
    return NETS[name](classes)
