"""One cell of a device's table, measured in a process of its own, so that its memory is its own.

The two processes talk by files in a folder of their own; the child is `python -m edge.devices.cell FOLDER`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from edge.backends.building import run_aside
from edge.config import StrictModel, drive_name
from edge.devices.table import Accuracy, Cell, Figures, Settings
from edge.errors import DataError, EdgeError, EngineError

TIMEOUT_S = 3600.0  # TensorRT builds a plan in minutes
_CLEAR_PEAK = "5"  # Documentation/filesystems/proc.rst, clear_refs


class Job(StrictModel):
    """What the child measures.

    Attributes:
        folder: of the engine's bundle.
        drive: the source that `settings` names, or what was rendered in its place.
        cwd: where relative paths begin.
    """

    folder: str
    input_wh: tuple[int, int]
    precision: str
    backend: str
    drive: str
    cwd: str
    settings: Settings


class Answer(StrictModel):
    """What the child found: figures, or an error; `ends_all` of what is wrong with frames or labels."""

    figures: Figures | None = None
    power: str = ""
    error: str = ""
    ends_all: bool = False


def measure_cell(cell: Cell, bundle: Path, drive: str, settings: Settings) -> tuple[Cell, str]:
    """The cell with its figures, or with the error in their place; and why there are no watts.

    Raises:
        DataError: drive, frames or labels are not in order, which concerns all cells.
    """
    wishes = {"input_wh": cell.input_wh, "precision": cell.precision, "backend": cell.backend, "drive": drive}
    job = Job(folder=str(bundle.absolute()), cwd=str(Path.cwd()), settings=settings, **wishes)
    answer = _ask_child(job)
    if answer.ends_all:
        raise DataError(answer.error)
    return cell.model_copy(update={"figures": answer.figures, "error": answer.error}), answer.power


def _ask_child(job: Job, timeout_s: float = TIMEOUT_S) -> Answer:
    with tempfile.TemporaryDirectory(prefix="edge-cell-") as name:
        folder = Path(name)
        (folder / "job.json").write_text(job.model_dump_json(), encoding="utf-8")
        words = ["-m", "edge.devices.cell", name]
        with (folder / "log.txt").open("w") as log:
            try:
                ended = run_aside(words, folder, stdout=log, stderr=log, timeout=timeout_s)
            except subprocess.TimeoutExpired:
                return Answer(error=f"did not end within {timeout_s:g} s and was stopped")
        with suppress(OSError):
            return Answer.model_validate_json((folder / "answer.json").read_bytes())
        if ended.returncode == 130:
            raise KeyboardInterrupt
        lines = (folder / "log.txt").read_text(encoding="utf-8", errors="replace").split("\n")
        said = next((line for line in reversed(lines) if line.strip()), "no reason given")
        return Answer(error=f"ended without figures ({_ending(ended.returncode)}): {said}")


def _ending(code: int) -> str:
    """Most often, a signal 9 is the system's, out of memory."""
    return f"exit code {code}" if code >= 0 else f"signal {-code}" + (", is memory short?" if code == -9 else "")


# ----------------------------------------------------------------------------------------------------------- the child


def measure(job: Job) -> tuple[Figures, str]:
    """All figures of the cell, and why there are no watts.

    Raises:
        EngineError: the engine cannot be run like that.
        SourceError, DataError: drive, frames or labels are not in order.
    """
    import cv2

    from edge.backends import open_engine
    from edge.bench import bare_engine, pipeline
    from edge.devices.power import PowerMeter

    cv2.setNumThreads(1)  # as `edge run` does
    settings = job.settings
    wishes: dict[str, Any] = {"precision": job.precision, "backend": job.backend, "threads": settings.threads}
    wishes["input_wh"] = job.input_wh
    with open_engine(job.folder, **wishes) as engine:
        bare = bare_engine(engine, settings.frames)
        _reset_peak()
        with PowerMeter() as meter, OtherWork() as others:
            live = pipeline(engine, job.drive, settings.frames, live=True)
        memory_mb, runs_on, threads = _peak_mb(), str(engine.identity), engine.threads
    with open_engine(job.folder, side_by_side=True, **wishes) as engine:
        masks = pipeline(engine, job.drive, settings.frames)
    figures = Figures(
        runs_on=runs_on,
        threads=threads,
        inference_ms=_short(bare),
        masks_hz=masks["rate_hz"],
        live_hz=live["rate_hz"],
        live_dropped=live["dropped"],
        age_ms=_short(live["age"]),
        memory_mb=memory_mb,
        watts=meter.watts,
        others_share=others.share,
        accuracy=_accuracy(job),
    )
    return figures, meter.missing


def _short(times: dict[str, float]) -> dict[str, float]:
    return {"p50": times["p50_ms"], "p99": times["p99_ms"]}


def _accuracy(job: Job) -> Accuracy | None:
    """By the loop of `edge evaluate`."""
    settings = job.settings
    if settings.labelled is None:
        return None
    from edge.evaluate.drives import list_drives
    from edge.evaluate.figures import report_of
    from edge.evaluate.run import EvaluationConfig, table_of
    from edge.evaluate.schedule import evaluate_drives, one_by_one

    labels = None if settings.labels is None else Path(drive_name(settings.labels))
    config = EvaluationConfig(job.folder, job.precision, job.backend, threads=settings.threads, input_wh=job.input_wh)
    drives = list_drives([drive_name(settings.labelled)], labels, settings.sparse)
    results = evaluate_drives(drives, one_by_one(config))
    for result in results:
        if not result.is_whole:
            fault = result.measured.fault if result.measured else ""
            raise DataError(result.error or f"{result.drive.frames}: {fault or 'frames are missing'}")
    report = report_of(results, table_of(config))
    if not report["labelled_frames"]:
        raise DataError(f"{settings.labelled}: has no labels. Name them: --labels FOLDER")
    return Accuracy(frames=report["labelled_frames"], miou=report["miou"], groups=report["group_iou"])


class OtherWork:
    """Which share of the machine's cores other processes took between entering and leaving."""

    share: float | None = None

    def __enter__(self) -> OtherWork:
        self._start = self._times()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._start is None or (now := self._times()) is None:
            return
        busy_s, own_s, elapsed_s = (after - before for before, after in zip(self._start, now, strict=True))
        cores = os.cpu_count() or 1
        self.share = round(min(1.0, max(0.0, (busy_s - own_s) / (cores * elapsed_s))), 3)

    @staticmethod
    def _times() -> tuple[float, float, float] | None:
        """Seconds of the machine's cores, of this process, and of the clock; None where /proc is not to be had."""
        try:
            first = Path("/proc/stat").read_text().partition("\n")[0].split()
        except OSError:
            return None
        user, nice, system, _, _, irq, softirq, steal = map(int, first[1:9])
        busy_s = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
        return busy_s, time.process_time(), time.perf_counter()


def _reset_peak() -> None:
    """From now on, the peak is of what follows: compiling a net takes more than running it."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text(_CLEAR_PEAK)


def _peak_mb() -> float | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((round(int(line.split()[1]) * 1024 / 1e6, 1) for line in lines if line.startswith("VmHWM:")), None)


def main(folder: Path) -> int:
    """Measure the job that lies in `folder`, and leave `answer.json` there."""
    job = Job.model_validate_json((folder / "job.json").read_bytes())
    os.chdir(job.cwd)
    try:
        figures, power = measure(job)
        answer = Answer(figures=figures, power=power)
    except EngineError as error:
        answer = Answer(error=str(error))
    except EdgeError as error:
        answer = Answer(error=str(error), ends_all=True)
    except KeyboardInterrupt:
        return 130
    scratch = folder / "answer.part"
    scratch.write_text(answer.model_dump_json(), encoding="utf-8")
    scratch.rename(folder / "answer.json")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
