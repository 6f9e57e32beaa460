"""Patterns of files such as "drive/**/*.png": as the standard library's glob finds them, with an end in huge trees."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from fnmatch import translate
from functools import cache
from pathlib import Path

from edge.errors import SourceError

ENTRIES_MAX = 1_000_000  # looked at for one pattern: some seconds on a local disk


def matching(pattern: str) -> list[Path]:
    """The files and folders that a pattern of *, ?, [...] and ** matches, in no order; hidden ones if it names the dot.

    Unlike glob, `**` enters each folder once, however many links lead there.

    Raises:
        SourceError: more than `ENTRIES_MAX` files and folders would have to be looked at.
    """
    parts = Path(pattern).parts
    search = _Search(pattern)
    found = search.below(parts[0], parts[1:]) if Path(pattern).is_absolute() else search.below("", parts)
    return [Path(path) for path in dict.fromkeys(found)]


def is_pattern(name: str) -> bool:
    """Whether a name holds a sign of patterns; a file may be called so all the same."""
    return any(sign in name for sign in "*?[")


def below(folder: Path) -> list[Path]:
    """All files and folders below one, hidden ones too, in no order. Each folder is entered once.

    Raises:
        SourceError: there are more than `ENTRIES_MAX`.
    """
    search = _Search(str(folder))
    inner = search.tree(str(folder), hidden=True)
    return [Path(entry.path) for each in inner for entry in search.entries(each)]


class _Search:
    def __init__(self, pattern: str) -> None:
        self._pattern, self._seen = pattern, 0

    def below(self, folder: str, parts: Sequence[str]) -> Iterator[str]:
        """What the parts of a pattern match in a folder; "" is the current one."""
        if not parts:
            yield folder
            return
        part, rest = parts[0], parts[1:]
        if part == "**":
            for inner in self.tree(folder):
                yield from self.below(inner, rest or ("*",))
        elif is_pattern(part):
            for entry in self.entries(folder):
                if _matcher(part).match(entry.name) and (part.startswith(".") or not entry.name.startswith(".")):
                    yield from self.below(os.path.join(folder, entry.name), rest)  # noqa: PTH118 quicker by far
        elif os.path.lexists(path := os.path.join(folder, part)):  # noqa: PTH118
            yield from self.below(path, rest)

    def tree(self, folder: str, *, hidden: bool = False) -> Iterator[str]:
        """The folder and all folders below it."""
        entered: set[tuple[int, int]] = set()
        waiting = [folder]
        while waiting:
            inner = waiting.pop()
            try:
                status = os.stat(inner or ".")  # noqa: PTH116
            except OSError:
                continue
            if (key := (status.st_dev, status.st_ino)) in entered:
                continue
            entered.add(key)
            yield inner
            waiting += [
                os.path.join(inner, entry.name)  # noqa: PTH118
                for entry in self.entries(inner)
                if (hidden or not entry.name.startswith(".")) and _is_folder(entry)
            ]

    def entries(self, folder: str) -> Iterator[os.DirEntry[str]]:
        """What lies in a folder; nothing in what is not one, or may not be read."""
        try:
            entries = os.scandir(folder or ".")
        except OSError:
            return
        with entries:
            for entry in _readable(entries):
                self._seen += 1
                if self._seen > ENTRIES_MAX:
                    raise SourceError(
                        f"{self._pattern}: more than {ENTRIES_MAX} files and folders lie there."
                        " Name a folder further down"
                    )
                yield entry


def _readable(entries: Iterator[os.DirEntry[str]]) -> Iterator[os.DirEntry[str]]:
    """Up to where the system refuses more: /proc opens folders that it does not list, and some vanish meanwhile."""
    with suppress(PermissionError, FileNotFoundError, ProcessLookupError):
        yield from entries


@cache
def _matcher(part: str) -> re.Pattern[str]:
    return re.compile(translate(part))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False
