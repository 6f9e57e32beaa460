"""An engine: a compiled net that turns an image into classes, and the bundle on disk that it comes from.

A bundle is a folder of two files, `model.onnx` and `card.json`. The card says everything about the engine that is not
in the graph, and carries the graph's hash, so that the two cannot be mixed up. What is compiled from a bundle stays on
the machine that compiled it; the bundle is what travels.

    with open_engine("road") as engine:
        classes = engine.infer(image)  # uint8 (h, w, 3) BGR in, uint8 (h, w) class ids out

Kept quick to import: `edge run` starts here.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from edge.classes import ClassTable, Rgb
from edge.errors import BundleTampered, ConfigError, EngineError, EngineNotFound

if TYPE_CHECKING:  # edge.frame imports OpenCV, which an engine does not need
    from types import TracebackType

    from typing_extensions import Self

    from edge.frame import Image, ResizePolicy

FORMAT = 1
DEFAULT_ENGINE = "road"
MODEL_FILE = "model.onnx"
CARD_FILE = "card.json"
CARD_LIMIT_BYTES = 1 << 20
MODEL_LIMIT_BYTES = 1 << 30
BUNDLED = Path(__file__).parent / "engines"  # shipped in the wheel
BUILT = Path("engines/built")  # under the working directory, where `edge build` and `edge export` put theirs

Value = TypeVar("Value")


# ------------------------------------------------------------------------------------------------------------ the card


@dataclass(frozen=True)
class Versions:
    """What a bundle was made with. `opset` is the ONNX operator set of its graph."""

    edge: str
    torch: str
    opset: int


@dataclass(frozen=True)
class Accuracy:
    """How right an engine was on labelled frames. `iou` is by class name; None for a class that did not occur."""

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
class Measured:
    accuracy: tuple[Accuracy, ...] = ()
    speed: tuple[Speed, ...] = ()


@dataclass(frozen=True)
class Card:
    """Everything an engine knows about itself; `card.json` holds one.

    `precision` is that of the graph's arithmetic ("fp32", with weights stored as half floats). `licence` covers the
    weights and names the terms of the data they were trained on. `recipe_sha256` and `weights_sha256` tell which
    training run the weights are from, `model_sha256` is of the bytes of `model.onnx`.
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
    model_sha256: str
    weights_sha256: str
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
        name=reader.matching("name", "a name of a-z, 0-9, - and _", _NAME),
        description=reader.text("description"),
        table=cast("ClassTable", _read_table(reader)),
        input_wh=reader.take("input_wh", "[width, height] in pixels, 8 to 8192 each,", _size_wh),
        resize=cast("ResizePolicy", reader.matching("resize", "letterbox or stretch", "letterbox|stretch")),
        net=reader.text("net"),
        precision=reader.matching("precision", "fp32, fp16 or int8", "fp32|fp16|int8"),
        training_data=reader.text("training_data"),
        licence=reader.text("licence"),
        trained_steps=reader.whole("trained_steps", 0, 10**9),
        recipe_sha256=reader.sha256("recipe_sha256"),
        created=reader.matching("created", "a date as 2025-12-31", r"\d{4}-\d{2}-\d{2}"),
        versions=Versions(made.text("edge"), made.text("torch"), made.whole("opset", 1, 1000)),
        model_sha256=reader.sha256("model_sha256"),
        weights_sha256=reader.sha256("weights_sha256"),
        measured=Measured(
            tuple(_read_accuracy(part) for part in measured.parts("accuracy")),
            tuple(_read_speed(part) for part in measured.parts("speed")),
        ),
    )
    made.no_more()
    measured.no_more()
    return None if reader.problems else card


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


def _read_accuracy(reader: _Reader) -> Accuracy:
    accuracy = Accuracy(
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


def _groups(value: Any) -> dict[str, tuple[str, ...]] | None:
    def members(item: Any) -> tuple[str, ...] | None:
        return tuple(item) if isinstance(item, list) and all(isinstance(name, str) for name in item) else None

    return _values(value, members)


def _shares(value: Any) -> dict[str, float | None] | None:
    if not isinstance(value, dict) or any(item is not None and _number(item, 1) is None for item in value.values()):
        return None
    return {key: None if item is None else float(item) for key, item in value.items()}


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


# ---------------------------------------------------------------------------------------------------------- the bundle

_NAME = r"[a-z][a-z0-9_-]{0,63}"


@dataclass(frozen=True)
class Bundle:
    """A folder with a graph and its card."""

    folder: Path
    card: Card

    @property
    def model_path(self) -> Path:
        return self.folder / MODEL_FILE

    def read_model(self) -> bytes:
        """The bytes of `model.onnx`, read once and checked: what is compiled is what was hashed.

        Raises:
            BundleTampered: they are not the ones the card was made for.
            EngineError: they cannot be read.
        """
        model = _read_file(self.model_path, MODEL_LIMIT_BYTES)
        found, expected = hashlib.sha256(model).hexdigest(), self.card.model_sha256
        if found != expected:
            raise BundleTampered(
                f"{self.model_path}: the graph is not the one its card was made for"
                f" (sha256 {found[:8]}… found, {expected[:8]}… expected)."
                f" Restore the bundle, or make it again: edge export engines/{self.card.name}.yaml"
            )
        return model


def load_bundle(folder: Path) -> Bundle:
    """The bundle in a folder. The graph itself is read and checked by `Bundle.read_model`.

    Raises:
        EngineNotFound: the folder does not hold both files.
        EngineError: the card cannot be read or is not one.
    """
    if missing := [name for name in (CARD_FILE, MODEL_FILE) if not (folder / name).is_file()]:
        raise EngineNotFound(f"{folder}: is not an engine bundle, {' and '.join(missing)} missing")
    path = folder / CARD_FILE
    try:
        text = _read_file(path, CARD_LIMIT_BYTES).decode("utf-8")
    except UnicodeDecodeError as error:
        raise EngineError(f"{path}: is not UTF-8 text") from error
    return Bundle(folder, Card.from_json(text, str(path)))


def find_bundle(name_or_path: str | Path = DEFAULT_ENGINE) -> Bundle:
    """The bundle of that name, among those that come with edge and those in ./engines/built; or that folder's.

    Raises:
        EngineNotFound: there is none; the message lists those that there are.
        EngineError: there is one, but its card is not in order.
    """
    if re.fullmatch(_NAME, str(name_or_path)):
        for home in (BUNDLED, BUILT):
            if (home / name_or_path / CARD_FILE).is_file():
                return load_bundle(home / name_or_path)
    path = Path(name_or_path).expanduser()
    if path.name in (MODEL_FILE, CARD_FILE) and path.is_file():
        path = path.parent
    if path.is_dir():
        return load_bundle(path)
    known = list_bundles()
    close = difflib.get_close_matches(str(name_or_path), known, n=1)
    raise EngineNotFound(
        f"no engine is called {str(name_or_path)!r}, and no folder either"
        + (f"; did you mean {close[0]!r}?" if close else ".")
        + f" There are: {', '.join(known) or 'none'}"
    )


def list_bundles() -> list[str]:
    """The names that `find_bundle` knows, sorted."""
    return sorted({card.parent.name for home in (BUNDLED, BUILT) for card in home.glob(f"*/{CARD_FILE}")})


def write_bundle(folder: Path, model: bytes, card: Card) -> Bundle:
    """Write a bundle as a whole or not at all, in the place of one that is there.

    Raises:
        EngineError: the card is not this graph's, the folder holds something else, or it cannot be written.
    """
    if hashlib.sha256(model).hexdigest() != card.model_sha256:
        raise EngineError(f"{folder}: not written, the card was made for another graph")
    if folder.exists() and not (folder / CARD_FILE).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise EngineError(f"{folder}: not written, it holds something that is not an engine bundle")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
            fresh = Path(scratch, "new")
            fresh.mkdir(mode=0o755)
            _write_file(fresh / MODEL_FILE, model)
            _write_file(fresh / CARD_FILE, card.to_json().encode())
            _swap(fresh, folder, Path(scratch, "old"))
    except OSError as error:
        raise EngineError(f"{folder}: cannot be written: {error.strerror}") from error
    return Bundle(folder, card)


def _swap(fresh: Path, folder: Path, old: Path) -> None:
    """Put `fresh` in the place of `folder`. Two renames: a folder that holds files cannot be replaced in one."""
    if not folder.exists():
        fresh.rename(folder)
        return
    folder.rename(old)
    try:
        fresh.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    shutil.rmtree(old)


def _write_file(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _read_file(path: Path, limit_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(limit_bytes + 1)
    except OSError as error:
        raise EngineError(f"{path}: cannot be read: {error.strerror}") from error
    if len(content) > limit_bytes:
        raise EngineError(f"{path}: is larger than {limit_bytes} bytes, which is not to be expected of it")
    return content


# ---------------------------------------------------------------------------------------------------------- the engine


class Engine(Protocol):
    """A compiled net. `infer` may be called from several threads; the calls take turns.

    Attributes:
        card: what the engine is.
        precision: that of the arithmetic: "f32" gives the same classes on every run, "bf16" is faster.
        threads: CPU threads one inference uses.
    """

    @property
    def card(self) -> Card: ...

    @property
    def precision(self) -> str: ...

    @property
    def threads(self) -> int: ...

    def infer(self, image: Image) -> Image:
        """Class ids, uint8 (h, w), a fresh array of the caller's, of an image, uint8 (h, w, 3) BGR, C-contiguous and of
        the card's input size.

        Raises:
            EngineError: the image is not of that type or size, or the engine is closed or failed.
        """
        ...

    def close(self) -> None:
        """Free what the engine holds. It may be called twice."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_engine(
    name_or_path: str | Path = DEFAULT_ENGINE, *, precision: str = "f32", threads: int | None = None
) -> Engine:
    """The engine of that name or in that folder, ready to run; close it, or use it with `with`.

    `threads` is how many CPU threads one inference uses; all that this process may run on if not given.

    Raises:
        EngineNotFound: there is no such bundle.
        BundleTampered: its graph is not the one its card was made for.
        EngineError: it cannot run here, or not with this precision or number of threads.
    """
    bundle = find_bundle(name_or_path)
    from edge.backends.openvino import OpenVinoEngine  # late: it costs 150 ms, and `edge --help` needs none of it

    return OpenVinoEngine(bundle, precision=precision, threads=threads)
