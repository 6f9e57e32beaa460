"""What labels leave open, settled by an engine where it is sure: "not Road" says little, and a net drifts in it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge.classes import ClassTable
from edge.engine import Engine
from edge.errors import ConfigError
from edge.frame import Image
from edge.train.augment import Pair
from edge.train.recipe import Settled
from edge.train.unions import Unions

_NONE = 255


def settled(pairs: Sequence[Pair], plan: Settled, unions: Unions, engine: Engine) -> list[Pair]:
    """The pairs, uint8 (h, w, 3) BGR and (h, w) mask ids: a pixel that may be of several classes has the id of one that
    the plan names, where the engine, which gives "confidence", is sure of it.

    Raises:
        ConfigError: the engine does not have a class that the plan names.
        EngineError: the engine cannot be run.
    """
    ours = _our_ids(plan, engine.card.table, unions.table)
    members = unions.members
    is_open = members.sum(1) > 1

    def one(image: Image, labels: Image) -> Image:
        if not is_open[labels].any():
            return labels
        found = engine.predict(image)
        assert found.confidence is not None
        said = ours[found.class_map()]
        sure = found.letterbox.to_source(found.confidence) >= round(255 * plan.confidence)
        allowed = is_open[labels] & (said != _NONE) & members[labels, np.minimum(said, len(unions.table) - 1)]
        return np.where(sure & allowed, said, labels)

    return [(image, one(image, labels)) for image, labels in pairs]


def _our_ids(plan: Settled, theirs: ClassTable, table: ClassTable) -> Image:
    """uint8 (256,): the net's id of each class of the engine; `_NONE` of those that the plan does not name."""
    ids = np.full(256, _NONE, np.uint8)
    for name in plan.classes:
        if name not in theirs.names:
            raise ConfigError(
                f"settled.classes: {plan.engine} has no class {name!r}; it has: {', '.join(theirs.names)}"
            )
        ids[theirs.names.index(name)] = table.names.index(name)
    return ids
