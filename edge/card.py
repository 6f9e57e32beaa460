"""An engine's card: everything it knows about itself that is not in its graph.

Read strictly, and without pydantic: `edge run` reads a card before its first frame, and has no time for that import.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

from edge.classes import ClassTable, Rgb
from edge.errors import ConfigError, EngineError

if TYPE_CHECKING:  # edge.frame imports OpenCV, which a card does not need
    from edge.frame import ResizePolicy

FORMAT = 2
CARD_LIMIT_BYTES = 1 << 20
GRAPH_FILE = r"[a-z0-9][a-z0-9_.-]{0,63}\.onnx"
SIZE_WANTED = "[width, height] in pixels, 8 to 8192 each,"
NAME = r"[a-z][a-z0-9_-]{0,63}"  # of an engine

Value = TypeVar("Value")


@dataclass(frozen=True)
class Graph:
    """One ONNX graph of a bundle: a file, whole in itself; or with a `delta`, what that makes of the file.

    `precision` is that of its arithmetic: fp32, fp16 or int8. `runtime` is what it was written for: "openvino" and
    "tensorrt" take INT8 in different forms, "any" runs everywhere. `sha256` is of the graph's bytes. `input_wh` is None
    for the card's own size; the same weights at another size differ in some hundred bytes, which `delta` holds
    (edge.delta, in base64).
    """

    file: str
    precision: str
    runtime: str
    sha256: str
    input_wh: tuple[int, int] | None = None
    delta: str | None = None


@dataclass(frozen=True)
class Versions:
    """What a bundle was made with. `opset` is the ONNX operator set of its graphs."""

    edge: str
    torch: str
    opset: int


@dataclass(frozen=True)
class Accuracy:
    """How right a graph was on labelled frames. `iou` is by class name; None for a class that did not occur.

    `graph` is the file, `precision` that of the arithmetic (f32, bf16, fp16, int8) and `judge` the runtime that ran it.
    """

    graph: str
    precision: str
    judge: str
    data: str
    frames: int
    miou: float
    pixel_accuracy: float
    iou: Mapping[str, float | None]
    command: str


@dataclass(frozen=True)
class Speed:
    """How long one frame took on one machine, image in to classes out."""

    machine: str
    threads: int
    precision: str
    frames: int
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True)
class Gate:
    """What a bundle had to hold against its own fp32 graph before it was written.

    `limits` and `lost` are in points of per cent: of "miou", of the IoU of a class or group, or of "disagreement", the
    pixels with another class, where frames have no labels. `lost` is by graph file. `kept_float` names the layers that
    stay in floating point in the INT8 graphs because the gate would not hold otherwise.
    """

    data: str
    frames: int
    calibration: str
    scales_sha256: str
    limits: Mapping[str, float]
    lost: Mapping[str, Mapping[str, float]]
    kept_float: tuple[str, ...]


@dataclass(frozen=True)
class Fingerprint:
    """What an engine's masks are like on its calibration frames, to tell a camera that sees something else.

    `shares`: of the picture, by class, on average; `drift`: the largest Jensen-Shannon divergence of a frame's shares
    from them, in bits; `edges` and `edges_high`: the share of cells whose class is not their right neighbour's, on
    average and at most.
    """

    shares: Mapping[str, float]
    drift: float
    edges: float
    edges_high: float


@dataclass(frozen=True)
class Measured:
    accuracy: tuple[Accuracy, ...] = ()
    speed: tuple[Speed, ...] = ()


@dataclass(frozen=True)
class Card:
    """Everything an engine knows about itself; `card.json` holds one.

    `precision` is the one an engine runs in unless told otherwise: that of one of its `graphs`. `licence` covers the
    weights and names the terms of the data they were trained on. `recipe_sha256` and `weights_sha256` tell which
    training run the weights are from.
    """

    name: str
    description: str
    table: ClassTable
    input_wh: tuple[int, int]
    resize: ResizePolicy
    net: str
    precision: str
    training_data: str
    licence: str
    trained_steps: int
    recipe_sha256: str
    created: str  # ISO date
    versions: Versions
    graphs: tuple[Graph, ...]
    weights_sha256: str
    gate: Gate | None = None
    fingerprint: Fingerprint | None = None
    measured: Measured = Measured()
    format: int = FORMAT

    @classmethod
    def from_json(cls, text: str, origin: str) -> Card:
        """The card in a JSON text; `origin` names it in errors.

        Raises:
            EngineError: it is not JSON or not a card; every misfit is listed, a line each.
        """
        reader = _Reader(_parse_json(text, origin))
        card = _read_card(reader)
        reader.no_more()
        if reader.problems or card is None:
            raise EngineError("\n  ".join([f"{origin}: {len(reader.problems)} problem(s)", *reader.problems]))
        return card

    def to_json(self) -> str:
        """The text that `from_json` reads."""
        tree = dataclasses.asdict(dataclasses.replace(self, table=cast("ClassTable", None)))
        del tree["table"]
        table = {
            "classes": [
                {"name": name, "colour_rgb": colour}
                for name, colour in zip(self.table.names, self.table.colours_rgb, strict=True)
            ],
            "groups": self.table.groups,
            "tints": self.table.tints,
            "ignore_id": self.table.ignore_id,
        }
        text = json.dumps(
            {"format": tree.pop("format"), **tree, **table}, indent=1, allow_nan=False, ensure_ascii=False
        )
        # Colours, sizes and the like on one line each: a list of numbers needs no line per number.
        return re.sub(r"\[\s+([-\d.,\s]+?)\s+\]", lambda m: f"[{' '.join(m[1].split())}]", text) + "\n"


def _parse_json(text: str, origin: str) -> Any:
    if len(text.encode()) > CARD_LIMIT_BYTES:
        raise EngineError(f"{origin}: is larger than {CARD_LIMIT_BYTES} bytes, which no card is")
    try:
        return json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:  # RecursionError: brackets nested thousands deep
        raise EngineError(f"{origin}: is not valid JSON: {error}") from error


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {next(key for key in keys if keys.count(key) > 1)!r} occurs twice")
    return tree


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is not a number JSON has")


class _Reader:
    """One JSON object, read key by key. Misfits are collected, so that a person sees all of them at once."""

    def __init__(self, tree: Any, where: str = "", problems: list[str] | None = None) -> None:
        self.problems: list[str] = [] if problems is None else problems
        self._where = where
        self._asked: list[str] = []
        self._tree: dict[str, Any] = tree if isinstance(tree, dict) else {}
        if not isinstance(tree, dict):
            self.problems.append(f"{where or 'the whole file'}: an object is wanted, found {_short(tree)}")

    def take(self, key: str, wanted: str, convert: Callable[[Any], Value | None]) -> Value:
        """The value of `key`; `convert` gives None for what is not `wanted`. After a misfit the result is nonsense,
        and only the problem list counts.
        """
        self._asked.append(key)
        if key not in self._tree:
            self.problems.append(f"{self._where}{key}: is missing")
            return cast("Value", None)
        value = convert(self._tree[key])
        if value is None:
            self.problems.append(f"{self._where}{key}: {wanted} is wanted, found {_short(self._tree[key])}")
        return cast("Value", value)

    def text(self, key: str) -> str:
        return self.take(key, "text", lambda v: v if isinstance(v, str) else None)

    def matching(self, key: str, wanted: str, pattern: str) -> str:
        return self.take(key, wanted, lambda v: v if isinstance(v, str) and re.fullmatch(pattern, v) else None)

    def sha256(self, key: str) -> str:
        return self.matching(key, "a SHA-256 in 64 hex digits", "[0-9a-f]{64}")

    def whole(self, key: str, low: int, high: int) -> int:
        return self.take(key, f"a whole number from {low} to {high}", lambda v: _whole(v, low, high))

    def number(self, key: str, high: float) -> float:
        return self.take(key, f"a number from 0 to {high:g}", lambda v: _number(v, high))

    def null(self, key: str) -> bool:
        """Whether the key is there and null."""
        self._asked.append(key)
        return key in self._tree and self._tree[key] is None

    def part(self, key: str) -> _Reader:
        """The object under `key`, its problems joining ours."""
        self._asked.append(key)
        return _Reader(self._tree.get(key), f"{self._where}{key}.", self.problems)

    def parts(self, key: str) -> list[_Reader]:
        """The objects in the list under `key`."""
        items = self.take(key, "a list", lambda v: v if isinstance(v, list) else None) or []
        return [_Reader(item, f"{self._where}{key}.{place}.", self.problems) for place, item in enumerate(items)]

    def no_more(self) -> None:
        """Every key that was not asked for is a problem."""
        for key in self._tree.keys() - self._asked:
            close = difflib.get_close_matches(key, self._asked, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            self.problems.append(f"{self._where}{key}: no such key{hint}")


def _read_card(reader: _Reader) -> Card | None:
    """The card, or None after a misfit."""
    made = reader.part("versions")
    measured = reader.part("measured")
    card = Card(
        format=reader.take(
            "format", f"{FORMAT}, the only format this edge reads,", lambda v: _whole(v, FORMAT, FORMAT)
        ),
        name=reader.matching("name", "a name of a-z, 0-9, - and _", NAME),
        description=reader.text("description"),
        table=cast("ClassTable", _read_table(reader)),
        input_wh=reader.take("input_wh", SIZE_WANTED, _size_wh),
        resize=cast("ResizePolicy", reader.matching("resize", "letterbox or stretch", "letterbox|stretch")),
        net=reader.text("net"),
        precision=reader.matching("precision", "fp32, fp16 or int8", "fp32|fp16|int8"),
        training_data=reader.text("training_data"),
        licence=reader.text("licence"),
        trained_steps=reader.whole("trained_steps", 0, 10**9),
        recipe_sha256=reader.sha256("recipe_sha256"),
        created=reader.matching("created", "a date as 2025-12-31", r"\d{4}-\d{2}-\d{2}"),
        versions=Versions(made.text("edge"), made.text("torch"), made.whole("opset", 1, 1000)),
        graphs=tuple(_read_graph(part) for part in reader.parts("graphs")),
        weights_sha256=reader.sha256("weights_sha256"),
        gate=_read_gate(reader),
        fingerprint=_read_fingerprint(reader),
        measured=Measured(
            tuple(_read_accuracy(part) for part in measured.parts("accuracy")),
            tuple(_read_speed(part) for part in measured.parts("speed")),
        ),
    )
    made.no_more()
    measured.no_more()
    _check_graphs(reader, card)
    return None if reader.problems else card


def _read_graph(reader: _Reader) -> Graph:
    graph = Graph(
        file=reader.matching("file", "a file name that ends in .onnx", GRAPH_FILE),
        precision=reader.matching("precision", "fp32, fp16 or int8", "fp32|fp16|int8"),
        runtime=reader.matching("runtime", "any, openvino or tensorrt", "any|openvino|tensorrt"),
        sha256=reader.sha256("sha256"),
        input_wh=None if reader.null("input_wh") else reader.take("input_wh", SIZE_WANTED, _size_wh),
        delta=None if reader.null("delta") else reader.matching("delta", "text in base64", "[A-Za-z0-9+/]+=*"),
    )
    reader.no_more()
    return graph


def _check_graphs(reader: _Reader, card: Card) -> None:
    """What one graph cannot tell alone; only asked when each is in order."""
    if reader.problems:
        return
    whole = [graph.file for graph in card.graphs if graph.delta is None]
    if len(set(whole)) < len(whole):
        reader.problems.append(f"graphs: a file is listed twice: {', '.join(sorted(whole))}")
    for graph in card.graphs:
        if (graph.delta is None) != (graph.input_wh is None):
            reader.problems.append(
                f"graphs: {graph.file} at {graph.input_wh}: a size of its own and a delta go together"
            )
        if graph.file not in whole:
            reader.problems.append(f"graphs: {graph.file} is nowhere listed without a delta")
    if card.precision not in {graph.precision for graph in card.graphs}:
        reader.problems.append(f"precision: no graph is {card.precision}")


def _read_gate(reader: _Reader) -> Gate | None:
    if reader.null("gate"):
        return None
    part = reader.part("gate")
    gate = Gate(
        data=part.text("data"),
        frames=part.whole("frames", 1, 10**9),
        calibration=part.text("calibration"),
        scales_sha256=part.sha256("scales_sha256"),
        limits=part.take("limits", "an object of points, 0 to 100,", lambda v: _values(v, lambda x: _points(x, 0))),
        lost=part.take("lost", "an object of objects of points", _losses),
        kept_float=part.take("kept_float", "a list of layer names", _texts),
    )
    part.no_more()
    return gate


def _read_table(reader: _Reader) -> ClassTable | None:
    rows = reader.parts("classes")
    names = tuple(row.text("name") for row in rows)
    colours = tuple(row.take("colour_rgb", "[red, green, blue], 0 to 255 each,", _rgb) for row in rows)
    groups = reader.take("groups", "an object of lists of class names", _groups)
    tints = reader.take("tints", "an object of [red, green, blue]", lambda v: _values(v, _rgb))
    ignore_id = reader.whole("ignore_id", 0, 255)
    for row in rows:
        row.no_more()
    if reader.problems:
        return None
    try:
        return ClassTable(names, colours, groups, tints, ignore_id)
    except ConfigError as error:
        reader.problems.append(str(error))
        return None


def _read_fingerprint(reader: _Reader) -> Fingerprint | None:
    if reader.null("fingerprint"):
        return None
    part = reader.part("fingerprint")
    fingerprint = Fingerprint(
        shares=part.take("shares", "an object of shares, 0 to 1,", lambda v: _values(v, lambda x: _number(x, 1))),
        drift=part.number("drift", 1),
        edges=part.number("edges", 1),
        edges_high=part.number("edges_high", 1),
    )
    part.no_more()
    return fingerprint


def _read_accuracy(reader: _Reader) -> Accuracy:
    accuracy = Accuracy(
        graph=reader.text("graph"),
        precision=reader.text("precision"),
        judge=reader.text("judge"),
        data=reader.text("data"),
        frames=reader.whole("frames", 1, 10**9),
        miou=reader.number("miou", 1),
        pixel_accuracy=reader.number("pixel_accuracy", 1),
        iou=reader.take("iou", "an object of numbers from 0 to 1, or null,", _shares),
        command=reader.text("command"),
    )
    reader.no_more()
    return accuracy


def _read_speed(reader: _Reader) -> Speed:
    speed = Speed(
        machine=reader.text("machine"),
        threads=reader.whole("threads", 1, 1024),
        precision=reader.text("precision"),
        frames=reader.whole("frames", 1, 10**9),
        p50_ms=reader.number("p50_ms", 1e6),
        p99_ms=reader.number("p99_ms", 1e6),
    )
    reader.no_more()
    return speed


def _whole(value: Any, low: int, high: int) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high else None


def _number(value: Any, high: float) -> float | None:
    fits = (
        isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and 0 <= value <= high
    )
    return float(value) if fits else None


def _points(value: Any, low: float = -100.0) -> float | None:
    fits = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if fits and low <= value <= 100 else None


def _rgb(value: Any) -> Rgb | None:
    fits = isinstance(value, list) and len(value) == 3 and all(_whole(v, 0, 255) is not None for v in value)
    return (value[0], value[1], value[2]) if fits else None


def _size_wh(value: Any) -> tuple[int, int] | None:
    fits = isinstance(value, list) and len(value) == 2 and all(_whole(v, 8, 8192) is not None for v in value)
    return (value[0], value[1]) if fits else None


def _values(value: Any, convert: Callable[[Any], Value | None]) -> dict[str, Value] | None:
    """An object whose values all convert, else None."""
    if not isinstance(value, dict):
        return None
    converted = {key: convert(item) for key, item in value.items()}
    return None if None in converted.values() else cast("dict[str, Value]", converted)


def _texts(value: Any) -> tuple[str, ...] | None:
    return tuple(value) if isinstance(value, list) and all(isinstance(item, str) for item in value) else None


def _groups(value: Any) -> dict[str, tuple[str, ...]] | None:
    return _values(value, _texts)


def _losses(value: Any) -> dict[str, dict[str, float]] | None:
    return _values(value, lambda lost: _values(lost, _points))


def _shares(value: Any) -> dict[str, float | None] | None:
    if not isinstance(value, dict) or any(item is not None and _number(item, 1) is None for item in value.values()):
        return None
    return {key: None if item is None else float(item) for key, item in value.items()}


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
