"""From what was compared in metres to figures, as a report has them under "metres"."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.classes import ClassTable
from edge.evaluate import metres as m
from edge.evaluate.object_figures import counted_groups
from edge.evaluate.page import html_table, section
from edge.evaluate.records import Records
from edge.report import table as text_table
from edge.score import plain

BANDS_M = ((2, 5), (5, 15), (15, 30), (30, 60))
WRONG_M, TOO_FAR = 0.5, 1.1  # a boundary that is farther off is another line; a road free for so much more than it is
_SIDES = ("left", "right")


def metres_figures(records: Sequence[Records], table: ClassTable) -> dict[str, Any] | None:
    """Distances by group and band, the lane, the free road; None where the truth of no frame is known in metres."""
    known = [part for part in records if part.in_metres.any()]
    if not known:
        return None
    placed = np.concatenate([part.placed for part in known])
    lane, free = (
        np.concatenate([getattr(part, name)[part.in_metres > 0] for part in known]) for name in ("lane", "free")
    )
    return {
        "frames": len(lane),
        "distances": {group: _bands(placed, table.ids(group)) for group in counted_groups(table)},
        "lane": {
            **{side: _boundary(lane[:, number]) for number, side in enumerate(_SIDES)},
            "both": _both(lane),
        },
        "free_road": _free_road(free),
    }


def _bands(placed: m.Ints, class_ids: Sequence[int]) -> list[dict[str, Any]]:
    own = placed[np.isin(placed[:, m.CLASS], class_ids)]
    true_m = own[:, m.TRUE_MM] / 1000
    bands = ((f"{near} to {far} m", own[(true_m >= near) & (true_m < far)]) for near, far in BANDS_M)
    return [{"band": name, **_distances(rows)} for name, rows in bands]


def _distances(rows: m.Ints) -> dict[str, Any]:
    """Of one group in one band: shares of the true distance, but for `aside_m`."""
    found = rows[rows[:, m.FOUND_MM] >= 0]
    outlined = rows[rows[:, m.OUTLINE_MM] > 0]
    off = found[:, m.FOUND_MM] / np.maximum(1, found[:, m.TRUE_MM]) - 1
    within = np.abs(found[:, m.FOUND_MM] - found[:, m.TRUE_MM]) <= 2 * found[:, m.SD_MM]
    return {
        "count": len(rows),
        "found": len(found),
        "pixels_found": _mean(rows[:, m.HITS].sum() / rows[:, m.PIXELS].sum() if len(rows) else np.nan),
        "error": _quantile(np.abs(off), 0.5),
        "error_p90": _quantile(np.abs(off), 0.9),
        "bias": _quantile(off, 0.5),
        "within_2_sd": _mean(within),
        "error_by_outline": _quantile(
            np.abs(outlined[:, m.OUTLINE_MM] / np.maximum(1, outlined[:, m.TRUE_MM]) - 1), 0.5
        ),
        "aside_m": _quantile(np.abs(found[:, m.ASIDE_MM]) / 1000, 0.5),
    }


def _boundary(side: m.Ints) -> dict[str, Any]:
    """Of one side, (N, 4)."""
    expected, found = side[:, m.EXPECTED] > 0, side[:, m.FOUND] > 0
    off = np.abs(side[found, m.OFF_MM]) / 1000
    return {
        "expected": int(expected.sum()),
        "recall": _mean(found[expected]),
        "offset_m": _quantile(off, 0.5),
        "offset_p90_m": _quantile(off, 0.9),
        "found": int(found.sum()),
        "wrong": int((off > WRONG_M).sum()),
        "kind_right": _mean(side[found, m.IS_KIND]),
    }


def _both(lane: m.Ints) -> dict[str, Any]:
    """Of frames (N, 2, 4)."""
    expected = (lane[:, :, m.EXPECTED] > 0).all(axis=1)
    return {"expected": int(expected.sum()), "recall": _mean((lane[expected][:, :, m.FOUND] > 0).all(axis=1))}


def _free_road(free: m.Ints) -> dict[str, Any]:
    """Of frames (N, 2)."""
    known = free[(free > 0).all(axis=1)]
    share = known[:, 1] / np.maximum(1, known[:, 0])
    return {
        "frames": len(known),
        "error": _quantile(np.abs(share - 1), 0.5),
        "error_p90": _quantile(np.abs(share - 1), 0.9),
        "too_far": _mean(share > TOO_FAR),
        "too_near": _mean(share < 1 / TOO_FAR),
    }


def _quantile(values: NDArray[Any], share: float) -> float | None:
    return plain(float(np.quantile(values, share))) if len(values) else None


def _mean(values: Any) -> float | None:
    return plain(float(np.mean(values))) if np.size(values) else None


# --------------------------------------------------------------------------------------------------- text and HTML

DISTANCE_COLUMNS = (
    "feet seen",
    "found as one",
    "of their pixels",
    "error",
    "90 % below",
    "bias",
    "within 2 sd",
    "by outline",
    "aside",
)
LANE_COLUMNS = ("seen", "found", "offset off by", "90 % below", "another line", "kind right")


def distance_rows(figures: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """A row for each group and band in which something is: the name and `DISTANCE_COLUMNS`."""
    return [
        (
            f"{group}, {one['band']}",
            str(one["count"]),
            str(one["found"]),
            *(_share(one[key]) for key in ("pixels_found", "error", "error_p90")),
            _share(one["bias"], sign="+"),
            _share(one["within_2_sd"], digits=0),
            _share(one["error_by_outline"]),
            _length(one["aside_m"]),
        )
        for group, bands in figures["distances"].items()
        for one in bands
        if one["count"]
    ]


def lane_rows(figures: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """A row for each side: its name and `LANE_COLUMNS`."""
    rows = [
        (
            side,
            str(one["expected"]),
            _share(one["recall"]),
            _length(one["offset_m"]),
            _length(one["offset_p90_m"]),
            f"{one['wrong']} of {one['found']}",
            _share(one["kind_right"], digits=0),
        )
        for side, one in ((side, figures["lane"][side]) for side in _SIDES)
    ]
    both = figures["lane"]["both"]
    return [*rows, ("both", str(both["expected"]), _share(both["recall"]), *("-",) * 4)]


def _free_words(figures: Mapping[str, Any]) -> str:
    free = figures["free_road"]
    if not free["frames"]:
        return ""
    return (
        f"free road ahead, {free['frames']} frames: off by {_share(free['error'])} in the middle, 90 % below"
        f" {_share(free['error_p90'])}; free for more than a tenth too far in {_share(free['too_far'])}, too near in"
        f" {_share(free['too_near'])}"
    )


def metres_text(report: Mapping[str, Any]) -> Iterator[str]:
    """The tables of a report in metres; nothing where there are none."""
    figures = report.get("metres")
    if not figures:
        return
    if rows := distance_rows(figures):
        yield text_table(("distance", *DISTANCE_COLUMNS), rows)
    yield text_table(("lane", *LANE_COLUMNS), lane_rows(figures))
    yield _free_words(figures)


def metres_section(report: Mapping[str, Any]) -> str:
    """HTML; "" where nothing is known in metres."""
    figures = report.get("metres")
    if not figures:
        return ""
    tables = [
        html_table(("", *columns), [tuple(map(escape, row)) for row in rows])
        for columns, rows in ((DISTANCE_COLUMNS, distance_rows(figures)), (LANE_COLUMNS, lane_rows(figures)))
        if rows
    ]
    words = f"{figures['frames']} frames whose truth is known in metres. {_free_words(figures).capitalize()}"
    return section("In metres", "".join(tables), words)


def _share(value: float | None, digits: int = 1, sign: str = "") -> str:
    return "-" if value is None else f"{value:{sign}.{digits}%}"


def _length(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} m"
