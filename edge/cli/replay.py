"""The command that plays a recording again."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

import typer

from edge.cli.names import complete_engine_and_precision, engine_and_precision
from edge.cli.shared import (
    INTERRUPTED,
    Alpha,
    Backend,
    Classes,
    Confidence,
    EngineName,
    JsonFile,
    Legend,
    Masks,
    MasksAs,
    OtherSinks,
    Outputs,
    Overlay,
    Precision,
    Progress,
    Results,
    Style,
    Threads,
    end_on_sigterm,
    look_of,
    outputs_asked,
    progress_report,
    write_json,
)
from edge.cli.stdio import print_report
from edge.errors import ConfigError
from edge.install import install_command

PAGE_PORT = 8009

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge.replay.session import Session


def replay(
    drive: Annotated[str, typer.Argument(help="Drive, video file, folder or pattern of images, or scene:street.")],
    engine: EngineName = "road",
    diff: Annotated[
        str | None,
        typer.Option(
            help="Compare with another engine, such as road:f32, or with the masks 'recorded'.",
            autocompletion=complete_engine_and_precision,
        ),
    ] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Every frame, as fast as it goes; prints a hash.")] = False,
    web: Annotated[bool, typer.Option("--web", help="Show it in a browser, on this machine alone.")] = False,
    foxglove: Annotated[
        bool, typer.Option("--foxglove", help="Serve a drive's own messages to Foxglove, on this machine alone.")
    ] = False,
    port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, help="Of the page or Foxglove; 0 takes any that is free. [default: 8009 or 8765]"
        ),
    ] = None,
    speed: Annotated[float, typer.Option(min=0.1, max=8, help="Times the recorded pace.")] = 1.0,
    start: Annotated[int, typer.Option(min=0, help="Frame to begin with.")] = 0,
    overlay: Overlay = None,
    style: Style = "tint",
    alpha: Alpha = None,
    classes: Classes = None,
    legend: Legend = True,
    masks: Masks = None,
    masks_as: MasksAs = "ids",
    results: Results = None,
    sink: OtherSinks = None,
    json_file: JsonFile = None,
    confidence: Confidence = False,
    precision: Precision = None,
    threads: Threads = None,
    backend: Backend = None,
) -> int:
    """Play a recording again on its own clock: pause, step, seek, compare two engines. On a CPU, to the same bit."""
    written = {"--overlay": overlay, "--masks": masks, "--results": results, "--sink": sink, "--json": json_file}
    if foxglove:
        shown = {"--engine": engine != "road", "--diff": diff, "--fast": fast, "--web": web, "--start": start}
        shown["--confidence"] = confidence
        return _replay_to_foxglove(drive, {**shown, **written, "--precision": precision}, speed, port)
    _check_options(fast, web, written)
    look = look_of(style, alpha, classes, legend, overlay is not None)
    outputs = Outputs.of(overlay, look, masks, masks_as, results, sink or (), json_file)
    outputs.check([drive], [engine, engine_and_precision(diff)[0]])
    end_on_sigterm()
    import cv2

    from edge.replay.session import open_session

    cv2.setNumThreads(1)  # every stage has a thread of its own
    wishes = {"precision": precision, "threads": threads, "backend": backend, "outputs": outputs_asked(confidence)}
    with ExitStack() as stack:
        session = open_session(stack, drive, engine, _known(diff), side_by_side=fast, **wishes)
        if fast:
            return _replay_fast(session, outputs)
        return _replay_live(stack, session, speed, start, (PAGE_PORT if port is None else port) if web else None)


def _replay_to_foxglove(drive: str, others: Mapping[str, object], speed: float, port: int | None) -> int:
    """Until the user ends it; no engine runs, so `others`, options by name, are refused."""
    if given := [name for name, value in others.items() if value]:
        raise ConfigError(f"--foxglove serves what is in the drive, as it is, so {given[0]} cannot be had with it")
    from edge.sinks.foxglove_server import PORT, Address, check_library

    check_library()
    from edge.replay.foxglove_replay import serve_drive

    end_on_sigterm()
    serve_drive(drive, Address("127.0.0.1", PORT if port is None else port), speed)
    return 0


def _known(diff: str | None) -> str | None:
    """With the precision as engines name it: road:fp32 is road:f32."""
    name, precision = engine_and_precision(diff)
    return f"{name}:{precision}" if precision else diff


def _check_options(fast: bool, web: bool, outputs: Mapping[str, object]) -> None:
    """Refuse what cannot be honoured, before anything is opened."""
    wanted = [name for name, path in outputs.items() if path is not None]
    if wanted and not fast:
        raise ConfigError(f"{wanted[0]} wants every frame, which a replay that can be paused does not pass. Add --fast")
    if fast and web:
        raise ConfigError("--fast shows nothing, so --web cannot be had with it. Leave one of them out")
    if web and any(find_spec(name) is None for name in ("starlette", "uvicorn", "websockets", "prometheus_client")):
        raise ConfigError(
            f"--web needs the libraries of the live page. Try: {install_command('edge-segmentation[serve]')}"
        )
    if not fast and not web and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ConfigError("a replay wants a terminal for its keys; without one, take --web, --foxglove or --fast")


def _replay_fast(session: Session, outputs: Outputs) -> int:
    from edge.replay.fast import replay_fast, replay_text
    from edge.timing import Stages

    stages = Stages()
    sinks = outputs.make(session.source, session.engine.card, stages)
    with Progress(session.source.frame_count, None, session.source.name) as advance, progress_report() as report:
        done = replay_fast(
            session,
            sinks,
            stages,
            on_result=advance,
            on_compared=lambda timeline: report("comparing", timeline.known, timeline.frame_count),
        )
    print_report(replay_text(done, session), *outputs.paths)
    if outputs.json_file:
        write_json(outputs.json_file, done.as_json())
    if done.summary.failure:
        raise done.summary.failure
    return INTERRUPTED if done.summary.interrupted else 0


def _replay_live(stack: ExitStack, session: Session, speed: float, start: int, port: int | None) -> int:
    """Until the user ends it. A damaged recording is reported again at the end."""
    from edge.errors import SourceDamaged
    from edge.replay.background import BackgroundComparison
    from edge.replay.player import Player

    player = Player(session.source, session.tracks, timeline=session.timeline, speed=speed)
    player.seek(start)
    stack.enter_context(player)
    comparison = None
    if session.timeline is not None:
        comparison = stack.enter_context(BackgroundComparison(session.source.name, session.tracks, session.timeline))
    if port is None:
        from edge.replay.terminal import play_in_terminal

        play_in_terminal(player, comparison)
    else:
        from edge.replay.web import serve_replay

        serve_replay(player, session, comparison, port)
    damage = getattr(session.source, "damage", "")
    if damage:
        raise SourceDamaged(f"{session.source.name}: is damaged: {damage}. Copy the file again from its origin.")
    return 0
