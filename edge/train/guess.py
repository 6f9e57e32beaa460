"""What a folder of labelled frames is: which layout, which classes, and what to validate on."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edge.errors import ConfigError, DataError
from edge.regular import open_regular
from edge.train.coco import read_coco
from edge.train.data import read_image
from edge.train.label_sets import LABEL_SETS, OTHERS
from edge.train.layouts import LAYOUTS, find_pairs
from edge.train.mask_values import describe_masks
from edge.train.recipe import Folder
from edge.train.shapes import BACKGROUND
from edge.train.yolo import NAMES_FILES, read_names

HELD_OUT = 0.2
DRIVES_MIN = 5  # below, a fifth of the frames is no whole number of drives
FRAMES_NAMES = ("frames", "images", "image", "imgs", "img")
LABELS_NAMES = ("labels", "masks", "mask", "annotations", "label", "annots")
VAL_NAMES = ("val", "valid", "validation")

Entry = dict[str, Any]  # of a recipe's `train`; `val` is one too


@dataclass(frozen=True)
class Guess:
    """What a recipe says of its data; `what` and `notes` are for people."""

    what: str
    train: Entry
    val: Entry | None = None  # None: a part of `train` is to be split off
    classes: str | list[str] = field(default_factory=list)  # []: not known yet
    notes: tuple[str, ...] = ()
    size_wh: tuple[int, int] = (0, 0)  # of the first frame


def guess_data(root: Path, names: Sequence[str] = ()) -> Guess:
    """What the folder holds. `names` are the classes to tell apart; of masks, their names by id.

    Raises:
        DataError: it is missing, holds nothing that is known, or what it holds is not in order.
        ConfigError: it has no classes of these names.
    """
    if not root.is_dir():
        raise DataError(f"{root}: folder not found")
    root = root.resolve()
    found = next((guess for detect in DETECTORS if (guess := detect(root)) is not None), None)
    if found is None:
        raise DataError(f"{root}: {_unknown(root)}")
    return _split_off(_with_classes(found, list(names)))


def _unknown(root: Path) -> str:
    there = sorted(path.name for path in root.iterdir() if not path.name.startswith("."))
    shown = ", ".join(there[:8]) + (", ..." if len(there) > 8 else "")
    return (
        f"holds no data set that edge knows, but {shown or 'nothing'}. Expected, for example, frames/ with labels/ of"
        " masks; images/ with labels/ of YOLO's polygons and data.yaml; or images with COCO's instances.json"
        " (docs/training.md)"
    )


# ------------------------------------------------------------------------------------------------------------- layouts


@dataclass(frozen=True)
class _Published:
    """Where a published set has its parts."""

    layout: str
    classes: str
    train: tuple[str, str]
    val: tuple[str, str] | None = None
    names: str | None = None  # a list of the frames that are in order
    frame: str = ""  # a pattern of the frames' names, where the folders alone could be any set's


PUBLISHED = (
    _Published("camvid", "camvid", ("train", "trainannot"), ("val", "valannot")),
    _Published("camvid32", "camvid", ("701_StillsRaw_full", "LabeledApproved_full")),
    _Published("cityscapes", "cityscapes", ("leftImg8bit/train", "gtFine/train"), ("leftImg8bit/val", "gtFine/val")),
    _Published(
        "bdd100k",
        "cityscapes",
        ("images/10k/train", "labels/sem_seg/masks/train"),
        ("images/10k/val", "labels/sem_seg/masks/val"),
    ),
    _Published("kitti", "cityscapes", ("training/image_2", "training/semantic")),
    _Published("comma10k", "comma10k", ("imgs", "masks"), frame=r"--\d\d-\d\d-\d\d_"),
    _Published("pet", "pet", ("images", "annotations/trimaps"), names="annotations/list.txt"),
)


def _published(root: Path) -> Guess | None:
    for known in PUBLISHED:
        if not all((root / place).is_dir() for place in known.train):
            continue
        if known.frame and not any(re.search(known.frame, path.name) for path in (root / known.train[0]).iterdir()):
            continue
        extra = {"names": str(root / known.names)} if known.names and (root / known.names).is_file() else {}
        val = known.val if known.val and all((root / place).is_dir() for place in known.val) else None
        return Guess(
            f"the layout of {known.layout}",
            _entry(root, known.train, known.layout, **extra),
            _entry(root, val, known.layout) if val else None,
            known.classes,
        )
    return None


VOC_CLASSES = [  # of PASCAL VOC 2012, in the order of their ids
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
]


def _voc(root: Path) -> Guess | None:
    lists = [root / "ImageSets/Segmentation" / f"{part}.txt" for part in ("train", "val")]
    places = "JPEGImages", "SegmentationClass"
    if not all(path.is_file() for path in lists) or not all((root / place).is_dir() for place in places):
        return None
    train, val = (_entry(root, places, "pairs", names=str(path)) for path in lists)
    return Guess("the layout of PASCAL VOC", train, val, VOC_CLASSES)


def _coco(root: Path) -> Guess | None:
    files = [path for path in _json_files(root) if _is_instances(path)]
    official = [path for path in files if path.name.startswith("instances")]
    by_part = {"train": None, "val": None, **{_part_of(path, root): path for path in reversed(official or files)}}
    train, val = by_part["train"], by_part["val"]
    if train is None:
        return None
    drawn = [name for name in read_coco(train).drawn if name != BACKGROUND]
    what = f"COCO's instances, {train.relative_to(root)}"
    return Guess(what, _coco_entry(root, train), _coco_entry(root, val) if val else None, [BACKGROUND, *drawn])


def _json_files(root: Path) -> list[Path]:
    patterns = ("*.json", "annotations/*.json", "*/_annotations.coco.json", "*/annotations/*.json", "train/*.json")
    return list(dict.fromkeys(path for pattern in patterns for path in sorted(root.glob(pattern))))


def _is_instances(path: Path) -> bool:
    """By its first and last bytes, where the keys are: a file may have hundreds of megabytes."""
    try:
        with open_regular(path) as file:
            head = file.read(1 << 20)
            file.seek(max(0, path.stat().st_size - (1 << 20)))
            ends = head + file.read(1 << 20)
    except OSError:
        return False
    return all(key in ends for key in (b'"images"', b'"annotations"', b'"categories"'))


def _part_of(path: Path, root: Path) -> str:
    words = re.findall("[a-z]+", path.relative_to(root).as_posix().lower())
    return "val" if {*VAL_NAMES} & {*words} else "test" if "test" in words else "train"


def _coco_entry(root: Path, file: Path) -> Entry:
    """With the folder in which the file's first image is."""
    frames = read_coco(file).frames
    if not frames:
        raise DataError(f"{file}: names no image")
    part = file.stem.removeprefix("instances_")
    above = [file.parent.parent / "images"] if file.parent != root else []
    places = [file.parent, root / "images" / part, root / part, root / "images", root, *above]
    for place in places:
        if (place / frames[0].name).is_file():
            return {"frames": str(place), "labels": str(file), "layout": "coco"}
    looked = ", ".join(str(place.relative_to(root)) for place in dict.fromkeys(places))
    raise DataError(f"{file}: names {frames[0].name!r}, which is in none of the folders {looked} of {root}")


def _yolo(root: Path) -> Guess | None:
    for train, val in _places(root):
        labels = root / train[1]
        if next((path for path in labels.rglob("*.txt") if path.name not in NAMES_FILES), None) is None:
            continue
        label_set, _ = read_names(labels)
        names = [name for name in label_set.names if name != BACKGROUND]
        val_entry = _entry(root, val, "yolo") if val else None
        return Guess("YOLO's polygons", _entry(root, train, "yolo"), val_entry, [BACKGROUND, *names])
    return None


def _pairs(root: Path) -> Guess | None:
    for train, val in _places(root):
        if next((root / train[1]).rglob("*.png"), None) is not None:
            return Guess(
                "masks beside frames", _entry(root, train, "pairs"), _entry(root, val, "pairs") if val else None
            )
    return None


def _places(root: Path) -> Iterator[tuple[tuple[str, str], tuple[str, str] | None]]:
    """Folders of frames and of labels below the root, for training and, where there is one, for validation."""
    two = [(frames, labels) for frames in FRAMES_NAMES for labels in LABELS_NAMES]
    for frames, labels in two:
        forms = (
            [(f"{frames}/{part}", f"{labels}/{part}") for part in ("train", *VAL_NAMES)],
            [(f"{part}/{frames}", f"{part}/{labels}") for part in ("train", *VAL_NAMES)],
            [(frames, labels)],
        )
        for train, *vals in forms:
            if _are_folders(root, train):
                yield train, next((val for val in vals if _are_folders(root, val)), None)


def _are_folders(root: Path, places: Iterable[str]) -> bool:
    return all((root / place).is_dir() for place in places)


def _entry(root: Path, places: tuple[str, str], layout: str, **more: str) -> Entry:
    entry: Entry = {"frames": str(root / places[0]), "labels": str(root / places[1])}
    return {**entry, **({} if layout == "pairs" else {"layout": layout}), **more}


DETECTORS: tuple[Callable[[Path], Guess | None], ...] = (_published, _voc, _coco, _yolo, _pairs)

# ------------------------------------------------------------------------------------------------- classes and the cut


def _with_classes(guess: Guess, names: list[str]) -> Guess:
    """Its classes; of plain masks, what they hold, and of all others those of `names` against the rest."""
    entry = Folder(**guess.train)
    if entry.layout == "pairs" and not guess.classes:
        entries = [Folder(**given) for given in (guess.train, guess.val) if given]
        found = describe_masks([pair.mask for one in entries for pair in find_pairs(one)], names, Path(entry.labels))
        more = {"map": found.map} if found.map else {}
        return replace(_each(guess, more), classes=found.names, notes=(*guess.notes, found.note))
    if not names:
        if guess.classes in ([], [BACKGROUND]):
            raise DataError(f"{entry.labels}: no object is drawn in it")
        return guess
    known = _label_names(guess, entry)
    if wrong := [name for name in names if name not in known]:
        raise ConfigError(f"{entry.labels}: has no class {wrong[0]!r}; there are {', '.join(known)}")
    meanings = {**{name: name for name in names}, OTHERS: BACKGROUND}
    return replace(_each(guess, {"map": meanings}), classes=[BACKGROUND, *(n for n in names if n != BACKGROUND)])


def _label_names(guess: Guess, entry: Folder) -> Sequence[str]:
    label_set = LAYOUTS[entry.layout].label_set
    return LABEL_SETS[label_set].names if label_set else list(guess.classes)


def _each(guess: Guess, more: Entry) -> Guess:
    """The guess with more keys in both entries."""
    val = None if guess.val is None else {**guess.val, **more}
    return replace(guess, train={**guess.train, **more}, val=val)


def _split_off(guess: Guess) -> Guess:
    """With something to validate on, and the counts of frames."""
    pairs = find_pairs(Folder(**guess.train))
    height, width = read_image(pairs[0].frame).shape[:2]
    drives = len({pair.drive for pair in pairs})
    guess = replace(guess, size_wh=(width, height))
    if guess.val is not None:
        count = len(find_pairs(Folder(**guess.val)))
        return replace(guess, notes=(*guess.notes, f"{len(pairs)} frames to train on, {count} to validate on."))
    if len(pairs) < 2:
        raise DataError(f"{guess.train['frames']}: expected 2 frames or more, one to validate on, got {len(pairs)}")
    cut: Entry = {"held_out": HELD_OUT, "seed": 1} if drives >= DRIVES_MIN else {"held_out": HELD_OUT, "by": "tail"}
    what = "whole drives" if drives >= DRIVES_MIN else "the last frames of each drive, since there are few drives"
    note = f"{len(pairs)} frames of {drives} drive(s). Held out to validate on: {what}."
    train, val = ({**guess.train, "split": {"part": part, **cut}} for part in ("train", "val"))
    return replace(guess, train=train, val=val, notes=(*guess.notes, note))
