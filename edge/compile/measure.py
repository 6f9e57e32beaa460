"""What an engine's card says of it: accuracy on labelled frames and speed on this machine, measured on the bundle."""

from __future__ import annotations

import dataclasses

from edge.backends.openvino import import_openvino
from edge.bench import bare_engine, machine
from edge.card import Accuracy, Measured, Speed
from edge.config import data_path
from edge.engine import MODEL_FILE, Bundle, Engine, open_engine, write_bundle
from edge.errors import EngineError
from edge.evaluate import evaluate
from edge.train.recipe import Folder

SPEED_FRAMES = 300


def measure_bundle(bundle: Bundle, val: Folder) -> Bundle:
    """The bundle with a card that holds its figures: IoU per class on `val`, milliseconds per frame, in each precision
    that this processor has.

    Raises:
        DataError: the labelled frames are missing or not in order.
    """
    accuracies: list[Accuracy] = []
    speeds: list[Speed] = []
    for precision in ("f32", "bf16"):
        try:
            engine = open_engine(bundle.folder, precision=precision, backend="openvino")
        except EngineError:
            if precision == "f32":
                raise
            continue  # a processor without bf16
        with engine:
            speeds.append(_speed(engine))
            accuracies.append(_accuracy(engine, val))
    card = dataclasses.replace(bundle.card, measured=Measured(tuple(accuracies), tuple(speeds)))
    return write_bundle(bundle.folder, {graph.file: bundle.read(graph) for graph in card.graphs}, card)


def _accuracy(engine: Engine, val: Folder) -> Accuracy:
    score = evaluate(str(data_path(val.frames)), data_path(val.labels), engine)
    figures = score.as_json()
    return Accuracy(
        graph=MODEL_FILE,
        precision=engine.precision,
        judge=f"OpenVINO {import_openvino().__version__.split('-')[0]}",
        data=val.frames,
        frames=score.frame_count,
        miou=figures["miou"],
        pixel_accuracy=figures["pixel_accuracy"],
        iou=figures["iou"],
        command=f"edge evaluate {val.frames} --labels {val.labels} --engine {engine.card.name}"
        f" --precision {engine.precision}",
    )


def _speed(engine: Engine) -> Speed:
    figures = bare_engine(engine, SPEED_FRAMES)
    where = machine()
    return Speed(
        machine=f"{where['cpu']}, {where['cores']} cores",
        threads=engine.threads,
        precision=engine.precision,
        frames=SPEED_FRAMES,
        p50_ms=figures["p50_ms"],
        p99_ms=figures["p99_ms"],
    )
