"""A small net of our own, for the slowest machines. No paper describes it.

What made it so was measured (OpenVINO, INT8, two CPU cores): dense 3x3 convolutions do most arithmetic per millisecond,
channels in multiples of 16 or better 32; what is not convolution (additions, stretching, poolings at high resolution)
costs more than its arithmetic suggests. So: a plain trunk to 1/32, a pyramid of pooled context where maps are smallest,
and two steps back up to 1/8.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from edge.nets.blocks import conv_bn, init_weights, resize_to


class PooledContext(nn.Module):
    """Adds to each cell what is around it, in means over growing windows up to the whole map."""

    POOLS = ((5, 2, 2), (9, 4, 4))  # kernel, stride, padding

    def __init__(self, channels: int) -> None:
        super().__init__()
        pools: list[nn.Module] = [nn.AvgPool2d(*pool) for pool in self.POOLS]
        pools.append(nn.AdaptiveAvgPool2d(1))
        self.scales = nn.ModuleList(nn.Sequential(pool, nn.Conv2d(channels, channels, 1, bias=False)) for pool in pools)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, h, w) to the same."""
        for_all = [resize_to(scale(x), x) for scale in self.scales]
        return F.relu(self.norm(x + sum(for_all)))


class EdgeSmall(nn.Module):
    """0.9 M parameters. Gives logits (N, classes, ceil(H/8), ceil(W/8))."""

    def __init__(self, classes: int, width: int = 32) -> None:
        super().__init__()
        w = width
        self.stem = nn.Sequential(conv_bn(3, w, 3, 2), conv_bn(w, w, 3, 2))  # 1/4
        self.stage8 = nn.Sequential(conv_bn(w, 2 * w, 3, 2), conv_bn(2 * w, 2 * w, 3))
        self.stage16 = _stage(2 * w, 3 * w)
        self.stage32 = _stage(3 * w, 4 * w)
        self.context = PooledContext(4 * w)
        self.up16 = conv_bn(4 * w, 3 * w, 1, relu=False)
        self.join16 = conv_bn(3 * w, 2 * w, 3)
        self.join8 = conv_bn(2 * w, 2 * w, 3)
        self.head = nn.Sequential(conv_bn(2 * w, 2 * w, 3), nn.Conv2d(2 * w, classes, 1))
        init_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """The contract of `edge.nets.make_net`, without an auxiliary head."""
        at8 = self.stage8(self.stem(x))
        at16 = self.stage16(at8)
        at32 = self.context(self.stage32(at16))
        at16 = self.join16(at16 + resize_to(self.up16(at32), at16))
        return self.head(self.join8(at8 + resize_to(at16, at8)))


def _stage(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(conv_bn(inputs, outputs, 3, 2), conv_bn(outputs, outputs, 3), conv_bn(outputs, outputs, 3))
