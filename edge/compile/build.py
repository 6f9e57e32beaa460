"""An fp32 bundle into one that holds INT8 graphs too, and the proof that they are as right as was asked.

ranges of the activations  (calibration/NAME.scales.json, checked to be fresh)
-> cost of each layer in INT8  (sensitivity)
-> INT8 graphs in two forms, each first run in a process of its own
-> judged against fp32, frame by frame, per class
-> where a limit is broken, the costliest layer goes back to floating point, and again
-> the bundle with its card, and a report: tables, the front of speed and accuracy, the worst frames
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from onnx import ModelProto

from edge.backends import onnxruntime, openvino, tensorrt
from edge.backends.cpu import int8_saturates
from edge.backends.openvino import get_core
from edge.bench import bare_engine
from edge.card import Card, Fingerprint, Graph
from edge.classes import ClassTable
from edge.compile.attempt import INT8_FILES, Attempt, Form, Point, Report, sha256_of, write_built
from edge.compile.calibration import CalibrationSet, read_frames
from edge.compile.graphs import for_tensorrt
from edge.compile.judge import Judged, check_limits, judge, points_lost
from edge.compile.measure import onnxruntime_version, openvino_version
from edge.compile.observe import Scales, layer_name, quantisable, ranges_at_size
from edge.compile.quantize import Form as Target
from edge.compile.quantize import to_bytes, write_int8
from edge.compile.sensitivity import measure_sensitivity
from edge.compile.trial import run_in_subprocess, trial
from edge.config import drive_name
from edge.domain import fingerprint_of
from edge.engine import MODEL_FILE, Bundle, Engine, write_bundle
from edge.errors import ConfigError, EngineError, GateRefused
from edge.frame import Image, Letterbox
from edge.prediction import Prediction
from edge.score import Score
from edge.segmenter import Canvas, Segmenter
from edge.train.data import plain_folder
from edge.train.recipe import BuildPlan, Folder, GatePlan

HALF = " (half)"  # behind a file's name: its strongly typed FP16 form, which TensorRT >= 10 gets
TYPED_SINCE = (10, 0)
TRIAL_FRAMES = 8
RUNTIMES_AGREE = 0.97  # of pixels; rounding ties fall either way, and a wrong kernel is far below
SATURATED_AGREE = (
    0.9  # where 8-bit products saturate: 0.952 of the engine `open` with AVX2 alone; the gate judges the rest
)
FRONT = (1, 2, 4, 8, 16, 32)  # layers in float on the front of speed and accuracy
SPEED_FRAMES, ROUNDS = 100, 5


# Told of each step of the work when it begins, and of how many parts; gives back what to call at each part.
Steps = Callable[[str, "int | None"], Callable[[], None]]


def _in_silence(title: str, total: int | None) -> Callable[[], None]:
    return lambda: None


@dataclass
class _Work:
    """What every step of one build needs."""

    bundle: Bundle
    plan: BuildPlan
    frames: str  # of the gate, and their masks in the net's own ids
    labels: Path | None
    limits: dict[str, float]
    scales: Scales
    model: bytes
    images: list[Image]
    scratch: Path
    steps: Steps

    @property
    def card(self) -> Card:
        return self.bundle.card


def build(
    bundle: Bundle,
    plan: BuildPlan,
    chosen: CalibrationSet,
    scales: Scales,
    folder: Path,
    sensitivity_cache: Path,
    steps: Steps = _in_silence,
    at_size: Callable[[tuple[int, int]], bytes] | None = None,
) -> Report:
    """Write into `folder` the bundle's fp32 graph with INT8 graphs beside it, if they hold the plan's limits.

    `scales` must be fresh. Unfinished measurements are kept in the file `sensitivity_cache`. `Report.holds` says
    whether the bundle was written; `refusal` has the words if not. `at_size` gives the fp32 graph at another
    input size, if the plan names any.

    Raises:
        EngineError: a graph cannot be written or run.
        DataError, SourceError: the frames of the gate or of the calibration are not in order.
        ConfigError: a limit cannot be judged.
    """
    limits = check_limits(plan.gate.limits, bundle.card.table)
    with TemporaryDirectory(prefix="edge-build-") as scratch:
        model = bundle.read(bundle.graph("f32", "openvino"))
        images = _images_of(chosen, bundle.card, TRIAL_FRAMES)
        frames, labels = _gate_data(plan.gate, bundle.card.table, Path(scratch))
        work = _Work(bundle, plan, frames, labels, limits, scales, model, images, Path(scratch), steps)
        graph = onnx.load_from_string(model)
        key = sha256_of(f"{sha256_of(model)} {scales.sha256}".encode())
        layers = len({layer_name(node) for node in quantisable(graph)})
        advance = steps("what each layer costs in INT8", layers)
        sensitivity = measure_sensitivity(graph, scales.tensors, images, sensitivity_cache, key, advance)
        attempts = find_mix(work, graph, list(sensitivity))
        attempts[-1] = _with_floats(work, attempts[-1])
        for size_wh in plan.sizes_wh:
            if at_size is None:
                raise ConfigError("sizes: this net comes as a graph, and has that graph's one size")
            _add_size(work, attempts[-1], _resized(work, chosen, at_size(size_wh), size_wh))
        report = Report(
            card=bundle.card,
            limits=limits,
            data=plan.gate.frames,
            sensitivity=sensitivity,
            ranges={layer: f"{r.low:.3g} to {r.high:.3g}" for r in scales.tensors.values() for layer in r.feeds},
            attempts=attempts,
            front=_front(work, graph, sensitivity),
        )
        if report.holds:
            card = dataclasses.replace(bundle.card, fingerprint=_fingerprint(work, chosen))
            write_built(card, plan, limits, scales, attempts[-1], folder)
        return report


def _images_of(chosen: CalibrationSet, card: Card, count: int) -> list[Image]:
    """Frames of the set, spread over it, at network size."""
    wanted = set(np.linspace(0, chosen.frame_count - 1, min(count, chosen.frame_count)).round().astype(int).tolist())
    images = []
    for place, (_, frame) in enumerate(read_frames(chosen)):
        if place in wanted:
            canvas = Canvas(Letterbox.fit(frame.size_wh, card.input_wh, card.resize, frame.pixel_aspect))
            canvas.draw(frame)
            images.append(canvas.image)
    return images


def _fingerprint(work: _Work, chosen: CalibrationSet) -> Fingerprint:
    """What the masks of the calibration frames are like."""
    advance = work.steps("what the masks are like", chosen.frame_count)

    def results() -> Iterator[Prediction]:
        with _open_openvino(work, work.model, "f32") as engine:
            segmenter = Segmenter(engine)
            for _, frame in read_frames(chosen):
                yield segmenter.segment(frame)
                advance()

    return fingerprint_of(results(), work.card.table)


# -------------------------------------------------------------------------------------------------------- the INT8 mix


def find_mix(work: _Work, graph: ModelProto, costliest_first: Sequence[str]) -> list[Attempt]:
    """Attempts, each with one more layer in floating point, until one holds all limits or half the layers are back; the
    last one counts.
    """
    kept: list[str] = []
    attempts: list[Attempt] = []
    while True:
        attempts.append(_attempt(work, graph, tuple(kept)))
        if not attempts[-1].broken(work.limits) or len(kept) >= len(costliest_first) // 2:
            return attempts
        kept.append(costliest_first[len(kept)])


def _attempt(work: _Work, graph: ModelProto, kept: tuple[str, ...]) -> Attempt:
    graphs = {MODEL_FILE: work.model}
    for form in work.plan.targets:
        written = to_bytes(write_int8(graph, work.scales.tensors, form, kept))
        graphs[INT8_FILES[form]] = written
        _try(written, form, work.images)
    kept_words = f" with {len(kept)} layers in float" if kept else ""
    with ExitStack() as engines:
        candidates = {
            _int8_form(form): engines.enter_context(_open_int8(work, graphs, form)) for form in work.plan.targets
        }
        own, judged, lost = _judge(work, candidates, f"INT8{kept_words} against fp32")
    return Attempt(kept, graphs, own, judged, lost)


def _int8_form(form: Target) -> Form:
    by = openvino_version() if form == "openvino" else onnxruntime_version()
    return Form(INT8_FILES[form], INT8_FILES[form], "int8", by)


def _resized(work: _Work, chosen: CalibrationSet, model: bytes, size_wh: tuple[int, int]) -> _Work:
    """The same work at another input size."""
    card = dataclasses.replace(work.card, input_wh=size_wh)
    tensors = ranges_at_size(work.scales.tensors, onnx.load_from_string(model))
    return dataclasses.replace(
        work,
        bundle=Bundle(work.bundle.folder, card),
        scales=dataclasses.replace(work.scales, tensors=tensors),
        model=model,
        images=_images_of(chosen, card, TRIAL_FRAMES),
    )


def _add_size(work: _Work, attempt: Attempt, resized: _Work) -> None:
    """Write, try and judge the attempt's graphs at another input size."""
    width, height = resized.card.input_wh
    again = _attempt(resized, onnx.load_from_string(resized.model), attempt.kept_float)
    attempt.others[width, height] = again.graphs
    attempt.lost.update({f"{name} {width}x{height}": lost for name, lost in again.lost.items()})


def _try(graph: bytes, form: Target, images: Sequence[Image]) -> None:
    """Run a new graph in a process of its own, and by ONNX Runtime, which takes each rounding as it is written.

    OpenVINO crashes over some quantised graphs, and is silently wrong on others.
    """
    if form != "openvino":
        return  # only ONNX Runtime and TensorRT ever run it
    found = trial(graph, images, precision="int8")
    wanted = run_in_subprocess(graph, np.stack(images), runtime="onnxruntime")[:, 0]
    agreement = float(np.mean(found == wanted))
    expected = SATURATED_AGREE if int8_saturates() else RUNTIMES_AGREE
    if agreement < expected:
        raise EngineError(
            f"OpenVINO computes the INT8 graph wrongly: it agrees with ONNX Runtime on {agreement:.2%} of pixels,"
            f" expected {expected:.0%}. Leave int8 out of `precisions`, or another version of OpenVINO may do"
        )


def _open_int8(work: _Work, graphs: Mapping[str, bytes], form: Target) -> Engine:
    if form == "tensorrt":
        return _open_onnxruntime(graphs[INT8_FILES[form]], work.card, "int8")
    return _open_openvino(work, graphs[INT8_FILES[form]], "int8")


def _open_openvino(work: _Work, graph: bytes, precision: str) -> Engine:
    """An engine of that graph alone."""
    file = INT8_FILES["openvino"] if precision == "int8" else MODEL_FILE
    return openvino.open(_scratch_bundle(work, {file: graph}), precision=precision)


def _open_onnxruntime(graph: bytes, card: Card, precision: str) -> Engine:
    """The judge of what TensorRT will be given, on the CPU everywhere, so that its word is the same everywhere."""
    return onnxruntime.OnnxRuntimeEngine(graph, card, precision, providers=[onnxruntime.CPU])


def _scratch_bundle(work: _Work, graphs: Mapping[str, bytes]) -> Bundle:
    """A bundle in a temporary folder."""
    listed = tuple(
        Graph(file, "fp32" if file == MODEL_FILE else "int8", "any", sha256_of(graph)) for file, graph in graphs.items()
    )
    card = dataclasses.replace(work.card, graphs=listed, precision=listed[0].precision)
    name = sha256_of("".join(graph.sha256 for graph in listed).encode())[:16]
    return write_bundle(work.scratch / name, graphs, card)


def _gate_data(gate: GatePlan, table: ClassTable, scratch: Path) -> tuple[str, Path | None]:
    """What `edge.sources.open_source` takes for the frames, and where their masks are, if there are any."""
    if gate.labels is None:
        return drive_name(gate.frames), None
    folder = Folder(frames=gate.frames, labels=gate.labels, layout=gate.layout, map=gate.map)
    if not folder.is_plain:
        folder = plain_folder(folder, table, scratch / "gate")
    return drive_name(folder.frames), Path(drive_name(folder.labels))


def _judge(
    work: _Work, candidates: Mapping[Form, Engine], title: str
) -> tuple[Score, dict[Form, Judged], dict[str, dict[str, float]]]:
    """Fp32, each candidate, and the points that each lost."""
    advance = work.steps(f"judging {title}", None)
    by_label = {form.label: engine for form, engine in candidates.items()}
    with _open_openvino(work, work.model, "f32") as reference:
        own, found = judge(reference, by_label, work.frames, work.labels, advance)
    table = work.card.table
    lost = {label: points_lost(own, judged, table, work.limits) for label, judged in found.items()}
    return own, {form: found[form.label] for form in candidates}, lost


def _with_floats(work: _Work, attempt: Attempt) -> Attempt:
    """The attempt with the other forms judged too, which do not decide which layers are INT8: half floats, bf16, and on
    a device what TensorRT itself makes of the graphs.
    """
    with ExitStack() as engines:
        candidates = {form: engines.enter_context(engine) for form, engine in _other_forms(work, attempt)}
        _, judged, lost = _judge(work, candidates, "FP16 and bf16 against fp32")
    return dataclasses.replace(attempt, judged={**attempt.judged, **judged}, lost={**attempt.lost, **lost})


def _other_forms(work: _Work, attempt: Attempt) -> Iterator[tuple[Form, Engine]]:
    if "openvino" in work.plan.targets and has_bf16():
        form = Form(f"{MODEL_FILE} (bf16)", MODEL_FILE, "bf16", openvino_version())
        yield form, _open_openvino(work, work.model, "bf16")
    if "tensorrt" not in work.plan.targets:
        return
    graphs = {INT8_FILES["tensorrt"]: "int8"}
    if "fp16" in work.plan.precisions:
        graphs[MODEL_FILE] = "fp16"
    for file, precision in graphs.items():
        half = for_tensorrt(attempt.graphs[file], precision, TYPED_SINCE)
        form = Form(file + HALF, file, precision, onnxruntime_version())
        yield form, _open_onnxruntime(half, work.card, precision)
    if tensorrt.unavailable_reason() is None:
        bundle = _scratch_bundle(work, {file: attempt.graphs[file] for file in (MODEL_FILE, INT8_FILES["tensorrt"])})
        for file, precision in graphs.items():
            form = Form(
                f"{file} ({precision} by TensorRT)",
                file,
                precision,
                f"TensorRT {tensorrt.import_library().__version__}",
            )
            yield form, tensorrt.open(bundle, precision=precision)


def has_bf16() -> bool:
    """Whether OpenVINO computes in bf16 on this processor."""
    return "BF16" in get_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


# ---------------------------------------------------------------------------------------------------------- the front


def _front(work: _Work, graph: ModelProto, sensitivity: Mapping[str, float]) -> list[Point]:
    """Engines from all INT8 to all fp32, with speed and accuracy on this machine's CPU."""
    if "openvino" not in work.plan.targets:
        return []
    layers = list(sensitivity)
    counts = [0, *(count for count in FRONT if count < len(layers))]
    written = {
        f"INT8 but {count}" if count else "INT8": to_bytes(
            write_int8(graph, work.scales.tensors, "openvino", layers[:count])
        )
        for count in counts
    }
    with ExitStack() as engines:
        opened = {name: engines.enter_context(_open_openvino(work, data, "int8")) for name, data in written.items()}
        if has_bf16():
            opened["bf16"] = engines.enter_context(_open_openvino(work, work.model, "bf16"))
        opened["fp32"] = engines.enter_context(_open_openvino(work, work.model, "f32"))
        forms = {Form(name, "", "", ""): engine for name, engine in opened.items()}
        _, judged, _ = _judge(work, forms, "the front of speed and accuracy")
        times = _p50_ms(opened)
        return [Point(form.label, times[form.label], found) for form, found in judged.items()]


def _p50_ms(engines: Mapping[str, Engine]) -> dict[str, float]:
    """Milliseconds a frame, the middle of some rounds; all in turn, so that what slows the machine down meets all."""
    rounds = [{n: bare_engine(e, SPEED_FRAMES // ROUNDS)["p50_ms"] for n, e in engines.items()} for _ in range(ROUNDS)]
    return {name: median(times[name] for times in rounds) for name in engines}


def refusal(report: Report, images: Path) -> GateRefused:
    """The words for an engine that lost too much."""
    attempt = report.attempts[-1]
    broken = "; ".join(
        f"{name} lost {attempt.lost[name][limit]:.2f} of {limit}, allowed {report.limits[limit]:g}"
        for name, limits in attempt.broken(report.limits).items()
        for limit in limits
    )
    return GateRefused(
        f"{report.card.name}: refused, not written. Points lost to fp32 on {report.data}: {broken}."
        f" {len(attempt.kept_float)} layers were already back in float. The worst frames: {images}"
    )
