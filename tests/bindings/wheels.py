"""NVIDIA's Python bindings of several TensorRT versions, importable without TensorRT and without a GPU.

The wheels are small (1.2 MB) and real: every class, enum and method is there, with its signature. The libraries that
they link to are replaced by stubs whose functions give null, so nothing can be built or run.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

WHEELS = {  # one for each JetPack, and the newest
    "8.6.1": "tensorrt-bindings",
    "10.3.0": "tensorrt-cu12-bindings",
    "10.13.3.9": "tensorrt-cu12-bindings",
    "10.16.1.11": "tensorrt-cu12-bindings",
    "11.4.0.106": "tensorrt-cu13-bindings",
}
KEPT = Path(sys.prefix, "test-bindings")
HERE = Path(__file__).parent

# What the bindings link to, of 8.6 to 11; the first four are C++ parsers that 8.6 still had.
FUNCTIONS = (
    *("_ZN11nvuffparser15createUffParserEv", "_ZN11nvuffparser8FieldMapC1EPKcPKvNS_9FieldTypeEi"),
    *("_ZN14nvcaffeparser117createCaffeParserEv", "_ZN14nvcaffeparser123shutdownProtobufLibraryEv"),
    *("createInferBuilder_INTERNAL", "createInferRefitter_INTERNAL", "createInferRuntime_INTERNAL"),
    *("createNvOnnxParser_INTERNAL", "createNvOnnxParserRefitter_INTERNAL", "getBuilderPluginRegistry"),
    *("getNvOnnxParserVersion", "getPluginRegistry", "initLibNvInferPlugins"),
)


def bindings(version: str) -> Path:
    """A folder with `tensorrt_bindings` of that version and its stubs; skips where it cannot be had."""
    folder = KEPT / version
    if not (folder / "done").is_file():
        if shutil.which("gcc") is None:
            pytest.skip("the stubs of TensorRT's libraries need gcc")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _download(version, folder)
        _make_stubs(folder)
        (folder / "done").touch()
    return folder


def run_with(version: str, script: Path, text: str) -> subprocess.CompletedProcess[str]:
    """Run a Python script, given a text, whose `import tensorrt` gives the bindings of that version."""
    folder = bindings(version)
    paths = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, str(script)],
        input=text,
        env={**os.environ, "LD_LIBRARY_PATH": str(folder), "PYTHONPATH": paths.rstrip(os.pathsep)},
        capture_output=True,
        text=True,
        timeout=60,
    )


def _download(version: str, folder: Path) -> None:
    wanted = f"{WHEELS[version]}=={version}"
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--retries", "1", "--timeout", "15"]
    done = subprocess.run(
        [*pip, "download", "--no-deps", "--only-binary=:all:", "--dest", str(folder), wanted],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        pytest.skip(f"{wanted} cannot be had here: {(done.stderr.strip().splitlines() or ['pip says nothing'])[-1]}")
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    wheel.unlink()
    (folder / "tensorrt_bindings").rename(folder / "tensorrt")


def _make_stubs(folder: Path) -> None:
    source = folder / "stubs.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in FUNCTIONS))
    extension = (folder / "tensorrt" / "tensorrt.so").read_bytes()
    for library in {name.decode() for name in re.findall(rb"libnv\w+\.so\.\d+", extension)}:
        options = ["-shared", "-fPIC", f"-Wl,-soname,{library}", "-o", str(folder / library)]
        subprocess.run(["gcc", *options, str(source)], check=True)
