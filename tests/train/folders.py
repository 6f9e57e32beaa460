"""Folders of labelled frames as people have them, a few small frames each: a red cat left, a blue dog right."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.rle import coco_rle

WH = (96, 64)
BGR = np.array([[90, 90, 90], [20, 20, 220], [220, 30, 20]], np.uint8)


def labels_of(number: int) -> NDArray[np.uint8]:
    """Class ids: 0 the room, 1 the cat, 2 the dog."""
    ids = np.zeros(WH[::-1], np.uint8)
    ids[16 + 4 * (number % 4) :, 8:40] = 1
    ids[8:48, 52 + 4 * (number % 4) : 84] = 2
    return ids


def put(path: Path, pixels: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


def put_frame(path: Path, number: int) -> None:
    noise = np.random.default_rng(number).integers(0, 20, (*WH[::-1], 3), np.uint8)
    put(path, BGR[labels_of(number)] + noise)


def put_pairs(root: Path, frames: str, masks: str, names: Sequence[str], values: Sequence[int] = (0, 1, 2)) -> None:
    """Masks of `values`, those of room, cat and dog."""
    for number, name in enumerate(names):
        put_frame(root / frames / f"{name}.png", number)
        put(root / masks / f"{name}.png", np.array(values, np.uint8)[labels_of(number)])


def put_yolo(root: Path, frames: str, labels: str, names: Sequence[str]) -> None:
    for number, name in enumerate(names):
        put_frame(root / frames / f"{name}.jpg", number)
        lines = []
        for value in (1, 2):
            rows, columns = np.nonzero(labels_of(number) == value)
            left, right = columns.min() / WH[0], (columns.max() + 1) / WH[0]
            top, bottom = rows.min() / WH[1], (rows.max() + 1) / WH[1]
            lines.append(f"{value - 1} {left} {top} {right} {top} {right} {bottom} {left} {bottom}\n")
        (root / labels).mkdir(parents=True, exist_ok=True)
        (root / labels / f"{name}.txt").write_text("".join(lines))
    (root / "data.yaml").write_text("path: .\ntrain: images/train\nnames: [cat, dog]\nnc: 2\n")


def put_coco(root: Path, frames: str, file: str, names: Sequence[str]) -> None:
    """With run lengths, and a category that is never drawn."""
    images, annotations = [], []
    for number, name in enumerate(names):
        put_frame(root / frames / f"{name}.jpg", number)
        images.append({"id": number, "file_name": f"{name}.jpg", "width": WH[0], "height": WH[1]})
        annotations += [
            {
                "id": len(annotations) + value,
                "image_id": number,
                "category_id": 16 + value,
                "segmentation": coco_rle(labels_of(number) == value),
                "iscrowd": 0,
            }
            for value in (1, 2)
        ]
    categories = [{"id": 17, "name": "cat"}, {"id": 18, "name": "dog"}, {"id": 90, "name": "animals"}]
    tree = {"images": images, "annotations": annotations, "categories": categories}
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    (root / file).write_text(json.dumps(tree))


def put_pets(root: Path, count: int) -> None:
    """As the Oxford-IIIT Pet set has it: trimaps of 1 pet, 2 background and 3 border, and a list of the good files."""
    for number in range(count):
        put_frame(root / f"images/Beagle_{number}.jpg", number)
        ids = (labels_of(number) > 0).astype(np.uint8)
        border = cv2.dilate(ids, np.ones((3, 3), np.uint8)) - cv2.erode(ids, np.ones((3, 3), np.uint8))
        trimap = np.where(border > 0, 3, np.where(ids > 0, 1, 2)).astype(np.uint8)
        put(root / f"annotations/trimaps/Beagle_{number}.png", trimap)
    (root / "images/Beagle_999.jpg").write_bytes(b"GIF89a, as some of the published files are")
    lines = [f"Beagle_{number} 1 2 3\n" for number in range(count)]
    (root / "annotations/list.txt").write_text("#Image CLASS-ID SPECIES BREED ID\n" + "".join(lines))
