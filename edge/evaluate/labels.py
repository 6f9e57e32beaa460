"""Which label belongs to which frame: one for every frame, or for some of them only."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.classes import CAMVID, ClassTable
from edge.errors import DataError
from edge.evaluate.metres import TrueMetres, street_model
from edge.evaluate.overlaps import TrueObjects, objects_of_maps
from edge.frame import Frame, Image
from edge.geometry.model import CameraModel
from edge.grouping import LEAST_SHARE
from edge.indexed_png import decode_ids
from edge.instances import thing_ids
from edge.natural import is_hidden, natural_key
from edge.regular import read_regular
from edge.score import UNLABELLED, ignored_ids
from edge.sources.images import ImageFiles
from edge.sources.scene import SceneSource
from edge.sources.source import Source

_LOOKED_AT = 60  # frames of a street, whose cameras are its camera
_SAMPLED = 8  # labels that are read to see whether they are class ids


class Labels:
    """The labels of a source's frames: images have theirs by name, frame i of a video the i-th in name order.

    `sparse` labels belong to some frames only: a video's frame 120 has the one whose name ends in 120, say
    `city_000120.png`. Frames count from 0.

    `binary` ones are masks of one group of classes: what is not 0 is in it.

    Raises:
        DataError: there are none; an image has none, and they are not sparse; one says no frame's number; or they are
            masks of 0 and 255, and not said to be binary.
    """

    def __init__(self, source: Source, folder: Path, *, sparse: bool = False, binary: bool = False) -> None:
        self._name, self._folder, self._sparse = source.name, folder, sparse
        self.paths = _label_paths(folder)
        self.count, self._binary = len(self.paths), binary
        if not binary:
            _refuse_masks(self.paths, folder)
        self.dense = not sparse and not isinstance(source, ImageFiles)
        self._path_of = path_finder(source, self.paths, folder, sparse)

    def find(self, frame: Frame) -> Image | None:
        """uint8 (H, W) class ids, of the frame's size; None where labels are sparse and this frame has none.

        Raises:
            DataError: the frame should have a label and has none, or it is not one, or of another size.
        """
        path = self._path_of(frame)
        if path is None:
            return None
        label = self._read(path)
        check_size(path, label, frame)
        return label

    def objects(self, frame: Frame) -> TrueObjects | None:
        """None: class ids do not say what is one object."""
        return None

    def of(self, frame: Frame) -> Image:
        """uint8 (H, W) class ids.

        Raises:
            DataError: the frame has no label, or it is not one.
        """
        path = self._path_of(frame)
        if path is None:
            raise DataError(f"frame {frame.index} of {self._name}: has no label in {self._folder}")
        return self._read(path)

    def _read(self, path: Path) -> Image:
        label = _read_label(path)
        return (label > 0).astype(np.uint8) if self._binary else label

    def where(self, frame: Frame) -> str:
        """What to call the frame's label in a complaint."""
        return str(self._path_of(frame))

    def check_count(self, used: int) -> None:
        """Refuse a source whose frames used fewer labels than there are."""
        check_used(self._name, str(self._folder), self.count, used, self._sparse)


def check_size(path: Path, label: NDArray[Any], frame: Frame) -> None:
    """Refuse a label (H, W, ...) of another size than its frame.

    Raises:
        DataError: naming both sizes.
    """
    size = label.shape[:2]
    if size != frame.size_wh[::-1]:
        raise DataError(f"{path}: the label is {size}, its frame {frame.size_wh[::-1]}; they must be equal")


def check_used(frames: str, folder: str, count: int, used: int, sparse: bool) -> None:
    """Refuse labels that no frame used.

    Raises:
        DataError: saying how many.
    """
    if used == count:
        return
    if sparse:
        raise DataError(f"{folder}: {count - used} of {count} labels are of no frame of {frames}")
    raise DataError(
        f"{frames} has {used} frames, {folder} {count} labels; there must be one label per frame."
        " Where only some frames have one, say so: --sparse"
    )


class SceneLabels:
    """The exact labels of a rendered street, rendered once more.

    Raises:
        DataError: the engine's classes are not the street's.
    """

    dense = True

    def __init__(self, source: SceneSource, table: ClassTable) -> None:
        if table.names != CAMVID.names:
            raise DataError(
                f"{source.name}: its labels are CamVid's classes, the engine's are {', '.join(table.names)}"
            )
        self.count = source.options.frames
        self._again = SceneSource(source.name)
        self._one_at_a_time = threading.Lock()
        self._local = threading.local()  # a thread asks for both truths of one frame in turn
        self._thing_ids = thing_ids(table)

    def find(self, frame: Frame) -> Image:
        """uint8 (H, W) class ids; what the barcode hides is unlabelled."""
        return self._truth(frame.index)[0]

    def objects(self, frame: Frame) -> TrueObjects:
        """Every car, cyclist and walker, with ids that last; those below `LEAST_SHARE` of the frame do not count."""
        return objects_of_maps(*self._truth(frame.index), self._thing_ids, ignored_ids(CAMVID), least=LEAST_SHARE)

    def metres(self, frame: Frame) -> TrueMetres:
        """Who is where, the lane and the camera."""
        classes, instances = self._truth(frame.index)
        scene = self._again.scene
        with self._one_at_a_time:
            lane, places = scene.lane(frame.index, classes), scene.places(frame.index)
        return TrueMetres(scene.camera(frame.index), places, lane, classes, instances)

    def camera_model(self) -> CameraModel:
        """The street's camera; see `street_model`."""
        frames = min(self.count or _LOOKED_AT, _LOOKED_AT)
        return street_model([self._again.scene.camera(index) for index in range(frames)])

    def _truth(self, index: int) -> tuple[Image, NDArray[np.uint16]]:
        if getattr(self._local, "index", None) != index:
            with self._one_at_a_time:
                self._local.truth = self._again.truth(index)
            self._local.index = index
        return self._local.truth

    def where(self, frame: Frame) -> str:
        """What to call the frame's label in a complaint."""
        return f"{self._again.name} frame {frame.index}"


def path_finder(source: Source, paths: list[Path], origin: Path, sparse: bool) -> Callable[[Frame], Path | None]:
    """Which of the labels in `origin` is a frame's: see `Labels`.

    Raises:
        DataError: an image has none and they are not sparse, or one says no frame's number.
    """
    if isinstance(source, ImageFiles):
        return _by_name(source, paths, origin, sparse)
    return _by_number(paths) if sparse else _by_order(paths, origin)


def _label_paths(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder of labels")
    found = (path for path in folder.iterdir() if path.suffix.lower() == ".png" and not is_hidden(path))
    paths = sorted(found, key=natural_key)
    if not paths:
        raise DataError(f"{folder}: holds no labels; expected grey or indexed PNG files of class ids")
    return paths


def _refuse_masks(paths: list[Path], folder: Path) -> None:
    """Masks of 0 and 255, as many tools write them, would be scored as class 0 and as unlabelled.

    Raises:
        DataError: that is all that a sample of the labels holds; or all of them hold 255 alone.
    """
    sample = paths[:: max(1, len(paths) // _SAMPLED)]
    held = frozenset().union(*(np.unique(_read_label(path)).tolist() for path in sample))
    if held == {UNLABELLED} and len(sample) == len(paths):
        raise DataError(
            f"{folder}: its labels hold 255 alone, which counts as unlabelled: there is nothing to measure. If they are"
            " masks of one group, such as road: edge evaluate ... --labels-of road"
        )
    if held == {0, UNLABELLED}:
        raise DataError(
            f"{folder}: its labels hold 0 and 255 alone, which would count as class 0 and as unlabelled. If they are"
            " masks of one group, such as road: edge evaluate ... --labels-of road"
        )


PathOf = Callable[[Frame], "Path | None"]


def _by_name(source: ImageFiles, paths: list[Path], folder: Path, sparse: bool) -> PathOf:
    by_stem = _by_stem(paths)
    _by_stem(source.paths)  # two frames of one name would both be scored by one label
    missing = [path for path in source.paths if path.stem not in by_stem]
    if missing and not sparse:
        raise DataError(
            f"{missing[0]}: has no label {folder}/{missing[0].stem}.png ({len(missing)} frames have none)."
            " Where only some frames have one, say so: --sparse"
        )
    return lambda frame: by_stem.get(Path(frame.source).stem)


def _by_stem(paths: Sequence[Path]) -> dict[str, Path]:
    by_stem: dict[str, Path] = {}
    for path in paths:
        if (other := by_stem.setdefault(path.stem, path)) is not path:
            raise DataError(
                f"{path}: has the name of {other}, and labels are found by name. Evaluate them apart, or rename one"
            )
    return by_stem


def _by_number(paths: list[Path]) -> PathOf:
    by_number: dict[int, Path] = {}
    for path in paths:
        digits = re.search(r"([0-9]+)$", path.stem)
        if not digits:
            raise DataError(f"{path}: sparse labels of a video end in their frame's number, such as drive_000120.png")
        if (other := by_number.setdefault(int(digits[1]), path)) is not path:
            raise DataError(f"{path}: is a second label of frame {int(digits[1])}, besides {other.name}")
    return lambda frame: by_number.get(frame.index)


def _by_order(paths: list[Path], folder: Path) -> PathOf:
    def label_of(frame: Frame) -> Path:
        if frame.index >= len(paths):
            raise DataError(
                f"{folder}: has {len(paths)} labels, the video more frames; there must be one per frame."
                " Where only some frames have one, say so: --sparse"
            )
        return paths[frame.index]

    return label_of


def _read_label(path: Path) -> Image:
    try:
        return decode_ids(read_regular(path))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
