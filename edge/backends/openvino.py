"""OpenVINO on a CPU: all threads on one frame, so that a mask is young, or a frame for each, so that many are done.

Compiling takes 0.2 to 0.8 s, so what was compiled is kept in the user's cache directory, by content: the file's name is
a hash of all it depends on, and the file ends in a hash of itself. Losing the cache costs time, nothing else.
"""

from __future__ import annotations

import copy
import importlib.util
import logging
import mmap
import os
import platform
import queue
import sys
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge.backends.checks import check_ports, checked_precision, checked_threads, port, streams_of
from edge.backends.cpu import cpu_kind
from edge.backends.predict import predict
from edge.cache import SEAL_BYTES, cache_folder, evict_lru, key_of, may_be_trusted, replacing, seal_of
from edge.card import Card
from edge.closing import Closing
from edge.engine import Bundle, Identity, check_image
from edge.errors import EngineError
from edge.outputs import Output, select
from edge.shortage import check_shortage, tight_limit

if TYPE_CHECKING:
    from edge.frame import Image
    from edge.outputs import Arrays

LABEL = "OpenVINO"
PRECISIONS = ("f32", "bf16", "fp16", "int8")
GRAPHS = "openvino"
OPENS_QUICKLY = True
CACHED_MODELS = 8  # a DDRNet-23-slim is 23 MB

_ARITHMETIC = frozenset({"Convolution", "Deconvolution", "FullyConnected", "MatMul"})  # of its CPU plugin's layer types
_HINTS = {"bf16": "bf16", "fp16": "f16"}  # that run the f32 graph in less; OpenVINO's names
_PRECISION_NAMES = {"u8": "int8", "i8": "int8", "f16": "fp16"}  # of its element types, where edge's differ

log = logging.getLogger(__name__)
_IMPORTING = threading.Lock()
_CORE: list[Any] = []


def unavailable_reason() -> str | None:
    """Why OpenVINO cannot be used here, in one line; None if it can. Does not import it."""
    if importlib.util.find_spec("openvino") is None:
        return "OpenVINO is not installed: pip install openvino"
    return None


class OpenVinoEngine(Closing):
    """A bundle's graph, compiled for this CPU. See `edge.engine.Engine`."""

    predict = __call__ = predict

    def __init__(
        self,
        bundle: Bundle,
        *,
        precision: str | None = None,
        threads: int | None = None,
        side_by_side: bool | int = False,
        outputs: Collection[str] = (),
    ) -> None:
        self.card: Card = bundle.card
        self.outputs = select(self.card.outputs, outputs, self.card.name)
        self.threads = checked_threads(threads)
        self.streams = streams_of(side_by_side, self.threads)
        self.precision = checked_precision(precision or _arm_precision(self.card), self.card, LABEL, PRECISIONS)
        graph = bundle.graph(self.precision, GRAPHS)
        path, model = bundle.folder / graph.file, bundle.read(graph)
        self._blob: mmap.mmap | None = None
        openvino = import_library()
        self.identity = Identity("openvino", openvino.__version__, cpu_kind())
        try:
            core = get_core()
            _check_cpu(core, self.precision)
            compiled = self._compile(openvino, core, model, graph.sha256)
            self._tensors = _checked_ports(compiled, self.outputs, self.card.input_wh, str(path))
            self._new_request: Callable[[], Any] = compiled.create_infer_request
            requests = [self._new_request() for _ in range(self.streams)]
        except EngineError:
            raise
        except RuntimeError as error:  # all that OpenVINO raises
            raise EngineError(f"{path}: OpenVINO cannot compile it: {_gist(error)}{tight_limit()}") from error
        self._idle = _queue_of(requests)

    def _compile(self, openvino: Any, core: Any, model: bytes, sha256: str) -> Any:
        """The compiled model, from the cache where it is there."""
        config = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": str(self.streams),
            "INFERENCE_NUM_THREADS": self.threads,
            # Left alone, OpenVINO takes bf16 wherever it can. What an INT8 graph leaves in floating point is f32.
            "INFERENCE_PRECISION_HINT": _HINTS.get(self.precision, "f32"),
            "ENABLE_CPU_PINNING": False,  # decoding and encoding want the same cores
        }
        names = [output.tensor for output in self.outputs]
        parts = [sha256, self.precision, self.threads, self.streams, openvino.__version__, *names]
        cached = _cached_path(parts)
        blob = self._blob = _read_blob(cached)  # kept: the compiled model may point into it
        if blob is not None:
            try:
                content = np.frombuffer(blob, np.uint8)[:-SEAL_BYTES]
                compiled = core.import_model(openvino.Tensor(content, shared_memory=True), "CPU", config)
                # OpenVINO has its own copy of the weights by now. Should it look here again, the file is still there.
                blob.madvise(mmap.MADV_DONTNEED)
                return compiled
            except RuntimeError as error:
                log.info("%s: OpenVINO refuses it, compiling anew: %s", cached, _gist(error))
                self._blob = None
        graph = core.read_model(model, b"")
        _keep_results(graph, names)
        compiled = core.compile_model(graph, "CPU", config)
        _write_blob(cached, compiled)
        return compiled

    def infer(self, image: Image) -> Arrays:
        """The outputs for a uint8 (h, w, 3) BGR image; see `edge.engine.Engine.infer`."""
        return self._infer(image, lambda request: request.infer(share_outputs=True))

    def infer_aside(self, image: Image) -> Arrays:
        """As `infer`, in threads with the priority of the one that opened the engine; `infer` runs in the caller's."""

        def run(request: Any) -> None:
            request.start_async()
            request.wait()

        return self._infer(image, run)

    def _infer(self, image: Image, run: Callable[[Any], object]) -> Arrays:
        check_image(image, self.card)
        request = self._idle.get()
        try:
            if request is None:
                raise EngineError(f"engine {self.card.name}: is closed")
            request.get_input_tensor().data[0] = image
            run(request)
            return {name: request.get_output_tensor(place).data[0].copy() for name, place in self._tensors}
        except RuntimeError as error:
            if isinstance(error, EngineError):
                raise
            raise EngineError(f"engine {self.card.name}: inference failed: {_gist(error)}") from error
        finally:
            self._idle.put(request)

    def share(self) -> OpenVinoEngine:
        """Another engine on the same compiled model, with an inference request of its own. Each is closed by itself;
        the model is freed with the last.

        Raises:
            EngineError: OpenVINO gives no request.
        """
        other = copy.copy(self)
        try:
            other.streams, other._idle = 1, _queue_of([self._new_request()])
        except RuntimeError as error:  # all that OpenVINO raises
            raise EngineError(f"engine {self.card.name}: no inference request: {_gist(error)}") from error
        return other

    def layer_precisions(self) -> dict[str, int]:
        """How many convolutions and matrix products run in each precision, as OpenVINO compiled them.

        Raises:
            EngineError: the engine is closed.
        """
        request = self._idle.get()
        try:
            if request is None:
                raise EngineError(f"engine {self.card.name}: is closed")
            infos = [node.get_rt_info() for node in request.get_compiled_model().get_runtime_model().get_ops()]
        finally:
            self._idle.put(request)
        kept = [info for info in infos if "layerType" in info and info["layerType"].astype(str) in _ARITHMETIC]
        found: list[str] = [info["runtimePrecision"].astype(str) for info in kept if "runtimePrecision" in info]
        return dict(Counter(_PRECISION_NAMES.get(name, name) for name in found))

    def close(self) -> None:
        """Wait for what runs and free it; a later `infer` raises."""
        for _ in range(self.streams):
            self._idle.get()
        for _ in range(self.streams):
            self._idle.put(None)
        self._blob = None
        self._new_request = _closed


def open(  # noqa: A001  # the name of the table's function
    bundle: Bundle,
    *,
    precision: str | None = None,
    threads: int | None = None,
    side_by_side: bool | int = False,
    outputs: Collection[str] = (),
) -> OpenVinoEngine:
    """See `edge.backends.Backend.open`."""
    return OpenVinoEngine(bundle, precision=precision, threads=threads, side_by_side=side_by_side, outputs=outputs)


def layer_precisions(engine: OpenVinoEngine) -> dict[str, int]:
    """See `edge.backends.Backend.layer_precisions`."""
    return engine.layer_precisions()


def load_graph(model: bytes, precision: str = "f32", output: str | None = None) -> Callable[[Any], Any]:
    """What runs any ONNX graph of one input: from its array to that of `output`, or of the first.

    Raises:
        RuntimeError: OpenVINO cannot compile it.
    """
    core = get_core()
    # An INT8 graph says itself where it is INT8.
    config = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": _HINTS.get(precision, "f32")}
    compiled = core.compile_model(core.read_model(model, b""), "CPU", config)
    place = compiled.output(0 if output is None else output)
    return lambda item: compiled([item])[place]


def import_library() -> Any:
    """The openvino module, imported so that it keeps to itself.

    `import openvino` imports its model converter, which at once sends an event to Google Analytics and leaves an id in
    ~/intel (seen with strace, 2026.4.1). The converter steps back to a stub where `openvino_telemetry` cannot be
    imported, so that is what it finds, in this process for good. The converter itself is not needed, and takes a third
    of the import's time: it is kept out during the import.
    """
    with _IMPORTING:  # `edge run` imports ahead, in another thread
        if sys.modules.get("openvino") is None:
            sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None makes imports of it fail
            hidden = "openvino.tools.ovc"
            sys.modules[hidden] = None  # type: ignore[assignment]
            try:
                import openvino  # noqa: F401
            except ImportError as error:
                check_shortage(error)
                raise EngineError(f"OpenVINO cannot be imported ({error}). Install it: pip install openvino") from error
            finally:
                del sys.modules[hidden]
    return sys.modules["openvino"]


def get_core() -> Any:
    """This process's one `openvino.Core`, kept to its end.

    The CPU plugin that a core loads gives its thread a stack for signals, and takes the stack's memory back when the
    core goes (`SigAltStackSetup`, 2026.4.1). Where two cores go in the order they came, or one goes in another thread,
    the thread keeps a stack that is no memory any more, and the next signal, a plain Ctrl-C too, kills the process.
    """
    openvino = import_library()
    with _IMPORTING:
        if not _CORE:
            _CORE.append(openvino.Core())
    return _CORE[0]


def _queue_of(requests: Iterable[Any]) -> queue.LifoQueue[Any]:
    idle: queue.LifoQueue[Any] = queue.LifoQueue()
    for request in requests:
        idle.put(request)
    return idle


def _closed() -> Any:
    raise EngineError("the engine is closed")


def _check_cpu(core: Any, precision: str) -> None:
    if precision in _HINTS and not _has(core, precision):
        name = core.get_property("CPU", "FULL_DEVICE_NAME")
        raise EngineError(f"precision {precision}: this CPU ({name}) has no {precision} arithmetic; use f32")


def _has(core: Any, precision: str) -> bool:
    return precision.upper() in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _arm_precision(card: Card) -> str | None:
    """On ARM, fp16 in place of a card's INT8, where the CPU has it: of an INT8 graph OpenVINO runs few layers there in
    8 bits (docs/int8-arm.md). None leaves the choice to the card.
    """
    if card.precision != "int8" or platform.machine() not in ("aarch64", "arm64"):
        return None
    return "fp16" if _has(get_core(), "fp16") else None


def _keep_results(graph: Any, names: Collection[str]) -> None:
    """Take the results that are not asked for off the graph, so that they are never computed."""
    for result in graph.get_results():
        if len(graph.outputs) > 1 and not result.output(0).get_names() & set(names):
            graph.remove_result(result)


def _checked_ports(
    compiled: Any, outputs: Collection[Output], input_wh: tuple[int, int], origin: str
) -> list[tuple[str, int]]:
    """Each output's name and its place among the compiled model's outputs, once they are checked."""
    expected = {output.tensor for output in outputs}
    names = [_name(node, expected) for node in compiled.outputs]
    given = {_spelled(node, name) for node, name in zip(compiled.outputs, names, strict=True)}
    found = {_spelled(node) for node in compiled.inputs}, given
    check_ports(found, outputs, input_wh, f"{origin}: expected a graph")
    return [(output.name, names.index(output.tensor)) for output in outputs]


def _spelled(node: Any, name: str = "") -> str:
    return port(str(node.element_type.to_dtype()), tuple(node.partial_shape), name)


def _name(node: Any, expected: Collection[str]) -> str:
    """One that is expected, if it has several: a cast that changes nothing is dropped, and its value has both names."""
    return next((name for name in sorted(node.get_names()) if name in expected), node.get_any_name())


def _gist(error: RuntimeError) -> str:
    """The line of an OpenVINO message that says what is wrong: its last; source positions come before."""
    return next((line for line in reversed(str(error).splitlines()) if line.strip()), "no reason given").strip()


# ----------------------------------------------------------------------------------------------------------- the cache


def _cached_path(parts: list[Any]) -> Path:
    """Where the model that depends on `parts`, and on this CPU, is kept."""
    return cache_folder("openvino") / f"{key_of(*parts, _cpu_identity())}.blob"


def _cpu_identity() -> str:
    """Name and instruction sets of the first CPU: compiled models hold code choices made for them."""
    kept = ("model name", "flags", "CPU implementer", "CPU part", "Features")
    identity = [platform.machine()]
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
            for line in lines:
                if not line.strip():  # the next CPU
                    break
                if line.startswith(kept):
                    identity.append(line.strip())
    except OSError:
        pass  # no /proc: the machine's architecture and OpenVINO's own check must do
    return "\n".join(identity)


def _read_blob(path: Path) -> mmap.mmap | None:
    """A cache file, mapped: the compiled model and its digest. None where it is missing or cannot be trusted."""
    content = None
    try:
        with path.open("rb") as file:
            if not may_be_trusted(file, path):
                log.warning("%s: others may write to it, so it is not used", path.parent)
                return None
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)  # OpenVINO's tensors want to be writable
        os.utime(path)  # most recently used
    except FileNotFoundError:
        return None
    except OSError as error:
        log.info("%s: cannot be read, compiling anew: %s", path, error)
        return None
    except ValueError:  # an empty file cannot be mapped
        sound = False
    else:
        with memoryview(content) as view, view[:-SEAL_BYTES] as blob:
            sound = content[-SEAL_BYTES:] == seal_of(path, blob)
    if not sound:
        log.info("%s: is damaged, compiling anew", path)
    return content if sound else None


def _write_blob(path: Path, compiled: Any) -> None:
    """Keep a compiled model, as a whole or not at all; where that cannot be, the next start is as slow as this one."""
    try:
        with replacing(path) as file:
            blob = compiled.export_model()
            blob = blob if isinstance(blob, bytes) else blob.getvalue()
            file.write(blob)
            file.write(seal_of(path, blob))
        evict_lru(path.parent, path.suffix, CACHED_MODELS)
    except (OSError, RuntimeError) as error:
        log.info("%s: cannot be written, the next start compiles again: %s", path, error)
