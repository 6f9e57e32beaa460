"""What is in a recipe's data, and what is wrong with it: all of it, before a training of hours stops over one file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge.classes import ClassTable
from edge.errors import ConfigError, DataError
from edge.report import table
from edge.train.data import read_pair
from edge.train.layouts import find_pairs, translation_of
from edge.train.recipe import Folder, Recipe
from edge.train.unions import Unions


@dataclass
class DataSet:
    """One entry of a recipe. `counts`, int64 (C,), are the pixels of each class, `several` those labelled with a union
    of classes, `unlabelled` all others.
    """

    part: str  # train or val
    folder: Folder
    counts: NDArray[np.int64]
    several: int = 0
    unlabelled: int = 0
    frames: int = 0
    drives: set[str] = field(default_factory=set)
    left_out: tuple[str, ...] = ()  # labels that the class map ignores
    digests: dict[str, str] = field(default_factory=dict)  # file by hash of its pixels


@dataclass(frozen=True)
class DataReport:
    """`problems` stop a training or spoil its score; `notes` are for people to judge."""

    table: ClassTable
    sets: list[DataSet]
    problems: list[str]
    notes: list[str]


def check_data(recipe: Recipe, on_frame: Callable[[], None] = lambda: None) -> DataReport:
    """Read every frame and mask that the recipe names; `on_frame` is called for each."""
    problems: list[str] = []
    entries = [("train", folder) for folder in recipe.train] + [("val", recipe.val)]
    try:
        unions = recipe.unions
    except ConfigError as error:
        return DataReport(recipe.table, [], [str(error)], [])
    sets = [_read(part, folder, unions, problems, on_frame) for part, folder in entries]
    problems += _shared_frames(sets)
    return DataReport(recipe.table, sets, problems, [*_notes(sets, recipe.table)])


def _read(part: str, folder: Folder, unions: Unions, problems: list[str], on_frame: Callable[[], None]) -> DataSet:
    classes = unions.table
    found = DataSet(part, folder, np.zeros(len(classes), np.int64))
    try:
        translate = translation_of(folder, classes, unions if part == "train" else None)
        pairs = find_pairs(folder)
    except (ConfigError, DataError) as error:
        problems.append(str(error))
        return found
    found.left_out = translate.left_out
    for labelled in pairs:
        on_frame()
        try:
            image, ids = read_pair(labelled, translate)
        except DataError as error:
            problems.append(str(error))
            continue
        counts = np.bincount(ids.reshape(-1), minlength=256)
        known = counts[: len(classes)].copy()
        known[[i for i in (classes.ignore_id,) if i < len(classes)]] = 0
        found.counts += known
        several = int(counts[list(unions.ids.values())].sum())
        found.several += several
        found.unlabelled += int(counts.sum() - known.sum()) - several
        found.frames += 1
        found.drives.add(labelled.drive)
        _note_twice(found, hashlib.sha256(image.tobytes()).hexdigest(), str(labelled.frame), problems)
    return found


def _note_twice(found: DataSet, digest: str, file: str, problems: list[str]) -> None:
    first = found.digests.setdefault(digest, file)
    if first != file:
        problems.append(f"{file}: is the same image as {first}")


def _shared_frames(sets: list[DataSet]) -> list[str]:
    """A validation frame that is also trained on makes the score worthless."""
    trained = {digest: file for found in sets if found.part == "train" for digest, file in found.digests.items()}
    return [
        f"{file}: is a validation frame, and is trained on as {trained[digest]}"
        for found in sets
        if found.part == "val"
        for digest, file in found.digests.items()
        if digest in trained
    ]


def _notes(sets: list[DataSet], classes: ClassTable) -> list[str]:
    notes = []
    trained = {drive for found in sets if found.part == "train" for drive in found.drives}
    for found in sets:
        if found.left_out:
            notes.append(f"{found.folder.labels}: ignored are the labels {', '.join(found.left_out)}")
        if found.part == "val" and (shared := sorted(found.drives & trained)):
            notes.append(
                f"{found.folder.frames}: {len(shared)} of {len(found.drives)} drives are trained on too"
                f" ({', '.join(shared[:3])}{', ...' if len(shared) > 3 else ''}): its score will flatter"
            )
    totals = np.sum([found.counts for found in sets if found.part == "train"], axis=0)
    if totals.any() and (absent := [name for name, count in zip(classes.names, totals, strict=True) if not count]):
        notes.append(f"no training frame shows {', '.join(absent)}")
    return notes


def report_text(report: DataReport) -> str:
    """The table, then problems and notes, a line each."""
    titles = ("data set", "part", "frames", "drives", *report.table.names, "one of several", "unlabelled")
    # A line for each class: a column for each would be wider than a terminal.
    header, *lines = zip(titles, *(_column(found) for found in report.sets), strict=True)
    text = [table(header, lines)]
    if report.problems:
        text += ["", f"{len(report.problems)} problem(s):", *(f"  {problem}" for problem in report.problems)]
    if report.notes:
        text += ["", "To know:", *(f"  {note}" for note in report.notes)]
    return "\n".join(text)


def report_json(report: DataReport) -> dict[str, object]:
    """The same in numbers: pixels of each class, by data set."""
    sets = [
        {
            "frames_of": found.folder.frames,
            "part": found.part,
            "frames": found.frames,
            "drives": len(found.drives),
            "pixels": dict(zip(report.table.names, found.counts.tolist(), strict=True)),
            "pixels_of_several": int(found.several),
            "pixels_unlabelled": int(found.unlabelled),
        }
        for found in report.sets
    ]
    return {"data_sets": sets, "problems": report.problems, "notes": report.notes}


def _column(found: DataSet) -> tuple[str, ...]:
    shares = [*found.counts.tolist(), found.several, found.unlabelled]
    pixels = sum(shares)
    cells = [f"{count / pixels:.2%}" if pixels else "-" for count in shares]
    name = found.folder.frames if len(found.folder.frames) <= 28 else f"...{found.folder.frames[-25:]}"
    return (name, found.part, str(found.frames), str(len(found.drives)), *cells)
