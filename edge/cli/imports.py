"""A library that cannot be imported, in one line with what to type."""

from __future__ import annotations

import re
import traceback
from pathlib import Path

from edge.install import install_command

_EXTRA_OF = {
    **dict.fromkeys(("torch", "onnx", "onnxscript", "onnxruntime", "matplotlib", "tensorboard"), "train"),
    **dict.fromkeys(("starlette", "uvicorn", "websockets", "prometheus_client", "paho"), "serve"),
    **dict.fromkeys(("mcap", "foxglove_schemas_protobuf", "google", "rosbags", "pyarrow"), "drives"),
    **dict.fromkeys(("pycuda", "tensorrt"), "tensorrt"),
    "ray": "scale",
    "foxglove": "foxglove",
}
_NUMPY_ABI = re.compile(r"_ARRAY_API|numpy\.core\.multiarray|compiled using NumPy 1")
_IMPORT = re.compile(r"(?:import|from)\s+(\w+)")
_EDGE = str(Path(__file__).parents[1])


def import_advice(error: ImportError) -> str:
    """Which library, why, and what to type."""
    name = _library(error)
    reason = (str(error).strip().splitlines() or ["no reason given"])[0]
    if _NUMPY_ABI.search(str(error)):
        return f"{name} was built for NumPy 1 and NumPy 2 is installed ({reason}). Try: pip install 'numpy<2'"
    extra = _EXTRA_OF.get(name)
    package = f"edge-segmentation[{extra}]" if extra else "edge-segmentation"
    if isinstance(error, ModuleNotFoundError):
        return f"the library {name} is not installed. Try: {install_command(package)}"
    return (
        f"the library {name} cannot be imported: {reason}. See: edge doctor. Try: {install_command(package)} --upgrade"
    )


def _library(error: ImportError) -> str:
    """The module that failed: as Python names it, else what the last import in edge's own files names."""
    if error.name:
        return error.name.partition(".")[0]
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(_EDGE)]
    named = [match[1] for frame in own if (match := _IMPORT.match(frame.line or ""))]
    return named[-1] if named else "that was asked for"
