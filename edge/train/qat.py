"""Training with INT8's rounding in the loop, for nets that lose too much when they are rounded afterwards.

Every convolution that INT8 takes (all but the last, as `edge.compile.observe.quantisable`) reads a rounded input and
has rounded weights; gradients pass the rounding as if it were not there (straight-through, Bengio et al. 2013,
arXiv 1308.3432). The range of each input is learned (LSQ, Esser et al. 2019, arXiv 1902.08153), from the largest values
of some training frames on.

Batch norms keep their statistics, and are not folded: the batches of a fine-tuning are too small and too few to measure
them anew, and folding is not needed, since it scales each output channel of a convolution, and weights are rounded with
a scale per output channel: rounded and then folded, or folded and then rounded, they are the same. So the weights stay
those of the plain net, and its checkpoint is one like any other, with the ranges beside them.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from edge.errors import ConfigError

Form = Literal["openvino", "tensorrt"]
Pair = tuple[float, float]  # low and high

SMALLEST_STEP = 2.0**-20  # as in edge.compile.quantize
WEIGHT_LEVELS = 127
CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)
BATCH_NORMS = (nn.BatchNorm2d,)
ADDITIONS = (torch.add, torch.Tensor.add, torch.Tensor.__add__, torch.Tensor.add_, torch.Tensor.__iadd__)


class FakeQuantised(nn.Module):
    """A net that computes as its INT8 graph does.

    `form` is the runtime whose rounding is computed: unsigned and asymmetric for OpenVINO, signed and symmetric for
    TensorRT, which also rounds what skips a residual block; None is no rounding at all.
    """

    def __init__(self, net: nn.Module, image: Tensor) -> None:
        """`image`, float (1, 3, H, W), is run once to see which convolutions read the same tensor. Before that, `net`
        should have its weights: of a fresh net, tensors may be equal that are not so later.
        """
        super().__init__()
        self.net = net
        self.form: Form | None = None
        layers = dict(net.named_modules())
        found = trace(net, image)
        self._input_of, self._skip_of = found.inputs, found.skips
        keys = dict.fromkeys([*found.inputs.values(), *found.skips.values()])
        self.roundings = nn.ModuleDict({key: Rounding() for key in keys})
        for layer, key in found.inputs.items():
            layers[layer].register_forward_pre_hook(self._rounding_hook(key))
        _follow_convolutions(net)

    def _rounding_hook(self, key: str) -> Callable[[nn.Module, tuple[Tensor, ...]], tuple[Tensor, ...]]:
        def rounded(layer: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return (self.roundings[key](args[0], self.form), *args[1:])

        return rounded

    def forward(self, x: Tensor) -> Any:
        """What the net gives, with weights, inputs of convolutions and skips rounded as `form` has it."""
        with _Additions(self._with_rounded_skip):
            if self.form is None:
                return self.net(x)
            layers = dict(self.net.named_modules())
            weights = {f"{name}.weight": rounded_weights(layers[name]) for name in self._input_of}
            return torch.func.functional_call(self.net, weights, (x,))

    def _with_rounded_skip(self, one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        """The two sides of an addition; of a residual block's, the side that skips it rounded."""
        form = None if self.form == "openvino" else self.form
        if key := self._skip_of.get(_convolution_of(one) or ""):
            return one, self.roundings[key](other, form)
        if key := self._skip_of.get(_convolution_of(other) or ""):
            return self.roundings[key](one, form), other
        return one, other

    def train(self, mode: bool = True) -> FakeQuantised:
        """As any module, but batch norms keep their statistics."""
        super().train(mode)
        for module in self.net.modules():
            if isinstance(module, BATCH_NORMS):
                module.eval()
        return self

    @torch.no_grad()
    def observe(self, images: Sequence[Tensor]) -> None:
        """Set every range to the extremes over `images`, float (N, 3, H, W) each."""
        training, form = self.training, self.form
        self.eval()
        self.form = None
        roundings = [self._rounding(key) for key in self.roundings]
        for rounding in roundings:
            rounding.watch()
        for image in images:
            self(image)
        for rounding in roundings:
            rounding.settle()
        self.form = form
        self.train(training)

    def _rounding(self, key: str) -> Rounding:
        found = self.roundings[key]
        assert isinstance(found, Rounding)
        return found

    def ranges(self) -> dict[str, Pair]:
        """What INT8 covers of each quantised layer's input. Layers that read one tensor have one range."""
        return {layer: self._rounding(key).range() for layer, key in self._input_of.items()}

    def skip_ranges(self) -> dict[str, Pair]:
        """What INT8 covers of that which skips a residual block, by the block's last layer."""
        return {layer: self._rounding(key).range() for layer, key in self._skip_of.items()}


class Rounding(nn.Module):
    """A tensor's rounding to INT8 within a learned range, `low` <= 0 <= `high`.

    Learned is the logarithm of how far each end has moved, so that a step means the same for every tensor, and no end
    crosses 0, which must stay exact.
    """

    seen: Tensor
    moved: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.tensor([0.0, 1.0]))  # low and high
        self.moved = nn.Parameter(torch.zeros(2))
        self._watching = False

    def watch(self) -> None:
        """From now on, take in extremes."""
        self.seen.zero_()
        self.moved.data.zero_()
        self._watching = True

    def settle(self) -> None:
        """From now on the extremes stay as they are."""
        self._watching = False

    def range(self) -> Pair:
        """`low` and `high` as they are now, for people and scales: no gradient passes."""
        low, high = (self.seen * self.moved.detach().exp()).tolist()
        return low, high

    def forward(self, x: Tensor, form: Form | None) -> Tensor:
        """The values rounded as `form` does; None lets them be. While it watches, their extremes are taken in."""
        if self._watching:
            extremes = torch.stack([x.min().clamp_max(0), x.max().clamp_min(0)])
            self.seen.copy_(torch.stack([torch.minimum(self.seen, extremes)[0], torch.maximum(self.seen, extremes)[1]]))
        if form is None:
            return x
        low, high = self.seen * _softened(self.moved, 1 / math.sqrt(x.numel() * WEIGHT_LEVELS)).exp()
        return _rounded_unsigned(x, low, high) if form == "openvino" else _rounded_signed(x, low, high)


def _rounded_unsigned(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """OpenVINO's: 256 steps from low to high, 0 being one of them."""
    step = ((high - low) / 255).clamp_min(SMALLEST_STEP)
    zero = _round(-low / step).clamp(0, 255)
    return ((_round(x / step) + zero).clamp(0, 255) - zero) * step


def _rounded_signed(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """TensorRT's: steps of both signs, as wide as the larger side wants."""
    step = (torch.maximum(-low, high) / 127).clamp_min(SMALLEST_STEP)
    return _round(x / step).clamp(-128, 127) * step


def rounded_weights(layer: nn.Module) -> Tensor:
    """A convolution's weights in 255 steps, a scale per output channel."""
    assert isinstance(layer, CONVOLUTIONS)
    weight = layer.weight
    axis = 0 if isinstance(layer, nn.Conv2d) else 1
    others = [a for a in range(weight.ndim) if a != axis]
    step = weight.detach().abs().amax(others, keepdim=True) / WEIGHT_LEVELS
    step = torch.where(step > torch.finfo(step.dtype).tiny, step, torch.ones_like(step))
    return _round(weight / step).clamp(-WEIGHT_LEVELS, WEIGHT_LEVELS) * step


class _Round(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.round()  # halves to even, as QuantizeLinear does

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return gradients[0]


def _round(x: Tensor) -> Tensor:
    rounded = _Round.apply(x)
    assert isinstance(rounded, Tensor)
    return rounded


def _softened(x: Tensor, share: float) -> Tensor:
    """The same value, with `share` of its gradient: every value of a tensor pulls at its range (LSQ, section 2.2)."""
    return x * share + (x * (1 - share)).detach()


# ---------------------------------------------------------------------------------------------------------- the layers


@dataclass(frozen=True)
class Trace:
    """What INT8 rounds in a net: a key for each tensor, by the layer that reads it, and by the last layer of the
    residual block that it skips.
    """

    inputs: Mapping[str, str]
    skips: Mapping[str, str]


def trace(net: nn.Module, image: Tensor) -> Trace:
    """Run `image` through the net, to see what INT8 rounds: as `edge.compile.observe` finds it in the graph, the inputs
    of all convolutions but the last, and the other side of an addition to one's output. Equal tensors are one, as they
    are after an export, which merges what is computed twice.
    """
    training = net.training
    net.eval()
    reads: dict[str, str] = {}
    nodes: dict[Any, str] = {}
    additions: list[tuple[_Side, _Side]] = []

    def note(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        additions.append((_Side.of(one), _Side.of(other)))
        return one, other

    handles = [*_follow_convolutions(net), *_note_reads(net, reads, nodes)]
    with torch.enable_grad(), _Additions(note):
        output = net(image)
    for handle in handles:
        handle.remove()
    net.train(training)
    inner = _convolutions_behind(output.grad_fn, nodes)
    keys: dict[str, str] = {}
    inputs = {layer: keys.setdefault(reads[layer], _key(layer)) for layer in reads if layer in inner}
    skips: dict[str, str] = {}
    for one, other in additions:
        block, skip = (one, other) if one.layer in inner else (other, one)
        if block.layer in inner and skip.can_skip:
            skips[block.layer] = keys.setdefault(skip.digest, _key(f"{block.layer}.skip"))
    return Trace(inputs, skips)


@dataclass(frozen=True)
class _Side:
    """One side of an addition: the convolution that gave it, "" if none did."""

    layer: str
    digest: str
    can_skip: bool  # TensorRT fuses the addition: it is a convolution's output, a ReLU's or a sum

    @classmethod
    def of(cls, x: Tensor) -> _Side:
        layer = _convolution_of(x) or ""
        return cls(layer, _digest(x), bool(layer) or type(x.grad_fn).__name__ in ("ReluBackward0", "AddBackward0"))


def _key(layer: str) -> str:
    return layer.replace(".", "/")  # a module's name holds no dot


def _digest(values: Tensor) -> str:
    return hashlib.sha256(values.detach().cpu().contiguous().numpy().tobytes()).hexdigest()


def _note_reads(net: nn.Module, reads: dict[str, str], nodes: dict[Any, str]) -> list[Any]:
    """Have each convolution note what it reads, as a hash, and its place in the graph of gradients."""

    def hook_of(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(layer: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            reads.setdefault(name, _digest(args[0]))
            nodes[output.grad_fn] = name

        return hook

    named = [(name, module) for name, module in net.named_modules() if isinstance(module, CONVOLUTIONS)]
    return [module.register_forward_hook(hook_of(name)) for name, module in named]


def _follow_convolutions(net: nn.Module) -> list[Any]:
    """Have convolutions write their name on what they give, and batch norms pass it on, since they are folded in."""

    def hook_of(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            made_by = name if isinstance(module, CONVOLUTIONS) else _convolution_of(args[0])
            output.edge_layer = (made_by, output._version)  # type: ignore[attr-defined]

        return hook

    named = [(n, module) for n, module in net.named_modules() if isinstance(module, (*CONVOLUTIONS, *BATCH_NORMS))]
    return [module.register_forward_hook(hook_of(name)) for name, module in named]


def _convolution_of(x: Tensor) -> str | None:
    """The convolution that gave this, if nothing has changed it since: an in-place ReLU makes another tensor of it.

    A crop that takes all is no change; the graph has none.
    """
    whole = x._base if x._base is not None and x._base.shape == x.shape else x
    layer, version = getattr(whole, "edge_layer", (None, None))
    return layer if version == whole._version else None


class _Additions(TorchFunctionMode):
    """Within it, both sides of every addition of two tensors pass through `change` first: an addition is no module that
    could have a hook.
    """

    def __init__(self, change: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self._change = change

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in ADDITIONS and len(args) == 2 and all(isinstance(side, Tensor) and side.ndim == 4 for side in args):
            args = self._change(*args)
        return func(*args, **(kwargs or {}))


def _convolutions_behind(output: Any, nodes: dict[Any, str]) -> set[str]:
    """The convolutions with another one between them and the output."""
    inner: set[str] = set()
    waiting, seen = [(output, False)], set()
    while waiting:
        node, behind = waiting.pop()
        if node is None or (node, behind) in seen:
            continue
        seen.add((node, behind))
        if behind and node in nodes:
            inner.add(nodes[node])
        waiting += [(before, behind or node in nodes) for before, _ in node.next_functions]
    return inner


# -------------------------------------------------------------------------------------------------------- checkpoints


@dataclass(frozen=True)
class QatScales:
    """What INT8 covers, (low, high), by layers' names such as conv2.0.body.0.0: of what a quantised layer reads, and,
    for TensorRT, of what skips the residual block that ends with a layer. Empty for a net trained without rounding.
    """

    inputs: Mapping[str, Pair]
    skips: Mapping[str, Pair]


def qat_scales(checkpoint: Path) -> QatScales:
    """The ranges that quantisation-aware training learned; `edge build` takes them in place of calibrated ones.

    Raises:
        ConfigError: the file is not a checkpoint of `edge train`.
    """
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        return QatScales(*(_pairs(state.get(key, {})) for key in ("ranges", "skip_ranges")))
    except Exception as error:  # torch raises a dozen types for a file that is not a checkpoint
        raise ConfigError(f"{checkpoint}: is not a checkpoint of edge train: {type(error).__name__}") from error


def _pairs(tree: Mapping[str, Any]) -> dict[str, Pair]:
    return {layer: (float(low), float(high)) for layer, (low, high) in tree.items()}
