"""The tests' CUDA driver, compiled."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("fake_cuda.c")
UNSUPPORTED = 801  # CUDA_ERROR_NOT_SUPPORTED


def compile_driver(folder: Path, pycuda: Path | None) -> Path:
    """`libcuda.so.1` in `folder`. What the pycuda in that place links to and the driver does not have is answered with
    an error, so that it loads.

    Raises:
        OSError, subprocess.CalledProcessError: there is no compiler, or it objects.
    """
    library = folder / "libcuda.so.1"
    stubs = folder / "stubs.c"
    stubs.write_text(
        "".join(f"__attribute__((weak)) int {name}(void) {{ return {UNSUPPORTED}; }}\n" for name in _wanted(pycuda))
    )
    options = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1"]
    subprocess.run(["gcc", *options, "-o", str(library), str(SOURCE), str(stubs)], check=True)
    return library


def _wanted(pycuda: Path | None) -> list[str]:
    """The driver's functions whose names occur in pycuda's extension module."""
    if pycuda is None:
        return []
    (extension,) = (pycuda / "pycuda").glob("_driver*.so")
    return sorted({name.decode() for name in re.findall(rb"\0(cu[A-Z]\w+)(?=\0)", extension.read_bytes())})
