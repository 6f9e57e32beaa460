"""The commands that make engines: train, export, calibrate, build."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge.cli.shared import Precision, end_on_sigterm, make_progress_bar, need, progress_report
from edge.cli.stdio import print_report
from edge.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.classes import ClassTable
    from edge.compile.build import Steps
    from edge.compile.observe import Scales
    from edge.engine import Bundle
    from edge.train.recipe import BuildPlan

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
    recipe: Annotated[Path, typer.Argument(help="A recipe, such as engines/road.yaml.")],
    run_folder: Annotated[
        Path | None, typer.Option("--run", help="Its folder; default: engines/built/NAME.run")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Train a net. Ctrl-C saves and stops; the same command goes on where it stood."""
    need("torch", "edge train")
    from edge.config import load_yaml
    from edge.train.loop import Trainer
    from edge.train.recipe import Recipe

    plan = load_yaml(recipe, Recipe)
    folder = run_folder or Path("engines/built") / f"{plan.name}.run"
    end_on_sigterm()
    trainer = Trainer(plan, folder, device)
    for note in trainer.journal.notes:
        print_report(note)
    bar, task = make_progress_bar(plan.name, plan.training.steps)
    try:
        streets = bar.add_task("rendering streets", total=None, visible=False, note="")
        for report in trainer.run(lambda done, total: bar.update(streets, completed=done, total=total, visible=True)):
            bar.update(task, completed=report.step, note=f"loss {report.loss:.3f}")
            if not bar.console.is_terminal and report.step % LOG_EVERY == 0:  # where no bar is drawn
                bar.console.print(f"step {report.step} of {report.steps}: loss {report.loss:.3f}")
            if report.confusion is not None:
                scores = zip(trainer.table.names, report.confusion.iou(), strict=True)
                line = "  ".join(f"{name} {iou:.2f}" for name, iou in scores)
                bar.console.print(f"step {report.step}: val mIoU {report.confusion.miou():.4f}  {line}")
    except KeyboardInterrupt:
        bar.console.print(f"stopped at step {trainer.step}, saved in {trainer.checkpoint}")
        raise
    finally:
        bar.stop()
    print_report(
        f"{trainer.checkpoint}: done. Next: edge export {recipe} --run {folder} --to engines/built/{plan.name}"
    )


def export(
    recipe: Annotated[Path, typer.Argument(help="The recipe that the net was trained by.")],
    run_folder: Annotated[Path, typer.Option("--run", help="The training run's folder, or a checkpoint in it.")],
    to: Annotated[Path, typer.Option(help="The bundle's folder; made anew.")],
) -> None:
    """Turn a trained net into a bundle that `edge run --engine` takes; prove that both agree, and measure it."""
    need("torch", "edge export")
    from tempfile import TemporaryDirectory

    from edge.compile.export import make_bundle
    from edge.compile.measure import measure_bundle
    from edge.config import load_yaml
    from edge.report import card_text
    from edge.train.data import plain_folder
    from edge.train.recipe import Recipe

    plan = load_yaml(recipe, Recipe)
    bundle = make_bundle(plan, run_folder / "last.pt" if run_folder.is_dir() else run_folder, to)
    with TemporaryDirectory(prefix="edge-export-") as scratch:
        print_report(card_text(measure_bundle(bundle, plain_folder(plan.val, plan.table, Path(scratch)))))


@calibrate.command(epilog="Example: edge calibrate select city drives/*.mp4 --count 64 --sheet sheet.png")
def select(
    name: Annotated[str, typer.Argument(help="The set's name: a-z, 0-9, - and _.")],
    drives: Annotated[list[str], typer.Argument(help="Videos or folders of pictures; $EDGE_DATA/... is kept as such.")],
    count: Annotated[int, typer.Option(min=1, max=4096, help="How many frames to choose.")] = 64,
    every: Annotated[int, typer.Option(min=1, help="Look at every so many frames only.")] = 1,
    to: Annotated[Path, typer.Option(help="The folder for NAME.yaml.")] = Path("calibration"),
    sheet: Annotated[Path | None, typer.Option(help="Draw the chosen frames here too (.png), to look at.")] = None,
) -> None:
    """Choose the frames that INT8's ranges are taken from: the most different ones, in content and light."""
    from edge.compile.build_report import png
    from edge.compile.calibration import NAME, choose, contact_sheet, find_candidates, make_set
    from edge.sinks.collisions import check_outputs
    from edge.sinks.files import write_bytes, write_text

    if not re.match(NAME, name):
        raise ConfigError(f"a set's name is of a-z, 0-9, - and _, a letter first; found {name!r}")
    path = to / f"{name}.yaml"
    check_outputs([path, sheet], drives)
    end_on_sigterm()
    with _Steps() as steps:
        candidates = find_candidates(drives, every, steps("looking at frames", None))
        chosen, coverage = choose(candidates, count)
    made = make_set(name, candidates, chosen, coverage)
    write_text(path, made.to_yaml())
    if sheet:
        write_bytes(sheet, png(contact_sheet(chosen)))
    lines = [f"{path}: {made.why}", *(f"  {len(drive.frames):>4} from {drive.drive}" for drive in made.drives)]
    print_report("\n".join(lines), sheet)


@calibrate.command("run", epilog="Example: edge calibrate run engines/road.yaml")
def calibrate_run(
    recipe: RecipeFile = None,
    run_folder: RunFolder = None,
    onnx: OnnxFile = None,
    torch_net: TorchNet = None,
    weights: Weights = None,
    card: CardYaml = None,
) -> None:
    """Observe the calibration frames with the net, and write INT8's ranges beside the set."""
    from tempfile import TemporaryDirectory

    from edge.report import table

    origin = _origin(recipe, run_folder, onnx, torch_net, weights, card)
    wish = _wanted(origin)
    end_on_sigterm()
    with TemporaryDirectory(prefix="edge-calibrate-") as scratch, _Steps() as steps:
        steps("the net in fp32", None)
        scales = _observe(wish, origin.make(Path(scratch, "fp32")), steps)
    from edge.compile.observe import range_rows

    print_report(table(("tensor", "low", "high", "seen low", "seen high"), range_rows(scales)))
    print_report(f"{wish.calibration.scales_path}: {len(scales.tensors)} ranges by {scales.method}. Next: edge build")


def _observe(wish: BuildPlan, bundle: Bundle, steps: Steps) -> Scales:
    """The ranges of the bundle's net, written beside the set."""
    from edge.compile.calibration import load_set
    from edge.compile.observe import observe
    from edge.sinks.files import write_text

    ranges = wish.calibration
    chosen = load_set(ranges.set_path)
    advance = steps("observing calibration frames", chosen.frame_count * (1 if ranges.method == "max" else 2))
    model = bundle.read(bundle.graph("f32", "openvino"))
    scales = observe(model, bundle.card, chosen, ranges.method, ranges.percentile, advance)
    write_text(ranges.scales_path, scales.to_json())
    return scales


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
) -> None:
    """Make an engine of a recipe's net or of your own, with INT8 graphs for OpenVINO and TensorRT if the file has a
    `build:` section; they are proven against fp32, and refused if they lose more than their limits.
    """
    from tempfile import TemporaryDirectory

    from edge.sinks.collisions import check_replaced

    origin = _origin(recipe, run_folder, onnx, torch_net, weights, card)
    wish = origin.wish
    if limit is not None or wish is not None:
        wish = _wanted(origin, limit)
    end_on_sigterm()
    folder = to or Path("engines/built") / origin.name
    check_replaced(folder, [recipe, run_folder, onnx, weights, card])
    with TemporaryDirectory(prefix="edge-build-") as scratch, _Steps() as steps:
        steps("the net in fp32", None)
        bundle = origin.make(Path(scratch, "fp32"))
        if wish is None or bundle.card.precision == "int8":
            _keep(bundle, folder)
            return
        text = _build_int8(origin, wish, bundle, folder, steps)
    print_report(text)


def _keep(bundle: Bundle, folder: Path) -> None:
    """The bundle as it is, with its speed."""
    from edge.card import Measured
    from edge.compile.measure import speeds, with_figures
    from edge.engine import write_bundle

    kept = write_bundle(folder, {graph.file: bundle.read(graph) for graph in bundle.card.graphs}, bundle.card)
    with_figures(kept, Measured(speed=tuple(speeds(kept))))
    print_report(f"{folder}: written, {bundle.card.precision}. Try it: edge run VIDEO --engine {folder}")


def _build_int8(origin: _Origin, wish: BuildPlan, bundle: Bundle, folder: Path, steps: Steps) -> str:
    """Build and write the engine; what is to be said of it.

    Raises:
        GateRefused: it loses more than its limits.
    """
    from edge.compile.build import build as build_bundle
    from edge.compile.build import refusal
    from edge.compile.build_report import report_text, write_report
    from edge.compile.calibration import load_set
    from edge.compile.observe import check_fresh, read_scales

    chosen = load_set(wish.calibration.set_path)
    scales = origin.trained(bundle)
    if scales is None:
        known = wish.calibration.scales_path.is_file()
        scales = read_scales(wish.calibration.scales_path) if known else _observe(wish, bundle, steps)
        check_fresh(scales, chosen, wish.calibration, bundle.card)
    reports = folder.with_name(f"{folder.name}.report")
    notebook = reports / "sensitivity.json"
    report = build_bundle(bundle, wish, chosen, scales, folder, notebook, steps, origin.at_size)
    write_report(report, reports)
    if not report.holds:
        print_report(report_text(report))
        raise refusal(report, reports)
    return (
        f"{report_text(report)}\n\n{folder}: written. The report and its pictures: {reports}."
        f" Try it: edge run VIDEO --engine {folder}"
    )


@dataclass(frozen=True)
class _Origin:
    """Where a net comes from: how to make its fp32 bundle in a folder, and what its file says about INT8."""

    file: Path
    name: str
    table: ClassTable
    wish: BuildPlan | None
    make: Callable[[Path], Bundle]
    at_size: Callable[[tuple[int, int]], bytes] | None = None  # the fp32 graph at another input size
    trained: Callable[[Bundle], Scales | None] = lambda bundle: None  # ranges that were learnt with the weights


def _origin(
    recipe: Path | None,
    run_folder: Path | None,
    onnx: Path | None,
    torch_net: str | None,
    weights: Path | None,
    card: Path | None,
) -> _Origin:
    """The one net that the options name.

    Raises:
        ConfigError: they name none, several, or half of one; or its file is not in order.
    """
    need("onnx", "edge build")
    if [recipe, onnx, torch_net].count(None) != 2:
        raise ConfigError("one net is wanted: a recipe; or --onnx FILE --card FILE; or --torch MODULE:FACTORY ...")
    if recipe is not None:
        return _own(recipe, run_folder)
    if card is None:
        raise ConfigError("--card is missing: a file that says what the net takes and gives (edge build --help)")
    from edge.compile.card_file import load_card_file

    spec = load_card_file(card)
    return _Origin(card, spec.name, spec.table, spec.build, _adopting(onnx, torch_net, weights, card))


def _adopting(onnx: Path | None, torch_net: str | None, weights: Path | None, card: Path) -> Callable[[Path], Bundle]:
    """How a net that somebody else trained becomes a bundle in a folder."""
    from edge.engine import write_bundle

    if onnx is not None:
        from edge.compile.adopt import adopt

        adopting = partial(adopt, onnx, card)
    elif torch_net is not None and weights is not None:
        need("torch", "edge build --torch")
        from edge.compile.torch_module import adopt_torch

        adopting = partial(adopt_torch, torch_net, weights, card)
    else:
        raise ConfigError("--weights is missing: the file that torch.save(net.state_dict(), FILE) wrote")

    def make(folder: Path) -> Bundle:
        adopted = adopting()
        return write_bundle(folder, adopted.files, adopted.card)

    return make


def _own(recipe: Path, run_folder: Path | None) -> _Origin:
    """A net that `edge train` trained."""
    need("torch", "edge build of a recipe")
    from tempfile import TemporaryDirectory

    from edge.compile.export import holds_halves, make_bundle
    from edge.compile.observe import trained_scales
    from edge.config import load_yaml
    from edge.train.qat import qat_scales
    from edge.train.recipe import Recipe

    plan = load_yaml(recipe, Recipe)
    if run_folder is None and plan.checkpoint is None:
        raise ConfigError(f"{recipe}: names no `checkpoint`; name the training run's folder: --run FOLDER")
    checkpoint = run_folder or Path(str(plan.checkpoint))
    checkpoint = checkpoint / "last.pt" if checkpoint.is_dir() else checkpoint
    halve: bool | None = None  # decided by the card's own size, for all sizes alike

    def make(folder: Path) -> Bundle:
        nonlocal halve
        bundle = make_bundle(plan, checkpoint, folder)
        halve = holds_halves(bundle.read(bundle.graph("f32", "openvino")))
        return bundle

    def at_size(input_wh: tuple[int, int]) -> bytes:
        with TemporaryDirectory(prefix="edge-build-") as scratch:
            bundle = make_bundle(plan.at(input_wh), checkpoint, Path(scratch, "fp32"), halve=halve)
            return bundle.read(bundle.card.graphs[0])

    def trained(bundle: Bundle) -> Scales | None:
        learnt = qat_scales(checkpoint)
        model = bundle.read(bundle.graph("f32", "openvino"))
        return trained_scales(model, bundle.card, learnt.inputs, learnt.skips) if learnt.inputs else None

    return _Origin(recipe, plan.name, plan.table, plan.build, make, at_size, trained)


def _wanted(origin: _Origin, limit: str | None = None) -> BuildPlan:
    """What the net's file says about INT8, with other limits if given; checked now, not after minutes of work."""
    from edge.compile.judge import check_limits, parse_limits

    if origin.wish is None:
        raise ConfigError(f"{origin.file}: has no `build:` section, which says how to calibrate and what to hold")
    gate = origin.wish.gate
    limits = check_limits(gate.limits, origin.table) if limit is None else parse_limits(limit, origin.table)
    return origin.wish.model_copy(update={"gate": gate.model_copy(update={"limits": limits})})


def plan(
    engine: Annotated[str, typer.Argument(help="An engine's name, or a bundle's folder.")] = "road",
    precision: Precision = None,
) -> None:
    """Build TensorRT's plan of an engine for this device, and keep it; `edge run` does so at its first start."""
    from edge.backends.plans import layers_path
    from edge.compile.plan import build_plan, summarize_layers
    from edge.engine import find_bundle

    end_on_sigterm()
    with progress_report() as on_progress:
        path = build_plan(find_bundle(engine), precision, progress=on_progress)
    print_report(f"{path}: built")
    table = layers_path(path)
    if table.is_file():
        layers = summarize_layers(table.read_text(encoding="utf-8"))
        print_report("layers: " + ", ".join(f"{count} {kind}" for kind, count in layers.by_precision.items()))
        if layers.slow:
            print_report(f"neither INT8 nor FP16: {', '.join(layers.slow)}")


class _Steps:
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
