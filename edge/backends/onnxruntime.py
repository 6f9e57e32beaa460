"""ONNX Runtime: the graph as it is written, on the CPU, or on a GPU where the installed build has that.

The slowest of the backends on a CPU and the most faithful: it takes each rounding of an INT8 graph as it stands there,
so it also judges what TensorRT will be given (edge.compile). It serves where it is asked for, or OpenVINO is missing.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import queue
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

from edge.backends import cuda
from edge.backends.checks import check_ports, checked_precision, checked_threads, port, streams_of
from edge.backends.cpu import cpu_kind
from edge.backends.predict import predict
from edge.cache import cache_folder, is_private
from edge.card import Card
from edge.closing import Closing
from edge.engine import Bundle, Identity, check_image
from edge.errors import EngineError
from edge.outputs import select
from edge.shortage import check_shortage, tight_limit

if TYPE_CHECKING:
    from edge.frame import Image
    from edge.outputs import Arrays

LABEL = "ONNX Runtime"
PRECISIONS = ("f32", "int8")
GRAPHS = "tensorrt"  # its INT8 form is standard ONNX: QuantizeLinear and DequantizeLinear, symmetric
OPENS_QUICKLY = True

CPU = "CPUExecutionProvider"
_GPU = ("TensorrtExecutionProvider", "CUDAExecutionProvider")  # in order of preference
_DTYPES = {"float": "float32", "double": "float64"}  # of ONNX Runtime's names, where NumPy's differ


def unavailable_reason() -> str | None:
    """Why ONNX Runtime cannot be used here, in one line; None if it can. Does not import it."""
    if importlib.util.find_spec("onnxruntime") is None:
        return "ONNX Runtime is not installed: pip install onnxruntime"
    return None


def import_library() -> Any:
    """The onnxruntime module, imported so that it sends nothing.

    Raises:
        EngineError: it cannot be imported.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read at the import
    try:
        return importlib.import_module("onnxruntime")  # by name: this module is called so too
    except ImportError as error:
        check_shortage(error)
        raise EngineError(f"ONNX Runtime cannot be imported ({error}). Install it: pip install onnxruntime") from error


def open(  # noqa: A001  # the name of the table's function
    bundle: Bundle,
    *,
    precision: str | None = None,
    threads: int | None = None,
    side_by_side: bool | int = False,
    outputs: Collection[str] = (),
) -> OnnxRuntimeEngine:
    """See `edge.backends.Backend.open`."""
    precision = checked_precision(precision, bundle.card, LABEL, PRECISIONS)
    graph = bundle.graph(precision, GRAPHS)
    model, options = bundle.read(graph), {"threads": threads, "side_by_side": side_by_side, "outputs": outputs}
    return OnnxRuntimeEngine(model, bundle.card, precision, origin=str(bundle.folder / graph.file), **options)


def layer_precisions(engine: OnnxRuntimeEngine) -> dict[str, int]:
    """See `edge.backends.Backend.layer_precisions`: ONNX Runtime does not report it."""
    return {}


def load_graph(model: bytes, precision: str = "f32", output: str | None = None) -> Callable[[Any], Any]:
    """What runs any ONNX graph of one input on the CPU: from its array to that of `output`, or of the first. The graph
    says itself what `precision` it computes in.
    """
    session = _session(model, 0, [CPU])
    fed, asked = session.get_inputs()[0].name, output or session.get_outputs()[0].name
    return lambda item: session.run([asked], {fed: item})[0]


class OnnxRuntimeEngine(Closing):
    """A graph in a session of ONNX Runtime. See `edge.engine.Engine`.

    `model` is the ONNX file's bytes, bytes-in and classes-out, as `card` lists them; `origin` names it in messages.
    `providers` are ONNX Runtime's, best first; those that are installed if not given, a GPU's before the CPU's.

    Raises:
        EngineError: ONNX Runtime cannot load the graph, or it is not what the card says.
    """

    predict = __call__ = predict

    def __init__(
        self,
        model: bytes,
        card: Card,
        precision: str,
        *,
        origin: str = "the graph",
        threads: int | None = None,
        side_by_side: bool | int = False,
        outputs: Collection[str] = (),
        providers: Sequence[str] | None = None,
    ) -> None:
        self.card, self.precision = card, precision
        self.outputs = select(card.outputs, outputs, card.name)
        self.threads = checked_threads(threads)
        self.streams = streams_of(side_by_side, self.threads)
        library = import_library()
        asked = _installed(library) if providers is None else providers
        try:
            session = _session(model, self.threads // self.streams, asked, precision)
        except Exception as error:  # its errors share no type below this one
            raise EngineError(f"{origin}: ONNX Runtime cannot load it: {_gist(error)}{tight_limit()}") from error
        self._input, self._tensors = session.get_inputs()[0].name, [output.tensor for output in self.outputs]
        given = [node for node in session.get_outputs() if node.name in self._tensors] or session.get_outputs()
        found = {_spelled(node) for node in session.get_inputs()}, {_spelled(node, node.name) for node in given}
        check_ports(found, self.outputs, card.input_wh, f"{origin}: expected a graph")
        self.identity = Identity("onnxruntime", library.__version__, _device(session.get_providers()[0]))
        self._idle: queue.LifoQueue[Any] = queue.LifoQueue()  # the session once for each stream; None: closed
        for _ in range(self.streams):
            self._idle.put(session)

    def infer(self, image: Image) -> Arrays:
        """The outputs for a uint8 (h, w, 3) BGR image; see `edge.engine.Engine.infer`."""
        check_image(image, self.card)
        session = self._idle.get()
        try:
            if session is None:
                raise EngineError(f"engine {self.card.name}: is closed")
            arrays = session.run(self._tensors, {self._input: image[None]})
            return {output.name: array[0] for output, array in zip(self.outputs, arrays, strict=True)}
        except EngineError:
            raise
        except Exception as error:  # its errors share no type below this one
            raise EngineError(f"engine {self.card.name}: inference failed: {_gist(error)}") from error
        finally:
            self._idle.put(session)

    def close(self) -> None:
        """Wait for what runs and free it; a later `infer` raises."""
        for _ in range(self.streams):
            self._idle.get()
        for _ in range(self.streams):
            self._idle.put(None)


def _session(model: bytes, threads: int, providers: Sequence[str], precision: str = "f32") -> Any:
    """A session with so many threads for one run, 0 for all."""
    library = import_library()
    options = library.SessionOptions()
    options.log_severity_level = 3  # errors: its warnings are about the style of graphs that others wrote
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # decoding wants the same cores
    return library.InferenceSession(
        model,
        options,
        providers=[(name, _provider_options(name, precision)) for name in providers],
        disabled_optimizers=["WeightBiasQuantization"],  # it would round biases, which the graph leaves alone
    )


def _installed(library: Any) -> list[str]:
    """The GPU's providers of the installed build, where there is a GPU, and the CPU's."""
    there = library.get_available_providers() if cuda.no_gpu_reason() is None else ()
    return [*(name for name in _GPU if name in there), CPU]


def _provider_options(name: str, precision: str) -> dict[str, str]:
    if name == "CUDAExecutionProvider":
        return {"use_tf32": "0"}  # it cuts float32 to 10 bits of mantissa
    if name != "TensorrtExecutionProvider":
        return {}
    options = {"trt_int8_enable": "1" if precision == "int8" else "0"}
    folder = cache_folder("onnxruntime")  # ONNX Runtime's own files: without them every start takes minutes
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept = is_private(folder.stat())
    except OSError:
        kept = False
    return {**options, "trt_engine_cache_enable": "1", "trt_engine_cache_path": str(folder)} if kept else options


def _device(provider: str) -> str:
    return cpu_kind() if provider == CPU else f"{provider.removesuffix('ExecutionProvider')}, {cuda.describe()}"


def _spelled(node: Any, name: str = "") -> str:
    dtype = str(node.type).removeprefix("tensor(").removesuffix(")")
    return port(_DTYPES.get(dtype, dtype), node.shape, name)


def _gist(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
