"""A device's table, measured cell by cell; what was interrupted goes on where it stood."""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Sequence
from pathlib import Path

from edge.backends import available_backends, load_backend
from edge.bench import OnProgress, silent, write_drive
from edge.config import drive_name
from edge.devices.cell import measure_cell
from edge.devices.table import Cell, DeviceTable, Settings, load_table, this_machine
from edge.engine import Bundle, find_bundle
from edge.errors import ConfigError, EngineError
from edge.sinks.files import write_text


def measure_device(
    engines: Sequence[str],
    path: Path,
    settings: Settings,
    *,
    precision: str | None = None,
    backend: str | None = None,
    rendered: bool = False,
    on_progress: OnProgress = silent,
) -> DeviceTable:
    """The table of these engines on this machine, in all sizes, precisions and backends, or those that are named.

    It is written to `path` behind each cell, and what is there of the same settings is not measured again; cells with
    an error are. `rendered`: the drive that `settings.source` names is rendered to a file first.

    Raises:
        ConfigError: `path` holds something else, or figures of another machine or other settings.
        DataError: frames or labels are not in order.
        EngineError: there is no such engine, precision or backend.
    """
    table = _begun(path, settings)
    bundles = {bundle.card.name: bundle for bundle in map(find_bundle, engines)}
    if len(bundles) < len(engines):
        raise ConfigError(f"--engine {', '.join(engines)}: two of them have the same name; each counts once")
    wanted = [cell for bundle in bundles.values() for cell in cells_of(bundle, table.absent, precision, backend)]
    if not wanted:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in table.absent.items())
        raise EngineError(f"no engine can run here like that. {reasons}")
    open_cells = [cell for cell in wanted if not _is_done(table, cell)]
    done = len(wanted) - len(open_cells)
    with tempfile.TemporaryDirectory(prefix="edge-bench-") as folder:
        drive = drive_name(settings.source)
        if rendered and open_cells:
            drive = write_drive(Path(folder) / "drive.mp4", settings.frames, on_progress)
        for number, cell in enumerate(open_cells):
            on_progress(cell.name, done + number, len(wanted))
            measured, power = measure_cell(cell, bundles[cell.engine].folder, drive, settings)
            today = dt.datetime.now().astimezone().date().isoformat()
            changed = {"date": today, "power": power if measured.figures else table.power}
            table = table.with_cell(measured).model_copy(update=changed)
            write_text(path, table.model_dump_json(indent=1) + "\n")
    return table


def cells_of(
    bundle: Bundle, absent: dict[str, str], precision: str | None = None, backend: str | None = None
) -> list[Cell]:
    """The cells to measure of an engine: what it has no graph for is left out."""
    names = [backend] if backend else list(available_backends())
    card = bundle.card
    sizes = sorted({card.input_wh, *(graph.input_wh for graph in card.graphs if graph.input_wh)}, reverse=True)
    found: list[Cell] = []
    for name in names:
        if name in absent:
            continue
        module = load_backend(name)
        for one in [precision] if precision else module.PRECISIONS:
            for size in sizes:
                try:
                    graph = bundle.at(size).graph(one, module.GRAPHS)
                except EngineError:
                    continue
                wishes = {"input_wh": size, "precision": one, "backend": name, "graph_sha256": graph.sha256}
                found.append(Cell(engine=card.name, **wishes))
    return found


def _is_done(table: DeviceTable, cell: Cell) -> bool:
    kept = table.cell(cell.key)
    return kept is not None and kept.figures is not None


def _begun(path: Path, settings: Settings) -> DeviceTable:
    """The table in the file, or an empty one."""
    machine = this_machine()
    absent = {name: reason for name, reason in available_backends().items() if reason is not None}
    fresh = DeviceTable(date="", machine=machine, settings=settings, absent=absent)
    if not path.exists():
        return fresh
    kept = load_table(path)
    before, now = (table.model_dump(include={"machine", "settings"}) for table in (kept, fresh))
    for part, values in now.items():
        for key, value in values.items():
            if (was := before[part][key]) != value:
                raise ConfigError(
                    f"{path}: was measured with {part}.{key} {was!r}, this run has {value!r}."
                    " Name another file, or remove this one"
                )
    return fresh.model_copy(update={"cells": kept.cells, "date": kept.date, "power": kept.power})
