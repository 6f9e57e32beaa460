"""How fast an engine and everything around it are on this machine, measured in one run.

`bench` looks at one precision closely; `compare` holds all that machine and bundle have against each other, in turn.
"""

from __future__ import annotations

import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge.backends import available_backends, choose_backend, load_backend, open_engine
from edge.backends.cpu import SATURATION, int8_saturates
from edge.bench_text import SHOWN_GROUPS, bench_text, compare_text
from edge.card import Accuracy, Card
from edge.engine import Bundle, Engine, find_bundle
from edge.errors import BundleTampered, EngineError
from edge.pipeline import Summary, buffered, run
from edge.segmenter import Segmenter
from edge.sinks.sink import Sink
from edge.sinks.video import OverlayVideo
from edge.sources.open import open_source
from edge.sources.scene import SceneSource
from edge.timing import Durations, Stages

WARM_UP = 10  # frames not counted
ROUNDS = 3
DRIVE = "scene:street?seed=7&frames={frames}&size=1280x720&fps=30"

OnProgress = Callable[[str, int, int], None]  # what is being done, steps done, steps in all


def silent(what: str, done: int, total: int) -> None:
    """No one looks."""


@dataclass(frozen=True)
class Benchmark:
    """What was measured, as JSON takes it. `closely`: of one precision, else of all of them against each other."""

    figures: dict[str, Any]
    closely: bool

    def __str__(self) -> str:
        """For people."""
        return bench_text(self.figures) if self.closely else compare_text(self.figures)


def bench_engine(
    engine: str = "road",
    source: str | None = None,
    *,
    frames: int = 200,
    precision: str | None = None,
    backend: str | None = None,
    threads: int | None = None,
    on_progress: OnProgress = silent,
) -> Benchmark:
    """Measure this machine: with a precision or backend, that one closely; else all that there are, in turn.

    Raises:
        EngineError: none can run here.
        SourceError: the source cannot be read.
    """
    if precision or backend:
        return Benchmark(bench(engine, source, frames, precision, threads, backend, on_progress), closely=True)
    return Benchmark(compare(engine, source, frames, threads, on_progress=on_progress), closely=False)


def bench(
    engine_name: str,
    source: str | None,
    frames: int,
    precision: str | None,
    threads: int | None,
    backend: str | None = None,
    on_progress: OnProgress = silent,
) -> dict[str, Any]:
    """Figures of the bare engine, of masks alone and of overlay video, from one and the same drive.

    Without `source` a street is rendered and encoded as 720p H.264 first, outside all measurements.

    Raises:
        EngineError: the engine cannot run here, or not in this precision.
        SourceError: the source cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="edge-bench-") as folder:
        drive = source or write_drive(Path(folder) / "drive.mp4", frames, on_progress)
        cv2.setNumThreads(1)  # as `edge run` does
        name = choose_backend(backend)
        options: dict[str, Any] = {"precision": precision, "threads": threads, "backend": name}
        options["source_wh"] = _size_of(drive)
        with open_engine(engine_name, **options) as engine:
            on_progress("bare engine", 0, 3)
            figures = {
                "engine": engine.card.name,
                "input_wh": engine.card.input_wh,
                "precision": engine.precision,
                "threads": engine.threads,
                "layers": dict(load_backend(name).layer_precisions(engine)),
                "notes": _notes([(name, engine.precision)]),
                "machine": machine(),
                "source": source or DRIVE.format(frames=frames),
                "bare engine": bare_engine(engine, frames),
            }
        with open_engine(engine_name, side_by_side=True, **options) as engine:
            on_progress("masks", 1, 3)
            figures["masks"] = pipeline(engine, drive, frames)
            on_progress("overlay", 2, 3)
            figures["overlay"] = pipeline(engine, drive, frames, Path(folder) / "overlay.mp4")
        return figures


@dataclass(frozen=True)
class _Entrant:
    """One precision on one backend: all threads on a frame together, as live, and side by side, as for recordings.

    `rounds` holds the figures of each round, by what was measured.
    """

    precision: str
    backend: str
    together: Engine
    side_by_side: Engine
    rounds: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.precision} {self.backend}"


def compare(
    engine_name: str,
    source: str | None,
    frames: int,
    threads: int | None,
    rounds: int = ROUNDS,
    on_progress: OnProgress = silent,
) -> dict[str, Any]:
    """Every precision on every backend that this machine and the bundle have, measured in turn, round by round.

    So whatever slows the machine down for a while meets all of them. Each figure is the middle one of its rounds. A
    live drive takes as long as it lasts: of 200 frames about 7 s for each and round, and as much again for the rest.

    Raises:
        EngineError: none can run here.
        SourceError: the source cannot be read.
    """
    bundle = find_bundle(engine_name)
    with tempfile.TemporaryDirectory(prefix="edge-bench-") as folder, ExitStack() as engines:
        drive = source or write_drive(Path(folder) / "drive.mp4", frames, on_progress)
        entrants, absent = _entrants(bundle, {"threads": threads, "source_wh": _size_of(drive)}, engines)
        cv2.setNumThreads(1)  # as `edge run` does
        _measure(entrants, drive, frames, rounds, Path(folder) / "overlay.mp4", on_progress)
        return {
            "engine": bundle.card.name,
            "input_wh": entrants[0].together.card.input_wh,
            "threads": entrants[0].together.threads,
            "machine": machine(),
            "source": source or DRIVE.format(frames=frames),
            "frames": frames,
            "rounds": rounds,
            "entrants": [_entrant_figures(entrant, entrants, bundle) for entrant in entrants],
            "notes": _notes([(entrant.backend, entrant.precision) for entrant in entrants]),
            "absent": absent,
        }


def _entrants(
    bundle: Bundle, wishes_of_all: Mapping[str, Any], engines: ExitStack
) -> tuple[list[_Entrant], dict[str, str]]:
    """All that can run, open until `engines` is closed, and why the others cannot."""
    reasons = available_backends()
    absent = {name: reason for name, reason in reasons.items() if reason is not None}
    there = [name for name in reasons if name not in absent]
    wishes = [(name, precision) for name in there for precision in load_backend(name).PRECISIONS]
    entrants: list[_Entrant] = []
    for backend, precision in wishes:
        opened = _open_entrant(bundle, {"backend": backend, "precision": precision, **wishes_of_all}, engines)
        if isinstance(opened, _Entrant):
            entrants.append(opened)
        else:
            absent[f"{precision} {backend}"] = opened
    if not entrants:
        reasons = "\n  ".join(f"{name}: {reason}" for name, reason in absent.items())
        raise EngineError(f"engine {bundle.card.name}: cannot run here\n  {reasons}")
    return entrants, absent


def _open_entrant(bundle: Bundle, wishes: Mapping[str, Any], engines: ExitStack) -> _Entrant | str:
    """Both engines of it, or why they cannot be had; `wishes` are those of `open_engine`."""
    try:
        together = engines.enter_context(open_engine(bundle.folder, **wishes))
        side_by_side = engines.enter_context(open_engine(bundle.folder, side_by_side=True, **wishes))
    except BundleTampered:
        raise
    except EngineError as error:
        return str(error)
    return _Entrant(wishes["precision"], wishes["backend"], together, side_by_side)


def _size_of(source: str) -> tuple[int, int]:
    """Of the source's frames, to which an engine is fitted."""
    with open_source(source) as frames:
        return frames.size_wh


def _measure(
    entrants: Sequence[_Entrant], drive: str, frames: int, rounds: int, overlay: Path, on_progress: OnProgress
) -> None:
    """Add the figures of `rounds` rounds to every entrant; every other round goes through them backwards."""
    parts: dict[str, Callable[[_Entrant], dict[str, Any]]] = {
        "bare engine": lambda entrant: bare_engine(entrant.together, frames),
        "masks": lambda entrant: pipeline(entrant.side_by_side, drive, frames),
        "overlay": lambda entrant: pipeline(entrant.side_by_side, drive, frames, overlay),
        "live": lambda entrant: pipeline(entrant.together, drive, frames, live=True),
    }
    done, total = 0, rounds * len(parts) * len(entrants)
    for number in range(rounds):
        for part, measure in parts.items():
            for entrant in entrants[:: -1 if number % 2 else 1]:
                on_progress(f"{part}, {entrant.name}", done, total)
                entrant.rounds.setdefault(part, []).append(measure(entrant))
                done += 1


def _notes(measured: Sequence[tuple[str, str]]) -> list[str]:
    """What makes masks worse here than the card says, and what to do; `measured` are backends with precisions."""
    if ("openvino", "int8") not in measured or not int8_saturates():
        return []
    return [f"{SATURATION}. Take --precision f32, or bf16 where it is listed."]


def _entrant_figures(entrant: _Entrant, entrants: Sequence[_Entrant], bundle: Bundle) -> dict[str, Any]:
    graph = bundle.graph(entrant.precision, load_backend(entrant.backend).GRAPHS)
    accuracy = _accuracy(bundle.card, graph.file, entrant)
    figures = {part: _middle(rounds) for part, rounds in entrant.rounds.items()}
    bare_p50_ms = figures["bare engine"]["p50_ms"]
    # Measured one after the other: a machine that was busier meanwhile makes no mask younger than its inference.
    added = {key: max(0.0, round(value - bare_p50_ms, 3)) for key, value in figures["live"]["age"].items()}
    return {
        "precision": entrant.precision,
        "backend": entrant.backend,
        "layers": dict(load_backend(entrant.backend).layer_precisions(entrant.together)),
        **figures,
        "times_f32": _times_f32(entrant, entrants),
        "age_added": added,
        "accuracy": accuracy and _scores(accuracy, bundle.card),
        "graph": {"file": graph.file, "bytes": (bundle.folder / graph.file).stat().st_size},
    }


def _middle(values: Sequence[Any]) -> Any:
    """The middle one of numbers, the most frequent of texts; of dictionaries, that of each value."""
    first = values[0]
    if isinstance(first, dict):
        return {key: _middle([value[key] for value in values]) for key in first}
    return statistics.mode(values) if isinstance(first, str) else statistics.median_low(values)


def _times_f32(entrant: _Entrant, entrants: Sequence[_Entrant]) -> dict[str, float] | None:
    """How many times as fast as f32 on the same backend the bare engine is, from the p50 of each round."""
    base = next((e for e in entrants if (e.backend, e.precision) == (entrant.backend, "f32")), None)
    if base is None:
        return None
    pairs = zip(base.rounds["bare engine"], entrant.rounds["bare engine"], strict=True)
    return spread([slow["p50_ms"] / fast["p50_ms"] for slow, fast in pairs])


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and greatest."""
    return {name: round(of(values), 3) for name, of in (("median", statistics.median), ("min", min), ("max", max))}


def _accuracy(card: Card, file: str, entrant: _Entrant) -> Accuracy | None:
    """What the card says of this graph in this precision; of several judges, the runtime itself is believed first."""
    stated = [a for a in card.measured.accuracy if (a.graph, a.precision) == (file, entrant.precision)]
    judge = load_backend(entrant.backend).LABEL
    stated.sort(key=lambda accuracy: not accuracy.judge.startswith(judge))
    return next(iter(stated), None)


def _scores(accuracy: Accuracy, card: Card) -> dict[str, Any]:
    """Mean IoU, and the IoU of the groups that people ask for first, as far as a group is one class."""
    members = {group: card.table.groups.get(group, ()) for group in SHOWN_GROUPS}
    ious = {group: accuracy.iou.get(names[0]) for group, names in members.items() if len(names) == 1}
    return {"data": accuracy.data, "judge": accuracy.judge, "miou": accuracy.miou, **ious}


def machine() -> dict[str, Any]:
    """What a figure must be read with."""
    return {"cpu": _cpu_name(), "cores": len(os.sched_getaffinity(0)), "python": platform.python_version()}


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def write_drive(path: Path, frames: int, on_progress: OnProgress = silent) -> str:
    """Render the drive into an H.264 file such as a dash camera writes."""
    import av

    scene = SceneSource(DRIVE.format(frames=frames))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"preset": "veryfast", "crf": "23"})
        stream.width, stream.height = scene.size_wh
        stream.pix_fmt = "yuv420p"
        for frame in scene:
            on_progress("rendering a street", frame.index, frames)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.image, format="bgr24")))
        container.mux(stream.encode(None))
    return str(path)


def bare_engine(engine: Engine, frames: int) -> dict[str, float]:
    """The engine alone, on one image at network size, one call after another."""
    width, height = engine.card.input_wh
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    for _ in range(WARM_UP):
        engine.infer(image)
    times = Durations()
    start_cpu_s = time.process_time()
    for _ in range(frames):
        with times.span():
            engine.infer(image)
    cpu_ms = (time.process_time() - start_cpu_s) * 1e3 / frames
    return {**percentiles(times), "cpu_ms": round(cpu_ms, 3), "rate_hz": round(1e3 / times.mean_ms, 2)}


def percentiles(times: Durations) -> dict[str, float]:
    """{"p50_ms": ..., "p95_ms": ..., "p99_ms": ...}, as JSON takes them."""
    return {f"p{percent}_ms": round(times.percentile_ms(percent), 3) for percent in (50, 95, 99)}


def pipeline(
    engine: Engine, drive: str, frames: int, overlay: Path | None = None, *, live: bool = False
) -> dict[str, Any]:
    """The whole loop over that many frames of a drive, with overlay video where a file is named; `live` at the drive's
    own pace.
    """
    source = open_source(drive)
    stages = Stages()
    sinks: list[Sink] = [OverlayVideo(overlay, source.rate_hz, stages)] if overlay else []
    summary = run(buffered(source, live), Segmenter(engine), sinks, stages, max_frames=frames)
    if summary.failure:
        raise summary.failure
    if summary.interrupted:  # of one part is of all
        raise KeyboardInterrupt
    return _figures(summary)


def _figures(summary: Summary) -> dict[str, Any]:
    return {
        "frames": summary.frames_out,
        "dropped": summary.dropped,
        "rate_hz": round(summary.rate_hz, 2),
        "bound_hz": round(summary.bound_hz, 2),
        "of_bound": round(summary.rate_hz / summary.bound_hz, 4),
        "cpu_ms": round(summary.cpu_s * 1e3 / summary.frames_out, 3),
        "age": percentiles(summary.age),
        "stages": {name: percentiles(times) for name, times in summary.stages.items()},
        "bottleneck": summary.bottleneck,
    }
