"""An engine's card: everything it knows about itself that is not in its graph.

Read strictly, and without pydantic: `edge run` reads a card before its first frame, and has no time for that import.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from edge.classes import ClassTable
from edge.errors import BundleTampered, ConfigError, EngineError
from edge.outputs import DTYPES, OUTPUT_NAME, SEMANTIC, Output, as_shape, output_problems
from edge.strict_json import (
    JSON_LIMIT_BYTES,
    Reader,
    as_groups,
    as_losses,
    as_number,
    as_points,
    as_rgb,
    as_shares,
    as_size_wh,
    as_texts,
    as_values,
    parse_json,
)

if TYPE_CHECKING:  # edge.frame imports OpenCV, which a card does not need
    from edge.frame import ResizePolicy

FORMAT = 3
OLDEST_FORMAT = 2  # without a list of outputs: its graphs give class ids only, as the tensor "classes"
CARD_LIMIT_BYTES = JSON_LIMIT_BYTES
GRAPH_FILE = r"[a-z0-9][a-z0-9_.-]{0,63}\.onnx"
LAYOUT_BANDS = 8  # of an image, from its top
SIZE_WANTED = "[width, height] in pixels, 8 to 8192 each"
NAME = r"[a-z][a-z0-9_-]{0,63}"  # of an engine
SEAL = "card_sha256"  # the card's last key: the hash of what all others mean


@dataclass(frozen=True)
class Graph:
    """One ONNX graph of a bundle: a file, whole in itself; or with a `delta`, what that makes of the file.

    `precision` is that of its arithmetic: fp32, fp16 or int8. `runtime` is what it was written for: "openvino" and
    "tensorrt" take INT8 in different forms, "any" runs everywhere. `sha256` is of the graph's bytes. `input_wh` is None
    for the card's own size. The same weights at another size than the file's differ in some hundred bytes, which
    `delta` holds (edge.delta, in base64).
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

    `shares`: of the image, by class, on average; `drift`: what all but the farthest 2 % of the frames keep to of the
    Jensen-Shannon divergence of their shares from these, in bits; `edges` and `edges_high`: the share of cells whose
    class is not their right neighbour's, on average and at most. `layout`: of each of eight bands of the image, from
    its top, the share that the class covers, on average; `layout_drift`: as `drift`, from that. Cards of older engines
    have no layout.
    """

    shares: Mapping[str, float]
    drift: float
    edges: float
    edges_high: float
    layout: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    layout_drift: float = 0.0


@dataclass(frozen=True)
class Measured:
    """What was measured when the bundle was made, on the machines that its rows name; empty if nothing was."""

    accuracy: tuple[Accuracy, ...] = ()
    speed: tuple[Speed, ...] = ()


@dataclass(frozen=True)
class Card:
    """Everything an engine knows about itself; `card.json` holds one.

    `precision` is the one an engine runs in by default: that of one of its `graphs`. `licence` covers the
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
    outputs: tuple[Output, ...] = (SEMANTIC,)
    format: int = FORMAT

    @classmethod
    def from_json(cls, text: str, origin: str) -> Card:
        """The card in a JSON text; `origin` names it in errors.

        Raises:
            EngineError: it is not JSON or not a card; every misfit is listed, a line each.
            BundleTampered: it is a card, but not as it was written.
        """
        tree = parse_json(text, origin)
        sealed = tree.pop(SEAL, None) if isinstance(tree, dict) else None
        reader = Reader(tree)
        card = _read_card(reader)
        reader.no_more()
        if reader.problems or card is None:
            raise EngineError("\n  ".join([f"{origin}: {len(reader.problems)} problem(s)", *reader.problems]))
        if sealed != (found := _seal(tree)):
            raise BundleTampered(
                f"{origin}: is not as it was written. Restore the bundle; or, if the change is meant, let its last"
                f' line but one be  "{SEAL}": "{found}"'
            )
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
        tree = {"format": tree.pop("format"), **tree, **table}
        if self.format == OLDEST_FORMAT:
            del tree["outputs"]
        tree[SEAL] = _seal(tree)
        text = json.dumps(tree, indent=1, allow_nan=False, ensure_ascii=False)
        # Colours, sizes and the like on one line each: a list of numbers needs no line per number.
        return re.sub(r"\[\s+([-\d.,\s]+?)\s+\]", lambda m: f"[{' '.join(m[1].split())}]", text) + "\n"


def _seal(tree: dict[str, Any]) -> str:
    """SHA-256 of what a card means: white space, the order of keys and the way a letter is escaped mean nothing."""
    text = json.dumps(tree, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _read_card(reader: Reader) -> Card | None:
    """The card, or None after a misfit."""
    made = reader.part("versions")
    measured = reader.part("measured")
    written_as = reader.whole("format", OLDEST_FORMAT, FORMAT)
    card = Card(
        format=written_as,
        outputs=_read_outputs(reader, written_as),
        name=reader.matching("name", "a name of a-z, 0-9, - and _", NAME),
        description=reader.text("description"),
        table=cast("ClassTable", _read_table(reader)),
        input_wh=reader.take("input_wh", SIZE_WANTED, as_size_wh),
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


def _read_graph(reader: Reader) -> Graph:
    graph = Graph(
        file=reader.matching("file", "a file name that ends in .onnx", GRAPH_FILE),
        precision=reader.matching("precision", "fp32, fp16 or int8", "fp32|fp16|int8"),
        runtime=reader.matching("runtime", "any, openvino or tensorrt", "any|openvino|tensorrt"),
        sha256=reader.sha256("sha256"),
        input_wh=None if reader.null("input_wh") else reader.take("input_wh", SIZE_WANTED, as_size_wh),
        delta=None if reader.null("delta") else reader.matching("delta", "text in base64", "[A-Za-z0-9+/]+=*"),
    )
    reader.no_more()
    return graph


def output_to_json(output: Output) -> str:
    """The text that `output_from_json` reads: an output of no card, or sent without one."""
    return json.dumps(dataclasses.asdict(output), separators=(",", ":"))


def output_from_json(text: str, origin: str) -> Output:
    """An output as `output_to_json` wrote it.

    Raises:
        EngineError: it is not one; the message lists every problem.
    """
    reader = Reader(parse_json(text, origin))
    output = _read_output(reader)
    problems = reader.problems or output_problems([SEMANTIC, output])
    if problems:
        raise EngineError("\n  ".join([f"{origin}: {len(problems)} problem(s)", *problems]))
    return output


def _read_outputs(reader: Reader, written_as: int) -> tuple[Output, ...]:
    if written_as == OLDEST_FORMAT:
        return (dataclasses.replace(SEMANTIC, tensor="classes"),)
    outputs = tuple(_read_output(part) for part in reader.parts("outputs"))
    if not reader.problems:
        reader.problems.extend(output_problems(outputs))
    return outputs


def _read_output(reader: Reader) -> Output:
    output = Output(
        name=reader.matching("name", "a name of a-z, 0-9 and _", OUTPUT_NAME),
        dtype=reader.matching("dtype", " or ".join(DTYPES), "|".join(DTYPES)),
        shape=reader.take("shape", "1 to 4 dimensions such as 2, H or W/8", as_shape),
        decoder=reader.text("decoder"),
        meaning=reader.text("meaning"),
        tensor=reader.text("tensor"),
        default=reader.take("default", "true or false", lambda v: v if isinstance(v, bool) else None),
    )
    reader.no_more()
    return output


def _check_graphs(reader: Reader, card: Card) -> None:
    """What one graph cannot tell alone; only checked once each is valid.

    That a delta's file is there is for the bundle to check: a drive keeps the card of a bundle without its graphs.
    """
    if reader.problems:
        return
    whole = [graph.file for graph in card.graphs if graph.delta is None]
    if len(set(whole)) < len(whole):
        reader.problems.append(f"graphs: a file is listed twice: {', '.join(sorted(whole))}")
    if all(graph.input_wh for graph in card.graphs):
        reader.problems.append("graphs: expected one at the card's own input_wh (its input_wh is null), got none")
    for graph in card.graphs:
        if graph.input_wh == card.input_wh:
            reader.problems.append(f"graphs: {graph.file}: input_wh is the card's own; expected null there")
    if card.precision not in {graph.precision for graph in card.graphs}:
        reader.problems.append(f"precision: no graph is {card.precision}")


def _read_gate(reader: Reader) -> Gate | None:
    if reader.null("gate"):
        return None
    part = reader.part("gate")
    gate = Gate(
        data=part.text("data"),
        frames=part.whole("frames", 1, 10**9),
        calibration=part.text("calibration"),
        scales_sha256=part.sha256("scales_sha256"),
        limits=part.take("limits", "an object of points, 0 to 100,", lambda v: as_values(v, lambda x: as_points(x, 0))),
        lost=part.take("lost", "an object of objects of points", as_losses),
        kept_float=part.take("kept_float", "a list of layer names", as_texts),
    )
    part.no_more()
    return gate


def _read_table(reader: Reader) -> ClassTable | None:
    rows = reader.parts("classes")
    names = tuple(row.text("name") for row in rows)
    colours = tuple(row.take("colour_rgb", "[red, green, blue], 0 to 255 each", as_rgb) for row in rows)
    groups = reader.take("groups", "an object of lists of class names", as_groups)
    tints = reader.take("tints", "an object of [red, green, blue]", lambda v: as_values(v, as_rgb))
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


def _read_fingerprint(reader: Reader) -> Fingerprint | None:
    if reader.null("fingerprint"):
        return None
    part = reader.part("fingerprint")
    fingerprint = Fingerprint(
        shares=part.take("shares", "an object of shares, 0 to 1,", lambda v: as_values(v, lambda x: as_number(x, 1))),
        drift=part.number("drift", 1),
        edges=part.number("edges", 1),
        edges_high=part.number("edges_high", 1),
        layout=part.take("layout", "an object of lists of shares, 0 to 1,", _as_layout) if part.has("layout") else {},
        layout_drift=part.number("layout_drift", 1) if part.has("layout_drift") else 0.0,
    )
    part.no_more()
    return fingerprint


def _as_layout(value: Any) -> dict[str, tuple[float, ...]] | None:
    def as_bands(bands: Any) -> tuple[float, ...] | None:
        found = [as_number(share, 1) for share in bands] if isinstance(bands, list) else []
        known = tuple(share for share in found if share is not None)
        return known if len(known) == len(found) == LAYOUT_BANDS else None

    return as_values(value, as_bands)


def _read_accuracy(reader: Reader) -> Accuracy:
    accuracy = Accuracy(
        graph=reader.text("graph"),
        precision=reader.text("precision"),
        judge=reader.text("judge"),
        data=reader.text("data"),
        frames=reader.whole("frames", 1, 10**9),
        miou=reader.number("miou", 1),
        pixel_accuracy=reader.number("pixel_accuracy", 1),
        iou=reader.take("iou", "an object of numbers from 0 to 1, or null,", as_shares),
        command=reader.text("command"),
    )
    reader.no_more()
    return accuracy


def _read_speed(reader: Reader) -> Speed:
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
