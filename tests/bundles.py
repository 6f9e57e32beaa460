"""What tests ask of a bundle."""

from __future__ import annotations

from edge.engine import Bundle


def graph_of(bundle: Bundle) -> bytes:
    """The verified bytes of its first graph, which is in floating point."""
    return bundle.read(bundle.card.graphs[0])
