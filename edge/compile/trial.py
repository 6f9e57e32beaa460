"""A graph's first runs, in a process of its own.

Some graphs that every checker passes take a runtime down with a segmentation fault, which cannot be caught. So what
edge did not compile before, a foreign net or a quantised one, is first run apart from the process that works on it:

    classes = trial(model, images)  # uint8 (N, H, W)

The two processes talk by files in a folder of their own; the child is `python -m edge.compile.trial FOLDER`.
"""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge.backends import onnxruntime, openvino
from edge.backends.building import run_aside
from edge.errors import EngineError
from edge.frame import Image

Runtime = Literal["openvino", "onnxruntime"]

RUNTIMES: dict[Runtime, Callable[..., Callable[[NDArray[Any]], NDArray[Any]]]] = {
    "openvino": openvino.load_graph,
    "onnxruntime": onnxruntime.load_graph,
}
PRECISIONS = openvino.PRECISIONS
_MEANINGS = {
    signal.SIGSEGV: "it read memory that is not its own: something in the graph is more than this version can take",
    signal.SIGABRT: "it gave up on an error inside itself",
    signal.SIGFPE: "it divided by zero: a size or a scale in the graph is 0",
    signal.SIGILL: "it used an instruction that this processor does not have",
    signal.SIGKILL: "it was stopped; most often that is the system, out of memory",
}


def trial(model: bytes, images: Sequence[Image], precision: str = "f32", timeout_s: float = 300) -> Image:
    """Class ids, uint8 (N, H, W), that OpenVINO gives for N images, uint8 (H, W, 3) BGR of the graph's input size.

    `model` is a bytes-in, classes-out graph; `precision` is "f32", "int8" or "bf16".

    Raises:
        EngineError: OpenVINO cannot compile or run the graph, crashed over it or did not end within `timeout_s`.
    """
    classes = run_in_subprocess(model, np.stack(images), precision=precision, timeout_s=timeout_s)
    if classes.dtype != np.uint8 or classes.ndim != 4 or classes.shape[1] != 1:
        raise EngineError(f"the graph gives {classes.dtype} {classes.shape[1:]}, expected uint8 (1, H, W) class ids")
    return classes[:, 0]


def run_in_subprocess(
    model: bytes,
    inputs: NDArray[Any],
    *,
    runtime: Runtime = "openvino",
    precision: str = "f32",
    output: str | None = None,
    timeout_s: float = 300,
) -> NDArray[Any]:
    """What a graph of one input gives for each of `inputs`, (N, ...), stacked: (N, *shape of the output).

    Each is run alone, as a batch of one. `output` names one of several outputs; the first, if not given.

    Raises:
        EngineError: as `trial`; or the runtime is not installed.
    """
    if precision not in PRECISIONS:
        raise EngineError(f"expected a precision of {', '.join(PRECISIONS)}, got {precision!r}")
    with tempfile.TemporaryDirectory(prefix="edge-trial-") as name:
        folder = Path(name)
        (folder / "model.onnx").write_bytes(model)
        np.save(folder / "inputs.npy", inputs, allow_pickle=False)
        job = {"runtime": runtime, "precision": precision, "output": output}
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        _run_child(folder, runtime, timeout_s)
        return np.load(folder / "outputs.npy", allow_pickle=False)


def _run_child(folder: Path, runtime: Runtime, timeout_s: float) -> None:
    words = ["-m", "edge.compile.trial", str(folder)]
    try:
        ended = run_aside(words, folder, capture_output=True, timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        raise EngineError(f"{runtime} did not end within {timeout_s:g} s over the graph and was stopped") from error
    except OSError as error:
        raise EngineError(f"a process to try the graph in cannot be started: {error.strerror}") from error
    if ended.returncode < 0:
        raise EngineError(f"{runtime} crashed over the graph: {_crash(-ended.returncode)}")
    if (folder / "problem.txt").is_file():
        raise EngineError((folder / "problem.txt").read_text(encoding="utf-8"))
    if ended.returncode or not (folder / "outputs.npy").is_file():
        raise EngineError(f"{runtime} ended without a result (exit code {ended.returncode}): {_gist(ended.stderr)}")


def _crash(number: int) -> str:
    try:
        name = signal.Signals(number)
    except ValueError:  # a real-time signal has no name
        return f"signal {number}"
    return f"{name.name}, {_MEANINGS[name]}" if name in _MEANINGS else name.name


def _gist(text: str) -> str:
    """The line that says what is wrong: the last; traces and source positions come before."""
    return next((line for line in reversed(text.splitlines()) if line.strip()), "no reason given").strip()


# ----------------------------------------------------------------------------------------------------------- the child


def main(folder: Path) -> int:
    """Run the job that lies in `folder`, and leave `outputs.npy` or `problem.txt` there."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash is expected here; its memory on disk is of no use
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    model, inputs = (folder / "model.onnx").read_bytes(), np.load(folder / "inputs.npy", allow_pickle=False)
    try:
        run = RUNTIMES[job["runtime"]](model, job["precision"], job["output"])
        outputs = [np.asarray(run(item[None])) for item in inputs]
    except Exception as error:  # noqa: BLE001  # runtimes raise types of their own; the parent tells the user
        said = _gist(str(error)) if str(error) else type(error).__name__
        text = said if isinstance(error, EngineError) else f"{job['runtime']} cannot run the graph: {said}"
        (folder / "problem.txt").write_text(text, encoding="utf-8")
        return 1
    np.save(folder / "outputs.npy", np.stack(outputs), allow_pickle=False)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
