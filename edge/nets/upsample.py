"""Three ways to double a map's height and width.

By sub-pixel convolution (Shi et al. 2016, arXiv 1609.05158) a map of four times the channels is shuffled into one of
twice the size. Left alone it shows checkerboards, at the start of training and after it. Against the first, all four
kernels of a channel start equal (ICNR; Aitken et al. 2017, arXiv 1707.02937); against the second, each value becomes
the mean of its 2x2 neighbourhood (Sugawara, Shiota, Kiya 2018, arXiv 1802.02892), the border repeated.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

Upsampling = Literal["transposed", "bilinear", "pixel_shuffle"]


def upsample(kind: Upsampling, inputs: int, outputs: int) -> nn.Module:
    """A module that makes (N, outputs, 2H, 2W) of (N, inputs, H, W)."""
    if kind == "transposed":
        return nn.ConvTranspose2d(inputs, outputs, 2, 2)
    if kind == "bilinear":  # stretching and a 1x1 convolution commute: the cheaper order
        return nn.Sequential(nn.Conv2d(inputs, outputs, 1), nn.Upsample(scale_factor=2, mode="bilinear"))
    return SubPixel(inputs, outputs)


def init_upsampling(net: nn.Module) -> None:
    """He initialisation for transposed convolutions, ICNR for sub-pixel convolutions."""
    for module in net.modules():
        if isinstance(module, SubPixel):
            module.init_weights()
        elif isinstance(module, nn.ConvTranspose2d):  # of 2x2 and stride 2: one tap makes a cell
            nn.init.normal_(module.weight, std=math.sqrt(2 / module.in_channels))
            if module.bias is not None:
                nn.init.zeros_(module.bias)


class SubPixel(nn.Module):
    """1x1 convolution to four times the channels, ReLU, pixel shuffle, 2x2 mean."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, 4 * outputs, 1)
        self.shuffle = nn.Sequential(nn.ReLU(inplace=True), nn.PixelShuffle(2))
        self.blur = nn.Sequential(nn.ReplicationPad2d((1, 0, 1, 0)), nn.AvgPool2d(2, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, 2H, 2W)."""
        return self.blur(self.shuffle(self.conv(x)))

    @torch.no_grad()
    def init_weights(self) -> None:
        """ICNR: what comes out of the shuffle is a nearest-neighbour enlargement."""
        kernels = torch.empty_like(self.conv.weight[::4])
        nn.init.kaiming_normal_(kernels, nonlinearity="relu")
        self.conv.weight.copy_(kernels.repeat_interleave(4, 0))
