"""The command line. Each command imports what it needs when it is called."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
import traceback
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge.cli.imports import import_advice
from edge.cli.leave import leave
from edge.cli.names import complete_engine
from edge.cli.shared import (
    INTERRUPTED,
    Alpha,
    Backend,
    CameraModelFile,
    Classes,
    Confidence,
    EngineName,
    GpsAddress,
    Instances,
    JsonFile,
    Legend,
    Live,
    Markings,
    Masks,
    MasksAs,
    MaxFrames,
    OtherSinks,
    Outputs,
    Overlay,
    Precision,
    Progress,
    PublishUrls,
    Quiet,
    Results,
    Steady,
    Style,
    Threads,
    camera_model_of,
    end_on_sigterm,
    look_of,
    output_option,
    outputs_asked,
    write_json,
)
from edge.cli.stdio import prepare_standard_streams, print_report, printable
from edge.errors import ConfigError, EdgeError, ResourceError
from edge.secrets import without_secrets
from edge.shortage import shortage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edge.appearance import Appearance
    from edge.card import Card
    from edge.engine import Engine
    from edge.pipeline import Summary
    from edge.sinks.window import Window
    from edge.sources.flow import FixAt
    from edge.sources.source import Source
    from edge.timing import Stages

_ADDRESS = re.compile(r"://|@")  # in what may hold a password
IO_FAILED = 74  # EX_IOERR of sysexits.h


def main() -> None:
    """The `edge` program: runs a command and turns errors into one line and an exit code."""
    prepare_standard_streams()
    others, ahead = set(threading.enumerate()), threading.Thread(target=_import_ahead, name="imports")
    if sys.argv[1:2] in (["run"], ["serve"]):
        # NumPy's BLAS is asked for 3x3 systems; its threads, left alone, spin for a tenth of a second of CPU.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        with contextlib.suppress(RuntimeError):  # no further thread: what is needed is loaded when it is
            ahead.start()
    try:
        code = exit_code_of(sys.argv[1:])
    except OSError as error:  # what no part foresaw, such as a terminal or pipe that is gone
        if lacking := shortage(error):
            _complain(lacking)
            os._exit(ResourceError.exit_code)
        # Without a name, as os.getcwd() raises it, it is the folder of this process that was deleted.
        place = "this folder" if isinstance(error, FileNotFoundError) else "standard output"
        _complain(f"{error.filename or place}: {error.strerror or error}")
        os._exit(IO_FAILED)  # an ordinary exit would flush, fail once more, and show a traceback
    except Exception as error:  # noqa: BLE001 a fault in edge: its traceback belongs into a report, and threads may still run
        code = ResourceError.exit_code if (lacking := shortage(error)) else 1
        if lacking:
            _complain(lacking)
        else:
            traceback.print_exc()
    finally:
        if ahead.ident is not None:
            ahead.join()  # modules cannot be imported into an interpreter that is shutting down
    leave(code, others)


def exit_code_of(typed: Sequence[str]) -> int:
    """Run a command; what it refuses is one line on standard error.

    Raises:
        OSError: what no part foresaw.
    """
    try:
        words = _help_as_option(list(typed))
        code = make_app(words[:1])(words, standalone_mode=False) or 0
        sys.stdout.flush()
    except EdgeError as error:
        _complain(str(error))
        code = error.exit_code
    except typer.TyperException as error:  # a usage error: typer's own words and exit code
        for word in filter(_ADDRESS.search, typed):
            error.message = without_secrets(error.message, word)
        error.show()
        _show_example(error)
        code = error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except ImportError as error:
        lacking = shortage(error)
        _complain(lacking or import_advice(error))
        code = ResourceError.exit_code if lacking else ConfigError.exit_code
    return code


def _help_as_option(words: list[str]) -> list[str]:
    """`edge help run` is `edge run --help`, as with git; `edge help` is `edge --help`."""
    return [*words[1:], "--help"] if words[:1] == ["help"] else words


def _show_example(error: typer.TyperException) -> None:
    """The command's example, where an argument is missing."""
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "MissingParameter" and context is not None and context.command.epilog:
        print(context.command.epilog, file=sys.stderr)


def _complain(text: str) -> None:
    with contextlib.suppress(OSError):  # the reader of standard error may be gone too
        print(f"edge: {printable(text)}", file=sys.stderr, flush=True)


def _import_ahead() -> None:
    """Load what a run needs while its options are parsed, for which Typer takes a tenth of a second."""
    # Whatever a broken library raises here, it raises again where it is needed, and is reported there.
    with contextlib.suppress(Exception):
        from edge.backends import choose_backend, load_backend

        load_backend(choose_backend()).import_library()
        import_module("edge.sources.recording")
        import_module("edge.pipeline")


def run(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="SOURCE", help="Video file, images, a folder of them, camera, or scene:street."),
    ],
    engine: EngineName = "road",
    overlay: Overlay = None,
    style: Style = "tint",
    alpha: Alpha = None,
    classes: Classes = None,
    legend: Legend = True,
    masks: Masks = None,
    masks_as: MasksAs = "ids",
    results: Results = None,
    publish: PublishUrls = None,
    sink: OtherSinks = None,
    json_file: JsonFile = None,
    show: Annotated[bool, output_option("--show", help="Show the masks in a window. q ends, space pauses.")] = False,
    confidence: Confidence = False,
    instances: Instances = False,
    steady: Steady = False,
    markings: Markings = False,
    camera_model: CameraModelFile = None,
    gps: GpsAddress = None,
    live: Live = None,
    max_frames: MaxFrames = None,
    quiet: Quiet = False,
    precision: Precision = None,
    threads: Threads = None,
    backend: Backend = None,
) -> int:
    """Segment a video, images, a camera or a rendered street."""
    look = look_of(style, alpha, classes, legend, bool(overlay or show or publish))
    outputs = Outputs.of(overlay, look, masks, masks_as, results, sink or (), json_file, publish or ())
    outputs.check([*sources, camera_model], [engine])
    model = camera_model_of(camera_model)
    end_on_sigterm()
    asked = outputs_asked(confidence, instances or model is not None, steady, markings)
    wishes = {"precision": precision, "threads": threads, "backend": backend, "outputs": asked}
    opened, frames = _open_both(sources, engine, live, **wishes)
    from edge.pipeline import buffered  # behind the opening, whose waits hide these imports
    from edge.pipeline import run as run_pipeline
    from edge.segmenter import Segmenter
    from edge.timing import Stages

    stages = Stages()
    with contextlib.closing(opened), _located(gps) as fix_at:
        sinks = outputs.make(frames, opened.card, stages)
        window = _window(frames, opened.card, stages, look) if show else None
        with Progress(None if quiet else frames.frame_count, max_frames, frames.name) as advance:
            summary = run_pipeline(
                buffered(frames, live, fix_at),
                Segmenter(opened, asked, model),
                [*sinks, window] if window else sinks,
                stages,
                max_frames=max_frames,
                on_result=advance,
                is_over=lambda: window is not None and window.is_closed,
            )
    return _reported(summary, outputs, quiet, show, window is not None and window.is_closed)


@contextlib.contextmanager
def _located(address: str | None) -> Iterator[FixAt | None]:
    """Where the car is, by the gpsd at that address; its libraries are loaded only for one."""
    if address is None:
        yield None
        return
    from edge.gps import Gps, gps_options

    with Gps(gps_options(address)) as gps:
        yield gps.fix_at


def _reported(summary: Summary, outputs: Outputs, quiet: bool, shown: bool, closed: bool) -> int:
    """The exit code, after the summary; closing the window is no interruption.

    Raises:
        EdgeError: what the run ended with.
    """
    _report_summary(summary, outputs, quiet)
    if summary.failure:
        raise summary.failure
    if not (quiet or shown or outputs.sinks or outputs.json_file):
        print_report("\nNothing was written. To see the masks: --overlay out.mp4, --show; to keep them: --masks DIR")
    return INTERRUPTED if summary.interrupted and not closed else 0


def _report_summary(summary: Summary, outputs: Outputs, quiet: bool) -> None:
    if quiet and not outputs.json_file:
        return
    from edge.report import summary_json, summary_text

    if not quiet:
        print_report(summary_text(summary), *outputs.paths)
    if outputs.json_file:
        write_json(outputs.json_file, summary_json(summary))


def _window(source: Source, card: Card, stages: Stages, look: Appearance) -> Window:
    """A window that ends the run when it is closed, also while a camera gives nothing."""
    from edge.sinks.window import Window
    from edge.sources.source import Stoppable

    on_close = source.stop if isinstance(source, Stoppable) else lambda: None
    look.table(card.table)  # refuses a class that it does not have
    return Window(stages, on_close, card.fingerprint, look)


def _open_both(sources: list[str], engine: str, live: bool | None, **wishes: Any) -> tuple[Engine, Source]:
    """Engine and source, opened side by side: each spends its time loading libraries and reading files.

    `wishes` are those of `open_engine`.
    """
    from concurrent.futures import Future, ThreadPoolExecutor

    from edge.sources.open import is_camera, open_sources
    from edge.sources.source import display_wh_of

    every_frame = not (is_camera(sources[0]) if live is None else live)

    size_wh: Future[tuple[int, int]] = Future()

    def open_engine() -> Engine:
        from edge import backends

        return backends.open_engine(engine, side_by_side=every_frame, source_wh=size_wh.result, **wishes)

    with ThreadPoolExecutor(1, "open engine") as pool:
        future = pool.submit(open_engine)
        try:
            import cv2

            # Each stage has a thread of its own; OpenCV's helpers would only wait for cores that stages are using.
            cv2.setNumThreads(1)
            frames = open_sources(sources)
        except BaseException as error:  # Ctrl-C and failing imports too: the engine's thread waits for this size
            size_wh.set_exception(error)
            raise
        size_wh.set_result(display_wh_of(frames))
        try:
            return future.result(), frames
        except BaseException:  # Ctrl-C too: whatever ends the opening of one closes the other
            frames.close()
            raise


def doctor(json_file: JsonFile = None) -> int:
    """Look at all that edge needs on this machine, and say what to type about what is not right."""
    from edge.doctor import doctor as examine
    from edge.errors import EngineError

    found = examine()
    print_report(str(found), json_file)
    if json_file:
        write_json(json_file, found.as_json())
    return 0 if found.default_engine_runs else EngineError.exit_code


def publish(
    config: Annotated[Path, typer.Option("--config", "-c", help="The config; systemd/publish.yaml shows every key.")],
) -> int:
    """Publish what an `edge serve` hands over its socket, until SIGTERM. SIGHUP reads the config again."""
    import faulthandler

    from edge.service.logs import start_logging
    from edge.service.publish import publish as publish_config

    faulthandler.enable()
    start_logging()
    return publish_config(config)


def inspect(
    engine: Annotated[
        str, typer.Argument(help="An engine's name, or a bundle's folder.", autocompletion=complete_engine)
    ] = "road",
    everything: Annotated[
        bool, typer.Option("--all", help="Its graphs, what INT8 costs each, and the IoU of every class, too.")
    ] = False,
    json_file: JsonFile = None,
) -> None:
    """Show an engine's card: what it sees, what it was trained on, how good and fast it was measured to be."""
    import json

    from edge.engine import find_bundle
    from edge.report import card_brief, card_text
    from edge.sinks.collisions import check_outputs

    check_outputs([json_file], [], [engine])
    bundle = find_bundle(engine)
    for graph in bundle.card.graphs:
        bundle.read(graph)  # refuses a graph that is not the card's
    print_report(card_text(bundle) if everything else card_brief(bundle), json_file)
    if json_file:
        write_json(json_file, json.loads(bundle.card.to_json()))


def _version(wanted: bool) -> None:
    if wanted:
        import edge

        print(f"edge {edge.__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and end.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Road and pedestrian masks from camera or video, at camera rate."""


# By panel of the help: the module of each command or group of commands, its name, and an example.
_COMMANDS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "Run": (
        ("edge.cli", "run", "edge run drive.mp4 --overlay out.mp4"),
        ("edge.cli.record", "record", "edge record 0 drive.mcap"),
        ("edge.cli.replay", "replay", "edge replay drive.mcap --diff road:f32"),
    ),
    "Serve": (
        ("edge.cli.serve", "serve", "edge serve 0 --open"),
        ("edge.cli.swap", "swap", "edge swap road:f32"),
        ("edge.cli.init", "init", "edge init --source 0"),
        ("edge.cli", "publish", "edge publish --config systemd/publish.yaml"),
    ),
    "Look and measure": (
        ("edge.cli", "doctor", "edge doctor"),
        ("edge.cli", "inspect", "edge inspect road"),
        ("edge.cli.bench", "bench", "edge bench --precision int8"),
        ("edge.cli.evaluate", "evaluate", "edge evaluate frames --labels labels --html report.html"),
        ("edge.cli.camera", "camera", ""),
    ),
    "Make engines": (
        ("edge.cli.make", "train", "edge train --net unet --data frames-and-labels --steps 2000 --size 320x240"),
        ("edge.cli.make", "build", "edge build --onnx city.onnx --card city.yaml"),
        ("edge.cli.adapt", "adapt", "edge adapt road drives/*.mp4 --to my-road"),
        ("edge.cli.make", "plan", "edge plan road --precision int8"),
        ("edge.cli.sign", "keygen", "edge keygen release.key"),
        ("edge.cli.sign", "sign", "edge sign engines/built/city --key release.key --valid-days 365"),
        ("edge.cli.sign", "verify", "edge verify engines/built/city --key release.key.pub"),
        ("edge.cli.make", "calibrate", ""),
        ("edge.cli.data", "data", ""),
    ),
}


def make_app(typed: Sequence[str] = ()) -> typer.Typer:
    """The program. Where `typed` begins with a command, it has that one alone: to import the others and to read their
    signatures takes 35 ms.
    """
    app = typer.Typer(
        help="Road and pedestrian masks from camera or video, at camera rate.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    rows = [(panel, *row) for panel, rows in _COMMANDS.items() for row in rows]
    for panel, module, name, example in [row for row in rows if [row[2]] == list(typed[:1])] or rows:
        command = getattr(import_module(module), name)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name, rich_help_panel=panel)
        else:
            app.command(rich_help_panel=panel, epilog=f"Example: {example}")(command)
    return app
