"""The table of backends: which one is chosen, and what the others are said to lack."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from edge.backends import (
    BACKENDS,
    available_backends,
    building,
    choose_backend,
    load_backend,
    onnxruntime,
    open_engine,
    openvino,
    tensorrt,
)
from edge.card import Card
from edge.engine import Bundle
from edge.errors import EngineError


@pytest.mark.parametrize("name", BACKENDS)
def test_every_backend_offers_what_the_table_asks_for(name: str) -> None:
    backend = load_backend(name)
    assert {"f32", "int8"} <= set(backend.PRECISIONS) <= {"f32", "bf16", "fp16", "int8"}
    assert all(callable(getattr(backend, part)) for part in ("unavailable_reason", "import_library", "open"))
    assert (backend.LABEL, backend.GRAPHS, backend.OPENS_QUICKLY) != ("", "", None)


@pytest.mark.parametrize(
    ("missing", "chosen"),
    [
        ((), "tensorrt"),
        (("tensorrt",), "openvino"),
        (("tensorrt", "openvino"), "onnxruntime"),
        (("openvino", "onnxruntime"), "tensorrt"),
    ],
)
def test_the_first_that_can_run_is_chosen(
    missing: tuple[str, ...], chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for backend in (tensorrt, openvino, onnxruntime):
        name = backend.__name__.rpartition(".")[2]
        monkeypatch.setattr(backend, "unavailable_reason", lambda name=name: "gone" if name in missing else None)
    assert choose_backend() == chosen
    assert available_backends() == {name: "gone" if name in missing else None for name in BACKENDS}


def test_where_none_can_run_every_reason_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for backend in (tensorrt, openvino, onnxruntime):
        monkeypatch.setattr(backend, "unavailable_reason", lambda backend=backend: f"no {backend.LABEL} today")
    with pytest.raises(EngineError) as caught:
        open_engine("road")
    for label in ("TensorRT", "OpenVINO", "ONNX Runtime"):
        assert f"{label} cannot run here: no {label} today" in str(caught.value)


def test_an_unknown_backend_is_answered_with_those_there_are() -> None:
    with pytest.raises(EngineError, match="expected a backend of tensorrt, openvino, onnxruntime, got 'tpu'"):
        open_engine("road", backend="tpu")


def test_an_engine_says_what_runs_it(colour_bundle: Bundle) -> None:
    with open_engine(colour_bundle.folder, backend="openvino") as engine:
        assert engine.identity.backend == "openvino"
        assert engine.identity.version == openvino.import_library().__version__
        assert str(engine.identity) == f"openvino {engine.identity.version} on {engine.identity.device}"


# ---------------------------------------------------------------------------------------------- TensorRT's plan builder


@pytest.mark.skipif(tensorrt.unavailable_reason() is None, reason="TensorRT runs here")
def test_the_builders_reason_comes_out_of_its_subprocess(colour_bundle: Bundle) -> None:
    with pytest.raises(EngineError, match="TensorRT cannot run here: "):
        building.build_plan(colour_bundle, "f32", ())


def test_a_plan_comes_out_of_the_subprocess(colour_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import pathlib, sys; p = pathlib.Path(sys.argv[1]); (p / 'plan').write_bytes((p / 'job.json').read_bytes())"
    monkeypatch.setattr(building, "BUILD", code)
    job = building.build_plan(colour_bundle, "fp16", {"confidence"})
    asked = json.loads(job)
    assert asked["precision"] == "fp16"
    assert asked["outputs"] == ["confidence"]
    assert asked["bundle"] == str(colour_bundle.folder)
    assert Card.from_json(asked["card"], "job") == colour_bundle.card


@pytest.mark.parametrize(
    ("code", "how"),
    [("import os; os.kill(os.getpid(), 11)", "Segmentation fault"), ("import sys; sys.exit(3)", "exit code 3")],
)
def test_a_builder_that_dies_is_an_error_that_says_how_to_see_more(
    code: str, how: str, colour_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "BUILD", code)
    with pytest.raises(EngineError, match=rf"{how}.*edge plan .*colours --precision f32"):
        building.build_plan(colour_bundle, "f32", ())


def test_the_builder_is_the_same_edge_from_any_folder(tmp_path: Path) -> None:
    assert str(Path(building.__file__).parents[2]) in building.child_environment()["PYTHONPATH"]
    assert sys.executable
