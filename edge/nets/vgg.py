"""VGG16's 13 convolutions, the encoder of SegNet and FCN.

Simonyan, Zisserman: Very Deep Convolutional Networks for Large-Scale Image Recognition, arXiv 1409.1556, table 1,
column D. The fully connected layers are left out: of the paper's 138 M parameters 14.7 M stay.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from edge.nets.blocks import conv_bn, conv_relu

CONVOLUTIONS = (2, 2, 3, 3, 3)  # in each stage
WIDTHS = (1, 2, 4, 8, 8)  # of each stage, in units of the first one's


class Vgg16(nn.Module):
    """Takes (N, 3, H, W) as `ImageNetScale` gives it; five maps come out, pooled, at 1/2 to 1/32, rounded up.

    `channels` are the maps'. With `batch_norm` convolutions have no bias, which the norm would cancel.
    """

    def __init__(self, width: int = 64, batch_norm: bool = True) -> None:
        super().__init__()
        self.channels = tuple(width * factor for factor in WIDTHS)
        unit = conv_bn if batch_norm else conv_relu
        self.stages = nn.ModuleList()
        inputs = 3
        for outputs, count in zip(self.channels, CONVOLUTIONS, strict=True):
            units = [unit(inputs, outputs, 3), *(unit(outputs, outputs, 3) for _ in range(count - 1))]
            self.stages.append(nn.Sequential(*units))
            inputs = outputs

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, channels[0], H/2, ...) to (N, channels[4], H/32, ...), the finest first."""
        maps = []
        for stage in self.stages:
            x = F.max_pool2d(stage(x), 2, ceil_mode=True)  # Caffe, where the weights come from, rounds up
            maps.append(x)
        return maps

    def torchvision_names(self) -> dict[str, str]:
        """By name in this net: the name in torchvision's `vgg16_bn-*.pth` or, without batch norm, `vgg16-*.pth`."""
        names: dict[str, str] = {}
        place = 0  # in torchvision's flat list of layers
        for s, stage in enumerate(self.stages):
            for u, unit in enumerate(stage.children()):
                for index, layer in enumerate(unit.children()):
                    names.update({f"stages.{s}.{u}.{index}.{k}": f"features.{place}.{k}" for k in layer.state_dict()})
                    place += 1
            place += 1  # the pooling
        return names
