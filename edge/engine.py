"""An engine: a compiled net that turns an image into classes, and the bundle on disk that it comes from.

A bundle is a folder with `card.json` and one to three graphs: `model.onnx` in floating point, and INT8 as OpenVINO and
as TensorRT want it. The card says everything about the engine that is not in a graph, and carries the graphs' hashes,
so that they cannot be mixed up. What is compiled from a bundle stays on the machine that compiled it; the bundle is
what travels.

`edge.backends.open_engine` opens one. Kept quick to import: `edge run` starts here.
"""

from __future__ import annotations

import base64
import dataclasses
import difflib
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, overload

from edge.card import CARD_LIMIT_BYTES, NAME, Card, Graph
from edge.delta import apply_delta
from edge.errors import BundleTampered, EngineError, EngineNotFound
from edge.outputs import Output
from edge.regular import read_regular
from edge.secrets import redacted

if TYPE_CHECKING:  # edge.frame imports OpenCV, which an engine does not need
    from types import TracebackType

    from typing_extensions import Self

    from edge.frame import Image
    from edge.outputs import Arrays
    from edge.prediction import Prediction

DEFAULT_ENGINE = "road"
MODEL_FILE = "model.onnx"
CARD_FILE = "card.json"
_NETS = {
    ".pt",
    ".pth",
    ".onnx",
    ".engine",
    ".plan",
    ".torchscript",
    ".tflite",
    ".xml",
}  # what nets come in
GRAPH_LIMIT_BYTES = 1 << 30
# What an engine computes in, and the graph that it runs: bf16 and fp16 are a matter of the runtime, not of the file.
GRAPH_PRECISION = {"f32": "fp32", "bf16": "fp32", "fp16": "fp32", "int8": "int8"}
BUNDLED = Path(__file__).parent / "engines"  # shipped in the wheel
CHECKOUT = Path(__file__).parents[1] / "engines"  # where edge runs from a clone of its repository
IN_REPOSITORY = ("large",)  # bundles there that are not in the wheel
_ELSEWHERE = (
    "it comes with edge's repository, not with the package. In a clone of it: --engine engines/{0}; elsewhere the path"
    " of that folder."
)
BUILT = Path("engines/built")  # under the working directory, where `edge build` puts its own


@dataclass(frozen=True)
class Bundle:
    """A folder with graphs and their card. Graphs that a machine has no use for may be left out of its copy."""

    folder: Path
    card: Card

    def graph(self, precision: str, runtime: str) -> Graph:
        """The graph to run in that precision (f32, bf16, fp16 or int8) on that runtime (openvino or tensorrt).

        Raises:
            EngineError: the bundle has none.
        """
        kind = GRAPH_PRECISION.get(precision, precision)
        for graph in self.card.graphs:
            if graph.precision == kind and graph.runtime in (runtime, "any") and graph.input_wh is None:
                return graph
        there = ", ".join(sorted(f"{g.precision} for {g.runtime}" for g in self.card.graphs))
        raise EngineError(
            f"{self.folder}: holds no {kind} graph for {runtime}; there is: {there}."
            + (f" Make one: edge build engines/{self.card.name}.yaml" if kind == "int8" else "")
        )

    def read(self, graph: Graph) -> bytes:
        """The bytes of a graph, read once and checked: what is compiled is what was hashed.

        Raises:
            BundleTampered: they are not the ones the card was made for.
            EngineError: they cannot be read.
        """
        path = self.folder / graph.file
        content = _read_file(path, GRAPH_LIMIT_BYTES)
        if graph.delta is not None:
            try:
                content = apply_delta(content, base64.b64decode(graph.delta), GRAPH_LIMIT_BYTES)
            except ValueError as error:
                width, height = graph.input_wh or self.card.input_wh
                raise BundleTampered(f"{path}: its form for {width}x{height} cannot be made: {error}") from error
        found = hashlib.sha256(content).hexdigest()
        if found != graph.sha256:
            raise BundleTampered(
                f"{path}: the graph is not the one its card was made for"
                f" (sha256 {found[:8]}… found, {graph.sha256[:8]}… expected)."
                f" Restore the bundle, or make it again: edge build engines/{self.card.name}.yaml"
            )
        return content

    def fitted(self, source_wh: tuple[int, int]) -> Bundle:
        """The bundle at the one of its input sizes that shows frames of that size best: as large as any does, with the
        least black around them.
        """
        return self.steps(source_wh)[0]

    def steps(self, source_wh: tuple[int, int]) -> list[Bundle]:
        """The bundle at each of its input sizes that makes sense for frames of that size, the largest image first;
        of sizes that show frames equally large, the one with the least black around them.
        """
        if self.card.resize == "stretch":
            return [self]
        sizes = {self.card.input_wh, *(graph.input_wh for graph in self.card.graphs if graph.input_wh)}
        best: dict[float, tuple[int, int]] = {}
        for size in sorted(sizes, key=lambda size: size[0] * size[1]):
            scale = min(size[0] / source_wh[0], size[1] / source_wh[1])
            if not any(0.99 * scale <= other for other in best):
                best[scale] = size
        return [self.at(best[scale]) for scale in sorted(best, reverse=True)]

    def at(self, input_wh: tuple[int, int]) -> Bundle:
        """The bundle with another of its input sizes as the card's own; the card still lists every graph.

        Raises:
            EngineError: there is no such size.
        """
        if input_wh == self.card.input_wh:
            return self
        if all(graph.input_wh != input_wh for graph in self.card.graphs):
            sizes = {self.card.input_wh, *(graph.input_wh for graph in self.card.graphs if graph.input_wh)}
            raise EngineError(f"{self.folder}: has no input of {input_wh}, but: {', '.join(map(str, sorted(sizes)))}")
        renamed = {None: self.card.input_wh, input_wh: None}
        graphs = [dataclasses.replace(g, input_wh=renamed.get(g.input_wh, g.input_wh)) for g in self.card.graphs]
        graphs.sort(key=lambda graph: graph.input_wh is not None)  # those to run come first, as in a bundle's card
        return Bundle(self.folder, dataclasses.replace(self.card, input_wh=input_wh, graphs=tuple(graphs)))


def load_bundle(folder: Path, trusted_keys: Collection[str] | None = None) -> Bundle:
    """The bundle in a folder. The graphs themselves are read and checked by `Bundle.read`. With `trusted_keys`, its
    card must be signed by one of them (`edge.signing`).

    Raises:
        EngineNotFound: the folder does not hold a card and a graph.
        EngineError: the card cannot be read or is not one.
        BundleTampered: it is not as it was written, or not signed by a trusted key.
    """
    path = folder / CARD_FILE
    if not path.exists():
        raise EngineNotFound(f"{folder}: is not an engine bundle, {CARD_FILE} missing")
    content = _read_file(path, CARD_LIMIT_BYTES)
    if trusted_keys is not None:
        from edge.signing import verify  # late: most runs ask for no signature

        verify(folder, content, trusted_keys)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise EngineError(f"{path}: is not UTF-8 text") from error
    card = Card.from_json(text, str(path))
    if adrift := {g.file for g in card.graphs} - {g.file for g in card.graphs if g.delta is None}:
        raise EngineError(f"{path}: graphs: {', '.join(sorted(adrift))} only with a delta, expected the whole file too")
    if not any((folder / graph.file).is_file() for graph in card.graphs):
        files = ", ".join(graph.file for graph in card.graphs)
        raise EngineNotFound(f"{folder}: is not an engine bundle, expected at least one of its graphs: {files}")
    return Bundle(folder, card)


def find_bundle(name_or_path: str | Path = DEFAULT_ENGINE, trusted_keys: Collection[str] | None = None) -> Bundle:
    """The bundle of that name, among those that come with edge and those in ./engines/built; or that folder's. For
    `trusted_keys` see `load_bundle`.

    Raises:
        EngineNotFound: it is unknown; the message lists those that there are.
        EngineError: it is there, but its card is not in order, or not signed by a trusted key.
    """
    folder = bundle_folder(name_or_path)
    if _is_net(Path(name_or_path)) and not (folder and (folder / CARD_FILE).is_file()):
        raise EngineNotFound(
            f"{name_or_path}: expected an engine, which is a folder with a card; got the name of a net's file."
            " Make an engine of it with edge build: docs/bring-your-own-net.md"
        )
    if folder is not None:
        return load_bundle(folder, trusted_keys)
    known = list_bundles()
    raise EngineNotFound(
        f"no engine is called {redacted(str(name_or_path))!r}, and no folder either"
        + _hint(str(name_or_path), known)
        + f" There are: {', '.join(known) or 'none'}"
    )


def _hint(name: str, known: Sequence[str]) -> str:
    """What to type in place of a name that is not one of `known`: a folder, the command that builds it, a like name."""
    folders = _folders_below_engines()
    if name in folders:
        return f", but its folder is {folders[name]}: give that in its place, as in --engine {folders[name]}."
    if re.fullmatch(NAME, name):
        for home in (Path("engines"), CHECKOUT):
            if (recipe := home / f"{name}.yaml").is_file():
                return f", but a recipe: edge build {recipe} makes the engine."
    if name in IN_REPOSITORY:
        return f": {_ELSEWHERE.format(name)}"
    close = difflib.get_close_matches(name, [*known, *folders, *IN_REPOSITORY], n=1)
    if not close:
        return "."
    if close[0] in known:
        return f"; did you mean {close[0]!r}?"
    if close[0] in folders:
        return f"; did you mean --engine {folders[close[0]]}?"
    return f"; did you mean {close[0]!r}? {_ELSEWHERE.format(close[0])}"


def _folders_below_engines() -> dict[str, Path]:
    """The bundles that take a path, here and in the clone that edge runs from, by name."""
    cards = (sorted(home.glob(f"**/{CARD_FILE}"), reverse=True) for home in (CHECKOUT, Path("engines")))
    return {card.parent.name: card.parent for found in cards for card in found}  # of one name the first of those here


def _is_net(path: Path) -> bool:
    """Whether it is a net's file, or named like one that another tool would download."""
    return path.suffix in _NETS and (path.is_file() or path.name == str(path))


def bundle_folder(name_or_path: str | Path) -> Path | None:
    """The folder that the name of an engine stands for; None if it is unknown. What it holds is not looked at."""
    if re.fullmatch(NAME, str(name_or_path)):
        for home in (BUNDLED, BUILT):
            if (home / name_or_path / CARD_FILE).is_file():
                return home / name_or_path
    path = Path(os.path.expanduser(name_or_path))  # noqa: PTH111 an unknown ~user is a name that is not found
    if (path.suffix == ".onnx" or path.name == CARD_FILE) and path.is_file():
        path = path.parent
    return path if name_or_path != "" and path.is_dir() else None  # Path("") is the folder one is in


def list_bundles() -> list[str]:
    """The names that `find_bundle` knows, sorted."""
    return sorted({card.parent.name for home in (BUNDLED, BUILT) for card in home.glob(f"*/{CARD_FILE}")})


def write_bundle(folder: Path, graphs: Mapping[str, bytes], card: Card) -> Bundle:
    """Write a bundle, graphs by file name, as a whole or not at all, in the place of one that is there.

    Raises:
        EngineError: the card is not these graphs', the folder holds something else, or it cannot be written.
    """
    if {name: hashlib.sha256(graph).hexdigest() for name, graph in graphs.items()} != {
        graph.file: graph.sha256 for graph in card.graphs if graph.delta is None
    }:
        raise EngineError(f"{folder}: not written, the card was made for other graphs")
    if folder.exists() and not (folder / CARD_FILE).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise EngineError(f"{folder}: not written, it holds something that is not an engine bundle")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
            fresh = Path(scratch, "new")
            fresh.mkdir(mode=0o755)
            for name, graph in graphs.items():
                _write_file(fresh / name, graph)
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
        return read_regular(path, limit_bytes)
    except OSError as error:
        raise EngineError(f"{path}: cannot be read: {error.strerror}") from error


@dataclass(frozen=True)
class Identity:
    """What runs an engine: all that its arrays depend on besides card, precision and image.

    Attributes:
        backend: a name of `edge.backends.BACKENDS`.
        version: of its library.
        device: the kind of processor; of a GPU also which one, its driver and what was compiled for it.
    """

    backend: str
    version: str
    device: str

    def __str__(self) -> str:
        return f"{self.backend} {self.version} on {self.device}"


class Engine(Protocol):
    """A compiled net. `infer` may be called from several threads; `streams` calls run side by side, the others wait.

    Attributes:
        card: what the engine is.
        identity: what runs it.
        precision: that of the arithmetic: "f32", "bf16", "fp16" or "int8".
        outputs: those of the card's outputs that it computes.
        threads: CPU threads it uses in all.
        streams: inferences that run side by side, with an equal part of the threads each.
    """

    @property
    def card(self) -> Card: ...

    @property
    def identity(self) -> Identity: ...

    @property
    def precision(self) -> str: ...

    @property
    def outputs(self) -> tuple[Output, ...]: ...

    @property
    def threads(self) -> int: ...

    @property
    def streams(self) -> int: ...

    def infer(self, image: Image) -> Arrays:
        """The engine's `outputs` by name, fresh arrays that the caller owns, for an image, uint8 (h, w, 3) BGR,
        C-contiguous and of the card's input size. "semantic", uint8 (h, w) class ids, is always there.

        Raises:
            EngineError: the image is not of that type or size, or the engine is closed or failed.
        """
        ...

    @overload
    def predict(self, images: Image, /) -> Prediction: ...

    @overload
    def predict(self, images: Sequence[Image], /) -> list[Prediction]: ...

    def predict(self, images: Image | Sequence[Image], /) -> Prediction | list[Prediction]:
        """What the engine sees in an image of any size, uint8 (H, W, 3) BGR; of a sequence of images, or an array of
        them (N, H, W, 3), a list in their order, as many side by side as the engine has streams.

        For a few images. For a video or a camera, `edge.segment` keeps its buffers from frame to frame.

        Raises:
            EngineError: an image is not of that form, or the engine is closed or failed.
        """
        ...

    @overload
    def __call__(self, images: Image, /) -> Prediction: ...

    @overload
    def __call__(self, images: Sequence[Image], /) -> list[Prediction]: ...

    def __call__(self, images: Image | Sequence[Image], /) -> Prediction | list[Prediction]:
        """The same as `predict`: `engine(image)`."""
        ...

    def close(self) -> None:
        """Free what the engine holds. It may be called twice."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def check_image(image: Image, card: Card) -> None:
    """Refuse what is not uint8 (h, w, 3), C-contiguous and of the card's input size.

    Raises:
        EngineError: saying what was found.
    """
    width, height = card.input_wh
    if image.shape != (height, width, 3) or image.dtype != "uint8" or not image.flags.c_contiguous:
        layout = "" if image.flags.c_contiguous else ", not C-contiguous"
        raise EngineError(
            f"engine {card.name}: expected an image of uint8 {(height, width, 3)}, C-contiguous,"
            f" got {image.dtype} {image.shape}{layout}"
        )
