"""A torch net that a user brings: a factory to import, and its weights.

    adopted = adopt_torch("nets.city:make_net", Path("city.pt"), Path("city.yaml"))

The factory is the user's code and is run; the weights are data and are not (`weights_only=True`).
"""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edge.compile.adopt import Adopted, Origin, adopt_model, checked_frames, scaled
from edge.compile.card_file import load_card_file
from edge.compile.export import plain_onnx
from edge.errors import ConfigError, EngineError
from edge.frame import Image

_STATE_KEYS = ("averaged", "ema_state_dict", "state_dict", "model_state_dict", "model", "net")  # where trainers put it
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.")  # of DataParallel, torch.compile and wrappers
_NAMED = 4  # keys in a message


def adopt_torch(factory: str, weights: Path, card_path: Path, images: Sequence[Image] = ()) -> Adopted:
    """An engine of a torch net; see `edge.compile.adopt.adopt`. The reference that it must agree with is torch itself.

    `factory` is "module:function", found as Python finds modules from the working directory. It is called with the
    card's `arguments` and gives an nn.Module that takes float (1, 3, H, W).

    Raises:
        ConfigError: the card file is not in order, or says no size.
        EngineError: there is no such net, the weights are another's, or as `adopt`.
    """
    spec = load_card_file(card_path)
    input_wh = spec.input.size_wh
    if input_wh is None or spec.input.layout == "nhwc":
        raise ConfigError(f"{card_path}: a torch net wants input.size, such as 640x480, and takes nchw")
    net = load_net(factory, weights, spec.arguments)
    frames = checked_frames(images, input_wh)
    inputs = torch.from_numpy(scaled(frames, spec, last=False, dtype=np.float32))
    try:
        head = OneHead(net, spec.output).eval()
        answers = _answers(head, inputs)
        model = plain_onnx(head, input_wh)
    except EngineError as error:
        raise EngineError(f"{factory}: {error}") from error
    digest = hashlib.sha256(card_path.read_bytes()).hexdigest()
    origin = Origin(factory, torch.__version__, spec.net or factory, digest)
    return adopt_model(model, spec.model_copy(update={"output": None}), origin, frames, answers)


# ------------------------------------------------------------------------------------------------------------- the net


def load_net(factory: str, weights: Path, arguments: Mapping[str, Any]) -> nn.Module:
    """The net of a factory with its weights, ready to evaluate.

    Raises:
        EngineError: the factory cannot be imported or called, or the weights are not this net's.
    """
    made = _imported(factory)
    try:
        net = made(**arguments)
    except Exception as error:  # the user's code may raise anything
        raise EngineError(f"{factory}({_spelt(arguments)}) failed: {type(error).__name__}: {error}") from error
    if not isinstance(net, nn.Module):
        raise EngineError(f"{factory} gave a {type(net).__name__}, expected a torch.nn.Module")
    _load_weights(net, weights)
    return net.eval()


def _imported(factory: str) -> Any:
    module_name, _, name = factory.partition(":")
    if not module_name or not name:
        raise ConfigError(f"a torch net is given as module:factory, such as nets.city:make_net; found {factory!r}")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        found = getattr(importlib.import_module(module_name), name, None)
    except Exception as error:  # the user's code may raise anything
        raise EngineError(f"{factory}: cannot be imported from {here}: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(here)
    if not callable(found):
        raise EngineError(f"{factory}: the module {module_name} has no function or class {name!r}")
    return found


def _spelt(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in arguments.items())


# --------------------------------------------------------------------------------------------------------- its weights


def _load_weights(net: nn.Module, path: Path) -> None:
    wanted = net.state_dict()
    state = _named_alike(_read_state(path), wanted)
    missing = [key for key in wanted if key not in state and not key.endswith("num_batches_tracked")]
    unknown = [key for key in state if key not in wanted]
    resized = [
        f"{key} {tuple(state[key].shape)} in the file, {tuple(wanted[key].shape)} in the net"
        for key in wanted
        if key in state and state[key].shape != wanted[key].shape
    ]
    found = (("missing", missing), ("not in the net", unknown), ("of another shape", resized))
    if lines := [f"{len(keys)} {what}: {_few(keys)}" for what, keys in found if keys]:
        raise EngineError("\n  ".join([f"{path}: the weights are not this net's", *lines]))
    net.load_state_dict(state, strict=False)


def _read_state(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise EngineError(f"{path}: there is no such file of weights")
    try:
        tree = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen types for a file that is not a checkpoint
        raise EngineError(
            f"{path}: is not a file of weights alone ({type(error).__name__});"
            " save them by torch.save(net.state_dict(), path)"
        ) from error
    for key in _STATE_KEYS:
        if isinstance(tree, dict) and isinstance(tree.get(key), dict):
            tree = tree[key]
            break
    tensors = {key: value for key, value in tree.items() if isinstance(value, Tensor)} if isinstance(tree, dict) else {}
    if not tensors:
        raise EngineError(f"{path}: holds no weights by name; save them by torch.save(net.state_dict(), path)")
    return tensors


def _named_alike(state: dict[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without a prefix that every name has and the net has not, as wrappers of nets leave it."""
    for prefix in _PREFIXES:
        if all(key.startswith(prefix) for key in state) and not any(key.startswith(prefix) for key in wanted):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _few(keys: Sequence[str]) -> str:
    return ", ".join(keys[:_NAMED]) + (", …" if len(keys) > _NAMED else "")


# ------------------------------------------------------------------------------------------------------------ its head


class OneHead(nn.Module):
    """A net of which one output is taken: by key of a dict, by place in a tuple, or the only one."""

    def __init__(self, net: nn.Module, output: str | None) -> None:
        super().__init__()
        self.net, self.output = net, output

    def forward(self, image: Tensor) -> Tensor:
        """The output that is meant.

        Raises:
            EngineError: there is no output of that name, or several and no name; it says what there is.
        """
        return _head(self.net(image), self.output)


def _head(outputs: Any, name: str | None) -> Tensor:
    if isinstance(outputs, Tensor):
        outputs, name = {"": outputs}, name or ""
    heads = dict(outputs) if isinstance(outputs, Mapping) else {str(i): head for i, head in enumerate(outputs)}
    if name is None and len(heads) == 1:
        name = next(iter(heads))
    if name is None or not isinstance(heads.get(name), Tensor):
        there = "; ".join(f"{key} {tuple(getattr(head, 'shape', ()))}" for key, head in heads.items())
        raise EngineError(f"the net has no output {name!r}; say with `output` which of these is meant: {there}")
    return heads[name]


@torch.no_grad()
def _answers(head: OneHead, inputs: Tensor) -> NDArray[Any]:
    """(N, ...): what the head gives for each image."""
    try:
        return np.stack([head(image[None]).numpy() for image in inputs])
    except EngineError:
        raise
    except Exception as error:  # the user's code may raise anything
        raise EngineError(f"fails on an image {tuple(inputs.shape[1:])}: {type(error).__name__}: {error}") from error
