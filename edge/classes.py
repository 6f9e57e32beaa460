"""Class tables: what a class id means, how it is painted, and which ids make up a road or a pedestrian mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from edge.errors import ConfigError

Rgb = tuple[int, int, int]


@dataclass(frozen=True)
class ClassTable:
    """The classes of one engine: id i is `names[i]`, painted `colours_rgb[i]`.

    `groups` name sets of classes ("road", "pedestrian"); a group's mask is the union of its classes. `tints` are the
    groups an overlay paints, with their colour. `ignore_id` marks pixels without a label in ground truth.
    """

    names: tuple[str, ...]
    colours_rgb: tuple[Rgb, ...]
    groups: Mapping[str, tuple[str, ...]]
    tints: Mapping[str, Rgb]
    ignore_id: int = 255

    def __post_init__(self) -> None:
        if not 1 <= len(self.names) <= 255 or len(set(self.names)) != len(self.names):
            raise ConfigError(f"classes: expected 1 to 255 distinct names, got {list(self.names)}")
        if len(self.colours_rgb) != len(self.names):
            raise ConfigError(f"colours: expected {len(self.names)}, one per class, got {len(self.colours_rgb)}")
        for group, members in self.groups.items():
            if unknown := [m for m in members if m not in self.names]:
                raise ConfigError(f"group {group!r}: no class is called {unknown[0]!r}; there are {list(self.names)}")
        if unknown := [t for t in self.tints if t not in self.groups]:
            raise ConfigError(f"tint {unknown[0]!r}: no such group; there are {list(self.groups)}")

    def __len__(self) -> int:
        return len(self.names)

    def ids(self, name: str) -> tuple[int, ...]:
        """Class ids of a group or of one class, by name.

        Raises:
            ConfigError: neither a group nor a class has that name.
        """
        if name in self.groups:
            return tuple(self.names.index(member) for member in self.groups[name])
        if name in self.names:
            return (self.names.index(name),)
        there_are = f"groups: {', '.join(self.groups)}; classes: {', '.join(self.names)}"
        raise ConfigError(f"no group or class {name!r}; {there_are}")

    def membership(self, name: str) -> NDArray[np.uint8]:
        """uint8 (256,) table: 1 where the id belongs to the group or class `name`, else 0."""
        table = np.zeros(256, np.uint8)
        table[list(self.ids(name))] = 1
        return table

    @cached_property
    def palette_rgb(self) -> NDArray[np.uint8]:
        """uint8 (256, 3): the colour of every id; ids outside the table are black."""
        palette = np.zeros((256, 3), np.uint8)
        palette[: len(self.names)] = self.colours_rgb
        return palette


def make_table(
    rows: Sequence[tuple[str, Rgb]],
    groups: Mapping[str, Sequence[str]],
    tints: Mapping[str, Rgb],
    ignore_id: int,
) -> ClassTable:
    """A table from (name, colour) rows."""
    return ClassTable(
        names=tuple(name for name, _ in rows),
        colours_rgb=tuple(colour for _, colour in rows),
        groups={group: tuple(members) for group, members in groups.items()},
        tints=dict(tints),
        ignore_id=ignore_id,
    )


# The 11-class CamVid label set of the SegNet papers (Brostow et al. 2008; Badrinarayanan et al. 2015).
# Beware: many loaders list RoadMarking apart, at 3, and Road at 4. Here Road is 3, markings included.
CAMVID = make_table(
    rows=[
        ("Sky", (128, 128, 128)),
        ("Building", (128, 0, 0)),
        ("Pole", (192, 192, 128)),
        ("Road", (128, 64, 128)),
        ("Pavement", (60, 40, 222)),
        ("Tree", (128, 128, 0)),
        ("SignSymbol", (192, 128, 128)),
        ("Fence", (64, 64, 128)),
        ("Car", (64, 0, 128)),
        ("Pedestrian", (64, 64, 0)),
        ("Bicyclist", (0, 128, 192)),
    ],
    groups={
        "road": ["Road"],
        "pedestrian": ["Pedestrian"],
        "cyclist": ["Bicyclist"],
        "vehicle": ["Car"],
        "pavement": ["Pavement"],
    },
    tints={"road": (40, 190, 120), "pedestrian": (255, 60, 60), "cyclist": (255, 170, 30), "vehicle": (60, 130, 255)},
    ignore_id=11,
)
