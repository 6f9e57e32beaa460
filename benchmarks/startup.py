"""Process start to first mask, warm caches: `edge run FILE --max-frames 1` beside a bare script with the same engine.

    python -m benchmarks.startup [--precision int8|f32|bf16] [--runs 15]

The bare script imports cv2 and openvino, loads the same compiled engine from the same cache file, reads one frame with
OpenCV and infers it. Both are timed as whole processes, in turn; peak memory is the kernel's own figure.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.drive import street_720p
from edge.backends import open_engine
from edge.backends.openvino import import_library
from edge.engine import find_bundle
from edge.report import table

BARE = """
import sys
import cv2
import numpy as np
import openvino as ov
capture = cv2.VideoCapture(sys.argv[1])
good, frame = capture.read()
core = ov.Core()
with open(sys.argv[2], "rb") as blob:
    model = core.import_model(blob.read(), "CPU")
request = model.create_infer_request()
height, width = model.inputs[0].shape[1:3]
request.infer([cv2.resize(frame, (width, height))[None]])
mask = request.get_output_tensor(0).data
"""


def seconds(command: list[str]) -> tuple[float, float]:
    """Wall time in s and peak memory in MB of a command."""
    start_s = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command} failed")
    return time.perf_counter() - start_s, usage.ru_maxrss / 1024


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default="road")
    parser.add_argument("--precision", help="default: the card's")
    parser.add_argument("--runs", type=int, default=15)
    wish = parser.parse_args()
    with open_engine(wish.engine, precision=wish.precision, backend="openvino") as engine:
        precision = engine.precision
    video = str(street_720p())
    edge = str(Path(sys.executable).with_name("edge"))
    ours = [edge, "run", video, "--engine", wish.engine, "--precision", precision, "--max-frames", "1", "--quiet"]
    with tempfile.TemporaryDirectory() as folder:
        bare = [sys.executable, "-c", BARE, video, str(_plain_blob(wish.engine, precision, Path(folder)))]
        times: dict[str, list[tuple[float, float]]] = {"bare script": [], "edge run": []}
        for number in range(wish.runs + 2):
            for name, command in (("bare script", bare), ("edge run", ours)):
                figures = seconds(command)
                if number >= 2:
                    times[name].append(figures)
    rows = []
    for name, figures in times.items():
        walls = sorted(wall * 1e3 for wall, _ in figures)
        memory = statistics.median(mb for _, mb in figures)
        rows.append((name, f"{walls[0]:.0f}", f"{statistics.median(walls):.0f}", f"{walls[-1]:.0f}", f"{memory:.0f}"))
    ratios = [b[0] / a[0] for a, b in zip(*times.values(), strict=True)]
    print(f"engine {wish.engine} ({precision}), {wish.runs} runs each, in turn\n")
    print(table(("", "ms min", "median", "max", "peak MB"), rows))
    print(f"\nedge / bare: median {statistics.median(ratios):.2f} (min {min(ratios):.2f}, max {max(ratios):.2f})")


def _plain_blob(engine: str, precision: str, folder: Path) -> Path:
    """The engine compiled as edge compiles it, exported as OpenVINO's own blob."""
    openvino, bundle = import_library(), find_bundle(engine)
    core = openvino.Core()
    model = core.read_model(bundle.read(bundle.graph(precision, "openvino")), b"")
    for result in list(model.get_results())[1:]:  # further outputs, which edge does not compute either
        model.remove_result(result)
    hint = "bf16" if precision == "bf16" else "f32"
    options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": hint}
    content = core.compile_model(model, "CPU", options).export_model()
    blob = folder / "engine.blob"
    blob.write_bytes(content if isinstance(content, bytes) else content.getvalue())
    return blob


if __name__ == "__main__":
    main()
