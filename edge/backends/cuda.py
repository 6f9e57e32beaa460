"""The little of CUDA that an engine needs: a device, streams, buffers with a twin on the host, recorded work.

pycuda does the memory, streams and events; ctypes does what pycuda has no call for: to ask for a driver without
crashing where it is missing, to describe the device, and CUDA graphs. Nothing above this file names either, so a second
implementation is one more file like this one.

A thread that opens a `Device` owns it: all calls on it and on what it made come from that thread, and it has one.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.closing import Closing
from edge.errors import EngineError
from edge.shortage import check_shortage

DRIVER = "libcuda.so.1"
_COMPUTE_MAJOR, _COMPUTE_MINOR, _INTEGRATED = 75, 76, 18  # CU_DEVICE_ATTRIBUTE_..., cuda.h
# Only this thread's calls may spoil a capture: torch or TensorRT may allocate in others meanwhile.
_CAPTURE_THREAD_LOCAL = 1

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Description:
    """What a plan's tactics were chosen for. `driver` names kernel driver and, on a Jetson, its Linux for Tegra."""

    name: str
    uuid: str
    compute: tuple[int, int]
    integrated: bool
    driver: str

    def __str__(self) -> str:
        return f"{self.name} {self.uuid}, {self.driver}"


# ------------------------------------------------------------------------------------------------ before any of pycuda


def unavailable_reason() -> str | None:
    """Why CUDA cannot be used, in one line; None if it can.

    Asked of the driver itself: TensorRT and pycuda crash or fail obscurely where it is missing.
    """
    reason = no_gpu_reason()
    if reason is None and importlib.util.find_spec("pycuda") is None:
        return "pycuda is not installed: pip install pycuda"
    return reason


def no_gpu_reason() -> str | None:
    """Why there is no GPU to use, in one line; None if there is one."""
    try:
        driver = ctypes.CDLL(DRIVER)
    except OSError:
        return f"no NVIDIA driver is installed ({DRIVER} is not found)"
    if code := driver.cuInit(0):
        return f"the NVIDIA driver does not start (cuInit: {_error_name(driver, code)}); look at: nvidia-smi, dmesg"
    count = ctypes.c_int()
    if code := driver.cuDeviceGetCount(ctypes.byref(count)):
        return f"the NVIDIA driver does not list its GPUs (cuDeviceGetCount: {_error_name(driver, code)})"
    if count.value == 0:
        return "the NVIDIA driver sees no GPU; if CUDA_VISIBLE_DEVICES is set, it may hide it"
    return None


def describe() -> Description:
    """The first GPU, described without opening it. `unavailable_reason` must have given None.

    Raises:
        EngineError: the driver does not answer.
    """
    driver = _driver()
    device = ctypes.c_int()
    _call(driver, "cuDeviceGet", ctypes.byref(device), 0)
    name, uuid = ctypes.create_string_buffer(256), ctypes.create_string_buffer(16)
    _call(driver, "cuDeviceGetName", name, len(name), device)
    _call(driver, "cuDeviceGetUuid_v2", uuid, device)
    major, minor, integrated = (
        _attribute(driver, device, number) for number in (_COMPUTE_MAJOR, _COMPUTE_MINOR, _INTEGRATED)
    )
    return Description(
        name.value.decode(errors="replace"), uuid.raw.hex(), (major, minor), bool(integrated), _driver_text()
    )


def _attribute(driver: ctypes.CDLL, device: ctypes.c_int, number: int) -> int:
    value = ctypes.c_int()
    _call(driver, "cuDeviceGetAttribute", ctypes.byref(value), number, device)
    return value.value


def _driver_text() -> str:
    """The kernel driver's and Jetson Linux's own lines about themselves, where there are such."""
    paths = [Path("/proc/driver/nvidia/version"), Path("/etc/nv_tegra_release")]
    lines = [path.read_text(encoding="utf-8", errors="replace").partition("\n")[0] for path in paths if path.is_file()]
    version = ctypes.c_int()
    _call(_driver(), "cuDriverGetVersion", ctypes.byref(version))
    return "; ".join([f"CUDA {version.value // 1000}.{version.value % 1000 // 10}", *lines])


@functools.cache
def _driver() -> ctypes.CDLL:
    """The driver, with the argument types that ctypes would guess wrong: pointers are wider than its int."""
    driver = ctypes.CDLL(DRIVER)
    pointer = ctypes.c_void_p
    driver.cuStreamBeginCapture_v2.argtypes = [pointer, ctypes.c_int]
    driver.cuStreamEndCapture.argtypes = [pointer, pointer]
    driver.cuGraphInstantiateWithFlags.argtypes = [pointer, pointer, ctypes.c_ulonglong]
    driver.cuGraphLaunch.argtypes = [pointer, pointer]
    driver.cuGraphDestroy.argtypes = driver.cuGraphExecDestroy.argtypes = [pointer]
    if code := driver.cuInit(0):
        raise EngineError(f"the NVIDIA driver does not start (cuInit: {_error_name(driver, code)})")
    return driver


def _call(driver: ctypes.CDLL, name: str, *arguments: Any) -> None:
    if code := getattr(driver, name)(*arguments):
        raise EngineError(f"{name}: {_error_name(driver, code)}")


def _error_name(driver: ctypes.CDLL, code: int) -> str:
    name = ctypes.c_char_p()
    driver.cuGetErrorName(code, ctypes.byref(name))
    return name.value.decode() if name.value else f"error {code}"


# -------------------------------------------------------------------------------------------------------- the device


class Device(Closing):
    """The first GPU, through its primary context, which torch and TensorRT use too. Closing it frees all it made.

    Raises:
        EngineError: it cannot be opened; or, from any call, CUDA failed.
    """

    def __init__(self) -> None:
        if reason := unavailable_reason():
            raise EngineError(f"CUDA cannot be used: {reason}")
        self._made: list[Stream | Buffer | Recording] = []
        self._driver = _driver()
        cuda = import_pycuda()
        with translated("opening the GPU"):
            cuda.init()
            device = cuda.Device(0)
            # On a Jetson the GPU reads and writes the host's memory: one buffer serves both, and nothing is copied.
            self.integrated = bool(device.get_attribute(cuda.device_attribute.INTEGRATED))
            self._context: Any = device.retain_primary_context()
            self._context.push()

    def stream(self) -> Stream:
        """A new stream, apart from the default one."""
        return self._kept(Stream(self._driver))

    def buffer(self, shape: tuple[int, ...], dtype: str = "uint8") -> Buffer:
        """Memory of that shape on host and device."""
        return self._kept(Buffer(shape, dtype, mapped=self.integrated))

    def record(self, stream: Stream, enqueue: Callable[[], None]) -> Recording:
        """What `enqueue` puts into a stream, recorded instead of done, to be launched at once and often."""
        return self._kept(Recording(self._driver, stream, enqueue))

    def _kept(self, made: Any) -> Any:
        self._made.append(made)
        return made

    def close(self) -> None:
        """Free all that came from here, last made first. It may be called twice."""
        if self._context is None:
            return
        while self._made:
            made = self._made.pop()
            try:
                made.close()
            except EngineError as error:  # after a failed kernel nothing can be freed; the process's end frees it
                log.info("%s is not freed: %s", type(made).__name__.lower(), error)
        context, self._context = self._context, None
        with translated("closing the GPU"):
            context.pop()
            context.detach()
        # pycuda pushes a context to detach it, and takes it for popped, as it is for one that it created itself.
        _call(self._driver, "cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))


class Stream:
    """Work for the GPU, in order. `handle` is the driver's."""

    def __init__(self, driver: ctypes.CDLL) -> None:
        cuda = import_pycuda()
        self._driver = driver
        with translated("making a stream"):
            self._stream: Any = cuda.Stream(1)  # 1: does not wait for the default stream, where others may work
            # Blocking: the thread sleeps while it waits. Spinning would take a core from the decoder.
            flags = cuda.event_flags
            self._end: Any = cuda.Event(flags.BLOCKING_SYNC | flags.DISABLE_TIMING)
        self.handle: int = self._stream.handle

    def wait(self) -> None:
        """Sleep until all that was put into it is done."""
        with translated("waiting for the GPU"):
            self._end.record(self._stream)
            self._end.synchronize()

    def close(self) -> None:
        """Let go of it; the driver frees it when its work is done (cuStreamDestroy)."""
        self._end = self._stream = None


class Buffer:
    """Memory: `host`, an array in pinned memory, and its twin at `address` on the device.

    Where the GPU reads the host's memory (`mapped`) both are the same, and `upload` and `download` have nothing to do.
    """

    def __init__(self, shape: tuple[int, ...], dtype: str = "uint8", *, mapped: bool) -> None:
        cuda = import_pycuda()
        self._twin: Any = None
        size_bytes = math.prod(shape) * np.dtype(dtype).itemsize
        with translated(f"allocating {size_bytes} bytes"):
            flags = cuda.host_alloc_flags.DEVICEMAP if mapped else 0
            self.host: NDArray[Any] = cuda.pagelocked_empty(shape, np.dtype(dtype), mem_flags=flags)
            self._memory: Any = self.host.base
            try:
                self._twin = None if mapped else cuda.mem_alloc(size_bytes)
            except cuda.Error:
                self.close()
                raise
        self.address: int = self._memory.get_device_pointer() if mapped else int(self._twin)

    def upload(self, stream: Stream) -> None:
        """Put a copy from host to device into a stream."""
        if self._twin is not None:
            with translated("copying to the GPU"):
                import_pycuda().memcpy_htod_async(self._twin, self.host, stream._stream)

    def download(self, stream: Stream) -> None:
        """Put a copy from device to host into a stream."""
        if self._twin is not None:
            with translated("copying from the GPU"):
                import_pycuda().memcpy_dtoh_async(self.host, self._twin, stream._stream)

    def close(self) -> None:
        """Free both. `host` must not be touched afterwards; it is replaced, so that a slip reads zeros."""
        twin, memory, self._twin, self._memory = self._twin, self._memory, None, None
        self.host = np.zeros(self.host.shape, np.uint8)
        with translated("freeing a buffer"):
            if twin is not None:
                twin.free()
            if memory is not None:
                memory.free()


class Recording:
    """A CUDA graph: one launch instead of one per kernel and copy."""

    def __init__(self, driver: ctypes.CDLL, stream: Stream, enqueue: Callable[[], None]) -> None:
        self._driver, self._stream = driver, stream
        self._executable = ctypes.c_void_p()
        graph = ctypes.c_void_p()
        _call(driver, "cuStreamBeginCapture_v2", stream.handle, _CAPTURE_THREAD_LOCAL)
        try:
            enqueue()
        except BaseException:  # Ctrl-C too: the stream must not stay in capture
            driver.cuStreamEndCapture(stream.handle, ctypes.byref(graph))
            if graph:
                driver.cuGraphDestroy(graph)
            raise
        _call(driver, "cuStreamEndCapture", stream.handle, ctypes.byref(graph))
        try:
            _call(driver, "cuGraphInstantiateWithFlags", ctypes.byref(self._executable), graph, 0)
        finally:
            driver.cuGraphDestroy(graph)

    def launch(self) -> None:
        """Put it into its stream."""
        _call(self._driver, "cuGraphLaunch", self._executable, self._stream.handle)

    def close(self) -> None:
        """Free it. It may be called twice.

        Raises:
            EngineError: the driver refuses.
        """
        executable, self._executable = self._executable, ctypes.c_void_p()
        if executable:
            _call(self._driver, "cuGraphExecDestroy", executable)


# ------------------------------------------------------------------------------------------------------------- pycuda


@functools.cache
def import_pycuda() -> Any:
    """pycuda's driver module; `unavailable_reason` must have given None.

    Raises:
        EngineError: it cannot be imported, because it was built for another Python, CUDA or numpy.
    """
    try:
        import pycuda.driver
    except ImportError as error:
        check_shortage(error)
        raise EngineError(
            f"pycuda cannot be imported ({error}). Build it anew: pip install --force-reinstall --no-cache-dir pycuda"
        ) from error
    return pycuda.driver


@contextmanager
def translated(what: str) -> Iterator[None]:
    """CUDA's failures as edge's: "copying to the GPU: cuMemcpyHtoDAsync failed: an illegal memory access ..."."""
    cuda = import_pycuda()
    try:
        yield
    except cuda.Error as error:
        raise EngineError(f"{what}: {error}") from error
