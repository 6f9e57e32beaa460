"""What tests share that is no fixture. Not in conftest.py, a name that several folders have."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple

from edge.card import Card, Graph, Versions
from edge.classes import ClassTable, make_table
from edge.engine import Bundle


class Done(NamedTuple):
    """What came of a command."""

    returncode: int
    stdout: str
    stderr: str


Edge = Callable[..., Done]
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


def card_of(
    *graphs: Graph,
    table: ClassTable = COLOURS,
    input_wh: tuple[int, int] = COLOUR_WH,
    name: str = "colours",
    precision: str = "fp32",
    description: str = "which colour a pixel has",
) -> Card:
    """A card of an engine that nobody trained, with all that a card must have."""
    return Card(
        name=name,
        description=description,
        table=table,
        input_wh=input_wh,
        resize="letterbox",
        net="none",
        precision=precision,
        training_data="none",
        licence="Apache-2.0",
        trained_steps=7,
        recipe_sha256="1" * 64,
        created="2025-12-31",
        versions=Versions(edge="0.1.0", torch="2.13.0", opset=17),
        graphs=graphs,
        weights_sha256="2" * 64,
    )


def graph_of(bundle: Bundle) -> bytes:
    """The verified bytes of its first graph, which is in floating point."""
    return bundle.read(bundle.card.graphs[0])
