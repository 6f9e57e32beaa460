"""DDRNet-23-slim: two branches, one deep and coarse, one at 1/8 resolution, that exchange features twice.

Hong, Pan, Sun, Jia: Deep Dual-resolution Networks for Real-time and Accurate Semantic Segmentation of Road Scenes,
arXiv 2101.06085. Names follow the paper's table I; shapes below are for an input of (N, 3, H, W).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge.nets.blocks import BasicBlock, Bottleneck, bn_relu_conv, conv_bn, init_weights, resize_to


class Dappm(nn.Module):
    """Deep Aggregation Pyramid Pooling (fig. 5): five scales of context, each refined with the next smaller one."""

    POOLS = ((5, 2, 2), (9, 4, 4), (17, 8, 8))  # kernel, stride, padding

    def __init__(self, inputs: int, width: int, outputs: int) -> None:
        super().__init__()
        pools: list[nn.Module] = [nn.AvgPool2d(*pool) for pool in self.POOLS]
        pools.append(nn.AdaptiveAvgPool2d(1))
        self.scale0 = bn_relu_conv(inputs, width, 1)
        self.scales = nn.ModuleList(nn.Sequential(pool, bn_relu_conv(inputs, width, 1)) for pool in pools)
        self.refine = nn.ModuleList(bn_relu_conv(width, width, 3) for _ in pools)
        self.compress = bn_relu_conv(5 * width, outputs, 1)
        self.shortcut = bn_relu_conv(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, h, w) to (N, outputs, h, w)."""
        features = [self.scale0(x)]
        for scale, refine in zip(self.scales, self.refine, strict=True):
            features.append(refine(resize_to(scale(x), x) + features[-1]))
        return self.compress(torch.cat(features, 1)) + self.shortcut(x)


def _stage(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Two residual blocks; the last ReLU is left to the consumer, which needs the sum before it."""
    return nn.Sequential(BasicBlock(inputs, outputs, stride), BasicBlock(outputs, outputs, relu=False))


def _head(inputs: int, width: int, classes: int) -> nn.Sequential:
    return nn.Sequential(bn_relu_conv(inputs, width, 3), bn_relu_conv(width, classes, 1, bias=True))


class DDRNet23Slim(nn.Module):
    """5.7 M parameters. Gives logits (N, classes, ceil(H/8), ceil(W/8)); in training also the auxiliary head's."""

    def __init__(self, classes: int, width: int = 32, context_width: int = 128, head_width: int = 64) -> None:
        super().__init__()
        w = width
        self.stem = nn.Sequential(conv_bn(3, w, 3, 2), conv_bn(w, w, 3, 2))  # 1/4
        self.conv2 = _stage(w, w, 1)  # 1/4
        self.conv3 = _stage(w, 2 * w, 2)  # 1/8
        self.conv4_low = _stage(2 * w, 4 * w, 2)  # 1/16
        self.conv5_low = _stage(4 * w, 8 * w, 2)  # 1/32
        self.conv6_low = Bottleneck(8 * w, 8 * w, stride=2)  # 1/64
        self.conv4_high = _stage(2 * w, 2 * w, 1)  # 1/8
        self.conv5_high = _stage(2 * w, 2 * w, 1)
        self.conv6_high = Bottleneck(2 * w, 2 * w)
        self.up4 = conv_bn(4 * w, 2 * w, 1, relu=False)
        self.up5 = conv_bn(8 * w, 2 * w, 1, relu=False)
        self.down4 = conv_bn(2 * w, 4 * w, 3, 2, relu=False)
        self.down5 = nn.Sequential(conv_bn(2 * w, 4 * w, 3, 2), conv_bn(4 * w, 8 * w, 3, 2, relu=False))
        self.context = Dappm(16 * w, context_width, 4 * w)
        self.head = _head(4 * w, head_width, classes)
        self.auxiliary_head = _head(2 * w, head_width, classes)
        init_weights(self)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """The contract of `edge.nets.make_net`; the auxiliary head looks at the high branch after its first
        exchange.
        """
        x = F.relu(self.conv2(self.stem(x)))
        x = F.relu(self.conv3(x))
        low = self.conv4_low(x)
        high = self.conv4_high(x)
        low, high = self._exchange(low, high, self.down4, self.up4)
        early = high
        low = self.conv5_low(F.relu(low))
        high = self.conv5_high(F.relu(high))
        low, high = self._exchange(low, high, self.down5, self.up5)
        low = self.context(self.conv6_low(F.relu(low)))
        high = self.conv6_high(F.relu(high))
        logits = self.head(high + resize_to(low, high))
        return (logits, self.auxiliary_head(early)) if self.training else logits

    @staticmethod
    def _exchange(low: Tensor, high: Tensor, down: nn.Module, up: nn.Module) -> tuple[Tensor, Tensor]:
        """Bilateral fusion (eq. 1): each branch gets the other's features, at its own resolution."""
        return low + down(F.relu(high)), high + resize_to(up(F.relu(low)), high)
