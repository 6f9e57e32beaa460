"""Further outputs on the features of a trained net, which stay as they are: what the net says of classes is the same
with them and without.

`objects` says where each object's centre is, and for each cell where the centre of its object lies (Panoptic-DeepLab,
Cheng et al., arXiv 1911.10194), for all countable classes together. `markings` finds lane markings and curbs. Both give
maps at 1/4 of the input, since people who stand together are one cell wide at 1/8; but they reckon at 1/8, and each
cell says what is in the two by two of 1/4 that lie in it (sub-pixel convolution, Shi et al., arXiv 1609.05158): half
the time of enlarging features to 1/4 and going on there. The net's own features at 1/4 are in floating point and would
cost more to read than they are worth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge.errors import ConfigError
from edge.nets.blocks import Depthwise, conv_bn, init_weights
from edge.nets.efficientnet import EfficientNetLiteFine
from edge.outputs import CENTRES, GRADES, OFFSETS, Output

STRIDE, COARSE = 4, 8  # of the maps, and of what they are made of
PEAK_CELLS = 3  # a centre is the highest of so many cells in either direction
OFFSET_SCALE = 16.0  # cells of 1/4 that the head's 1 stands for, so that its values are small numbers


def _separable(width: int) -> list[nn.Module]:
    return [Depthwise(width, 5), nn.BatchNorm2d(width), nn.ReLU(inplace=True), conv_bn(width, width, 1)]


class ObjectHead(nn.Module):
    """Centre heat and offsets from the net's features at 1/8 and the encoder's own at 1/4: what is of one class is
    alike to the net, and the border between two people is in the encoder alone.
    """

    outputs = (CENTRES, OFFSETS)

    def __init__(self, at8: int, raw4: int, width: int = 64) -> None:
        super().__init__()
        self.mix = _Mix(at8, raw4, 2, width)
        self.spread = nn.Sequential(*_separable(width), *_separable(width))
        self.heat, self.offsets = _subpixel(width, 1), _subpixel(width, 2)
        init_weights(self)
        nn.init.constant_(self.heat.bias, -4.0)  # hardly any cell is a centre  # pyright: ignore[reportArgumentType]

    def forward(self, maps: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Logits of centres (N, 1, h, w) and offsets (N, 2, h, w), x and y in cells of 1/4."""
        raw4 = maps["raw4"]
        x = self.spread(self.mix(maps["at8"], raw4))
        return _finer(self.heat(x), raw4.shape[-2:]), _finer(self.offsets(x), raw4.shape[-2:]) * OFFSET_SCALE

    def deployed(self, maps: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """As `CENTRES` and `OFFSETS` say, in float."""
        heat, offsets = self(maps)
        chance = heat.sigmoid()
        highest = F.max_pool2d(chance, PEAK_CELLS, 1, PEAK_CELLS // 2)
        return _rounded(torch.where(chance >= highest, chance, torch.zeros_like(chance))), offsets


class MarkingHead(nn.Module):
    """Lane markings and curbs, from the net's features at 1/8, which know what is road, and the encoder's own at 1/2,
    where thin lines are still seen.
    """

    outputs = (GRADES,)

    def __init__(self, at8: int, at2: int, width: int = 32) -> None:
        super().__init__()
        self.mix = _Mix(at8, at2, 4, width)
        self.join = nn.Sequential(*_separable(width))
        self.grades = _subpixel(width, 2)
        init_weights(self)
        nn.init.constant_(self.grades.bias, -3.0)  # pyright: ignore[reportArgumentType]

    def forward(self, maps: Mapping[str, Tensor]) -> tuple[Tensor]:
        """Logits (N, 2, h, w): of a marking, and of a curb."""
        at8, at2 = maps["at8"], maps["at2"]
        height, width = at2.shape[-2:]
        return (_finer(self.grades(self.join(self.mix(at8, at2))), ((height + 1) // 2, (width + 1) // 2)),)

    def deployed(self, maps: Mapping[str, Tensor]) -> tuple[Tensor]:
        """As `GRADES` says, in float."""
        return (_rounded(self(maps)[0].sigmoid()),)


class _Mix(nn.Module):
    """The features at 1/8 with finer ones, of which the cells that lie in one of 1/8 are taken as one."""

    def __init__(self, at8: int, fine: int, cells: int, width: int) -> None:
        """`cells` of the finer ones lie in one of 1/8, in either direction."""
        super().__init__()
        self.known = conv_bn(at8, width, 1, relu=False)
        self.fine = nn.Sequential(nn.Conv2d(fine, width, cells, cells, bias=False), nn.BatchNorm2d(width))
        self._cells = cells

    def forward(self, at8: Tensor, fine: Tensor) -> Tensor:
        height, width = fine.shape[-2:]
        if height % self._cells or width % self._cells:
            fine = F.pad(fine, (0, -width % self._cells, 0, -height % self._cells))
        return F.relu(self.fine(fine) + self.known(at8))


def _subpixel(width: int, channels: int) -> nn.Conv2d:
    return nn.Conv2d(width, channels * (COARSE // STRIDE) ** 2, 1)


def _finer(cells: Tensor, size: Sequence[int]) -> Tensor:
    """Maps at 1/4 of that height and width, of what `_subpixel` says at 1/8."""
    found = F.pixel_shuffle(cells, COARSE // STRIDE)
    return found if found.shape[-2:] == tuple(size) else found[..., : size[0], : size[1]]


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
        at8, raw4, at2 = net.feature_channels
        made = {"objects": lambda: ObjectHead(at8, raw4), "markings": lambda: MarkingHead(at8, at2)}
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
