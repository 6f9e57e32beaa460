"""Labelled frames for training and validation, read once and kept in memory as bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.classes import CAMVID, ClassTable
from edge.errors import DataError
from edge.frame import Image, Letterbox, ResizePolicy
from edge.indexed_png import decode_ids, holds_ids
from edge.regular import read_regular
from edge.sources.imagefile import ImageError, decode_image
from edge.street.render import StreetScene
from edge.train.augment import Pair, vary_light, view_of
from edge.train.label_sets import Translation, ids_of
from edge.train.layouts import Labelled, find_pairs, translation_of
from edge.train.plans import Rendered
from edge.train.recipe import Folder, Recipe
from edge.train.unions import Unions

CYCLE = 16  # batches over which the sources' shares are exact


def load_folder(
    folder: Folder,
    table: ClassTable,
    input_wh: tuple[int, int],
    resize: ResizePolicy = "letterbox",
    unions: Unions | None = None,
) -> list[Pair]:
    """Every frame of a folder with its mask, at network size; what lies outside the frame is ignored. Masks may hold
    the ids of `unions`.

    Raises:
        DataError: a folder is missing or empty, a frame has no mask, a mask has another size or ids outside the table.
        ConfigError: the folder's labels have no map to the table's classes.
    """
    translate = translation_of(folder, table, unions)
    pairs = (read_pair(labelled, translate) for labelled in find_pairs(folder))
    return [fit_pair(image, labels, table.ignore_id, input_wh, resize) for image, labels in pairs]


def read_pair(labelled: Labelled, translate: Translation) -> Pair:
    """A frame and its mask in the net's class ids, as large as they are.

    Raises:
        DataError: one is unreadable, the mask has another size, or values that its label set does not know.
    """
    frame, mask = labelled.frame, labelled.mask
    if labelled.drawn is not None:
        image = read_image(frame)
        return np.asarray(image, np.uint8), translate(labelled.drawn.paint((image.shape[1], image.shape[0])))
    if not mask.exists():
        raise DataError(f"{mask}: is missing; every frame needs a mask")
    image, values = read_image(frame), read_image(mask) if translate.source.is_coloured else read_ids(mask)
    if values.shape[:2] != image.shape[:2]:
        raise DataError(f"{mask}: has shape {values.shape}, {values.dtype}; expected uint8 {image.shape[:2]}")
    try:
        return np.asarray(image, np.uint8), translate(values)
    except DataError as error:
        raise DataError(f"{mask}: {error}") from error


def read_image(path: Path, *, unchanged: bool = False) -> Image:
    """uint8 (H, W, 3) BGR; with `unchanged`, the file's own channels and depth.

    Raises:
        DataError: it is missing, not an image, damaged, or larger than allowed (`edge.limits`).
    """
    try:
        return decode_image(_read(path), unchanged=unchanged)
    except ImageError as error:
        raise DataError(f"{path}: {error}") from error


def read_ids(path: Path) -> Image:
    """A mask's own channels and depth; of a PNG with a palette or few bits, as tools write it, the ids: uint8 (H, W).

    Raises:
        DataError: as `read_image`.
    """
    content = _read(path)
    if not holds_ids(content):
        return read_image(path, unchanged=True)
    try:
        return decode_ids(content)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _read(path: Path) -> bytes:
    try:
        return read_regular(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def fit_pair(
    image: Image, labels: Image, ignore_id: int, input_wh: tuple[int, int], resize: ResizePolicy = "letterbox"
) -> Pair:
    """A frame and its mask at network size, placed as at run time."""
    box = Letterbox.fit((image.shape[1], image.shape[0]), input_wh, resize)
    if box.is_identity:
        return image, labels
    canvas = np.zeros((*input_wh[::-1], 3), np.uint8), np.full(input_wh[::-1], ignore_id, np.uint8)
    size_wh = box.content_xywh[2:]
    box.content(canvas[0])[:] = cv2.resize(image, size_wh, interpolation=cv2.INTER_LINEAR)
    box.content(canvas[1])[:] = cv2.resize(labels, size_wh, interpolation=cv2.INTER_NEAREST_EXACT)
    return canvas


def plain_folder(folder: Folder, table: ClassTable, scratch: Path) -> Folder:
    """The folder itself if its masks hold the table's ids; else pairs in `scratch` that do: links to the frames, which
    are not copied, and masks of the same names. So what measures an engine need not know of layouts.

    Raises:
        DataError, ConfigError: as `load_folder`.
    """
    if folder.is_plain:
        return folder
    translate = translation_of(folder, table)
    frames, labels = scratch / "frames", scratch / "labels"
    for place in (frames, labels):
        place.mkdir(parents=True)
    for number, labelled in enumerate(find_pairs(folder)):
        _, ids = read_pair(labelled, translate)
        name = f"{number:06d}-{labelled.frame.stem}"  # cities may name their frames alike
        (frames / f"{name}{labelled.frame.suffix}").symlink_to(labelled.frame.resolve())
        if not cv2.imwrite(str(labels / f"{name}.png"), ids):
            raise DataError(f"{labels}: the masks cannot be written there")
    return Folder(frames=str(frames), labels=str(labels))


def render_pairs(
    plan: Rendered,
    input_wh: tuple[int, int],
    cache: Path,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> list[Pair]:
    """Frames of the rendered street with their truth; cached in `cache` (npz) for the same plan."""
    key = f"{plan.streets}-{plan.frames}-{plan.first_seed}-{input_wh[0]}x{input_wh[1]}"
    if cache.is_file():
        with np.load(cache) as stored:
            if str(stored["key"]) == key:
                return list(zip(stored["images"], stored["labels"], strict=True))
    images = np.empty((plan.streets * plan.frames, *input_wh[::-1], 3), np.uint8)
    labels = np.empty(images.shape[:3], np.uint8)
    for street in range(plan.streets):
        scene = StreetScene(seed=plan.first_seed + street, size_wh=input_wh)
        for frame in range(plan.frames):
            drawn = scene.render(frame * 45)  # 1.5 s apart: a new view each
            images[street * plan.frames + frame], labels[street * plan.frames + frame] = drawn.image, drawn.classes
        progress(street + 1, plan.streets)
    np.savez(cache, images=images, labels=labels, key=key)
    return list(zip(images, labels, strict=True))


def street_meaning(plan: Rendered, table: ClassTable, unions: Unions) -> Callable[[Image], Image]:
    """What makes the net's mask ids, and those of `unions`, of the rendered street's classes, by the plan's `map`.

    Raises:
        ConfigError: the map names what is no class of the street, or none of the table.
    """
    if plan.map is None:
        return lambda ids: ids
    return Translation.between(ids_of(CAMVID, "the rendered street"), table, plan.map, unions)


def class_shares(pairs: list[Pair], classes: int) -> NDArray[np.float64]:
    """Each class's share of the pixels labelled with one class, (classes,); all 0 where no pixel is labelled."""
    counts = np.zeros(classes)
    for _, labels in pairs:
        counts += np.bincount(labels.reshape(-1), minlength=256)[:classes]
    return counts / max(1.0, counts.sum())


def batches(
    sources: Sequence[Sequence[Pair]],
    rendered: list[Pair],
    recipe: Recipe,
    table: ClassTable,
    first_step: int,
    paste: Callable[[Pair, np.random.Generator], Pair] = lambda pair, rng: pair,
) -> Iterator[tuple[Image, Image, Image]]:
    """Endless training batches: uint8 (N, H, W, 3) BGR, their mask ids, uint8 (N, H, W), and the same images before
    their light was varied, as teachers see them. Step k's batch depends only on the seed and k, so that a resumed run
    sees what an unbroken one would. `sources` are the frames of each of
    `recipe.shares`; `paste` lays objects over a frame.
    """
    rare = np.zeros(256, np.bool_)
    rare[[i for name in recipe.rare_classes for i in table.ids(name)]] = True
    from_scene = round(recipe.optimisation.batch * recipe.rendered.share) if recipe.rendered and rendered else 0
    slots = source_slots(sources, recipe, recipe.optimisation.batch - from_scene)
    everything = [pair for pairs in sources for pair in pairs]
    donors = [pair for pair in everything if rare[pair[1]].any()] or everything
    step = first_step
    while True:
        rng = np.random.default_rng((recipe.seed, step))
        picks = [*_real_picks(sources, slots, recipe, recipe.optimisation.batch - from_scene, step)]
        picks += [rendered[i] for i in rng.integers(len(rendered), size=from_scene)] if from_scene else []
        views = []
        for pair in picks:
            donor = donors[rng.integers(len(donors))]
            clean, labels = view_of(paste(pair, rng), donor, rare, recipe.augmentation, table.ignore_id, rng)
            views.append((vary_light(clean, recipe.augmentation, rng, donor[0]), labels, clean))
        cut = _cut(recipe, step, rng)
        images, ids, cleans = (np.stack([part[cut] for part in parts]) for parts in zip(*views, strict=True))
        yield images, ids, cleans
        step += 1


def source_slots(sources: Sequence[Sequence[Pair]], recipe: Recipe, count: int) -> NDArray[np.intp]:
    """Which source each of the `count` * CYCLE places of CYCLE batches takes a frame of, spread evenly.

    A source without a share has its part of what the shares leave, by its number of frames.
    """
    places = count * CYCLE
    stated = recipe.shares
    frames = np.array([len(pairs) if share is None else 0 for pairs, share in zip(sources, stated, strict=True)])
    quota = np.array([(share or 0.0) * recipe.optimisation.batch * CYCLE for share in stated])
    quota += (places - quota.sum()) * frames / max(1, frames.sum())
    quota *= places / quota.sum()
    counts = np.floor(quota).astype(np.intp)
    counts[np.argsort(counts - quota, kind="stable")[: places - counts.sum()]] += 1  # largest remainders
    when = np.concatenate([(np.arange(n) + 0.5) / max(1, n) for n in counts])
    return np.repeat(np.arange(len(sources)), counts)[np.argsort(when, kind="stable")]


def _cut(recipe: Recipe, step: int, rng: np.random.Generator) -> tuple[slice, slice]:
    """The rows and columns that the views of a batch keep: the shapes of the recipe take turns, at random places."""
    shapes = recipe.augmentation.shapes_wh or [recipe.input_wh]
    width, height = shapes[step % len(shapes)]
    left, top = (int(rng.integers(room + 1)) for room in (recipe.input_wh[0] - width, recipe.input_wh[1] - height))
    return slice(top, top + height), slice(left, left + width)


def _real_picks(
    sources: Sequence[Sequence[Pair]], slots: NDArray[np.intp], recipe: Recipe, count: int, step: int
) -> Iterator[Pair]:
    """Each frame once in every pass over its source, in an order of the pass's own."""
    for position in range(step * count, (step + 1) * count):
        cycle, slot = divmod(position, len(slots))
        source = int(slots[slot])
        taken = cycle * int((slots == source).sum()) + int((slots[:slot] == source).sum())
        epoch, place = divmod(taken, len(sources[source]))
        order = np.random.default_rng((recipe.seed, epoch, 7)).permutation(len(sources[source]))
        yield sources[source][order[place]]
