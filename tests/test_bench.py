"""`edge bench`: one precision closely, and all of them against each other."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bundles import graph_of
from videos import write_video

from edge import bench as benches
from edge.backends import available_backends, onnxruntime, openvino
from edge.bench import bench, compare, write_drive
from edge.bench_text import compare_text
from edge.card import Accuracy, Graph, Measured
from edge.engine import MODEL_FILE, Bundle, Engine, write_bundle
from edge.errors import BundleTampered, EngineError
from edge.segmenter import Segmenter
from edge.sources.open import open_source

INT8_FILE = "int8.openvino.onnx"
FRAMES = 6
PARTS_OF_ONE_THREAD = (("bare ", ""), ("masks ", " x1"), ("overlay ", " x1"), ("live ", " x1"))


@pytest.fixture
def video(tmp_path: Path) -> str:
    return str(write_video(tmp_path / "drive.mp4", FRAMES))


@pytest.fixture
def two_graphs(colour_bundle: Bundle, tmp_path: Path) -> Bundle:
    """The colour engine with a second graph, called INT8, and what several judges found."""
    model = graph_of(colour_bundle)
    int8 = Graph(INT8_FILE, "int8", "openvino", hashlib.sha256(model).hexdigest())

    def accuracy(graph: str, precision: str, judge: str, miou: float) -> Accuracy:
        return Accuracy(graph, precision, judge, "flags", 2, miou, miou, {"Blue": 0.5, "Red": 0.25}, "edge evaluate")

    found = (
        accuracy(MODEL_FILE, "f32", "OpenVINO 2026", 0.75),
        accuracy(INT8_FILE, "int8", "ONNX Runtime 1", 0.5),
        accuracy(INT8_FILE, "int8", "OpenVINO 2026", 0.625),
    )
    card = colour_bundle.card
    table = dataclasses.replace(card.table, groups={"road": ("Blue",), "pedestrian": ("Red", "Green")}, tints={})
    card = dataclasses.replace(card, table=table, graphs=(*card.graphs, int8), measured=Measured(found))
    return write_bundle(tmp_path / "two", {MODEL_FILE: model, INT8_FILE: model}, card)


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Figures known beforehand in the place of measurements; the list tells who was measured, in order.

    bf16 is left out, which not every processor has. f32 takes 8, 12 and 10 ms, INT8 always 4 ms.
    """
    order: list[str] = []
    f32_ms = iter([8.0, 12.0, 10.0])

    def bare(engine: Engine, frames: int) -> dict[str, float]:
        order.append(f"bare {engine.precision}")
        p50_ms = next(f32_ms) if engine.precision == "f32" else 4.0
        return {"p50_ms": p50_ms, "p99_ms": 2 * p50_ms}

    def pipeline(engine: Engine, drive: str, frames: int, overlay: Path | None = None, *, live: bool = False) -> Any:
        part = "live" if live else "overlay" if overlay else "masks"
        order.append(f"{part} {engine.precision} x{engine.streams}")
        return {"rate_hz": 50.0, "of_bound": 0.9, "age": {"p50_ms": 12.5, "p99_ms": 15.0}, "bottleneck": "infer"}

    monkeypatch.setattr(openvino, "PRECISIONS", ("f32", "int8"))
    monkeypatch.setattr(onnxruntime, "unavailable_reason", lambda: "left out of this comparison")
    monkeypatch.setattr(benches, "bare_engine", bare)
    monkeypatch.setattr(benches, "pipeline", pipeline)
    return order


def by_precision(figures: dict[str, Any]) -> dict[str, Any]:
    return {entrant["precision"]: entrant for entrant in figures["entrants"]}


@pytest.mark.slow
def test_all_that_machine_and_bundle_have_is_measured(two_graphs: Bundle, video: str) -> None:
    figures = compare(str(two_graphs.folder), video, 20, None, rounds=1)
    entrants = by_precision(figures)
    assert {"f32", "int8"} <= set(entrants)
    for entrant in entrants.values():
        assert entrant["masks"]["frames"] == entrant["overlay"]["frames"] == FRAMES
        assert 0 < entrant["bare engine"]["p50_ms"] <= entrant["bare engine"]["p99_ms"]
        assert "encode" in entrant["overlay"]["stages"]
        assert "encode" not in entrant["masks"]["stages"]
        assert 0 < entrant["live"]["frames"] <= FRAMES
        assert entrant["times_f32"]["min"] <= entrant["times_f32"]["median"] <= entrant["times_f32"]["max"]
    assert entrants["f32"]["times_f32"] == {"median": 1.0, "min": 1.0, "max": 1.0}


def test_what_a_bundle_does_not_have_is_named_with_the_reason(
    colour_bundle: Bundle, video: str, scripted: list[str]
) -> None:
    figures = compare(str(colour_bundle.folder), video, 20, None, rounds=1)
    assert list(by_precision(figures)) == ["f32"]
    assert "holds no int8 graph" in figures["absent"]["int8 openvino"]
    assert "not here: int8 openvino: " in compare_text(figures)


def test_rounds_go_through_the_precisions_forth_and_back(two_graphs: Bundle, video: str, scripted: list[str]) -> None:
    compare(str(two_graphs.folder), video, 20, 1, rounds=2)
    there = [f"{part}{precision}{streams}" for part, streams in PARTS_OF_ONE_THREAD for precision in ("f32", "int8")]
    back = [f"{part}{precision}{streams}" for part, streams in PARTS_OF_ONE_THREAD for precision in ("int8", "f32")]
    assert scripted == [*there, *back]


def test_recordings_are_worked_on_side_by_side_and_live_frames_together(
    two_graphs: Bundle, video: str, scripted: list[str]
) -> None:
    figures = compare(str(two_graphs.folder), video, 20, None, rounds=1)
    threads = figures["threads"]
    assert [entry for entry in scripted if entry.endswith("f32") or " f32 " in entry] == [
        "bare f32",
        f"masks f32 x{threads}",
        f"overlay f32 x{threads}",
        "live f32 x1",
    ]


def test_ratios_are_taken_within_rounds_and_figures_from_the_middle_one(
    two_graphs: Bundle, video: str, scripted: list[str]
) -> None:
    entrants = by_precision(compare(str(two_graphs.folder), video, 20, None, rounds=3))
    assert entrants["int8"]["times_f32"] == {"median": 2.5, "min": 2.0, "max": 3.0}
    assert entrants["f32"]["bare engine"] == {"p50_ms": 10.0, "p99_ms": 20.0}
    assert entrants["f32"]["age_added"] == {"p50_ms": 2.5, "p99_ms": 5.0}
    assert entrants["int8"]["age_added"] == {"p50_ms": 8.5, "p99_ms": 11.0}


def test_accuracy_is_the_cards_by_the_runtime_that_runs(two_graphs: Bundle, video: str, scripted: list[str]) -> None:
    figures = compare(str(two_graphs.folder), video, 20, None, rounds=1)
    scores = {precision: entrant["accuracy"] for precision, entrant in by_precision(figures).items()}
    assert scores["f32"] == {"data": "flags", "judge": "OpenVINO 2026", "miou": 0.75, "road": 0.5}
    assert scores["int8"] == {"data": "flags", "judge": "OpenVINO 2026", "miou": 0.625, "road": 0.5}


def test_the_table_has_a_line_for_each(two_graphs: Bundle, video: str, scripted: list[str]) -> None:
    text = compare_text(compare(str(two_graphs.folder), video, 20, 1, rounds=3))
    header, f32, int8 = (line.split() for line in text.splitlines()[3:6])
    assert header[-3:] == ["mIoU", "road", "MB"]
    assert f32[:5] == ["f32", "openvino", "10.00", "20.00", "1.00"]
    assert int8[:5] == ["int8", "openvino", "4.00", "8.00", "2.50"]
    assert int8[5:-1] == ["50.0", "90%", "50.0", "90%", "+8.50", "+11.00", "0.6250", "0.5000"]


def test_progress_tells_each_step_of_all(two_graphs: Bundle, video: str, scripted: list[str]) -> None:
    seen: list[tuple[str, int, int]] = []
    compare(str(two_graphs.folder), video, 20, None, rounds=2, on_progress=lambda *step: seen.append(step))
    assert [done for _, done, _ in seen] == list(range(16))
    assert {total for *_, total in seen} == {16}
    assert seen[0][0] == "bare engine, f32 openvino"


def test_a_graph_that_is_not_the_cards_ends_the_comparison(two_graphs: Bundle, video: str) -> None:
    (two_graphs.folder / INT8_FILE).write_bytes(b"another")
    with pytest.raises(BundleTampered, match="not the one its card was made for"):
        compare(str(two_graphs.folder), video, 20, None)


def test_where_nothing_can_run_every_reason_is_given(colour_bundle: Bundle, video: str) -> None:
    with pytest.raises(EngineError, match="cannot run here") as caught:
        compare(str(colour_bundle.folder), video, 20, 100_000)
    assert str(caught.value).count("got 100000") >= 2


def test_one_precision_is_looked_at_stage_by_stage(two_graphs: Bundle, video: str) -> None:
    seen: list[str] = []
    figures = bench(
        str(two_graphs.folder), video, 20, "int8", 1, "openvino", on_progress=lambda what, *_: seen.append(what)
    )
    assert (figures["precision"], figures["threads"]) == ("int8", 1)
    assert list(figures["overlay"]["stages"]) == ["decode", "resize", "infer", "overlay", "encode", "write"]
    assert seen == ["bare engine", "masks", "overlay"]


def test_layers_are_counted_by_the_precision_they_run_in(
    colour_bundle: Bundle, video: str, scripted: list[str]
) -> None:
    figures = compare(str(colour_bundle.folder), video, 20, 1, rounds=1)
    assert set(by_precision(figures)["f32"]["layers"]) <= {"f32"}
    figures["entrants"][0]["layers"] = {"int8": 8, "f32": 47}
    assert "layers: f32 openvino: 47 of 55 layers in f32, 8 in int8" in compare_text(figures)


@pytest.mark.parametrize("saturates", [True, False])
def test_where_int8_saturates_a_line_says_so(
    two_graphs: Bundle, video: str, scripted: list[str], monkeypatch: pytest.MonkeyPatch, *, saturates: bool
) -> None:
    monkeypatch.setattr(benches, "int8_saturates", lambda: saturates)
    text = compare_text(compare(str(two_graphs.folder), video, 20, 1, rounds=1))
    assert ("note: this x86 CPU has no VNNI" in text) is saturates
    assert ("Take --precision f32" in text) is saturates


@pytest.mark.parametrize("measure", [bench, compare])
def test_ctrl_c_ends_all_of_it(
    measure: Callable[..., Any], colour_bundle: Bundle, video: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(self: Segmenter, frame: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Segmenter, "segment", interrupt)
    arguments = ("f32", 1) if measure is bench else (1,)
    with pytest.raises(KeyboardInterrupt):
        measure(str(colour_bundle.folder), video, 20, *arguments)


@pytest.mark.slow
def test_the_rendered_drive_is_720p_video(tmp_path: Path) -> None:
    seen: list[int] = []
    source = open_source(write_drive(tmp_path / "drive.mp4", 2, lambda what, done, total: seen.append(done)))
    with source as frames:
        assert [frame.size_wh for frame in frames] == [(1280, 720)] * 2
    assert seen == [0, 1]


@pytest.mark.slow
def test_every_form_of_the_bundled_engine_is_measured_on_every_backend_that_is_here(video: str) -> None:
    """ONNX Runtime runs TensorRT's INT8 form."""
    figures = compare("road", video, 20, None, rounds=1)
    measured = {(entrant["precision"], entrant["backend"]) for entrant in figures["entrants"]}
    assert {("int8", "openvino"), ("f32", "openvino")} <= measured
    if available_backends()["onnxruntime"] is None:
        assert {("int8", "onnxruntime"), ("f32", "onnxruntime")} <= measured
