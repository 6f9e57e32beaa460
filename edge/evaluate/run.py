"""One shard of a drive through an engine, measured by the loop that drives; `edge.evaluate.schedule` has all drives.

A shard's records depend on its frames alone, whoever measures it: so drives may be spread over processes and machines,
interrupted and taken up again, and come out the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from typing import cast

from edge.backends import open_engine
from edge.classes import CAMVID, ClassTable
from edge.closing import Closing
from edge.engine import DEFAULT_ENGINE, Engine, find_bundle
from edge.errors import EdgeError, SourceDamaged, SourceError
from edge.evaluate.binary import BinarySegmenter, binary_table
from edge.evaluate.drives import Drive
from edge.evaluate.labels import SceneLabels
from edge.evaluate.measures import Measures, View, check_tables, is_followed, view_of
from edge.evaluate.object_labels import find_labels
from edge.evaluate.records import Record, Records
from edge.evaluate.spans import Span, open_drive
from edge.frame import Frame
from edge.geometry.model import CameraModel
from edge.instances import INSTANCES, THINGS
from edge.outputs import select
from edge.pipeline import buffered
from edge.segmenter import Segmenter, in_order
from edge.sources.scene import SceneSource
from edge.sources.seek import Playable, open_recording
from edge.sources.source import Source, display_wh_of
from edge.steps import step_names


@dataclass(frozen=True)
class EvaluationConfig:
    """Which engine is evaluated, against which other one, if any.

    Attributes:
        engine, other: names or folders, as `open_engine` takes them.
        mirror: also ask the engine about the mirrored image, at the price of a second inference.
        threads: of each engine; None for all cores.
        labels_of: the group or class that binary labels are of; None where labels are class ids.
        outputs: to compute besides the card's default ones.
        input_wh: one of the engine's input sizes; None for the one that fits the frames.
    """

    engine: str = DEFAULT_ENGINE
    precision: str | None = None
    backend: str | None = None
    other: str | None = None
    other_precision: str | None = None
    mirror: bool = False
    threads: int | None = None
    labels_of: str | None = None
    outputs: tuple[str, ...] = ()
    input_wh: tuple[int, int] | None = None

    @property
    def steps(self) -> list[str]:
        """The stateful steps that run. With any, a drive is measured in one piece.

        Raises:
            EngineError: the engine lacks one of the outputs.
        """
        found = select(find_bundle(self.engine).card.outputs, self.outputs, self.engine)
        return step_names([output.name for output in found], self.outputs)

    def table(self, table: ClassTable) -> ClassTable:
        """The classes that are scored, of an engine's table."""
        return table if self.labels_of is None else binary_table(table, self.labels_of)

    def segmenter(self, engine: Engine, camera_model: CameraModel | None = None) -> Segmenter:
        """What gives those classes; with a camera model in metres, too, except of one group."""
        asked = self.outputs
        if self.labels_of:
            return BinarySegmenter(engine, self.labels_of, asked)
        return Segmenter(engine, asked, camera_model)

    def open(self, size_wh: tuple[int, int]) -> Engine:
        """The engine, fitted to frames of that size."""
        return open_engine(
            self.engine,
            precision=self.precision,
            threads=self.threads,
            side_by_side=True,
            backend=self.backend,
            source_wh=size_wh,
            input_wh=self.input_wh,
            outputs=self.outputs,
        )

    @property
    def is_of_streets(self) -> bool:
        """Whether the classes are those of rendered streets, with the groups that metres are of."""
        table = find_bundle(self.engine).card.table
        return not self.labels_of and table.names == CAMVID.names and {"road", *THINGS} <= set(table.groups)

    def in_metres(self) -> EvaluationConfig:
        """The same with what distances need."""
        return replace(self, outputs=tuple(dict.fromkeys((*self.outputs, INSTANCES))))

    def open_other(self, size_wh: tuple[int, int]) -> Engine | None:
        """The engine to compare with, if there is one.

        Raises:
            ConfigError: its classes are others.
        """
        if self.other is None:
            return None
        check_tables(find_bundle(self.engine).card.table, find_bundle(self.other).card.table)
        return replace(self, engine=self.other, precision=self.other_precision, outputs=(), input_wh=None).open(size_wh)


@dataclass(frozen=True)
class Shard:
    """Frames `start` to `stop` of a drive; without `stop`, all to its end."""

    drive: Drive
    start: int = 0
    stop: int | None = None


@dataclass(frozen=True)
class Measured:
    """What came of a shard.

    Attributes:
        expected: frames it should have had; None where the source does not say.
        labels: how many the whole drive has.
        fault: what was found wrong with the recording; "" if nothing.
        engine, other: names and precisions.
        elapsed_s: what it took.
    """

    records: Records
    expected: int | None
    labels: int
    fault: str
    engine: str
    precision: str
    other: str
    elapsed_s: float


@dataclass
class DriveResult:
    """What came of a drive. `error` says why there is nothing, or "" if there is."""

    drive: Drive
    measured: Measured | None = None
    error: str = ""
    exit_code: int = SourceError.exit_code

    @property
    def is_whole(self) -> bool:
        """Nothing failed, is damaged or missing."""
        measured = self.measured
        if measured is None or measured.fault:
            return False
        return measured.expected is None or len(measured.records) >= measured.expected


Outcome = tuple[Shard, "Measured | EdgeError"]
Execute = Callable[[Sequence[Shard]], Iterable[Outcome]]  # in any order; an error is one of the shard's own


# ------------------------------------------------------------------------------------------------ one shard, one engine


class Worker(Closing):
    """Measures shards of drives, one after another. Its engines stay open while frames keep their size, and a recording
    that is looked up again while no other one is.
    """

    def __init__(self, config: EvaluationConfig) -> None:
        self.config = config
        self._opened: tuple[tuple[int, int], tuple[str, ...]] | None = None  # frames' size, outputs
        self._engine: Engine | None = None
        self._other: Engine | None = None
        self._recording: tuple[str, Playable] | None = None

    def close(self) -> None:
        """Close what is open; the next shard opens it again."""
        self._close_engines()
        self._close_recording()

    def _close_recording(self) -> None:
        if self._recording is not None:
            self._recording[1].close()
            self._recording = None

    def _close_engines(self) -> None:
        for engine in (self._engine, self._other):
            if engine is not None:
                engine.close()
        self._engine = self._other = self._opened = None

    def measure(self, shard: Shard, on_frame: Callable[[], None] = lambda: None) -> Measured:
        """Segment and measure a shard's frames.

        Raises:
            SourceError: there is no such drive.
            DataError: its labels are not in order.
            EngineError: an engine cannot be run.
        """
        start_s = time.perf_counter()
        with _open_shard(shard) as source:
            drive, inner = shard.drive, cast(Source, source.inner) if isinstance(source, Span) else source
            knows_metres = isinstance(inner, SceneSource) and drive.labels is None and self.config.is_of_streets
            config = self.config.in_metres() if knows_metres else self.config
            engine, other = self._fitted(display_wh_of(source), config)
            table = self.config.table(engine.card.table)
            truths = find_labels(inner, drive.labels, drive.sparse, table, binary=bool(self.config.labels_of))
            street = truths if knows_metres and isinstance(truths, SceneLabels) else None
            model = street.camera_model() if street and drive.camera_model is None else drive.camera_model
            mirror = self.config.segmenter(engine) if self.config.mirror else None
            rival = self.config.segmenter(other) if other else None
            measures = Measures(
                table,
                truths,
                horizon=drive.horizon,
                camera_model=model,
                other=rival,
                mirror=mirror,
                fingerprint=None if self.config.labels_of else engine.card.fingerprint,  # it is of the card's classes
                metres=street.metres if street else None,
                with_objects=INSTANCES in self.config.outputs,
            )
            segmenter = config.segmenter(engine, model if street else None)
            records: list[Record] = []
            fault = ""
            try:
                with (
                    buffered(cast(Source, source), False) as frames,
                    closing(_in_order(frames, segmenter, measures)) as found,
                ):
                    for record in found:
                        if record.index >= shard.start:
                            records.append(record)
                        on_frame()
            except SourceDamaged as error:
                fault = str(error)
        return Measured(
            Records.of(records, measures.empty),
            source.frame_count if shard.stop is None else shard.stop - shard.start,
            truths.count if truths else 0,
            fault,
            engine.card.name,
            engine.precision,
            f"{other.card.name} ({other.precision})" if other else "",
            time.perf_counter() - start_s,
        )

    def recording(self, frames: str) -> Playable:
        """A drive whose frames are taken by number; open until another one is asked for.

        Raises:
            SourceError: it is gone, or cannot be read.
        """
        if self._recording is None or self._recording[0] != frames:
            self._close_recording()
            self._recording = (frames, open_recording(frames))
        return self._recording[1]

    def engine(self, size_wh: tuple[int, int]) -> Engine:
        """The engine, fitted to frames of that size; open until another size is asked for."""
        return self._fitted(size_wh)[0]

    def _fitted(self, size_wh: tuple[int, int], config: EvaluationConfig | None = None) -> tuple[Engine, Engine | None]:
        opened = (size_wh, (config or self.config).outputs)
        if self._engine is None or self._opened != opened:
            self._close_engines()
            self._engine = (config or self.config).open(size_wh)
            self._other = self.config.open_other(size_wh)
            self._opened = opened
        return self._engine, self._other


def _in_order(frames: Iterable[Frame], segmenter: Segmenter, measures: Measures) -> Generator[Record, None, None]:
    """The records of frames, in order; what `frames` raises comes behind the last record.

    One thread does all work on a frame, some side by side: what it measures is still in its core's cache.
    """
    threads = segmenter.engine.streams + 1  # one measures while the engine is busy
    pool = ThreadPoolExecutor(threads, "evaluate")
    before: Future[View | None] | None = None

    def begin(frame: Frame) -> Future[Record]:
        nonlocal before
        former, before = before, Future()
        return pool.submit(_record, frame, segmenter, measures, former, before)

    try:
        yield from in_order(frames, begin, threads)
    finally:
        pool.shutdown(cancel_futures=True)


def _record(
    frame: Frame,
    segmenter: Segmenter,
    measures: Measures,
    before: Future[View | None] | None,
    now: Future[View | None],
) -> Record:
    """One frame's record. It hands its view on in `now`; that of the frame before comes in `before`, and soon: frames
    are begun in order.
    """
    try:
        result = segmenter.segment(frame)
        if segmenter.steps:
            if before is not None:
                before.result()  # the frame before has gone through them
            result = segmenter.steps.update(result)
        now.set_result(view_of(result) if is_followed(frame.index) or is_followed(frame.index + 1) else None)
    except BaseException as error:  # the next frame must not wait without end
        now.set_exception(error)
        raise
    pair = _pair(before.result(), now.result()) if before and is_followed(frame.index) else None
    return measures(result, pair)


def _pair(before: View | None, now: View | None) -> tuple[View, View] | None:
    """Two neighbours, if the second is followed."""
    if before is None or now is None or not is_followed(now.index) or before.index + 1 != now.index:
        return None
    return before, now


def _open_shard(shard: Shard) -> Source | Span:
    if shard.stop is None:
        return open_drive(shard.drive.frames)
    return Span(open_recording(shard.drive.frames), shard.start, shard.stop)


def table_of(config: EvaluationConfig) -> ClassTable:
    """The classes that are evaluated."""
    return config.table(find_bundle(config.engine).card.table)
