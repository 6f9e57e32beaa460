"""What tests share that is no fixture. Not in conftest.py, a name that several folders have."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from edge.card import Card
from edge.classes import make_table
from edge.engine import Bundle

MakeCard = Callable[..., Card]
AsNobody = Callable[[], AbstractContextManager[None]]

COLOUR_WH = (64, 48)
STREET_WH = (150, 91)
COLOURS = make_table(
    rows=[("Blue", (0, 0, 255)), ("Green", (0, 255, 0)), ("Red", (255, 0, 0))],
    groups={"warm": ["Red", "Green"], "cold": ["Blue"]},
    tints={"warm": (255, 60, 60)},
    ignore_id=255,
)


def graph_of(bundle: Bundle) -> bytes:
    """The verified bytes of its first graph, which is in floating point."""
    return bundle.read(bundle.card.graphs[0])
