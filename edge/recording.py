"""Drives recorded from any source: the frames, their masks and results, as MCAP.

recorded = edge.record("0", "drive.mcap", max_frames=300)
print(recorded)
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import get_args

import cv2
import yaml

import edge
from edge.backends import open_engine
from edge.engine import Engine
from edge.errors import ConfigError, EdgeError, OutputError
from edge.geometry.model import CameraModel, load_camera_model
from edge.gps import Gps, GpsOptions
from edge.instances import INSTANCES
from edge.pipeline import Summary, buffered, run
from edge.prediction import Prediction
from edge.report import summary_json, summary_text
from edge.segmenter import Segmenter
from edge.sinks.background import Background
from edge.sinks.collisions import check_outputs
from edge.sinks.drive import Codec, DriveOptions, DriveSegments, DriveSink, without_result
from edge.sinks.recorder import Recorder, RecorderOptions
from edge.sources.flow import Ahead, Latest
from edge.sources.open import open_source
from edge.sources.place import place_of
from edge.sources.source import Source, display_wh_of
from edge.timing import Stages

SPLIT_S, QUOTA_GB = 60.0, 10.0
VIDEOS = frozenset({".mp4", ".mkv", ".mov", ".avi", ".webm"})

OnResult = Callable[[Prediction], object]


@dataclass(frozen=True)
class Recorded:
    """What came of a recording.

    Attributes:
        path: the file, or the folder of segments.
        summary: of the run; without an engine it counts nothing, and holds what ended it.
        written: what is in `path`, in words.
        frames_lost: that could not be written.
    """

    path: Path
    summary: Summary
    written: str
    frames_lost: int = 0

    @property
    def failure(self) -> EdgeError | None:
        """What ended it early, or that not all was recorded; None for a sound recording."""
        if self.summary.failure or not self.frames_lost:
            return self.summary.failure
        lost = f"{self.frames_lost} frames could not be recorded"
        return OutputError(f"{self.path}: {lost}; the warnings say why. See: df -h {self.path}")

    def as_json(self) -> dict[str, object]:
        """As JSON takes it."""
        return {**summary_json(self.summary), "path": str(self.path), "frames_lost": self.frames_lost}

    def __str__(self) -> str:
        """For people."""
        return "\n\n".join([*([summary_text(self.summary)] if self.summary.engine else []), self.written])


def _unwatched(source: Source) -> AbstractContextManager[OnResult]:
    return nullcontext(lambda result: None)


def record(
    source: str,
    drive: str | Path,
    engine: str | Path | None = "road",
    *,
    codec: str = "h264",
    split_s: float | None = None,
    quota_gb: float | None = None,
    live: bool | None = None,
    max_frames: int | None = None,
    precision: str | None = None,
    threads: int | None = None,
    backend: str | None = None,
    outputs: Collection[str] = (),
    camera_model: str | Path | CameraModel | None = None,
    gps: GpsOptions | None = None,
    watch: Callable[[Source], AbstractContextManager[OnResult]] = _unwatched,
) -> Recorded:
    """Record a source until it ends, Ctrl-C, or after `max_frames`.

    `drive` is a file that ends with .mcap, or a folder for segments of `split_s` seconds within `quota_gb` (1e9 bytes).
    Without an engine the frames alone are recorded. With a camera model, by its file's name or loaded, results are in
    metres too, and the drive has the camera's calibration. With a gpsd, live frames have the car's place. `watch` gets
    the open source, and gives a context whose value is called with each result.

    Raises:
        ConfigError, SourceError, EngineError, OutputError: it cannot begin. What ends it later is `Recorded.failure`.
    """
    target = Path(drive)
    _check(source, target, codec, split_s, quota_gb)
    model_file = camera_model if isinstance(camera_model, (str, Path)) else None
    check_outputs([target], [source, model_file, *_held_in(target, source)], [engine])
    if isinstance(camera_model, (str, Path)):
        camera_model = load_camera_model(Path(camera_model))
    if camera_model is not None:
        outputs = {*outputs, INSTANCES}
    cv2.setNumThreads(1)  # every stage has a thread of its own
    stages = Stages()
    with ExitStack() as stack:
        frames = open_source(source)
        stack.push(frames)
        is_live = frames.live if live is None else live
        wishes = {"precision": precision, "threads": threads, "backend": backend, "outputs": outputs}
        opened = None
        if engine is not None:
            open_wh = display_wh_of(frames)
            opened = stack.enter_context(open_engine(engine, side_by_side=not is_live, source_wh=open_wh, **wishes))
        geometry = camera_model and camera_model.model_dump(mode="json", exclude_unset=True)
        asked = {"codec": codec, "live": is_live, "split_s": split_s, "quota_gb": quota_gb, "geometry": geometry}
        sink = _sink(target, _options(frames, opened, asked), split_s or SPLIT_S, quota_gb or QUOTA_GB, stages)
        located = stack.enter_context(Gps(gps)) if gps else None
        flow = buffered(frames, live, located.fix_at if located else None)
        on_result = stack.enter_context(watch(frames))
        if opened is None:
            summary = _camera_alone(flow, sink, max_frames)
        else:
            segmenter = Segmenter(opened, outputs, camera_model)
            summary = run(flow, segmenter, [sink], stages, max_frames=max_frames, on_result=on_result)
    return Recorded(target, summary, str(sink), sink.health.totals["frames_lost"] if isinstance(sink, Recorder) else 0)


def _check(source: str, drive: Path, codec: str, split_s: float | None, quota_gb: float | None) -> None:
    if codec not in get_args(Codec):
        raise ConfigError(f"codec {codec}: expected one of {', '.join(get_args(Codec))}")
    if drive.suffix.lower() in VIDEOS:
        raise ConfigError(
            f"{drive}: a drive is a file that ends with .mcap, or a folder."
            f" For a video: edge run {source} --overlay {drive}"
        )
    if drive.suffix == ".mcap" and (split_s, quota_gb) != (None, None):
        raise ConfigError(f"{drive}: is one file, which --split-s and --quota-gb have no say in. Name a folder")


def _held_in(drive: Path, source: str) -> list[Path]:
    """The source's folder, where that may be a folder of drives: its quota deletes what it holds."""
    path = place_of(source).path
    return [path.parent] if path.suffix == ".mcap" and drive.is_dir() else []


def _options(frames: Source, engine: Engine | None, asked: dict[str, object]) -> DriveOptions:
    given = {name: value for name, value in asked.items() if value is not None}
    return DriveOptions(
        software=f"edge {edge.__version__}",
        source=frames.name,
        rate_hz=frames.rate_hz,
        card=engine.card if engine else None,
        precision=engine.precision if engine else "",
        config=yaml.safe_dump({"record": {"source": frames.name, **given}}, sort_keys=False),
        codec=given["codec"],  # type: ignore[arg-type] it was checked
    )


def _sink(drive: Path, options: DriveOptions, split_s: float, quota_gb: float, stages: Stages) -> DriveSink | Recorder:
    if drive.suffix == ".mcap":
        return DriveSink(drive, options, stages)
    kept = RecorderOptions(str(drive), quota_gb=quota_gb, segment_s=split_s)
    return Recorder(kept, options.rate_hz, stages, DriveSegments(options))


def _camera_alone(flow: Ahead | Latest, sink: DriveSink | Recorder, max_frames: int | None) -> Summary:
    """Frames into the sink, which no engine sees."""
    summary = Summary(flow.name, "")
    try:
        with Background(sink, drop=flow.live) as output, flow:
            for frame in islice(flow, max_frames):
                output.write(without_result(frame), flow.dropped)
    except KeyboardInterrupt:
        summary.interrupted = True
    except EdgeError as error:
        summary.failure = error
    return summary
