"""What metres cost a frame, live, beside the net: distances, free road and lane, and the net's markings for the lane.

    python -m benchmarks.metres_cost

A rendered street at 1280x720 and 30 Hz, everything in one process and each part in turn on the same frames: processor
time, means (the lane is looked for in every second frame). On a busy machine the shares of the net's time say more than
milliseconds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import cv2
import numpy as np

from edge.backends import open_engine
from edge.evaluate.metres import street_model
from edge.frame import Frame, Yuv420
from edge.markings import Markings
from edge.metres import Metres
from edge.outputs import GRADES
from edge.prediction import Prediction
from edge.report import table
from edge.segmenter import Segmenter
from edge.sources.scene import SceneSource
from edge.steps import Steps

WH = (1280, 720)
NET, HEAD = "net alone", "net with markings"
ROWS = (NET, HEAD, "distances, free road, lane", "the same with markings", "markings as an output")


def street_frames(seed: int, count: int) -> tuple[list[Frame], Any]:
    """Frames in planes, as a video has them, and the street's camera model."""
    with SceneSource(f"scene:street?seed={seed}&frames={count}&size={WH[0]}x{WH[1]}&fps=30") as source:
        model = street_model([source.scene.camera(index) for index in range(count)])
        return [_in_planes(frame) for frame in source], model


def _in_planes(frame: Frame) -> Frame:
    planes = cv2.cvtColor(frame.image, cv2.COLOR_BGR2YUV_I420)
    y, chroma = planes[: WH[1]], planes[WH[1] :].reshape(2, WH[1] // 2, WH[0] // 2)
    return Frame(
        index=frame.index,
        captured_ns=frame.captured_ns,
        source=frame.source,
        yuv=Yuv420(np.ascontiguousarray(y), chroma[0].copy(), chroma[1].copy()),
        media_ns=frame.media_ns,
    )


def measure(engine_name: str, seed: int, count: int, rounds: int) -> dict[str, list[int]]:
    """Nanoseconds of the process for each of `ROWS`, for every frame and round."""
    frames, model = street_frames(seed, count)
    times: dict[str, list[int]] = {name: [] for name in ROWS}

    def timed(name: str, work: Callable[[], object]) -> Any:
        start = time.process_time_ns()
        found = work()
        times[name].append(time.process_time_ns() - start)
        return found

    asked = ("instances", "markings")
    with (
        closing(open_engine(engine_name, source_wh=WH)) as bare,
        closing(open_engine(engine_name, source_wh=WH, outputs=("markings",))) as graded,
        closing(open_engine(engine_name, source_wh=WH, outputs=asked)) as full,
    ):
        segmenters = (Segmenter(bare), Segmenter(graded), Segmenter(full, asked))
        metres, markings = [Metres(model, full.card.table) for _ in range(2)], Markings(full.card.table)
        for number, frame in enumerate(_again(frames, rounds)):
            # The first of the two finds colder caches, which would count as a millisecond of the other's.
            for place in (0, 1) if number % 2 else (1, 0):
                timed((NET, HEAD)[place], lambda frame=frame, place=place: segmenters[place].segment(frame))
            seen = segmenters[2].segment(frame)
            followed = _with_grades(Steps.of(full, ("instances",)).update(seen), seen)
            plain = replace(followed, outputs={k: v for k, v in followed.outputs.items() if k != GRADES.name})
            timed(ROWS[2], lambda plain=plain: metres[0].update(plain))
            timed(ROWS[3], lambda followed=followed: metres[1].update(followed))
            timed(ROWS[4], lambda seen=seen: markings.update(seen))
    return {name: spans[len(frames) :] for name, spans in times.items()}  # the first round warms up


def _with_grades(result: Prediction, seen: Prediction) -> Prediction:
    return replace(result, outputs={**result.outputs, GRADES.name: seen.outputs[GRADES.name]})


def _again(frames: list[Frame], rounds: int) -> Iterator[Frame]:
    for _ in range(rounds + 1):
        yield from frames


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default="road")
    parser.add_argument("--seed", type=int, default=205)
    parser.add_argument("--frames", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=20)
    chosen = parser.parse_args()
    cv2.setNumThreads(1)
    times = measure(chosen.engine, chosen.seed, chosen.frames, chosen.rounds)
    ms = {name: float(np.mean(spans)) / 1e6 for name, spans in times.items()}
    head = ms[HEAD] - ms[NET]
    ms |= {"markings' head alone": head, "all for the lane with markings": ms[ROWS[3]] + head}
    print(
        table(("", "ms of CPU a frame", "of the net"), [(k, f"{v:.2f}", f"{v / ms[NET]:.1%}") for k, v in ms.items()])
    )


if __name__ == "__main__":
    main()
