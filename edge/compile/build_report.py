"""What a build found, for people: tables, the front of speed and accuracy as an image, and the worst frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import cv2

from edge.compile.attempt import Attempt, Point, Report
from edge.compile.judge import worst_frames
from edge.errors import OutputError
from edge.frame import Image
from edge.report import losses_table, table
from edge.sinks.files import write_bytes, write_text

SHOWN_LAYERS = 12


def write_report(report: Report, folder: Path) -> Path:
    """`report.txt`, `front.png` and `worst-GRAPH.png` in that folder; gives the folder of the images.

    Raises:
        OutputError: they cannot be written.
    """
    write_text(folder / "report.txt", report_text(report) + "\n")
    if report.front:
        write_bytes(folder / "front.png", _drawn_front(report))
    attempt = report.attempts[-1]
    for form, judged in attempt.judged.items():
        if form.label in attempt.graphs:
            name = form.label.removesuffix(".onnx")
            write_bytes(folder / f"worst-{name}.png", png(worst_frames(judged, report.card.table, name)))
    return folder


def png(image: Image) -> bytes:
    """An image as a PNG file's bytes.

    Raises:
        OutputError: OpenCV cannot encode it.
    """
    fine, data = cv2.imencode(".png", image)
    if not fine:
        raise OutputError(f"an image of {image.shape} cannot be encoded as PNG")
    return data.tobytes()


def report_text(report: Report) -> str:
    """The tables."""
    attempt = report.attempts[-1]
    verdict = "passed" if report.holds else "REFUSED"
    lines = [f"{report.card.name}: {verdict} on {report.data}, {attempt.own.frames} frames"]
    lines += ["", losses_table(attempt.lost, report.limits), ""]
    lines += _layers(report)
    if len(report.attempts) > 1:
        lines += ["", *_attempts(report)]
    if report.front:
        lines += ["", *_front(report)]
    return "\n".join(lines)


def _layers(report: Report) -> list[str]:
    kept = report.attempts[-1].kept_float
    ranges = report.ranges
    rows = [
        (layer, f"{share:.3%}", ranges.get(layer, ""), "float" if layer in kept else "INT8")
        for layer, share in list(report.sensitivity.items())[: max(SHOWN_LAYERS, len(kept))]
    ]
    header = ("costliest layers", "pixels changed if alone INT8", "reads", "is")
    return [table(header, rows)]


def _attempts(report: Report) -> Iterator[str]:
    yield "Layers went back to floating point one by one:"
    for attempt in report.attempts:
        broken = attempt.broken(report.limits)
        words = "; ".join(f"{name} breaks {', '.join(limits)}" for name, limits in broken.items()) or "all limits hold"
        yield f"  {len(attempt.kept_float):>2} in float{_last(attempt)}: {words}"


def _last(attempt: Attempt) -> str:
    return f" (+ {attempt.kept_float[-1]})" if attempt.kept_float else ""


def _figures(report: Report) -> dict[str, Callable[[Point], float]]:
    """What a point of the front is good at, by name; the share of pixels equal to fp32's where there are no labels."""
    if not report.attempts[-1].own.has_labels:
        return {"as fp32": lambda point: 1 - point.judged.disagreement}
    classes = report.card.table
    figures: dict[str, Callable[[Point], float]] = {"mIoU": lambda point: point.judged.confusion.miou()}
    for name in report.limits:
        if name in classes.groups or name in classes.names:
            figures[name] = partial(_iou, classes.ids(name))
    return figures


def _iou(ids: Sequence[int], point: Point) -> float:
    return point.judged.confusion.group_iou(ids)


def _front(report: Report) -> list[str]:
    figures = _figures(report)
    rows = [
        (
            point.label,
            f"{point.p50_ms:.2f}",
            *(f"{100 * figure(point):.2f}" for figure in figures.values()),
            _mark(report.front, point, figures),
        )
        for point in report.front
    ]
    header = ("speed and accuracy, OpenVINO, this machine", "ms p50", *figures, "")
    return [table(header, rows), "* nothing else is both faster and better in mIoU or agreement"]


def _mark(points: Sequence[Point], point: Point, figures: dict[str, Callable[[Point], float]]) -> str:
    """A star on the Pareto front of time and the first figure."""
    good = next(iter(figures.values()))
    beaten = any(
        other.p50_ms <= point.p50_ms
        and good(other) >= good(point)
        and (other.p50_ms, good(other)) != (point.p50_ms, good(point))
        for other in points
    )
    return "" if beaten else "*"


def _drawn_front(report: Report) -> bytes:
    """A PNG: milliseconds to the right, a panel for each figure."""
    import io

    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figures = _figures(report)
    plot, panels = plt.subplots(1, len(figures), figsize=(5 * len(figures), 4.2), squeeze=False, layout="constrained")
    for panel, (name, figure) in zip(panels[0], figures.items(), strict=True):
        values = [100 * figure(point) for point in report.front]
        stars = [bool(_mark(report.front, point, {name: figure})) for point in report.front]
        colours = ["tab:red" if star else "tab:gray" for star in stars]
        panel.scatter([point.p50_ms for point in report.front], values, c=colours, zorder=2)
        for point, value in zip(report.front, values, strict=True):
            panel.annotate(point.label, (point.p50_ms, value), xytext=(4, 4), textcoords="offset points", fontsize=7)
        if name in ("mIoU", *report.limits):
            limit = report.limits.get(name, report.limits.get("miou") if name == "mIoU" else None)
            if limit is not None:
                panel.axhline(values[-1] - limit, color="tab:orange", linestyle="--", linewidth=1, label="limit")
                panel.legend(loc="lower right", fontsize=7)
        panel.set(xlabel="ms per frame, p50", title=f"{name} %")
        panel.margins(0.15)
        panel.grid(alpha=0.3)
    title = f"{report.card.name}: speed and accuracy on {report.data}\nred: nothing is faster and better"
    plot.suptitle(title, fontsize=9)  # of one panel and a long path, too
    written = io.BytesIO()
    plot.savefig(written, format="png", dpi=110)
    plt.close(plot)
    return written.getvalue()
