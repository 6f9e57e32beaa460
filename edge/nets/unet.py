"""U-Net, as published and with a residual encoder.

Ronneberger, Fischer, Brox: U-Net: Convolutional Networks for Biomedical Image Segmentation, arXiv 1505.04597.

Maps of odd size are pooled rounding up, and what comes up is cut to the size of the map it is joined with. The paper
cuts too, but the other one: its convolutions are not padded, ours are, so that logits have the input's size.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge.nets.blocks import BasicBlock, ImageNetScale, conv_bn, conv_relu, crop_to, init_weights
from edge.nets.resnet import RESNET34, ResNet
from edge.nets.upsample import Upsampling, init_upsampling, upsample


class UNet(nn.Module):
    """31.0 M parameters (figure 1). Gives logits (N, classes, H, W).

    Without batch norm, as published, and with its dropout at the end of the contracting path (section 3.1).
    """

    def __init__(self, classes: int, width: int = 64, up: Upsampling = "transposed") -> None:
        super().__init__()
        widths = [width * factor for factor in (1, 2, 4, 8, 16)]
        self.down = nn.ModuleList(_two_convs(i, o) for i, o in zip([3, *widths[:-1]], widths, strict=True))
        self.dropout = nn.Dropout(0.5)
        self.up = nn.ModuleList(upsample(up, w, w // 2) for w in widths[:0:-1])
        self.join = nn.ModuleList(_two_convs(w, w // 2) for w in widths[:0:-1])
        self.classify = nn.Conv2d(width, classes, 1)
        init_weights(self, mode="fan_in")  # section 3: N is the number of incoming nodes
        init_upsampling(self)

    def forward(self, x: Tensor) -> Tensor:
        """The contract of `edge.nets.make_net`, without an auxiliary head."""
        maps: list[Tensor] = []
        for depth, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2, ceil_mode=True) if depth else x)
            maps.append(self.dropout(x) if depth >= len(self.down) - 2 else x)
        x = maps.pop()
        for up, join in zip(self.up, self.join, strict=True):
            skip = maps.pop()
            x = join(torch.cat([skip, crop_to(up(x), skip)], 1))
        return self.classify(x)


def _two_convs(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(conv_relu(inputs, outputs, 3), conv_relu(outputs, outputs, 3))


class UNetResNet34(nn.Module):
    """24 M parameters. Gives logits (N, classes, H, W).

    The encoder's maps are joined at equal sizes, on the way up by sub-pixel convolution. At full resolution it is the
    image itself that is joined, before a last residual block, so that detail need not survive the encoder.
    """

    def __init__(self, classes: int, width: int = 64, up: Upsampling = "pixel_shuffle") -> None:
        super().__init__()
        self.scale = ImageNetScale()
        self.encoder = ResNet(RESNET34, width)
        skips = self.encoder.channels[-2::-1]  # of the maps at 1/16, 1/8, 1/4 and 1/2
        outputs = (4 * width, 2 * width, width, width // 2)
        inputs = (self.encoder.channels[-1], *outputs[:-1])
        self.up = nn.ModuleList(upsample(up, i, o) for i, o in zip(inputs, outputs, strict=True))
        self.join = nn.ModuleList(
            nn.Sequential(conv_bn(s + o, o, 3), conv_bn(o, o, 3)) for s, o in zip(skips, outputs, strict=True)
        )
        self.last_up = upsample(up, outputs[-1], outputs[-1])
        self.last_join = BasicBlock(outputs[-1] + 3, outputs[-1])
        self.classify = nn.Conv2d(outputs[-1], classes, 1)
        init_weights(self)
        init_upsampling(self)

    def forward(self, x: Tensor) -> Tensor:
        """The contract of `edge.nets.make_net`, without an auxiliary head."""
        image = self.scale(x)
        *maps, x = self.encoder(image)
        for up, join in zip(self.up, self.join, strict=True):
            skip = maps.pop()
            x = join(torch.cat([skip, crop_to(up(x), skip)], 1))
        x = self.last_join(torch.cat([crop_to(self.last_up(x), image), image], 1))
        return self.classify(x)
