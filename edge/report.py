"""What a run came to, as text."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from functools import partial

from edge.card import Accuracy, Card, Gate, Graph
from edge.domain import warning
from edge.engine import Bundle
from edge.pipeline import Summary

BAR_WIDTH = 28


def summary_text(summary: Summary) -> str:
    """The summary a person reads: frames, age, and a waterfall of stages that names the bottleneck."""
    age = summary.age
    lines = [
        f"source   {summary.source}",
        f"engine   {summary.engine}{_side_by_side(summary)}",
        f"frames   {summary.frames_in} in, {summary.frames_out} out, {summary.dropped} dropped",
    ]
    if summary.unwritten:
        lines.append(f"outputs  lost {summary.unwritten} results: they are slower than the camera")
    if not summary.frames_out:
        return "\n".join([*lines, "no frame was segmented"])
    if unlike := warning(summary.unlike):
        lines.append(f"scene    {unlike.removeprefix('scene ')}")
    per_frame_ms = summary.cpu_s * 1e3 / summary.frames_out
    lines += [
        f"rate     {summary.rate_hz:.1f} frames/s over {summary.elapsed_s:.1f} s",
        f"age      {age.percentile_ms(50):.1f} ms p50, {age.percentile_ms(99):.1f} ms p99, from capture to mask"
        f"{_read_ahead(summary)}",
        f"cpu      {per_frame_ms:.1f} ms per frame on {summary.cores} cores: at best {summary.bound_hz:.1f} frames/s,"
        f" {summary.rate_hz / summary.bound_hz:.0%} reached",
        "",
        *_waterfall(summary),
    ]
    return "\n".join(lines)


def summary_json(summary: Summary) -> dict[str, object]:
    """The same as JSON takes it; times in milliseconds, null where nothing was segmented."""
    seen = summary.frames_out > 0
    return {
        "source": summary.source,
        "engine": summary.engine,
        "frames_in": summary.frames_in,
        "frames_out": summary.frames_out,
        "dropped": summary.dropped,
        "unwritten": summary.unwritten,
        "elapsed_s": round(summary.elapsed_s, 3),
        "rate_hz": round(summary.rate_hz, 3),
        "cpu_ms": round(summary.cpu_s * 1e3 / summary.frames_out, 3) if seen else None,
        "cores": summary.cores,
        "unlike_training": None if summary.unlike is None else round(summary.unlike, 4),
        "age_ms": {f"p{p}": round(summary.age.percentile_ms(p), 3) for p in (50, 99)} if seen else None,
        "stages_ms": {name: round(times.mean_ms, 3) for name, times in summary.stages.items()},
        "bottleneck": summary.bottleneck,
        "failure": None if summary.failure is None else str(summary.failure),
        "interrupted": summary.interrupted,
        "side_by_side": summary.side_by_side,
    }


def _side_by_side(summary: Summary) -> str:
    """Then the stages' times add up to more than passes between two frames."""
    return f", {summary.side_by_side} frames side by side" if summary.side_by_side > 1 else ""


def _read_ahead(summary: Summary) -> str:
    """Why masks of a file are older than those of a camera: a reader who looks for the age of these would be misled."""
    return "; read ahead, older than live (edge run --live)" if summary.side_by_side > 1 else ""


def _waterfall(summary: Summary) -> list[str]:
    longest_ns = max(stage.total_ns for stage in summary.stages.values())
    lines = [f"{'stage':<8} {'ms/frame':>9} {'p50':>8} {'p99':>8}"]
    for name, stage in summary.stages.items():
        shown = "render" if name == "decode" and summary.source.startswith("scene:") else name
        bar = "█" * max(1, round(BAR_WIDTH * stage.total_ns / longest_ns))
        mark = " ◀ bottleneck" if name == summary.bottleneck else ""
        mean_ms = stage.total_ns / 1e6 / summary.frames_out
        lines.append(
            f"{shown:<8} {mean_ms:>9.2f} {stage.percentile_ms(50):>8.2f} {stage.percentile_ms(99):>8.2f}  {bar}{mark}"
        )
    return lines


def count_text(count: float) -> str:
    """A count for people, in three digits: 950, 12.3 k, 4.56 M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= 0.9995 * size:
            value = count / size
            return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f} {unit}"
    return f"{count:.0f}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns padded to their widest cell; the first to the left, the others to the right."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = []
    for row in [header, *rows]:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def card_brief(bundle: Bundle) -> str:
    """What a person asks of an engine first, in 80 columns: what it says, how right, how fast, on what terms."""
    card = bundle.card
    width, height = card.input_wh
    lines = [
        ("engine", f"{card.name}: {card.description}"),
        ("classes", ", ".join(f"{number} {name}" for number, name in enumerate(card.table.names))),
        ("groups", ", ".join(card.table.groups)),
        ("outputs", ", ".join(output.name for output in card.outputs)),
        ("input", f"{width}x{height}, {card.resize}{_other_sizes(card)}"),
        ("runs in", f"{card.precision}; {', '.join(sorted({graph.precision for graph in card.graphs}))} are in it"),
        *_rightness(card),
        *_speed(card),
        ("trained on", card.training_data),
        ("licence", card.licence),
        ("folder", str(bundle.folder)),
    ]
    fill = partial(textwrap.fill, width=80, subsequent_indent=" " * 11, break_on_hyphens=False)
    wrapped = [fill(f"{name:<11}{text}") for name, text in lines]
    return "\n".join([*wrapped, "", f"Graphs, the gate and IoU of every class: edge inspect {card.name} --all"])


def _rightness(card: Card) -> list[tuple[str, str]]:
    """IoU of the default precision where it was measured, and what of it was lost to fp32."""
    measured = [one for one in card.measured.accuracy if one.precision == _measured_name(card.precision)]
    if not measured:
        return []
    first = measured[0]
    single = {group: members[0] for group, members in card.table.groups.items() if len(members) == 1}
    known = {group: first.iou.get(member) for group, member in single.items()}
    ious = [f"mIoU {first.miou:.3f}", *(f"{group} {iou:.3f}" for group, iou in known.items() if iou is not None)]
    lines = [("right", f"{', '.join(ious)}: {first.frames} frames of {first.data}")]
    limits, lost = (card.gate.limits, card.gate.lost.get(first.graph, {})) if card.gate else ({}, {})
    if points := ", ".join(f"{lost[name]:.2f} of {name}" for name in limits if name in lost):
        lines.append(("lost", f"points to fp32: {points}"))
    return lines


def _speed(card: Card) -> list[tuple[str, str]]:
    speeds = [speed for speed in card.measured.speed if speed.precision == _measured_name(card.precision)]
    return [("fast", f"{s.p50_ms:.1f} ms in {s.precision}, {s.threads} threads, {s.machine}") for s in speeds[:1]]


def _measured_name(precision: str) -> str:
    """Graphs are named by what they hold, measurements by what is computed in."""
    return "f32" if precision == "fp32" else precision


def card_text(bundle: Bundle) -> str:
    """An engine's card, all of it, as a person reads it."""
    card = bundle.card
    width, height = card.input_wh
    made = card.versions
    groups = "; ".join(f"{group} = {' + '.join(members)}" for group, members in card.table.groups.items())
    lines = [
        f"engine     {card.name}: {card.description}",
        f"folder     {bundle.folder}",
        f"net        {card.net}, {card.precision}, trained for {card.trained_steps} steps",
        f"input      {width}x{height}, {card.resize}{_other_sizes(card)}",
        f"classes    {', '.join(f'{number} {name}' for number, name in enumerate(card.table.names))}",
        f"groups     {groups}",
        f"trained on {card.training_data}",
        f"licence    {card.licence}",
        f"made       {card.created}, edge {made.edge}, torch {made.torch}, opset {made.opset}",
        f"weights    sha256 {card.weights_sha256[:16]}…",
        "",
        table(("graph", "size", "precision", "for", "sha256"), [_graph_row(graph, card) for graph in card.graphs]),
    ]
    if card.gate:
        lines += ["", *_gate_lines(card.gate)]
    if card.measured.accuracy:
        lines += ["", *_accuracy_lines(card.measured.accuracy)]
    if card.measured.speed:
        header = ("speed on", "precision", "threads", "p50 ms", "p99 ms")
        speeds = [
            (s.machine, s.precision, str(s.threads), f"{s.p50_ms:.2f}", f"{s.p99_ms:.2f}") for s in card.measured.speed
        ]
        lines += ["", table(header, speeds)]
    return "\n".join(lines)


def _other_sizes(card: Card) -> str:
    others = sorted({graph.input_wh for graph in card.graphs if graph.input_wh})
    return f"; frames of another shape: {', '.join(f'{w}x{h}' for w, h in others)}" if others else ""


def _graph_row(graph: Graph, card: Card) -> tuple[str, ...]:
    width, height = graph.input_wh or card.input_wh
    return graph.file, f"{width}x{height}", graph.precision, graph.runtime, f"{graph.sha256[:16]}…"


def _gate_lines(gate: Gate) -> list[str]:
    """What INT8 costs, beside what it was allowed to."""
    kept = ", ".join(gate.kept_float) or "none beyond the last"
    head = f"gate on {gate.data}, {gate.frames} frames"
    return [head, losses_table(gate.lost, gate.limits), f"layers kept in float: {kept}"]


def losses_table(lost: Mapping[str, Mapping[str, float]], limits: Mapping[str, float]) -> str:
    """Points lost to fp32: a row per graph, a column per figure; what is over its limit is marked."""
    keys = list(dict.fromkeys(key for losses in lost.values() for key in losses))
    rows = [("limit", *(f"{limits[key]:.2f} " if key in limits else "" for key in keys))]
    for graph, losses in lost.items():
        rows.append((graph, *(_points(losses.get(key), limits.get(key)) for key in keys)))
    return table(("points lost to fp32", *keys), rows)


def _points(lost: float | None, limit: float | None) -> str:
    if lost is None:
        return "- "
    return f"{lost:+.2f}{'!' if limit is not None and lost > limit else ' '}"


def _accuracy_lines(measured: Sequence[Accuracy]) -> list[str]:
    """IoU per class, a column per measurement, and the command that repeats each."""
    names = list(measured[0].iou)
    rows = [(name, *(_share(accuracy.iou.get(name)) for accuracy in measured)) for name in names]
    rows.append(("mean", *(_share(accuracy.miou) for accuracy in measured)))
    header = ("IoU of class", *_distinct([f"{a.precision} by {a.judge.split()[0]}" for a in measured], measured))
    commands = [f"{a.precision}: {a.graph} by {a.judge}, {a.frames} frames of {a.data}: {a.command}" for a in measured]
    return [table(header, rows), *commands]


def _distinct(names: Sequence[str], measured: Sequence[Accuracy]) -> list[str]:
    """The names, and of those that are equal, what tells their graphs apart: "(half)", else the graph's name."""
    parts = [accuracy.graph.partition(" ")[2] or f"({accuracy.graph})" for accuracy in measured]
    again = [name in names[:place] for place, name in enumerate(names)]
    return [f"{name} {part}" if is_again else name for name, part, is_again in zip(names, parts, again, strict=True)]


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
