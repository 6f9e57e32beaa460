"""From the tables of objects to figures, as a report has them under "objects"."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from operator import add
from typing import Any

import numpy as np

from edge.classes import ClassTable
from edge.evaluate import overlaps as o
from edge.evaluate.objects import Ints, Matched, PanopticCounts, average_precision, moments_of
from edge.evaluate.records import Records
from edge.evaluate.tracks import TrackCounts, count_tracks
from edge.instances import THINGS, thing_ids
from edge.report import table as text_table
from edge.score import figure, plain


def object_figures(records: Sequence[Records], table: ClassTable) -> dict[str, Any] | None:
    """Panoptic quality and AP of each class that is there or found, means, and each group's tracks; None where the
    objects of no frame are known.
    """
    known = [part for part in records if part.objects.any()]
    if not known:
        return None
    masks = [matched(part, np.arange(len(table))) for part in known if (part.objects == o.MASKS).any()]
    return {
        "frames": int(sum(np.count_nonzero(part.objects) for part in known)),
        **(_panoptic(masks, table) if masks else {}),
        "tracks": _tracks(known, table),
    }


def matched(records: Records, groups: Ints) -> Matched:
    """A drive's tables; `groups` (C,) as `Matched.of` takes them."""
    return Matched.of(records.truths, records.found, records.overlaps, groups)


def group_numbers(table: ClassTable) -> Ints:
    """(C,): classes of one group that is counted have one number."""
    numbers = np.arange(len(table))
    for group in counted_groups(table):
        numbers[list(table.ids(group))] = table.ids(group)[0]
    return numbers


def counted_groups(table: ClassTable) -> list[str]:
    """The groups whose objects are followed."""
    return [group for group in THINGS if group in table.groups]


def _panoptic(drives: Sequence[Matched], table: ClassTable) -> dict[str, Any]:
    counts, things = PanopticCounts.of(drives, len(table)), thing_ids(table)
    figures = counts.figures()
    classes = {
        name: {
            **{key: plain(values[i]) for key, values in figures.items()},
            "ap50": plain(average_precision(drives, i)) if i in things else None,
            "hits": int(counts.hits[i]),
            "false": int(counts.false[i]),
            "missed": int(counts.missed[i]),
            "is_thing": i in things,
        }
        for i, name in enumerate(table.names)
        if np.isfinite(figures["pq"][i])
    }
    kinds = {"pq": (True, False), "pq_things": (True,), "pq_stuff": (False,)}
    means = {key: _mean([c["pq"] for c in classes.values() if c["is_thing"] in kind]) for key, kind in kinds.items()}
    return {**means, "classes": classes}


def _mean(values: Sequence[float]) -> float | None:
    return plain(float(np.mean(values))) if values else None


def _tracks(records: Sequence[Records], table: ClassTable) -> dict[str, Any]:
    """By group, of the drives whose truth has tracks."""
    drives = [(matched(part, group_numbers(table)), minutes_of(part)) for part in records]
    found: dict[str, Any] = {}
    for group in counted_groups(table):
        moments = [(moments_of(drive, table.ids(group)), minutes) for drive, minutes in drives]
        parts = [(count_tracks(own), minutes) for own, minutes in moments if own]
        if parts:
            found[group] = _track_figures([part for part, _ in parts], sum(minutes for _, minutes in parts))
    return found


def _track_figures(parts: Sequence[TrackCounts], minutes: float) -> dict[str, Any]:
    total = reduce(add, parts)
    return {
        **{key: plain(value) for key, value in total.figures().items()},
        "id_switches": total.switches,
        "id_switches_per_minute": plain(total.switches / minutes if minutes else float("nan")),
        "minutes": plain(minutes),
        "objects": total.truths,
    }


def minutes_of(records: Records) -> float:
    """How long the frames last whose objects are known; 0 where frames have no times."""
    times = records.media_ns[records.objects > 0]
    times = times[times >= 0]
    if len(times) < 2:
        return 0.0
    return float(times[-1] - times[0]) * len(times) / (len(times) - 1) / 60e9


OBJECT_COLUMNS = ("PQ", "SQ", "RQ", "AP50", "found", "false", "missed")
TRACK_COLUMNS = ("HOTA", "DetA", "AssA", "IDF1", "MOTA", "id switches", "a minute", "objects")


def class_rows(figures: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """A row for each class: its name and `OBJECT_COLUMNS`."""
    keys = ("pq", "sq", "rq", "ap50")
    return [
        (name, *(figure(one[key]) for key in keys), *(str(one[key]) for key in ("hits", "false", "missed")))
        for name, one in figures.get("classes", {}).items()
    ]


def track_rows(figures: Mapping[str, Any], name: str = "") -> list[tuple[str, ...]]:
    """A row for each group: its name behind `name`, and `TRACK_COLUMNS`."""
    keys = ("hota", "det_a", "ass_a", "idf1", "mota")
    return [
        (
            f"{name}{group}",
            *(figure(one[key]) for key in keys),
            str(one["id_switches"]),
            "-" if one["id_switches_per_minute"] is None else f"{one['id_switches_per_minute']:.1f}",
            str(one["objects"]),
        )
        for group, one in figures["tracks"].items()
    ]


def objects_text(report: Mapping[str, Any]) -> Iterator[str]:
    """The tables of a report's objects; nothing where none are known."""
    figures = report.get("objects")
    if not figures:
        return
    if rows := class_rows(figures):
        yield text_table(("objects and background", *OBJECT_COLUMNS), rows)
        pq, things, stuff = (figure(figures[key]) for key in ("pq", "pq_things", "pq_stuff"))
        yield f"PQ {pq}: objects {things}, background {stuff}; {figures['frames']} frames whose objects are known"
    rows = track_rows(figures)
    if len(report["drives"]) > 1:
        for drive in report["drives"]:
            rows += track_rows(drive["objects"], f"{drive['name']}: ") if "objects" in drive else []
    if rows:
        yield text_table(("ids that last", *TRACK_COLUMNS), rows)
