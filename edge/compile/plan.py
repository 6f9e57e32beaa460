"""A bundle's graph into a TensorRT plan, on the device that will run it.

It takes minutes on a Jetson. So the plan is kept (edge.backends.plans) with a table of its layers beside it, and so are
the times that TensorRT measured on the way, which make the next build quicker.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
from collections import Counter
from collections.abc import Callable, Collection
from concurrent.futures import Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from edge.backends import cuda, plans
from edge.backends.checks import checked_precision
from edge.backends.cuda import Description
from edge.backends.tensorrt import (
    GRAPHS,
    LABEL,
    PRECISIONS,
    checked_tensors,
    import_library,
    logger,
    tensors,
    unavailable_reason,
    version,
)
from edge.card import Card
from edge.engine import Bundle
from edge.errors import EdgeError, EngineError, OutputError
from edge.outputs import Output, select

STRONGLY_TYPED_SINCE = 10  # before, precision is in flags of the builder
OPTIMIZATION_LEVEL = 4  # of 0 to 5; 3 is TensorRT's own. From 4 on it also compiles kernels for the very shapes

Progress = Callable[[str, int, int], None]  # phase, steps done, steps in all
Result = TypeVar("Result")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Layers:
    """A plan's layers by the precision that they read: {"int8": 50, "half": 9}. `slow` are the names of those that read
    float32: neither INT8 nor FP16. Times are not in a plan; trtexec --dumpProfile measures them.
    """

    by_precision: dict[str, int]
    slow: tuple[str, ...]


def build_plan(
    bundle: Bundle, precision: str | None = None, *, progress: Progress | None = None, outputs: Collection[str] = ()
) -> Path:
    """Build the plan of a bundle for this device, in the place of one that is there; gives where it is kept. `outputs`
    are those to compute besides the card's default ones.

    `progress` is called while TensorRT builds, from version 10 on. Ctrl-C ends the build at its next step.

    Raises:
        EngineError: TensorRT cannot run here, or cannot build it.
        BundleTampered: the graph is not the one its card was made for.
        OutputError: the plan cannot be kept.
    """
    build = _Build.of(bundle, precision, outputs)
    try:
        plans.write(build.path.with_suffix(".trial"), b"")  # better to know before the minutes of building
        build.path.with_suffix(".trial").unlink()
        plans.write(build.path, build.run(progress))
        plans.evict_lru()
    except OSError as error:
        raise OutputError(f"{build.path.parent}: the plan cannot be kept there: {error.strerror}") from error
    return build.path


def ensure_plan(
    bundle: Bundle, precision: str | None = None, *, progress: Progress | None = None, outputs: Collection[str] = ()
) -> bytes:
    """The plan of a bundle for this device, built if it is not kept yet. Where it cannot be kept, that is logged.

    Raises:
        EngineError: TensorRT cannot run here, or cannot build it.
        BundleTampered: the graph is not the one its card was made for.
    """
    build = _Build.of(bundle, precision, outputs)
    plan = plans.read(build.path)
    if plan is None:
        plan = build.run(progress)
        try:
            plans.write(build.path, plan)
            plans.evict_lru()
        except OSError as error:
            log.warning("%s: cannot be kept, the next start builds it again: %s", build.path, error.strerror)
    return plan


def main() -> None:
    """Do the job in the folder that is this process's argument, and leave `plan` or `problem.txt` there; what
    `edge.backends.building` starts.
    """
    folder = Path(sys.argv[1])
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    try:
        bundle = Bundle(Path(job["bundle"]), Card.from_json(job["card"], job["bundle"]))
        (folder / "plan").write_bytes(ensure_plan(bundle, job["precision"], outputs=job["outputs"]))
    except EdgeError as error:
        (folder / "problem.txt").write_text(str(error), encoding="utf-8")
        sys.exit(1)


def summarize_layers(table: str) -> Layers:
    """What TensorRT's engine inspector says of a plan, JSON, in short.

    Raises:
        EngineError: it is not such a table.
    """
    try:
        layers = [(layer["Name"], _read_precision(layer)) for layer in json.loads(table)["Layers"]]
    except (ValueError, KeyError, TypeError) as error:
        raise EngineError(f"not a table of layers as TensorRT writes it: {error!r}") from error
    counts = Counter(precision for _, precision in layers)
    return Layers(dict(counts.most_common()), tuple(name for name, precision in layers if precision == "float"))


_FORMATS = {  # the words of TensorRT 8.6 to 11 in "Format/Datatype"
    "int8": r"int8",
    "half": r"fp16|half",
    "bf16": r"bf16|bfloat16",
    "float": r"fp32|float",
    "uint8": r"uint8",
    "other": r"",
}


def _read_precision(layer: dict[str, Any]) -> str:
    """Of a layer's first input, which is what its arithmetic reads."""
    inputs = layer["Inputs"]
    words = inputs[0].get("Format/Datatype", inputs[0].get("Datatype", "")) if inputs else ""
    return next(name for name, pattern in _FORMATS.items() if re.search(rf"(?<![a-z]){pattern}", words.lower()))


# ----------------------------------------------------------------------------------------------------------- the build


@dataclass(frozen=True)
class _Build:
    """All that a plan depends on."""

    card: Card
    outputs: tuple[Output, ...]
    origin: str  # of the graph, for messages
    graph: bytes
    precision: str
    trt: Any
    device: Description
    path: Path

    @classmethod
    def of(cls, bundle: Bundle, precision: str | None, names: Collection[str]) -> _Build:
        """For this device, with the outputs of these names besides the card's default ones.

        Raises:
            EngineError: the bundle lacks one of them or the precision, or TensorRT cannot run here.
        """
        outputs = select(bundle.card.outputs, names, bundle.card.name)
        precision = checked_precision(precision, bundle.card, LABEL, PRECISIONS)
        graph = bundle.graph(precision, GRAPHS)
        content = bundle.read(graph)
        if reason := unavailable_reason():
            raise EngineError(f"TensorRT cannot run here: {reason}")
        trt, device = import_library(), cuda.describe()
        path = plans.plan_path(graph.sha256, precision, trt.__version__, device, tensors(bundle.card, outputs))
        origin = f"{bundle.folder / graph.file} at {precision}"
        return cls(bundle.card, outputs, origin, content, precision, trt, device, path)

    def run(self, progress: Progress | None) -> bytes:
        from edge.compile.graphs import for_tensorrt  # late: it imports onnx

        names = [output.tensor for output in self.outputs]
        graph = for_tensorrt(self.graph, self.precision, version(self.trt), names)
        timings = plans.timings_path(self.trt.__version__, self.device)
        return _interruptible(lambda stop: self._plan(graph, timings, progress, stop))

    def _plan(self, graph: bytes, timings: Path, progress: Progress | None, stop: threading.Event) -> bytes:
        try:
            builder = self.trt.Builder(logger())
        except TypeError as error:  # pybind's way to say that TensorRT gave none
            raise EngineError(f"TensorRT's builder does not start: {logger().last_error}") from error
        network = make_network(self.trt, builder)
        parse_graph(self.trt, network, graph, logger(), self.origin)
        config = make_config(self.trt, builder, self.precision)
        cache = config.create_timing_cache(plans.read(timings) or b"") or config.create_timing_cache(b"")
        config.set_timing_cache(cache, ignore_mismatch=False)
        monitor = watch_progress(self.trt, config, progress, stop)
        built = builder.build_serialized_network(network, config)
        del cache, monitor  # they had to live until here: the config does not hold on to them
        if built is None:
            if stop.is_set():
                raise KeyboardInterrupt
            raise EngineError(f"{self.origin}: TensorRT cannot build it: {logger().last_error}")
        self._keep_timings(config, timings)
        plan = bytes(built)
        self._keep_layers(plan)
        return plan

    def _keep_timings(self, config: Any, timings: Path) -> None:
        try:
            plans.write(timings, bytes(config.get_timing_cache().serialize()))
        except OSError as error:
            log.info("%s: cannot be kept, the next build is no quicker: %s", timings, error.strerror)

    def _keep_layers(self, plan: bytes) -> None:
        """Write the inspector's table beside the plan, and see that the plan loads and is what the card says."""
        runtime = self.trt.Runtime(logger())
        runtime.engine_host_code_allowed = False
        engine = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise EngineError(f"TensorRT cannot load the plan that it built: {logger().last_error}")
        checked_tensors(self.trt, engine, self.card, self.outputs)
        inspector = engine.create_engine_inspector()
        table = inspector.get_engine_information(self.trt.LayerInformationFormat.JSON)
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            plans.layers_path(self.path).write_text(table, encoding="utf-8")
        except OSError as error:
            log.info("%s: cannot be written: %s", plans.layers_path(self.path), error.strerror)


def make_network(trt: Any, builder: Any) -> Any:
    """An empty network whose tensors keep the types that its graph gives them, where TensorRT has that."""
    flags = trt.NetworkDefinitionCreationFlag
    flag = flags.STRONGLY_TYPED if version(trt)[0] >= STRONGLY_TYPED_SINCE else flags.EXPLICIT_BATCH
    return builder.create_network(1 << int(flag))


def parse_graph(trt: Any, network: Any, graph: bytes, trt_logger: Any, origin: str) -> None:
    """Fill a network from an ONNX file's bytes.

    Raises:
        EngineError: TensorRT does not take it; all that it objects to is listed, a line each.
    """
    parser = trt.OnnxParser(network, trt_logger)
    if not parser.parse(graph):
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        lines = [f"{_node(error)}: {error.desc()}" for error in errors]
        raise EngineError("\n  ".join([f"{origin}: TensorRT {trt.__version__} does not take the graph", *lines]))


def _node(error: Any) -> str:
    name = error.node_name() if hasattr(error, "node_name") else ""  # from version 10 on
    return f"node {name or error.node()}"


def make_config(trt: Any, builder: Any, precision: str) -> Any:
    """How to build: precision where the graph does not say it, and what to leave in the plan for the inspector."""
    config = builder.create_builder_config()
    config.builder_optimization_level = OPTIMIZATION_LEVEL
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if precision == "f32":
        config.clear_flag(trt.BuilderFlag.TF32)  # it cuts float32 to 10 bits of mantissa
    if version(trt)[0] < STRONGLY_TYPED_SINCE:
        for name in {"f32": (), "fp16": ("FP16",), "int8": ("INT8", "FP16")}[precision]:  # INT8 alone: the rest is f32
            config.set_flag(getattr(trt.BuilderFlag, name))
    return config


def watch_progress(trt: Any, config: Any, progress: Progress | None, stop: threading.Event) -> Any:
    """Have the builder report its steps and ask, at each, whether to go on; TensorRT can from version 10 on.

    What it gives must live until the build is done.
    """
    if not hasattr(trt, "IProgressMonitor"):
        return None

    class Monitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self.steps[phase_name] = num_steps
            self._tell(phase_name, 0)

        def step_complete(self, phase_name: str, step: int) -> bool:
            self._tell(phase_name, step + 1)
            return not stop.is_set()

        def phase_finish(self, phase_name: str) -> None:
            self._tell(phase_name, self.steps[phase_name])

        def _tell(self, phase: str, done: int) -> None:
            if progress is not None:
                try:
                    progress(phase, done, self.steps[phase])
                except Exception as error:  # noqa: BLE001  # it must not unwind through TensorRT's C++
                    log.warning("the build's progress cannot be shown: %r", error)

    monitor = config.progress_monitor = Monitor()
    return monitor


def _interruptible(work: Callable[[threading.Event], Result]) -> Result:
    """What `work` gives, done in a thread of its own, so that Ctrl-C is heard while C++ works; it sets the event."""
    stop = threading.Event()
    done: Future[Result] = Future()

    def run() -> None:
        try:
            done.set_result(work(stop))
        except BaseException as error:  # noqa: BLE001  # raised again in the caller's thread
            done.set_exception(error)

    try:
        threading.Thread(target=run, name="tensorrt-build").start()
        return done.result()  # not join, which an interrupt makes believe that the thread has ended (Python 3.11)
    except KeyboardInterrupt:
        stop.set()
        log.warning("the build is being stopped, at its next step from TensorRT 10 on, before that at its end")
        wait([done])
        raise
