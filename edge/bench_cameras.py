"""How many cameras this machine carries with one engine, and how old their masks are."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge.backends.shared import Lease, SharedEngines
from edge.bench import DRIVE, WARM_UP, Benchmark, OnProgress, machine, percentiles, silent, write_drive
from edge.engine import find_bundle
from edge.errors import ConfigError
from edge.pipeline import Summary, buffered, run
from edge.report import table
from edge.segmenter import Segmenter
from edge.sources.open import is_camera, open_source
from edge.sources.source import display_wh_of
from edge.timing import Durations, Stages

CARRIED_DROPS = 0.01  # of each camera's frames may be lost: the service calls five times as many overload


@dataclass(frozen=True)
class CamerasBenchmark(Benchmark):
    """What was measured of several cameras, as JSON takes it."""

    def __str__(self) -> str:
        """For people."""
        return cameras_text(self.figures)


def bench_cameras(
    engine: str,
    most: int,
    source: str | None = None,
    *,
    frames: int = 200,
    precision: str | None = None,
    backend: str | None = None,
    threads: int | None = None,
    on_progress: OnProgress = silent,
) -> CamerasBenchmark:
    """One camera, two, and so on to `most`, or until one of them loses frames: each plays the same drive as a camera
    would give it, `frames` of it, through one engine that all share.

    Decoding is done in this process, as for a camera that gives H.264.

    Raises:
        EngineError: the engine cannot run here.
        SourceError: the source cannot be read.
        ConfigError: the source is no recording.
    """
    if source is not None and is_camera(source):
        raise ConfigError(f"{source}: expected a recording, which can be played as several cameras at once")
    with tempfile.TemporaryDirectory(prefix="edge-bench-") as folder:
        drive = source or write_drive(Path(folder) / "drive.mp4", frames, on_progress)
        cv2.setNumThreads(1)  # as `edge serve` does
        with open_source(drive) as first:
            size_wh, rate_hz = display_wh_of(first), first.rate_hz
        bundle = find_bundle(engine).fitted(size_wh)
        wishes: dict[str, Any] = {"precision": precision, "backend": backend, "threads": threads}
        wishes["input_wh"] = bundle.card.input_wh
        rounds: list[dict[str, Any]] = []
        while len(rounds) < most and (not rounds or rounds[-1]["carried"]):
            on_progress(f"cameras: {len(rounds) + 1}", len(rounds), most)
            rounds.append(_round(bundle.folder, wishes, len(rounds) + 1, drive, frames))
    figures = {
        "engine": bundle.card.name,
        "input_wh": bundle.card.input_wh,
        "precision": rounds[0]["precision"],
        "machine": machine(),
        "source": source or DRIVE.format(frames=frames),
        "size_wh": size_wh,
        "rate_hz": rate_hz,
        "frames": frames,
        "carried": sum(one["carried"] for one in rounds),
        "found_limit": not rounds[-1]["carried"],
        "rounds": rounds,
    }
    return CamerasBenchmark(figures, closely=False)


def _round(folder: Path, wishes: Mapping[str, Any], cameras: int, drive: str, frames: int) -> dict[str, Any]:
    """So many cameras at once, each in a thread of its own, through one engine."""
    engines = SharedEngines()
    with ExitStack() as stack, ThreadPoolExecutor(cameras, "camera") as pool:
        leases = [stack.enter_context(engines.lease(folder, cameras=cameras, **wishes)) for _ in range(cameras)]
        begins = threading.Barrier(cameras)
        summaries = list(pool.map(lambda lease: _play(lease, drive, frames, begins), leases))
        precision = leases[0].precision
    for summary in summaries:
        if summary.failure is not None:
            raise summary.failure
        if summary.interrupted:  # of one camera is of all
            raise KeyboardInterrupt
    return {"cameras": cameras, "precision": precision, **_figures(summaries)}


def _play(lease: Lease, drive: str, frames: int, begins: threading.Barrier) -> Summary:
    """The drive as a camera gives it, when all cameras are ready."""
    width, height = lease.card.input_wh
    for _ in range(WARM_UP):
        lease.infer(np.zeros((height, width, 3), np.uint8))
    source = open_source(drive)
    begins.wait()
    return run(buffered(source, True, before_take=lease.await_turn), Segmenter(lease), [], Stages(), max_frames=frames)


def _figures(summaries: Sequence[Summary]) -> dict[str, Any]:
    drops = [summary.dropped / max(1, summary.frames_in) for summary in summaries]
    ages, together = [percentiles(summary.age) for summary in summaries], Durations()
    for summary in summaries:
        together.merge(summary.age)
    return {
        "carried": max(drops) <= CARRIED_DROPS,
        "masks_hz": round(sum(summary.rate_hz for summary in summaries), 2),
        "dropped": round(sum(drops) / len(drops), 4),
        "age": percentiles(together),
        "worst_age": {key: max(age[key] for age in ages) for key in ages[0]},
    }


def cameras_text(figures: dict[str, Any]) -> str:
    """The figures a person reads: a line for each number of cameras."""
    first = figures["rounds"][0]["age"]["p99_ms"]
    rows = [
        (
            str(one["cameras"]),
            f"{one['masks_hz']:.1f}",
            f"{one['dropped']:.1%}",
            f"{one['age']['p50_ms']:.1f}",
            f"{one['age']['p99_ms']:.1f}",
            f"{one['worst_age']['p99_ms']:.1f}",
            f"{one['age']['p99_ms'] / first:.2f}",
        )
        for one in figures["rounds"]
    ]
    where, (width, height), (of_width, of_height) = figures["machine"], figures["input_wh"], figures["size_wh"]
    more = "" if figures["found_limit"] else " or more"
    header = ("cameras", "masks/s", "dropped", "age p50 ms", "p99 ms", "worst camera's p99", "p99 x one's")
    return "\n".join(
        [
            f"engine {figures['engine']} ({figures['precision']}) at {width}x{height}, one for all cameras;"
            f" {where['cpu']}, {where['cores']} cores",
            f"source {figures['source']}, {figures['frames']} frames as a camera gives them",
            "",
            table(header, rows),
            "",
            f"This machine carries {figures['carried']}{more} of such cameras ({of_width}x{of_height} at"
            f" {figures['rate_hz'] or 0:g} Hz): none loses more than {CARRIED_DROPS:.0%} of its frames.",
        ]
    )
