"""ResNet-18 and ResNet-34 as encoders, without the average pooling and the classifier.

He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, arXiv 1512.03385, table 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from edge.nets.blocks import BasicBlock, conv_bn

RESNET18 = (2, 2, 2, 2)  # residual blocks in each stage
RESNET34 = (3, 4, 6, 3)

_LAYERS = {"body.0.0": "conv1", "body.0.1": "bn1", "body.1.0": "conv2", "body.1.1": "bn2"}
_LAYERS |= {"shortcut.0": "downsample.0", "shortcut.1": "downsample.1"}  # of a block, in torchvision's words


class ResNet(nn.Module):
    """Takes (N, 3, H, W) as `ImageNetScale` gives it; five maps come out, at 1/2 to 1/32, rounded up.

    `channels` are the maps'.
    """

    def __init__(self, blocks: Sequence[int], width: int = 64) -> None:
        super().__init__()
        self.channels = tuple(width * factor for factor in (1, 1, 2, 4, 8))
        self.stem = conv_bn(3, width, 7, 2)
        self.stages = nn.ModuleList()
        inputs = width
        for index, (outputs, count) in enumerate(zip(self.channels[1:], blocks, strict=True)):
            first = BasicBlock(inputs, outputs, stride=2 if index else 1)
            self.stages.append(nn.Sequential(first, *(BasicBlock(outputs, outputs) for _ in range(count - 1))))
            inputs = outputs

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, channels[i], H/2, ...) to (N, channels[4], H/32, ...), the finest first."""
        maps = [self.stem(x)]
        x = F.max_pool2d(maps[0], 3, 2, 1)
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def torchvision_names(self) -> dict[str, str]:
        """By name in this net: the name in torchvision's `resnet18-*.pth` and `resnet34-*.pth`."""
        return {name: _theirs(name) for name in self.state_dict()}


def _theirs(name: str) -> str:
    layer, _, parameter = name.rpartition(".")
    if layer.startswith("stem"):
        return f"{'conv1' if layer == 'stem.0' else 'bn1'}.{parameter}"
    _, stage, block, inner = layer.split(".", 3)
    return f"layer{int(stage) + 1}.{block}.{_LAYERS[inner]}.{parameter}"
