"""What heads learn from: frames with one map each that says where objects and markings are, and views of them.

A map is uint8 (H, W): `NONE`, `MARKING` and `CURB` where no object is; `NO_OBJECT`, where none is and markings are
unknown; from `FIRST` on a number for each object; `SOME_OBJECT`, of unknown number; `UNKNOWN`. One map, so that each
augmentation moves all of it alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from edge.classes import ClassTable
from edge.config import data_path
from edge.errors import DataError
from edge.frame import Image, ResizePolicy
from edge.instances import thing_ids
from edge.natural import is_hidden
from edge.street.render import StreetScene
from edge.train.augment import augment
from edge.train.data import fit_pair, read_ids, read_image, street_meaning
from edge.train.head_plan import HeadFolder, HeadsPlan, MarkedDrives
from edge.train.paste import Cutout, load_cutouts, paste
from edge.train.plans import Pasted, Rendered
from edge.train.recipe import Recipe
from edge.train.teacher import open_teacher, varied_frames

NONE, MARKING, CURB, NO_OBJECT, SOME_OBJECT, FIRST, UNKNOWN = 0, 1, 2, 3, 4, 5, 255
LAST = UNKNOWN - 1
# Width over height of what can only be one object, and the part of its box that it fills.
_SINGLE = {"Pedestrian": (0.2, 0.65, 0.4), "Bicyclist": (0.3, 1.1, 0.35), "Car": (0.7, 2.4, 0.6)}
_SINGLE_LEAST_PX = 60

Known = tuple[Image, Image, Image]  # image, class ids (255 where unknown), and the map


def read_known(folder: HeadFolder, table: ClassTable, input_wh: tuple[int, int], resize: ResizePolicy) -> list[Known]:
    """A folder's frames at network size.

    Raises:
        DataError: a folder or a mask is missing or unreadable, or the mask has another size.
    """
    frames = data_path(folder.frames)
    if not frames.is_dir():
        raise DataError(f"{frames}: folder not found")
    found = [_read(path, folder, table) for path in sorted(frames.iterdir()) if path.is_file() and not is_hidden(path)]
    if not found:
        raise DataError(f"{frames}: holds no frames")
    return [_fitted(known, input_wh, resize) for known in found]


def _read(frame: Path, folder: HeadFolder, table: ClassTable) -> Known:
    image = read_image(frame)
    hw = image.shape[:2]

    def mask(place: str | None) -> Image | None:
        if place is None:
            return None
        path = data_path(place) / f"{frame.stem}.png"
        ids = np.asarray(read_ids(path), np.uint8)
        if ids.shape != hw:
            raise DataError(f"{path}: has shape {ids.shape}; expected {hw}, the frame's")
        return ids

    classes, objects, markings = mask(folder.labels), mask(folder.instances), mask(folder.markings)
    known = np.full(hw, NO_OBJECT, np.uint8) if markings is None else np.where(markings > CURB, UNKNOWN, markings)
    if classes is not None:
        known[classes == table.ignore_id] = UNKNOWN
        _mark_singles(known, classes, table)
    if objects is not None:
        _number(known, objects)
    return image, np.full(hw, 255, np.uint8) if classes is None else classes, known.astype(np.uint8)


def _mark_singles(known: Image, classes: Image, table: ClassTable) -> None:
    """Number the regions of countable classes that can only be one object; the others are of unknown number."""
    number = FIRST
    for class_id in thing_ids(table):
        inside = classes == class_id
        known[inside] = SOME_OBJECT
        low, high, filled = _SINGLE.get(table.names[class_id], (1.0, 0.0, 1.0))
        count, labels, stats, _ = cv2.connectedComponentsWithStats(inside.astype(np.uint8), connectivity=8)
        for label in range(1, count):
            x, y, width, height, area = stats[label].tolist()
            cut = x == 0 or y == 0 or x + width == inside.shape[1] or y + height == inside.shape[0]
            shaped = low <= width / height <= high and area >= filled * width * height
            if not cut and shaped and area >= _SINGLE_LEAST_PX and number <= LAST:
                known[labels == label] = number
                number += 1


def _number(known: Image, objects: NDArray[np.integer]) -> None:
    """Each object its own number, in place; those that find no number are of an unknown one."""
    for number, value in enumerate(np.unique(objects[objects > 0]).tolist(), start=FIRST):
        known[objects == value] = number if number <= LAST else SOME_OBJECT


def _fitted(known: Known, input_wh: tuple[int, int], resize: ResizePolicy) -> Known:
    image, classes, objects = known
    fitted, objects = fit_pair(image, objects, UNKNOWN, input_wh, resize)
    return fitted, fit_pair(image, classes, 255, input_wh, resize)[1], objects


def render_known(
    plan: Rendered,
    input_wh: tuple[int, int],
    cache: Path,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> list[Known]:
    """Frames of the rendered street, objects and markings exact; cached in `cache` (npz) for the same plan."""
    key = f"{plan.streets}-{plan.frames}-{plan.first_seed}-{input_wh[0]}x{input_wh[1]}"
    if cache.is_file():
        with np.load(cache) as stored:
            if str(stored["key"]) == key:
                return list(zip(*(stored[name] for name in ("images", "classes", "known")), strict=True))
    drawn: list[Known] = []
    for street in range(plan.streets):
        scene = StreetScene(seed=plan.first_seed + street, size_wh=input_wh)
        for frame in range(plan.frames):
            one = scene.render(frame * 45)  # 1.5 s apart: a new view each
            known = scene.markings(frame * 45, one.classes)
            _number(known, one.instances)
            drawn.append((one.image, one.classes, known))
        progress(street + 1, plan.streets)
    images, classes, known = (np.stack(part) for part in zip(*drawn, strict=True))
    np.savez(cache, images=images, classes=classes, known=known, key=key)
    return drawn


def teacher_marked(plan: MarkedDrives, input_wh: tuple[int, int], resize: ResizePolicy) -> list[Known]:
    """Frames of drives, with the teacher's markings and no object that is known."""
    infer = open_teacher(data_path(plan.teacher))
    found = []
    for drive in plan.drives:
        for image in varied_frames(drive, plan.frames):
            probabilities = infer(image)
            marks = np.zeros(probabilities.shape[1:], np.uint8)
            for value, channel in ((MARKING, plan.marking), (CURB, plan.curb)):
                marks[probabilities.argmax(0) == channel] = value
            marks = np.asarray(cv2.resize(marks, image.shape[1::-1], interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
            found.append(_fitted((image, np.full(marks.shape, 255, np.uint8), marks), input_wh, resize))
    return found


class Crowds:
    """Pastes people into frames, several beside and before one another; each has a number of its own."""

    def __init__(self, plan: Pasted, table: ClassTable) -> None:
        self.plan = plan
        self.cutouts: Sequence[Cutout] = load_cutouts(plan)
        self.ground = np.zeros(256, np.bool_)
        self.ground[[i for name in plan.on for i in table.ids(name)]] = True

    def __call__(self, known: Known, rng: Generator) -> tuple[Image, Image]:
        """Image and map, by chance a copy with people in it, the farthest first."""
        image, classes, objects = known
        rows, columns = np.nonzero(self.ground[classes])
        if rng.random() >= self.plan.chance or rows.size < 100:
            return image, objects
        image, objects = image.copy(), objects.copy()
        camera_m, horizon = rng.uniform(*self.plan.camera_height_m), int(rows[0])
        for column, row in sorted(self._feet(rows, columns, rng), key=lambda foot: foot[1]):
            height_px = (row - horizon) * rng.uniform(*self.plan.height_m) / camera_m
            number = max(FIRST, int(objects[objects < UNKNOWN].max(initial=0)) + 1)
            if not 10 <= height_px <= 1.2 * image.shape[0] or number > LAST:
                continue
            cutout = self.cutouts[int(rng.integers(len(self.cutouts)))]
            box, inside = paste(image, cutout, (column, row), height_px, rng)
            objects[box][inside] = number
        return image, objects

    def _feet(self, rows: NDArray[np.intp], columns: NDArray[np.intp], rng: Generator) -> list[tuple[int, int]]:
        """Places for up to `most` people; every second one stands beside another."""
        feet: list[tuple[int, int]] = []
        for _ in range(int(rng.integers(1, self.plan.most + 1))):
            pick = int(rng.integers(rows.size))
            column, row = int(columns[pick]), int(rows[pick])
            if feet and rng.random() < 0.6:
                near, row = feet[int(rng.integers(len(feet)))]
                column = near + round(rng.normal(0, 0.35) * max(8, row - int(rows[0])))
            feet.append((column, row))
        return feet


def read_sources(
    plan: HeadsPlan, recipe: Recipe, folder: Path, progress: Callable[[int, int], object]
) -> tuple[list[list[Known]], list[float]]:
    """The frames of each source, and its share of a batch."""
    sources = [read_known(one, recipe.table, recipe.input_wh, recipe.resize) for one in plan.train]
    shares = [one.share for one in plan.train]
    if plan.teacher:
        sources.append(teacher_marked(plan.teacher, recipe.input_wh, recipe.resize))
        shares.append(plan.teacher.share)
    if plan.rendered:
        meaning = street_meaning(plan.rendered, recipe.table, recipe.unions)
        drawn = render_known(plan.rendered, recipe.input_wh, folder / "rendered.npz", progress)
        sources.append([(image, meaning(classes), known) for image, classes, known in drawn])
        shares.append(plan.rendered.share)
    return sources, shares


def views(
    sources: Sequence[Sequence[Known]], shares: Sequence[float], recipe: Recipe, crowds: Crowds | None, first_step: int
) -> Iterator[tuple[Image, Image]]:
    """Endless batches: uint8 (N, H, W, 3) BGR and maps uint8 (N, H, W). Step k's depends only on the seed and k."""
    assert recipe.heads is not None
    plan = recipe.augmentation.model_copy(update={"mix_rare": 0.0})
    shapes = plan.shapes_wh or [recipe.input_wh]
    nothing = np.zeros(256, np.bool_)
    chances = np.array(shares) / sum(shares)
    step = first_step
    while True:
        rng = np.random.default_rng((recipe.seed, step, 11))
        width, height = shapes[step % len(shapes)]
        left, top = (int(rng.integers(room + 1)) for room in (recipe.input_wh[0] - width, recipe.input_wh[1] - height))
        cut = slice(top, top + height), slice(left, left + width)
        made = []
        for source in rng.choice(len(sources), recipe.heads.optimisation.batch, p=chances).tolist():
            known = sources[source][int(rng.integers(len(sources[source])))]
            pair = crowds(known, rng) if crowds else (known[0], known[2])
            made.append(augment(pair, pair, nothing, plan, UNKNOWN, rng))
        yield np.stack([view[0][cut] for view in made]), np.stack([view[1][cut] for view in made])
        step += 1
