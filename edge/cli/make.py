"""The commands that make engines: train, export, calibrate, build."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge.cli.shared import Precision, end_on_sigterm, make_progress_bar, need_torch, progress_report
from edge.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.train.recipe import BuildPlan, Recipe

RecipeFile = Annotated[Path, typer.Argument(help="A recipe, such as engines/road.yaml.")]
RunFolder = Annotated[
    Path | None, typer.Option("--run", help="The training run's folder, or a checkpoint; default: the recipe's.")
]
calibrate = typer.Typer(help="Choose calibration frames, and take INT8's ranges from them.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Register these commands."""
    app.command()(train)
    app.command()(export)
    app.add_typer(calibrate, name="calibrate")
    app.command()(build)
    app.command()(plan)


def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe, such as engines/road.yaml.")],
    run_folder: Annotated[
        Path | None, typer.Option("--run", help="Its folder; default: engines/built/NAME.run")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Train a net. Ctrl-C saves and stops; the same command goes on where it stood."""
    need_torch("edge train")
    from edge.config import load_yaml
    from edge.train.loop import Trainer
    from edge.train.recipe import Recipe

    plan = load_yaml(recipe, Recipe)
    folder = run_folder or Path("engines/built") / f"{plan.name}.run"
    end_on_sigterm()
    trainer = Trainer(plan, folder, device)
    bar, task = make_progress_bar(plan.name, plan.optimisation.steps)
    try:
        streets = bar.add_task("rendering streets", total=None, visible=False, note="")
        for report in trainer.run(lambda done, total: bar.update(streets, completed=done, total=total, visible=True)):
            bar.update(task, completed=report.step, note=f"loss {report.loss:.3f}")
            if report.confusion is not None:
                scores = zip(trainer.table.names, report.confusion.iou(), strict=True)
                line = "  ".join(f"{name} {iou:.2f}" for name, iou in scores)
                bar.console.print(f"step {report.step}: val mIoU {report.confusion.miou():.4f}  {line}")
    except KeyboardInterrupt:
        bar.console.print(f"stopped at step {trainer.step}, saved in {trainer.checkpoint}")
        raise
    finally:
        bar.stop()
    print(f"{trainer.checkpoint}: done. Next: edge export {recipe} --run {folder} --to engines/built/{plan.name}")


def export(
    recipe: Annotated[Path, typer.Argument(help="The recipe that the net was trained by.")],
    run_folder: Annotated[Path, typer.Option("--run", help="The training run's folder, or a checkpoint in it.")],
    to: Annotated[Path, typer.Option(help="The bundle's folder; made anew.")],
) -> None:
    """Turn a trained net into a bundle that `edge run --engine` takes; prove that both agree, and measure it."""
    need_torch("edge export")
    from edge.compile.export import make_bundle
    from edge.compile.measure import measure_bundle
    from edge.config import load_yaml
    from edge.report import card_text
    from edge.train.recipe import Recipe

    plan = load_yaml(recipe, Recipe)
    bundle = make_bundle(plan, run_folder / "last.pt" if run_folder.is_dir() else run_folder, to)
    print(card_text(measure_bundle(bundle, plan.val)))


@calibrate.command()
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
    from edge.compile.calibration import choose, contact_sheet, find_candidates, make_set
    from edge.sinks.files import write_bytes, write_text

    end_on_sigterm()
    with _Steps() as steps:
        candidates = find_candidates(drives, every, steps("looking at frames", None))
        chosen, coverage = choose(candidates, count)
    made = make_set(name, candidates, chosen, coverage)
    path = to / f"{name}.yaml"
    write_text(path, made.to_yaml())
    if sheet:
        write_bytes(sheet, png(contact_sheet(chosen)))
    print(f"{path}: {made.why}")
    for drive in made.drives:
        print(f"  {len(drive.frames):>4} from {drive.drive}")


@calibrate.command("run")
def calibrate_run(recipe: RecipeFile, run_folder: RunFolder = None) -> None:
    """Observe the recipe's calibration frames with its net, and write INT8's ranges beside the set."""
    need_torch("edge calibrate run")
    from tempfile import TemporaryDirectory

    from edge.compile.calibration import load_set
    from edge.compile.export import make_bundle
    from edge.compile.observe import observe, range_rows
    from edge.report import table
    from edge.sinks.files import write_text

    plan, wish = _load(recipe)
    end_on_sigterm()
    chosen = load_set(wish.calibration.set_path)
    with TemporaryDirectory(prefix="edge-calibrate-") as scratch, _Steps() as steps:
        steps("exporting the net", None)
        bundle = make_bundle(plan, _checkpoint(plan, run_folder), Path(scratch, "fp32"))
        model = bundle.read(bundle.card.graphs[0])
        passes = 1 if wish.calibration.method == "max" else 2
        advance = steps("observing", passes * chosen.frame_count)
        ranges = wish.calibration
        scales = observe(model, bundle.card, chosen, ranges.method, ranges.percentile, advance)
    write_text(ranges.scales_path, scales.to_json())
    print(table(("tensor", "low", "high", "seen low", "seen high"), range_rows(scales)))
    print(f"{ranges.scales_path}: {len(scales.tensors)} ranges by {ranges.method}. Next: edge build {recipe}")


def build(
    recipe: RecipeFile,
    run_folder: RunFolder = None,
    to: Annotated[Path | None, typer.Option(help="The bundle's folder; default: engines/built/NAME.")] = None,
    limit: Annotated[
        str | None, typer.Option(help="Points that may be lost, in place of the recipe's: miou:0.5,road:0.3")
    ] = None,
) -> None:
    """Make an engine with INT8 graphs for OpenVINO and TensorRT, and prove it against fp32; refused if it loses more
    than its limits.
    """
    need_torch("edge build")
    from tempfile import TemporaryDirectory

    from edge.compile.build import build as build_bundle
    from edge.compile.build import refusal
    from edge.compile.build_report import report_text, write_report
    from edge.compile.calibration import load_set
    from edge.compile.export import make_bundle
    from edge.compile.observe import check_fresh, read_scales

    plan, wish = _load(recipe, limit)
    end_on_sigterm()
    folder = to or Path("engines/built") / plan.name
    reports = Path("engines/built") / f"{plan.name}.report"
    chosen, scales = load_set(wish.calibration.set_path), read_scales(wish.calibration.scales_path)
    with TemporaryDirectory(prefix="edge-build-") as scratch, _Steps() as steps:
        steps("exporting the net", None)
        bundle = make_bundle(plan, _checkpoint(plan, run_folder), Path(scratch, "fp32"))
        check_fresh(scales, chosen, wish.calibration, bundle.card)
        report = build_bundle(bundle, wish, chosen, scales, folder, reports / "sensitivity.json", steps)
    write_report(report, reports)
    print(report_text(report))
    if not report.holds:
        raise refusal(report, reports)
    print(f"\n{folder}: written. The report and its pictures: {reports}. Try it: edge run VIDEO --engine {folder}")


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
    print(f"{path}: built")
    table = layers_path(path)
    if table.is_file():
        layers = summarize_layers(table.read_text(encoding="utf-8"))
        print("layers: " + ", ".join(f"{count} {kind}" for kind, count in layers.by_precision.items()))
        if layers.slow:
            print(f"neither INT8 nor FP16: {', '.join(layers.slow)}")


def _load(recipe: Path, limit: str | None = None) -> tuple[Recipe, BuildPlan]:
    """The recipe and what it says about building, with other limits if given."""
    from edge.classes import CAMVID
    from edge.compile.judge import check_limits, parse_limits
    from edge.config import load_yaml
    from edge.train.recipe import Recipe

    plan = load_yaml(recipe, Recipe)
    if plan.build is None:
        raise ConfigError(
            f"{recipe}: has no `build:` section, which says how to calibrate and what to hold. See README"
        )
    wish = plan.build
    if limit is not None:
        gate = wish.gate.model_copy(update={"limits": parse_limits(limit, CAMVID)})
        wish = wish.model_copy(update={"gate": gate})
    check_limits(wish.gate.limits, CAMVID)  # now, not after minutes of work
    return plan, wish


def _checkpoint(plan: Recipe, run_folder: Path | None) -> Path:
    if run_folder is not None:
        return run_folder / "last.pt" if run_folder.is_dir() else run_folder
    if plan.checkpoint is None:
        raise ConfigError(f"recipe {plan.name}: names no `checkpoint`; name the training run's folder: --run FOLDER")
    return Path(plan.checkpoint)


class _Steps:
    """A line of progress for each step of long work, on a terminal; elsewhere a line of text as each begins."""

    def __enter__(self) -> Callable[[str, int | None], Callable[[], None]]:
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
