"""Facts about libraries, each asked for in a process of its own: a broken driver does not raise, it crashes or hangs.

A probe is a function below; its child process prints what it returns as JSON. Nothing is left behind: what an engine
compiles goes into a folder that is removed again.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any

Facts = Mapping[str, Any]

SCRATCH = "EDGE_DOCTOR_SCRATCH"  # the child's environment names a folder that it may fill
LIMIT_S = 10.0  # a healthy GPU without persistence mode may take 3 s to wake up
SLOW_LIMIT_S = 60.0  # of what only reads files and computes: there, no answer means a busy machine, not a broken one
_DRIVERS = ("cuda", "tensorrt", "pycuda")
_USERS_OF_OPENCV = ("edge.pipeline", "edge.sinks.masks", "edge.sinks.video", "edge.sources.images")
_DEVICE_ATTRIBUTES = {"major": 75, "minor": 76, "integrated": 18}  # CUdevice_attribute of cuda.h


def probe_all(limit_s: float = LIMIT_S) -> dict[str, Facts]:
    """The facts of every probe, all asked at once, by name. A probe that failed gives {"error": why}."""
    with tempfile.TemporaryDirectory(prefix="edge-doctor-") as scratch, ThreadPoolExecutor(len(PROBES)) as pool:
        limits_s = {name: limit_s if name in _DRIVERS else max(limit_s, SLOW_LIMIT_S) for name in PROBES}
        answers = pool.map(lambda name: ask(name, scratch, limits_s[name]), PROBES)
        return dict(zip(PROBES, answers, strict=True))


def ask(name: str, scratch: str, limit_s: float = LIMIT_S) -> Facts:
    """The facts of one probe, from a child process that imports from where this one does."""
    code = f"import sys; sys.path[:] = {sys.path!r}; from edge.doctor.probe import main; main({name!r})"
    try:
        child = subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, SCRATCH: scratch},
            text=True,
            errors="replace",
        )
    except OSError as error:
        return {"error": f"no process can be started: {error.strerror}"}
    try:
        answer, complaint = child.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        child.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # stuck inside the driver, it cannot even be killed
            child.communicate(timeout=1)
        return {"error": f"no answer within {limit_s:g} s", "slow": True}
    return _facts(child.returncode, answer, complaint)


def _facts(code: int, answer: str, complaint: str) -> Facts:
    """What a child said before it ended with that code."""
    if code < 0:
        return {"error": f"crashed ({signal.strsignal(-code) or f'signal {-code}'})"}
    try:
        return json.loads(answer.splitlines()[-1])
    except (IndexError, ValueError):
        return {"error": (complaint.strip().splitlines() or ["ended without an answer"])[-1]}


def main(name: str) -> None:
    """The child: print the facts of a probe, or {"error": why not}, as the last line."""
    try:
        facts = PROBES[name]()
    except Exception as error:  # noqa: BLE001 whatever a library raises is what the report shows
        facts = {"error": str(error) or type(error).__name__, "missing": isinstance(error, ModuleNotFoundError)}
    print(json.dumps(facts))  # noqa: T201 the answer


def _cuda() -> Facts:
    """Driver and devices, from libcuda itself, which is there before any toolkit."""
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        return {"error": str(error), "missing": True}
    code = library.cuInit(0)
    if code:
        return {"error": f"cuInit gives error {code}", "code": code}
    version, count = ctypes.c_int(), ctypes.c_int()
    library.cuDriverGetVersion(ctypes.byref(version))
    library.cuDeviceGetCount(ctypes.byref(count))
    return {"cuda": _cuda_version(version.value), "devices": [_cuda_device(library, i) for i in range(count.value)]}


def _cuda_device(library: ctypes.CDLL, number: int) -> Facts:
    device, name, memory = ctypes.c_int(), ctypes.create_string_buffer(256), ctypes.c_size_t()
    library.cuDeviceGet(ctypes.byref(device), number)
    library.cuDeviceGetName(name, len(name), device)
    library.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    values = {}
    for key, attribute in _DEVICE_ATTRIBUTES.items():
        value = ctypes.c_int()
        library.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
        values[key] = value.value
    return {"name": name.value.decode(errors="replace"), "memory_bytes": memory.value, **values}


def _cuda_version(number: int) -> str:
    """12060 -> "12.6", as cuda.h counts."""
    return f"{number // 1000}.{number % 1000 // 10}"


def _tensorrt() -> Facts:
    import tensorrt  # pyright: ignore[reportMissingImports]

    return {"version": tensorrt.__version__, "file": tensorrt.__file__}


def _pycuda() -> Facts:
    import pycuda  # pyright: ignore[reportMissingImports]
    import pycuda.driver  # pyright: ignore[reportMissingImports]  # needs libcuda, which `import pycuda` does not

    return {"version": pycuda.VERSION_TEXT, "cuda": ".".join(map(str, pycuda.driver.get_version()[:2]))}


def _openvino() -> Facts:
    from edge.backends.openvino import get_core, import_library

    openvino, core = import_library(), get_core()
    return {
        "version": openvino.__version__,
        "devices": core.available_devices,
        "cpu": core.get_property("CPU", "FULL_DEVICE_NAME").strip(),
        "capabilities": list(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")),
    }


def _onnxruntime() -> Facts:
    from edge.backends.onnxruntime import import_library, unavailable_reason

    if reason := unavailable_reason():
        return {"error": reason, "missing": True}
    library = import_library()
    return {"version": library.__version__, "providers": library.get_available_providers()}


def _opencv() -> Facts:
    import cv2

    for module in _USERS_OF_OPENCV:  # an OpenCV may load, and lack what they ask it for
        import_module(module)
    return {"version": cv2.__version__, "file": cv2.__file__, "build": cv2.getBuildInformation()}


def _av() -> Facts:
    import av
    import av.codec

    import_module("edge.sources.recording")
    facts = {"version": av.__version__, "ffmpeg": av.ffmpeg_version_info}
    try:
        av.codec.Codec("libx264", "w")
    except av.codec.codec.UnknownCodecError:
        return {**facts, "libx264": False}
    return {**facts, "libx264": True}


def _engines() -> Facts:
    """Each bundle by name: what its card says, or what is wrong with it."""
    from edge.engine import list_bundles

    return {"bundles": {name: _bundle(name) for name in list_bundles()}}


def _bundle(name: str) -> Facts:
    """Graphs that a machine has no use for may be left out of its copy of a bundle; the others must be the card's."""
    from edge.engine import find_bundle
    from edge.errors import EngineError

    try:
        bundle = find_bundle(name)
        graphs = [graph for graph in bundle.card.graphs if (bundle.folder / graph.file).is_file()]
        for graph in graphs:
            bundle.read(graph)
    except EngineError as error:
        return {"error": str(error)}
    return {
        "precision": bundle.card.precision,
        "graphs": list(dict.fromkeys(f"{graph.precision} for {graph.runtime}" for graph in graphs)),
        "sizes": len({graph.input_wh for graph in graphs}),
    }


def _default_engine() -> Facts:
    """The default engine, run once; `obstacle` is why not by TensorRT, or null. A plan takes minutes to build, so it is
    never built here: TensorRT runs where this device keeps one.
    """
    import numpy as np

    from edge.backends import available_backends, choose_backend, load_backend, open_engine
    from edge.engine import DEFAULT_ENGINE, find_bundle

    bundle = find_bundle(DEFAULT_ENGINE)
    engine, obstacle = _by_tensorrt(bundle)
    backend = "tensorrt"
    if engine is None:
        os.environ["XDG_CACHE_HOME"] = os.environ[SCRATCH]  # where OpenVINO leaves what it compiles
        quick = [
            name for name, reason in available_backends().items() if not reason and load_backend(name).OPENS_QUICKLY
        ]
        backend = choose_backend(quick[0] if quick else None)
        engine = open_engine(bundle.folder, backend=backend)
    with engine:
        width, height = engine.card.input_wh
        engine.infer(np.zeros((height, width, 3), np.uint8))
        layers = dict(load_backend(backend).layer_precisions(engine))
        return {"name": engine.card.name, "precision": engine.precision, "obstacle": obstacle, "layers": layers}


def _by_tensorrt(bundle: Any) -> tuple[Any, str | None]:
    from edge.backends.tensorrt import TensorRtEngine, unavailable_reason
    from edge.errors import EngineError

    if reason := unavailable_reason():
        return None, reason
    try:
        return TensorRtEngine(bundle), None
    except EngineError as error:  # such as that no plan was built yet
        return None, str(error)


PROBES = {
    "cuda": _cuda,
    "tensorrt": _tensorrt,
    "pycuda": _pycuda,
    "openvino": _openvino,
    "onnxruntime": _onnxruntime,
    "opencv": _opencv,
    "av": _av,
    "engines": _engines,
    "default engine": _default_engine,
}
