"""Further outputs on the features of a trained net, which stay as they are: what the net says of classes is the same
with them and without.

`objects` says where each object's centre is, and for each cell where the centre of its object lies (Panoptic-DeepLab,
Cheng et al., arXiv 1911.10194), for all countable classes together. `markings` finds lane markings and curbs. Both give
maps at 1/4 of the input: people who stand together are one cell wide at 1/8.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge.errors import ConfigError
from edge.nets.blocks import Depthwise, conv_bn, init_weights, resize_to
from edge.nets.efficientnet import EfficientNetLiteFine
from edge.outputs import CENTRES, GRADES, OFFSETS, Output

STRIDE = 4  # of the maps
PEAK_CELLS = 3  # a centre is the highest of so many cells in either direction
OFFSET_SCALE = 16.0  # cells of 1/4 that the head's 1 stands for, so that its values are small numbers


def _separable(width: int) -> list[nn.Module]:
    return [Depthwise(width, 5), nn.BatchNorm2d(width), nn.ReLU(inplace=True), conv_bn(width, width, 1)]


class ObjectHead(nn.Module):
    """Centre heat and offsets from the features at 1/8 and 1/4, and from the encoder's own at 1/4: what is of one class
    is alike to the net, and the border between two people is in the encoder alone.
    """

    outputs = (CENTRES, OFFSETS)

    def __init__(self, at8: int, at4: int, raw4: int, width: int = 32) -> None:
        super().__init__()
        self.up = conv_bn(at8, width, 1, relu=False)
        self.skip = conv_bn(at4, width, 1, relu=False)
        self.raw = conv_bn(raw4, width, 1, relu=False)
        self.spread = nn.Sequential(*_separable(width), *_separable(width))
        self.heat, self.offsets = nn.Conv2d(width, 1, 1), nn.Conv2d(width, 2, 1)
        init_weights(self)
        nn.init.constant_(self.heat.bias, -4.0)  # hardly any cell is a centre  # pyright: ignore[reportArgumentType]

    def forward(self, maps: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Logits of centres (N, 1, h, w) and offsets (N, 2, h, w), x and y in cells of 1/4."""
        x = self.skip(maps["at4"]) + self.raw(maps["raw4"])
        x = self.spread(F.relu(x + resize_to(self.up(maps["at8"]), x)))
        return self.heat(x), self.offsets(x) * OFFSET_SCALE

    def deployed(self, maps: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """As `CENTRES` and `OFFSETS` say, in float."""
        heat, offsets = self(maps)
        chance = heat.sigmoid()
        highest = F.max_pool2d(chance, PEAK_CELLS, 1, PEAK_CELLS // 2)
        return _rounded(torch.where(chance >= highest, chance, torch.zeros_like(chance))), offsets


class MarkingHead(nn.Module):
    """Lane markings and curbs, from the encoder's own features at 1/2, where thin lines are still seen, and the net's
    at 1/8, which know what is road. Its last ones, at 1/4, are in floating point and would cost more to read.
    """

    outputs = (GRADES,)

    def __init__(self, at8: int, at2: int, width: int = 16) -> None:
        super().__init__()
        self.up = conv_bn(at8, width, 1, relu=False)
        self.fine = nn.Sequential(nn.Conv2d(at2, width, 2, 2, bias=False), nn.BatchNorm2d(width))
        self.join = nn.Sequential(*_separable(width))
        self.grades = nn.Conv2d(width, 2, 1)
        init_weights(self)
        nn.init.constant_(self.grades.bias, -3.0)  # pyright: ignore[reportArgumentType]

    def forward(self, maps: Mapping[str, Tensor]) -> tuple[Tensor]:
        """Logits (N, 2, h, w): of a marking, and of a curb."""
        at2 = maps["at2"]
        height, width = at2.shape[-2:]
        if height % 2 or width % 2:
            at2 = F.pad(at2, (0, width % 2, 0, height % 2))
        fine = self.fine(at2)
        return (self.grades(self.join(F.relu(fine + resize_to(self.up(maps["at8"]), fine)))),)

    def deployed(self, maps: Mapping[str, Tensor]) -> tuple[Tensor]:
        """As `GRADES` says, in float."""
        return (_rounded(self(maps)[0].sigmoid()),)


def _rounded(chance: Tensor) -> Tensor:
    return (chance * 255 + 0.5).floor()  # runtimes cut what they make whole


HEADS = {"objects": ObjectHead, "markings": MarkingHead}


class Headed(nn.Module):
    """A net that does not move, with heads on its features."""

    def __init__(self, net: nn.Module, names: tuple[str, ...] = tuple(HEADS)) -> None:
        """Raises:
        ConfigError: the net gives no features for heads.
        """
        super().__init__()
        if not isinstance(net, EfficientNetLiteFine):
            raise ConfigError(f"heads: expected the net efficientnet_lite0_fine, got {type(net).__name__}")
        self.net = net.requires_grad_(False)
        at8, at4, raw4, at2 = net.feature_channels
        made = {"objects": lambda: ObjectHead(at8, at4, raw4), "markings": lambda: MarkingHead(at8, at2)}
        self.heads = nn.ModuleDict({name: made[name]() for name in names})

    @property
    def further(self) -> tuple[Output, ...]:
        """What it gives beside the classes, in the order of `forward`."""
        return tuple(output for name in self.heads for output in HEADS[name].outputs)

    def train(self, mode: bool = True) -> Headed:
        """The net's batch norms stay as they are."""
        super().train(mode)
        self.net.eval()
        return self

    def learn(self, x: Tensor) -> tuple[Tensor, dict[str, tuple[Tensor, ...]]]:
        """For training: the net's logits, without gradient, and by head what it gives."""
        with torch.no_grad():
            maps = self.net.features(x)
            logits = self.net.head(maps["at4"])
        return logits, {name: head(maps) for name, head in self.heads.items()}

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """As in the graph: logits (N, classes, h, w), then `further`."""
        maps = self.net.features(x)
        found = [value for head in self.heads.values() for value in head.deployed(maps)]  # pyright: ignore[reportCallIssue]
        return (self.net.head(maps["at4"]), *found)
