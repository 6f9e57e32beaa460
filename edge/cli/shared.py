"""What several commands share: options, progress, and the end by a signal."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge.cli.names import complete_backend, complete_engine, complete_precision, complete_style, precision_of
from edge.cli.stdio import printable
from edge.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from edge.appearance import Appearance
    from edge.card import Card
    from edge.geometry.model import CameraModel
    from edge.prediction import Prediction
    from edge.sinks.sink import Sink
    from edge.sources.source import Source
    from edge.timing import Stages

# Options under a heading of their own in --help.
_engine_option = partial(typer.Option, rich_help_panel="Engine")
output_option = partial(typer.Option, rich_help_panel="Outputs")
_look_option = partial(typer.Option, rich_help_panel="Look of the overlay")
_more_option = partial(typer.Option, rich_help_panel="More about each frame")
INTERRUPTED = 130  # 128 + SIGINT, as shells have it

EngineName = Annotated[
    str,
    _engine_option(
        "--engine", "-e", help="A bundled engine's name, or a bundle's folder.", autocompletion=complete_engine
    ),
]
Precision = Annotated[
    str | None,
    _engine_option(
        help="int8, f32, bf16 or fp16, where machine and engine have it; default: the card's.",
        callback=precision_of,
        autocompletion=complete_precision,
    ),
]
Backend = Annotated[
    str | None,
    _engine_option(
        help="tensorrt, openvino, onnxruntime; default: the first that runs here.", autocompletion=complete_backend
    ),
]
Threads = Annotated[int | None, _engine_option(min=1, help="Threads of the engine; default: every core.")]
Confidence = Annotated[
    bool, _more_option("--confidence", help="Also how sure the engine is of each pixel, where it can tell.")
]
Instances = Annotated[
    bool,
    _more_option(
        "--instances", help="Also people, cyclists and vehicles one by one, with ids that last (docs/instances.md)."
    ),
]
Steady = Annotated[
    bool, _more_option("--steady", help="Hold back changes that the engine is not sure of: borders stand still.")
]
CameraModelFile = Annotated[
    Path | None,
    _more_option(
        "--camera-model",
        help="Where the camera is and looks, as YAML: people, vehicles and the free road in metres (docs/metres.md).",
    ),
]
GpsAddress = Annotated[
    str | None,
    _more_option(
        "--gps", metavar="HOST:PORT", help="A gpsd: the car's position and speed go with each result of a camera."
    ),
]
Live = Annotated[
    bool | None,
    typer.Option("--live/--every-frame", help="Newest frame only, or every one. A file defaults to every."),
]
MaxFrames = Annotated[int | None, typer.Option(min=1, help="Stop after so many frames.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no summary.")]
Overlay = Annotated[
    Path | None,
    output_option(
        help="Write the frames with the masks painted in: .mp4, .mkv; of images, an image or a folder."
        " - is standard output."
    ),
]
Style = Annotated[
    str,
    _look_option(help="Of the overlay: tint, outline, mask or side-by-side.", autocompletion=complete_style),
]
Alpha = Annotated[
    float | None, _look_option(help="Strength of the overlay's tint, 0 to 1. [default: 0.45]", show_default=False)
]
Classes = Annotated[str | None, _look_option(help="Paint only these groups or classes, such as road,pedestrian.")]
Legend = Annotated[bool, _look_option("--legend/--no-legend", help="Name the painted groups in the overlay.")]
Masks = Annotated[Path | None, output_option(help="Write the masks as PNG files into this folder.")]
MasksAs = Annotated[str, output_option(help="ids, palette (ids that viewers show in colour) or colour.")]
Results = Annotated[Path | None, output_option(help="Write a JSON line per frame; - is standard output.")]
OtherSinks = Annotated[
    list[str] | None, output_option("--sink", metavar="NAME=TARGET", help="Any kind of output by its name; repeatable.")
]
PublishUrls = Annotated[
    list[str] | None,
    output_option(
        "--publish", metavar="URL", help="The overlay live to a media server: rtsp://, rtmp://, https://…/whip."
    ),
]
JsonFile = Annotated[Path | None, output_option("--json", help="Write the figures here too; - is standard output.")]


Markings = Annotated[
    bool, _more_option("--markings", help="Lane markings and curbs, too. The engine needs the output.")
]


def outputs_asked(
    confidence: bool, instances: bool = False, steady: bool = False, markings: bool = False
) -> tuple[str, ...]:
    """The outputs that engine and steps are asked for."""
    wishes = {"confidence": confidence, "instances": instances, "steady": steady, "markings": markings}
    return tuple(name for name, wished in wishes.items() if wished)


def camera_model_of(path: Path | None) -> CameraModel | None:
    """The model in the file; its libraries are loaded only for one.

    Raises:
        ConfigError: the file cannot be read or does not fit.
    """
    if path is None:
        return None
    from edge.geometry.model import load_camera_model

    return load_camera_model(path)


def look_of(style: str, alpha: float | None, classes: str | None, legend: bool, is_shown: bool) -> Appearance:
    """How the overlay looks.

    Raises:
        ConfigError: it cannot look like that, or nothing is painted.
    """
    from edge.appearance import Appearance, parse_classes

    look = Appearance(style, alpha, parse_classes(classes), legend)
    if look != Appearance() and not is_shown:
        raise ConfigError("--style, --alpha, --classes and --no-legend are about an overlay. Add --overlay FILE")
    return look


def end_on_sigterm() -> None:
    """SIGTERM ends a run as Ctrl-C does: outputs closed, summary printed."""
    import signal

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


@dataclass(frozen=True)
class Outputs:
    """What a command writes: options of sinks by kind, and the file for figures."""

    sinks: Sequence[tuple[str, Any]]
    json_file: Path | None = None

    @classmethod
    def of(
        cls,
        overlay: Path | None,
        look: Appearance,
        masks: Path | None,
        masks_as: str,
        results: Path | None,
        others: Sequence[str] = (),
        json_file: Path | None = None,
        publish: Sequence[str] = (),
    ) -> Outputs:
        """Raises:
        ConfigError: one of `others` is not NAME=TARGET.
        """
        from edge.sinks.table import BUILT_IN, MasksOptions, OverlayOptions, PublishOptions, ResultsOptions, options_of

        sinks: list[tuple[str, Any]] = []
        drawn: dict[str, Any] = vars(look)
        if overlay:
            sinks.append(("overlay", OverlayOptions(overlay, **drawn)))
        if masks:
            sinks.append(("masks", MasksOptions(masks, masks_as)))
        if results:
            sinks.append(("results", ResultsOptions(results)))
        sinks += [("publish", PublishOptions(url, **drawn)) for url in publish]
        for word in others:
            name, equals, target = word.partition("=")
            if not (name and equals and target):
                raise ConfigError(f"--sink {word}: expected NAME=TARGET, such as masks=out")
            sinks.append((name, options_of(BUILT_IN[name], target) if name in BUILT_IN else target))
        return cls(sinks, json_file)

    @property
    def paths(self) -> list[Path]:
        """All that is written: what a sink of another package makes of its target is not known, its target is taken."""
        found: list[Path] = [] if self.json_file is None else [self.json_file]
        for _, options in self.sinks:
            values = [options] if isinstance(options, str) else vars(options).values()
            found += [Path(value) for value in values if isinstance(value, Path) or value is options]
        return found

    def check(self, inputs: Iterable[str | Path | None], engines: Iterable[str | None] = ()) -> None:
        """Refuse outputs that would overwrite each other or what is read: see `check_outputs`."""
        from edge.sinks.collisions import check_outputs

        check_outputs(self.paths, inputs, engines)

    def make(self, source: Source, card: Card, stages: Stages) -> list[Sink]:
        """The sinks; `stages` takes their times.

        Raises:
            OutputError: one of them may not be written.
            ConfigError: one of them is unknown, or cannot be.
        """
        from edge.sinks.images import image_names
        from edge.sinks.table import SinkContext, make_sink

        paths = getattr(source, "paths", ())  # of a source of image files
        names = image_names(paths) if paths else {}
        context = SinkContext(source.name, source.rate_hz, card, stages, source.frame_count, names)
        return [make_sink(name, options, context) for name, options in self.sinks]


def write_json(path: Path, figures: object) -> None:
    """Write what --json is for."""
    import json

    from edge.sinks.files import write_text

    write_text(path, json.dumps(figures, indent=1) + "\n")


class Progress:
    """A progress bar on a terminal; elsewhere nothing. Made at the first frame, so that it does not delay it."""

    def __init__(self, frame_count: int | None, max_frames: int | None, title: str) -> None:
        counts = [count for count in (frame_count, max_frames) if count]
        self._total, self._title = (min(counts) if counts else None), title
        self._shown = sys.stderr.isatty() and frame_count is not None
        self._bar: Any = None

    def __enter__(self) -> Callable[[Prediction], None]:
        return self._advance if self._shown else lambda result: None

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _advance(self, result: Prediction) -> None:
        if self._bar is None:
            self._bar, self._task = make_progress_bar(self._title, self._total)
        self._bar.update(self._task, advance=1, note=f"age {result.age_ms:.0f} ms")


_FIGURES_WIDTH = 76  # columns: the bar's 40, counts, age and time, which a long path must not cut off


def make_progress_bar(title: str, total: int | None) -> tuple[Any, Any]:
    """A started bar on standard error, and its task."""
    from rich import progress
    from rich.console import Console
    from rich.table import Column

    console = Console(stderr=True)
    room = Column(max_width=max(12, console.width - _FIGURES_WIDTH), no_wrap=True, overflow="ellipsis")
    bar = progress.Progress(
        progress.TextColumn("{task.description}", markup=False, table_column=room),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[note]}", markup=False),
        progress.TimeRemainingColumn(),
        console=console,
        transient=True,
    )
    bar.start()
    return bar, bar.add_task(printable(title), total=total, note="")


@contextmanager
def progress_report() -> Iterator[Callable[[str, int, int], None]]:
    """One bar, on a terminal, that says what is being done and how much of all is done."""
    bar: Any = None
    task: Any = None

    def report(what: str, done: int, total: int) -> None:
        nonlocal bar, task
        if bar is None and sys.stderr.isatty():
            bar, task = make_progress_bar(what, total)
        if bar is not None:
            bar.update(task, description=printable(what), completed=done, total=total)

    try:
        yield report
    finally:
        if bar is not None:
            bar.stop()
