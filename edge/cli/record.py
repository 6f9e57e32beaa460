"""The command `edge record`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge.cli.shared import (
    INTERRUPTED,
    Backend,
    CameraModelFile,
    Confidence,
    EngineName,
    GpsAddress,
    Instances,
    JsonFile,
    Live,
    Markings,
    MaxFrames,
    Precision,
    Progress,
    Quiet,
    Steady,
    Threads,
    end_on_sigterm,
    outputs_asked,
    write_json,
)
from edge.cli.stdio import print_report

SPLIT_S, QUOTA_GB = 60.0, 10.0  # of edge.recording, which is imported late


def record(
    source: Annotated[str, typer.Argument(help="What `edge run` takes: a camera, a video, scene:street.")],
    drive: Annotated[Path, typer.Argument(help="A file that ends with .mcap; or a folder, for segments in a quota.")],
    engine: EngineName = "road",
    codec: Annotated[str, typer.Option(help="h264, or jpeg: each frame for itself, larger.")] = "h264",
    split_s: Annotated[
        float | None, typer.Option(min=0.1, help=f"Into a folder: seconds a file; default {SPLIT_S:g}.")
    ] = None,
    quota_gb: Annotated[
        float | None, typer.Option(min=0.001, help=f"Into a folder: GB in all; default {QUOTA_GB:g}.")
    ] = None,
    masks: Annotated[bool, typer.Option("--masks/--no-masks", help="Masks and results, or the camera alone.")] = True,
    confidence: Confidence = False,
    instances: Instances = False,
    steady: Steady = False,
    markings: Markings = False,
    camera_model: CameraModelFile = None,
    gps: GpsAddress = None,
    live: Live = None,
    max_frames: MaxFrames = None,
    json_file: JsonFile = None,
    quiet: Quiet = False,
    precision: Precision = None,
    threads: Threads = None,
    backend: Backend = None,
) -> int:
    """Record a drive: the frames, their masks and results, as MCAP that Foxglove opens and `edge` replays."""
    end_on_sigterm()
    from edge.gps import gps_options
    from edge.recording import record as record_drive
    from edge.sinks.collisions import check_outputs

    check_outputs([json_file, drive], [source, camera_model], [engine])
    done = record_drive(
        source,
        drive,
        engine if masks else None,
        codec=codec,
        split_s=split_s,
        quota_gb=quota_gb,
        live=live,
        max_frames=max_frames,
        precision=precision,
        threads=threads,
        backend=backend,
        outputs=outputs_asked(confidence, instances or camera_model is not None, steady, markings),
        camera_model=camera_model,
        gps=gps_options(gps) if gps else None,
        watch=lambda frames: Progress(None if quiet else frames.frame_count, max_frames, frames.name),
    )
    if not quiet:
        print_report(str(done), json_file)
    if json_file:
        write_json(json_file, done.as_json())
    if done.failure:
        raise done.failure
    return INTERRUPTED if done.summary.interrupted else 0
