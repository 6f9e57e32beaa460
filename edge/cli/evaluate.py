"""The command that measures an engine on recorded drives."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge.cli.names import complete_engine_and_precision, engine_and_precision
from edge.cli.shared import (
    Backend,
    CameraModelFile,
    Confidence,
    EngineName,
    Instances,
    JsonFile,
    Markings,
    Precision,
    Steady,
    camera_model_of,
    end_on_sigterm,
    outputs_asked,
)
from edge.cli.stdio import print_report, printable
from edge.errors import ConfigError, DataError, SourceDamaged, SourceError

if TYPE_CHECKING:
    from edge.classes import ClassTable
    from edge.evaluate.drives import Drive
    from edge.evaluate.gate import Drop
    from edge.evaluate.run import DriveResult, EvaluationConfig, Execute, Shard

GATE_BROKEN = 3  # besides 1 and 2, which Python and the shell's own usage errors give, and those of sysexits.h

Drives = Annotated[
    list[str], typer.Argument(metavar="DRIVES...", help="Videos, folders of images, drives; or a manifest (.yaml).")
]
Labels = Annotated[
    Path | None,
    typer.Option(help="Folder of class-id PNG files, COCO's panoptic .json, or MOT's gt.txt; a manifest has its own."),
]
LabelsOf = Annotated[str | None, typer.Option(help="Labels are masks, 0 or not, of this group or class, such as road.")]
Sparse = Annotated[bool, typer.Option("--sparse", help="Only some frames have a label: by name, or by their number.")]
Against = Annotated[
    str | None,
    typer.Option(
        help="Compare with another engine on the same frames: NAME or NAME:PRECISION.",
        autocompletion=complete_engine_and_precision,
    ),
]
ParquetFile = Annotated[Path | None, typer.Option("--parquet", help="Write a row per frame here.")]
HtmlFile = Annotated[Path | None, typer.Option("--html", help="Write a report with images here: one file.")]
Baseline = Annotated[Path | None, typer.Option(help="Baseline JSON, of --json; exit 3 on regression.")]
MaxDrop = Annotated[
    str | None, typer.Option(help="Points that may be lost, such as miou:0.5,road:0.3. Default: miou:0.5.")
]
BudgetMs = Annotated[
    float | None,
    typer.Option(min=0.1, help="Also play each drive live: the 99th percentile of ages must be below, none dropped."),
]
AllowDamaged = Annotated[bool, typer.Option("--allow-damaged", help="Damaged drives do not fail the evaluation.")]
Work = Annotated[Path | None, typer.Option(help="Keep finished shards in this folder: what was interrupted goes on.")]
RayAddress = Annotated[
    str | None, typer.Option("--ray", help="Spread the work over a Ray cluster: its address, auto, or local.")
]
Workers = Annotated[int | None, typer.Option(min=1, help="How many workers on it; default: one per two cores.")]
Pick = Annotated[int | None, typer.Option(min=1, help="Choose so many frames that are most worth labelling.")]
To = Annotated[Path | None, typer.Option(help="Where to put them, with masks to start from.")]


@dataclass(frozen=True)
class _Wishes:
    """What is to be made of the results, checked before hours of work."""

    json_file: Path | None
    parquet: Path | None
    html: Path | None
    baseline: Path | None
    drops: dict[str, float]
    budget_ms: float | None
    allow_damaged: bool
    pick: int | None
    to: Path | None

    def print(self, text: str) -> None:
        """For people; see `print_report`."""
        print_report(text, self.json_file, self.parquet, self.html)


def evaluate(
    drives: Drives,
    labels: Labels = None,
    engine: EngineName = "road",
    json_file: JsonFile = None,
    precision: Precision = None,
    backend: Backend = None,
    labels_of: LabelsOf = None,
    confidence: Confidence = False,
    instances: Instances = False,
    steady: Steady = False,
    markings: Markings = False,
    camera_model: CameraModelFile = None,
    sparse: Sparse = False,
    against: Against = None,
    parquet: ParquetFile = None,
    html: HtmlFile = None,
    baseline: Baseline = None,
    max_drop: MaxDrop = None,
    budget_ms: BudgetMs = None,
    allow_damaged: AllowDamaged = False,
    work: Work = None,
    ray: RayAddress = None,
    workers: Workers = None,
    pick: Pick = None,
    to: To = None,
) -> int:
    """Measure an engine on recorded drives: how right, how steady and how fast it is. See docs/evaluation.md.

    Exit codes: 0; 3 where a --baseline or --budget-ms does not hold; 69 where a drive failed or is damaged.
    """
    end_on_sigterm()
    import cv2

    from edge.evaluate.drives import list_drives
    from edge.evaluate.run import EvaluationConfig, table_of
    from edge.evaluate.schedule import evaluate_drives
    from edge.evaluate.store import Store

    cv2.setNumThreads(1)  # every stage has a thread of its own
    listed = list_drives(drives, labels, sparse, camera_model_of(camera_model))
    instances = _asks_objects(instances, labels_of, listed)
    asked = {"labels_of": labels_of, "outputs": outputs_asked(confidence, instances, steady, markings)}
    against_of = engine_and_precision(against)
    config = EvaluationConfig(engine, precision, backend, *against_of, mirror=pick is not None, **asked)
    table = table_of(config)
    drops = _drops(max_drop, baseline, table)
    wishes = _Wishes(json_file, parquet, html, baseline, drops, budget_ms, allow_damaged, pick, to)
    _check_outputs(wishes, work, [*drives, camera_model], listed, (engine, against_of[0]))
    _check(wishes)
    store = Store(work, config) if work else None
    with _executing(config, ray, workers, listed) as execute:
        results = evaluate_drives(listed, execute, store, in_shards=bool(ray or work) and not config.steps)
    return _conclude(results, config, table, wishes)


def _asks_objects(instances: bool, labels_of: str | None, drives: Sequence[Drive]) -> bool:
    """Whether objects are measured: asked for, or labelled.

    Raises:
        ConfigError: they are, of labels that have one group alone.
    """
    from edge.evaluate.object_labels import are_objects

    asks = instances or any(are_objects(drive.labels) for drive in drives)
    if labels_of and asks:
        raise ConfigError("--labels-of is for masks of one group; objects need all classes: leave one of both out")
    return asks


def _drops(max_drop: str | None, baseline: Path | None, table: ClassTable) -> dict[str, float]:
    from edge.evaluate.gate import DEFAULT_DROPS, parse_drops

    if max_drop and not baseline:
        raise ConfigError("--max-drop needs --baseline: a report of before, which `edge evaluate --json FILE` writes")
    return parse_drops(max_drop, table) if max_drop else DEFAULT_DROPS


def _check(wishes: _Wishes) -> None:
    """Refuse what could not be done at the end."""
    if (wishes.pick is None) != (wishes.to is None):
        raise ConfigError("--pick says how many frames to choose, --to where to put them: give both")
    if wishes.parquet:
        from edge.evaluate.parquet import need_pyarrow

        need_pyarrow()
    if wishes.baseline:
        from edge.evaluate.gate import load_baseline

        load_baseline(wishes.baseline)


def _check_outputs(
    wishes: _Wishes,
    work: Path | None,
    named: Sequence[str | Path | None],
    drives: Sequence[Drive],
    engines: Sequence[str | None],
) -> None:
    from edge.sinks.collisions import check_outputs

    outputs = (wishes.json_file, wishes.parquet, wishes.html, wishes.to, work)
    read = [(drive.frames, drive.labels) for drive in drives]
    check_outputs(outputs, [*named, wishes.baseline, *(place for pair in read for place in pair)], engines)


@contextmanager
def _executing(
    config: EvaluationConfig, ray: str | None, workers: int | None, drives: Sequence[Drive]
) -> Iterator[Execute]:
    """Who measures: this process, or a cluster; with a bar on a terminal that shows rate and time left."""
    from edge.evaluate.schedule import one_by_one

    with ExitStack() as stack:
        advance = stack.enter_context(_progress(drives))
        if ray is None:
            yield one_by_one(config, lambda shard: advance(shard, 1))
        else:
            from edge.evaluate.cluster import Cluster

            yield stack.enter_context(Cluster(config, ray, workers, advance)).execute


@contextmanager
def _progress(drives: Sequence[Drive]) -> Iterator[Callable[[Shard, int], None]]:
    if not sys.stderr.isatty():
        yield lambda shard, frames: None
        return
    from edge.cli.shared import make_progress_bar

    bar, task = make_progress_bar("evaluating", _frames_in(drives))
    done, start_s = 0, time.monotonic()

    def advance(shard: Shard, frames: int) -> None:
        nonlocal done
        done += frames
        rate_hz = done / max(1e-3, time.monotonic() - start_s)
        bar.update(task, description=printable(shard.drive.name), completed=done, note=f"{rate_hz:.0f} frames/s")

    try:
        yield advance
    finally:
        bar.stop()


def _frames_in(drives: Sequence[Drive]) -> int | None:
    """How many frames all drives say they have; None where one does not say, or cannot be opened."""
    from edge.evaluate.spans import open_drive

    total = 0
    for drive in drives:
        try:
            with open_drive(drive.frames) as source:
                count = source.frame_count
        except SourceError:  # which measuring it will tell
            return None
        if count is None:
            return None
        total += count
    return total


def _conclude(results: Sequence[DriveResult], config: EvaluationConfig, table: ClassTable, wishes: _Wishes) -> int:
    """Write and print everything, and only then say by the exit code what was wrong."""
    from edge.evaluate.figures import report_of
    from edge.evaluate.text import report_text
    from edge.sinks.files import write_text

    _raise_if_nothing(results)
    report = report_of(results, table)
    held = True
    if wishes.budget_ms:
        held = _add_budget(report, results, config, wishes)
    wishes.print(report_text(report))
    if wishes.json_file:
        write_text(wishes.json_file, json.dumps(report, indent=1) + "\n")
    if wishes.parquet:
        from edge.evaluate.parquet import write_frames

        write_frames(wishes.parquet, results, table)
    drops = _judged(report, wishes, table)
    _look_up(report, results, config, table, wishes, drops)
    _raise_if_not_whole(results, wishes.allow_damaged)
    return 0 if held and all(drop.holds for drop in drops) else GATE_BROKEN


def _look_up(
    report: dict[str, Any],
    results: Sequence[DriveResult],
    config: EvaluationConfig,
    table: ClassTable,
    wishes: _Wishes,
    drops: Sequence[Drop],
) -> None:
    """What needs single frames again: they are taken from one opening of the engine, and of a drive."""
    from edge.evaluate.run import Worker

    with Worker(config) as worker:
        if wishes.html:
            from edge.evaluate.html import write_html

            write_html(wishes.html, report, results, worker, table, drops)
        if wishes.pick and wishes.to:
            from edge.evaluate.pick import pick_frames

            wishes.print(f"\n{pick_frames(results, worker, table, wishes.pick, wishes.to)}")


def _add_budget(
    report: dict[str, Any], results: Sequence[DriveResult], config: EvaluationConfig, wishes: _Wishes
) -> bool:
    from edge.evaluate.budget import pace_of, paces_text

    assert wishes.budget_ms is not None
    paces = [pace_of(result.drive, config, wishes.budget_ms) for result in results if result.measured]
    report["budget"] = [pace.as_json() for pace in paces]
    wishes.print(f"{paces_text(paces)}\n")
    return all(pace.holds for pace in paces)


def _judged(report: dict[str, Any], wishes: _Wishes, table: ClassTable) -> list[Drop]:
    if wishes.baseline is None:
        return []
    from edge.evaluate.gate import drops_text, judge_drops, load_baseline

    drops = judge_drops(report, load_baseline(wishes.baseline), wishes.drops, table)
    wishes.print(f"\n{drops_text(drops, wishes.baseline)}")
    return drops


def _raise_if_nothing(results: Sequence[DriveResult]) -> None:
    """A drive alone that failed: its own error, and no report."""
    if all(result.error for result in results):
        first = results[0]
        others = f" ({len(results)} of {len(results)} drives failed)" if len(results) > 1 else ""
        kind = DataError if first.exit_code == DataError.exit_code else SourceError
        raise kind(first.error + others)


def _raise_if_not_whole(results: Sequence[DriveResult], allow_damaged: bool) -> None:
    failed = [result for result in results if result.error]
    if failed:
        raise SourceError(
            f"{failed[0].error} ({len(failed)} of {len(results)} drives failed; the report is of the others)"
        )
    torn = [result for result in results if not result.is_whole]
    if not torn or allow_damaged:
        return
    measured = torn[0].measured
    assert measured is not None
    reason = measured.fault or f"{torn[0].drive.frames}: {len(measured.records)} of {measured.expected} frames came"
    raise SourceDamaged(
        f"{reason} ({len(torn)} of {len(results)} drives not whole; if their figures are to count, say --allow-damaged)"
    )
