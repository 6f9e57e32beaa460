"""SegNet: of each 2x2 maximum the encoder keeps where it was, and the decoder puts its value back there.

Badrinarayanan, Kendall, Cipolla: SegNet: A Deep Convolutional Encoder-Decoder Architecture for Image Segmentation,
arXiv 1511.00561. A position is 2 bits a window (section 3), which is all the decoder gets from the encoder's maps. No
runtime that edge compiles for knows max pooling with indices, so in evaluation the same is written in plain operators.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge.nets.blocks import ImageNetScale, conv_bn, init_weights
from edge.nets.vgg import CONVOLUTIONS, Vgg16

Places = tuple[Tensor, ...]


# ------------------------------------------------------------------------------------------------- pooling and its undo


def pool_indexed(x: Tensor) -> tuple[Tensor, Places]:
    """The largest of each 2x2 window of (N, C, H, W), and its place; windows at an odd end are smaller."""
    pooled, indices = F.max_pool2d(x, 2, ceil_mode=True, return_indices=True)
    return pooled, (indices,)


def unpool_indexed(x: Tensor, places: Places, size_hw: tuple[int, int]) -> Tensor:
    """(N, C, H, W) with each value of `x` at its window's place, and 0 elsewhere."""
    return F.max_unpool2d(x, places[0], 2, output_size=size_hw)


def pool_plain(x: Tensor) -> tuple[Tensor, Places]:
    """As `pool_indexed`; the place is two booleans per window: in its lower row, in its right column.

    Of equal values the first counts, row by row, as in torch. Odd sizes are filled up with copies, which come later
    and so never count.
    """
    height, width = x.shape[-2:]
    if height % 2 or width % 2:
        x = F.pad(x, (0, width % 2, 0, height % 2), mode="replicate")
    a, b, c, d = x[..., ::2, ::2], x[..., ::2, 1::2], x[..., 1::2, ::2], x[..., 1::2, 1::2]
    lower = torch.maximum(c, d) > torch.maximum(a, b)
    left, right = torch.where(lower, c, a), torch.where(lower, d, b)
    return torch.maximum(left, right), (lower, right > left)


def unpool_plain(x: Tensor, places: Places, size_hw: tuple[int, int]) -> Tensor:
    """As `unpool_indexed`, for places from `pool_plain`."""
    lower, right = places
    rows = torch.where(lower, 0.0, x), torch.where(lower, x, 0.0)
    cells = [cell for row in rows for cell in (torch.where(right, 0.0, row), torch.where(right, row, 0.0))]
    sparse = F.pixel_shuffle(torch.stack(cells, 2).flatten(1, 2), 2)
    return sparse[..., : size_hw[0], : size_hw[1]]


def _through(encoder: nn.ModuleList, decoder: nn.ModuleList, x: Tensor, training: bool) -> Tensor:
    """Down through the encoder's stages and up through the decoder's, the last first."""
    pool, unpool = (pool_indexed, unpool_indexed) if training else (pool_plain, unpool_plain)
    kept: list[tuple[Places, tuple[int, int]]] = []
    for stage in encoder:
        x = stage(x)
        size_hw = (x.shape[2], x.shape[3])
        x, places = pool(x)
        kept.append((places, size_hw))
    for stage, (places, size_hw) in zip(decoder, reversed(kept), strict=True):
        x = stage(unpool(x, places, size_hw))
    return x


# ------------------------------------------------------------------------------------------------------------- the nets


class SegNet(nn.Module):
    """29.4 M parameters. Gives logits (N, classes, H, W).

    The decoder mirrors the encoder, 13 convolutions; as in the authors' published model the last of them is the
    classifier. Their local contrast normalisation of the input is a fixed scale here.
    """

    def __init__(self, classes: int, width: int = 64) -> None:
        super().__init__()
        self.scale = ImageNetScale()
        self.encoder = Vgg16(width)
        channels = self.encoder.channels
        self.decoder = nn.ModuleList()
        for inputs, outputs, count in zip(channels[::-1], (*channels[-2::-1], 0), CONVOLUTIONS[::-1], strict=True):
            last = conv_bn(inputs, outputs, 3) if outputs else nn.Conv2d(inputs, classes, 3, padding=1)
            self.decoder.append(nn.Sequential(*(conv_bn(inputs, inputs, 3) for _ in range(count - 1)), last))
        init_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """The contract of `edge.nets.make_net`, without an auxiliary head."""
        return _through(self.encoder.stages, self.decoder, self.scale(x), self.training)


class SegNetBasic(nn.Module):
    """1.4 M parameters. Gives logits (N, classes, H, W).

    The paper's smaller version (section 3.1): four encoders and four decoders of one 7x7 convolution each, without
    biases, 64 features throughout, no ReLU in the decoders.
    """

    def __init__(self, classes: int, width: int = 64) -> None:
        super().__init__()
        self.encoder = nn.ModuleList(conv_bn(inputs, width, 7) for inputs in (3, width, width, width))
        self.decoder = nn.ModuleList(conv_bn(width, width, 7, relu=False) for _ in self.encoder)
        self.classify = nn.Conv2d(width, classes, 1)
        init_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """The contract of `edge.nets.make_net`, without an auxiliary head."""
        return self.classify(_through(self.encoder, self.decoder, x, self.training))
