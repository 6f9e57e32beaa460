"""Engines evaluated from Python, as `edge evaluate` does it.

found = edge.evaluate_engine("frames", labels="labels")
print(found)                 # the tables
print(found.report["miou"])
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.classes import ClassTable
from edge.evaluate.drives import list_drives
from edge.evaluate.figures import report_of
from edge.evaluate.run import DriveResult, EvaluationConfig, table_of
from edge.evaluate.schedule import evaluate_drives, one_by_one
from edge.evaluate.store import Store
from edge.evaluate.text import report_text


@dataclass(frozen=True)
class Evaluation:
    """What was measured: `report`, as `edge evaluate --json` writes it, each drive's results, and the classes."""

    report: dict[str, Any]
    results: Sequence[DriveResult]
    table: ClassTable

    def __str__(self) -> str:
        """For people."""
        return report_text(self.report)


def evaluate_engine(
    drives: str | Path | Sequence[str | Path],
    labels: str | Path | None = None,
    engine: str | Path = "road",
    *,
    sparse: bool = False,
    labels_of: str | None = None,
    against: str | None = None,
    against_precision: str | None = None,
    precision: str | None = None,
    backend: str | None = None,
    work: str | Path | None = None,
) -> Evaluation:
    """Measure an engine on recorded drives: how right, how steady and how fast it is.

    `drives` are sources, or manifests (.yaml); `labels` is a folder of class-id PNG files of a single one, of masks of
    the group `labels_of` where that is given. `against` is another engine on the same frames. `work` keeps what is
    finished. A drive that failed has its `error` in `results`.

    Raises:
        ConfigError: a manifest is not in order, or labels are given for several drives.
        EngineError: the engine cannot run here.
    """
    words = [str(drives)] if isinstance(drives, (str, Path)) else [str(drive) for drive in drives]
    listed = list_drives(words, None if labels is None else Path(labels), sparse)
    config = EvaluationConfig(str(engine), precision, backend, against, against_precision, labels_of=labels_of)
    store = Store(Path(work), config) if work is not None else None
    results = evaluate_drives(listed, one_by_one(config), store, in_shards=work is not None)
    table = table_of(config)
    return Evaluation(report_of(results, table), results, table)
