"""Engines built from Python, as `edge build` and `edge calibrate run` do it.

built = edge.build(onnx="city.onnx", card="city.yaml")
print(built)                      # the report
engine = edge.open_engine(built.bundle.folder)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from edge.card import Measured
from edge.compile.attempt import Report
from edge.compile.build import Steps, refusal
from edge.compile.build import build as build_bundle
from edge.compile.build_report import report_text, write_report
from edge.compile.calibration import load_set
from edge.compile.measure import measure_bundle, speeds, with_figures
from edge.compile.observe import Scales, check_fresh, observe, range_rows, read_scales
from edge.compile.origin import Origin, build_plan_of, find_origin
from edge.engine import Bundle, load_bundle, write_bundle
from edge.report import card_text, table
from edge.sinks.collisions import check_replaced
from edge.sinks.files import write_text
from edge.train.recipe import BuildPlan

Place = str | Path
BUILT = Path("engines/built")  # the default's parent


@dataclass(frozen=True)
class Built:
    """An engine that was built. `report` and `report_folder` are of the INT8 build; None where none was asked for."""

    bundle: Bundle
    report: Report | None = None
    report_folder: Path | None = None

    def __str__(self) -> str:
        """For people."""
        folder, precision = self.bundle.folder, self.bundle.card.precision
        if self.report is None:
            line = f"{folder}: written, {precision}. Try it: edge run VIDEO --engine {folder}"
            return f"{card_text(self.bundle)}\n\n{line}" if self.bundle.card.measured.accuracy else line
        written = f"{folder}: written. The report and its images: {self.report_folder}."
        return f"{report_text(self.report)}\n\n{written} Try it: edge run VIDEO --engine {folder}"


@dataclass(frozen=True)
class Calibrated:
    """INT8's ranges, and the file that they are in."""

    scales: Scales
    path: Path

    def __str__(self) -> str:
        """For people."""
        ranges = table(("tensor", "low", "high", "seen low", "seen high"), range_rows(self.scales))
        return f"{ranges}\n{self.path}: {len(self.scales.tensors)} ranges by {self.scales.method}. Next: edge build"


def silent(title: str, total: int | None) -> Callable[[], None]:
    """Steps that are not shown: called with the title and length of each; what it gives is called at each advance."""
    return lambda: None


def build(
    recipe: Place | None = None,
    *,
    run: Place | None = None,
    onnx: Place | None = None,
    torch: str | None = None,
    weights: Place | None = None,
    card: Place | None = None,
    to: Place | None = None,
    limit: str | None = None,
    steps: Steps = silent,
) -> Built:
    """Build the engine of a recipe's net, trained in the folder `run`; of an ONNX file; or of a torch "MODULE:FACTORY".

    `card` is the card file of the latter two. `to` is the bundle's folder, engines/built/NAME if None. `limit` stands
    in place of the file's: "miou:0.5,road:0.3".

    Raises:
        ConfigError: no net is named, or several; a file is not in order; a library is missing.
        EngineError: the engine does not give what the net gives; GateRefused: it lost more than its limits.
        OutputError: the folder holds what is read.
    """
    read = [None if place is None else Path(place) for place in (recipe, run, onnx, weights, card)]
    origin = find_origin(read[0], read[1], read[2], torch, read[3], read[4])
    wish = build_plan_of(origin, limit) if limit is not None or origin.wish is not None else None
    folder = Path(to) if to is not None else BUILT / origin.name
    check_replaced(folder, read)
    with TemporaryDirectory(prefix="edge-build-") as scratch:
        steps("the net in fp32", None)
        bundle = origin.make(Path(scratch, "fp32"))
        if wish is None or bundle.card.precision == "int8":
            return Built(_kept(origin, bundle, folder))
        return _build_int8(origin, wish, bundle, folder, steps)


def calibrate(
    recipe: Place | None = None,
    *,
    run: Place | None = None,
    onnx: Place | None = None,
    torch: str | None = None,
    weights: Place | None = None,
    card: Place | None = None,
    steps: Steps = silent,
) -> Calibrated:
    """Observe the calibration frames with a net, named as for `build`, and write INT8's ranges beside the set.

    Raises:
        ConfigError: as `build`; or the file has no `build:` section.
        CalibrationError: the frames are not those of the set.
    """
    read = [None if place is None else Path(place) for place in (recipe, run, onnx, weights, card)]
    origin = find_origin(read[0], read[1], read[2], torch, read[3], read[4])
    wish = build_plan_of(origin)
    with TemporaryDirectory(prefix="edge-calibrate-") as scratch:
        steps("the net in fp32", None)
        scales = _observe(wish, origin.make(Path(scratch, "fp32")), steps)
    return Calibrated(scales, wish.calibration.scales_path)


def _observe(wish: BuildPlan, bundle: Bundle, steps: Steps) -> Scales:
    """The ranges of the bundle's net, written beside the set."""
    ranges = wish.calibration
    chosen = load_set(ranges.set_path)
    advance = steps("observing calibration frames", chosen.frame_count * (1 if ranges.method == "max" else 2))
    model = bundle.read(bundle.graph("f32", "openvino"))
    scales = observe(model, bundle.card, chosen, ranges.method, ranges.percentile, advance)
    write_text(ranges.scales_path, scales.to_json())
    return scales


def _kept(origin: Origin, bundle: Bundle, folder: Path) -> Bundle:
    """The bundle as it is, with its speed, and its accuracy where there are labelled frames."""
    kept = write_bundle(folder, {graph.file: bundle.read(graph) for graph in bundle.card.graphs}, bundle.card)
    if origin.val is None:
        return with_figures(kept, Measured(speed=tuple(speeds(kept))))
    return measure_bundle(kept, origin.val, origin.table)


def _build_int8(origin: Origin, wish: BuildPlan, bundle: Bundle, folder: Path, steps: Steps) -> Built:
    chosen = load_set(wish.calibration.set_path)
    scales = origin.trained(bundle)
    if scales is None:
        known = wish.calibration.scales_path.is_file()
        scales = read_scales(wish.calibration.scales_path) if known else _observe(wish, bundle, steps)
        check_fresh(scales, chosen, wish.calibration, bundle.card)
    reports = folder.with_name(f"{folder.name}.report")
    cache = reports / "sensitivity.json"
    report = build_bundle(bundle, wish, chosen, scales, folder, cache, steps, origin.at_size)
    write_report(report, reports)
    if not report.holds:
        refused = refusal(report, reports)
        refused.report = report_text(report)
        raise refused
    return Built(load_bundle(folder), report, reports)
