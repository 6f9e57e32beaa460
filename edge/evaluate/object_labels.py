"""Labels that say what is one object: COCO's panoptic form, and boxes as the MOT challenge has them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from edge.classes import CAMVID, ClassTable
from edge.errors import ConfigError, DataError
from edge.evaluate.labels import Labels, SceneLabels, check_size, path_finder
from edge.evaluate.overlaps import TrueObjects
from edge.frame import Frame, Image
from edge.natural import natural_key
from edge.regular import TEXT_BYTES, read_regular
from edge.score import UNLABELLED
from edge.sources.imagefile import ImageError, decode_image
from edge.sources.images import ImageFiles
from edge.sources.scene import SceneSource
from edge.sources.source import Source
from edge.strict_json import bounded_int

# What data sets call the groups that edge counts; names of classes and groups are known in any case.
_SYNONYMS = {"person": "pedestrian", "rider": "cyclist", "bicyclist": "cyclist", "car": "vehicle"}
_COCO_BYTES = 1 << 30  # its own training set has 470 MB
_MOT_PERSON, _MOT_NO_CLASS = 1, -1
_MOT_UNSURE = (2, 7, 8, 12)  # on a vehicle, static, distractor, reflection: neither demanded nor punished
_MOT_FORM = "frame,id,left,top,width,height[,counts[,class[,visibility]]]"


class PanopticLabels:
    """COCO's panoptic form: a JSON file, and beside it a folder of its name without .json with PNG files of ids,
    R + 256 G + 65536 B. They are matched with frames as `Labels` are, by `file_name`.

    Categories are classes or groups by name; pixels of others, and of no segment, are unlabelled. A segment with
    `iscrowd` does not count. `track_id` in a segment says which it is in other frames; without it there are no tracks.

    Raises:
        DataError: it is no such file; no category is a class; see `Labels`.
    """

    def __init__(self, source: Source, path: Path, table: ClassTable, *, sparse: bool = False) -> None:
        content = _read_json(path)
        try:
            self._class_of = _class_of_category(content["categories"], table)
            listed = [(str(a["file_name"]), list(a["segments_info"])) for a in content["annotations"]]
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            raise DataError(
                f"{path}: is not COCO's panoptic form: expected categories, and annotations with file_name and"
                f" segments_info, got {type(error).__name__} {error}"
            ) from error
        if not self._class_of:
            raise DataError(f"{path}: none of its categories is one of the engine's classes: {', '.join(table.names)}")
        self._path, self._segments = path, {path.with_suffix("") / name: info for name, info in listed}
        if len(self._segments) < len(listed):
            names = [name for name, _ in listed]
            raise DataError(f"{path}: names {next(name for name in names if names.count(name) > 1)} twice")
        paths = sorted(self._segments, key=natural_key)
        self.count, self.dense = len(paths), not sparse and not isinstance(source, ImageFiles)
        self._path_of = path_finder(source, paths, path, sparse)

    def find(self, frame: Frame) -> Image | None:
        """uint8 (H, W) class ids, of the frame's size; None where it has no label.

        Raises:
            DataError: the label cannot be read, or is of another size.
        """
        truth = self.objects(frame)
        if truth is None or truth.ids is None:
            return None
        classes: Image = np.full(1 + len(truth.rows), UNLABELLED, np.uint8)
        classes[truth.rows[:, 0]] = truth.rows[:, 1]
        return classes[truth.ids]

    def objects(self, frame: Frame) -> TrueObjects | None:
        """The frame's segments; None where it has no label.

        Raises:
            DataError: see `find`.
        """
        path = self._path_of(frame)
        if path is None:
            return None
        label = _read_ids(path)
        check_size(path, label, frame)
        try:
            known = [row for s in self._segments[path] if (row := self._row(s)) is not None]
            rows = np.array(sorted(known), np.int64).reshape(-1, 4)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DataError(f"{self._path}: {path.name}: a segment has no {error}") from error
        place = np.minimum(np.searchsorted(rows[:, 0], label), max(0, len(rows) - 1))
        found = rows[place, 0] == label if len(rows) else np.zeros(label.shape, np.bool_)
        if len(rows) and not found.any():
            raise DataError(f"{path}: no pixel has the id of a segment, as R + 256 G + 65536 B of 8 bits each")
        rows[:, 0] = np.arange(1, len(rows) + 1)
        return TrueObjects(rows, np.where(found, place + 1, 0).astype(np.int32))

    def _row(self, segment: dict[str, Any]) -> tuple[int, int, int, int] | None:
        class_id = self._class_of.get(int(segment["category_id"]))
        if class_id is None:
            return None
        track = int(segment.get("track_id") or 0)
        return int(segment["id"]), class_id, track, int(not segment.get("iscrowd", 0))

    def where(self, frame: Frame) -> str:
        """What to call the frame's label in a complaint."""
        return str(self._path_of(frame))


def _class_of_category(categories: list[dict[str, Any]], table: ClassTable) -> dict[int, int]:
    known = {name.lower(): i for i, name in enumerate(table.names)}
    known |= {group.lower(): table.ids(group)[0] for group in table.groups if group.lower() not in known}
    names = {int(c["id"]): str(c["name"]).lower() for c in categories}
    found = {i: known.get(name, known.get(_SYNONYMS.get(name, ""))) for i, name in names.items()}
    return {i: class_id for i, class_id in found.items() if class_id is not None}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_regular(path, _COCO_BYTES).decode("utf-8"), parse_int=bounded_int)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # RecursionError: brackets nested thousands deep
        raise DataError(f"{path}: is not JSON: {error}") from error
    return cast("dict[str, Any]", content)


def _read_ids(path: Path) -> np.ndarray[Any, np.dtype[np.int32]]:
    """int32 (H, W) ids of a PNG file."""
    try:
        image = decode_image(read_regular(path))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except ImageError as error:
        raise DataError(f"{path}: is no PNG file of ids: {error}") from error
    blue, green, red = (image[..., channel].astype(np.int32) for channel in range(3))
    return red + 256 * green + 65536 * blue


class MotBoxes:
    """The boxes of people in a drive, by lines of `frame,id,left,top,width,height[,counts[,class[,visibility]]]`, as
    the MOT challenge's gt.txt has them: frames count from 1, lengths are in pixels. Class 1 (or none) are people.
    People on vehicles, standing still, on posters and in mirrors do not count (COCO's crowd); lines of other classes,
    and of people whose `counts` is 0, are left out. Frames before the first that is named, and behind the last, are
    unlabelled.

    Raises:
        DataError: a line is something else; or the engine's classes have no people.
    """

    dense = True

    def __init__(self, path: Path, table: ClassTable) -> None:
        try:
            self._class_id = table.ids("pedestrian")[0]
        except ConfigError as error:
            raise DataError(f"{path}: holds boxes of people, and the engine knows none: {error}") from error
        boxes: dict[int, list[_Box]] = {}
        for number, line in enumerate(_lines(path), start=1):
            if line.strip():
                box = _box(path, number, line)
                boxes.setdefault(box.frame - 1, []).append(box)
        if not boxes:
            raise DataError(f"{path}: holds no boxes; expected lines of {_MOT_FORM}")
        self._boxes, self._path = boxes, path
        self._range = range(min(boxes), max(boxes) + 1)
        self.count = len(self._range)

    def find(self, frame: Frame) -> None:
        """None: boxes do not say which class a pixel has."""
        return

    def objects(self, frame: Frame) -> TrueObjects | None:
        """The boxes of a frame; None outside the frames that the file speaks of."""
        if frame.index not in self._range:
            return None
        found = [box for box in self._boxes.get(frame.index, ()) if box.is_person or box.is_unsure]
        rows = [(i, self._class_id, box.track, int(box.is_person)) for i, box in enumerate(found, start=1)]
        sizes = np.array([box.xywh for box in found], np.float64).reshape(-1, 4)
        return TrueObjects(np.array(rows, np.int64).reshape(-1, 4), boxes=sizes)

    def where(self, frame: Frame) -> str:
        """What to call the frame's label in a complaint."""
        return f"{self._path} frame {frame.index + 1}"


@dataclass(frozen=True)
class _Box:
    frame: int
    track: int
    xywh: tuple[float, ...]
    counts: bool
    kind: int

    @property
    def is_person(self) -> bool:
        return self.counts and self.kind in (_MOT_PERSON, _MOT_NO_CLASS)

    @property
    def is_unsure(self) -> bool:
        return self.kind in _MOT_UNSURE


def _lines(path: Path) -> Sequence[str]:
    try:
        return read_regular(path, TEXT_BYTES).decode("utf-8").splitlines()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is no text; expected lines of {_MOT_FORM}") from error


def _box(path: Path, number: int, line: str) -> _Box:
    try:
        values = [float(word) for word in line.split(",")]
        frame, track = int(values[0]), int(values[1])
    except (ValueError, IndexError, OverflowError):
        values, frame, track = [], 0, 0
    sizes = tuple(values[2:6])
    if len(sizes) < 4 or frame < 1 or track < 1 or not np.isfinite(values).all() or min(sizes[2:]) <= 0:
        raise DataError(f"{path} line {number}: expected {_MOT_FORM}, with frames and ids from 1, got {line[:80]!r}")
    counts, kind = (*values[6:8], *(1, _MOT_NO_CLASS)[max(0, len(values) - 6) :])[:2]
    return _Box(frame, track, sizes, bool(counts), int(kind))


AnyLabels = Labels | PanopticLabels | MotBoxes | SceneLabels


def find_labels(
    source: Source, path: Path | None, sparse: bool, table: ClassTable, *, binary: bool = False
) -> AnyLabels | None:
    """The labels of a source, by what the path is: a folder of class ids, COCO's panoptic .json, boxes in a .txt. A
    rendered street knows its own.

    Raises:
        DataError: see `Labels`, `PanopticLabels`, `MotBoxes` and `SceneLabels`.
    """
    if path is None:
        if isinstance(source, SceneSource) and table.names == CAMVID.names:
            return SceneLabels(source, table)
        return None
    if path.suffix.lower() == ".json":
        return PanopticLabels(source, path, table, sparse=sparse)
    if path.suffix.lower() == ".txt":
        return MotBoxes(path, table)
    return Labels(source, path, sparse=sparse, binary=binary)


def are_objects(path: Path | None) -> bool:
    """Whether labels at that path say what is one object."""
    return path is not None and path.suffix.lower() in (".json", ".txt")


def is_boxes(path: Path | None) -> bool:
    """Whether they are boxes, of as many frames as there are boxes."""
    return path is not None and path.suffix.lower() == ".txt"


def label_places(path: Path | None) -> list[Path]:
    """The files and folders that labels at that path are read from."""
    if path is None:
        return []
    return [path, path.with_suffix("")] if path.suffix.lower() == ".json" else [path]
