"""YOLO's polygons: a text file for each image, a line for each object, for the layout `yolo`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.config import read_tree
from edge.errors import ConfigError, DataError
from edge.frame import Image
from edge.paths import shown
from edge.regular import open_regular
from edge.train.label_sets import LabelSet
from edge.train.shapes import Shape, label_set_of, paint, polygon

NAMES_FILES = ("data.yaml", "data.yml", "dataset.yaml", "classes.txt")
LEVELS = 4  # folders, from the labels' upwards, where one of them may lie
LIMIT_BYTES = 1 << 24  # of one image's labels
SLACK = 0.01  # that corners may lie outside of 0..1: tools round


@dataclass(frozen=True)
class YoloFrame:
    """One image's labels; without a file it shows no object. `values` are the label set's, by YOLO's class."""

    file: Path
    values: Sequence[int]

    def paint(self, size_wh: tuple[int, int]) -> Image:
        """`edge.train.shapes.Drawn`."""
        lines = self._lines()
        return paint([self._shape(number, line, size_wh) for number, line in lines], size_wh)

    def _lines(self) -> list[tuple[int, str]]:
        try:
            with open_regular(self.file) as file:
                content = file.read(LIMIT_BYTES + 1)
            if len(content) > LIMIT_BYTES:
                raise DataError(f"{self.file}: expected at most {LIMIT_BYTES >> 20} MiB, got more")
            lines = enumerate(content.decode("utf-8").splitlines(), start=1)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise DataError(f"{self.file}: cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise DataError(f"{self.file}: expected text, got {error.reason} at byte {error.start}") from error
        return [(number, line) for number, line in lines if line.strip()]

    def _shape(self, number: int, line: str, size_wh: tuple[int, int]) -> Shape:
        try:
            value, *corners = _numbers(line)
            if len(corners) == 4:
                raise ValueError("expected a class and the corners of a polygon, got a box; export for segmentation")
            if value not in range(len(self.values)):
                raise ValueError(f"expected a class of 0 to {len(self.values) - 1}, got {value:g}")
            if wrong := [corner for corner in corners if not -SLACK <= corner <= 1 + SLACK]:
                raise ValueError(f"expected corners of 0 to 1, shares of width and height, got {wrong[0]:g}")
            return Shape(self.values[int(value)], [polygon(corners, (float(size_wh[0]), float(size_wh[1])))])
        except ValueError as error:
            raise DataError(f"{self.file}: line {number}: {error}") from error


def _numbers(line: str) -> list[float]:
    try:
        return [float(word) for word in line.split()]
    except ValueError:
        raise ValueError(f"expected numbers, class x y x y ..., got {shown(line.strip())}") from None


def read_names(labels: Path) -> tuple[LabelSet, list[int]]:
    """The label set of a folder of labels, and its values by YOLO's class.

    Raises:
        DataError: the file with the names is missing, or not in order.
    """
    file = find_names(labels)
    if file is None:
        raise DataError(f"{labels}: expected data.yaml, with the names of the classes, there or above; not found")
    return label_set_of(names_in(file), file)


def names_in(file: Path) -> list[str]:
    """The names in such a file, by class.

    Raises:
        DataError: it is not in order.
    """
    if file.suffix == ".txt":
        return _lines_of(file)
    try:
        tree = read_tree(file)
    except ConfigError as error:
        raise DataError(str(error)) from error
    return _listed(tree, file)


def find_names(labels: Path) -> Path | None:
    """The nearest file with names, in the folder or above."""
    folders = [labels, *labels.absolute().parents[:LEVELS]]
    return next((path for folder in folders for name in NAMES_FILES if (path := folder / name).is_file()), None)


def _listed(tree: Any, file: Path) -> list[str]:
    """`names: [cat, dog]`, or `names: {0: cat, 1: dog}` without a gap."""
    given = tree.get("names") if isinstance(tree, dict) else None
    if isinstance(given, dict) and set(given) == set(range(len(given))):
        given = [given[number] for number in range(len(given))]
    if not isinstance(given, list) or not all(isinstance(name, (str, int)) and str(name).strip() for name in given):
        raise DataError(
            f"{file}: names: expected a list of class names, or {{0: name, 1: name, ...}}, got {shown(given)}"
        )
    return [str(name).strip() for name in given]


def _lines_of(file: Path) -> list[str]:
    try:
        with open_regular(file) as opened:
            lines = opened.read(LIMIT_BYTES).decode("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read as a list of names: {error}") from error
    return [line.strip() for line in lines if line.strip()]
