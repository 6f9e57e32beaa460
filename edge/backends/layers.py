"""In which precision the layers of a compiled graph really run: a library falls back where it has no quick form."""

from __future__ import annotations

from collections.abc import Mapping


def layers_text(precision: str, counts: Mapping[str, int]) -> str:
    """Such as "54 of 56 layers in int8, 2 in f32"; "" where the library does not report it.

    `counts` holds the number of convolutions and matrix products by precision; `precision` is the one asked for.
    """
    if not counts:
        return ""
    others = [f"{count} in {name}" for name, count in sorted(counts.items()) if name != precision]
    return ", ".join([f"{counts.get(precision, 0)} of {sum(counts.values())} layers in {precision}", *others])


def mostly_in(precision: str, counts: Mapping[str, int]) -> bool:
    """Whether at least half of the layers run in it, or nothing is known."""
    return 2 * counts.get(precision, 0) >= sum(counts.values())
