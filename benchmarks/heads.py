"""What the heads of an engine are worth and what they cost: its objects by centres and by connected patches of the same
masks, on rendered streets of seeds never trained on; its lane markings; and its time with them over without.

    python -m benchmarks.heads [--engine road] [--streets 6] [--frames 8]

"perfect" is what a grouping without a fault would make of the same pixels: what the masks leave to be reached.
Training took seeds 1000 to 1400; thresholds were chosen on seeds 9001 to 9006. Markings are of CamVid val, which a
teacher made.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from time import perf_counter

import cv2
import numpy as np

from edge.backends import open_engine
from edge.centres import grouped
from edge.classes import ClassTable
from edge.config import data_path
from edge.evaluate.objects import Matched, PanopticCounts
from edge.evaluate.overlaps import Overlaps, objects_of_maps, overlaps_of
from edge.frame import Frame, Image
from edge.grouping import LEAST_SHARE, Group, Groups, Instances, components
from edge.instances import thing_ids
from edge.markings import MARKING, Markings
from edge.metrics import ThinScore
from edge.prediction import Prediction
from edge.report import table
from edge.segmenter import Segmenter
from edge.street.render import Rendered, StreetScene
from edge.train.data import read_ids, read_image

FIRST_SEED, SIZE_WH, ROUNDS = 9101, (960, 540), 250
SPACING = 90  # frames between two that are looked at


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default="road")
    parser.add_argument("--streets", type=int, default=6)
    parser.add_argument("--frames", type=int, default=8)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    print(table(("outputs", "ms p50", "ms p99", "over none"), list(costs(args.engine))))
    rows = list(qualities(args.engine, args.streets, args.frames))
    print(table(("class", "grouped by", "PQ", "SQ", "RQ", "found", "false", "missed"), rows))
    print(table(("lane markings", "F1"), [[name, f"{score.f1:.4f}"] for name, score in marking_scores(args.engine)]))


def costs(name: str) -> Iterator[list[str]]:
    """The engine with some outputs and others, in turn, in one process."""
    wishes: dict[str, tuple[str, ...]] = {
        "none": (),
        "instances": ("instances",),
        "markings": ("markings",),
        "both": ("instances", "markings"),
    }
    engines = {label: open_engine(name, outputs=outputs) for label, outputs in wishes.items()}
    width, height = engines["none"].card.input_wh
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    times = {label: list[float]() for label in engines}
    for place in range(ROUNDS + 20):
        for label, engine in engines.items():
            begin = perf_counter()
            engine.infer(image)
            if place >= 20:
                times[label].append(1e3 * (perf_counter() - begin))
    for engine in engines.values():
        engine.close()
    base = np.median(times["none"])
    for label, taken in times.items():
        p50, p99 = np.percentile(taken, (50, 99))
        yield [label, f"{p50:.2f}", f"{p99:.2f}", f"{p50 / base:.3f}"]


def qualities(name: str, streets: int, frames: int) -> Iterator[list[str]]:
    """Panoptic quality of each class by each way of grouping."""
    drawn = [one for seed in range(FIRST_SEED, FIRST_SEED + streets) for one in _rendered(seed, frames)]
    with open_engine(name, source_wh=SIZE_WH, outputs=["instances"]) as engine:
        segmenter, classes = Segmenter(engine), engine.card.table
        seen = [segmenter.segment(_frame(place, one.image)) for place, one in enumerate(drawn)]
    for label, group in (("patches", _by(components)), ("centres", _by(grouped)), ("perfect", _perfect)):
        counts = PanopticCounts.of([_matched(seen, drawn, classes, group)], len(classes))
        figures = counts.figures()
        for i in thing_ids(classes):
            quality = [f"{figures[key][i]:.3f}" for key in ("pq", "sq", "rq")]
            yield [classes.names[i], label, *quality, *(str(n[i]) for n in (counts.hits, counts.false, counts.missed))]


def _rendered(seed: int, frames: int) -> Iterator[Rendered]:
    scene = StreetScene(seed, SIZE_WH)
    return (scene.render(place * SPACING) for place in range(frames))


def _frame(index: int, image: Image) -> Frame:
    return Frame(index=index, captured_ns=0, source="rendered", bgr=image)


GroupTruth = Callable[[Prediction, Rendered], Group]


def _by(group: Group) -> GroupTruth:
    return lambda result, truth: group


def _perfect(result: Prediction, truth: Rendered) -> Group:
    """Each cell of a countable class is of the true object that is there; what is of no object is left out."""
    wh = result.letterbox.content_xywh[2:]
    numbers = cv2.resize(truth.instances, wh, interpolation=cv2.INTER_NEAREST_EXACT).astype(np.int64)

    def group(prediction: Prediction, class_ids: Sequence[int]) -> Groups:
        semantic = prediction.content("semantic")
        keys = np.where(np.isin(semantic, class_ids) & (numbers > 0), numbers * 256 + semantic, 0)
        found, counts = np.unique(keys[keys > 0], return_counts=True)
        found = found[np.argsort(-counts)][:255]
        ids = np.zeros(semantic.shape, np.uint8)
        for number, key in enumerate(found, start=1):
            ids[keys == key] = number
        places = [np.nonzero(ids == number) for number in range(1, len(found) + 1)]
        boxes = [[x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1] for y, x in places]
        centres = [[x.mean(), y.mean()] for y, x in places]
        return Groups(
            ids,
            found % 256,
            np.array(boxes, np.int64).reshape(-1, 4),
            np.array([len(y) for y, _ in places], np.int64),
            np.array(centres, np.float64).reshape(-1, 2),
        )

    return group


def _matched(seen: Sequence[Prediction], drawn: Sequence[Rendered], classes: ClassTable, group: GroupTruth) -> Matched:
    things, parts = thing_ids(classes), list[Overlaps]()
    for result, truth in zip(seen, drawn, strict=True):
        described = Instances(classes, group(result, truth)).update(dataclasses.replace(result))
        parts.append(
            overlaps_of(
                described,
                objects_of_maps(truth.classes, truth.instances, things, (classes.ignore_id, 255), LEAST_SHARE),
            )
        )
    truths, found, overlaps = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("truths", "found", "overlaps")
    )
    return Matched.of(truths, found, overlaps, np.arange(len(classes)))


def marking_scores(name: str) -> Iterator[tuple[str, ThinScore]]:
    """F1 of the output "markings", without tolerance and within 2 pixels."""
    frames, truths = data_path("$EDGE_DATA/camvid/val"), data_path("$EDGE_DATA/camvid/valmarks")
    scores = {"plain": ThinScore(0), "within 2 px": ThinScore(2)}
    with open_engine(name, outputs=["markings"]) as engine:
        segmenter, step = Segmenter(engine), Markings(engine.card.table)
        for place, path in enumerate(sorted(frames.iterdir())):
            result = step.update(segmenter.segment(_frame(place, read_image(path))))
            truth = read_ids(truths / f"{path.stem}.png")
            found = result.letterbox.to_source(result.outputs["markings"]) == MARKING
            for score in scores.values():
                score.add(truth == MARKING, found, np.zeros(found.shape, np.bool_))
    yield from scores.items()


if __name__ == "__main__":
    main()
