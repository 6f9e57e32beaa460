from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest

from edge.compile import trial as trial_module
from edge.compile.trial import run_in_subprocess, trial
from edge.errors import EngineError
from edge.frame import Image

onnx = pytest.importorskip("onnx")


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """`child("code")` puts a program of the test's own in the child's place."""

    def put(code: str) -> None:
        script = tmp_path / "child"
        script.write_text(f"#!{trial_module.sys.executable}\nimport os, sys, time\n{code}\n", encoding="utf-8")
        script.chmod(0o755)
        monkeypatch.setattr(trial_module.sys, "executable", str(script))

    return put


def test_a_trial_gives_the_classes_of_every_image(
    colour_model: bytes, flag: Image, flag_classes: Image, lying_flag: Image, lying_flag_classes: Image
) -> None:
    found = trial(colour_model, [flag, lying_flag, flag])
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, [flag_classes, lying_flag_classes, flag_classes])


def test_onnx_runtime_may_be_asked_instead(colour_model: bytes, flag: Image, flag_classes: Image) -> None:
    pytest.importorskip("onnxruntime")
    found = run_in_subprocess(colour_model, flag[None], runtime="onnxruntime", output="semantic")
    np.testing.assert_array_equal(found, flag_classes[None, None])


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGSEGV, "openvino crashed over the graph: SIGSEGV, it read memory that is not its own"),
        (signal.SIGKILL, "SIGKILL, it was stopped; most often that is the system, out of memory"),
        (signal.SIGUSR1, "SIGUSR1$"),
        (signal.SIGRTMIN + 3, f"signal {signal.SIGRTMIN + 3}$"),
    ],
)
def test_a_crash_is_an_engine_error_that_names_the_signal(child, flag: Image, number: int, words: str) -> None:
    child(f"os.kill(os.getpid(), {int(number)})")
    with pytest.raises(EngineError, match=words):
        trial(b"", [flag])


def test_a_graph_that_never_ends_is_stopped(child, flag: Image) -> None:
    child("time.sleep(600)")
    with pytest.raises(EngineError, match=r"did not end within 0\.2 s over the graph and was stopped"):
        trial(b"", [flag], timeout_s=0.2)


def test_a_child_that_fails_by_itself_is_quoted(child, flag: Image) -> None:
    child("print('Traceback', file=sys.stderr); print('no space left', file=sys.stderr); sys.exit(3)")
    with pytest.raises(EngineError, match=r"ended without a result \(exit code 3\): no space left"):
        trial(b"", [flag])


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_what_a_runtime_refuses_is_said_in_one_line(runtime, flag: Image) -> None:
    pytest.importorskip(runtime)
    with pytest.raises(EngineError, match=f"^{runtime} cannot run the graph: .+") as caught:
        run_in_subprocess(b"not a graph", flag[None], runtime=runtime)
    assert "\n" not in str(caught.value)


def test_a_graph_that_gives_no_classes_is_refused(flag: Image) -> None:
    image = onnx.helper.make_tensor_value_info("image", onnx.TensorProto.UINT8, [1, 48, 64, 3])
    floats = onnx.helper.make_tensor_value_info("floats", onnx.TensorProto.FLOAT, [1, 48, 64, 3])
    cast = onnx.helper.make_node("Cast", ["image"], ["floats"], to=onnx.TensorProto.FLOAT)
    graph = onnx.helper.make_graph([cast], "g", [image], [floats])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(EngineError, match=r"gives float32 \(1, 48, 64, 3\), expected uint8 \(1, H, W\) class ids"):
        trial(model.SerializeToString(), [flag])


def test_an_unknown_precision_is_answered_with_those_that_are(flag: Image) -> None:
    with pytest.raises(EngineError, match=r"expected a precision of f32, bf16, fp16, int8, got"):
        trial(b"", [flag], precision="fp8")


def test_modules_in_the_users_directory_are_not_taken_for_ours(
    colour_model: bytes, flag: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit('not numpy')", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert trial(colour_model, [flag]).shape == (1, 48, 64)
