"""A motorway that no engine learned from: what becomes of the road, and how often a person is seen where there is none.

    python -m benchmarks.motorway road out/road.run                 bundled engines, or folders of bundles
    python -m benchmarks.motorway --recipe engines/road.yaml out/road.run/last.pt      checkpoints, in fp32

Of `drives/motorway-720p.mp4` five frames have the road and two cars drawn by hand (benchmarks/motorway.json). Of three
drives without people on the road the pixels called Pedestrian are counted, as a share of all pixels. `motorway-540p` is
of the same camera type; recipes that list it under `unlabelled` have seen it.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.datasets import checkpoint
from edge.backends import open_engine
from edge.classes import ClassTable
from edge.config import load_yaml
from edge.frame import Image
from edge.report import table
from edge.train.recipe import Recipe

DRIVES = ("motorway-540p", "motorway-720p", "carpark-432p")
EVERY = 5  # frames of the drives that are looked at
Predict = Callable[[Image], Image]  # classes at the size of the image


def frames(drive: Path) -> Iterator[Image]:
    """All frames of a video, BGR."""
    video = cv2.VideoCapture(str(drive))
    while True:
        good, image = video.read()
        if not good:
            return
        yield image


def regions(truth: dict[str, Any], wh: tuple[int, int], margin: int) -> tuple[Image, Image]:
    """bool (H, W) each: certainly road, and certainly one of the two cars."""
    road, cars = (np.zeros(wh[::-1], np.uint8) for _ in range(2))
    cv2.fillPoly(road, [np.array(truth["road"], np.int32)], 1)
    cv2.fillPoly(cars, [np.array(one, np.int32) for one in truth["vehicles"]], 1)
    square = np.ones((2 * margin + 1, 2 * margin + 1), np.uint8)
    wide = cv2.dilate(cars, square)
    return (cv2.erode(road, square) > wide).astype(bool), cv2.erode(cars, square).astype(bool)


def fitted(predict: Predict, image: Image, width: int = 480) -> Image:
    """Classes of an image of any size by a net of that input width, rows rounded up to 32 with black."""
    height = round(image.shape[0] * width / image.shape[1])
    canvas = np.zeros((-(-height // 32) * 32, width, 3), np.uint8)
    top = (len(canvas) - height) // 2
    canvas[top : top + height] = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    found = predict(canvas)[top : top + height]
    return cv2.resize(found, image.shape[1::-1], interpolation=cv2.INTER_NEAREST)


def judged(predict: Predict, classes: ClassTable, data: Path) -> list[str]:
    """Of the five frames: road found, road called vehicle, cars found; of each drive: pixels called Pedestrian."""
    truths = json.loads(Path(__file__).with_suffix(".json").read_text())
    road, vehicle, person = (list(classes.ids(group)) for group in ("road", "vehicle", "pedestrian"))
    images = list(frames(data / truths["drive"]))
    counts = np.zeros(5)
    for truth in truths["frames"]:
        on_road, on_car = regions(truth, tuple(truths["size"]), truths["margin"])
        found = predict(images[truth["frame"]])
        as_vehicle = np.isin(found, vehicle)
        counts += (
            on_road.sum(),
            np.isin(found[on_road], road).sum(),
            as_vehicle[on_road].sum(),
            on_car.sum(),
            as_vehicle[on_car].sum(),
        )
    shares = [counts[1] / counts[0], counts[2] / counts[0], counts[4] / counts[3]]
    for drive in DRIVES:
        looked_at = list(frames(data / f"drives/{drive}.mp4"))[::EVERY]
        shares.append(float(np.mean([np.isin(predict(image), person).mean() for image in looked_at])))
    return [f"{share:.2%}" if place < 3 else f"{share:.3%}" for place, share in enumerate(shares)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nets", nargs="+")
    parser.add_argument("--recipe", type=Path)
    wish = parser.parse_args()
    data = Path(os.environ["EDGE_DATA"])
    rows = []
    for name in wish.nets:
        if wish.recipe:
            recipe = load_yaml(wish.recipe, Recipe)
            net = checkpoint(Path(name), recipe)
            rows.append((name, *judged(lambda image, net=net: fitted(net, image), recipe.table, data)))
        else:
            with open_engine(name, source_wh=(1280, 720)) as engine:

                def predict(image: Image, engine: Any = engine) -> Image:
                    return cv2.resize(
                        engine.predict(image).content("semantic"), image.shape[1::-1], interpolation=cv2.INTER_NEAREST
                    )

                rows.append((name, *judged(predict, engine.card.table, data)))
    print(table(("net", "road found", "road as vehicle", "cars found", *(f"person on {d}" for d in DRIVES)), rows))


if __name__ == "__main__":
    main()
