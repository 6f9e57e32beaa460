"""What several commands share: options, progress, and the end by a signal."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge.cli.stdio import printable
from edge.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edge.prediction import Prediction
    from edge.sinks.sink import Sink
    from edge.sources.source import Source
    from edge.timing import Stages

INTERRUPTED = 130  # 128 + SIGINT, as shells have it

EngineName = Annotated[str, typer.Option("--engine", "-e", help="A bundled engine's name, or a bundle's folder.")]
Precision = Annotated[
    str | None, typer.Option(help="int8, f32, bf16 or fp16, where machine and engine have it; default: the card's.")
]
Backend = Annotated[str | None, typer.Option(help="openvino or tensorrt; default: TensorRT where it can run.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads of the engine; default: every core.")]
Live = Annotated[
    bool | None,
    typer.Option("--live/--every-frame", help="Newest frame only, or every one. A file defaults to every."),
]
MaxFrames = Annotated[int | None, typer.Option(min=1, help="Stop after so many frames.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no summary.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write the figures here too; - is standard output.")]


def end_on_sigterm() -> None:
    """SIGTERM ends a run as Ctrl-C does: outputs closed, summary printed."""
    import signal

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


def make_sinks(
    source: Source, stages: Stages, overlay: Path | None, masks: Path | None, results: Path | None
) -> list[Sink]:
    """A sink for each path given. `stages` takes their times.

    Raises:
        OutputError: one of them may not be written.
    """
    sinks: list[Sink] = []
    if overlay:
        from edge.sinks.video import OverlayVideo

        sinks.append(OverlayVideo(overlay, source.rate_hz, stages))
    if masks:
        from edge.sinks.masks import MaskFiles

        sinks.append(MaskFiles(masks, stages))
    if results:
        from edge.sinks.jsonl import JsonLines

        sinks.append(JsonLines(results, stages))
    return sinks


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


def make_progress_bar(title: str, total: int | None) -> tuple[Any, Any]:
    """A started bar on standard error, and its task."""
    from rich import progress
    from rich.console import Console

    bar = progress.Progress(
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[note]}", markup=False),
        progress.TimeRemainingColumn(),
        console=Console(stderr=True),
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


def need(module: str, command: str) -> None:
    """Refuse a command whose libraries are not installed.

    Raises:
        ConfigError: with what to type.
    """
    from importlib.util import find_spec

    if find_spec(module) is None:
        raise ConfigError(f"{command} needs the library {module}. Try: pip install 'edge-segmentation[train]'")
