"""Run as `python build_with_rtx.py MODEL.onnx`: has TensorRT for RTX build a plan, and says in a line of JSON what of.

It is a process of its own because TensorRT may crash. It needs no GPU: nothing is run, and no plan is loaded.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def build(model: bytes) -> dict[str, Any]:
    """Inputs and outputs, what each convolution computes in, and the plan's size; or why TensorRT refuses."""
    import tensorrt_rtx as trt

    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model):
        return {"refused": "; ".join(parser.get_error(i).desc() for i in range(parser.num_errors))}
    plan = builder.build_serialized_network(network, builder.create_builder_config())
    if plan is None:
        return {"refused": "by the builder, see standard error"}
    inputs = [network.get_input(i) for i in range(network.num_inputs)]
    outputs = [network.get_output(i) for i in range(network.num_outputs)]
    return {
        "inputs": [[t.name, t.dtype.name, list(t.shape)] for t in inputs],
        "outputs": [[t.name, t.dtype.name, list(t.shape)] for t in outputs],
        "convolutions": convolution_types(network),
        "bytes": plan.nbytes,
    }


def convolution_types(network: Any) -> list[str]:
    """INT8 where data and weights are both dequantised from int8, else the type of the data."""
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    source = {layer.get_output(i).name: layer for layer in layers for i in range(layer.num_outputs)}

    def stored_as(tensor: Any) -> str:
        layer = source.get(tensor.name)
        if layer is not None and layer.type.name == "DEQUANTIZE":
            return layer.get_input(0).dtype.name
        return tensor.dtype.name

    def computed_in(layer: Any) -> str:
        types = [
            stored_as(layer.get_input(i)) for i in range(min(layer.num_inputs, 2))
        ]  # constant weights are no input
        return types[0] if len(set(types)) == 1 else " and ".join(types)

    return [computed_in(layer) for layer in layers if layer.type.name in ("CONVOLUTION", "DECONVOLUTION")]


if __name__ == "__main__":
    print(json.dumps(build(Path(sys.argv[1]).read_bytes())))  # noqa: T201, it is what the test reads
