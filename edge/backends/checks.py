"""What every backend checks when it opens an engine, in the same words."""

from __future__ import annotations

import os
from collections.abc import Collection

from edge.card import Card
from edge.errors import EngineError
from edge.outputs import Output

Ports = tuple[set[str], set[str]]  # inputs and outputs, as `port` spells them


def checked_precision(precision: str | None, card: Card, label: str, known: Collection[str]) -> str:
    """The precision asked for, or the card's own where the backend has it, else f32.

    Raises:
        EngineError: the backend does not know it.
    """
    if precision is None:
        return card.precision if card.precision in known else "f32"
    if precision not in known:
        raise EngineError(f"expected a precision of {label}: {', '.join(known)}; got {precision!r}")
    return precision


def checked_threads(threads: int | None) -> int:
    """The number of CPU threads asked for, or all that this process may run on.

    Raises:
        EngineError: there are not so many.
    """
    available = len(os.sched_getaffinity(0))
    if threads is None:
        return available
    if not 1 <= threads <= available:
        raise EngineError(f"expected 1 to {available} threads, which this process may use, got {threads}")
    return threads


def port(dtype: str, shape: Collection[object], name: str = "") -> str:
    """An input or output as it is compared and shown: "uint8 [1,480,640] semantic"."""
    return f"{dtype} [{','.join(map(str, shape))}] {name}".rstrip()


def check_ports(found: Ports, outputs: Collection[Output], input_wh: tuple[int, int], origin: str) -> None:
    """A graph must take what a camera gives, and give what its card lists; an input's name does not matter.

    Raises:
        EngineError: it does not.
    """
    width, height = input_wh
    listed = {port(output.dtype, (1, *output.shape_at(input_wh)), output.tensor) for output in outputs}
    expected: Ports = {port("uint8", (1, height, width, 3))}, listed
    if found != expected:
        got, said = (" -> ".join(" and ".join(sorted(side)) for side in sides) for sides in (found, expected))
        raise EngineError(f"{origin} of {said}, as its card says, got {got}")


def streams_of(side_by_side: bool | int, threads: int) -> int:
    """How many frames are worked on at once: by default one; True: as many as there are threads; or so many."""
    return threads if side_by_side is True else max(1, min(int(side_by_side), threads))
