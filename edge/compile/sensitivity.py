"""How much each layer alone costs in INT8: the share of pixels whose class changes when only that layer is INT8.

The measure needs no labels, and is taken on calibration frames, never on those the gate judges by.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from onnx import ModelProto

from edge.compile.observe import Range, layer_name, quantisable
from edge.compile.quantize import to_bytes, write_int8
from edge.compile.trial import trial
from edge.frame import Image
from edge.sinks.files import write_text

SIDE_BY_SIDE = 2  # processes; each takes what threads are left


def measure_sensitivity(
    model: ModelProto,
    ranges: Mapping[str, Range],
    images: Sequence[Image],
    cache_file: Path,
    key: str,
    on_layer: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """By layer, the costliest first: the part of all pixels of `images` (uint8 (h, w, 3) of the graph's size) that get
    another class than in fp32 when only this layer is INT8.

    Each layer's graph runs in a subprocess. What is measured is kept in `cache_file` for the same `key`, so that an
    interrupted measurement goes on where it stood.

    Raises:
        EngineError: OpenVINO cannot run one of the graphs.
    """
    layers = list(dict.fromkeys(layer_name(node) for node in quantisable(model)))
    found = {layer: share for layer, share in _noted(cache_file, key).items() if layer in layers}
    wanted = trial(to_bytes(model), images)

    def measure(layer: str) -> tuple[str, float]:
        alone = write_int8(model, ranges, "openvino", keep_float=[name for name in layers if name != layer])
        classes = trial(to_bytes(alone), images, precision="int8")
        return layer, float(np.mean(classes != wanted))

    with ThreadPoolExecutor(SIDE_BY_SIDE, "sensitivity") as pool:
        try:
            for layer, share in pool.map(measure, [layer for layer in layers if layer not in found]):
                found[layer] = share
                write_text(cache_file, json.dumps({"key": key, "layers": found}, indent=1) + "\n")
                on_layer()
        finally:
            pool.shutdown(cancel_futures=True)
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _noted(cache_file: Path, key: str) -> dict[str, float]:
    """What an earlier measurement with the same key left; nothing where it is missing or cannot be read."""
    try:
        tree = json.loads(cache_file.read_text(encoding="utf-8"))
        return {str(name): float(share) for name, share in tree["layers"].items()} if tree["key"] == key else {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
