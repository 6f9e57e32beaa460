"""`edge bench --table`: cell by cell, each in a process of its own."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from bundles import graph_of
from tables_made import make_figures
from videos import write_video

from edge.backends import openvino
from edge.card import Graph
from edge.cli import make_app
from edge.devices import run
from edge.devices.cell import Job, _ask_child
from edge.devices.run import cells_of, measure_device
from edge.devices.table import Cell, Settings, load_table
from edge.engine import MODEL_FILE, Bundle, write_bundle
from edge.errors import ConfigError, DataError, EdgeError, EngineError

FRAMES = 6
INT8_FILE = "int8.openvino.onnx"


@pytest.fixture
def video(tmp_path: Path) -> str:
    return str(write_video(tmp_path / "drive.mp4", FRAMES))


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    folder = tmp_path / "labels"
    folder.mkdir()
    for number in range(FRAMES):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((48, 64), number % 3, np.uint8))
    return folder


@pytest.fixture
def two_graphs(colour_bundle: Bundle, tmp_path: Path) -> Bundle:
    """The colour engine with a second graph, called INT8."""
    model = graph_of(colour_bundle)
    int8 = Graph(INT8_FILE, "int8", "openvino", hashlib.sha256(model).hexdigest())
    card = dataclasses.replace(colour_bundle.card, graphs=(*colour_bundle.card.graphs, int8))
    return write_bundle(tmp_path / "two", {MODEL_FILE: model, INT8_FILE: model}, card)


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Answers known beforehand, by precision, in the place of measurements: figures, an error, or what is raised."""
    answers: dict[str, Any] = {"f32": make_figures(8.0, None), "int8": make_figures(4.0, None), "asked": []}

    def measure(cell: Cell, bundle: Path, drive: str, settings: Settings) -> tuple[Cell, str]:
        answers["asked"].append(cell.precision)
        answer = answers[cell.precision]
        if isinstance(answer, BaseException):
            raise answer
        if isinstance(answer, str):
            return cell.model_copy(update={"error": answer}), ""
        return cell.model_copy(update={"figures": answer}), "no power meter"

    monkeypatch.setattr(run, "measure_cell", measure)
    monkeypatch.setattr(run, "available_backends", lambda: {"openvino": None, "tensorrt": "no GPU"})
    monkeypatch.setattr(openvino, "PRECISIONS", ("f32", "int8"))
    return answers


@pytest.mark.slow
def test_speed_accuracy_and_memory_come_from_a_process_per_cell_and_a_broken_graph_harms_no_other(
    two_graphs: Bundle, video: str, labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino, "PRECISIONS", ("f32", "int8"))
    (two_graphs.folder / INT8_FILE).write_bytes(b"another")
    path = tmp_path / "table.json"
    settings = Settings(source=video, frames=20, threads=1, labelled=video, labels=str(labels))
    table = measure_device([str(two_graphs.folder)], path, settings, backend="openvino")
    assert load_table(path) == table
    whole, broken = table.cells
    assert broken.figures is None
    assert "not the one its card was made for" in broken.error
    assert whole.figures is not None
    assert whole.figures.accuracy is not None
    assert whole.figures.accuracy.frames == FRAMES
    assert set(whole.figures.accuracy.groups) == {"warm", "cold"}
    assert whole.figures.memory_mb is not None
    assert whole.figures.memory_mb > 20
    assert 0 < whole.figures.inference_ms["p50"] <= whole.figures.inference_ms["p99"]
    assert whole.figures.masks_hz > 0


@pytest.mark.slow
def test_labels_that_do_not_fit_end_everything(two_graphs: Bundle, video: str, labels: Path, tmp_path: Path) -> None:
    (labels / "0.png").unlink()
    settings = Settings(source=video, frames=20, threads=1, labelled=video, labels=str(labels))
    with pytest.raises(DataError, match="--sparse"):
        measure_device([str(two_graphs.folder)], tmp_path / "table.json", settings, precision="f32")


@pytest.mark.slow
def test_a_process_that_dies_is_an_error_of_its_cell(tmp_path: Path, video: str, monkeypatch: Any) -> None:
    job = Job(
        folder=str(tmp_path),
        input_wh=(64, 48),
        precision="f32",
        backend="openvino",
        drive=video,
        cwd=str(tmp_path / "gone"),
        settings=Settings(source=video, frames=20),
    )
    answer = _ask_child(job)
    assert "ended without figures (exit code 1): FileNotFoundError" in answer.error
    assert "was stopped" in _ask_child(job, timeout_s=0.01).error


def test_what_was_interrupted_goes_on_where_it_stood(
    two_graphs: Bundle, tmp_path: Path, scripted: dict[str, Any]
) -> None:
    path, settings = tmp_path / "table.json", Settings(source="drive.mp4", frames=20)
    int8, scripted["int8"] = scripted["int8"], KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        measure_device([str(two_graphs.folder)], path, settings)
    assert [cell.precision for cell in load_table(path).cells] == ["f32"]
    scripted["int8"] = int8
    table = measure_device([str(two_graphs.folder)], path, settings)
    assert scripted["asked"] == ["f32", "int8", "int8"]
    assert [cell.figures for cell in table.cells] == [scripted["f32"], int8]
    assert (table.absent, table.power) == ({"tensorrt": "no GPU"}, "no power meter")


def test_a_cell_that_failed_is_tried_again_and_one_of_an_engine_built_anew_too(
    two_graphs: Bundle, tmp_path: Path, scripted: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, settings = tmp_path / "table.json", Settings(source="drive.mp4", frames=20)
    int8, scripted["int8"] = scripted["int8"], "out of memory"
    assert measure_device([str(two_graphs.folder)], path, settings).cells[1].error == "out of memory"
    scripted["int8"] = int8
    assert measure_device([str(two_graphs.folder)], path, settings).cells[1].error == ""
    graphs = [dataclasses.replace(graph, sha256="a" * 64) for graph in two_graphs.card.graphs]
    anew = Bundle(
        two_graphs.folder, dataclasses.replace(two_graphs.card, graphs=(graphs[0], two_graphs.card.graphs[1]))
    )
    monkeypatch.setattr(run, "find_bundle", lambda name: anew)
    table = measure_device([str(two_graphs.folder)], path, settings)
    assert scripted["asked"] == ["f32", "int8", "int8", "f32"]
    assert [cell.graph_sha256[:1] == "a" for cell in table.cells] == [True, False]


def test_figures_of_other_settings_do_not_mix(two_graphs: Bundle, tmp_path: Path, scripted: dict[str, Any]) -> None:
    path = tmp_path / "table.json"
    measure_device([str(two_graphs.folder)], path, Settings(source="drive.mp4", frames=20))
    with pytest.raises(ConfigError, match=r"settings.frames 20, this run has 40. Name another file"):
        measure_device([str(two_graphs.folder)], path, Settings(source="drive.mp4", frames=40))


def test_every_size_that_an_engine_has_is_a_cell() -> None:
    from edge.engine import find_bundle

    cells = cells_of(find_bundle("road"), {"tensorrt": "no GPU", "onnxruntime": "not asked for"})
    sizes = {cell.input_wh for cell in cells}
    assert len(sizes) > 1
    assert {cell.precision for cell in cells} >= {"f32", "int8"}
    assert len({cell.key for cell in cells}) == len(cells) == len({(c.precision, c.input_wh) for c in cells})


def test_a_backend_that_is_not_here_ends_with_its_reason(
    two_graphs: Bundle, tmp_path: Path, scripted: dict[str, Any]
) -> None:
    settings = Settings(source="drive.mp4", frames=20)
    with pytest.raises(EngineError, match="tensorrt: no GPU"):
        measure_device([str(two_graphs.folder)], tmp_path / "t.json", settings, backend="tensorrt")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--table", "t.json", "--cameras", "2"], "leave out --cameras"),
        (["--table", "t.json", "--json", "f.json"], "leave out --cameras and --json"),
        (["--table", "t.json", "--labels", "labels"], "--labelled FRAMES"),
        (["--table", "t.json", "--plot", "p.svg"], "--labelled FRAMES"),
        (["-e", "road", "-e", "small"], "for --table FILE"),
        (["--labels", "labels"], "for --table FILE"),
    ],
)
def test_options_that_do_not_fit_are_refused_before_any_work(words: list[str], said: str) -> None:
    with pytest.raises(EdgeError, match=said):
        make_app(["bench"])(["bench", *words], standalone_mode=False)


@pytest.mark.slow
def test_the_command_writes_table_and_plot(
    two_graphs: Bundle, tmp_path: Path, scripted: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    scripted["f32"] = make_figures(8.0, 0.74)
    words = ["--engine", str(two_graphs.folder), "--source", "drive.mp4", "--labelled", "val", "--labels", "annot"]
    files = [str(tmp_path / "t.json"), str(tmp_path / "p.svg")]
    make_app(["bench"])(["bench", *words, "--table", files[0], "--plot", files[1]], standalone_mode=False)
    assert re.search(r"colours +64x48 +f32 +openvino", capsys.readouterr().out)
    assert load_table(Path(files[0])).settings.labels == "annot"
    assert Path(files[1]).read_bytes().startswith(b"<?xml")
