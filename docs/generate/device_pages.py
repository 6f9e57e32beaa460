"""The tables and plots of the page "Devices", from the files in benchmarks/devices."""

from __future__ import annotations

from pathlib import Path

from links import HOME

from edge.devices.plot import front_svg
from edge.devices.table import load_table, points
from edge.devices.text import LEGEND, table_markdown

FOLDER = HOME / "benchmarks/devices"
PLOTS = "devices"  # their folder on the site
NONE_YET = "No file is there yet."


def known_devices(folder: Path = FOLDER) -> list[Path]:
    """The files, one per machine, by name."""
    return sorted(folder.glob("*.json"))


def front_of(path: Path) -> bytes | None:
    """The plot of a machine; None where its file has no accuracy."""
    table = load_table(path)
    return front_svg(table) if points(table.cells) else None


def devices_tables(folder: Path = FOLDER) -> str:
    """Markdown: a section per machine, with its table, its plot and a link to its file."""
    sections = [_section(path) for path in known_devices(folder)]
    return "\n".join(["", " ".join(LEGEND).replace("*:", "\\*:"), "", *sections]) if sections else f"\n{NONE_YET}\n"


def _section(path: Path) -> str:
    table = load_table(path)
    plot = f"![mIoU over milliseconds]({PLOTS}/{path.stem}.svg)\n" if points(table.cells) else ""
    return f"### {path.stem}\n\n{table_markdown(table)}\n\n{plot}"
