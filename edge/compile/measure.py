"""What an engine's card says of it: accuracy on labelled frames and speed on this machine, measured on the bundle."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory

from edge.backends import openvino
from edge.bench import bare_engine, machine
from edge.card import Accuracy, Measured, Speed
from edge.classes import ClassTable
from edge.config import data_path
from edge.engine import Bundle, Engine, write_bundle
from edge.errors import BundleTampered, EngineError
from edge.evaluate import evaluate
from edge.train.recipe import Folder

SPEED_FRAMES = 300


def measure_bundle(bundle: Bundle, val: Folder, table: ClassTable) -> Bundle:
    """The bundle with a card that holds its figures: IoU per class on `val`, milliseconds per frame, in each precision
    that OpenVINO, this processor and the bundle have. Masks in another layout or with other ids are translated first.

    Raises:
        DataError: the labelled frames are missing or not in order.
    """
    from edge.train.data import plain_folder  # late: it needs torch, which an ONNX file does not

    accuracies: list[Accuracy] = []
    with TemporaryDirectory(prefix="edge-measure-") as scratch:
        plain = plain_folder(val, table, Path(scratch))
        for precision in openvino.PRECISIONS:
            with opened_or_not(bundle, precision) as engine:
                if engine is not None:
                    accuracies.append(_accuracy(bundle, engine, val, plain))
    return with_figures(bundle, Measured(tuple(accuracies), tuple(speeds(bundle))))


def with_figures(bundle: Bundle, measured: Measured) -> Bundle:
    """The bundle, written again with these figures in its card."""
    graphs = {graph.file: bundle.read(graph) for graph in bundle.card.graphs if graph.delta is None}
    return write_bundle(bundle.folder, graphs, dataclasses.replace(bundle.card, measured=measured))


@contextmanager
def opened_or_not(bundle: Bundle, precision: str) -> Iterator[Engine | None]:
    """OpenVINO's engine; None for what this processor or the bundle does not have."""
    try:
        engine = openvino.open(bundle, precision=precision)
    except BundleTampered:
        raise
    except EngineError:
        yield None
        return
    with engine:
        yield engine


def openvino_version() -> str:
    """As a card names it: "OpenVINO 2026.4.1"."""
    return f"OpenVINO {openvino.import_library().__version__.split('-')[0]}"


def onnxruntime_version() -> str:
    """Likewise: "ONNX Runtime 1.32.0"; without a number where it is not installed."""
    try:
        return f"ONNX Runtime {version('onnxruntime')}"
    except PackageNotFoundError:
        return "ONNX Runtime"


def speeds(bundle: Bundle) -> Iterator[Speed]:
    """Of every precision that OpenVINO has here, one after another."""
    where = machine()
    for precision in openvino.PRECISIONS:
        with opened_or_not(bundle, precision) as engine:
            if engine is None:
                continue
            figures = bare_engine(engine, SPEED_FRAMES)
            yield Speed(
                machine=f"{where['cpu']}, {where['cores']} cores",
                threads=engine.threads,
                precision=precision,
                frames=SPEED_FRAMES,
                p50_ms=figures["p50_ms"],
                p99_ms=figures["p99_ms"],
            )


def _accuracy(bundle: Bundle, engine: Engine, val: Folder, plain: Folder) -> Accuracy:
    """Measured on `plain`, which is gone afterwards where it is not `val` itself; the card names `val`."""
    score = evaluate(str(data_path(plain.frames)), data_path(plain.labels), engine)
    repeated = evaluate_command(val.frames, val.labels, bundle.card.name, engine.precision)
    return Accuracy(
        graph=bundle.graph(engine.precision, openvino.GRAPHS).file,
        precision=engine.precision,
        judge=openvino_version(),
        data=val.frames,
        frames=score.frames,
        **score.card_figures(),
        command=repeated
        if plain == val
        else f"edge build {bundle.card.name}.yaml  # the recipe: its masks are translated",
    )


def evaluate_command(frames: str, labels: str, engine: str, precision: str) -> str:
    """The command that repeats a measurement."""
    return f"edge evaluate {frames} --labels {labels} --engine {engine} --precision {precision}"
