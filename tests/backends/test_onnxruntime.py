"""ONNX Runtime as a backend, and as the judge of TensorRT's graphs."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from contract import SENTENCES

from edge.backends import cuda, open_engine
from edge.backends import onnxruntime as backend
from edge.backends.onnxruntime import CPU, OnnxRuntimeEngine
from edge.card import Card, Graph
from edge.engine import MODEL_FILE, Bundle, load_bundle, write_bundle
from edge.errors import BundleTampered, EngineError
from edge.frame import Image
from edge.outputs import CONFIDENCE, SEMANTIC
from edge.street.render import StreetScene

pytest.importorskip("onnxruntime")


@pytest.mark.parametrize("side_by_side", [False, True])
@pytest.mark.parametrize("sentence", SENTENCES, ids=lambda sentence: sentence.__name__)
def test_an_engine_of_onnx_runtime_does_what_every_engine_does(
    sentence: Any, side_by_side: bool, colour_bundle: Bundle, flag: Image, flag_classes: Image
) -> None:
    with open_engine(colour_bundle.folder, backend="onnxruntime", side_by_side=side_by_side) as engine:
        sentence(engine, flag, flag_classes)


@pytest.mark.slow
def test_it_sees_what_openvino_sees_of_a_trained_net_in_either_precision() -> None:
    image = StreetScene(5, (320, 180)).render(0).image.copy()  # of noise, each form makes something else
    for precision in ("f32", "int8"):
        found = []
        for name in ("onnxruntime", "openvino"):
            with open_engine("road", backend=name, precision=precision) as engine:
                assert (engine.precision, engine.identity.backend) == (precision, name)
                found.append(engine.predict(image).class_map())  # without the black bars, which mean nothing
        assert np.mean(found[0] == found[1]) > {"f32": 0.999, "int8": 0.97}[precision]


def test_only_the_outputs_that_are_asked_for_are_computed(colour_bundle: Bundle) -> None:
    bundle = Bundle(colour_bundle.folder, dataclasses.replace(colour_bundle.card, outputs=(SEMANTIC, CONFIDENCE)))
    image = np.zeros((48, 64, 3), np.uint8)
    with backend.open(bundle) as few, backend.open(bundle, outputs=["confidence"]) as everything:
        assert few._tensors == ["semantic"]
        assert list(few.infer(image)) == ["semantic"]
        assert list(everything.infer(image)) == ["semantic", "confidence"]


def test_frames_side_by_side_get_the_classes_that_they_get_one_by_one(street_bundle: Bundle) -> None:
    width, height = street_bundle.card.input_wh
    frames = [np.random.default_rng(i).integers(0, 256, (height, width, 3), np.uint8) for i in range(6)]
    with backend.open(street_bundle) as engine:
        assert engine.streams == 1
        expected = [engine.infer(frame)["semantic"] for frame in frames]
    with backend.open(street_bundle, side_by_side=True) as engine, ThreadPoolExecutor(4) as pool:
        assert engine.streams == engine.threads == len(os.sched_getaffinity(0))
        for outputs, classes in zip(pool.map(engine.infer, frames), expected, strict=True):
            np.testing.assert_array_equal(outputs["semantic"], classes)


def test_what_it_cannot_load_is_an_engine_error_that_names_the_file(make_card: Any, tmp_path: Any) -> None:
    bundle = write_bundle(tmp_path / "b", {MODEL_FILE: b"no graph"}, make_card(b"no graph"))
    with pytest.raises(EngineError, match=r"model\.onnx: ONNX Runtime cannot load it: "):
        backend.open(bundle)


def test_a_graph_of_another_size_than_its_card_is_refused(colour_bundle: Bundle) -> None:
    card = dataclasses.replace(colour_bundle.card, input_wh=(48, 64))
    with pytest.raises(EngineError, match=r"expected a graph of uint8 \[1,64,48,3\] .* got uint8 \[1,48,64,3\]"):
        backend.open(Bundle(colour_bundle.folder, card))


def test_a_tampered_graph_is_refused(colour_bundle: Bundle) -> None:
    path = colour_bundle.folder / MODEL_FILE
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(BundleTampered):
        backend.open(load_bundle(colour_bundle.folder))


def test_int8_is_the_graph_in_tensorrts_form(make_card: Any, colour_model: bytes, tmp_path: Any) -> None:
    card: Card = make_card(colour_model)
    openvinos = dataclasses.replace(card.graphs[0], precision="int8", runtime="openvino")
    bundle = write_bundle(
        tmp_path / "b", {MODEL_FILE: colour_model}, dataclasses.replace(card, graphs=(openvinos,), precision="int8")
    )
    with pytest.raises(EngineError, match="holds no int8 graph for tensorrt"):
        backend.open(bundle)
    theirs = Graph(MODEL_FILE, "int8", "tensorrt", openvinos.sha256)
    with backend.open(Bundle(bundle.folder, dataclasses.replace(bundle.card, graphs=(theirs,)))) as engine:
        assert engine.precision == "int8"


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_precision_that_it_does_not_have_is_answered_with_those_it_has(precision: str, colour_bundle: Bundle) -> None:
    with pytest.raises(EngineError, match=f"expected a precision of ONNX Runtime: f32, int8; got '{precision}'"):
        backend.open(colour_bundle, precision=precision)


def test_a_gpus_providers_come_first_where_build_and_machine_have_them(monkeypatch: pytest.MonkeyPatch) -> None:
    library = SimpleNamespace(get_available_providers=lambda: [CPU, "CUDAExecutionProvider", "AzureExecutionProvider"])
    monkeypatch.setattr(cuda, "no_gpu_reason", lambda: None)
    assert backend._installed(library) == ["CUDAExecutionProvider", CPU]
    monkeypatch.setattr(cuda, "no_gpu_reason", lambda: "no NVIDIA driver is installed")
    assert backend._installed(library) == [CPU]


def test_where_it_is_missing_the_error_says_what_to_install(
    colour_bundle: Bundle, colour_model: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(EngineError, match=r"ONNX Runtime cannot run here: .* not installed: pip install onnxruntime"):
        open_engine(colour_bundle.folder, backend="onnxruntime")
    with pytest.raises(EngineError, match=r"ONNX Runtime cannot be imported .*pip install onnxruntime"):
        OnnxRuntimeEngine(colour_model, colour_bundle.card, "f32")


@pytest.mark.slow
def test_it_is_kept_from_sending_anything_before_it_is_imported() -> None:
    code = (
        "import os, sys; os.environ.pop('ORT_DISABLE_TELEMETRY', None)\n"
        "import edge.backends.onnxruntime as backend\n"
        "assert 'onnxruntime' not in sys.modules\n"
        "class Watch:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'onnxruntime': print(os.environ.get('ORT_DISABLE_TELEMETRY'))\n"
        "sys.meta_path.insert(0, Watch())\n"
        "backend.import_library()\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["1"]
