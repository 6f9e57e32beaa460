"""The report as one HTML file that needs nothing else: no network, no library, no second file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from edge.classes import ClassTable
from edge.domain import warning as unlike_warning
from edge.evaluate.figures import FEW_BLOCKS, two_ids_warning
from edge.evaluate.gate import Drop
from edge.evaluate.metres_figures import metres_section
from edge.evaluate.object_html import object_sections
from edge.evaluate.page import html_table, section
from edge.evaluate.run import DriveResult, Worker
from edge.evaluate.strips import strips_of
from edge.evaluate.worst import Shot, badness, shots_of, worst_places
from edge.report import count_text
from edge.sinks.files import write_text

Report = Mapping[str, Any]


def write_html(
    path: Path,
    report: Report,
    results: Sequence[DriveResult],
    worker: Worker,
    table: ClassTable,
    drops: Sequence[Drop] = (),
) -> None:
    """Write the page; the worst frames are looked up in the drives again, by the worker.

    Raises:
        OutputError: it cannot be written.
        SourceError, DataError: a drive or its labels are gone since they were measured.
    """
    shots = shots_of(worst_places(results, table), worker, table)
    sections = [
        _head(report),
        _cards(report),
        _gate(drops),
        _budget(report.get("budget", [])),
        _classes(report, table),
        strips_of(results, table, shots),
        _worst(shots, table),
        object_sections(report, results, worker, table),
        metres_section(report),
        _confusion(report, table),
        f'<div class="two">{"".join(_slices(report["slices"]))}{_pedestrians(report["pedestrians"])}'
        f"{_against(report['against'])}</div>",
        _drives(report["drives"]),
    ]
    title = f"{report['engine']} ({report['precision']}) on {report['frames']}"
    template = Template((files("edge.evaluate") / "report.html").read_text(encoding="utf-8"))
    write_text(path, template.safe_substitute(title=escape(title), body="\n".join(filter(None, sections))))


def _head(report: Report) -> str:
    torn = sum(not drive["whole"] for drive in report["drives"])
    warning = (
        f' <span class="bad">{torn} of {len(report["drives"])} drives failed or are not whole.</span>' if torn else ""
    )
    if unlike := unlike_warning(report.get("unlike_training")):
        warning += f' <span class="bad">{unlike.capitalize()}.</span>'
    if two_ids := two_ids_warning(report):
        warning += f' <span class="bad">{escape(two_ids.capitalize())}.</span>'
    name = f"{escape(report['engine'])} <span class='soft'>{escape(report['precision'])}</span>"
    return (
        f"<h1>{name}</h1><p class='soft'>{report['frame_count']} frames, {report['labelled_frames']} of them labelled,"
        f" of {escape(report['frames'])}.{warning}</p>"
    )


def _cards(report: Report) -> str:
    cards = []
    if report["labelled_frames"]:
        bounds = report["intervals"]
        cards += [
            ("mean IoU", _score(report["miou"]), _range(bounds["miou"])),
            ("pixel accuracy", _score(report["pixel_accuracy"]), _range(bounds["pixel_accuracy"])),
            (
                "boundary F1",
                _score(report["boundary"]["mean"]),
                f"within {report['boundary']['tolerance']:.2%} of the diagonal",
            ),
        ]
        for group in ("road", "pedestrian"):
            if report["group_iou"].get(group) is not None:
                cards.append((f"{group} IoU", _score(report["group_iou"][group]), _range(bounds["group_iou"][group])))
    temporal = report["temporal"]
    if temporal["frames"]:
        cards.append(("flicker", _share(temporal["flicker"]), f"{temporal['followed']:.0%} of pixels followed"))
    if report["against"]:
        cards.append(("agreement", _share(report["against"]["agreement"]), f"with {report['against']['engine']}"))
    body = "".join(f"<div><span>{escape(a)}</span><b>{b}</b><i>{escape(c)}</i></div>" for a, b, c in cards)
    return f'<div class="cards">{body}</div>'


def _gate(drops: Sequence[Drop]) -> str:
    rows = [
        (
            escape(d.name),
            f"{100 * d.before:.2f}",
            f"{100 * d.now:.2f}",
            f"{d.lost:+.2f}",
            f"{d.interval[0]:+.2f} to {d.interval[1]:+.2f}" if d.interval else "other frames",
            f"{d.limit:.2f}",
            "holds" if d.holds else '<span class="bad">broken</span>',
        )
        for d in drops
    ]
    header = ("", "before", "now", "points lost", "95 % interval", "limit", "")
    return section("Against the baseline", html_table(header, rows)) if rows else ""


def _budget(paces: Sequence[Report]) -> str:
    rows = [
        (
            escape(pace["drive"]),
            f"{pace['p50_ms']:.1f}",
            f"{pace['p99_ms']:.1f}",
            f"{pace['budget_ms']:g}",
            f"{pace['rate_hz']:.1f}",
            str(pace["dropped"]),
            "holds" if pace["holds"] else '<span class="bad">broken</span>',
        )
        for pace in paces
    ]
    header = ("drive", "age p50 ms", "age p99 ms", "budget ms", "masks/s", "dropped", "")
    return section("Live, at the drive's own pace", html_table(header, rows)) if rows else ""


# --------------------------------------------------------------------------------------------------------- accuracy


def _classes(report: Report, table: ClassTable) -> str:
    """A bar per class with its interval as a whisker."""
    if not report["labelled_frames"]:
        return ""
    left, wide, row_px = 130, 460, 26
    bounds, f1 = report["intervals"]["iou"], report["boundary"]["f1"]
    pixels = [sum(row) for row in report["confusion"]]
    parts = []
    for place, (name, iou) in enumerate(report["iou"].items()):
        y = 24 + place * row_px
        colour = "#{:02x}{:02x}{:02x}".format(*table.colours_rgb[place])
        parts.append(
            f'<rect x="0" y="{y + 3}" width="11" height="11" rx="3" fill="{colour}"/>'
            f'<text x="19" y="{y + 13}">{escape(name)}</text>'
            f'<rect class="track" x="{left}" y="{y}" width="{wide}" height="16" rx="4"/>'
        )
        if iou is not None:
            parts.append(f'<rect class="bar" x="{left}" y="{y}" width="{wide * iou:.1f}" height="16" rx="4"/>')
            parts.append(_whisker(bounds[name], left, wide, y))
        for x, text in (
            (left + wide + 60, _score(iou)),
            (left + wide + 155, _score(f1[name])),
            (880, f"{count_text(pixels[place])} ({pixels[place] / max(1, sum(pixels)):.2%})"),
        ):
            parts.append(f'<text class="value" x="{x}" y="{y + 13}">{text}</text>')
    heads = ((left + wide + 60, "IoU"), (left + wide + 155, "boundary F1"), (880, "pixels"))
    parts += [f'<text class="value quiet" x="{x}" y="12">{text}</text>' for x, text in heads]
    blocks = report["intervals"]["blocks"]
    few = " That is few: the intervals say little." if blocks < FEW_BLOCKS else ""
    whiskers = f"Whiskers: 95 % intervals by resampling {blocks} seconds of labelled frames.{few}"
    svg = f'<svg viewBox="0 0 880 {24 + row_px * len(table)}" width="100%" role="img">{"".join(parts)}</svg>'
    return section(
        "Classes",
        f'<div class="scroll">{svg}</div>',
        whiskers if blocks > 1 else "No whiskers: one second of labelled frames has no intervals.",
    )


def _whisker(bounds: Sequence[float | None], left: int, wide: int, y: int) -> str:
    if bounds[0] is None or bounds[1] is None:
        return ""
    low, high = left + wide * bounds[0], left + wide * bounds[1]
    ends = "".join(f'<line class="whisker" x1="{x:.1f}" x2="{x:.1f}" y1="{y + 4}" y2="{y + 12}"/>' for x in (low, high))
    return f'<line class="whisker" x1="{low:.1f}" x2="{high:.1f}" y1="{y + 8}" y2="{y + 8}"/>{ends}'


def _confusion(report: Report, table: ClassTable) -> str:
    """Rows are the truth, in per cent of its pixels."""
    if not report["labelled_frames"]:
        return ""
    head = "<th></th>" + "".join(f"<th>{escape(name)}</th>" for name in table.names) + "<th>pixels</th>"
    rows = []
    for name, counts in zip(table.names, report["confusion"], strict=True):
        total = sum(counts)
        cells = [
            _matrix_cell(count / total if total else None, name == other)
            for other, count in zip(table.names, counts, strict=True)
        ]
        rows.append(f"<tr><th>{escape(name)}</th>{''.join(cells)}<td class='soft'>{count_text(total)}</td></tr>")
    inside = f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
    body = f'<div class="scroll"><table class="matrix">{inside}</table></div>'
    return section("Confusion", body, "Rows: what is there. Columns: what was seen. Per cent of a row's pixels.")


_STRONGEST = 0.6  # opacity of a cell's colour: the figure on it stays legible, on light and dark ground


def _matrix_cell(share: float | None, is_right: bool) -> str:
    if share is None:
        return "<td class='soft'>–</td>"
    colour = "20, 134, 109" if is_right else "200, 51, 58"
    strength = share if is_right else min(1.0, 2.5 * share)
    text = "" if share < 0.0005 else f"{100 * share:.1f}"
    return f'<td style="background: rgba({colour}, {_STRONGEST * strength:.3f})">{text}</td>'


# ------------------------------------------------------------------------------------------------------ frames, slices


def _worst(shots: Sequence[Shot], table: ClassTable) -> str:
    if not shots:
        return ""
    figures = []
    for number, shot in enumerate(shots):
        records = shot.place.records
        measure, _ = badness(records, table)
        value = shot.place.score if measure == "flicker" else 1 - shot.place.score
        media_ns = int(records.media_ns[shot.place.row])
        when = f", {media_ns / 1e9:.2f} s" if media_ns >= 0 else ""
        figures.append(
            f'<figure id="shot-{number}"><div><img alt="outlines" src="{shot.outlined}">'
            f'<img alt="classes" src="{shot.coloured}"></div>'
            f"<figcaption><b>{measure} {value:.4f}</b> · {escape(shot.place.result.drive.name)}, frame"
            f" {shot.place.index}{when}</figcaption></figure>"
        )
    note = "Left: outlines, true in white, found in magenta. Right: classes found; wrong yellow, unlabelled dark."
    return section("Worst frames", f'<div class="shots">{"".join(figures)}</div>', note)


def _slices(slices: Mapping[str, Mapping[str, Report]]) -> Iterator[str]:
    """A table per kind of slice; empty columns are left out."""
    for key, parts in slices.items():
        columns = {
            "labelled": [str(part.get("labelled_frames", "–")) for part in parts.values()],
            "mIoU": [_score(part["miou"]) for part in parts.values()],
            **{g: [_score(part["group_iou"].get(g)) for part in parts.values()] for g in ("road", "pedestrian")},
            "flicker": [_share(part.get("flicker")) for part in parts.values()],
        }
        columns = {name: cells for name, cells in columns.items() if any(cell != "–" for cell in cells)}
        rows = list(zip(map(escape, parts), *columns.values(), strict=True))
        yield section(f"By {key.replace('_', ' ')}", html_table(("", *columns), rows))


def _pedestrians(sizes: Sequence[Report]) -> str:
    if not any(size["count"] for size in sizes):
        return ""
    rows = [(escape(s["height"]), str(s["count"]), _share(s["found"]), _share(s["pixels_found"])) for s in sizes]
    note = "Found: at least half of the pixels are. Those who overlap count as one."
    header = ("height in the image", "labelled", "found", "of their pixels")
    return section("Pedestrians by size", html_table(header, rows), note)


def _against(against: Report | None) -> str:
    if not against or "ahead" not in against:
        return ""
    ahead, bounds = against["ahead"], against["ahead"]["intervals"]
    pairs = [("mIoU", ahead["miou"], bounds["miou"])]
    pairs += [(group, value, bounds["group_iou"][group]) for group, value in ahead["group_iou"].items()]
    rows = [
        (escape(name), f"{100 * value:+.2f}", f"{100 * low_high[0]:+.2f} to {100 * low_high[1]:+.2f}")
        for name, value, low_high in pairs
        if value is not None
    ]
    return section(f"Points ahead of {against['engine']}", html_table(("", "points", "95 % interval"), rows))


def _drives(drives: Sequence[Report]) -> str:
    rows = [
        (
            escape(drive["name"]),
            escape(", ".join(drive["tags"].values())),
            f"{drive['decoded']} of {'?' if drive['expected'] is None else drive['expected']}",
            str(drive["labelled"]),
            "whole"
            if drive["whole"]
            else f'<span class="bad">{escape(drive["error"] or drive["fault"] or "short")}</span>',
        )
        for drive in drives
    ]
    return section("Drives", html_table(("", "tags", "frames decoded", "labelled", ""), rows))


def _range(bounds: Sequence[float | None]) -> str:
    return "" if bounds[0] is None or bounds[1] is None else f"{bounds[0]:.3f} to {bounds[1]:.3f}"


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.2%}"
