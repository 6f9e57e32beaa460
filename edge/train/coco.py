"""COCO's JSON of instances: polygons and run lengths of named categories, for the layout `coco`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from edge.errors import DataError
from edge.frame import Image
from edge.paths import shown
from edge.regular import read_regular
from edge.rle import read_runs
from edge.train.label_sets import UNLABELLED, LabelSet
from edge.train.shapes import Shape, label_set_of, paint, polygon

LIMIT_BYTES = 1 << 29  # COCO's own largest, instances_train2017.json, has 448 MB
PROBLEMS_MAX = 10  # that are listed; the others are counted


@dataclass
class CocoFrame:
    """An image of the file and what is drawn in it; `place` is where the file has it."""

    file: Path
    place: str
    name: str
    size_wh: tuple[int, int] | None
    shapes: list[Shape] = field(default_factory=list)

    def paint(self, size_wh: tuple[int, int]) -> Image:
        """`edge.train.shapes.Drawn`."""
        if self.size_wh not in (None, size_wh):
            expected, got = ("{}x{}".format(*wh) for wh in (self.size_wh or size_wh, size_wh))
            raise DataError(f"{self.file}: {self.place}: {self.name} is {expected} there, the image is {got}")
        pixels = size_wh[0] * size_wh[1]
        for shape in self.shapes:
            if shape.runs is not None and shape.runs.sum() != pixels:
                raise DataError(
                    f"{self.file}: {self.place}: {self.name} has run lengths of {shape.runs.sum()} pixels, expected"
                    f" {pixels} ({size_wh[0]}x{size_wh[1]})"
                )
        return paint(self.shapes, size_wh)


@dataclass(frozen=True)
class CocoFile:
    """What the file holds: names of the categories, those of them that are drawn, and the images in its order."""

    labels: LabelSet
    drawn: tuple[str, ...]
    frames: tuple[CocoFrame, ...]


def read_coco(path: Path) -> CocoFile:
    """The file; one that was read before and has not changed is not read again.

    Raises:
        DataError: it cannot be read, is too large, or is not COCO's; the first ten problems are listed, each
            with its place.
    """
    try:
        stat = path.stat()
        return _read(path, stat.st_mtime_ns, stat.st_size)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


@lru_cache(maxsize=4)  # classes and frames are asked for one after the other, of train and val
def _read(path: Path, mtime_ns: int, size_bytes: int) -> CocoFile:
    if size_bytes > LIMIT_BYTES:
        raise DataError(f"{path}: expected at most {LIMIT_BYTES >> 20} MiB, got {size_bytes / (1 << 20):.0f}")
    content = read_regular(path, LIMIT_BYTES)
    try:
        tree = json.loads(content)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: line {error.lineno}, column {error.colno}: is not valid JSON: {error.msg}") from None
    except (ValueError, RecursionError) as error:  # not UTF-8, a number of 5000 digits, a thousand brackets
        raise DataError(f"{path}: is not valid JSON: {error}") from None
    del content
    return _Reader(path).read(tree)


class _Reader:
    """One file on its way from JSON; problems are collected and raised at the end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._problems: list[str] = []

    def read(self, tree: Any) -> CocoFile:
        """Of the file's JSON. Raises DataError with all that is wrong in it."""
        categories, images, annotations = (self._list(tree, key) for key in ("categories", "images", "annotations"))
        self._stop_at_problems()
        rows = [(place, row) for place, row in categories if self._has(place, row, id=int, name=str)]
        self._refuse_twice("id", rows)
        self._stop_at_problems()
        labels, values = label_set_of([row["name"] for _, row in rows], self._path)
        by_category = {row["id"]: value for (_, row), value in zip(rows, values, strict=True)}
        images = [(place, row) for place, row in images if self._has(place, row, id=int, file_name=str)]
        self._refuse_twice("id", images)
        self._refuse_twice("file_name", images)
        frames = {row["id"]: self._frame(place, row) for place, row in images}
        for place, row in annotations:
            if self._has(place, row, image_id=int, category_id=int):
                self._draw(place, row, frames, by_category)
        self._stop_at_problems()
        used = {shape.value for frame in frames.values() for shape in frame.shapes}
        drawn = tuple(str(name) for value, name in labels.values.items() if value in used)
        return CocoFile(labels, drawn, tuple(frames.values()))

    def _list(self, tree: Any, key: str) -> list[tuple[str, Any]]:
        """Each element with its place."""
        found = tree.get(key) if isinstance(tree, dict) else None
        if not isinstance(found, list):
            self._problems.append(f"{key}: expected a list, as COCO's instances have, got {shown(found)}")
            return []
        return [(f"{key}[{number}]", row) for number, row in enumerate(found)]

    def _has(self, place: str, row: Any, **kinds: type) -> bool:
        for key, kind in kinds.items():
            value = row.get(key) if isinstance(row, dict) else None
            if type(value) is not kind or value == "":
                words = "a whole number" if kind is int else "text"
                self._problems.append(f"{place}.{key}: expected {words}, got {shown(value)}")
                return False
        return True

    def _refuse_twice(self, key: str, rows: list[tuple[str, Any]]) -> None:
        """Two files joined without numbering them anew: the labels of one would be taken for the other's."""
        first: dict[Any, str] = {}
        for place, row in rows:
            if (other := first.setdefault(row[key], place)) != place:
                self._problems.append(f"{place}.{key}: {shown(row[key])} is that of {other} already")

    def _frame(self, place: str, row: Mapping[str, Any]) -> CocoFrame:
        name = row["file_name"].replace("\\", "/")
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\0" in name:
            self._problems.append(f"{place}.file_name: expected a path below the frames' folder, got {shown(name)}")
        width, height = row.get("width"), row.get("height")
        size_wh = (width, height) if type(width) is int and type(height) is int else (0, 0)
        return CocoFrame(self._path, place, name, size_wh if min(size_wh) > 0 else None)

    def _draw(
        self, place: str, row: Mapping[str, Any], frames: Mapping[int, CocoFrame], values: Mapping[int, int]
    ) -> None:
        for key, known in (("image_id", frames), ("category_id", values)):
            if row[key] not in known:
                self._problems.append(f"{place}.{key}: expected one of the file's, got {row[key]}")
                return
        if (row.get("iscrowd") or 0) not in (0, 1):
            self._problems.append(f"{place}.iscrowd: expected 0 or 1, got {shown(row['iscrowd'])}")
            return
        value, frame = UNLABELLED if row.get("iscrowd") else values[row["category_id"]], frames[row["image_id"]]
        try:
            frame.shapes.append(_shape(value, row.get("segmentation"), frame.size_wh))
        except ValueError as error:
            self._problems.append(f"{place}.segmentation (id {row.get('id', 'missing')}): {error}")

    def _stop_at_problems(self) -> None:
        if not self._problems:
            return
        more = len(self._problems) - PROBLEMS_MAX
        lines = [*self._problems[:PROBLEMS_MAX], *([f"and {more} more"] if more > 0 else [])]
        raise DataError("\n    ".join([f"{self._path}: {len(self._problems)} problem(s) as COCO's instances", *lines]))


def _shape(value: int, given: Any, size_wh: tuple[int, int] | None) -> Shape:
    """In an image of that size, where the file says it. Raises ValueError, in words that go behind the place."""
    if isinstance(given, dict):
        return Shape(value, runs=_runs(given, size_wh))
    if not isinstance(given, list) or not given:
        raise ValueError(f"expected polygons or run lengths, got {shown(given)}; boxes alone are no masks")
    if not all(isinstance(numbers, list) for numbers in given):
        raise ValueError(f"expected a list of polygons, got {shown(given[0])}")
    return Shape(value, [polygon(numbers) for numbers in given])


def _runs(given: Mapping[str, Any], size_wh: tuple[int, int] | None) -> np.ndarray:
    size, counts = given.get("size"), given.get("counts")
    if not isinstance(size, list) or len(size) != 2 or not all(type(side) is int and side > 0 for side in size):
        raise ValueError(f"expected size [height, width], got {shown(size)}")
    if size_wh is not None and size != [*size_wh[::-1]]:
        raise ValueError(f"expected size {[*size_wh[::-1]]}, the image's height and width, got {size}")
    runs = read_runs(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(type(run) is int and 0 <= run <= size[0] * size[1] for run in runs):
        raise ValueError("expected counts, run lengths as numbers or as COCO's string of them")
    if sum(runs) != size[0] * size[1]:
        raise ValueError(f"expected run lengths of {size[0] * size[1]} pixels, got {sum(runs)}")
    return np.array(runs, np.int64)
