"""JSON objects read strictly, key by key, all misfits collected: what a card needs, without pydantic's import time.

A converter gives None for what it does not take.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Callable
from typing import Any, TypeVar, cast

from edge.classes import Rgb
from edge.errors import EngineError

JSON_LIMIT_BYTES = 1 << 20
_DIGITS = 20  # of a whole number: one that is longer fits no machine word, and no float

Value = TypeVar("Value")


def parse_json(text: str, origin: str) -> Any:
    """The tree of a JSON text (RFC 8259): no key twice, no NaN or Infinity. `origin` names it in errors.

    Raises:
        EngineError: it is not JSON, or larger than `JSON_LIMIT_BYTES`.
    """
    if len(text.encode()) > JSON_LIMIT_BYTES:
        raise EngineError(f"{origin}: is larger than {JSON_LIMIT_BYTES} bytes, which no card is")
    try:
        return json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_refuse_constant, parse_int=bounded_int)
    except (ValueError, RecursionError) as error:  # RecursionError: brackets nested thousands deep
        raise EngineError(f"{origin}: is not valid JSON: {error}") from error


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {next(key for key in keys if keys.count(key) > 1)!r} occurs twice")
    return tree


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is not a number JSON has")


def bounded_int(text: str) -> int:
    """A whole number in JSON; `parse_int` of `json.loads`.

    Raises:
        ValueError: it has more digits than a machine word.
    """
    if len(text) > _DIGITS:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


class Reader:
    """One JSON object, read key by key. Misfits are collected, so that a person sees all of them at once."""

    def __init__(self, tree: Any, where: str = "", problems: list[str] | None = None) -> None:
        self.problems: list[str] = [] if problems is None else problems
        self._where = where
        self._asked: list[str] = []
        self._tree: dict[str, Any] = tree if isinstance(tree, dict) else {}
        if not isinstance(tree, dict):
            self.problems.append(f"{where or 'the whole file'}: expected an object, got {_short(tree)}")

    def take(self, key: str, expected: str, convert: Callable[[Any], Value | None]) -> Value:
        """The value of `key`; `convert` gives None for what is not `expected`. After a misfit the result is nonsense,
        and only the problem list counts.
        """
        self._asked.append(key)
        if key not in self._tree:
            self.problems.append(f"{self._where}{key}: is missing")
            return cast("Value", None)
        value = convert(self._tree[key])
        if value is None:
            self.problems.append(f"{self._where}{key}: expected {expected}, got {_short(self._tree[key])}")
        return cast("Value", value)

    def text(self, key: str) -> str:
        """Any text, also an empty one."""
        return self.take(key, "text", lambda v: v if isinstance(v, str) else None)

    def matching(self, key: str, expected: str, pattern: str) -> str:
        """A text that matches `pattern` from end to end; `expected` says in words what that is."""
        return self.take(key, expected, lambda v: v if isinstance(v, str) and re.fullmatch(pattern, v) else None)

    def sha256(self, key: str) -> str:
        """64 hex digits, in lower case."""
        return self.matching(key, "a SHA-256 in 64 hex digits", "[0-9a-f]{64}")

    def whole(self, key: str, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        return self.take(key, f"a whole number from {low} to {high}", lambda v: as_whole(v, low, high))

    def number(self, key: str, high: float) -> float:
        """A number from 0 to `high`, both included."""
        return self.take(key, f"a number from 0 to {high:g}", lambda v: as_number(v, high))

    def null(self, key: str) -> bool:
        """Whether the key is there and null."""
        self._asked.append(key)
        return key in self._tree and self._tree[key] is None

    def has(self, key: str) -> bool:
        """Whether a key that may be missing is there."""
        return key in self._tree

    def part(self, key: str) -> Reader:
        """The object under `key`, its problems joining ours."""
        self._asked.append(key)
        return Reader(self._tree.get(key), f"{self._where}{key}.", self.problems)

    def parts(self, key: str) -> list[Reader]:
        """The objects in the list under `key`."""
        items = self.take(key, "a list", lambda v: v if isinstance(v, list) else None) or []
        return [Reader(item, f"{self._where}{key}.{place}.", self.problems) for place, item in enumerate(items)]

    def no_more(self) -> None:
        """Every key that was not asked for is a problem."""
        for key in self._tree.keys() - self._asked:
            close = difflib.get_close_matches(key, self._asked, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            self.problems.append(f"{self._where}{key}: no such key{hint}")


def as_whole(value: Any, low: int, high: int) -> int | None:
    """From `low` to `high`, both included; `true` and 1.0 are no whole numbers."""
    return value if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high else None


def as_number(value: Any, high: float) -> float | None:
    """From 0 to `high`, both included; `true` is no number."""
    fits = (
        isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and 0 <= value <= high
    )
    return float(value) if fits else None


def as_points(value: Any, low: float = -100.0) -> float | None:
    """Points of per cent, from `low` to 100."""
    fits = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if fits and low <= value <= 100 else None


def as_rgb(value: Any) -> Rgb | None:
    """[red, green, blue], 0 to 255 each."""
    fits = isinstance(value, list) and len(value) == 3 and all(as_whole(v, 0, 255) is not None for v in value)
    return (value[0], value[1], value[2]) if fits else None


def as_size_wh(value: Any) -> tuple[int, int] | None:
    """[width, height], 8 to 8192 pixels each."""
    fits = isinstance(value, list) and len(value) == 2 and all(as_whole(v, 8, 8192) is not None for v in value)
    return (value[0], value[1]) if fits else None


def as_values(value: Any, convert: Callable[[Any], Value | None]) -> dict[str, Value] | None:
    """An object whose values all convert, else None."""
    if not isinstance(value, dict):
        return None
    converted = {key: convert(item) for key, item in value.items()}
    return None if None in converted.values() else cast("dict[str, Value]", converted)


def as_texts(value: Any) -> tuple[str, ...] | None:
    """A list of texts, which may be empty."""
    return tuple(value) if isinstance(value, list) and all(isinstance(item, str) for item in value) else None


def as_groups(value: Any) -> dict[str, tuple[str, ...]] | None:
    """Lists of class names, by the group's name."""
    return as_values(value, as_texts)


def as_losses(value: Any) -> dict[str, dict[str, float]] | None:
    """Points lost, by limit, by graph file."""
    return as_values(value, lambda lost: as_values(lost, as_points))


def as_shares(value: Any) -> dict[str, float | None] | None:
    """A number from 0 to 1 or null, by class name."""
    if not isinstance(value, dict) or any(item is not None and as_number(item, 1) is None for item in value.values()):
        return None
    return {key: None if item is None else float(item) for key, item in value.items()}


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
