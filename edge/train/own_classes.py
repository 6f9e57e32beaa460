"""The classes that a recipe names itself: `classes: [background, cat, dog]`, or a row of colour and group for each."""

from __future__ import annotations

import colorsys
import re
from collections.abc import Mapping
from typing import Any

from pydantic import Field, field_validator

from edge.classes import CAMVID, ClassTable, Rgb
from edge.config import StrictModel

UNTINTED = ("background", "void", "unlabelled", "unlabeled")  # no group of their own, grey, never painted over frames
GREY: Rgb = (96, 96, 96)
IGNORE_ID = 255
CLASSES_MAX = 253  # one byte a pixel: 255 means "no label", 254 is left for a union of classes
_GOLDEN = 0.618034  # of the circle of hues: neighbouring classes are far apart


class OwnClass(StrictModel):
    """One class. `colour` is "#rrggbb" or [red, green, blue], one from a palette if left out; `group` is the mask that
    it belongs to, its own name in lower case if left out.
    """

    colour: Rgb | None = None
    group: str | None = Field(default=None, min_length=1)

    @field_validator("colour", mode="before")
    @classmethod
    def _reads_hexadecimal(cls, given: Any) -> Any:
        found = re.fullmatch(r"#([0-9a-fA-F]{6})", given) if isinstance(given, str) else None
        rgb = list(bytes.fromhex(found[1])) if found else given
        is_rgb = isinstance(rgb, (list, tuple)) and len(rgb) == 3
        if rgb is not None and not (is_rgb and all(type(part) is int and 0 <= part <= 255 for part in rgb)):
            raise ValueError('expected a colour, "#rrggbb" in quotes or [red, green, blue] of 0 to 255')
        return rgb if rgb is None else tuple(rgb)  # strict by now, which refuses lists


def as_rows(given: Any) -> Any:
    """What YAML holds under `classes` as a mapping of names; the name of a known table is left as it is.

    Raises:
        ValueError: a name is empty, or occurs twice.
    """
    if isinstance(given, dict):
        return {str(name): {} if row is None else row for name, row in given.items()}
    if not isinstance(given, list):
        return given
    if wrong := [name for name in given if not isinstance(name, str) or not name.strip()]:
        raise ValueError(f"expected names, got {wrong[0]!r}")
    if twice := [name for place, name in enumerate(given) if name in given[:place]]:
        raise ValueError(f"{twice[0]!r} occurs twice")
    return {name: {} for name in given}


def check_rows(rows: Mapping[str, OwnClass]) -> None:
    """Raises:
    ValueError: there are too few classes, or too many for a byte.
    """
    if len(rows) < 2:
        example = f"classes: [background, {next(iter(rows), 'cat')}]"
        raise ValueError(f"expected 2 classes or more, got {len(rows)}; everything else is one: {example}")
    if len(rows) > CLASSES_MAX:
        raise ValueError(f"expected at most {CLASSES_MAX} classes, got {len(rows)}")


def own_table(rows: Mapping[str, OwnClass]) -> ClassTable:
    """Ids in the order of `rows`. Every group is a mask, tinted in the first colour that its classes were given; one
    that edge knows, such as "road", has its usual tint where none was.
    """
    colours = {name: row.colour or _colour(name, place) for place, (name, row) in enumerate(rows.items())}
    groups: dict[str, list[str]] = {}
    for name, row in rows.items():
        if group := row.group or ("" if name.lower() in UNTINTED else name.lower()):
            groups.setdefault(group, []).append(name)
    tints = {
        group: next((rows[name].colour for name in names if rows[name].colour), None)
        or CAMVID.tints.get(group, colours[names[0]])
        for group, names in groups.items()
    }
    members = {group: tuple(names) for group, names in groups.items()}
    return ClassTable(tuple(rows), tuple(colours.values()), members, tints, IGNORE_ID)


def _colour(name: str, place: int) -> Rgb:
    """Of a class without one: bright, and unlike its neighbours'."""
    if name.lower() in UNTINTED:
        return GREY
    red, green, blue = colorsys.hsv_to_rgb(place * _GOLDEN % 1, 0.75, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)
