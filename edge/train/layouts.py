"""Where a data set keeps its frames, their masks and its drives: the layouts in which the sets are published."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edge.classes import ClassTable
from edge.config import data_path
from edge.errors import ConfigError, DataError
from edge.natural import natural_key
from edge.regular import TEXT_BYTES, read_regular
from edge.train.coco import read_coco
from edge.train.label_sets import LABEL_SETS, OTHERS, LabelSet, Translation, coloured, ids_of, numbered
from edge.train.recipe import Folder, Split
from edge.train.shapes import Drawn
from edge.train.unions import Unions
from edge.train.yolo import YoloFrame, read_names

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")


@dataclass(frozen=True)
class Layout:
    """How a data set names things.

    A frame's name ends in `frame`, or as any image's does; its mask has one of `masks` in its place, in the same
    subfolder. `drive` is a regular expression that finds the drive in a frame's path below the folder, without its
    suffix; where it finds none, the whole folder is one drive. With `shapes` labels are polygons in place of masks, in
    one file for all frames or one for each.
    """

    label_set: str | None = None  # None: the net's own ids
    frame: str | None = None
    masks: tuple[str, ...] = (".png",)
    drive: str = r"^(.*?)[-_ ]?\d*$"
    shapes: Literal["coco", "yolo"] | None = None


_CAMVID_DRIVE = r"([^/_]+)_[^/]*$"
_CITY = r"([^/_]+)_\d+_\d+_leftImg8bit$"

LAYOUTS: dict[str, Layout] = {
    "pairs": Layout(),
    # As the SegNet tutorial has it: train/*.png with trainannot/*.png of 12 ids.
    "camvid": Layout("camvid", drive=_CAMVID_DRIVE),
    # As Cambridge has it: 701_StillsRaw_full/*.png with LabeledApproved_full/*_L.png of 32 colours.
    "camvid32": Layout("camvid32", masks=("_L.png",), drive=_CAMVID_DRIVE),
    # leftImg8bit/train with gtFine/train, or leftImg8bit/train_extra with gtCoarse/train_extra; a folder for each city.
    "cityscapes": Layout(
        "cityscapes", "_leftImg8bit.png", ("_gtFine_labelIds.png", "_gtCoarse_labelIds.png"), drive=_CITY
    ),
    "cityscapes-train-ids": Layout(
        "cityscapes-train-ids", "_leftImg8bit.png", ("_gtFine_labelTrainIds.png", "_gtCoarse_labelTrainIds.png"), _CITY
    ),
    # images/10k/train with labels/sem_seg/masks/train; seg/labels/train with *_train_id.png before 2020.
    "bdd100k": Layout("cityscapes-train-ids", ".jpg", (".png", "_train_id.png"), r"([^/]+)$"),
    # training/image_2 with training/semantic. Which scenes belong to one drive is not published: all are one drive.
    "kitti": Layout("cityscapes", ".png", drive=r"^()"),
    # imgs with masks; 0000_0085e9e41513078a_2018-08-19--13-26-08_11_864.png is frame 864 of segment 11 of that drive.
    "comma10k": Layout("comma10k", ".png", drive=r"^[^_/]+_(.+--\d\d-\d\d-\d\d)_"),
    # images with annotations/trimaps; the lists beside trimaps are for `names`. Every image shows another animal.
    "pet": Layout("pet", ".jpg", drive=r"([^/]+)$"),
    # Any folder with annotations/instances_train.json, or images/train with labels/train and data.yaml above.
    "coco": Layout(shapes="coco"),
    "yolo": Layout(masks=(".txt",), shapes="yolo"),
}


@dataclass(frozen=True)
class Labelled:
    """A frame, its mask, and the drive they are of. Where labels are `drawn`, the file `mask` is no image."""

    frame: Path
    mask: Path
    drive: str
    drawn: Drawn | None = None


def translation_of(folder: Folder, table: ClassTable, unions: Unions | None = None) -> Translation:
    """What makes mask ids of a net's classes, and of `unions` of them, of the folder's masks.

    Raises:
        ConfigError: the map does not fit, or is missing, or needs unions where there are none.
        DataError: the file that names the classes is missing or not in order.
    """
    return Translation.between(_source_of(folder, table), table, folder.map, unions)


def _source_of(folder: Folder, table: ClassTable) -> LabelSet:
    layout = LAYOUTS[folder.layout]
    if layout.shapes:
        labels = data_path(folder.labels)
        return read_coco(labels).labels if layout.shapes == "coco" else read_names(labels)[0]
    keys = [key for key in folder.map or () if key != OTHERS]
    if folder.map and keys and all(key.isdecimal() for key in keys):
        return numbered(folder.map)
    if folder.map and (colours := coloured(folder.map)):
        return colours
    return ids_of(table) if layout.label_set is None else LABEL_SETS[layout.label_set]


def find_pairs(folder: Folder) -> list[Labelled]:
    """The frames that a recipe's entry takes, each with where its mask must be, in name order.

    Raises:
        DataError: a folder is missing or holds no images of the layout, or a listed frame is missing.
        ConfigError: EDGE_DATA is needed and not set, or there is only one drive to split.
    """
    layout = LAYOUTS[folder.layout]
    frames, labels = data_path(folder.frames), data_path(folder.labels)
    for place in (frames, *([labels] if layout.shapes != "coco" else [])):
        if not place.is_dir():
            raise DataError(f"{place}: folder not found")
    drawn = _drawn_in_one_file(frames, labels) if layout.shapes == "coco" else {}
    paths = sorted(drawn) if drawn else _frames(frames, layout)
    if folder.names is not None:
        paths = _listed(paths, data_path(folder.names), layout)
    masks = {path: labels if drawn else _mask(path, frames, labels, layout) for path in paths}
    if layout.shapes == "yolo":
        drawn = _drawn_in_files(masks, labels)
    pairs = [Labelled(path, masks[path], _drive(path, frames, layout), drawn.get(path)) for path in paths]
    return _part(pairs, folder.split, frames) if folder.split else pairs


def _drawn_in_one_file(frames: Path, file: Path) -> Mapping[Path, Drawn]:
    """By image. An image without an object is one too."""
    found: dict[Path, Drawn] = {frames / frame.name: frame for frame in read_coco(file).frames}
    if not found:
        raise DataError(f"{file}: names no image")
    return found


def _drawn_in_files(masks: Mapping[Path, Path], labels: Path) -> Mapping[Path, Drawn]:
    """By image. One without a file shows no object, but that none has one is a mistake."""
    _, values = read_names(labels)
    if not any(path.is_file() for path in masks.values()):
        raise DataError(f"{labels}: expected a text file of each image's name, such as {next(iter(masks.values()))}")
    return {frame: YoloFrame(path, values) for frame, path in masks.items()}


def _frames(folder: Path, layout: Layout) -> list[Path]:
    """The folder's own images; where it has none, those in its subfolders."""
    endings = IMAGE_SUFFIXES if layout.frame is None else (layout.frame,)
    for paths in (folder.iterdir(), folder.rglob("*")):
        found = [path for path in paths if path.name.lower().endswith(tuple(ending.lower() for ending in endings))]
        if found := [path for path in found if not path.name.startswith(".")]:  # macOS leaves ._NAME beside NAME
            return sorted(found)
    raise DataError(f"{folder}: holds no images ({', '.join('*' + ending for ending in endings)})")


def _stem(path: Path, layout: Layout) -> str:
    return path.stem if layout.frame is None else path.name[: -len(layout.frame)]


def _mask(frame: Path, frames: Path, labels: Path, layout: Layout) -> Path:
    """The mask that is there; if none is, the first that could be."""
    place = labels / frame.parent.relative_to(frames)
    candidates = [place / f"{_stem(frame, layout)}{ending}" for ending in layout.masks]
    return next((path for path in candidates if path.is_file()), candidates[0])


def _drive(frame: Path, frames: Path, layout: Layout) -> str:
    """What the layout finds, or the frames' folder."""
    found = re.search(layout.drive, frame.relative_to(frames).with_suffix("").as_posix())
    return found[1].strip("/") or frames.name if found else frames.name


def _listed(paths: list[Path], file: Path, layout: Layout) -> list[Path]:
    """The frames that a text file names, a line each: its first word, with suffix or without; # starts a comment."""
    try:
        lines = read_regular(file, TEXT_BYTES).decode("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read as a list of frames: {error}") from error
    by_stem = {_stem(path, layout): path for path in paths}
    words = [line.split()[0] for line in lines if line.strip() and not line.lstrip().startswith("#")]
    stems = [re.sub(r"\.(jpe?g|png|bmp)$", "", word, flags=re.IGNORECASE).rsplit("/")[-1] for word in words]
    if missing := [stem for stem in stems if stem not in by_stem]:
        raise DataError(
            f"{file}: names {missing[0]!r}, which is not a frame ({len(missing)} of {len(stems)} are missing)"
        )
    if not stems:
        raise DataError(f"{file}: names no frame")
    return [by_stem[stem] for stem in dict.fromkeys(stems)]


def _part(pairs: Sequence[Labelled], split: Split, frames: Path) -> list[Labelled]:
    if split.by == "tail":
        if len({pair.drive for pair in pairs}) == len(pairs):
            raise ConfigError(f"{frames}: no drive has two frames, so none has a tail to hold out; write `by: drive`")
        return _tails(pairs, split)
    held_out = drives_held_out(Counter(pair.drive for pair in pairs), split)
    if not held_out:
        raise ConfigError(
            f"{frames}: holds one drive only, which is not split: training would see the neighbours of what validation"
            " asks. Name other frames for `val`, or hold out its end: `by: tail`"
        )
    return [pair for pair in pairs if (pair.drive in held_out) == (split.part == "val")]


def _tails(pairs: Sequence[Labelled], split: Split) -> list[Labelled]:
    """Of each drive's frames the last ones for validation, at least one where it has two or more."""
    drives: dict[str, list[Labelled]] = {}
    for pair in sorted(pairs, key=lambda pair: natural_key(pair.frame)):
        drives.setdefault(pair.drive, []).append(pair)
    found: list[Labelled] = []
    for own in drives.values():
        cut = len(own) - min(len(own) - 1, max(1, round(split.held_out * len(own))))
        found += own[cut:] if split.part == "val" else own[:cut]
    return found


def drives_held_out(frames_by_drive: Counter[str], split: Split) -> frozenset[str]:
    """The drives for validation: about `split.held_out` of all frames, at least one drive and never all.

    The order in which they are tried depends on seed and name alone, so that a new drive moves few others.
    """
    if len(frames_by_drive) < 2:
        return frozenset()
    drives = sorted(frames_by_drive, key=lambda drive: hashlib.sha256(f"{split.seed} {drive}".encode()).digest())
    target = split.held_out * sum(frames_by_drive.values())
    chosen: list[str] = []
    count = 0
    for drive in drives:
        more = count + frames_by_drive[drive]
        if abs(more - target) < abs(count - target) and len(chosen) + 1 < len(drives):
            chosen.append(drive)
            count = more
    return frozenset(chosen or [min(drives, key=lambda drive: (frames_by_drive[drive], drive))])
