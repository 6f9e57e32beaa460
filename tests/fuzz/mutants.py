"""Damage by chance, the same for the same seed: what disks, networks, editors and bad memory do to bytes."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Protocol


class Finding(AssertionError):
    """A mutant that was not treated as it should be."""


class Target(Protocol):
    """What is fuzzed: made once with a folder of its own, then tried again and again."""

    def __init__(self, folder: Path) -> None: ...

    def try_one(self, chance: random.Random) -> str:
        """Make one mutant and look what becomes of it; in a word or two.

        Raises:
            Finding: it is not treated as it should be.
            Exception: any other that is not one of ours is a finding too.
        """
        ...

    def close(self) -> None: ...


def chance_of(seed: int, number: int) -> random.Random:
    """The dice of one case: a finding is made again from seed and number alone."""
    return random.Random(f"{seed}/{number}")


def mutated(data: bytes, chance: random.Random, first: float = 0.0, last: float = 1.0) -> bytes:
    """One to three kinds of damage between two shares of its length; other than `data`, which is not empty."""
    changed = data
    while changed == data:
        for _ in range(chance.randint(1, 3)):
            low, high = round(len(changed) * first), max(1, round(len(changed) * last))
            changed = chance.choice(_DAMAGES)(changed, min(low, high - 1), high, chance)
    return changed


def _flip(data: bytes, low: int, high: int, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 20]) if data else 0):
        changed[chance.randrange(low, min(high, len(data)))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _zero(data: bytes, low: int, high: int, chance: random.Random) -> bytes:
    """A sector that cannot be read."""
    start, length = chance.randrange(low, high), chance.choice([1, 16, 512])
    return data[:start] + bytes(len(data[start : start + length])) + data[start + length :]


def _noise(data: bytes, low: int, high: int, chance: random.Random) -> bytes:
    start, length = chance.randrange(low, high), chance.choice([1, 4, 64])
    return data[:start] + chance.randbytes(len(data[start : start + length])) + data[start + length :]


def _insert(data: bytes, low: int, high: int, chance: random.Random) -> bytes:
    start = chance.randrange(low, high)
    return data[:start] + chance.randbytes(chance.choice([1, 4, 64, 512])) + data[start:]


def _take_out(data: bytes, low: int, high: int, chance: random.Random) -> bytes:
    start = chance.randrange(low, high)
    return data[:start] + data[start + chance.choice([1, 4, 64, 512]) :]


def _repeat(data: bytes, low: int, high: int, chance: random.Random) -> bytes:
    start, length = chance.randrange(low, high), chance.choice([1, 16, 188, 512])
    return data[: start + length] + data[start:]


def _cut(data: bytes, low: int, high: int, chance: random.Random) -> bytes:
    return data[: chance.randrange(low, high)] or data[:1]


_Damage = Callable[[bytes, int, int, random.Random], bytes]
_DAMAGES: list[_Damage] = [_flip, _flip, _flip, _zero, _noise, _insert, _take_out, _repeat, _cut]
