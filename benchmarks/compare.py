"""The same drive through edge, through the loop that people write with OpenCV and OpenVINO, and through the same loop
with Intel's ready-made road net.

    python -m benchmarks.compare [VIDEO] [--rounds 5] [--labelled VIDEO --labels FOLDER] [--accuracy-only]

Each contender reads the video, finds the road, paints it and writes a video; the order changes from round to round.
Frames per second are of the file as fast as it goes. Age is of the file played at its own rate, from the moment at
which a frame is due to its finished mask; a loop that is slower than the camera falls behind, and its ages grow. IoU is
of the road on labelled frames. Lines are those that you write: of a loop, code lines without what measures it.

Intel's net is road-segmentation-adas-0001 (Apache-2.0): its files are expected in $EDGE_DATA/teacher, or at --intel.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import statistics
import tempfile
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.drive import street_720p
from edge.backends import open_engine
from edge.backends.openvino import import_library
from edge.config import data_path
from edge.engine import find_bundle
from edge.frame import Image
from edge.pipeline import buffered, run
from edge.prediction import Prediction
from edge.report import table
from edge.segmenter import Segmenter
from edge.sinks.video import OverlayVideo
from edge.sources.open import open_source
from edge.timing import Durations, Stages

openvino: Any = import_library()
IGNORED_FROM = 11  # of CamVid's label ids


class Measure:
    """Of one run: how old each mask was, or how well it fits its label."""

    def __init__(self, labels: list[Path] | None = None, rate_hz: float | None = None) -> None:
        self.age, self.frames = Durations(), 0
        self._labels, self._rate_hz, self._begin_ns = labels, rate_hz, time.monotonic_ns()
        self._due_ns, self._both, self._either = 0, 0, 0

    @property
    def is_live(self) -> bool:
        """Whether the video is played at its own rate."""
        return self._rate_hz is not None

    @property
    def iou(self) -> float:
        """Of the road, over all labelled frames."""
        return self._both / self._either if self._either else float("nan")

    def due(self) -> None:
        """Wait for the next frame where the video is played at its own rate."""
        if self._rate_hz is not None:
            self._due_ns = self._begin_ns + int(self.frames * 1e9 / self._rate_hz)
            time.sleep(max(0.0, (self._due_ns - time.monotonic_ns()) / 1e9))

    def mask(self, road: Callable[[], Image]) -> None:
        """A mask is ready; `road` gives it, not 0 where the road is, at the frame's size."""
        if self.is_live:
            self.age.add(time.monotonic_ns() - self._due_ns)
        if self._labels is not None:
            label = cv2.imread(str(self._labels[self.frames]), cv2.IMREAD_UNCHANGED)
            assert label is not None
            found = cv2.resize(road(), label.shape[1::-1], interpolation=cv2.INTER_NEAREST) > 0
            known, truth = label < IGNORED_FROM, label == ROAD
            self._both += int((found & truth).sum())
            self._either += int(((found | truth) & known).sum())
        self.frames += 1


BUNDLE = find_bundle("road")
(ROAD,) = BUNDLE.card.table.ids("road")
GRAPH = BUNDLE.read(BUNDLE.graph("int8", "openvino"))
GREEN = (120, 190, 40)


def opencv_loop(video: str, target: Path, intel: Path, measure: Measure) -> None:
    """OpenCV and OpenVINO by hand, with edge's own INT8 graph."""
    capture = cv2.VideoCapture(video)
    size = (int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)))
    writer = cv2.VideoWriter(str(target), cv2.VideoWriter.fourcc(*"mp4v"), capture.get(cv2.CAP_PROP_FPS), size)
    core = openvino.Core()
    net = core.compile_model(core.read_model(GRAPH), "CPU")
    while True:
        measure.due()
        good, frame = capture.read()
        if not good:
            break
        small = cv2.resize(frame, (480, 360))
        classes = net(small[None])[0][0]
        road = cv2.resize((classes == ROAD).astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        measure.mask(lambda road=road: road)
        painted = frame.copy()
        painted[road > 0] = GREEN
        writer.write(cv2.addWeighted(frame, 0.55, painted, 0.45, 0))
    capture.release()
    writer.release()


def intel_loop(video: str, target: Path, intel: Path, measure: Measure) -> None:
    """OpenCV and OpenVINO by hand, with Intel's net: probabilities of background, road, kerb and marking."""
    capture = cv2.VideoCapture(video)
    size = (int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)))
    writer = cv2.VideoWriter(str(target), cv2.VideoWriter.fourcc(*"mp4v"), capture.get(cv2.CAP_PROP_FPS), size)
    core = openvino.Core()
    net = core.compile_model(core.read_model(intel), "CPU")
    while True:
        measure.due()
        good, frame = capture.read()
        if not good:
            break
        small = cv2.resize(frame, (896, 512))
        best = net(small.transpose(2, 0, 1)[None].astype(np.float32))[0][0].argmax(0)
        road = cv2.resize(np.isin(best, (1, 3)).astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        measure.mask(lambda road=road: road)
        painted = frame.copy()
        painted[road > 0] = GREEN
        writer.write(cv2.addWeighted(frame, 0.55, painted, 0.45, 0))
    capture.release()
    writer.release()


class _Watched:
    """A sink that hands the masks to a measure."""

    def __init__(self, measure: Measure) -> None:
        self._measure = measure

    def __enter__(self) -> _Watched:
        return self

    def __exit__(self, *exception: object) -> None: ...

    def write(self, result: Prediction, dropped: int) -> None:
        """Ages are the result's own: a frame is captured when it is due."""
        self._measure.mask(lambda: result.mask("road").astype(np.uint8))


def edge_run(video: str, target: Path, intel: Path, measure: Measure) -> None:
    """What `edge run VIDEO --overlay TARGET` does, with `--live` where ages are measured."""
    stages, source = Stages(), open_source(video)
    live = measure.is_live
    with open_engine("road", source_wh=source.size_wh, side_by_side=not live) as engine:
        sinks = [_Watched(measure), OverlayVideo(target, source.rate_hz, stages)]
        measure.age = run(buffered(source, live), Segmenter(engine), sinks, stages).age


Loop = Callable[[str, Path, Path, Measure], None]
CONTENDERS: dict[str, Loop] = {
    "edge": edge_run,
    "OpenCV loop, edge's graph": opencv_loop,
    "OpenCV loop, Intel's net": intel_loop,
}


def lines_of(loop: Loop) -> int:
    """Code lines of a loop, without what measures it; of edge, the command."""
    if loop is edge_run:
        return 1
    (function,) = ast.parse(textwrap.dedent(inspect.getsource(loop))).body
    assert isinstance(function, ast.FunctionDef)
    code = "\n".join(map(ast.unparse, function.body[1:]))
    return sum("measure." not in line for line in code.splitlines())


def timed(loop: Loop, video: str, target: Path, intel: Path) -> float:
    """Frames per second of the file as fast as it goes, start included."""
    measure, begin_s = Measure(), time.perf_counter()
    loop(video, target, intel, measure)
    return measure.frames / (time.perf_counter() - begin_s)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", nargs="?", help="default: the rendered street, 720p")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--intel", default="$EDGE_DATA/teacher/road-segmentation-adas-0001.xml")
    parser.add_argument("--labelled", default="$EDGE_DATA/drives/city-15hz-labelled.mp4")
    parser.add_argument("--labels", default="$EDGE_DATA/camvid/valannot", help="a label for each of its frames")
    parser.add_argument("--accuracy-only", action="store_true")
    wish = parser.parse_args()
    intel, labels = data_path(wish.intel), sorted(data_path(wish.labels).glob("*.png"))
    if not intel.is_file():
        print(f"{intel}: not there, Intel's net is left out")
        CONTENDERS.pop("OpenCV loop, Intel's net")
    cells = {name: [str(lines_of(loop))] for name, loop in CONTENDERS.items()}
    heads = ["", "lines", "road IoU"]
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "out.mp4"
        for name, loop in CONTENDERS.items():
            measure = Measure(labels)
            loop(str(data_path(wish.labelled)), target, intel, measure)
            assert measure.frames == len(labels), f"{measure.frames} frames, {len(labels)} labels"
            cells[name].append(f"{measure.iou:.4f}")
        if not wish.accuracy_only:
            heads += ["frames/s median", "min to max", "age p50 ms", "p99"]
            _time(cells, wish.video or str(street_720p()), target, intel, wish.rounds)
    print(table(heads, [(name, *row) for name, row in cells.items()]))


def _time(cells: dict[str, list[str]], video: str, target: Path, intel: Path, rounds: int) -> None:
    """Add speed and ages, in turn."""
    with open_source(video) as source:
        rate_hz = source.rate_hz
    assert rate_hz is not None, f"{video}: has no frame rate"
    rates: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for number in range(rounds + 1):
        names = list(CONTENDERS)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            rate = timed(CONTENDERS[name], video, target, intel)
            if number:  # the first round warms up
                rates[name].append(rate)
    for name, loop in CONTENDERS.items():
        measure = Measure(rate_hz=rate_hz)
        loop(video, target, intel, measure)
        age = measure.age
        spread = [f"{statistics.median(rates[name]):.1f}", f"{min(rates[name]):.1f} to {max(rates[name]):.1f}"]
        cells[name] += [*spread, f"{age.percentile_ms(50):.1f}", f"{age.percentile_ms(99):.1f}"]


if __name__ == "__main__":
    main()
