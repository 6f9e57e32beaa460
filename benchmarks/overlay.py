"""720p video to overlay video: `edge run` beside the plain loop a user would write, same engine and precision.

The plain loop puts each frame into the engine's own input, with black bars where the shapes differ, as plain loops do;
edge takes the engine at the input size that fits the video. A second plain loop is given that size too.

    python -m benchmarks.overlay [VIDEO] [--precision int8|f32|bf16] [--quantiser 28] [--runs 5]

Both read, segment, paint and write the same file, in turn, in this process; start-up is outside the measurement.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from benchmarks.drive import street_720p
from edge.backends import open_engine
from edge.engine import Engine
from edge.frame import Letterbox
from edge.pipeline import buffered, run
from edge.report import table
from edge.segmenter import Segmenter
from edge.sinks.video import ENCODER, OverlayVideo
from edge.sources.open import open_source
from edge.timing import Durations, Stages


def plain_loop(video: str, engine: Engine, target: Path) -> tuple[int, float, Durations]:
    """What a user writes with OpenCV: read, resize, infer, colour table, addWeighted, VideoWriter."""
    palette = np.zeros((256, 3), np.uint8)
    for group, rgb in engine.card.table.tints.items():
        palette[list(engine.card.table.ids(group))] = rgb[::-1]
    cv2.setNumThreads(-1)  # OpenCV's default: every core
    capture = cv2.VideoCapture(video)
    size_wh = (int(capture.get(3)), int(capture.get(4)))
    box = Letterbox.fit(size_wh, engine.card.input_wh)
    writer = cv2.VideoWriter(str(target), cv2.VideoWriter.fourcc(*"mp4v"), capture.get(cv2.CAP_PROP_FPS), size_wh)
    batch = np.zeros((*engine.card.input_wh[::-1], 3), np.uint8)
    age, frames, start_s = Durations(), 0, time.perf_counter()
    while True:
        good, frame = capture.read()
        if not good:
            break
        captured_ns = time.perf_counter_ns()
        box.content(batch)[:] = cv2.resize(frame, box.content_xywh[2:])
        classes = engine.infer(batch)["semantic"]
        age.add(time.perf_counter_ns() - captured_ns)
        mask = cv2.resize(box.content(classes), size_wh, interpolation=cv2.INTER_NEAREST)
        writer.write(cv2.addWeighted(frame, 0.55, palette[mask], 0.45, 0))
        frames += 1
    capture.release()
    writer.release()
    return frames, time.perf_counter() - start_s, age


def ours(video: str, engine: Engine, target: Path) -> tuple[int, float, Durations]:
    """The pipeline behind `edge run VIDEO --overlay TARGET`."""
    cv2.setNumThreads(1)  # as `edge run` does
    stages = Stages()
    start_s = time.perf_counter()
    source = open_source(video)
    summary = run(buffered(source, None), Segmenter(engine), [OverlayVideo(target, source.rate_hz, stages)], stages)
    return summary.frames_out, time.perf_counter() - start_s, summary.age


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", nargs="?")
    parser.add_argument("--engine", default="road")
    parser.add_argument("--precision", help="default: the card's")
    parser.add_argument("--quantiser", default=ENCODER["qp"], help="of our H.264; benchmarks.overlay_quality compares")
    parser.add_argument("--runs", type=int, default=5)
    wish = parser.parse_args()
    ENCODER["qp"] = wish.quantiser
    video = wish.video or str(street_720p())
    with open_source(video) as source:
        size_wh = source.size_wh
    # Each as it runs best: the plain loop waits for every frame, so all threads work on that one.
    together = open_engine(wish.engine, precision=wish.precision)
    fitted = open_engine(wish.engine, precision=wish.precision, source_wh=size_wh)
    side_by_side = open_engine(wish.engine, precision=wish.precision, side_by_side=True, source_wh=size_wh)
    contenders = (
        ("plain loop", plain_loop, together),
        ("plain, fitted", plain_loop, fitted),
        ("edge", ours, side_by_side),
    )
    rates: dict[str, list[float]] = {name: [] for name, _, _ in contenders}
    ages: dict[str, Durations] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(wish.runs + 1):
            for name, loop, engine in contenders:
                frames, seconds, ages[name] = loop(video, engine, Path(folder) / "overlay.mp4")
                if number:  # the first round warms up
                    rates[name].append(frames / seconds)
    rows = []
    for name, rate in rates.items():
        age = ages[name]
        spread = [f"{f(rate):.1f}" for f in (min, statistics.median, max)]
        rows.append((name, *spread, f"{age.percentile_ms(50):.1f}", f"{age.percentile_ms(99):.1f}"))
    print(f"{video}, engine {wish.engine} ({together.precision}), {wish.runs} runs each, in turn\n")
    print(table(("", "frames/s min", "median", "max", "age p50 ms", "p99"), rows))
    for name in list(rates)[:-1]:
        ratios = [a / b for a, b in zip(rates["edge"], rates[name], strict=True)]
        print(f"\nedge / {name}: median {statistics.median(ratios):.2f} (min {min(ratios):.2f}, max {max(ratios):.2f})")


if __name__ == "__main__":
    main()
