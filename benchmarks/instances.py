"""What objects cost: finding and following thirty of them in a mask, beside the engine that makes the mask.

    python -m benchmarks.instances [--engine road] [--frames 300] [--objects 30]

The objects are drawn: people and cars in lanes of their own, moving. Engine and steps take turns, so that whatever else
the machine does meets both. The last column is each one's time as a share of the engine's.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import numpy as np

from edge.backends import open_engine
from edge.classes import ClassTable
from edge.engine import Engine
from edge.frame import Frame, Image, Letterbox
from edge.grouping import Instances
from edge.prediction import Prediction
from edge.report import table
from edge.timing import Durations
from edge.tracking import Tracks

RATE_HZ = 30
SOURCE_WH = (1280, 720)
PARTS = ("engine", "instances", "tracks", "both")


def drawn(table: ClassTable, box: Letterbox, objects: int, frames: int) -> Iterator[Prediction]:
    """Masks at network size, with so many objects in each."""
    _, top, width, height = box.content_xywh
    person, car, road = (table.ids(name)[0] for name in ("pedestrian", "vehicle", "road"))
    rows, columns = -(-objects // 6), 6
    high, wide = height // rows, width // columns
    for index in range(frames):
        classes: Image = np.full(box.input_wh[::-1], road, np.uint8)
        for i in range(objects):
            row, column = divmod(i, columns)
            x = column * wide + (index + 7 * i) % (wide // 2)
            y = top + row * high + 2
            classes[y : y + high - 6, x : x + wide // (3 if i % 3 else 2) - 2] = person if i % 3 else car
        captured_ns = index * 10**9 // RATE_HZ
        image = np.broadcast_to(np.uint8(0), (SOURCE_WH[1], SOURCE_WH[0], 3))
        frame = Frame(index=index, captured_ns=captured_ns, source="drawn", bgr=image, media_ns=captured_ns)
        yield Prediction(frame, {"semantic": classes}, box, table, captured_ns)


def measure(engine: Engine, objects: int, frames: int) -> dict[str, Durations]:
    """The times of `PARTS`."""
    card, times = engine.card, {name: Durations() for name in PARTS}
    box = Letterbox.fit(SOURCE_WH, card.input_wh, card.resize)
    image = np.random.default_rng(1).integers(0, 255, (*card.input_wh[::-1], 3), np.uint8)
    find, follow = Instances(card.table), Tracks()
    for result in drawn(card.table, box, objects, frames):
        moments = [time.perf_counter_ns()]
        engine.infer(image)
        moments.append(time.perf_counter_ns())
        found = find.update(result)
        moments.append(time.perf_counter_ns())
        followed = follow.update(found)
        moments.append(time.perf_counter_ns())
        assert len(followed.instances or ()) == objects, len(followed.instances or ())
        spans = [*np.diff(moments).tolist(), moments[3] - moments[1]]
        for name, span in zip(PARTS, spans, strict=True):
            times[name].add(span)
    return times


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default="road")
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--objects", type=int, default=30)
    options = parser.parse_args()
    with open_engine(options.engine, source_wh=SOURCE_WH) as engine:
        times = measure(engine, options.objects, options.frames)
        width, height = engine.card.input_wh
        print(f"{options.objects} objects, {engine.card.name} ({engine.precision}) at {width}x{height}, ms per frame")
    bare = times["engine"].percentile_ms(50)
    rows = [
        (name, f"{one.percentile_ms(50):.2f}", f"{one.percentile_ms(99):.2f}", f"{one.percentile_ms(50) / bare:.1%}")
        for name, one in times.items()
    ]
    print(table(("", "p50", "p99", "of the engine"), rows))


if __name__ == "__main__":
    main()
