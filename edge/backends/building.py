"""A plan that this device does not keep yet, built in a subprocess.

TensorRT's builder takes minutes and gigabytes and may crash, and rewriting the graph needs onnx. So the process that
runs frames has none of it; `edge.compile.plan`, which does the work, is above this room and is started like any other
program. The two talk by files in a folder of their own.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from edge.engine import Bundle
from edge.errors import EngineError

BUILD = "from edge.compile.plan import main; main()"
STANDARD_ERROR = 2  # the builder's standard output goes there: this process's may be a stream of results

log = logging.getLogger(__name__)


def build_plan(bundle: Bundle, precision: str, outputs: Collection[str]) -> bytes:
    """The plan of a bundle, built for this device and kept where it can be. `outputs` are those to compute besides the
    card's default ones. Ctrl-C ends the build.

    Raises:
        EngineError: TensorRT cannot build it, or crashed over it.
    """
    log.warning("engine %s: TensorRT builds its plan for this device. That takes minutes, once.", bundle.card.name)
    with tempfile.TemporaryDirectory(prefix="edge-plan-") as name:
        folder = Path(name)
        job = {
            "bundle": str(bundle.folder.absolute()),
            "card": bundle.card.to_json(),  # the one that was checked, whatever the folder holds by then
            "precision": precision,
            "outputs": sorted(outputs),
        }
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        returned = run_aside(["-c", BUILD, str(folder)], folder, stdout=STANDARD_ERROR).returncode
        if (folder / "problem.txt").is_file():
            raise EngineError((folder / "problem.txt").read_text(encoding="utf-8"))
        if returned or not (folder / "plan").is_file():
            how = signal.strsignal(-returned) if returned < 0 else f"exit code {returned}"
            raise EngineError(
                f"engine {bundle.card.name}: building its TensorRT plan ended without one ({how})."
                f" To see more: edge plan {bundle.folder} --precision {precision}"
            )
        return (folder / "plan").read_bytes()


def run_aside(words: Sequence[str], folder: Path, **how: Any) -> subprocess.CompletedProcess[str]:
    """Run Python with `words` in a process of its own, which reads nothing; `how` is as for `subprocess.run`.

    It works in `folder`, not in the user's, where `-m` and `-c` would find a numpy.py of theirs before ours.
    """
    command = [sys.executable, *words]
    streams = {"stdin": subprocess.DEVNULL, "text": True, "errors": "replace", **how}
    return subprocess.run(command, cwd=folder, env=child_environment(), check=False, **streams)


def child_environment() -> dict[str, str]:
    """This process's environment, in which a subprocess finds the same edge from any folder."""
    paths = [os.environ.get("PYTHONPATH", ""), str(Path(__file__).parents[2])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
