"""The bare engine in two precisions, image in to classes out, in turn in one process: how many times as fast is one?

    python -m benchmarks.engines [--precision int8] [--than f32] [--rounds 15] [--frames 40]

Every round runs both, every other round in the other order, so that whatever slows the machine down meets both. The
ratio is that of the medians of a round; percentiles are over all frames of all rounds.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

from edge.backends import open_engine
from edge.bench import machine, spread
from edge.engine import Engine
from edge.report import table

WARM_UP = 3  # frames not counted, each time an engine's turn comes


def times_ms(engine: Engine, frames: int) -> list[float]:
    """How long each of `frames` inferences took, one after another, on one image of noise."""
    width, height = engine.card.input_wh
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    stamps_ns = []
    for _ in range(WARM_UP + frames + 1):
        stamps_ns.append(time.perf_counter_ns())
        engine.infer(image)
    return [(end - start) / 1e6 for start, end in zip(stamps_ns[WARM_UP:], stamps_ns[WARM_UP + 1 :], strict=False)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default="road")
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--than", default="f32")
    parser.add_argument("--backend", default="openvino")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--frames", type=int, default=40)
    wish = parser.parse_args()
    engines = [
        open_engine(wish.engine, precision=precision, backend=wish.backend, threads=wish.threads)
        for precision in (wish.than, wish.precision)
    ]
    rounds: list[list[list[float]]] = [[], []]  # of each engine, the times of each round
    for number in range(wish.rounds):
        for place in (0, 1) if number % 2 == 0 else (1, 0):
            rounds[place].append(times_ms(engines[place], wish.frames))
    rows = []
    for engine, times in zip(engines, rounds, strict=True):
        p50, p95, p99 = np.percentile(np.concatenate(times), (50, 95, 99))
        rows.append((engine.precision, f"{p50:.2f}", f"{p95:.2f}", f"{p99:.2f}"))
    ratio = spread([statistics.median(base) / statistics.median(fast) for base, fast in zip(*rounds, strict=True)])
    where = machine()
    print(
        f"engine {wish.engine} on {wish.backend}, {engines[0].threads} threads; {where['cpu']}, {where['cores']} cores"
    )
    print(f"{wish.rounds} rounds of {wish.frames} frames, in turn\n")
    print(table(("", "p50 ms", "p95 ms", "p99 ms"), rows))
    print(
        f"\n{wish.precision} is {ratio['median']:.2f} times as fast as {wish.than}"
        f" (min {ratio['min']:.2f}, max {ratio['max']:.2f})"
    )


if __name__ == "__main__":
    main()
