"""Which values a folder's masks hold, and what to call them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge.errors import ConfigError, DataError
from edge.train.data import read_ids
from edge.train.label_sets import UNLABELLED
from edge.train.own_classes import CLASSES_MAX
from edge.train.shapes import BACKGROUND
from edge.train.yolo import find_names, names_in

MASKS_MAX = 1000  # that are read, spread evenly over the folder
COLOURS_MAX = 64
DENSE_BELOW = 32  # ids up to here are taken for 0, 1, 2, ... even where some are not shown


@dataclass(frozen=True)
class MaskClasses:
    """The names of classes, and what to write under `map`; None where ids are the classes' own."""

    names: list[str]
    map: dict[str, str] | None
    note: str


def describe_masks(paths: Sequence[Path], names: Sequence[str], labels: Path) -> MaskClasses:
    """What masks of these files hold. `names` are the classes' by id; without, a names file beside or above `labels`
    is asked, and then they are numbered.

    Raises:
        DataError: a mask cannot be read, or holds more colours than classes have.
        ConfigError: there are fewer names than ids, or names for colours, of which none says which it is.
    """
    ids, colours = _values(paths)
    if colours:
        return _coloured(colours, names, labels)
    if ids == {0, 255}:
        return _of_two(names, labels)
    ids -= {UNLABELLED}
    if not ids:
        raise DataError(f"{labels}: no mask has a labelled pixel")
    given = list(names) or _written_names(labels)
    return _named(sorted(ids), given, labels) if given else _numbered(sorted(ids))


def _values(paths: Sequence[Path]) -> tuple[set[int], set[tuple[int, int, int]]]:
    """The ids, and of coloured masks the RGB colours."""
    places = np.unique(np.linspace(0, len(paths) - 1, min(MASKS_MAX, len(paths))).round().astype(int))
    ids: set[int] = set()
    colours: set[tuple[int, int, int]] = set()
    for place in places:
        path = paths[int(place)]
        if not path.exists():
            raise DataError(f"{path}: is missing; every frame needs a mask")
        mask = read_ids(path)
        if mask.dtype != np.uint8:
            raise DataError(f"{path}: expected ids or colours of 8 bits, got {mask.dtype}")
        if mask.ndim == 2:
            ids.update(np.flatnonzero(np.bincount(mask.reshape(-1), minlength=256)).tolist())
            continue
        packed = mask[..., :3].astype(np.int32) @ np.array([1, 256, 65536], np.int32)  # BGR
        colours.update((int(c) >> 16, int(c) >> 8 & 255, int(c) & 255) for c in np.unique(packed))
        if len(colours) > COLOURS_MAX:
            raise DataError(
                f"{path}: expected at most {COLOURS_MAX} colours in all masks, got more: are they smoothed or JPEG?"
            )
    if ids and colours:
        raise DataError(f"{paths[0].parent}: expected masks of ids or of colours, got both")
    return ids, colours


def _coloured(colours: set[tuple[int, int, int]], names: Sequence[str], labels: Path) -> MaskClasses:
    if names:
        raise ConfigError(
            f"{labels}: its masks are coloured, and which colour is which class is not known. Leave --classes out, and"
            " name them in the recipe that is written"
        )
    found = {f"#{r:02x}{g:02x}{b:02x}": (r, g, b) for r, g, b in sorted(colours)}
    meanings = {text: BACKGROUND if rgb == (0, 0, 0) else f"class_{text[1:]}" for text, rgb in found.items()}
    return MaskClasses(
        list(meanings.values()), meanings, "Masks of colours: give the classes in the recipe their names"
    )


def _of_two(names: Sequence[str], labels: Path) -> MaskClasses:
    """Masks of 0 and 255, as of one class."""
    given = [name for name in names if name != BACKGROUND] or ["object"]
    if len(given) > 1:
        raise ConfigError(f"{labels}: its masks hold 0 and 255, one class; expected one name, got {', '.join(given)}")
    meanings = {"0": BACKGROUND, "255": given[0]}
    return MaskClasses([BACKGROUND, *given], meanings, "Masks of 0 and 255")


def _written_names(labels: Path) -> list[str]:
    """Of data.yaml or classes.txt."""
    file = find_names(labels)
    return names_in(file) if file else []


def _named(ids: Sequence[int], names: list[str], labels: Path) -> MaskClasses:
    held = ", ".join(map(str, ids[:20])) + (", ..." if len(ids) > 20 else "")
    if ids[-1] < len(names):
        return MaskClasses(names, None, f"Masks of the ids {held}")
    if len(ids) == len(names):
        return MaskClasses(names, dict(zip(map(str, ids), names, strict=True)), f"Masks of the ids {held}")
    raise ConfigError(f"{labels}: its masks hold the {len(ids)} ids {held}; expected a name for each, got {len(names)}")


def _numbered(ids: Sequence[int]) -> MaskClasses:
    """Names to be replaced in the recipe."""
    note = "What the ids mean is not known: give the classes in the recipe their names, or name them with --classes"
    if ids[-1] < DENSE_BELOW:
        return MaskClasses([f"class_{i}" for i in range(max(2, ids[-1] + 1))], None, note)
    if len(ids) > CLASSES_MAX:
        raise DataError(f"expected at most {CLASSES_MAX} ids in masks, got {len(ids)}")
    meanings = {str(i): f"class_{i}" for i in ids}
    return MaskClasses(list(meanings.values()), meanings, note)
