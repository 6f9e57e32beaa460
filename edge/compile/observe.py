"""Ranges of a net's activations on a calibration set, and the file that keeps them: `calibration/NAME.scales.json`.

What an INT8 convolution reads is rounded to 256 steps, so each tensor needs a range, wide enough not to clip what
matters and narrow enough that the steps are fine. The ranges are taken once, from the fp32 graph, and written out for
OpenVINO and TensorRT alike. The file is small and has a line per tensor, so that a diff shows what a new set changed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto
from pydantic import ConfigDict, TypeAdapter, ValidationError

from edge.backends.openvino import get_core
from edge.card import Card
from edge.compile.calibration import CalibrationSet, read_frames
from edge.errors import CalibrationError, ConfigError, EngineError
from edge.frame import Image, Letterbox, ResizePolicy
from edge.regular import TEXT_BYTES, read_regular
from edge.segmenter import Canvas
from edge.train.recipe import Calibration

Method = Literal["max", "percentile", "entropy", "trained"]  # "trained": learnt with the weights, not observed
FORMAT = 1
BINS = 4096  # of a histogram, over both signs
LEVELS = 128  # of a magnitude in INT8
DIGITS = 6  # kept of a range: processors differ beyond
CONVOLUTIONS = ("Conv", "ConvTranspose")

_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)  # for what is read from a file

Images = Callable[[], Iterable[tuple[str, Image]]]
Values = Mapping[str, NDArray[np.float32]]
Pair = tuple[float, float]  # low and high


@dataclass(frozen=True)
class Range:
    """Of one tensor: what INT8 covers, `low` <= 0 <= `high`, and what was seen; and the layers that read it."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    low: float
    high: float
    seen_low: float
    seen_high: float
    feeds: tuple[str, ...]


@dataclass(frozen=True)
class Scales:
    """The ranges of one net on one calibration set."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    calibration: str
    set_sha256: str
    weights_sha256: str
    input_wh: tuple[int, int]
    resize: ResizePolicy
    method: Method
    percentile: float | None
    frames: int
    tensors: Mapping[str, Range]

    def to_json(self) -> str:
        """The text that `read_scales` reads, a line per tensor."""
        tree = {"format": FORMAT, **dataclasses.asdict(self)}
        tensors = tree.pop("tensors")
        lines = [f" {json.dumps(key)}: {json.dumps(value)}," for key, value in tree.items()]
        rows = [f"  {json.dumps(name)}: {json.dumps(row)}" for name, row in tensors.items()]
        return "\n".join(["{", *lines, ' "tensors": {', ",\n".join(rows), " }", "}"]) + "\n"

    @property
    def sha256(self) -> str:
        """Over the text, so over what they were made from, too: other frames with equal ranges are other scales."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


def read_scales(path: Path) -> Scales:
    """The scales in a file.

    Raises:
        CalibrationError: there is no such file, or it is not one that `edge calibrate run` wrote.
    """
    try:
        return _parse(read_regular(path, TEXT_BYTES).decode("utf-8"))
    except FileNotFoundError as error:
        raise CalibrationError(f"{path}: there are no scales yet. Make them: edge calibrate run RECIPE") from error
    except OSError as error:
        raise CalibrationError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, or JSON of something else
        raise CalibrationError(
            f"{path}: is not a file of scales: {_gist(error)}. Make it again: edge calibrate run RECIPE"
        ) from error


def _parse(text: str) -> Scales:
    tree = json.loads(text)
    found = tree.pop("format", None) if isinstance(tree, dict) else None
    if found != FORMAT:
        raise ValueError(f"its format is {found!r}, expected {FORMAT}")
    # By way of JSON: only there does pydantic's strict mode take a list for a tuple.
    scales = TypeAdapter(Scales).validate_json(json.dumps(tree))
    for name, row in scales.tensors.items():
        if not row.low <= 0 <= row.high:
            raise ValueError(f"tensor {name} has the range {row.low:g}..{row.high:g}, which must hold 0")
    return scales


def _gist(error: Exception) -> str:
    """What is wrong, in one line; of several things, the first."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc'])) or 'the whole file'}: {first['msg']}"


def check_fresh(scales: Scales, chosen: CalibrationSet, wish: Calibration, card: Card) -> None:
    """Refuse scales of another net, another set, another method, input size or resize policy.

    Raises:
        CalibrationError: naming what changed since.
    """
    changed = [
        what
        for what, found, wanted in (
            ("the net's weights", scales.weights_sha256, card.weights_sha256),
            (f"the frames of calibration set {chosen.name}", scales.set_sha256, chosen.sha256),
            ("the input size", scales.input_wh, card.input_wh),
            ("the resize policy", scales.resize, card.resize),
            ("the method", (scales.method, scales.percentile), (wish.method, wish.percentile)),
        )
        if found != wanted
    ]
    if changed:
        raise CalibrationError(
            f"{wish.scales_path}: is stale, {' and '.join(changed)} changed since."
            " Make it again: edge calibrate run RECIPE"
        )


# ----------------------------------------------------------------------------------------------------------- observing


def layer_name(node: NodeProto) -> str:
    """What a convolution is called in the net it came from, by its weights; else by the node or what it gives."""
    weights = node.input[1]
    if weights.endswith(".weight"):
        return weights.removesuffix(".weight").removeprefix("net.")
    return node.name or node.output[0]


def quantisable(model: ModelProto) -> list[NodeProto]:
    """The convolutions that INT8 may take, in order: all but the last ones, which give the logits; behind them there is
    no other convolution.
    """
    readers: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    reaches: dict[str, bool] = {}  # by tensor: whether a convolution lies ahead
    for node in reversed(model.graph.node):
        for name in node.output:
            ahead = readers.get(name, [])
            reaches[name] = any(n.op_type in CONVOLUTIONS or any(reaches[o] for o in n.output) for n in ahead)
    return [n for n in model.graph.node if n.op_type in CONVOLUTIONS and reaches[n.output[0]]]


def skip_of(model: ModelProto) -> dict[str, str]:
    """By the result of an Add that ends a residual block: the tensor that skips the block.

    TensorRT fuses the addition into the convolution before it if the other branch comes in INT8 too.
    """
    producer = {name: node for node in model.graph.node for name in node.output}
    inner = {node.output[0] for node in quantisable(model)}
    skips = {}
    for node in model.graph.node:
        if node.op_type != "Add" or not all(name in producer for name in node.input) or node.input[0] == node.input[1]:
            continue
        block, skip = node.input if node.input[0] in inner else reversed(node.input)
        if block in inner and producer[skip].op_type in ("Relu", "Add", *CONVOLUTIONS):
            skips[node.output[0]] = skip
    return skips


def tensors_to_observe(model: ModelProto) -> dict[str, tuple[str, ...]]:
    """The tensors that need a range, each with the layers it feeds."""
    feeds: dict[str, list[str]] = {}
    for node in quantisable(model):
        feeds.setdefault(node.input[0], []).append(layer_name(node))
    for skip in skip_of(model).values():
        feeds.setdefault(skip, [])
    return {name: tuple(layers) for name, layers in feeds.items()}


def ranges_at_size(ranges: Mapping[str, Range], model: ModelProto) -> dict[str, Range]:
    """The ranges of a net for its graph at another input size, by the layers that they feed.

    The names of tensors do not do: a crop that cuts nothing is left out of a graph, and those behind it are numbered
    anew. What only skips a residual block has its name alone; without a range, it stays as it is.
    """
    by_layer = {layer: found for found in ranges.values() for layer in found.feeds}
    named = {name: found for name, found in ranges.items() if not found.feeds}
    at_size = {
        name: next((by_layer[layer] for layer in layers if layer in by_layer), named.get(name))
        for name, layers in tensors_to_observe(model).items()
    }
    return {name: found for name, found in at_size.items() if found is not None}


def observe(
    model: bytes,
    card: Card,
    chosen: CalibrationSet,
    method: Method,
    percentile: float | None = None,
    on_frame: Callable[[], None] = lambda: None,
) -> Scales:
    """Run the fp32 graph over the frames of the set, for the extremes; and, unless `method` is "max", once more for the
    histograms between them. `on_frame` is called for each frame of each run.

    Raises:
        CalibrationError: a frame is missing, was changed, is the same as another, or gives values that are not numbers.
        EngineError: OpenVINO cannot run the graph.
        ConfigError: "percentile" needs one, the other methods none.
    """

    def images() -> Iterator[tuple[str, Image]]:
        for words, frame in read_frames(chosen):
            canvas = Canvas(Letterbox.fit(frame.size_wh, card.input_wh, card.resize, frame.pixel_aspect))
            canvas.draw(frame)
            yield words, canvas.image
            on_frame()

    feeds = tensors_to_observe(onnx.load_from_string(model))
    return Scales(
        calibration=chosen.name,
        set_sha256=chosen.sha256,
        weights_sha256=card.weights_sha256,
        input_wh=card.input_wh,
        resize=card.resize,
        method=method,
        percentile=percentile,
        frames=chosen.frame_count,
        tensors=find_ranges(model, feeds, images, method, percentile),
    )


def trained_scales(model: bytes, card: Card, inputs: Mapping[str, Pair], skips: Mapping[str, Pair]) -> Scales:
    """The ranges that quantisation-aware training learnt, by layer (`edge.train.qat.QatScales`), for the tensors of the
    graph; where layers that read one tensor differ, the range that holds all.

    Raises:
        CalibrationError: the training did not quantise a layer that the graph has.
    """
    graph = onnx.load_from_string(model)
    learnt = _learnt(graph, inputs, skips)
    tensors = {}
    for name, layers in tensors_to_observe(graph).items():
        if not learnt[name]:
            raise CalibrationError(f"tensor {name}: the training learnt no range for it. Train it with qat")
        low, high = min(0.0, *(r[0] for r in learnt[name])), max(0.0, *(r[1] for r in learnt[name]))
        tensors[name] = Range(_rounded(low), _rounded(high), _rounded(low), _rounded(high), layers)
    return Scales(
        calibration="training",
        set_sha256="",
        weights_sha256=card.weights_sha256,
        input_wh=card.input_wh,
        resize=card.resize,
        method="trained",
        percentile=None,
        frames=0,
        tensors=tensors,
    )


def _learnt(model: ModelProto, inputs: Mapping[str, Pair], skips: Mapping[str, Pair]) -> dict[str, list[Pair]]:
    """By tensor: the ranges of the layers that read it, and of the residual blocks that it skips.

    Raises:
        CalibrationError: the training did not quantise a layer that the graph has.
    """
    producer = {name: node for node in model.graph.node for name in node.output}
    inner = {node.output[0] for node in quantisable(model)}
    found: dict[str, list[Pair]] = {name: [] for name in tensors_to_observe(model)}
    for node in quantisable(model):
        layer = layer_name(node)
        if layer not in inputs:
            raise CalibrationError(
                f"layer {layer}: the training learnt no range of what it reads. Train again with qat"
            )
        found[node.input[0]].append(inputs[layer])
    for added, skip in skip_of(model).items():
        layer = next(layer_name(producer[name]) for name in producer[added].input if name in inner and name != skip)
        found[skip] += [skips[layer]] if layer in skips else []
    return found


def find_ranges(
    model: bytes, feeds: Mapping[str, tuple[str, ...]], images: Images, method: Method, percentile: float | None
) -> dict[str, Range]:
    """The range of each tensor in `feeds` over `images()`, which is iterated once or twice.

    Raises:
        As `observe`.
    """
    if (percentile is None) == (method == "percentile"):
        raise ConfigError(f"method {method!r} with percentile {percentile}: a percentile belongs to that method alone")
    activations = _Activations(model, list(feeds))
    seen = _extremes(activations.of(images()), feeds)
    covered = seen if method == "max" else _covered(activations.of(images()), seen, percentile)
    return {
        name: Range(*(_rounded(value) for value in (*covered[name], *seen[name])), feeds=layers)
        for name, layers in feeds.items()
    }


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}") + 0.0  # no -0.0


def _extremes(activations: Iterable[Values], names: Iterable[str]) -> dict[str, Pair]:
    """The least and largest value of each tensor, and 0, which must be exact in INT8: paddings are 0."""
    extremes = dict.fromkeys(names, (0.0, 0.0))
    for values in activations:
        for name, value in values.items():
            low, high = extremes[name]
            extremes[name] = (min(low, float(value.min())), max(high, float(value.max())))
    return extremes


def _covered(activations: Iterable[Values], seen: Mapping[str, Pair], percentile: float | None) -> dict[str, Pair]:
    """What INT8 is to cover of each tensor: a percentile of its values, or what costs least entropy."""
    reach = {name: max(-low, high) or 1.0 for name, (low, high) in seen.items()}
    counts = {name: np.zeros(BINS, np.int64) for name in seen}
    for values in activations:
        for name, value in values.items():
            counts[name] += _histogram(value, reach[name])
    covered = {}
    for name, (low, high) in seen.items():
        below, above = _entropy(counts[name]) if percentile is None else _tails(counts[name], percentile)
        covered[name] = (max(low, -below * reach[name]), min(high, above * reach[name]))
    return covered


class _Activations:
    """A graph, run in float32 for tensors inside it."""

    def __init__(self, model: bytes, names: list[str]) -> None:
        core = get_core()
        try:
            graph = core.read_model(model, b"")
            graph.add_outputs(names)
            compiled = core.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
            self._places = {name: compiled.output(name) for name in names}
            self._request = compiled.create_infer_request()
        except RuntimeError as error:  # all that OpenVINO raises
            raise EngineError(f"OpenVINO cannot run the fp32 graph: {str(error).strip().splitlines()[-1]}") from error

    def of(self, images: Iterable[tuple[str, Image]]) -> Iterator[Values]:
        """The tensors by name for each image; the arrays are views that the next step overwrites."""
        seen: dict[bytes, str] = {}
        for words, image in images:
            digest = hashlib.sha256(image.data).digest()
            if digest in seen:
                raise CalibrationError(f"{words}: is the same image as {seen[digest]}; each must add something")
            seen[digest] = words
            results = self._request.infer([image[None]], share_outputs=True)
            values = {name: results[place] for name, place in self._places.items()}
            for name, value in values.items():
                if not np.isfinite(value).all():
                    raise CalibrationError(f"{words}: tensor {name} is not finite there; the weights are broken")
            yield values


def _histogram(values: NDArray[np.float32], reach: float) -> NDArray[np.int64]:
    """Counts in `BINS` equal bins from -reach to reach; values beyond, by rounding, are in the last ones."""
    places = (values.reshape(-1) / np.float32(reach) * (BINS // 2) + BINS // 2).astype(np.int32)
    return np.bincount(places.clip(0, BINS - 1), minlength=BINS)


def _tails(counts: NDArray[np.int64], percentile: float) -> Pair:
    """How far down and up, as parts of the reach, until `percentile` of all values are inside; each tail that is there
    loses its part.
    """
    half = BINS // 2
    below, above = counts[:half][::-1], counts[half:]
    outside = counts.sum() * (1 - percentile / 100) / (2 if below.any() and above.any() else 1)
    return _inside(below, outside), _inside(above, outside)


def _inside(tail: NDArray[np.int64], outside: float) -> float:
    beyond = tail[::-1].cumsum()[::-1]  # values in this bin and farther out
    return float(np.count_nonzero(beyond > outside)) / tail.size


def _entropy(counts: NDArray[np.int64]) -> Pair:
    """The threshold whose 128 steps keep most of what the histogram of magnitudes tells: least Kullback-Leibler
    divergence between it, clipped, and itself in 128 steps (Migacz, "8-bit inference with TensorRT", GTC 2017).
    """
    half = BINS // 2
    magnitude = (counts[half:] + counts[:half][::-1]).astype(np.float64)
    magnitude[0] = magnitude[1]  # exact zeros, of which a ReLU makes half of all, cost nothing in INT8
    best, threshold = math.inf, half
    for cut in range(LEVELS, half + 1, LEVELS // 8):
        clipped = magnitude[:cut].copy()
        clipped[-1] += magnitude[cut:].sum()
        divergence = _divergence(clipped, _in_steps(magnitude[:cut]))
        if divergence < best:
            best, threshold = divergence, cut
    return threshold / half, threshold / half


def _in_steps(magnitude: NDArray[np.float64]) -> NDArray[np.float64]:
    """The histogram after rounding to `LEVELS` steps: each step's sum, spread evenly over its bins that hold any."""
    step_of = np.arange(magnitude.size) * LEVELS // magnitude.size
    sums = np.bincount(step_of, magnitude, LEVELS)
    filled = np.bincount(step_of, magnitude > 0, LEVELS)
    return np.where(magnitude > 0, sums[step_of] / np.maximum(filled, 1)[step_of], 0)


def _divergence(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    """Sum of p log(p/q), both normalised; where q has nothing and p has, a small q stands in."""
    if not p.any() or not q.any():
        return math.inf
    p, q = p / p.sum(), q / q.sum()
    inside = p > 0
    return float((p[inside] * np.log(p[inside] / np.maximum(q[inside], 1e-9))).sum())


def range_rows(scales: Scales) -> list[tuple[str, ...]]:
    """For a table: tensor, what INT8 covers, what was seen."""
    return [
        (name, *(f"{value:.4g}" for value in (r.low, r.high, r.seen_low, r.seen_high)))
        for name, r in scales.tensors.items()
    ]
