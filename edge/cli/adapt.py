"""The command that adapts an engine to a camera."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge.cli.make import BuildSteps, train_watched
from edge.cli.names import complete_engine
from edge.cli.shared import JsonFile, end_on_sigterm, write_json
from edge.cli.stdio import print_report
from edge.errors import ConfigError, GateRefused

if TYPE_CHECKING:
    from edge.train.plans import Teacher


def adapt(
    engine: Annotated[
        str,
        typer.Argument(help="The engine to start from: a name, or a bundle's folder.", autocompletion=complete_engine),
    ],
    drives: Annotated[list[str], typer.Argument(help="Videos, recorded drives or folders of images, without labels.")],
    to: Annotated[str, typer.Option(help="The name of the adapted engine: engines/built/NAME.")],
    steps: Annotated[int, typer.Option(min=10, help="How many batches to learn from.")] = 300,
    teacher: Annotated[
        list[str] | None,
        typer.Option(
            help="A larger engine to learn from, too; or an OpenVINO file with what its channels mean:"
            " 'net.xml?0=not Road&1=Road'. May be given several times."
        ),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(
            help="The engine's recipe: its labelled frames hold it to what it knew, in place of rendered streets."
        ),
    ] = None,
    run_folder: Annotated[
        Path | None, typer.Option("--run", help="The training's folder; default: engines/built/NAME.run")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    json_file: JsonFile = None,
) -> None:
    """Adapt an engine to your camera by drives without labels, judge it, and build it if that helped. Ctrl-C saves and
    stops; the same command goes on where it stood.
    """
    from edge.config import need
    from edge.sinks.collisions import check_outputs

    read = [text.partition("?")[0] for text in teacher or ()]
    check_outputs([json_file], [*drives, *read, recipe, run_folder], [engine, *read])
    for library in ("torch", "onnx"):
        need(library, "edge adapt")
    from edge.compile.adapt import Adaptation, finish, prepare
    from edge.train.loop import Trainer

    wish = Adaptation(engine, tuple(drives), to, steps, tuple(map(_teacher, teacher or ())), recipe, run_folder)
    end_on_sigterm()
    with BuildSteps() as show:
        prepared = prepare(wish, show)
    print_report("\n".join([*prepared.notes, f"The recipe: {prepared.path}"]), json_file)
    trainer = Trainer(prepared.recipe, wish.folder, device)
    train_watched(trainer, to, prepared.recipe.training.steps)
    try:
        with BuildSteps() as show:
            adapted = finish(prepared, show)
    except GateRefused as refused:
        print_report(refused.report, json_file)
        if json_file and refused.figures is not None:
            write_json(json_file, refused.figures)
        raise
    print_report(str(adapted), json_file)
    if json_file:
        figures: dict[str, Any] = adapted.verdict.as_json()
        write_json(json_file, {**figures, "card": json.loads(adapted.built.bundle.card.to_json())})


def _teacher(text: str) -> Teacher:
    """Of "road", "engines/built/large" or "net.xml?0=not Road&1=Road"."""
    from edge.config import parse_tree
    from edge.train.plans import Teacher

    name, _, meanings = text.partition("?")
    pairs = [pair.partition("=") for pair in meanings.split("&")] if meanings else []
    if wrong := [key for key, equals, meaning in pairs if not equals or not meaning]:
        raise ConfigError(f"--teacher {text}: expected CHANNEL=MEANING behind ?, with & between, got {wrong[0]!r}")
    tree: dict[str, Any] = {"engine": name, "temperature": 1.0}
    if pairs:
        tree["map"] = {key: meaning for key, _, meaning in pairs}
    return parse_tree(tree, Teacher, f"--teacher {text}")
