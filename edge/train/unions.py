"""Labels that say "one of these classes": what data sets with fewer classes than the net know of a pixel.

A mask stays one byte a pixel. Ids below the number of classes are classes; a union of several classes has an id counted
down from 254, the same one in all data sets of a recipe, so that a batch may mix them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from edge.classes import ClassTable
from edge.errors import ConfigError

HIGHEST_ID = 254  # 255 means "no label"
IGNORED = "ignore"

Classes = frozenset[int]


def parse_meaning(text: str, table: ClassTable) -> Classes:
    """The ids of the classes that a label may stand for: "Road", "Car or Pedestrian", "not Road or Pavement" (any other
    class), each a class or a group of the table; empty for "ignore".

    Raises:
        ConfigError: a name is neither a class nor a group, or no class is left.
    """
    if text == IGNORED:
        return frozenset()
    names = text.removeprefix("not ").split(" or ")
    ids = frozenset(found for name in names for found in _ids(name.strip(), table))
    if text.startswith("not "):
        ids = frozenset(range(len(table))) - ids
    if not ids:
        raise ConfigError(f"{text!r} excludes every class")
    return ids


def _ids(name: str, table: ClassTable) -> tuple[int, ...]:
    """Of a class; where none has that name, of a group."""
    return (table.names.index(name),) if name in table.names else table.ids(name)


class Unions:
    """Mask ids of the unions of classes that a recipe's data sets use."""

    def __init__(self, table: ClassTable, unions: Iterable[Classes] = ()) -> None:
        """Ids depend on the set of unions alone, not on their order.

        Raises:
            ConfigError: there are more than one byte holds.
        """
        distinct = sorted({union for union in unions if 1 < len(union) < len(table)}, key=sorted)
        if HIGHEST_ID - len(distinct) < max(len(table), table.ignore_id if table.ignore_id != 255 else 0):
            raise ConfigError(f"a recipe can use {HIGHEST_ID - len(table)} unions of classes, got {len(distinct)}")
        self.table = table
        self.ids: Mapping[Classes, int] = {union: HIGHEST_ID - place for place, union in enumerate(distinct)}

    def id_of(self, classes: Classes) -> int:
        """The mask id of a class, a union, or of a label without information: no classes, or all of them."""
        if len(classes) in (0, len(self.table)):
            return self.table.ignore_id
        if len(classes) == 1:
            return next(iter(classes))
        if classes not in self.ids:
            names = " or ".join(self.table.names[i] for i in sorted(classes))
            raise ConfigError(f"expected labels of one class each, got {names}; only `train` takes unions")
        return self.ids[classes]

    @property
    def members(self) -> NDArray[np.bool_]:
        """bool (256, C): the classes that each mask id allows; none where it is ignored."""
        members = np.zeros((256, len(self.table)), np.bool_)
        np.fill_diagonal(members, True)
        if self.table.ignore_id < len(self.table):
            members[self.table.ignore_id] = False
        for classes, mask_id in self.ids.items():
            members[mask_id, list(classes)] = True
        return members
