"""How an overlay looks: which classes it paints, in which style, how strongly."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from edge.classes import ClassTable, Rgb
from edge.errors import ConfigError
from edge.paths import shown

ALPHA = 0.45  # the road's texture stays visible
STYLES: Mapping[str, str] = {
    "tint": "a translucent tint with a line around each region",
    "outline": "the lines alone",
    "mask": "the masks alone, on black",
    "side-by-side": "the frame, and the tinted frame on its right",
}
_BLENDED = ("tint", "side-by-side")


@dataclass(frozen=True)
class Appearance:
    """How an overlay looks.

    Attributes:
        style: one of `STYLES`.
        alpha: 0 to 1, the strength of the tint: 0 leaves the frame, 1 hides it. None is `ALPHA`.
        classes: groups or classes, by name; only these are painted. Empty: those that the class table tints.
        legend: names the painted groups in the upper left corner, where they fit.
    """

    style: str = "tint"
    alpha: float | None = None
    classes: Sequence[str] = ()
    legend: bool = True

    def __post_init__(self) -> None:
        """Raises ConfigError, with the choices."""
        if self.style not in STYLES:
            raise ConfigError(f"style: expected one of {', '.join(STYLES)}, got {shown(self.style)}")
        if self.alpha is None:
            return
        if not _is_number(self.alpha) or not 0 <= self.alpha <= 1:
            raise ConfigError(f"alpha: expected a number from 0 (no tint) to 1 (opaque), got {shown(self.alpha)}")
        if self.style not in _BLENDED:
            raise ConfigError(
                f"alpha: style {self.style} blends nothing. Leave alpha out, or take style {' or '.join(_BLENDED)}"
            )

    @property
    def strength(self) -> float:
        """`alpha`, or the default."""
        return ALPHA if self.alpha is None else float(self.alpha)

    @property
    def is_doubled(self) -> bool:
        """Whether the image is two frames wide."""
        return self.style == "side-by-side"

    def table(self, table: ClassTable) -> ClassTable:
        """The class table with `classes` as its tints.

        Raises:
            ConfigError: one is neither a group nor a class; the message lists both.
        """
        return painting_only(table, self.classes) if self.classes else table


def painting_only(table: ClassTable, names: Sequence[str]) -> ClassTable:
    """The table with these groups or classes as its tints, each in its tint's colour, else in its first class's. What
    the table tints itself lies on top, in its order.
    """
    for name in names:
        if not isinstance(name, str):
            raise ConfigError(f"classes: expected names of groups or classes, got {shown(name)}")
        if name not in table.groups and name not in table.names:
            raise ConfigError(
                f"classes: no group or class is called {shown(name)};"
                f" there are the groups {', '.join(table.groups) or '-'} and the classes {', '.join(table.names)}"
            )
    tints = {name: _colour(table, name) for name in names if name not in table.tints}
    tints |= {name: rgb for name, rgb in table.tints.items() if name in names}
    groups = {name: tuple(table.names[i] for i in table.ids(name)) for name in tints}
    return replace(table, groups={**groups, **table.groups}, tints=tints)


def _colour(table: ClassTable, name: str) -> Rgb:
    """A class that alone makes up a tinted group has the group's colour."""
    ids = table.ids(name)
    same = (rgb for group, rgb in table.tints.items() if table.ids(group) == ids)
    return next(same, table.colours_rgb[ids[0]])


def parse_classes(text: str | None) -> tuple[str, ...]:
    """The names in "road,pedestrian".

    Raises:
        ConfigError: a text without a name.
    """
    if text is None:
        return ()
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise ConfigError(f"classes: expected names of groups or classes, such as road,pedestrian; got {shown(text)}")
    return names


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
