"""TensorRT on an NVIDIA GPU: a plan that was built on this device, run in a ring of slots.

A slot has a stream, an execution context and buffers in pinned memory. Whoever calls `infer` copies the image into a
free slot's pinned memory, posts the slot and waits. One thread owns the GPU and makes all calls of CUDA and TensorRT:

    caller    copy image in -> post .............................. copy classes out
    owner                      launch -> (launch others) -> wait
    GPU                        upload, network, download

Launches of other slots do not wait for the first, so with three slots one image is uploaded while another is computed.
Upload, network and download of a slot are recorded once, as a CUDA graph, and launched as one.

One code path serves TensorRT 8.6 to 11.4: named tensors and `execute_async_v3`.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import logging
import queue
import re
import threading
from collections import deque
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from edge.backends import building, cuda, plans
from edge.backends.checks import check_ports, checked_precision, port
from edge.backends.predict import predict
from edge.card import Card
from edge.closing import Closing
from edge.engine import Bundle, Identity, check_image
from edge.errors import EngineError
from edge.outputs import Output, select
from edge.shortage import check_shortage

if TYPE_CHECKING:
    from edge.frame import Image
    from edge.outputs import Arrays

LABEL = "TensorRT"
PRECISIONS = ("f32", "fp16", "int8")
GRAPHS = "tensorrt"
OPENS_QUICKLY = False  # it may have a plan to build
OLDEST = (8, 6)
RING = 3  # one image on its way in, one in the network, one with its caller
WARM_UP_RUNS = 3
PATIENCE_S = 10.0  # for a frame of milliseconds

log = logging.getLogger(__name__)


def unavailable_reason() -> str | None:
    """Why TensorRT cannot be used here, in one line; None if it can. Imports neither it nor pycuda."""
    reason = cuda.unavailable_reason()
    if reason is None and importlib.util.find_spec("tensorrt") is None:
        return (
            "TensorRT is not installed. On a Jetson it comes with JetPack: make the virtual environment with"
            " --system-site-packages; elsewhere: pip install tensorrt"
        )
    return reason


def open(  # noqa: A001  # the name of the table's function
    bundle: Bundle,
    *,
    precision: str | None = None,
    threads: int | None = None,  # of the CPU, which computes nothing here
    side_by_side: bool | int = False,
    outputs: Collection[str] = (),
) -> TensorRtEngine:
    """See `edge.backends.Backend.open`. A plan that this device does not keep yet is built first: minutes, once."""
    if reason := unavailable_reason():
        raise EngineError(f"TensorRT cannot run here: {reason}")
    precision = checked_precision(precision, bundle.card, LABEL, PRECISIONS)
    plan = _kept_plan(bundle, precision, select(bundle.card.outputs, outputs, bundle.card.name))
    if plan is None:
        plan = building.build_plan(bundle, precision, outputs)
    return TensorRtEngine(bundle, precision=precision, side_by_side=side_by_side, plan=plan, outputs=outputs)


def layer_precisions(engine: TensorRtEngine) -> dict[str, int]:
    """See `edge.backends.Backend.layer_precisions`: not known of a loaded plan; `edge plan` prints it."""
    return {}


class TensorRtEngine(Closing):
    """A bundle's plan on the first GPU. See `edge.engine.Engine`.

    `plan` is what the builder made; without it, the plan is taken from this device's cache, and never built.

    Raises:
        EngineError: TensorRT cannot run here, no plan was built yet, or it is not what the card says.
    """

    threads = 1

    predict = __call__ = predict

    def __init__(
        self,
        bundle: Bundle,
        *,
        precision: str | None = None,
        side_by_side: bool | int = False,
        plan: bytes | None = None,
        outputs: Collection[str] = (),
    ) -> None:
        self.card: Card = bundle.card
        self.outputs = select(self.card.outputs, outputs, self.card.name)
        self.precision = checked_precision(precision, self.card, LABEL, PRECISIONS)
        self.streams = RING if side_by_side else 1
        if reason := unavailable_reason():
            raise EngineError(f"TensorRT cannot run here: {reason}")
        plan = plan or _kept_plan(bundle, self.precision, self.outputs)
        if plan is None:
            raise _no_plan(bundle, self.precision)
        gpu = f"{cuda.describe()}, plan {hashlib.sha256(plan).hexdigest()[:16]}"
        self.identity = Identity("tensorrt", import_library().__version__, gpu)
        self._idle: queue.SimpleQueue[_Slot | None] = queue.SimpleQueue()
        self._posted: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._failure: EngineError | None = None
        self._closing, self._closed = threading.Lock(), False
        started: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        name = f"tensorrt-{self.card.name}"
        # A daemon: a GPU that hangs must not keep the process from ending.
        self._owner = threading.Thread(target=self._own, args=(plan, started), name=name, daemon=True)
        self._owner.start()
        try:
            error = started.get()
        except BaseException:  # Ctrl-C: the caller gets no engine to close
            self._posted.put(None)
            raise
        if error is not None:
            self._owner.join()
            raise error

    def infer(self, image: Image) -> Arrays:
        """The outputs for a uint8 (h, w, 3) BGR image; see `edge.engine.Engine.infer`."""
        check_image(image, self.card)
        slot = self._idle.get()
        try:
            if slot is None:
                raise EngineError(f"engine {self.card.name}: is closed")
            if self._failure is not None:
                raise EngineError(str(self._failure))
            slot.image[0] = image
            if error := self._run(slot):
                raise EngineError(str(error)) from error
            return {name: array[0].copy() for name, array in slot.arrays.items()}
        finally:
            self._idle.put(slot)

    def _run(self, slot: _Slot) -> EngineError | None:
        """Have the owner run a slot, and wait for its word: None when the classes are there."""
        # One for each run: where Ctrl-C ends a wait, the answer that still comes is not taken for the next frame's.
        answer: queue.SimpleQueue[EngineError | None] = queue.SimpleQueue()
        self._posted.put((slot, answer))
        try:
            return answer.get(timeout=PATIENCE_S)
        except queue.Empty:
            self._failure = self._failed(slot, f"the GPU has not answered for {PATIENCE_S:.0f} s")
            return self._failure

    def close(self) -> None:
        """Wait for what runs and free it; a later `infer` raises."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
            for _ in range(self.streams):
                self._idle.get()
            self._posted.put(None)
            self._owner.join(PATIENCE_S)
            if self._owner.is_alive():
                log.error("engine %s: the GPU hangs; its memory is freed when this process ends", self.card.name)
            self._idle.put(None)

    # ------------------------------------------------------------------------------- in the owner's thread from here on

    def _own(self, plan: bytes, started: queue.SimpleQueue[BaseException | None]) -> None:
        serving = False
        try:
            with cuda.Device() as device, _Net(plan, self.card, self.outputs) as net:
                slots = [_Slot(index, device, net, self.card.input_wh) for index in range(self.streams)]
                for slot in slots:
                    slot.prepare(device)
                for slot in slots:
                    self._idle.put(slot)
                serving = True
                started.put(None)
                self._serve()
        except BaseException as error:  # noqa: BLE001  # the constructor waits for an answer, whatever happened
            if serving:
                log.error("engine %s: did not close in order: %s", self.card.name, error)
            else:
                started.put(error)

    def _serve(self) -> None:
        """Launch what is posted, and when nothing is, wait for what was launched first; until None is posted."""
        launched: deque[_Job] = deque()
        while True:
            try:
                job = self._posted.get(block=not launched)
            except queue.Empty:
                self._finish(launched.popleft())
                continue
            if job is None:
                break
            if self._do(job, job[0].launch):
                launched.append(job)
        for job in launched:  # whose callers did not wait
            self._finish(job)

    def _finish(self, job: _Job) -> None:
        if self._do(job, job[0].stream.wait):
            job[1].put(None)

    def _do(self, job: _Job, step: Callable[[], None]) -> bool:
        """Whether a step was done; if not, the job's caller gets the error, as all others do from then on."""
        slot, answer = job
        try:
            if self._failure is None:
                step()
                return True
        except EngineError as error:
            self._failure = self._failed(slot, str(error))
        answer.put(self._failure)
        return False

    def _failed(self, slot: _Slot, what: str) -> EngineError:
        return EngineError(
            f"engine {self.card.name}, slot {slot.index}: {what}. The engine gives no more masks: open it again, and if"
            " that fails, look at what the driver says: sudo dmesg | grep -i -e nvrm -e nvgpu"
        )


class _Slot:
    """A place in the ring: a stream with a context of the network and its buffers.

    Between `launch` and the end of `stream.wait` it belongs to the GPU, else to whoever took it from the idle ones.
    """

    def __init__(self, index: int, device: cuda.Device, net: _Net, input_wh: tuple[int, int]) -> None:
        width, height = input_wh
        self.index = index
        self.stream = device.stream()
        self._input = device.buffer((1, height, width, 3))
        outputs = net.outputs
        self._outputs = {o.name: device.buffer((1, *o.shape_at(input_wh)), o.dtype) for o in outputs}
        self.image = self._input.host
        self.arrays = {name: buffer.host for name, buffer in self._outputs.items()}
        addresses = {output.tensor: self._outputs[output.name].address for output in outputs}
        self._execute = net.executor(self._input.address, addresses, self.stream.handle)
        self.launch: Callable[[], None] = self._enqueue

    def _enqueue(self) -> None:
        self._input.upload(self.stream)
        self._execute()
        for buffer in self._outputs.values():
            buffer.download(self.stream)

    def prepare(self, device: cuda.Device) -> None:
        """Run it until all that TensorRT does late is done, then record a run, to be launched as one from now on."""
        for _ in range(WARM_UP_RUNS):
            self._enqueue()
        self.stream.wait()
        try:
            self.launch = device.record(self.stream, self._enqueue).launch
            self.launch()
            self.stream.wait()
        except EngineError as error:
            self.launch = self._enqueue
            if self.index == 0:
                log.warning("no CUDA graph could be recorded, frames are launched step by step: %s", error)


_Job = tuple[_Slot, "queue.SimpleQueue[EngineError | None]"]  # what to run, and where to say that it was


class _Net(Closing):
    """A plan that TensorRT has loaded. Closed, it frees contexts, engine and runtime, in this order."""

    def __init__(self, plan: bytes, card: Card, outputs: tuple[Output, ...]) -> None:
        trt = import_library()
        self.outputs = outputs
        self._contexts: list[Any] = []
        try:
            self._runtime: Any = trt.Runtime(logger())
        except TypeError as error:  # pybind's way to say that TensorRT gave none
            raise EngineError(f"TensorRT does not start: {logger().last_error}") from error
        self._runtime.engine_host_code_allowed = False
        self._engine: Any = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            self.close()
            raise EngineError(f"engine {card.name}: TensorRT refuses the plan: {logger().last_error}")
        try:
            self._input = checked_tensors(trt, self._engine, card, outputs)
        except EngineError:
            self.close()
            raise

    def executor(self, input_address: int, addresses: dict[str, int], stream: int) -> Callable[[], None]:
        """What puts one run of the network into a stream, between buffers on the device; `addresses` are those of the
        outputs, by the plan's names.
        """
        context = self._engine.create_execution_context()
        if context is None:  # device memory ran out
            raise EngineError(f"TensorRT gives no execution context: {logger().last_error}")
        self._contexts.append(context)
        index = len(self._contexts) - 1
        context.set_tensor_address(self._input, input_address)
        for tensor, address in addresses.items():
            context.set_tensor_address(tensor, address)

        def execute() -> None:
            if not self._contexts[index].execute_async_v3(stream):
                raise EngineError(f"TensorRT did not run the network: {logger().last_error}")

        return execute

    def close(self) -> None:
        self._contexts.clear()
        self._engine = None
        self._runtime = None


# ----------------------------------------------------------------------------------------------------------- TensorRT


@functools.cache
def import_library() -> Any:
    """The tensorrt module; `unavailable_reason` must have given None.

    Raises:
        EngineError: it cannot be imported, or is too old.
    """
    try:
        trt = importlib.import_module("tensorrt")  # by name: this module is called so too
    except ImportError as error:
        check_shortage(error)
        raise EngineError(
            f"TensorRT cannot be imported ({error}). Its Python package must be of the version of the installed"
            " libraries: pip install --force-reinstall tensorrt==VERSION, or on a Jetson JetPack's own"
        ) from error
    if version(trt) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise EngineError(f"TensorRT {trt.__version__} is too old, expected {oldest} or newer (JetPack 6.0 has it)")
    return trt


def version(trt: Any) -> tuple[int, ...]:
    """(10, 3, 0) of "10.3.0.post1"."""
    return tuple(int(part) for part in re.findall(r"\d+", trt.__version__)[:3])


@functools.cache
def logger() -> Any:
    """The one logger for all of TensorRT, which takes no second one: its messages go to Python's logging.

    `last_error` is the newest error's text: TensorRT's calls say only that they failed.
    """
    trt = import_library()
    severity = trt.ILogger.Severity
    levels = {
        severity.INTERNAL_ERROR: logging.ERROR,
        severity.ERROR: logging.ERROR,
        severity.WARNING: logging.WARNING,
        severity.INFO: logging.DEBUG,
    }

    class Logger(trt.ILogger):
        last_error = "no reason given"

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.warnings: set[str] = set()

        def log(self, severity: Any, msg: str) -> None:
            level = levels.get(severity)
            if level is None or msg in self.warnings:  # verbose: a hundred thousand lines a build
                return
            if level == logging.ERROR:
                self.last_error = msg
            elif level == logging.WARNING:
                self.warnings.add(msg)  # or the same words come for each layer
            log.log(level, "TensorRT: %s", msg)

    return Logger()


def checked_tensors(trt: Any, engine: Any, card: Card, outputs: Collection[Output]) -> str:
    """The name of a plan's input. The plan must take what a camera gives, and give what its card lists.

    Raises:
        EngineError: they do not.
    """
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
    outer = {name: _spelled(engine, name, name not in inputs) for name in names}
    found = {outer[name] for name in inputs}, {outer[name] for name in names if name not in inputs}
    check_ports(found, outputs, card.input_wh, f"engine {card.name}: expected a plan")
    return inputs[0]


_NUMPY_NAMES = {"half": "float16", "float": "float32"}  # of tensorrt.DataType's in lower case, where they differ


def _spelled(engine: Any, name: str, named: bool) -> str:
    dtype = str(engine.get_tensor_dtype(name).name).lower()
    return port(_NUMPY_NAMES.get(dtype, dtype), tuple(engine.get_tensor_shape(name)), name if named else "")


def tensors(card: Card, outputs: Collection[Output]) -> tuple[str, ...]:
    """What of a graph's outputs a plan computes, for its name in the cache: () for all of them."""
    return () if len(outputs) == len(card.outputs) else tuple(output.tensor for output in outputs)


def _kept_plan(bundle: Bundle, precision: str, outputs: Collection[Output]) -> bytes | None:
    graph = bundle.graph(precision, GRAPHS)
    bundle.read(graph)  # refuses a tampered bundle, even where the true one's plan is kept
    trt, device = import_library(), cuda.describe()
    return plans.read(plans.plan_path(graph.sha256, precision, trt.__version__, device, tensors(bundle.card, outputs)))


def _no_plan(bundle: Bundle, precision: str) -> EngineError:
    return EngineError(
        f"engine {bundle.card.name}: no {precision} plan was built yet with TensorRT {import_library().__version__} for"
        f" this {cuda.describe().name} and its driver. Takes minutes: edge plan {bundle.folder} --precision {precision}"
    )
