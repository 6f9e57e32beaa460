"""The file of one device: its machine, what was measured with, and a cell per engine, size, precision and backend.

`benchmarks/devices/*.json` are such files, and docs/devices.md shows them.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

import edge
from edge.backends.cpu import cpu_kind
from edge.bench import machine as bench_machine
from edge.config import StrictModel
from edge.errors import ConfigError

LIBRARIES = ("openvino", "onnxruntime", "tensorrt", "numpy", "opencv-python-headless", "av")
FORMAT = 1


class Machine(StrictModel):
    """What figures must be read with.

    Attributes:
        flags: architecture and the instruction sets that arithmetic depends on.
        memory_gb: of the machine.
        libraries: versions of those that are installed.
        commit: of the checkout that edge runs from; None for an installed one.
    """

    cpu: str
    cores: int
    flags: str
    memory_gb: float
    os: str
    python: str
    libraries: dict[str, str]
    edge: str
    commit: str | None


class Settings(StrictModel):
    """What was measured with. Cells of one file share them.

    Attributes:
        source: the drive that speed was measured on, `frames` of it.
        labelled, labels, sparse: what accuracy was measured on, as `edge evaluate` takes it; None: it was not.
    """

    source: str
    frames: int
    threads: int | None = None
    labelled: str | None = None
    labels: str | None = None
    sparse: bool = False


class Accuracy(StrictModel):
    """On the labelled frames; None where a class is not in them.

    Attributes:
        groups: IoU of each group of the card, such as road and pedestrian.
    """

    frames: int
    miou: float | None
    groups: dict[str, float | None]


class Figures(StrictModel):
    """What was measured of a cell, in a process of its own.

    Attributes:
        runs_on: library, version and device.
        inference_ms: the bare engine, image in to classes out, all threads on one image: p50, p99.
        masks_hz: of a recording, frames side by side, with decoding.
        live_hz: masks while the drive plays at its own pace; live_dropped: frames that were passed over.
        age_ms: from capture to mask, live: p50, p99.
        memory_mb: the most that the process held during the live run; None where the system does not report it.
        watts: mean power of each meter during the live run; empty without one.
        others_share: of the cores, taken by other processes during the live run: a busy machine says little of itself.
    """

    runs_on: str
    threads: int
    inference_ms: dict[str, float]
    masks_hz: float
    live_hz: float
    live_dropped: int
    age_ms: dict[str, float]
    memory_mb: float | None
    watts: dict[str, float]
    others_share: float | None
    accuracy: Accuracy | None


class Cell(StrictModel):
    """One engine at one size in one precision on one backend.

    Attributes:
        graph_sha256: of the graph that it runs.
        error: why there are no figures; "" where there are.
    """

    engine: str
    input_wh: tuple[int, int]
    precision: str
    backend: str
    graph_sha256: str
    figures: Figures | None = None
    error: str = ""

    @property
    def key(self) -> tuple[object, ...]:
        """What tells it from others; an engine that was built anew is another one."""
        return self.engine, self.input_wh, self.precision, self.backend, self.graph_sha256

    @property
    def name(self) -> str:
        """For people: "road 480x288 int8 openvino"."""
        return f"{self.engine} {self.input_wh[0]}x{self.input_wh[1]} {self.precision} {self.backend}"


class DeviceTable(StrictModel):
    """All cells of one machine.

    Attributes:
        date: of the last cell, YYYY-MM-DD.
        absent: backends that cannot run here, with the reason.
        power: why there are no watts; "" where there are.
    """

    format: Literal[1] = FORMAT
    date: str
    machine: Machine
    settings: Settings
    cells: tuple[Cell, ...] = ()
    absent: dict[str, str] = Field(default_factory=dict)
    power: str = ""

    def __str__(self) -> str:
        """For people."""
        from edge.devices.text import table_text

        return table_text(self)

    def cell(self, key: tuple[object, ...]) -> Cell | None:
        """The cell of that key, if there is one."""
        return next((cell for cell in self.cells if cell.key == key), None)

    def with_cell(self, fresh: Cell) -> DeviceTable:
        """The table with a cell in place of that of the same name, or behind the others."""
        if all(cell.name != fresh.name for cell in self.cells):
            return self.model_copy(update={"cells": (*self.cells, fresh)})
        cells = tuple(fresh if cell.name == fresh.name else cell for cell in self.cells)
        return self.model_copy(update={"cells": cells})


def load_table(path: Path) -> DeviceTable:
    """The table in a file.

    Raises:
        ConfigError: it cannot be read, or is not one.
    """
    try:
        return DeviceTable.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ConfigError(f"{path}: is not a table of `edge bench --table`: {place}: {first['msg']}") from error


def front(cells: Sequence[Cell]) -> list[Cell]:
    """The Pareto front, the fastest first: cells with an mIoU than which none is faster and as right."""
    best, found = float("-inf"), []
    for _, miou, cell in sorted(points(cells), key=lambda point: (point[0], -point[1])):
        if miou > best:
            best = miou
            found.append(cell)
    return found


def points(cells: Sequence[Cell]) -> list[tuple[float, float, Cell]]:
    """Milliseconds of the bare engine (p50) and mIoU of the cells that have both."""
    return [
        (cell.figures.inference_ms["p50"], cell.figures.accuracy.miou, cell)
        for cell in cells
        if cell.figures and cell.figures.accuracy and cell.figures.accuracy.miou is not None
    ]


def this_machine() -> Machine:
    """The one that this runs on."""
    known = bench_machine()
    return Machine(
        cpu=_board() or known["cpu"],
        cores=known["cores"],
        flags=cpu_kind(),
        memory_gb=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        os=f"{_distribution()}, Linux {platform.release()}",
        python=known["python"],
        libraries={name: version for name in LIBRARIES if (version := _version(name))},
        edge=edge.__version__,
        commit=_commit(),
    )


def _board() -> str:
    """What a board calls itself, such as a Jetson; "" of a PC."""
    try:
        return Path("/proc/device-tree/model").read_text().strip("\0\n ")
    except OSError:
        return ""


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return platform.system()


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _commit() -> str | None:
    """With "-dirty" where files were changed since."""
    home = Path(edge.__file__).parents[1]
    if not (home / ".git").exists():
        return None
    command = ["git", "-C", str(home), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None
