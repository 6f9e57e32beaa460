"""A report as text, for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edge.domain import warning
from edge.evaluate.figures import FEW_BLOCKS, two_ids_warning
from edge.evaluate.metres_figures import metres_text
from edge.evaluate.object_figures import objects_text
from edge.report import count_text, table
from edge.score import figure

Report = Mapping[str, Any]


def report_text(report: Report) -> str:
    """Everything in tables: what is missing is left out."""
    parts = [
        f"engine {report['engine']} ({report['precision']}) on {report['frame_count']} frames of {report['frames']}",
        _unlike(report),
        two_ids_warning(report),
        *(_accuracy(report) if report["labelled_frames"] else ["no labels: accuracy is not known"]),
        _temporal(report["temporal"]),
        _pedestrians(report["pedestrians"]),
        *objects_text(report),
        *metres_text(report),
        _outputs(report.get("outputs", {})),
        *_slices(report["slices"]),
        _against(report["against"]),
        _drives(report["drives"]),
    ]
    return "\n\n".join(part for part in parts if part)


def _unlike(report: Report) -> str:
    """Of all drives together; of several also each that needs the warning: familiar ones may outnumber it."""
    lines = [warning(report.get("unlike_training"))]
    if len(report["drives"]) > 1:
        found = {drive["name"]: warning(drive.get("unlike_training")) for drive in report["drives"]}
        lines += [f"{name}: {words}" for name, words in found.items() if words]
    return "\n".join(filter(None, lines))


def _outputs(outputs: Report) -> str:
    rows = [(name, number, figure(value)) for name, numbers in outputs.items() for number, value in numbers.items()]
    return table(("output", "number", "mean over frames"), rows) if rows else ""


def _pixels(count: int, total: int) -> tuple[str, str]:
    return count_text(count), f"{count / total:.2%}"


def _accuracy(report: Report) -> list[str]:
    counts = report["confusion"]
    total = max(1, sum(map(sum, counts)))
    intervals, f1 = report["intervals"], report["boundary"]["f1"]
    rows = [
        (name, figure(iou), _range(intervals["iou"][name]), figure(f1[name]), *_pixels(sum(counts[index]), total))
        for index, (name, iou) in enumerate(report["iou"].items())
    ]
    groups = [
        (group, figure(iou), _range(intervals["group_iou"][group]))
        for group, iou in report["group_iou"].items()
        if group not in report["classes"]
    ]
    lines = [
        f"mIoU {figure(report['miou'])}   pixel accuracy {figure(report['pixel_accuracy'])}",
        f"mIoU's 95 % interval {_range(intervals['miou'])}, boundary F1 {figure(report['boundary']['mean'])}"
        f" (within {report['boundary']['tolerance']:.2%} of the diagonal)",
        f"{report['labelled_frames']} labelled frames; {_resampled(intervals['blocks'])}",
    ]
    return [
        table(("class", "IoU", "95 % interval", "boundary F1", "pixels", "share"), rows),
        table(("group", "IoU", "95 % interval"), groups),
        "\n".join(lines),
    ]


def _resampled(blocks: int) -> str:
    if blocks < 2:
        return "one second of them has no intervals"
    return f"intervals by resampling {blocks} seconds" + ("; so few say little" if blocks < FEW_BLOCKS else "")


def _temporal(figures: Report) -> str:
    if not figures["frames"]:
        return ""
    return (
        f"flicker {figures['flicker']:.2%} of the pixels that could be followed ({figures['followed']:.0%} of all)"
        f" changed class from frame to frame; temporal consistency {figure(figures['consistency'])}"
    )


def _pedestrians(sizes: Sequence[Report]) -> str:
    if not any(size["count"] for size in sizes):
        return ""
    rows = [(s["height"], str(s["count"]), _share(s["found"]), _share(s["pixels_found"])) for s in sizes]
    return table(("pedestrians by height of the image", "labelled", "found", "of their pixels"), rows)


def _slices(slices: Mapping[str, Mapping[str, Report]]) -> list[str]:
    texts = []
    for key, parts in slices.items():
        if key == "drive" and len(parts) < 2:
            continue
        parts = {
            name: part for name, part in parts.items() if part["miou"] is not None or part.get("flicker") is not None
        }
        groups = [
            group
            for group in ("road", "pedestrian")
            if any(part["group_iou"].get(group) is not None for part in parts.values())
        ]
        rows = [
            (
                name,
                *(str(part.get(count, "")) for count in ("frame_count", "labelled_frames")),
                figure(part["miou"]),
                *(figure(part["group_iou"].get(group)) for group in groups),
                _share(part.get("flicker")),
            )
            for name, part in parts.items()
        ]
        if rows:
            texts.append(table((f"by {key.replace('_', ' ')}", "frames", "labelled", "mIoU", *groups, "flicker"), rows))
    return texts


def _against(against: Report | None) -> str:
    if against is None:
        return ""
    lines = [f"against {against['engine']}: {_share(against['agreement'])} of all pixels have the same class"]
    if "ahead" in against:
        ahead = against["ahead"]
        names = ("miou", *ahead["group_iou"])
        rows = []
        for name in names:
            own, bounds = (
                each[name] if name == "miou" else each["group_iou"][name] for each in (ahead, ahead["intervals"])
            )
            if own is not None:
                rows.append((name, f"{100 * own:+.2f}", f"{100 * bounds[0]:+.2f} to {100 * bounds[1]:+.2f}"))
        lines += ["", table(("points ahead of it", "", "95 % interval"), rows)]
    return "\n".join(lines)


def _drives(drives: Sequence[Report]) -> str:
    rows = [
        (
            drive["name"],
            f"{drive['decoded']} of {'?' if drive['expected'] is None else drive['expected']}",
            str(drive["labelled"]),
            "whole" if drive["whole"] else "FAILED" if drive["error"] else "NOT WHOLE",
        )
        for drive in drives
    ]
    reasons = [drive["error"] or drive["fault"] for drive in drives if drive["error"] or drive["fault"]]
    return "\n".join([table(("drive", "frames decoded", "labelled", ""), rows), *reasons])


def _range(bounds: Sequence[float | None] | None) -> str:
    if not bounds or bounds[0] is None or bounds[1] is None:
        return "-"
    return f"{bounds[0]:.3f} to {bounds[1]:.3f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"
