"""The service's config with slips of the pen, of the editor and of the disk: refused in words, or taken as written."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import yaml
from mutants import Finding, mutated

from edge.config import _StrictLoader, load_yaml
from edge.errors import EdgeError
from edge.service.config import ServeConfig

_INSTALLED = Path(__file__).parents[2] / "systemd" / "edge.yaml"
_NASTY = (
    *(
        "no",
        "yes",
        "~",
        "null",
        "010",
        "0x1F",
        "1e3",
        "12:30:00",
        "2025-12-31",
        ".inf",
        "-.inf",
        ".nan",
        "-1",
        "0",
        "1_0",
    ),
    *(
        "99999999999999999999",
        "1.5",
        "''",
        "[]",
        "{}",
        "[1, 2",
        "{a: 1",
        "- 1",
        "*a",
        "&a 1",
        "<<: *a",
        "!!python/none",
    ),
    *(
        "!!binary aGk=",
        "!!set {a}",
        "!!float 1",
        "? a",
        "a: b: c",
        "|",
        ">",
        "'",
        '"',
        "\\",
        "\t",
        "\0",
        "\x1b[2J",
        "#",
        "%",
    ),
    *(
        "@",
        "`",
        "---",
        "...",
        "é",
        "\u202e",
        "\ud7ff",
        "\ufeff",
        "[" * 60,
        "{a: " * 60,
        "camera: 0",
        "road: road",
        "x" * 300,
    ),
)


class Configs:
    def __init__(self, folder: Path) -> None:
        self._path = folder / "edge.yaml"
        # The installed one, with what is commented out in it in force.
        self._text = re.sub(r"^( *)#(?=\w+:|  +\w)", r"\1", _INSTALLED.read_text(), flags=re.MULTILINE)
        self._path.write_text(self._text)
        self._whole = load_yaml(self._path, ServeConfig)

    def try_one(self, chance: random.Random) -> str:
        self._path.write_bytes(_mutant(self._text, chance))
        try:
            config = load_yaml(self._path, ServeConfig)
        except EdgeError as refusal:
            if not str(refusal).startswith(str(self._path)) or not str(refusal).replace("\n", "").isprintable():
                raise Finding(
                    f"a refusal that does not name the file, or is not fit to be shown: {refusal!r}"
                ) from None
            return "refused"
        written = yaml.load(self._path.read_bytes().decode(), _StrictLoader)
        meant = json.loads(config.model_dump_json(exclude_unset=True))
        if wrong := _bent(written, meant):
            raise Finding(f"another value than was written: {wrong}")
        return "means the same" if config == self._whole else "another good config"

    def close(self) -> None:
        pass


def _mutant(text: str, chance: random.Random) -> bytes:
    if chance.random() < 0.4:
        return mutated(text.encode(), chance)
    lines = text.splitlines()
    for _ in range(chance.randint(1, 3)):
        chance.choice([_put_nasty, _put_nasty, _put_nasty, _lose, _double, _swap, _shift])(lines, chance)
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def _put_nasty(lines: list[str], chance: random.Random) -> None:
    place, nasty = chance.randrange(len(lines)), chance.choice(_NASTY)
    key, colon, _ = lines[place].partition(":")
    lines[place] = f"{key}{colon} {nasty}" if colon and chance.random() < 0.8 else nasty


def _lose(lines: list[str], chance: random.Random) -> None:
    if len(lines) > 1:
        del lines[chance.randrange(len(lines))]


def _double(lines: list[str], chance: random.Random) -> None:
    lines.insert(chance.randrange(len(lines)), chance.choice(lines))


def _swap(lines: list[str], chance: random.Random) -> None:
    first, second = chance.randrange(len(lines)), chance.randrange(len(lines))
    lines[first], lines[second] = lines[second], lines[first]


def _shift(lines: list[str], chance: random.Random) -> None:
    place = chance.randrange(len(lines))
    lines[place] = " " * chance.randint(1, 3) + lines[place] if chance.random() < 0.5 else lines[place].lstrip()


def _bent(written: Any, meant: Any, where: str = "") -> str:
    """Where a config says something else than was written: 1 is 1.0, but neither true nor "1". Defaults come along."""
    if isinstance(written, dict) and isinstance(meant, dict):
        faults = [f"{where}.{key} is lost" for key in written.keys() - meant.keys()]
        faults += [_bent(written[key], meant[key], f"{where}.{key}") for key in written.keys() & meant.keys()]
        return ", ".join(filter(None, faults))
    if isinstance(written, list) and isinstance(meant, list) and len(written) == len(meant):
        pairs = zip(written, meant, strict=True)
        return ", ".join(filter(None, (_bent(*pair, f"{where}.{place}") for place, pair in enumerate(pairs))))
    same_kind = isinstance(written, bool) == isinstance(meant, bool) and isinstance(written, str) == isinstance(
        meant, str
    )
    return (
        ""
        if same_kind and (written == meant or _is_float(written, meant))
        else f"{where}: {written!r} became {meant!r}"
    )


def _is_float(written: Any, meant: Any) -> bool:
    """Whether one is the other as a float has it."""
    return isinstance(written, int) and isinstance(meant, float) and float(written) == meant
