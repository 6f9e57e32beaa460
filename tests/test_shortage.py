from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.drive.schema import missing
from edge.errors import EdgeError, ResourceError
from edge.shortage import shortage
from edge.sources.container import open_container
from edge.sources.imagefile import decode_image
from edge.sources.images import ImageFiles


@contextmanager
def no_further_file() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open("/dev/null", os.O_RDONLY)  # descriptors below it are taken
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("read", [lambda path: list(ImageFiles(str(path))), open_container])
def test_a_file_that_no_descriptor_is_left_for_is_not_called_damaged(
    read: Callable[[Path], object], tmp_path: Path
) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.random.default_rng(7).integers(0, 255, (48, 64, 3), np.uint8))
    with no_further_file(), pytest.raises(ResourceError, match=r"no further file could be opened .* ulimit -n"):
        read(path)


def test_an_image_that_memory_is_missing_for_is_not_called_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    def imdecode(*_: object) -> None:
        cv2.resize(np.empty((9, 9), np.uint8), (1 << 24, 1 << 24))  # OpenCV's own error, code -4

    monkeypatch.setattr(cv2, "imdecode", imdecode)
    data = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x10\0\0\0\x10\x08\0\0\0\0"
    with pytest.raises(ResourceError, match="out of memory"):
        decode_image(data)


def test_installing_is_not_advised_where_memory_is_missing_for_a_library() -> None:
    with pytest.raises(ResourceError, match="out of memory"):
        missing(ImportError("_zstd.so: failed to map segment from shared object", name="mcap"))
    assert "install" in str(missing(ModuleNotFoundError("No module named 'mcap'", name="mcap")))


@pytest.mark.parametrize(
    "error",
    [
        ImportError("libgomp.so.1: cannot allocate memory in static TLS block"),  # of the order of imports
        ModuleNotFoundError("No module named 'memory'"),
        OSError(28, "No space left on device"),
    ],
)
def test_another_cause_is_no_shortage(error: Exception) -> None:
    assert shortage(error) == ""


def test_an_engine_that_does_not_open_within_a_limit_on_memory_names_the_limit() -> None:
    code = """if True:
        import resource, edge.shortage
        used_bytes = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        assert edge.shortage.tight_limit() == ""
        resource.setrlimit(resource.RLIMIT_AS, (used_bytes + (1 << 26), resource.RLIM_INFINITY))
        print(edge.shortage.tight_limit())
    """
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "The limit on memory leaves 6" in result.stdout, result.stderr


def test_what_runs_out_has_an_exit_code_of_its_own() -> None:
    assert ResourceError.exit_code == 71
    assert issubclass(ResourceError, EdgeError)
