"""What edge.backends.tensorrt asks of TensorRT, over the fake driver; it shows edge's ring, and nothing of TensorRT.

A plan is JSON: {"wh": [width, height], ...}. Its network gives each pixel the strongest of its three channels. As with
TensorRT, its work is put into a stream and done later, on the addresses that were set, and failures are False or None.
"""

from __future__ import annotations

import ctypes
import enum
import json
import threading
import weakref
from collections.abc import Callable
from typing import Any, cast

import numpy as np

__version__ = "10.3.0"

_DRIVER = ctypes.CDLL("libcuda.so.1")
_HOST_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_DRIVER.cuLaunchHostFunc.argtypes = [ctypes.c_void_p, _HOST_FUNCTION, ctypes.c_void_p]

alive: list[str] = []  # runtimes, engines and contexts, in the order they were made
freed: list[str] = []
calling: set[int] = set()  # ids of the threads that called
before_run: Callable[[np.ndarray], object] = np.ndarray.max  # a test may look at the image, or take its time
refuse: set[str] = set()  # the calls that fail


class TensorIOMode(enum.Enum):
    INPUT = 1
    OUTPUT = 2


class DataType(enum.Enum):
    UINT8 = 1
    FLOAT = 2


class ILogger:
    class Severity(enum.Enum):
        INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

    def log(self, severity: Severity, msg: str) -> None:
        raise NotImplementedError


class _Native:
    def __init__(self, logger: ILogger) -> None:
        self.logger, self.name = logger, type(self).__name__
        alive.append(self.name)
        calling.add(threading.get_ident())

    def __del__(self) -> None:
        alive.remove(self.name)
        freed.append(self.name)


class Runtime(_Native):
    engine_host_code_allowed = True

    def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
        assert self.engine_host_code_allowed is False
        if plan[:1] != b"{":
            self.logger.log(ILogger.Severity.ERROR, "the magic number of the plan is not TensorRT's")
            return None
        return Engine(self.logger, json.loads(plan))


class Engine(_Native):
    def __init__(self, logger: ILogger, plan: dict[str, Any]) -> None:
        super().__init__(logger)
        width, height = plan["wh"]
        kind = DataType[plan.get("takes", "UINT8")]
        # The output first: who goes by position instead of by mode mixes them up.
        self.tensors = {
            "semantic": (TensorIOMode.OUTPUT, DataType.UINT8, (1, height, width)),
            "image": (TensorIOMode.INPUT, kind, (1, height, width, 3)),
        }
        self.num_io_tensors = len(self.tensors)

    def get_tensor_name(self, index: int) -> str:
        return list(self.tensors)[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return self.tensors[name][0]

    def get_tensor_dtype(self, name: str) -> DataType:
        return self.tensors[name][1]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.tensors[name][2]

    def create_execution_context(self) -> Context | None:
        if "create_execution_context" in refuse:
            self.logger.log(ILogger.Severity.ERROR, "out of device memory")
            return None
        return Context(self.logger, self)


class Context(_Native):
    def __init__(self, logger: ILogger, engine: Engine) -> None:
        super().__init__(logger)
        self.engine, self.addresses = engine, {}
        itself = weakref.ref(self)  # no cycle: contexts must go when edge lets go of them
        self._run = _HOST_FUNCTION(lambda _: cast("Context", itself())._work())

    def set_tensor_address(self, name: str, address: int) -> bool:
        assert name in self.engine.tensors
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        calling.add(threading.get_ident())
        if "execute_async_v3" in refuse:
            self.logger.log(ILogger.Severity.ERROR, "an illegal memory access was encountered")
            return False
        return _DRIVER.cuLaunchHostFunc(stream_handle, self._run, None) == 0

    def _work(self) -> None:
        image, classes = (self._memory(name) for name in ("image", "semantic"))
        before_run(image)
        classes[:] = image.argmax(-1)

    def _memory(self, name: str) -> np.ndarray:
        shape = self.engine.tensors[name][2]
        pointer = ctypes.cast(self.addresses[name], ctypes.POINTER(ctypes.c_uint8))
        return np.ctypeslib.as_array(pointer, shape)
