from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import fake_cuda.harness as harness
import pytest

from edge.backends import cuda

OVER_THE_FAKE = Path(harness.HERE, "over_fake_cuda.py")


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    return harness.outcomes(OVER_THE_FAKE, tmp_path_factory.mktemp("cuda"))


@pytest.mark.slow
@pytest.mark.parametrize("sentence", harness.sentences(OVER_THE_FAKE))
def test_over_pycuda_and_the_fake_driver(sentence: str, outcomes: dict[str, list[str]]) -> None:
    assert outcomes[sentence] == []


def test_without_a_driver_the_reason_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "DRIVER", "libcuda.so.of.nobody")
    assert cuda.unavailable_reason() == "no NVIDIA driver is installed (libcuda.so.of.nobody is not found)"


def test_asking_imports_neither_pycuda_nor_tensorrt() -> None:
    code = (
        "import sys; from edge.backends.tensorrt import unavailable_reason; unavailable_reason()\n"
        "print(sorted({'pycuda', 'tensorrt', 'torch', 'onnx', 'openvino', 'cv2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
