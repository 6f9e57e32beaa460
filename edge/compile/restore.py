"""A bundle of a net that edge trained, back into the net: so that it can be trained on without its checkpoint."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import NodeProto, numpy_helper
from torch import Tensor, nn

from edge.compile.export import AGREEMENT_WANTED, parity, rendered_frames
from edge.engine import Bundle
from edge.errors import ConfigError
from edge.nets import NETS, make_net

_HALF, _WEIGHT = ".half", ".weight"  # endings of names


def restore(bundle: Bundle) -> nn.Module:
    """The net of a bundle, without further heads, in evaluation mode, with the weights of its graph in fp32.

    A batch norm that the graph holds folded into a convolution is one that changes nothing but adds the bias: what it
    would measure of new images is not known, so train it on with `freeze_norms`.

    Raises:
        ConfigError: the net is not one of edge's, or the graph does not hold its weights.
        EngineError: the bundle holds no graph in fp32.
    """
    card = bundle.card
    if card.net not in NETS:
        raise ConfigError(
            f"{bundle.folder}: is of the net {card.net!r}, which edge cannot train; expected one of: {', '.join(NETS)}"
        )
    graph = bundle.read(bundle.graph("f32", "openvino"))
    values = _values_of(graph)
    net = make_net(card.net, len(card.table)).eval()
    _fill(net, values, *_followed(net, card.input_wh), str(bundle.folder))
    found = parity(net, graph, rendered_frames(card.input_wh, 2))
    if found.agreement < AGREEMENT_WANTED:
        raise ConfigError(
            f"{bundle.folder}: its weights do not make its net again: the two agree on {found.agreement:.2%} of pixels,"
            f" expected {AGREEMENT_WANTED:.1%}. Train on from its checkpoint: `start:` in a recipe"
        )
    return net


def _values_of(graph: bytes) -> dict[str, NDArray[Any]]:
    """The graph's constants by the names of the net's parameters. Where there are heads, the net is their `net`.

    Biases go by their convolutions: equal ones may share a constant, and zeros may be left out.
    """
    model = onnx.load_from_string(graph)
    constants = {c.name.removesuffix(_HALF): numpy_helper.to_array(c) for c in model.graph.initializer}
    values = dict(constants)
    for node in model.graph.node:
        weight = node.input[1] if node.op_type in ("Conv", "ConvTranspose") else ""
        if weight.endswith(_WEIGHT) and weight in constants:
            bias = constants.get(node.input[2]) if len(node.input) > 2 else None
            values[f"{weight.removesuffix(_WEIGHT)}.bias"] = _zeros(node, constants[weight]) if bias is None else bias
    if any(name.startswith("heads.") for name in values):
        values = {name.removeprefix("net."): value for name, value in values.items()}
    return values


def _zeros(node: NodeProto, weight: NDArray[Any]) -> NDArray[Any]:
    """A value for each output channel."""
    groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
    return np.zeros(weight.shape[0] if node.op_type == "Conv" else weight.shape[1] * groups, np.float32)


def _followed(net: nn.Module, input_wh: tuple[int, int]) -> tuple[dict[str, str], set[str]]:
    """By the name of each batch norm that directly follows a convolution: that convolution's; and the names of all
    modules that an image passes, which leaves out heads that are for training alone.
    """
    passed: set[str] = set()
    made: dict[int, tuple[str, Tensor]] = {}  # the output is kept, so that its id is its own
    pairs: dict[str, str] = {}

    def note(name: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        passed.add(name)
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            made[id(output)] = (name, output)
        elif isinstance(module, nn.BatchNorm2d) and id(inputs[0]) in made:
            pairs[name] = made[id(inputs[0])][0]

    hooks = [
        module.register_forward_hook(lambda m, i, o, name=name: note(name, m, i, o))
        for name, module in net.named_modules()
    ]
    with torch.no_grad():
        net(torch.zeros(1, 3, *input_wh[::-1]))
    for hook in hooks:
        hook.remove()
    return pairs, passed


def _fill(
    net: nn.Module, values: dict[str, NDArray[Any]], pairs: dict[str, str], passed: set[str], origin: str
) -> None:
    """Put the graph's values into the modules of a net that an image passes."""
    given = dict(values)
    state = net.state_dict()  # whose tensors are the net's own
    for norm, conv in pairs.items():
        if f"{norm}.weight" not in values:
            given |= _identity(net.get_submodule(norm), norm)
            if (bias := values.get(f"{conv}.bias")) is not None:
                given[f"{norm}.bias"] = bias
                given[f"{conv}.bias"] = np.zeros_like(bias)
    for name, tensor in state.items():
        if name.endswith("num_batches_tracked") or name.rpartition(".")[0] not in passed:
            continue
        found = given.get(name)
        if found is None or tuple(found.shape) != tuple(tensor.shape):
            what = "none" if found is None else f"shape {tuple(found.shape)}"
            raise ConfigError(f"{origin}: expected {name} of shape {tuple(tensor.shape)} in its graph, got {what}")
        tensor.copy_(torch.from_numpy(np.array(found, np.float32)))


def _identity(norm: nn.Module, name: str) -> dict[str, NDArray[Any]]:
    """The values of a batch norm that changes nothing."""
    assert isinstance(norm, nn.BatchNorm2d)
    ones, zeros = np.ones(norm.num_features, np.float32), np.zeros(norm.num_features, np.float32)
    return {
        f"{name}.weight": ones,
        f"{name}.bias": zeros,
        f"{name}.running_mean": zeros,
        f"{name}.running_var": ones - np.float32(norm.eps),
    }
