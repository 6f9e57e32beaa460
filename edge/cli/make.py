"""The commands that make engines: train, calibrate, build, plan."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge.cli.names import complete_engine
from edge.cli.shared import JsonFile, Precision, end_on_sigterm, make_progress_bar, progress_report, write_json
from edge.cli.stdio import print_report
from edge.errors import ConfigError, GateRefused

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.compile.build import Steps
    from edge.score import Score
    from edge.train.heads import HeadTrainer
    from edge.train.loop import Trainer
    from edge.train.recipe import Recipe
    from edge.train.written import Wish

LOG_EVERY = 20  # steps between lines where no progress bar is drawn

RecipeFile = Annotated[Path | None, typer.Argument(help="A recipe, such as engines/road.yaml.")]
OnnxFile = Annotated[Path | None, typer.Option(help="Your own net: an ONNX file. Needs --card.")]
TorchNet = Annotated[
    str | None, typer.Option("--torch", help="Your own net: MODULE:FACTORY. Needs --weights and --card.")
]
Weights = Annotated[Path | None, typer.Option(help="Its weights: what torch.save(net.state_dict(), FILE) wrote.")]
CardYaml = Annotated[Path | None, typer.Option(help="What your net takes and gives: docs/bring-your-own-net.md.")]
RunFolder = Annotated[
    Path | None, typer.Option("--run", help="The training run's folder, or a checkpoint; default: the recipe's.")
]
calibrate = typer.Typer(help="Choose calibration frames, and take INT8's ranges from them.", no_args_is_help=True)


def train(
    recipe: Annotated[
        Path | None, typer.Argument(help="A recipe's file, or one that comes with edge: pet, segnet, unet, fcn.")
    ] = None,
    net: Annotated[str | None, typer.Option(help="The net, in place of the recipe's: docs/nets.md.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="A folder of labelled frames; its layout and classes are guessed.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="How many batches to learn from.")] = None,
    size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT of the net's input.")] = None,
    classes: Annotated[
        str | None, typer.Option(help="With --data: the classes to tell apart, or the names of masks' ids: cat,dog")
    ] = None,
    run_folder: Annotated[
        Path | None, typer.Option("--run", help="Its folder; default: engines/built/NAME.run")
    ] = None,
    heads: Annotated[
        bool, typer.Option("--heads", help="Train the recipe's `heads:` on its checkpoint, which stays as it is.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    json_file: JsonFile = None,
) -> None:
    """Train a net. Ctrl-C saves and stops; the same command goes on where it stood. With any option but --run, --heads
    and --device, the recipe is written into the run's folder.
    """
    from edge.config import need
    from edge.sinks.collisions import check_outputs

    check_outputs([json_file], [recipe, data])
    need("torch", "edge train")
    if heads:
        _train_heads(recipe, run_folder, device, json_file)
        return
    from edge.train.loop import Trainer
    from edge.train.written import Wish, names_of

    wish = Wish(recipe, net, data, steps, size, names_of(classes), run_folder)
    recipe, loaded, folder = _recipe_of(wish, json_file)
    end_on_sigterm()
    trainer = Trainer(loaded, folder, device)
    for note in trainer.journal.notes:
        print_report(note, json_file)
    train_watched(trainer, loaded.name, loaded.training.steps)
    print_report(f"{trainer.checkpoint}: done. Next: edge build {recipe} --run {folder}", json_file)
    if json_file:
        write_json(json_file, json.loads((folder / "scores.json").read_text(encoding="utf-8")))


def train_watched(trainer: Trainer | HeadTrainer, title: str, steps: int) -> None:
    """Train to the end, with a bar or, where none is drawn, a line now and then."""
    bar, task = make_progress_bar(title, steps)
    try:
        part = bar.add_task("", total=None, visible=False, note="")  # of what takes a while beside the steps

        def show(what: str, done: int, total: int) -> None:
            bar.update(part, description=what, completed=done, total=total, visible=done < total)

        for report in trainer.run(show):
            note = f"loss {report.loss:.3f}"
            if report.teacher_share is not None:
                note += f", teachers {report.teacher_share:.0%} of the time"
            bar.update(task, completed=report.step, note=note)
            if not bar.console.is_terminal and report.step % LOG_EVERY == 0:  # where no bar is drawn
                bar.console.print(f"step {report.step} of {report.steps}: {note}")
            if report.score is not None:
                bar.console.print(_validation_text(report.step, report.score))
    except KeyboardInterrupt:
        bar.console.print(f"stopped at step {trainer.step}, saved in {trainer.checkpoint}")
        raise
    finally:
        bar.stop()


def _validation_text(step: int, score: Score) -> str:
    confusion, table = score.confusion, score.table
    per_class = "  ".join(f"{name} {iou:.2f}" for name, iou in zip(table.names, confusion.iou(), strict=True))
    return f"step {step}: val mIoU {confusion.miou():.4f}, mean Dice {confusion.mean_dice():.4f}  {per_class}"


def _train_heads(path: Path | None, run_folder: Path | None, device: str, json_file: Path | None) -> None:
    from edge.config import load_yaml
    from edge.train.heads import HeadTrainer
    from edge.train.recipe import Recipe
    from edge.train.written import BUILT

    if path is None:
        raise ConfigError("--heads: expected a recipe with `heads:`, such as engines/road.yaml")
    recipe = load_yaml(path, Recipe)
    end_on_sigterm()
    trainer = HeadTrainer(recipe, run_folder or BUILT / f"{recipe.name}.heads.run", device)
    train_watched(trainer, f"{recipe.name} heads", trainer.plan.optimisation.steps)
    scores: dict[str, float] = {}
    if trainer.plan.val is not None and trainer.plan.val.markings and "markings" in trainer.plan.names:
        scores = {f"markings F1 {name}": round(score.f1, 4) for name, score in trainer.marking_scores().items()}
    lines = [f"{name}: {f1:.4f}" for name, f1 in scores.items()]
    lines.append(f"{trainer.checkpoint}: done. Copy it to {trainer.plan.checkpoint}, then: edge build {path}")
    print_report("\n".join(lines), json_file)
    if json_file:
        write_json(json_file, scores)


def _recipe_of(wish: Wish, json_file: Path | None) -> tuple[Path, Recipe, Path]:
    """The recipe's file, which may be written for the purpose, what it holds, and the folder of the run."""
    from edge.config import load_yaml
    from edge.train.recipe import Recipe
    from edge.train.written import BUILT, make_recipe, write_recipe

    if wish.is_plain and wish.recipe is not None:
        loaded = load_yaml(wish.recipe, Recipe)
        return wish.recipe, loaded, wish.run or BUILT / f"{loaded.name}.run"
    written = make_recipe(wish)
    folder = wish.run or written.run
    path = folder / "recipe.yaml"
    write_recipe(written, wish, path)
    print_report("\n".join([*written.notes, f"The recipe: {path}"]), json_file)
    return path, load_yaml(path, Recipe), folder


@calibrate.command(epilog="Example: edge calibrate select city drives/*.mp4 --count 64 --sheet sheet.png")
def select(
    name: Annotated[str, typer.Argument(help="The set's name: a-z, 0-9, - and _.")],
    drives: Annotated[list[str], typer.Argument(help="Videos or folders of images; $EDGE_DATA/... is kept as such.")],
    count: Annotated[int, typer.Option(min=1, max=4096, help="How many frames to choose.")] = 64,
    every: Annotated[int, typer.Option(min=1, help="Look at every so many frames only.")] = 1,
    to: Annotated[Path, typer.Option(help="The folder for NAME.yaml.")] = Path("calibration"),
    sheet: Annotated[Path | None, typer.Option(help="Draw the chosen frames here too (.png), to look at.")] = None,
    json_file: JsonFile = None,
) -> None:
    """Choose the frames that INT8's ranges are taken from: the most different ones, in content and light."""
    from edge.compile.build_report import png
    from edge.compile.calibration import NAME, choose, contact_sheet, find_candidates, make_set
    from edge.sinks.collisions import check_outputs
    from edge.sinks.files import write_bytes, write_text

    if not re.match(NAME, name):
        raise ConfigError(f"a set's name is of a-z, 0-9, - and _, a letter first; found {name!r}")
    path = to / f"{name}.yaml"
    check_outputs([path, sheet, json_file], drives)
    end_on_sigterm()
    with BuildSteps() as steps:
        candidates = find_candidates(drives, every, steps("looking at frames", None))
        chosen, coverage = choose(candidates, count)
    made = make_set(name, candidates, chosen, coverage)
    write_text(path, made.to_yaml())
    if sheet:
        write_bytes(sheet, png(contact_sheet(chosen)))
    lines = [f"{path}: {made.why}", *(f"  {len(drive.frames):>4} from {drive.drive}" for drive in made.drives)]
    print_report("\n".join(lines), sheet, json_file)
    if json_file:
        write_json(json_file, {"file": str(path), "sha256": made.sha256, **made.model_dump(mode="json")})


@calibrate.command("run", epilog="Example: edge calibrate run engines/road.yaml")
def calibrate_run(
    recipe: RecipeFile = None,
    run_folder: RunFolder = None,
    onnx: OnnxFile = None,
    torch_net: TorchNet = None,
    weights: Weights = None,
    card: CardYaml = None,
    json_file: JsonFile = None,
) -> None:
    """Observe the calibration frames with the net, and write INT8's ranges beside the set."""
    from edge.config import need
    from edge.sinks.collisions import check_outputs

    need("onnx", "edge calibrate")
    from edge.compile.library import calibrate as calibrate_net

    check_outputs([json_file], [recipe, run_folder, onnx, weights, card])
    end_on_sigterm()
    with BuildSteps() as steps:
        found = calibrate_net(
            recipe, run=run_folder, onnx=onnx, torch=torch_net, weights=weights, card=card, steps=steps
        )
    print_report(str(found), json_file)
    if json_file:
        write_json(json_file, {"file": str(found.path), **json.loads(found.scales.to_json())})


def build(
    recipe: RecipeFile = None,
    run_folder: RunFolder = None,
    onnx: OnnxFile = None,
    torch_net: TorchNet = None,
    weights: Weights = None,
    card: CardYaml = None,
    to: Annotated[Path | None, typer.Option(help="The bundle's folder; default: engines/built/NAME.")] = None,
    limit: Annotated[
        str | None, typer.Option(help="Points that may be lost, in place of the file's: miou:0.5,road:0.3")
    ] = None,
    json_file: JsonFile = None,
) -> None:
    """Make an engine of a recipe's net or of your own, with INT8 graphs for OpenVINO and TensorRT if the file has a
    `build:` section; they are proven against fp32, and refused if they lose more than their limits.
    """
    from edge.config import need
    from edge.sinks.collisions import check_outputs

    need("onnx", "edge build")
    from edge.compile.library import build as build_engine

    check_outputs([json_file], [recipe, run_folder, onnx, weights, card])
    end_on_sigterm()
    named: dict[str, Any] = {"run": run_folder, "onnx": onnx, "torch": torch_net, "weights": weights, "card": card}
    try:
        with BuildSteps() as steps:
            built = build_engine(recipe, **named, to=to, limit=limit, steps=steps)
    except GateRefused as refused:
        print_report(refused.report)
        raise
    print_report(str(built), json_file)
    if json_file:
        write_json(json_file, json.loads(built.bundle.card.to_json()))


def plan(
    engine: Annotated[
        str, typer.Argument(help="An engine's name, or a bundle's folder.", autocompletion=complete_engine)
    ] = "road",
    precision: Precision = None,
    json_file: JsonFile = None,
) -> None:
    """Build TensorRT's plan of an engine for this device, and keep it; `edge run` does so at its first start."""
    from edge.backends.plans import layers_path
    from edge.compile.plan import build_plan, summarize_layers
    from edge.engine import find_bundle
    from edge.sinks.collisions import check_outputs

    check_outputs([json_file], [], [engine])
    end_on_sigterm()
    with progress_report() as on_progress:
        path = build_plan(find_bundle(engine), precision, progress=on_progress)
    print_report(f"{path}: built", json_file)
    figures: dict[str, object] = {"plan": str(path)}
    table = layers_path(path)
    if table.is_file():
        layers = summarize_layers(table.read_text(encoding="utf-8"))
        counts = ", ".join(f"{count} {kind}" for kind, count in layers.by_precision.items())
        print_report(f"layers: {counts}", json_file)
        if layers.slow:
            print_report(f"neither INT8 nor FP16: {', '.join(layers.slow)}", json_file)
        figures |= {"layers": layers.by_precision, "slow_layers": layers.slow}
    if json_file:
        write_json(json_file, figures)


class BuildSteps:
    """A line of progress for each step of long work, on a terminal; elsewhere a line of text as each begins."""

    def __enter__(self) -> Steps:
        self._bar: Any = None
        self._task: Any = None
        return self._begin

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _begin(self, title: str, total: int | None) -> Callable[[], None]:
        if not sys.stderr.isatty():
            print(title, file=sys.stderr, flush=True)
            return lambda: None
        if self._bar is None:
            self._bar, self._task = make_progress_bar(title, total)
        else:
            self._task = self._bar.add_task(title, total=total, note="")
        task = self._task
        return lambda: self._bar.advance(task)
