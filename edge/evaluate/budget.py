"""Is the engine fast enough for a drive? The drive is played at its own pace through the live loop, and timed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edge.backends import open_engine
from edge.evaluate.drives import Drive
from edge.evaluate.run import EvaluationConfig
from edge.evaluate.spans import open_drive
from edge.pipeline import buffered, run
from edge.prediction import Prediction
from edge.report import table
from edge.segmenter import Segmenter
from edge.sources.source import display_wh_of
from edge.timing import Durations, Stages

FRAMES = 300
_WARM_UP = 10  # frames at which caches and clocks settle


@dataclass(frozen=True)
class Pace:
    """One drive, live: age of masks and rate, against a budget."""

    drive: str
    frames: int
    dropped: int
    p50_ms: float
    p99_ms: float
    rate_hz: float
    recorded_hz: float | None
    budget_ms: float

    @property
    def holds(self) -> bool:
        """The 99th percentile of the masks' ages is within the budget, and no frame was dropped for want of time."""
        return self.frames > 0 and self.p99_ms <= self.budget_ms and self.dropped == 0

    def as_json(self) -> dict[str, Any]:
        """All figures, and whether they hold, as JSON takes them."""
        return {**vars(self), "holds": self.holds}


def pace_of(drive: Drive, config: EvaluationConfig, budget_ms: float) -> Pace:
    """Play a drive's first ten seconds or so, as `edge run --live` does, with all cores on the newest frame.

    Raises:
        SourceError: it cannot be read.
        EngineError: the engine cannot be run.
    """
    source = open_drive(drive.frames)
    ages = Durations()
    with open_engine(
        config.engine, precision=config.precision, backend=config.backend, source_wh=display_wh_of(source)
    ) as engine:

        def on_result(result: Prediction) -> None:
            if result.frame.index >= _WARM_UP:
                ages.add(result.ready_ns - result.frame.captured_ns)

        summary = run(buffered(source, True), Segmenter(engine), [], Stages(), max_frames=FRAMES, on_result=on_result)
    if summary.interrupted:
        raise KeyboardInterrupt
    if summary.failure and not ages.count:
        raise summary.failure
    return Pace(
        drive.name,
        ages.count,
        summary.dropped,
        round(ages.percentile_ms(50), 3),
        round(ages.percentile_ms(99), 3),
        round(summary.rate_hz, 2),
        source.rate_hz,
        budget_ms,
    )


def paces_text(paces: Sequence[Pace]) -> str:
    """A line per drive."""
    rows = [
        (
            pace.drive,
            f"{pace.p50_ms:.1f}",
            f"{pace.p99_ms:.1f}",
            f"{pace.rate_hz:.1f}",
            f"{pace.recorded_hz:.1f}" if pace.recorded_hz else "-",
            str(pace.dropped),
            "holds" if pace.holds else "BROKEN",
        )
        for pace in paces
    ]
    header = ("live, ms from capture to mask", "p50", "p99", "masks/s", "recorded at", "dropped", "")
    return table(header, rows) + f"\nbudget: {paces[0].budget_ms:g} ms at p99, and no frame dropped"
