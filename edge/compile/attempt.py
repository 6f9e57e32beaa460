"""What a build tries and finds: INT8 graphs, who judged them, and the bundle that comes of it."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edge.card import Accuracy, Card, Gate, Graph, Measured
from edge.compile.judge import Judged, broken_limits
from edge.compile.measure import evaluate_command, openvino_version, speeds, with_figures
from edge.compile.observe import Scales
from edge.compile.quantize import Form as Target
from edge.delta import make_delta
from edge.engine import MODEL_FILE, write_bundle
from edge.score import Score
from edge.train.recipe import BuildPlan

INT8_FILES: dict[Target, str] = {"openvino": "int8.openvino.onnx", "tensorrt": "int8.tensorrt.onnx"}


@dataclass(frozen=True)
class Form:
    """A graph's file, the precision it computes in, and the runtime that judges it. `label` is its column in tables."""

    label: str
    file: str
    precision: str
    judge: str


@dataclass
class Attempt:
    """INT8 graphs with some layers kept in floating point, and what the judge found. `others` are the graphs, fp32 and
    INT8, for other input sizes.
    """

    kept_float: tuple[str, ...]
    graphs: dict[str, bytes]
    own: Score
    judged: dict[Form, Judged]
    lost: dict[str, dict[str, float]]  # by label
    others: dict[tuple[int, int], dict[str, bytes]] = field(default_factory=dict)

    def broken(self, limits: Mapping[str, float]) -> dict[str, list[str]]:
        """By graph, the limits that do not hold; empty when all hold."""
        found = {name: broken_limits(lost, limits) for name, lost in self.lost.items()}
        return {name: names for name, names in found.items() if names}


@dataclass(frozen=True)
class Point:
    """One engine on the front: how fast it is on this machine, and how right."""

    label: str
    p50_ms: float
    judged: Judged


@dataclass(frozen=True)
class Report:
    """All that a build found, for people."""

    card: Card
    limits: Mapping[str, float]
    data: str
    sensitivity: Mapping[str, float]
    ranges: Mapping[str, str]  # by layer: what INT8 covers of its input, in words
    attempts: Sequence[Attempt]
    front: Sequence[Point]

    @property
    def holds(self) -> bool:
        """Whether the last attempt, the one that would be written, keeps every limit."""
        return not self.attempts[-1].broken(self.limits)


def write_built(
    card: Card, plan: BuildPlan, limits: Mapping[str, float], scales: Scales, attempt: Attempt, folder: Path
) -> None:
    """The attempt's graphs as a bundle, with the gate that they passed and what was measured in its card.

    `card` is the fp32 bundle's, with its fingerprint.
    """
    kinds = {MODEL_FILE: ("fp32", "any"), **{INT8_FILES[form]: ("int8", form) for form in plan.targets}}
    graphs = [Graph(file, *kind, sha256_of(attempt.graphs[file])) for file, kind in kinds.items()]
    for size_wh, others in attempt.others.items():
        for file, kind in kinds.items():
            delta = base64.b64encode(make_delta(attempt.graphs[file], others[file])).decode()
            graphs.append(Graph(file, *kind, sha256_of(others[file]), size_wh, delta))
    made = dataclasses.replace(
        card,
        graphs=tuple(graphs),
        precision="int8",
        gate=Gate(
            data=plan.gate.frames,
            frames=attempt.own.frames,
            calibration=scales.calibration,
            scales_sha256=scales.sha256,
            limits=dict(limits),
            lost=attempt.lost,
            kept_float=attempt.kept_float,
        ),
        measured=Measured(tuple(_accuracies(card, plan, attempt)), ()),
    )
    written = write_bundle(folder, attempt.graphs, made)
    with_figures(written, dataclasses.replace(made.measured, speed=tuple(speeds(written))))


def sha256_of(content: bytes) -> str:
    """64 hex digits, as cards hold them."""
    return hashlib.sha256(content).hexdigest()


def _accuracies(card: Card, plan: BuildPlan, attempt: Attempt) -> Iterator[Accuracy]:
    """Of every graph that was judged; without labels, it is empty."""
    if not attempt.own.has_labels:
        return
    yield _accuracy(card, plan, Form(MODEL_FILE, MODEL_FILE, "f32", openvino_version()), attempt.own)
    for form, judged in attempt.judged.items():
        yield _accuracy(card, plan, form, judged)


def _accuracy(card: Card, plan: BuildPlan, form: Form, score: Score) -> Accuracy:
    gate = plan.gate
    built = f"edge build engines/{card.name}.yaml"
    plain = gate.map is None and gate.layout == "pairs"  # what is not plain, `edge evaluate` cannot read
    again = evaluate_command(gate.frames, gate.labels or "", card.name, form.precision) if plain else built
    return Accuracy(
        graph=form.label,
        precision=form.precision,
        judge=form.judge,
        data=gate.frames,
        frames=score.frames,
        **score.card_figures(),
        command=again if form.judge.startswith("OpenVINO") else built,
    )
