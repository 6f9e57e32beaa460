"""The files of a folder as people see them: frame_2 before frame_10, and none that is hidden."""

from __future__ import annotations

import re
from pathlib import Path

_DIGITS = re.compile(r"([0-9]+)")


def natural_key(path: Path) -> tuple[object, ...]:
    """A key for sorting paths: folder by folder, numbers in names as numbers. Equal numbers keep the order of names.

    >>> [path.name for path in sorted(map(Path, ["f10.png", "f2.png", "f02.png"]), key=natural_key)]
    ['f02.png', 'f2.png', 'f10.png']
    """
    return tuple(_part_key(part) for part in path.parts), path.parts


def _part_key(part: str) -> tuple[tuple[int, str], ...]:
    """Text and digits in turn; a number is compared by its length first, since int() refuses 5,000 digits."""
    pieces = _DIGITS.split(part)
    numbers = [piece.lstrip("0") for piece in pieces[1::2]]
    keys = [(0, piece) for piece in pieces]
    keys[1::2] = [(len(number), number) for number in numbers]
    return tuple(keys)


def is_hidden(path: Path) -> bool:
    """Whether it is passed over where a folder is listed: macOS leaves ._NAME beside each NAME."""
    return path.name.startswith(".")
