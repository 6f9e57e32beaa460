"""The Pareto front of a device's table, as SVG: mIoU over milliseconds, engines by colour, precisions by mark."""

from __future__ import annotations

import io
from typing import Any

from edge.devices.table import DeviceTable, front, points
from edge.errors import ConfigError
from edge.shortage import check_shortage

_MARKS = {"int8": "o", "fp16": "^", "bf16": "D", "f32": "s"}
_LOOK = {"svg.hashsalt": "edge", "svg.fonttype": "none", "font.size": 9}  # equal bytes each time; text stays text


def front_svg(shown: DeviceTable) -> bytes:
    """The plot, as SVG.

    Raises:
        ConfigError: no cell has an mIoU, or matplotlib is not installed.
    """
    if not points(shown.cells):
        raise ConfigError("no cell has an mIoU to plot. Give labelled frames: --labelled FRAMES --labels FOLDER")
    try:
        import matplotlib as mpl
    except ImportError as error:
        check_shortage(error)
        raise ConfigError("a plot needs matplotlib. Install it: pip install matplotlib") from error
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context(_LOOK):
        figure = Figure(figsize=(7, 4.4), layout="constrained")
        FigureCanvasSVG(figure)
        _draw(figure.subplots(), shown)
        written = io.BytesIO()
        figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    return written.getvalue()


def _draw(panel: Any, shown: DeviceTable) -> None:
    engines = list(dict.fromkeys(cell.engine for _, _, cell in points(shown.cells)))
    named: set[str] = set()
    for ms, miou, cell in points(shown.cells):
        label = f"{cell.engine} {cell.precision}"
        panel.scatter(
            ms,
            miou,
            color=f"C{engines.index(cell.engine) % 10}",
            marker=_MARKS.get(cell.precision, "x"),
            label="_" if label in named else label,  # a legend leaves out what begins with _
            zorder=2,
        )
        named.add(label)
    best = [(ms, miou, cell) for ms, miou, cell in points(shown.cells) if cell in front(shown.cells)]
    best.sort(key=lambda point: point[0])
    steps = [(ms, miou) for ms, miou, _ in best]
    panel.step(*zip(*steps, strict=True), where="post", color="0.5", linewidth=1, zorder=1, label="Pareto front")
    for ms, miou, cell in best:
        text = f"{cell.input_wh[0]}x{cell.input_wh[1]} {cell.backend}"
        panel.annotate(text, (ms, miou), xytext=(4, 4), textcoords="offset points", fontsize=7)
    panel.set(xscale="log", xlabel="ms per image, p50, bare engine", ylabel="mIoU", title=shown.machine.cpu)
    panel.grid(alpha=0.3, which="both")
    panel.margins(0.12)
    panel.legend(fontsize=7, loc="lower right")
