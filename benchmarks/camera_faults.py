"""How soon a camera's death or freeze is noticed, and how soon a right mask follows when it is back.

    python -m benchmarks.camera_faults [--kind rtsp|http] [--faults 100]

The camera is a real RTSP (gst-rtsp-server, H.264) or HTTP (JPEG) server on this machine, in turn killed and started
again, and frozen (SIGSTOP) and let go. Each picture carries a barcode with its number and the time at which it was
drawn, and colours that follow from its number. A mask counts as right when its frame was drawn after the camera came
back, shows the colours of its number, and is stamped no later than 0.2 s after its drawing.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from edge.backends import open_engine
from edge.barcode import read_barcode
from edge.prediction import Prediction
from edge.report import table
from edge.segmenter import Segmenter
from edge.sources.flow import Latest
from edge.sources.open import open_source
from edge.sources.supervised import Supervised

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "rtsp"))

from cameras import TestCamera, why_no_rtsp
from pictures import agreement

TRUE_STAMP_NS = 200_000_000


class Figures:
    """Seconds of each fault, by what was done."""

    def __init__(self) -> None:
        self.noticed: dict[str, list[float]] = {"killed": [], "frozen": []}
        self.back: dict[str, list[float]] = {"killed": [], "frozen": []}
        self.wrong = 0

    def text(self) -> str:
        rows = []
        for what in ("killed", "frozen"):
            for name, limit_s, figures in (("lost", 0.5, self.noticed), ("right mask", 1.5, self.back)):
                seconds = sorted(figures[what])
                p50, p95 = np.percentile(seconds, [50, 95])
                within = sum(figure <= limit_s for figure in seconds)
                row = [f"{what} -> {name}" if name == "lost" else f"back after {what} -> {name}", str(len(seconds))]
                rows.append([*row, f"{p50:.2f}", f"{p95:.2f}", f"{seconds[-1]:.2f}", f"{within} <= {limit_s} s"])
        return table(["", "n", "p50 s", "p95 s", "max s", "within"], rows)


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--kind", choices=["rtsp", "http"], default="rtsp")
    words.add_argument("--faults", type=int, default=100)
    chosen = words.parse_args()
    if chosen.kind == "rtsp" and why_no_rtsp():
        sys.exit(why_no_rtsp())
    cv2.setNumThreads(1)
    engine = open_engine("road")
    try:
        with TestCamera(chosen.kind, "640x360x30") as camera:
            source = open_source(camera.url)
            assert isinstance(source, Supervised)
            with Latest(source) as frames:
                figures = suffer(camera, source, Segmenter(engine).segment_all(frames), chosen.faults)
                health = source.health
    finally:
        engine.close()
    print(f"{chosen.kind} camera, 640x360 at 30 Hz, engine road {engine.precision}, {chosen.faults} faults\n")
    print(figures.text())
    restarts = health.totals["restarts"]
    print(f"\nmasks of an old image shown as new: {figures.wrong}; restarts: {restarts}; now: {health}")


def suffer(camera: TestCamera, source: Supervised, masks: Iterator[Prediction], faults: int) -> Figures:
    """Kill and freeze in turn, at no particular moment of the camera's."""
    figures, chance = Figures(), random.Random(1)
    for number in range(faults):
        end_s = time.monotonic() + chance.uniform(0.6, 1.2)
        while time.monotonic() < end_s:
            figures.wrong += not is_true(next(masks))
        what = ("killed", "frozen")[number % 2]
        start_s = time.monotonic()
        camera.kill() if what == "killed" else camera.freeze()
        while source.health.state != "lost":
            time.sleep(0.001)
        figures.noticed[what].append(time.monotonic() - start_s)
        time.sleep(chance.uniform(0.2, 2.0))
        camera.start() if what == "killed" else camera.thaw()
        back_ns = time.monotonic_ns()
        while not is_right(mask := next(masks), back_ns):
            figures.wrong += not is_true(mask)
        figures.back[what].append((mask.ready_ns - back_ns) / 1e9)
        print(f"\r{number + 1} of {faults}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return figures


def is_true(mask: Prediction) -> bool:
    """Whether the frame is as old as its stamp says, or younger: without times in the stream, the worst is assumed."""
    code = read_barcode(mask.frame.image)
    return code is not None and mask.frame.captured_ns - code[1] < TRUE_STAMP_NS


def is_right(mask: Prediction, back_ns: int) -> bool:
    code = read_barcode(mask.frame.image)
    if code is None or code[1] < back_ns or not is_true(mask):
        return False
    return agreement(mask.frame.image.argmax(axis=2).astype(np.uint8), code[0]) > 0.95


if __name__ == "__main__":
    main()
