"""A net on cameras that it may never have seen: IoU of groups on data sets whose labels say "one of these classes".

    python -m benchmarks.datasets engines/road.yaml engines/road.pt out/road.run/last.pt
    python -m benchmarks.datasets engines/road.yaml --teacher $EDGE_DATA/teacher/road-segmentation-adas-0001.xml

Checkpoints are judged in fp32, at the recipe's input size. Frames are those of the recipe's `val`, of `--lums`, and of
the parts that the recipe's `split`s hold out; with `--left-out RECIPE` all frames of each split data set that the other
recipe trains on and this one does not, by the classes that both know. A pixel counts where its label says whether it is
in the group. The teacher knows roads alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from edge.config import data_path, load_yaml
from edge.errors import DataError
from edge.frame import Image
from edge.nets import make_net
from edge.report import table
from edge.train.augment import Pair
from edge.train.checkpoint import read_checkpoint
from edge.train.data import load_folder
from edge.train.loop import to_input
from edge.train.recipe import Folder, Recipe
from edge.train.teacher import open_teacher

GROUPS = ("road", "pavement", "pedestrian", "vehicle")
TEACHER_ROAD = (1, 3)  # road and lane markings
Predict = Callable[[Image], Image]


def exams(recipe: Recipe, lums: str, left_out: Sequence[Folder] = ()) -> Iterator[tuple[str, list[Pair]]]:
    """Name and labelled frames of each data set, none of which the recipe trains on but for what is left out of it."""
    folders = [("CamVid val", recipe.val)]
    for folder in recipe.train:
        if folder in left_out:
            continue
        if folder.frames.startswith(f"{lums}/"):
            swapped = {key: getattr(folder, key).replace("/train/", "/val/") for key in ("frames", "labels")}
            folders.append(("LUMS val", folder.model_copy(update=swapped)))
        elif folder.split:
            folders.append((f"{folder.frames}, held out", _held_out(folder)))
    folders += [(f"{one.frames}, left out", one) for one in left_out]
    for name, folder in folders:
        yield name, load_folder(folder, recipe.table, recipe.input_wh, recipe.resize, recipe.unions)


def _held_out(folder: Folder) -> Folder:
    assert folder.split is not None
    return folder.model_copy(update={"split": folder.split.model_copy(update={"part": "val"})})


def left_out_by(recipe: Recipe, other: Recipe) -> tuple[Folder, ...]:
    """The split data sets that `other` trains on and `recipe` does not, all frames of each."""
    trained = {folder.frames for folder in recipe.train}
    sets = (one for one in other.train if one.split and one.frames not in trained)
    return tuple(one.model_copy(update={"split": None}) for one in sets)


def checkpoint(path: Path, recipe: Recipe) -> Predict:
    """The averaged net of a training run or a release."""
    net = make_net(recipe.net, len(recipe.table)).eval()
    net.load_state_dict(read_checkpoint(path, recipe)["averaged"])

    @torch.no_grad()
    def predict(image: Image) -> Image:
        logits = net(to_input(image[None], torch.device("cpu")))
        logits = F.interpolate(logits, size=image.shape[:2], mode="bilinear", align_corners=False)
        return logits.argmax(1)[0].to(torch.uint8).numpy()

    return predict


def teacher(path: Path, road_id: int) -> Predict:
    """Road where the teacher sees road or markings, 255 elsewhere; the black bars of a letterbox are cut off for it."""
    infer = open_teacher(path)

    def predict(image: Image) -> Image:
        rows = np.flatnonzero(image.any((1, 2)))
        inside = image[rows[0] : rows[-1] + 1] if rows.size else image
        best = cv2.resize(
            infer(inside).argmax(0).astype(np.uint8), inside.shape[1::-1], interpolation=cv2.INTER_NEAREST
        )
        found = np.full(image.shape[:2], 255, np.uint8)
        found[rows[0] : rows[-1] + 1][np.isin(best, TEACHER_ROAD)] = road_id
        return found

    return predict


def group_iou(pairs: list[Pair], found: list[Image], group: NDArray[np.bool_], members: NDArray[np.bool_]) -> float:
    """`group`, bool (256,), marks its class ids; `members`, bool (256, C), what each mask id may stand for. NaN where
    no pixel is known to be in the group.
    """
    in_group = group[: members.shape[1]]
    may_be, may_not = members @ in_group, members @ ~in_group  # bool (256,)
    inside, outside = may_be & ~may_not, may_not & ~may_be
    truth = both = either = 0
    for (_, labels), classes in zip(pairs, found, strict=True):
        taken, known = group[classes], inside[labels]
        truth += int(known.sum())
        both += int((taken & known).sum())
        either += int((known | (taken & outside[labels])).sum())
    return both / either if truth else float("nan")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("checkpoints", type=Path, nargs="*")
    parser.add_argument("--teacher", type=Path)
    parser.add_argument("--lums", default="$EDGE_DATA/lums")
    parser.add_argument("--left-out", type=Path, metavar="RECIPE")
    wish = parser.parse_args()
    recipe = load_yaml(wish.recipe, Recipe)
    left_out = left_out_by(recipe, load_yaml(wish.left_out, Recipe)) if wish.left_out else ()
    recipe = recipe.model_copy(update={"train": (*recipe.train, *left_out)})  # so that it knows what their labels mean
    (road,) = recipe.table.ids("road")
    nets = [(str(path), checkpoint(data_path(str(path)), recipe)) for path in wish.checkpoints]
    if wish.teacher:
        nets.append((wish.teacher.stem, teacher(wish.teacher, road)))
    members, rows = recipe.unions.members, []
    for exam, pairs in exams(recipe, wish.lums, left_out):
        if not pairs:
            raise DataError(f"{exam}: holds no frames")
        for name, predict in nets:
            found = [predict(image) for image, _ in pairs]
            ious = [group_iou(pairs, found, recipe.table.membership(g).astype(bool), members) for g in GROUPS]
            rows.append((exam, str(len(pairs)), name, *("-" if np.isnan(iou) else f"{iou:.4f}" for iou in ious)))
            print(*rows[-1], file=sys.stderr, flush=True)
    print(table(("frames of", "number", "net", *GROUPS), rows))


if __name__ == "__main__":
    main()
