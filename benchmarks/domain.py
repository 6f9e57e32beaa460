"""How strange each drive is to an engine: 1 = the farthest of its calibration frames (`edge.domain`).

    python -m benchmarks.domain SOURCE ... [--engine road] [--frames 220]

The first frames of each source, smoothed as the event sees them. `out_of_domain` begins at 0.9.
"""

from __future__ import annotations

import argparse
import statistics

from edge.backends import open_engine
from edge.domain import RunningMean, describe, ood_score
from edge.errors import EngineError
from edge.pipeline import segment
from edge.report import table
from edge.sources.open import open_source


def row(name: str, engine_name: str, frames: int) -> tuple[str, ...]:
    """Count, lowest, median and highest out-of-domain score of a source's first frames."""
    found: list[float] = []
    with open_source(name) as source, open_engine(engine_name, side_by_side=True, source_wh=source.size_wh) as engine:
        mean, card = RunningMean(), engine.card
        if card.fingerprint is None:
            raise EngineError(f"engine {engine_name}: its card has no fingerprint")
        step_ns = round(1e9 / (source.rate_hz or 30.0))
        for result in segment(source, engine, live=False):
            if result.frame.index >= frames:
                break
            seen = mean.update(describe(result), result.frame.index * step_ns)
            found.append(ood_score(seen, card.fingerprint, card.table))
    figures = (min(found), statistics.median(found), max(found))
    return name, str(len(found)), *(f"{figure:.2f}" for figure in figures)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+")
    parser.add_argument("--engine", default="road")
    parser.add_argument("--frames", type=int, default=220)
    wish = parser.parse_args()
    rows = [row(source, wish.engine, wish.frames) for source in wish.sources]
    print(table(("source", "frames", "lowest", "median", "highest"), rows))


if __name__ == "__main__":
    main()
