"""All drives of an evaluation: cut into shards, measured wherever it may be, and joined again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np

from edge.errors import DataError, EdgeError, SourceError
from edge.evaluate.drives import Drive
from edge.evaluate.labels import check_used
from edge.evaluate.object_labels import is_boxes
from edge.evaluate.records import Records
from edge.evaluate.run import DriveResult, EvaluationConfig, Execute, Measured, Outcome, Shard, Worker
from edge.evaluate.store import Store
from edge.sources.seek import RecordedVideo, open_recording

SHARD_FRAMES = 900  # of a long drive: half a minute at 30 Hz


@dataclass
class _Ledger:
    """The shards of one drive, and what came of them."""

    shards: list[Shard]
    done: dict[int, Measured] = field(default_factory=dict)
    error: EdgeError | None = None


def evaluate_drives(
    drives: Sequence[Drive], execute: Execute, store: Store | None = None, *, in_shards: bool = False
) -> list[DriveResult]:
    """What comes of each drive, in the order given. `in_shards` cuts long ones; a `store` keeps finished shards.

    A drive that fails is in the result with the reason, and harms no other. One that shows damage while it is measured
    in shards is measured again in one piece: only so are its frames counted as ever.

    Raises:
        EngineError: an engine cannot be run at all.
        ConfigError: the engines cannot be compared.
    """
    ledgers = {drive.name: _planned(drive, in_shards) for drive in drives}
    _execute(ledgers, execute, store)
    again = {
        name: _Ledger([Shard(ledger.shards[0].drive)])
        for name, ledger in ledgers.items()
        if len(ledger.shards) > 1 and any(measured.fault for measured in ledger.done.values())
    }
    _execute(again, execute, store)
    return [_result(drive, again.get(drive.name, ledgers[drive.name])) for drive in drives]


def _planned(drive: Drive, in_shards: bool) -> _Ledger:
    try:
        return _Ledger(plan(drive) if in_shards else [Shard(drive)])
    except SourceError as error:
        return _Ledger([], error=error)


def plan(drive: Drive) -> list[Shard]:
    """A long drive in shards, if its frames can be taken by number and the file looks sound; else in one piece.

    Raises:
        SourceError: it cannot be opened.
    """
    with suppress(SourceError), open_recording(drive.frames) as recording:
        damaged = isinstance(recording, RecordedVideo) and recording.damage
        count = recording.frame_count
        if count > SHARD_FRAMES and not damaged:
            return [Shard(drive, start, min(start + SHARD_FRAMES, count)) for start in range(0, count, SHARD_FRAMES)]
    return [Shard(drive)]


def _execute(ledgers: dict[str, _Ledger], execute: Execute, store: Store | None) -> None:
    open_shards: list[Shard] = []
    for ledger in ledgers.values():
        for shard in ledger.shards:
            kept = store.load(shard) if store else None
            if kept is not None:
                ledger.done[shard.start] = kept
            else:
                open_shards.append(shard)
    for shard, outcome in execute(open_shards):
        ledger = ledgers[shard.drive.name]
        if isinstance(outcome, EdgeError):
            ledger.error = outcome
        else:
            ledger.done[shard.start] = outcome
            if store:
                store.save(shard, outcome)


def _result(drive: Drive, ledger: _Ledger) -> DriveResult:
    if ledger.error is not None:
        return DriveResult(drive, error=str(ledger.error), exit_code=ledger.error.exit_code)
    shards = [ledger.done[shard.start] for shard in ledger.shards]
    first = shards[0]
    expected = [shard.expected for shard in shards]
    whole = replace(
        first,
        records=Records.joined([shard.records for shard in shards]),
        expected=None if None in expected else sum(filter(None, expected)),
        fault=" ".join(shard.fault for shard in shards if shard.fault),
        elapsed_s=sum(shard.elapsed_s for shard in shards),
    )
    try:
        if whole.labels and not whole.fault:
            used = int(np.count_nonzero(whole.records.labelled | whole.records.objects))
            check_used(drive.frames, str(drive.labels), whole.labels, used, drive.sparse or is_boxes(drive.labels))
    except DataError as error:
        return DriveResult(drive, error=str(error), exit_code=error.exit_code)
    return DriveResult(drive, whole)


def one_by_one(config: EvaluationConfig, on_frame: Callable[[Shard], None] = lambda shard: None) -> Execute:
    """Measure shards one after another in this process."""

    def execute(shards: Sequence[Shard]) -> Iterator[Outcome]:
        with Worker(config) as worker:
            for shard in shards:
                yield shard, attempt(worker, shard, lambda shard=shard: on_frame(shard))

    return execute


def attempt(worker: Worker, shard: Shard, on_frame: Callable[[], None]) -> Measured | EdgeError:
    """What comes of a shard, or what is wrong with its drive; what is wrong with an engine ends everything."""
    try:
        return worker.measure(shard, on_frame)
    except (SourceError, DataError) as error:
        return error
