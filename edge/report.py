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
