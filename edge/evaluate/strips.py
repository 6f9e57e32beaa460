"""Each drive as a strip of lines over time: how right, how steady, how much alike two engines are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from edge.classes import ClassTable
from edge.evaluate.figures import flicker_of, frame_miou, ratio
from edge.evaluate.records import Records
from edge.evaluate.run import DriveResult
from edge.evaluate.worst import Shot
from edge.score import plain

COLUMNS = 500  # of longer drives, the worst frame in each column
DRIVES = 30  # the first ones: a page of a thousand drives is of no use
_GAP_COLUMNS = 10  # without a figure: the line is broken
_WIDTH, _LEFT, _RIGHT, _ROW_PX = 1060, 90, 60, 54
_COLOURS = {"mIoU": "#14866d", "agreement": "#3b7dd8", "steady": "#c07a1c"}


def strips_of(results: Sequence[DriveResult], table: ClassTable, shots: Sequence[Shot]) -> str:
    """The section, HTML; "" without a frame."""
    strips = [
        _strip(result, result.measured.records, table, shots)
        for result in results[:DRIVES]
        if result.measured is not None and len(result.measured.records) > 1
    ]
    if not strips:
        return ""
    more = f" The first {DRIVES} of {len(results)} drives." if len(results) > DRIVES else ""
    note = f"Point at a strip for a frame's figures; click for the nearest image below. Dots have one.{more}"
    return f'<section><h2>Along the drives</h2><p class="soft">{note}</p>{"".join(strips)}</section>'


def series_of(records: Records, table: ClassTable) -> dict[str, NDArray[np.float64]]:
    """(N,) each, NaN where unknown; the higher the better: what there is of mIoU, agreement, steadiness."""
    miou = np.full(len(records), np.nan)
    if len(records.label_rows):
        miou[records.label_rows] = frame_miou(records, table)
    found = {"mIoU": miou, "agreement": ratio(*records.agreement.T), "steady": 1 - flicker_of(records)}
    return {name: values for name, values in found.items() if np.isfinite(values).any()}


def _strip(result: DriveResult, records: Records, table: ClassTable, shots: Sequence[Shot]) -> str:
    series = series_of(records, table)
    worst = np.nanmin(np.stack([*(np.nan_to_num(v, nan=1.0) for v in series.values())] or [np.ones(len(records))]), 0)
    edges = np.linspace(0, len(records), min(COLUMNS, len(records)) + 1).astype(int)
    rows = [low + int(np.argmin(worst[low:high])) for low, high in pairwise(edges)]
    mine = {shot.place.row: number for number, shot in enumerate(shots) if shot.place.result is result}
    lines = [
        _line(name, values[rows], place, [at for at, row in enumerate(rows) if row in mine])
        for place, (name, values) in enumerate(series.items())
    ]
    data = {
        "left": _LEFT,
        "right": _RIGHT,
        "frames": records.index[rows].tolist(),
        "times": [None if ns < 0 else round(ns / 1e9, 3) for ns in records.media_ns[rows].tolist()],
        "series": [{"name": n, "values": [plain(v) for v in values[rows]]} for n, values in series.items()],
        "shots": [[int(records.index[row]), f"shot-{number}"] for row, number in mine.items()],
    }
    height = _ROW_PX * len(series) + 4
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")  # no name in it can end the script
    return (
        f'<div class="strip"><h3>{escape(result.drive.name)}</h3>'
        f'<svg viewBox="0 0 {_WIDTH} {height}">{"".join(lines)}</svg>'
        f'<output>{len(records)} frames</output><script type="application/json">{text}</script></div>'
    )


def _line(name: str, values: NDArray[np.float64], place: int, dots: Sequence[int]) -> str:
    """One series between its own least and greatest, which stand beside it."""
    known = values[np.isfinite(values)]
    low, high = float(known.min()), float(known.max())
    top, tall = place * _ROW_PX + 6, _ROW_PX - 14
    xs = _LEFT + np.linspace(0, 1, max(2, len(values)))[: len(values)] * (_WIDTH - _LEFT - _RIGHT)
    ys = top + tall * (1 - (values - low) / max(1e-9, high - low))
    colour, path = _COLOURS[name], _path(xs, ys)
    marks = [
        f'<circle cx="{xs[at]:.1f}" cy="{ys[at]:.1f}" r="4" fill="{colour}"/>' for at in dots if np.isfinite(ys[at])
    ]
    right, box = _WIDTH - _RIGHT, f'x="{_LEFT}" y="{top - 3}" width="{_WIDTH - _LEFT - _RIGHT}" height="{tall + 6}"'
    return (
        f'<rect class="track" {box} rx="4" opacity=".5"/>'
        f'<text x="0" y="{top + tall / 2 + 5}">{name}</text>'
        f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.6" stroke-linejoin="round"'
        f' stroke-linecap="round"/>'
        f"{''.join(marks)}"
        f'<text class="quiet" x="{right + 6}" y="{top + 7}">{high:.1%}</text>'
        f'<text class="quiet" x="{right + 6}" y="{top + tall + 1}">{low:.1%}</text>'
    )


def _path(xs: NDArray[np.float64], ys: NDArray[np.float64]) -> str:
    """Through all that is known, over what was not measured in between: steadiness is of every few frames, and labels
    may be sparse. A wide gap stays one; a point between two of them is a dot.
    """
    known = np.flatnonzero(np.isfinite(ys))
    usual = float(np.median(np.diff(known))) if len(known) > 1 else 1.0
    path = []
    for before, at in zip([-np.inf, *known[:-1].tolist()], known.tolist(), strict=True):
        pen_up = at - before > max(_GAP_COLUMNS, 2 * usual)
        path.append(f"{'M' if pen_up else 'L'}{xs[at]:.1f} {ys[at]:.1f}{'h0' if pen_up else ''}")
    return "".join(path)
