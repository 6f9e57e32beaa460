"""A device's table as text: aligned columns for a terminal, Markdown for the site."""

from __future__ import annotations

from collections.abc import Sequence

from edge.bench_text import SHOWN_GROUPS
from edge.devices.power import total_watts
from edge.devices.table import Cell, DeviceTable, Figures, front
from edge.report import table

BUSY_SHARE = 0.05  # of the cores: from here on a figure is marked
HEADER = ("engine", "input", "precision", "backend", "masks/s", "p50 ms", "p99 ms", "age p50", "age p99")
LEGEND = (
    "masks/s: of a recording, with decoding, frames side by side. ms: the bare engine, all threads on one image.",
    "age: from capture to mask, live, ms. MB: the peak of the process, live. *: no other is faster and as right.",
)


def columns_of(shown: DeviceTable) -> tuple[str, ...]:
    """The header: groups that some cell has, and watts where the machine reports them."""
    figures = [cell.figures for cell in shown.cells if cell.figures]
    scores = ("mIoU", *_groups(shown)) if any(one.accuracy for one in figures) else ()
    return (*HEADER, *scores, "MB", *(("W",) if any(one.watts for one in figures) else ()))


def rows_of(shown: DeviceTable) -> list[tuple[str, ...]]:
    """A row per measured cell."""
    columns, best = columns_of(shown), front(shown.cells)
    return [_row(cell, cell.figures, columns, _groups(shown), cell in best) for cell in shown.cells if cell.figures]


def _groups(shown: DeviceTable) -> list[str]:
    scores = [cell.figures.accuracy.groups for cell in shown.cells if cell.figures and cell.figures.accuracy]
    return [group for group in SHOWN_GROUPS if any(group in score for score in scores)]


def _row(cell: Cell, figures: Figures, columns: Sequence[str], groups: Sequence[str], is_best: bool) -> tuple[str, ...]:
    found = figures.accuracy
    watts = total_watts(figures.watts)
    values = {
        "engine": cell.engine,
        "input": f"{cell.input_wh[0]}x{cell.input_wh[1]}",
        "precision": cell.precision,
        "backend": cell.backend,
        "masks/s": f"{figures.masks_hz:.1f}",
        "p50 ms": f"{figures.inference_ms['p50']:.2f}",
        "p99 ms": f"{figures.inference_ms['p99']:.2f}",
        "age p50": f"{figures.age_ms['p50']:.1f}",
        "age p99": f"{figures.age_ms['p99']:.1f}",
        "mIoU": _share(found.miou if found else None) + ("*" if is_best else ""),
        **{group: _share(found.groups.get(group) if found else None) for group in groups},
        "MB": "-" if figures.memory_mb is None else f"{figures.memory_mb:.0f}",
        "W": "-" if watts is None else f"{watts:.1f}",
    }
    return tuple(values[column] for column in columns)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def table_text(shown: DeviceTable) -> str:
    """For a terminal."""
    rows = rows_of(shown)
    lines = [*machine_lines(shown), ""]
    lines += [table(columns_of(shown), rows), "", *LEGEND] if rows else ["no cell was measured"]
    return "\n".join([*lines, *notes_of(shown)])


def table_markdown(shown: DeviceTable) -> str:
    """For the site: the same, with what could not be measured below."""
    header = columns_of(shown)
    rule = ["---"] * 4 + ["---:"] * (len(header) - 4)
    rows = ["| " + " | ".join(row).replace("*", "\\*") + " |" for row in (header, rule, *rows_of(shown))]
    notes = [f"- {_one_line(note)}" for note in notes_of(shown)]
    return "\n".join([*machine_lines(shown), "", *rows, "", *notes])


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("<", "&lt;")


def machine_lines(shown: DeviceTable) -> list[str]:
    """What the figures must be read with."""
    where, how = shown.machine, shown.settings
    libraries = ", ".join(f"{name} {version}" for name, version in where.libraries.items())
    made = f"edge {where.edge}" + (f" at {where.commit}" if where.commit else "")
    accuracy = f"; accuracy on {how.labelled}" if how.labelled else ""
    return [
        f"{where.cpu} ({where.flags}), {where.cores} cores, {where.memory_gb:g} GB; {where.os}",
        f"Python {where.python}, {libraries}; {made}; {shown.date}",
        f"speed on {how.source}, {how.frames} frames{accuracy}",
    ]


def notes_of(shown: DeviceTable) -> list[str]:
    """What to mind: a busy machine, no watts, cells and backends without figures."""
    shares = [one.others_share for cell in shown.cells if (one := cell.figures) and one.others_share is not None]
    notes: list[str] = []
    if (most := max(shares, default=0.0)) >= BUSY_SHARE:
        notes.append(f"other processes took up to {most:.0%} of the cores: measure again with nothing else running")
    if shown.power:
        notes.append(f"no watts: {shown.power}")
    notes += [f"no figures: {cell.name}: {cell.error}" for cell in shown.cells if cell.error]
    return notes + [f"not here: {name}: {reason}" for name, reason in shown.absent.items()]
