"""How fast an engine and everything around it are on this machine, measured in one run."""

from __future__ import annotations

import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge.engine import Engine, open_engine
from edge.pipeline import Summary, flowing, run
from edge.report import table
from edge.segmenter import Segmenter
from edge.sinks.sink import Sink
from edge.sinks.video import OverlayVideo
from edge.sources.open import open_source
from edge.sources.scene import SceneSource
from edge.timing import Durations, Stages

WARM_UP = 10  # frames not counted
DRIVE = "scene:street?seed=7&frames={frames}&size=1280x720&fps=30"


def bench(engine_name: str, source: str | None, frames: int, precision: str, threads: int | None) -> dict[str, Any]:
    """Figures of the bare engine, of masks alone and of overlay video, from one and the same drive.

    Without `source` a street is rendered and encoded as 720p H.264 first, outside all measurements.
    """
    with tempfile.TemporaryDirectory(prefix="edge-bench-") as folder:
        drive = source or write_drive(Path(folder) / "drive.mp4", frames)
        cv2.setNumThreads(1)  # as `edge run` does
        with open_engine(engine_name, precision=precision, threads=threads) as engine:
            figures = {
                "engine": engine.card.name,
                "precision": engine.precision,
                "threads": engine.threads,
                "machine": machine(),
                "source": source or DRIVE.format(frames=frames),
                "bare engine": bare_engine(engine, frames),
            }
        with open_engine(engine_name, precision=precision, threads=threads, side_by_side=True) as engine:
            figures["masks"] = _pipeline(engine, drive, frames, None)
            figures["overlay"] = _pipeline(engine, drive, frames, Path(folder) / "overlay.mp4")
        return figures


def machine() -> dict[str, Any]:
    """What a figure must be read with."""
    return {"cpu": _cpu_name(), "cores": len(os.sched_getaffinity(0)), "python": platform.python_version()}


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def write_drive(path: Path, frames: int) -> str:
    """Render the drive into an H.264 file such as a dash camera writes."""
    import av

    scene = SceneSource(DRIVE.format(frames=frames))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"preset": "veryfast", "crf": "23"})
        stream.width, stream.height = scene.size_wh
        stream.pix_fmt = "yuv420p"
        for frame in scene:
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
    return {f"p{percent}_ms": round(times.percentile_ms(percent), 3) for percent in (50, 95, 99)}


def _pipeline(engine: Engine, drive: str, frames: int, overlay: Path | None) -> dict[str, Any]:
    source = open_source(drive)
    stages = Stages()
    sinks: list[Sink] = [OverlayVideo(overlay, source.rate_hz, stages)] if overlay else []
    summary = run(flowing(source, live=False), Segmenter(engine), sinks, stages, max_frames=frames)
    if summary.failure:
        raise summary.failure
    return _figures(summary)


def _figures(summary: Summary) -> dict[str, Any]:
    return {
        "frames": summary.frames_out,
        "rate_hz": round(summary.rate_hz, 2),
        "bound_hz": round(summary.bound_hz, 2),
        "of_bound": round(summary.rate_hz / summary.bound_hz, 4),
        "cpu_ms": round(summary.cpu_s * 1e3 / summary.frames_out, 3),
        "age": percentiles(summary.age),
        "stages": {name: percentiles(times) for name, times in summary.stages.items()},
        "bottleneck": summary.bottleneck,
    }


def bench_text(figures: dict[str, Any]) -> str:
    """The figures a person reads."""
    bare = figures["bare engine"]
    header = ("", "p50 ms", "p95 ms", "p99 ms", "frames/s", "CPU ms", "of bound")
    rows = [("bare engine", *_cells(bare), f"{bare['rate_hz']:.1f}", f"{bare['cpu_ms']:.1f}", "")]
    for part in ("masks", "overlay"):
        whole = figures[part]
        rows += [(f"{part}: {stage}", *_cells(times), "", "", "") for stage, times in whole["stages"].items()]
        rows.append((f"{part}: age", *_cells(whole["age"]), "", "", ""))
        speed = (f"{whole['rate_hz']:.1f}", f"{whole['cpu_ms']:.1f}", f"{whole['of_bound']:.0%}")
        rows.append((f"{part}: whole pipeline", "", "", "", *speed))
    where = figures["machine"]
    return "\n".join(
        [
            f"engine {figures['engine']} ({figures['precision']}), {figures['threads']} threads;"
            f" {where['cpu']}, {where['cores']} cores",
            f"source {figures['source']}",
            "",
            table(header, rows),
        ]
    )


def _cells(times: dict[str, float]) -> list[str]:
    return [f"{times[key]:.2f}" for key in ("p50_ms", "p95_ms", "p99_ms")]
