"""FCN: a classifier's scores at 1/32, refined by scores of its finer maps at 1/16 and 1/8.

Long, Shelhamer, Darrell: Fully Convolutional Networks for Semantic Segmentation, arXiv 1411.4038, figure 3. The paper
trains FCN-32s first, then 16s from it, then 8s: each one's weights load into the next with `strict=False`.

Doubled are scores, by deconvolutions that start as bilinear interpolation and learn. The last enlargement, by 32, 16
or 8, is fixed to bilinear interpolation (section 4.3): here it is the one that surrounds every net. Convolutions are
padded to keep sizes, instead of by 100 at the start, and what is too large is cut at its end.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from edge.nets.blocks import ImageNetScale, conv_relu, crop_to, init_weights
from edge.nets.resnet import RESNET18, ResNet
from edge.nets.vgg import Vgg16

Stride = Literal[32, 16, 8]
FINER_MAPS: dict[Stride, int] = {32: 0, 16: 1, 8: 2}  # that are scored, too


class Fcn(nn.Module):
    """Gives logits (N, classes, ceil(H/stride), ceil(W/stride)).

    `hidden` is the width of the classifier's two fully connected layers, written as convolutions; 0 for none.
    """

    def __init__(self, classes: int, encoder: Vgg16 | ResNet, stride: Stride, hidden: int = 0) -> None:
        super().__init__()
        *finer, coarsest = encoder.channels
        skips = finer[::-1][: FINER_MAPS[stride]]
        self.scale = ImageNetScale()
        self.encoder = encoder
        self.fc = _fully_connected(coarsest, hidden) if hidden else nn.Identity()
        self.score = nn.Conv2d(hidden or coarsest, classes, 1)
        self.skip_scores = nn.ModuleList(nn.Conv2d(channels, classes, 1) for channels in skips)
        self.ups = nn.ModuleList(nn.ConvTranspose2d(classes, classes, 4, 2, 1, bias=False) for _ in skips)
        self._init_weights()

    def forward(self, x: Tensor) -> Tensor:
        """The contract of `edge.nets.make_net`, without an auxiliary head."""
        *finer, coarsest = self.encoder(self.scale(x))
        scores = self.score(self.fc(coarsest))
        for up, skip_score in zip(self.ups, self.skip_scores, strict=True):
            fine = skip_score(finer.pop())
            scores = crop_to(up(scores), fine) + fine
        return scores

    def torchvision_names(self) -> dict[str, str]:
        """As the encoder's; of VGG16 the fully connected layers, too."""
        names = {f"encoder.{ours}": theirs for ours, theirs in self.encoder.torchvision_names().items()}
        if isinstance(self.fc, nn.Sequential):
            for ours, theirs in (("fc.0.0", "classifier.0"), ("fc.2.0", "classifier.3")):
                names |= {f"{ours}.{kind}": f"{theirs}.{kind}" for kind in ("weight", "bias")}
        return names

    def _init_weights(self) -> None:
        init_weights(self, mode="fan_in")
        for up in self.ups:
            bilinear_(up.weight)
        for score in self.skip_scores:  # a net starts with the predictions of the one before it (section 4.2)
            nn.init.zeros_(score.weight)


def _fully_connected(inputs: int, hidden: int) -> nn.Sequential:
    """VGG16's fc6 and fc7: the first saw 7x7 cells, which is what its kernel covers (section 3.1)."""
    return nn.Sequential(conv_relu(inputs, hidden, 7), nn.Dropout(0.5), conv_relu(hidden, hidden, 1), nn.Dropout(0.5))


@torch.no_grad()
def bilinear_(weight: Tensor) -> None:
    """Make a transposed convolution, weights (C, C, 4, 4), stride 2, padding 1, double each channel bilinearly."""
    row = torch.tensor([0.25, 0.75, 0.75, 0.25])
    weight.zero_()
    for channel in range(weight.shape[0]):
        weight[channel, channel] = torch.outer(row, row)


def fcn_vgg16(classes: int, width: int = 64, *, stride: Stride) -> Fcn:
    """134 M parameters, 120 M of them in fc6 and fc7 (table 1)."""
    return Fcn(classes, Vgg16(width, batch_norm=False), stride, hidden=64 * width)


def fcn_resnet18(classes: int, width: int = 64, *, stride: Stride) -> Fcn:
    """11.2 M parameters. The encoder is younger than the paper; it has no fully connected layers to keep."""
    return Fcn(classes, ResNet(RESNET18, width), stride)
