"""The command that measures this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge.cli.names import complete_engine
from edge.cli.shared import Backend, JsonFile, Precision, Threads, end_on_sigterm, progress_report, write_json
from edge.cli.stdio import print_report
from edge.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.devices.table import DeviceTable, Settings

Engines = Annotated[
    list[str] | None,
    typer.Option(
        "--engine",
        "-e",
        help="A bundled engine's name, or a bundle's folder; default: road. Repeatable with --table.",
        autocompletion=complete_engine,
    ),
]
TableFile = Annotated[
    Path | None,
    typer.Option(
        "--table", help="Measure every engine, input size, precision and backend, and keep each in this JSON file."
    ),
]
Plot = Annotated[Path | None, typer.Option(help="With --table: draw mIoU over time here, as SVG.")]


def bench(
    engine: Engines = None,
    source: Annotated[str | None, typer.Option(help="Video to run; default: a rendered street, 720p H.264.")] = None,
    frames: Annotated[int, typer.Option(min=20, help="How many frames each part measures.")] = 200,
    json_file: JsonFile = None,
    precision: Precision = None,
    threads: Threads = None,
    backend: Backend = None,
    cameras: Annotated[
        int | None, typer.Option(min=1, max=64, help="How many cameras one engine carries here; tries up to so many.")
    ] = None,
    table: TableFile = None,
    labels: Annotated[Path | None, typer.Option(help="With --table: class-id PNG files of --labelled.")] = None,
    labelled: Annotated[
        str | None, typer.Option(help="With --table: frames to measure accuracy on; default: those of --source.")
    ] = None,
    sparse: Annotated[bool, typer.Option("--sparse", help="Only some of the labelled frames have a label.")] = False,
    plot: Plot = None,
) -> None:
    """Measure this machine: every precision and backend in turn; or one, named by --precision or --backend, closely; or
    how many cameras it carries; or a table of all engines, sizes, precisions and backends (docs/devices.md).
    """
    from edge.bench import bench_engine
    from edge.sinks.collisions import check_outputs

    check_outputs([json_file, table, plot], [source, labels, labelled], engine or ())
    engines = engine or ["road"]
    if table is not None:
        if cameras is not None or json_file is not None:
            raise ConfigError("--table is a JSON file itself, of cells without cameras: leave out --cameras and --json")
        settings = _settings(source, frames, threads, labels, labelled, sparse)
        _measure_device(engines, table, settings, plot, precision, backend, source is None)
        return
    if len(engines) > 1 or labels or labelled or sparse or plot:
        raise ConfigError("several engines, --labels, --labelled, --sparse and --plot are for --table FILE")
    named: dict[str, Any] = {"frames": frames, "precision": precision, "backend": backend, "threads": threads}
    with progress_report() as on_progress:
        if cameras is None:
            found = bench_engine(engines[0], source, **named, on_progress=on_progress)
        else:
            from edge.bench_cameras import bench_cameras

            found = bench_cameras(engines[0], cameras, source, **named, on_progress=on_progress)
    print_report(str(found), json_file)
    if json_file:
        write_json(json_file, found.figures)


def _settings(
    source: str | None, frames: int, threads: int | None, labels: Path | None, labelled: str | None, sparse: bool
) -> Settings:
    from edge.bench import DRIVE
    from edge.config import data_name
    from edge.devices.table import Settings

    if labels is not None and labelled is None:
        if source is None:
            raise ConfigError("--labels are of frames: name these, too: --labelled FRAMES")
        labelled = source
    return Settings(
        source=data_name(source or DRIVE.format(frames=frames)),
        frames=frames,
        threads=threads,
        labelled=None if labelled is None else data_name(labelled),
        labels=None if labels is None else data_name(str(labels)),
        sparse=sparse,
    )


def _measure_device(
    engines: Sequence[str],
    path: Path,
    settings: Settings,
    plot: Path | None,
    precision: str | None,
    backend: str | None,
    rendered: bool,
) -> None:
    from edge.devices.run import measure_device

    if plot is not None and settings.labelled is None:
        raise ConfigError("--plot draws mIoU over time: give labelled frames, --labelled FRAMES --labels FOLDER")
    end_on_sigterm()
    with progress_report() as on_progress:
        found = measure_device(
            engines, path, settings, precision=precision, backend=backend, rendered=rendered, on_progress=on_progress
        )
    print_report(f"{found}\n{path}: written", None)
    if plot is not None:
        _draw(found, plot)


def _draw(found: DeviceTable, plot: Path) -> None:
    from edge.devices.plot import front_svg
    from edge.sinks.files import write_bytes

    write_bytes(plot, front_svg(found))
