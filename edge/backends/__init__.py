"""The backends: what can run an engine on this machine, and `open_engine`, which chooses one and opens an engine.

A backend is a module with the names that `Backend` lists, and a row of `BACKENDS`; docs/how-to/add-a-backend.md shows
how to add one. Nothing else in edge knows a backend by its name.

    with open_engine("road") as engine:
        outputs = engine.infer(image)  # uint8 (h, w, 3) BGR of the card's input size in
        classes = outputs["semantic"]  # uint8 (h, w) class ids

A backend's module is imported when it is asked for: importing this one is quick.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from edge.engine import DEFAULT_ENGINE, Bundle, Engine, find_bundle
from edge.errors import EngineError

# Name -> module, in the order in which they are tried where no backend is asked for.
BACKENDS = {
    "tensorrt": "edge.backends.tensorrt",
    "openvino": "edge.backends.openvino",
    "onnxruntime": "edge.backends.onnxruntime",
}


class Backend(Protocol):
    """What a backend's module offers.

    Attributes:
        LABEL: its name in messages, such as "TensorRT".
        PRECISIONS: of the arithmetic that it knows: of "f32", "bf16", "fp16", "int8".
        GRAPHS: the `runtime` of the graphs in a card that it runs, besides "any".
        OPENS_QUICKLY: an engine opens within seconds, so that opening one on suspicion costs little.
    """

    LABEL: str
    PRECISIONS: tuple[str, ...]
    GRAPHS: str
    OPENS_QUICKLY: bool

    def unavailable_reason(self) -> str | None:
        """Why it cannot run here, in one line; None if it can. Quick: the library itself is not imported."""
        ...

    def import_library(self) -> Any:
        """The library's module, imported.

        Raises:
            EngineError: it cannot be imported.
        """
        ...

    def open(
        self,
        bundle: Bundle,
        *,
        precision: str | None = None,
        threads: int | None = None,
        side_by_side: bool | int = False,
        outputs: Collection[str] = (),
    ) -> Engine:
        """The bundle's engine, at the card's input size; for the arguments see `open_engine`.

        Raises:
            BundleTampered: the graph is not the one that the card was made for.
            EngineError: it cannot run here, or not with these arguments.
        """
        ...

    def layer_precisions(self, engine: Any) -> Mapping[str, int]:
        """How many convolutions and matrix products of an engine that `open` gave run in each precision; empty where
        the library does not report it.
        """
        ...


def load_backend(name: str) -> Backend:
    """The module of the backend of that name.

    Raises:
        EngineError: the name is unknown.
    """
    if name not in BACKENDS:
        raise EngineError(f"expected a backend of {', '.join(BACKENDS)}, got {name!r}")
    return cast("Backend", import_module(BACKENDS[name]))


def available_backends() -> dict[str, str | None]:
    """Every backend's name, in order of preference, with the reason why it cannot run here, or None."""
    return {name: load_backend(name).unavailable_reason() for name in BACKENDS}


def choose_backend(name: str | None = None) -> str:
    """The backend that `open_engine` uses: the one asked for, or the first that can run here.

    Raises:
        EngineError: it is unknown, or cannot run here.
    """
    reasons: dict[str, str] = {}
    for candidate in BACKENDS if name is None else (name,):
        backend = load_backend(candidate)
        reason = backend.unavailable_reason()
        if reason is None:
            return candidate
        reasons[backend.LABEL] = reason
    raise EngineError("; ".join(f"{label} cannot run here: {reason}" for label, reason in reasons.items()))


def open_engine(
    name_or_path: str | Path = DEFAULT_ENGINE,
    *,
    precision: str | None = None,
    threads: int | None = None,
    side_by_side: bool | int = False,
    backend: str | None = None,
    source_wh: tuple[int, int] | Callable[[], tuple[int, int]] | None = None,
    input_wh: tuple[int, int] | None = None,
    outputs: Collection[str] = (),
    trusted_keys: Collection[str] | None = None,
) -> Engine:
    """The engine of that name or in that folder, ready to run; close it, or use it with `with`.

    `precision` is the card's own if not given. `backend` is a name of `BACKENDS`; if not given, the first that can run
    here: TensorRT, OpenVINO, ONNX Runtime. TensorRT builds its plan, for minutes, where this device keeps none yet.

    `threads` is how many CPU threads a CPU backend uses; all that this process may run on if not given. They work on
    one frame together, so that its mask is young; or, `side_by_side`, on a frame each: more frames per second, for
    recordings. `edge.segment` opens an engine side by side for a file, and not for a camera. A number in place of True
    is how many frames are worked on side by side, with an equal part of the threads each.

    `source_wh` is the size of the frames to come, or gives it when called: of the bundle's input sizes, the one that
    wastes least on them is taken. `input_wh` names one. Without either, the card's own.

    `outputs` names outputs to compute besides those that the card computes by default, such as "confidence". Those that
    steps give, such as "instances", are a matter of `edge.segmenter.Segmenter`.

    `trusted_keys` are public keys (`edge keygen`): only a bundle that is signed by one of them is opened.

    Raises:
        EngineNotFound: there is no such bundle.
        BundleTampered: its graph is not the one its card was made for, or it is not signed by a trusted key.
        EngineError: it cannot run here, or not with this precision or number of threads.
    """
    bundle = find_bundle(name_or_path, trusted_keys)
    if input_wh is not None:
        bundle = bundle.at(input_wh)
    elif source_wh is not None:
        bundle = bundle.fitted(source_wh() if callable(source_wh) else source_wh)
    return load_backend(choose_backend(backend)).open(
        bundle, precision=precision, threads=threads, side_by_side=side_by_side, outputs=outputs
    )
