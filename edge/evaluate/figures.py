"""From records to figures: totals, slices, and how far chance may have moved them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.classes import ClassTable
from edge.evaluate.measures import BANDS, SIZES
from edge.evaluate.metres_figures import metres_figures
from edge.evaluate.object_figures import object_figures
from edge.evaluate.records import Counts, Records
from edge.evaluate.run import DriveResult, Measured
from edge.metrics import TOLERANCE, BoundaryScore
from edge.score import Score, plain

FORMAT = 1
BLOCK_NS = 1_000_000_000  # neighbouring frames show the same street: a second of them is one sample
BLOCK_FRAMES = 10  # where frames have no times
FEW_BLOCKS = 10  # with fewer, an interval says little
RESAMPLES, LEVEL = 1000, 0.95
_BATCH = 50
NO_SPEED = "not known"
SPEEDS_M_S = {
    "standing (under 1 m/s)": (0, 1),
    "slow (1 to 8 m/s)": (1, 8),  # 30 km/h
    "town (8 to 14 m/s)": (8, 14),  # 50 km/h
    "country (14 to 25 m/s)": (14, 25),
    "motorway (25 m/s and more)": (25, 1e6),
}
_LEAST_FOLLOWED = 0.5  # a pair of frames of which less can be followed is no motion: a cut, or images far apart


def report_of(results: Sequence[DriveResult], table: ClassTable) -> dict[str, Any]:
    """All figures, as JSON takes them; times apart from everything else, under "times".

    The top level has what `edge evaluate` always gave: engine, precision, frames, frame_count, miou, pixel_accuracy,
    iou and group_iou, over all labelled frames of all drives.
    """
    fine = [(result, result.measured) for result in results if result.measured is not None]
    records = [measured.records for _, measured in fine]
    score = score_of(table, records)
    blocks = [block for result, measured in fine for block in blocks_of(result.drive.name, measured.records, table)]
    first = fine[0][1] if fine else None
    report = {
        "format": FORMAT,
        "engine": first.engine if first else "",
        "precision": first.precision if first else "",
        "frames": results[0].drive.frames if len(results) == 1 else f"{len(results)} drives",
        "frame_count": sum(map(len, records)),
        "labelled_frames": int(sum(part.labelled.sum() for part in records)),
        "unlike_training": unlike_share(records),
        "classes": list(table.names),
        **score.figures(),
        "intervals": intervals(np.array([b.triples for b in blocks]), table) if blocks else None,
        "confusion": score.confusion.counts.tolist(),
        "boundary": boundary_figures(records, table),
        "temporal": temporal_figures(records, table),
        "pedestrians": people_figures(records),
        "slices": _slices(fine, table),
        "drives": [_drive_figures(result, table) for result in results],
        "against": _against(fine, blocks, table),
        "blocks": [block.as_json() for block in blocks],
    }
    if outputs := output_figures(records):
        report["outputs"] = outputs
    if objects := object_figures(records, table):
        report["objects"] = objects
    if metres := metres_figures(records, table):
        report["metres"] = metres
    return {**report, "times": _times([measured for _, measured in fine])}


def output_figures(records: Sequence[Records]) -> dict[str, dict[str, float | None]]:
    """The mean over all frames of each number of each further output, such as how sure the engine is; empty where it
    gives classes alone.
    """
    found: dict[tuple[str, str], list[NDArray[np.float64]]] = {}
    for part in records:
        for key, values in part.output_columns().items():
            found.setdefault(key, []).append(values)
    figures: dict[str, dict[str, float | None]] = {}
    for (name, number), columns in found.items():
        figures.setdefault(name, {})[number] = plain(float(nan_mean(np.concatenate(columns))))
    return figures


def unlike_share(records: Sequence[Records]) -> float | None:
    """The share of the sampled frames that are unlike the training data; None where the engine cannot tell."""
    unlike, looked_at = summed((part.unlike for part in records), (2,))
    return plain(unlike / looked_at if looked_at else np.nan)


def two_ids_warning(report: Mapping[str, Any]) -> str:
    """What to say of labels that hold 0 and 1 alone, where the engine has more classes: many tools write masks of one
    thing so. They may be class ids of two classes, too, so they are scored; "" where there is nothing to say.
    """
    held = [index for index, row in enumerate(report["confusion"]) if any(row)]
    names = report["classes"]
    if held != [0, 1] or len(names) < 3:
        return ""
    return (
        f"labels hold the ids 0 and 1 alone, and were scored as {names[0]} and {names[1]}; if they are masks of one"
        " thing, say of which: --labels-of road"
    )


def summed(arrays: Iterable[NDArray[Any]], shape: tuple[int, ...]) -> Counts:
    """The sum over frames of several drives."""
    total = np.zeros(shape, np.int64)
    for array in arrays:
        total += array.sum(0)
    return total


def score_of(table: ClassTable, records: Sequence[Records], band: int | None = None) -> Score:
    """The score of all labelled frames, or that of one distance band."""
    by_band = summed((part.confusion for part in records), (len(BANDS), len(table), len(table)))
    return Score.of(table, by_band.sum(0) if band is None else by_band[band])


# ---------------------------------------------------------------------------------------------- boundary, time, people


def boundary_figures(records: Sequence[Records], table: ClassTable) -> dict[str, Any]:
    """The mean over frames of each class's boundary F1; see `BoundaryScore`."""
    score = BoundaryScore(len(table))
    for part in records:
        for counts in part.outlines:
            score.add_counts(counts)
    by_class = {name: plain(value) for name, value in zip(table.names, score.f1(), strict=True)}
    return {"tolerance": TOLERANCE, "mean": plain(score.mean()), "f1": by_class}


def follows(records: Records) -> NDArray[np.bool_]:
    """(N,) the frames whose motion since the one before is understood."""
    known, total = records.followed.T
    return (total > 0) & (known >= _LEAST_FOLLOWED * total)


def frame_miou(records: Records, table: ClassTable) -> NDArray[np.float64]:
    """(M,) the mIoU of each labelled frame, over the classes that it shows."""
    return nan_mean(iou_of(triples_of(records.confusion.sum(1), table))[:, : len(table)])


def flicker_of(records: Records) -> NDArray[np.float64]:
    """(N,) the part of the followed pixels that changed class since the frame before; NaN where too few are."""
    share = 1 - ratio(records.steady[:, :, 0].sum(1), records.followed[:, 0])
    return np.where(follows(records), share, np.nan)


def ratio(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    """Part by whole; NaN where the whole is 0."""
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)


def temporal_figures(records: Sequence[Records], table: ClassTable) -> dict[str, Any]:
    """How steady masks are along the image's motion: `flicker` is the part of the followed pixels that changed class,
    `consistency` the IoU of the warped mask before with the mask now.
    """
    rows = [follows(part) for part in records]
    steady = summed((p.steady[r] for p, r in zip(records, rows, strict=True)), (len(table), 3))
    known, total = summed((p.followed[r] for p, r in zip(records, rows, strict=True)), (2,))
    iou = iou_of(steady)
    return {
        "frames": int(sum(map(np.count_nonzero, rows))),
        "followed": plain(known / total if total else np.nan),
        "flicker": plain(1 - steady[:, 0].sum() / known if known else np.nan),
        "consistency": plain(float(nan_mean(iou))),
        "iou": {name: plain(value) for name, value in zip(table.names, iou, strict=True)},
    }


def people_figures(records: Sequence[Records]) -> list[dict[str, Any]]:
    """Per height of pedestrians: how many are labelled, and the parts of them, and of their pixels, that are found."""
    counts = summed((part.people for part in records), (len(SIZES), 4))
    return [
        {
            "height": size,
            "count": int(count),
            "found": plain(found / count if count else np.nan),
            "pixels_found": plain(hits / pixels if pixels else np.nan),
        }
        for size, (count, found, pixels, hits) in zip(SIZES, counts, strict=True)
    ]


# ------------------------------------------------------------------------------------------------------------- slices


def _slices(fine: Sequence[tuple[DriveResult, Measured]], table: ClassTable) -> dict[str, Any]:
    """By drive, by each tag of the manifest, by the car's speed where that is known, and by distance."""
    slices: dict[str, dict[str, Any]] = {
        "drive": {r.drive.name: _slice([m.records], table) for r, m in fine},
    }
    for key in sorted({key for result, _ in fine for key in result.drive.tags}):
        groups: dict[str, list[Records]] = {}
        for result, measured in fine:
            groups.setdefault(result.drive.tags.get(key, "not said"), []).append(measured.records)
        slices[key] = {value: _slice(parts, table) for value, parts in sorted(groups.items())}
    records = [measured.records for _, measured in fine]
    if by_speed := _by_speed(records):
        slices["gps_speed"] = {name: _slice(parts, table) for name, parts in by_speed.items()}
    slices["distance"] = {band: score_of(table, records, number).figures() for number, band in enumerate(BANDS)}
    return slices


def _by_speed(records: Sequence[Records]) -> dict[str, list[Records]]:
    """The frames of each band of speed that there are; none where no speed is known."""
    if not any((part.speed_mm_s >= 0).any() for part in records):
        return {}
    bands = {NO_SPEED: (-1, 0), **{name: (1000 * low, 1000 * high) for name, (low, high) in SPEEDS_M_S.items()}}
    found: dict[str, list[Records]] = {}
    for name, (low, high) in bands.items():
        parts = [part.chosen((part.speed_mm_s >= low) & (part.speed_mm_s < high)) for part in records]
        if any(map(len, parts)):
            found[name] = parts
    return found


def _slice(records: Sequence[Records], table: ClassTable) -> dict[str, Any]:
    blocks = [block for part in records for block in blocks_of("", part, table)]
    return {
        "frame_count": sum(map(len, records)),
        "labelled_frames": int(sum(part.labelled.sum() for part in records)),
        **score_of(table, records).figures(),
        "miou_interval": intervals(np.array([b.triples for b in blocks]), table)["miou"] if blocks else None,
        "boundary_f1": boundary_figures(records, table)["mean"],
        "flicker": temporal_figures(records, table)["flicker"],
    }


def _drive_figures(result: DriveResult, table: ClassTable) -> dict[str, Any]:
    drive, measured = result.drive, result.measured
    return {
        "name": drive.name,
        "frames": drive.frames,
        "labels": str(drive.labels) if drive.labels else None,
        "tags": dict(drive.tags),
        "whole": result.is_whole,
        "decoded": len(measured.records) if measured else 0,
        "expected": measured.expected if measured else None,
        "labelled": int(measured.records.labelled.sum()) if measured else 0,
        "unlike_training": unlike_share([measured.records]) if measured else None,
        **({"objects": objects} if measured and (objects := object_figures([measured.records], table)) else {}),
        "fault": measured.fault if measured else "",
        "error": result.error,
    }


def _times(measured: Sequence[Measured]) -> dict[str, Any]:
    elapsed_s, frames = sum(m.elapsed_s for m in measured), sum(len(m.records) for m in measured)
    return {"elapsed_s": round(elapsed_s, 3), "rate_hz": round(frames / elapsed_s, 2) if elapsed_s else None}


# -------------------------------------------------------------------------------------------------------- two engines


def _against(
    fine: Sequence[tuple[DriveResult, Measured]], blocks: Sequence[Block], table: ClassTable
) -> dict[str, Any] | None:
    """The other engine: how far both agree; on labelled frames its scores, and the difference on the same frames."""
    if not fine or not fine[0][1].other:
        return None
    records = [measured.records for _, measured in fine]
    same, total = summed((part.agreement for part in records), (2,))
    other = Score.of(table, summed((part.other for part in records), (len(table), len(table))))
    figures = {"engine": fine[0][1].other, "agreement": plain(same / total if total else np.nan)}
    if not blocks:
        return figures
    own, others = (np.array([getattr(b, name) for b in blocks]) for name in ("triples", "other"))
    return {**figures, **other.figures(), "ahead": difference(own, others, table)}


# ----------------------------------------------------------------------------------------------------------- intervals


@dataclass(frozen=True)
class Block:
    """A second of labelled frames. `triples` is int64 (C + G, 3): hits, true and predicted pixels of each class and
    group; `other` is the other engine's.
    """

    drive: str
    first: int
    triples: Counts
    other: Counts

    def as_json(self) -> dict[str, Any]:
        """Where the block lies and its own triples, as JSON takes them: what a later gate compares with."""
        return {"drive": self.drive, "first": self.first, "triples": self.triples.tolist()}


def triples_of(confusions: Counts, table: ClassTable) -> Counts:
    """(..., C + G, 3) hits, true and predicted pixels of classes, then groups, of confusions (..., C, C)."""
    columns = [(index,) for index in range(len(table))] + [table.ids(group) for group in table.groups]
    rows = []
    for ids in map(list, columns):
        true = confusions[..., ids, :]
        rows.append([true[..., ids].sum((-2, -1)), true.sum((-2, -1)), confusions[..., ids].sum((-2, -1))])
    return np.moveaxis(np.array(rows), (0, 1), (-2, -1))


def blocks_of(name: str, records: Records, table: ClassTable) -> list[Block]:
    """A drive's labelled frames by the second, or by tens where frames have no times."""
    rows = records.label_rows
    if not len(rows):
        return []
    times, numbers = records.media_ns[rows], records.index[rows]
    places = np.where(times >= 0, times // BLOCK_NS, numbers // BLOCK_FRAMES)
    own, other = triples_of(records.confusion.sum(1), table), triples_of(records.other, table)
    _, starts = np.unique(places, return_index=True)
    starts = np.sort(starts)
    summed_own, summed_other = np.add.reduceat(own, starts), np.add.reduceat(other, starts)
    return [Block(name, int(numbers[s]), summed_own[i], summed_other[i]) for i, s in enumerate(starts)]


def iou_of(triples: NDArray[Any]) -> NDArray[np.float64]:
    """(..., K) IoU of (..., K, 3) hits, true and predicted pixels; NaN for what does not occur."""
    hits, true, seen = (triples[..., column].astype(np.float64) for column in range(3))
    union = true + seen - hits
    return np.divide(hits, union, out=np.full_like(union, np.nan), where=union > 0)


def nan_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean over the last axis of what is not NaN; NaN where nothing is left."""
    known = np.isfinite(values)
    count = known.sum(-1)
    total = np.where(known, values, 0).sum(-1)
    return np.divide(total, count, out=np.full(np.shape(total), np.nan), where=count > 0)


def statistics(triples: NDArray[Any], classes: int) -> NDArray[np.float64]:
    """(..., 2 + C + G) mIoU, pixel accuracy, and IoU of classes and groups."""
    iou = iou_of(triples)
    own = triples[..., :classes, :].sum(-2).astype(np.float64)
    accuracy = np.divide(own[..., 0], own[..., 1], out=np.full(own.shape[:-1], np.nan), where=own[..., 1] > 0)
    return np.concatenate([nan_mean(iou[..., :classes])[..., None], accuracy[..., None], iou], -1)


def resampled(blocks: Counts, of: Callable[[Counts], NDArray[np.float64]]) -> NDArray[np.float64]:
    """(1000, S) statistics of blocks (N, K, ...) drawn with replacement: the bootstrap, the same draws every time."""
    count = len(blocks)
    chance = np.random.default_rng(0)
    flat = blocks.reshape(count, -1)
    draws = []
    for _ in range(RESAMPLES // _BATCH):
        times_drawn = chance.multinomial(count, np.full(count, 1 / count), _BATCH)
        draws.append(of((times_drawn @ flat).reshape(_BATCH, *blocks.shape[1:])))
    return np.concatenate(draws)


def _bounds(draws: NDArray[np.float64]) -> list[list[float | None]]:
    """The interval of each statistic; of those that some draws have none of, over the others."""
    pairs: list[list[float | None]] = []
    for column in draws.T:
        known = column[np.isfinite(column)]
        low_high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) if len(known) else [np.nan, np.nan]
        pairs.append([plain(value) for value in low_high])
    return pairs


def _named(values: Sequence[Any], table: ClassTable) -> dict[str, Any]:
    classes, groups = len(table), list(table.groups)
    return {
        "miou": values[0],
        "pixel_accuracy": values[1],
        "iou": dict(zip(table.names, values[2 : 2 + classes], strict=True)),
        "group_iou": dict(zip(groups, values[2 + classes :], strict=True)),
    }


def intervals(blocks: Counts, table: ClassTable) -> dict[str, Any]:
    """The 95 % interval of each figure, by resampling blocks (N, C + G, 3) of a second; [None, None] of one
    block alone.
    """
    draws = resampled(blocks, lambda triples: statistics(triples, len(table)))
    bounds = _bounds(draws if len(blocks) > 1 else np.full_like(draws, np.nan))  # all draws of one block are alike
    return {"level": LEVEL, "blocks": len(blocks), **_named(bounds, table)}


def difference(own: Counts, other: Counts, table: ClassTable) -> dict[str, Any]:
    """How far `own` is ahead of `other`, blocks (N, C + G, 3) of the same frames: figures, and the intervals that come
    of drawing the same blocks of both.
    """
    classes = len(table)

    def ahead(pair: Counts) -> NDArray[np.float64]:
        return statistics(pair[..., 0], classes) - statistics(pair[..., 1], classes)

    pairs = np.stack([own, other], -1)
    figures = [plain(value) for value in ahead(pairs.sum(0))]
    return {
        "blocks": len(own),
        **_named(figures, table),
        "intervals": _named(_bounds(resampled(pairs, ahead)), table),
    }
