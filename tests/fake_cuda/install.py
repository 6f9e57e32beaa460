"""Builds pycuda for the tests, apart from the environment's own packages: `python install.py FOLDER`, about a minute.

pycuda is a source package that needs CUDA's headers and a driver to link to. The headers come in a wheel of 3 MB, the
driver is the tests' own, so a machine without CUDA can build it. Needs gcc, g++ and Python's headers (python3-dev).
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from driver import compile_driver

PYCUDA = "pycuda==2026.1"
HEADERS = "nvidia-cuda-runtime-cu12==12.9.79"
# The one header of pycuda's that is in no small wheel.
PROFILER_HEADER = """
typedef enum CUoutput_mode_enum { CU_OUT_KEY_VALUE_PAIR = 0, CU_OUT_CSV = 1 } CUoutput_mode;
extern "C" {
CUresult cuProfilerInitialize(const char *configuration, const char *output, CUoutput_mode mode);
CUresult cuProfilerStart(void);
CUresult cuProfilerStop(void);
}
"""
SITECONF = """
CUDA_ROOT = {root!r}
CUDA_INC_DIR = [{root!r}, {root!r} + "/nvidia/cuda_runtime/include"]
CUDADRV_LIB_DIR = [{root!r}]
CUDA_ENABLE_CURAND = False
USE_SHIPPED_BOOST = True
CXXFLAGS = ["-O0", "-w"]
LDFLAGS = []
"""


def install(folder: Path) -> None:
    """pycuda and what it imports, into `folder`."""
    with tempfile.TemporaryDirectory(prefix="pycuda.") as scratch:
        root = Path(scratch)
        _pip("download", "--no-deps", "--only-binary=:all:", "--dest", scratch, HEADERS)
        _pip("download", "--no-deps", "--no-binary=pycuda", "--dest", scratch, PYCUDA)
        with zipfile.ZipFile(next(root.glob("nvidia_cuda_runtime*.whl"))) as wheel:
            wheel.extractall(root)
        (root / "cudaProfiler.h").write_text(PROFILER_HEADER)
        compile_driver(root, pycuda=None).rename(root / "libcuda.so")
        with tarfile.open(next(root.glob("pycuda-*.tar.gz"))) as archive:
            archive.extractall(root, filter="data")
        source = next(path for path in root.glob("pycuda-*") if path.is_dir())
        (source / "siteconf.py").write_text(SITECONF.format(root=scratch))
        _pip("install", "--upgrade", "--target", str(folder), str(source))


def _pip(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments], check=True)


if __name__ == "__main__":
    try:
        install(Path(sys.argv[1]).resolve())
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"pycuda could not be built for the tests, which are skipped: {error}")
