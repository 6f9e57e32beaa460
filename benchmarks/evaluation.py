"""What an evaluation costs beside the bare pipeline, and what a second Ray worker brings.

    python -m benchmarks.evaluation [--rounds 5] [--ray]

The first table: frames per second of `edge run` (masks only), and of an evaluation of the same drive in the same
process, in turn; without labels, and with a label on every frame ($EDGE_DATA's city drive) and on every fifteenth. The
ratio is taken within each round. The second, with --ray: one process with two threads against two workers with one
each, over eight copies of the drive, start of the cluster not counted.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2

from benchmarks.drive import street_720p
from edge.backends import open_engine
from edge.evaluate.cluster import Cluster
from edge.evaluate.drives import Drive
from edge.evaluate.run import EvaluationConfig, Shard, Worker
from edge.evaluate.schedule import evaluate_drives, one_by_one
from edge.pipeline import buffered, run
from edge.report import table
from edge.segmenter import Segmenter
from edge.sources.open import open_source
from edge.timing import Stages

DATA = Path(os.environ.get("EDGE_DATA", "../shared/data"))


def main() -> None:
    parser = argparse.ArgumentParser(description="What an evaluation costs beside the bare pipeline.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ray", action="store_true")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    with TemporaryDirectory() as folder:
        drives = _drives(Path(folder))
        print(table(("drive", "run", "evaluate", "ratio", "CPU ms", "more"), [_row(d, options.rounds) for d in drives]))
        if options.ray:
            print()
            print(table(("eight drives", "frames/s", "ratio"), _scaling(options.rounds)))


def _drives(folder: Path) -> list[Drive]:
    drives = [Drive("street 720p, no labels", str(street_720p()))]
    city, labels = DATA / "drives/city-15hz-labelled.mp4", DATA / "camvid/valannot"
    if city.exists():
        for number, path in enumerate(sorted(labels.glob("*.png"))):
            if number % 15 == 0:
                (folder / f"{number:06d}.png").symlink_to(path.resolve())
        drives.append(Drive("city 480x360, each labelled", str(city), labels))
        drives.append(Drive("city 480x360, one in 15", str(city), folder, sparse=True))
    return drives


def _row(drive: Drive, rounds: int) -> tuple[str, ...]:
    """Rates and CPU times of both, in turn: the median of each, and of the ratios within a round."""
    with open_source(drive.frames) as source:
        size_wh = source.size_wh
    with Worker(EvaluationConfig()) as worker, open_engine(side_by_side=True, source_wh=size_wh) as engine:
        worker.engine(size_wh)

        def bare() -> int:
            summary = run(buffered(open_source(drive.frames), False), Segmenter(engine), [], Stages())
            return summary.frames_out

        def evaluation() -> int:
            return len(worker.measure(Shard(drive)).records)

        for warm_up in (bare, evaluation):
            warm_up()
        pairs = [(_timed(bare), _timed(evaluation)) for _ in range(rounds)]
    rates = [statistics.median(pair[side][0] for pair in pairs) for side in (0, 1)]
    cpu_ms = [statistics.median(pair[side][1] for pair in pairs) for side in (0, 1)]
    ratio = statistics.median(pair[1][0] / pair[0][0] for pair in pairs)
    return drive.name, *(f"{r:.1f}" for r in rates), f"{ratio:.3f}", f"{cpu_ms[0]:.2f}", f"{cpu_ms[1] - cpu_ms[0]:+.2f}"


def _timed(work: Callable[[], int]) -> tuple[float, float]:
    """Frames per second, and milliseconds of processor time a frame."""
    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    frames = work()
    return frames / (time.perf_counter() - start_s), (time.process_time() - start_cpu_s) * 1e3 / frames


def _scaling(rounds: int) -> list[tuple[str, ...]]:
    path = street_720p()
    drives = [Drive(f"copy {number}", str(path)) for number in range(8)]
    warm = Drive("warm", str(path))
    single, spread = [], []
    with Cluster(EvaluationConfig(), "local", 2) as cluster:
        evaluate_drives([warm, Drive("warm 2", str(path))], cluster.execute)
        for _ in range(rounds):
            start_s = time.perf_counter()
            results = evaluate_drives(drives, cluster.execute)
            spread.append(_frames(results) / (time.perf_counter() - start_s))
            start_s = time.perf_counter()
            results = evaluate_drives(drives, one_by_one(EvaluationConfig()))
            single.append(_frames(results) / (time.perf_counter() - start_s))
    ratio = statistics.median(two / one for one, two in zip(single, spread, strict=True))
    return [
        ("one process, all cores", f"{statistics.median(single):.1f}", ""),
        ("two Ray workers, one thread each", f"{statistics.median(spread):.1f}", f"{ratio:.3f}"),
    ]


def _frames(results: list) -> int:
    return sum(len(result.measured.records) for result in results)


if __name__ == "__main__":
    main()
