"""What a run came to, as text."""

from __future__ import annotations

from collections.abc import Sequence

from edge.engine import Bundle
from edge.pipeline import Summary

BAR_WIDTH = 28


def summary_text(summary: Summary) -> str:
    """The summary a person reads: frames, age, and a waterfall of stages that names the bottleneck."""
    age = summary.age
    lines = [
        f"source   {summary.source}",
        f"engine   {summary.engine}",
        f"frames   {summary.frames_in} in, {summary.frames_out} out, {summary.dropped} dropped",
    ]
    if summary.unwritten:
        lines.append(f"outputs  lost {summary.unwritten} results: they are slower than the camera")
    if not summary.frames_out:
        return "\n".join([*lines, "no frame was segmented"])
    per_frame_ms = summary.cpu_s * 1e3 / summary.frames_out
    lines += [
        f"rate     {summary.rate_hz:.1f} frames/s over {summary.elapsed_s:.1f} s",
        f"age      {age.percentile_ms(50):.1f} ms p50, {age.percentile_ms(99):.1f} ms p99, from capture to mask",
        f"cpu      {per_frame_ms:.1f} ms per frame on {summary.cores} cores: at best {summary.bound_hz:.1f} frames/s,"
        f" {summary.rate_hz / summary.bound_hz:.0%} reached",
        "",
        *_waterfall(summary),
    ]
    return "\n".join(lines)


def _waterfall(summary: Summary) -> list[str]:
    longest_ns = max(stage.total_ns for stage in summary.stages.values())
    lines = [f"{'stage':<8} {'ms/frame':>9} {'p50':>8} {'p99':>8}"]
    for name, stage in summary.stages.items():
        bar = "█" * max(1, round(BAR_WIDTH * stage.total_ns / longest_ns))
        mark = " ◀ bottleneck" if name == summary.bottleneck else ""
        mean_ms = stage.total_ns / 1e6 / summary.frames_out
        lines.append(
            f"{name:<8} {mean_ms:>9.2f} {stage.percentile_ms(50):>8.2f} {stage.percentile_ms(99):>8.2f}  {bar}{mark}"
        )
    return lines


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns padded to their widest cell; the first to the left, the others to the right."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = []
    for row in [header, *rows]:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def card_text(bundle: Bundle) -> str:
    """An engine's card as a person reads it."""
    card = bundle.card
    width, height = card.input_wh
    made = card.versions
    groups = "; ".join(f"{group} = {' + '.join(members)}" for group, members in card.table.groups.items())
    lines = [
        f"engine     {card.name}: {card.description}",
        f"folder     {bundle.folder}",
        f"net        {card.net}, {card.precision}, trained for {card.trained_steps} steps",
        f"input      {width}x{height}, {card.resize}",
        f"classes    {', '.join(f'{number} {name}' for number, name in enumerate(card.table.names))}",
        f"groups     {groups}",
        f"trained on {card.training_data}",
        f"licence    {card.licence}",
        f"made       {card.created}, edge {made.edge}, torch {made.torch}, opset {made.opset}",
        f"sha256     graph {card.model_sha256[:16]}…, weights {card.weights_sha256[:16]}…",
    ]
    for accuracy in card.measured.accuracy:
        lines += ["", f"accuracy on {accuracy.data}, {accuracy.frames} frames: {accuracy.command}"]
        rows = [(name, "-" if iou is None else f"{iou:.4f}") for name, iou in accuracy.iou.items()]
        lines.append(table(("class", "IoU"), [*rows, ("mean", f"{accuracy.miou:.4f}")]))
    if card.measured.speed:
        header = ("speed on", "precision", "threads", "p50 ms", "p99 ms")
        speeds = [
            (s.machine, s.precision, str(s.threads), f"{s.p50_ms:.2f}", f"{s.p99_ms:.2f}") for s in card.measured.speed
        ]
        lines += ["", table(header, speeds)]
    return "\n".join(lines)
