"""Whether figures may pass: against a report kept from before, and against a time budget."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge.classes import ClassTable
from edge.errors import ConfigError
from edge.evaluate.figures import difference
from edge.regular import TEXT_BYTES, read_regular
from edge.report import table
from edge.strict_json import as_shares, as_whole, bounded_int

DEFAULT_DROPS = {"miou": 0.5}  # points


@dataclass(frozen=True)
class Drop:
    """One figure against the baseline: `lost` in points of per cent, a loss if positive.

    `interval` is where 95 % of draws of the same seconds of both put it; None where their labelled frames differ.
    """

    name: str
    before: float
    now: float
    limit: float
    interval: tuple[float, float] | None

    @property
    def lost(self) -> float:
        """Points of per cent; below 0 where the figure rose."""
        return (self.before - self.now) * 100

    @property
    def holds(self) -> bool:
        """No more is lost than may be; what rounding adds does not count."""
        return self.lost <= self.limit + 1e-9


def parse_drops(text: str, classes: ClassTable) -> dict[str, float]:
    """Points that may be lost, from "miou:0.5,road:0.3": of mIoU, pixel_accuracy, a class or a group.

    Raises:
        ConfigError: it is not of that form, or names something else.
    """
    known = ["miou", "pixel_accuracy", *classes.groups, *classes.names]
    drops: dict[str, float] = {}
    for part in text.split(","):
        name, _, points = (word.strip() for word in part.partition(":"))
        if name not in known:
            raise ConfigError(f"--max-drop {part.strip()!r}: expected NAME:POINTS; names are {', '.join(known)}")
        if name in drops:
            raise ConfigError(f"--max-drop {name}: is given twice")
        try:
            drops[name] = float(points)
        except ValueError:
            drops[name] = -1
        if not 0 <= drops[name] <= 100:
            raise ConfigError(f"--max-drop {name}: expected points from 0 to 100, got {points!r}")
    return drops


def load_baseline(path: Path) -> dict[str, Any]:
    """A report that `edge evaluate --json` wrote.

    Raises:
        ConfigError: it cannot be read, or is no such report.
    """
    try:
        report = json.loads(read_regular(path, TEXT_BYTES).decode("utf-8"), parse_int=bounded_int)
    except OSError as error:
        raise ConfigError(f"--baseline {path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # RecursionError: brackets nested thousands deep
        raise ConfigError(f"--baseline {path}: is not JSON: {error}") from error
    if misfit := _misfit(report):
        raise ConfigError(
            f"--baseline {path}: is not a report: {misfit}. Make one: edge evaluate DRIVES... --json {path}"
        )
    return report


_BY_NAME = "an object of numbers"
_FIGURES = {"miou": "a number", "pixel_accuracy": "a number", "iou": _BY_NAME, "group_iou": _BY_NAME}
_COUNT_MAX = 1 << 53  # pixels


def _misfit(report: Any) -> str:
    """The first thing in which a JSON tree differs from what a gate reads of a report; "" where all of it fits."""
    if not isinstance(report, dict):
        return f"expected an object, got a {type(report).__name__}"
    for key, expected in _FIGURES.items():
        if key not in report:
            return f"{key} is missing"
        value = report[key]
        shares = value if expected == _BY_NAME else {key: value}
        if as_shares(shares) is None:
            return f"{key}: expected {expected} from 0 to 1 or null"
    blocks = report.get("blocks", [])
    if not isinstance(blocks, list) or not all(map(_is_block, blocks)):
        return "blocks: expected a list of objects with drive, first and triples of whole numbers"
    rows = {len(block["triples"]) for block in blocks}
    return f"blocks: expected as many triples in each, got {min(rows)} to {max(rows)}" if len(rows) > 1 else ""


def _is_block(block: Any) -> bool:
    return (
        isinstance(block, dict)
        and isinstance(block.get("drive"), str)
        and as_whole(block.get("first"), 0, _COUNT_MAX) is not None
        and isinstance(block.get("triples"), list)
        and all(map(_is_triple, block["triples"]))
    )


def _is_triple(triple: Any) -> bool:
    return isinstance(triple, list) and len(triple) == 3 and all(as_whole(n, 0, _COUNT_MAX) is not None for n in triple)


def judge_drops(
    report: Mapping[str, Any], baseline: Mapping[str, Any], limits: Mapping[str, float], classes: ClassTable
) -> list[Drop]:
    """Every figure that has a limit, in the limits' order.

    Raises:
        ConfigError: one of the two reports lacks a figure.
    """
    apart = _paired(report, baseline, classes)
    drops = []
    for name, limit in limits.items():
        before, now = _figure(baseline, name), _figure(report, name)
        if before is None or now is None:
            which = "the baseline" if before is None else "this evaluation"
            raise ConfigError(f"--max-drop {name}: {which} has no such figure; does it occur in its labels?")
        bounds = _figure(apart, name) if apart else None
        interval = None if bounds is None or None in bounds else (100 * bounds[0], 100 * bounds[1])
        drops.append(Drop(name, before, now, limit, interval))
    return drops


def _figure(report: Mapping[str, Any], name: str) -> Any:
    if name in ("miou", "pixel_accuracy"):
        return report[name]
    return report["group_iou"].get(name, report["iou"].get(name))


def _paired(report: Mapping[str, Any], baseline: Mapping[str, Any], classes: ClassTable) -> dict[str, Any] | None:
    """Intervals of the loss, where both reports have the same seconds with as many labelled pixels of each class."""
    now, before = (_blocks(each) for each in (report, baseline))
    if not now or now.keys() != before.keys():
        return None
    own, other = (np.array([blocks[key] for key in now], np.int64) for blocks in (now, before))
    if own.shape != other.shape or (own[..., 1] != other[..., 1]).any():
        return None
    return difference(other, own, classes)["intervals"]


def _blocks(report: Mapping[str, Any]) -> dict[tuple[str, int], Any]:
    return {(block["drive"], block["first"]): block["triples"] for block in report.get("blocks", [])}


def drops_text(drops: Sequence[Drop], baseline: Path) -> str:
    """The table of what was lost; what is over its limit is marked."""
    rows = [
        (
            drop.name,
            f"{100 * drop.before:.2f}",
            f"{100 * drop.now:.2f}",
            f"{drop.lost:+.2f}",
            f"{drop.interval[0]:+.2f} to {drop.interval[1]:+.2f}" if drop.interval else "other frames",
            f"{drop.limit:.2f}",
            "holds" if drop.holds else "BROKEN",
        )
        for drop in drops
    ]
    header = (f"against {baseline.name}", "before", "now", "points lost", "95 % interval", "limit", "")
    return table(header, rows)
