"""edge: road and pedestrian masks from a PyTorch-trained net, at camera rate.

    import edge

    for result in edge.segment("drive.mp4", "road"):
        road = result.mask("road")  # bool (H, W) at the video's resolution
        print(result.frame.index, f"{result.age_ms:.0f} ms old", f"{road.mean():.0%} road")

Names are imported at first use, so that `import edge` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge.backends import open_engine
    from edge.bench import bench_engine
    from edge.compile.adapt import adapt
    from edge.compile.library import build, calibrate
    from edge.engine import Engine
    from edge.errors import EdgeError
    from edge.evaluate.library import evaluate_engine
    from edge.frame import Frame
    from edge.pipeline import segment
    from edge.prediction import Prediction
    from edge.recording import record
    from edge.sources.open import open_source

    __version__: str

__all__ = [
    "EdgeError",
    "Engine",
    "Frame",
    "Prediction",
    "adapt",
    "bench_engine",
    "build",
    "calibrate",
    "evaluate_engine",
    "open_engine",
    "open_source",
    "record",
    "segment",
]

_HOMES = {
    "EdgeError": "edge.errors",
    "Engine": "edge.engine",
    "Frame": "edge.frame",
    "Prediction": "edge.prediction",
    "adapt": "edge.compile.adapt",
    "bench_engine": "edge.bench",
    "build": "edge.compile.library",
    "calibrate": "edge.compile.library",
    "evaluate_engine": "edge.evaluate.library",
    "open_engine": "edge.backends",
    "open_source": "edge.sources.open",
    "record": "edge.recording",
    "segment": "edge.pipeline",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name not in _HOMES:
        raise AttributeError(f"module 'edge' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def _version() -> str:
    """Of the installed distribution; a checkout that was never installed has none of its own."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("edge-segmentation")
    except PackageNotFoundError:
        return "0+unknown"
