"""What `edge.bench` measured, as tables for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edge.backends.layers import layers_text
from edge.report import table

SHOWN_GROUPS = ("road", "pedestrian")


def bench_text(figures: dict[str, Any]) -> str:
    """The figures a person reads."""
    bare = figures["bare engine"]
    header = ("", "p50 ms", "p95 ms", "p99 ms", "frames/s", "CPU ms", "of bound")
    rows = [("bare engine", *_cells(bare), f"{bare['rate_hz']:.1f}", f"{bare['cpu_ms']:.1f}", "")]
    for part in ("masks", "overlay"):
        whole = figures[part]
        rows += [(f"{part}: {stage}", *_cells(times), "", "", "") for stage, times in whole["stages"].items()]
        rows.append((f"{part}: age", *_cells(whole["age"]), "", "", ""))
        speed = (f"{whole['rate_hz']:.1f}", f"{whole['cpu_ms']:.1f}", f"{whole['of_bound']:.0%}")
        rows.append((f"{part}: whole pipeline", "", "", "", *speed))
    where = figures["machine"]
    return "\n".join(
        [
            f"engine {figures['engine']} ({figures['precision']}) at {_size(figures)}, {figures['threads']} threads;"
            f" {where['cpu']}, {where['cores']} cores",
            f"source {figures['source']}",
            "",
            table(header, rows),
            *_below(figures["notes"], [layers_text(figures["precision"], figures["layers"])]),
        ]
    )


def _size(figures: Mapping[str, Any]) -> str:
    width, height = figures["input_wh"]
    return f"{width}x{height}"


def _cells(times: dict[str, float]) -> list[str]:
    return [f"{times[key]:.2f}" for key in ("p50_ms", "p95_ms", "p99_ms")]


def compare_text(figures: Mapping[str, Any]) -> str:
    """The figures a person reads: a line per precision and backend."""
    groups = [group for group in SHOWN_GROUPS if any(group in (e["accuracy"] or {}) for e in figures["entrants"])]
    header = ("engine", "p50 ms", "p99 ms", "x f32", "masks/s", "bound", "overlay/s", "bound", "age +p50", "+p99")
    rows = [(*_speed_cells(entrant), *_accuracy_cells(entrant, groups)) for entrant in figures["entrants"]]
    where = figures["machine"]
    lines = [
        f"engine {figures['engine']} at {_size(figures)}, {figures['threads']} threads;"
        f" {where['cpu']}, {where['cores']} cores",
        f"source {figures['source']}, {figures['frames']} frames, the middle of {figures['rounds']} rounds",
        "",
        table((*header, "mIoU", *groups, "MB"), rows),
        "",
        "bound: share of what the cores could do if always busy with this work.",
        "age +: ms from capture to mask, live, beyond the bare engine's p50.",
        "Accuracy is the card's; more: edge inspect",
        *_below(figures["notes"], [_layers_line(entrant) for entrant in figures["entrants"]]),
        *(f"not here: {name}: {reason}" for name, reason in figures["absent"].items()),
    ]
    return "\n".join(lines)


def _below(notes: Sequence[str], layers: Sequence[str]) -> list[str]:
    """Lines for below a table: in which precision layers run, where that is known, and what to mind."""
    known = [line for line in layers if line]
    return [*([f"layers: {'; '.join(known)}"] if known else []), *(f"note: {note}" for note in notes)]


def _layers_line(entrant: Mapping[str, Any]) -> str:
    text = layers_text(entrant["precision"], entrant["layers"])
    return text and f"{entrant['precision']} {entrant['backend']}: {text}"


def _speed_cells(entrant: Mapping[str, Any]) -> list[str]:
    bare, masks, overlay, added = (entrant[part] for part in ("bare engine", "masks", "overlay", "age_added"))
    times = entrant["times_f32"]
    return [
        f"{entrant['precision']} {entrant['backend']}",
        f"{bare['p50_ms']:.2f}",
        f"{bare['p99_ms']:.2f}",
        f"{times['median']:.2f}" if times else "-",
        f"{masks['rate_hz']:.1f}",
        f"{masks['of_bound']:.0%}",
        f"{overlay['rate_hz']:.1f}",
        f"{overlay['of_bound']:.0%}",
        f"{added['p50_ms']:+.2f}",
        f"{added['p99_ms']:+.2f}",
    ]


def _accuracy_cells(entrant: Mapping[str, Any], groups: Sequence[str]) -> list[str]:
    scores = entrant["accuracy"] or {}
    values = [scores.get(key) for key in ("miou", *groups)]
    return [
        *("-" if value is None else f"{value:.4f}" for value in values),
        f"{entrant['graph']['bytes'] / 1e6:.1f}",
    ]
