"""The command `edge record`."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge.cli.shared import (
    INTERRUPTED,
    Backend,
    EngineName,
    Live,
    MaxFrames,
    Precision,
    Progress,
    Quiet,
    Threads,
    end_on_sigterm,
)
from edge.cli.stdio import print_report
from edge.errors import ConfigError, EdgeError, OutputError

if TYPE_CHECKING:
    from edge.engine import Engine
    from edge.pipeline import Summary
    from edge.sinks.drive import DriveOptions, DriveSink
    from edge.sinks.recorder import Recorder
    from edge.sources.flow import Ahead, Latest
    from edge.sources.source import Source
    from edge.timing import Stages

SPLIT_S, QUOTA_GB = 60.0, 10.0


def record(
    source: Annotated[str, typer.Argument(help="What `edge run` takes: a camera, a video, scene:street.")],
    drive: Annotated[Path, typer.Argument(help="A file that ends with .mcap; or a folder, for segments in a quota.")],
    engine: EngineName = "road",
    codec: Annotated[str, typer.Option(help="h264, or jpeg: each picture for itself, larger.")] = "h264",
    split_s: Annotated[
        float | None, typer.Option(min=0.1, help=f"Into a folder: seconds a file; default {SPLIT_S:g}.")
    ] = None,
    quota_gb: Annotated[
        float | None, typer.Option(min=0.001, help=f"Into a folder: GB in all; default {QUOTA_GB:g}.")
    ] = None,
    masks: Annotated[bool, typer.Option("--masks/--no-masks", help="Masks and results, or the camera alone.")] = True,
    live: Live = None,
    max_frames: MaxFrames = None,
    quiet: Quiet = False,
    precision: Precision = None,
    threads: Threads = None,
    backend: Backend = None,
) -> int:
    """Record a drive: the frames, their masks and results, as MCAP that Foxglove opens and `edge` replays."""
    if codec not in ("h264", "jpeg"):
        raise ConfigError(f"--codec {codec}: there are h264 and jpeg")
    if drive.suffix.lower() in (".mp4", ".mkv", ".mov", ".avi", ".webm"):
        raise ConfigError(
            f"{drive}: a drive is a file that ends with .mcap, or a folder."
            f" For a video: edge run {source} --overlay {drive}"
        )
    if drive.suffix == ".mcap" and (split_s, quota_gb) != (None, None):
        raise ConfigError(f"{drive}: is one file, which --split-s and --quota-gb have no say in. Name a folder")
    from edge.sinks.collisions import check_outputs

    # A folder's quota deletes what it holds, such as a drive that is read.
    held_in = [Path(source).parent] if source.endswith(".mcap") and drive.is_dir() else []
    check_outputs([drive], [source, *held_in])
    end_on_sigterm()
    import cv2

    from edge.engine import open_engine
    from edge.pipeline import buffered, run
    from edge.segmenter import Segmenter
    from edge.sources.open import open_source
    from edge.sources.source import display_wh_of
    from edge.timing import Stages

    cv2.setNumThreads(1)  # every stage has a thread of its own
    stages = Stages()
    with ExitStack() as stack:
        frames = open_source(source)
        stack.push(frames)
        is_live = frames.live if live is None else live
        opened = None
        if masks:
            wishes = {
                "precision": precision,
                "threads": threads,
                "backend": backend,
                "source_wh": display_wh_of(frames),
            }
            opened = stack.enter_context(open_engine(engine, side_by_side=not is_live, **wishes))
        asked = {"codec": codec, "live": is_live, "split_s": split_s, "quota_gb": quota_gb}
        options = _options(frames, opened, codec, {name: value for name, value in asked.items() if value is not None})
        sink = _sink(drive, options, split_s or SPLIT_S, quota_gb or QUOTA_GB, stages)
        with Progress(None if quiet else frames.frame_count, max_frames, frames.name) as advance:
            flow = buffered(frames, live)
            if opened is None:
                summary = _camera_alone(flow, sink, max_frames)
            else:
                summary = run(flow, Segmenter(opened), [sink], stages, max_frames=max_frames, on_result=advance)
    if not quiet:
        from edge.report import summary_text

        print_report("\n\n".join([*([summary_text(summary)] if masks else []), str(sink)]))
    return _exit_code(summary, sink, drive)


def _exit_code(summary: Summary, sink: DriveSink | Recorder, drive: Path) -> int:
    """Raises EdgeError: what ended the run, or that not all was recorded."""
    from edge.sinks.recorder import Recorder

    if summary.failure:
        raise summary.failure
    if isinstance(sink, Recorder) and sink.health.frames_lost:
        lost = sink.health.frames_lost
        raise OutputError(f"{drive}: {lost} frames could not be recorded; the warnings say why. See: df -h {drive}")
    return INTERRUPTED if summary.interrupted else 0


def _options(frames: Source, engine: Engine | None, codec: Any, asked: dict[str, object]) -> DriveOptions:
    import yaml

    import edge
    from edge.sinks.drive import DriveOptions

    return DriveOptions(
        software=f"edge {edge.__version__}",
        source=frames.name,
        rate_hz=frames.rate_hz,
        card=engine.card if engine else None,
        precision=engine.precision if engine else "",
        config=yaml.safe_dump({"record": {"source": frames.name, **asked}}, sort_keys=False),
        codec=codec,
    )


def _sink(drive: Path, options: DriveOptions, split_s: float, quota_gb: float, stages: Stages) -> DriveSink | Recorder:
    from edge.sinks.drive import DriveSegments, DriveSink
    from edge.sinks.recorder import Recorder, RecorderOptions

    if drive.suffix == ".mcap":
        return DriveSink(drive, options, stages)
    return Recorder(
        RecorderOptions(str(drive), quota_gb=quota_gb, segment_s=split_s),
        options.rate_hz,
        stages,
        DriveSegments(options),
    )


def _camera_alone(flow: Ahead | Latest, sink: DriveSink | Recorder, max_frames: int | None) -> Summary:
    """Frames into the sink, which no engine sees."""
    from edge.pipeline import Summary
    from edge.sinks.background import Background
    from edge.sinks.drive import without_result

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
