"""Images of a finished run: curves, the confusion matrix, and frames with what the net makes of them."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge.classes import ClassTable
from edge.frame import Image
from edge.metrics import Confusion
from edge.score import Score
from edge.sinks.files import write_bytes
from edge.train.augment import Pair
from edge.train.journal import Journal

SHORT = 60  # points of a curve: each is marked
PANELS = 4  # frames of each kind: random, best, worst
RIGHT, WRONG = (60, 170, 60), (40, 40, 220)  # BGR


def write_plots(
    folder: Path,
    journal: Journal,
    score: Score,
    frames: Sequence[Pair],
    predict: Callable[[Image], Image],
    seed: int,
) -> list[Path]:
    """`curves.png`, `confusion.png`, and `frames-random.png`, `-best.png` and `-worst.png`; their paths.

    `score` is of these frames; `predict` gives class ids, uint8 (H, W), of an image. Nothing is written where
    matplotlib is not installed: a training of hours does not fail for a plot.
    """
    if importlib.util.find_spec("matplotlib") is None:
        return []
    table, scores = score.table, score.frame_mious
    plots = {"curves": _curves(journal, table), "confusion": _confusion(score.confusion, table)}
    for kind, places in _chosen(scores, seed).items():
        rows = [panel_row(frames[place], predict(frames[place][0]), table) for place in places]
        plots[f"frames-{kind}"] = _panels(rows, [scores[place] for place in places])
    paths = [folder / f"{name}.png" for name in plots]
    for path, content in zip(paths, plots.values(), strict=True):
        write_bytes(path, content)
    return paths


def _chosen(scores: Sequence[float], seed: int) -> dict[str, list[int]]:
    """Places of frames of each kind; a kind without frames is left out."""
    labelled = [place for place, score in enumerate(scores) if np.isfinite(score)]
    ranked = sorted(labelled, key=lambda place: (scores[place], place))
    count = min(PANELS, len(ranked))
    rng = np.random.default_rng(seed)
    random = sorted(rng.choice(labelled, count, replace=False).tolist()) if count else []
    kinds = {"random": random, "best": ranked[::-1][:count], "worst": ranked[:count]}
    return {kind: places for kind, places in kinds.items() if places}


def panel_row(pair: Pair, found: Image, table: ClassTable) -> list[Image]:
    """Image, truth and prediction as contours over it, and where they differ: four times uint8 (H, W, 3) BGR."""
    image, truth = pair
    known = truth < len(table)
    known &= truth != table.ignore_id
    verdict = np.zeros_like(image)
    verdict[known & (truth == found)] = RIGHT
    verdict[known & (truth != found)] = WRONG
    shaded = cv2.addWeighted(image, 0.4, verdict, 0.6, 0)
    return [image, contours(image, truth, table), contours(image, found, table), np.asarray(shaded, np.uint8)]


def contours(image: Image, ids: Image, table: ClassTable) -> Image:
    """The outline of every class's areas, in its colour, over the image, which stays as it is."""
    drawn = image.copy()
    for index, (red, green, blue) in enumerate(table.colours_rgb):
        outlines, _ = cv2.findContours((ids == index).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(drawn, outlines, -1, (blue, green, red), 1)
    return drawn


def _panels(rows: Sequence[Sequence[Image]], scores: Sequence[float]) -> bytes:
    figure, axes = _figure(len(rows), 4, (14, 2.8 * len(rows)))
    titles = ("image", "truth", "prediction", "right (green) and wrong (red)")
    for row, score, panels in zip(rows, scores, axes, strict=True):
        for image, title, panel in zip(row, titles, panels, strict=True):
            panel.imshow(image[..., ::-1])
            panel.set_title(title, fontsize=8)
            panel.set_xticks([])
            panel.set_yticks([])
        panels[0].set_ylabel(f"mIoU {100 * score:.1f} %", fontsize=8)
    return _png(figure)


def _curves(journal: Journal, table: ClassTable) -> bytes:
    figure, axes = _figure(1, 2, (12, 4.2))
    losses, scores = axes[0]
    marker = "." if len(journal.losses) <= SHORT else ""  # a line of one point is not seen
    losses.plot([step for step, _ in journal.losses], [loss for _, loss in journal.losses], marker=marker, linewidth=1)
    losses.set(xlabel="step", ylabel="loss", title="training loss")
    steps = [entry["step"] for entry in journal.history]
    for name, (red, green, blue) in zip(table.names, table.colours_rgb, strict=True):
        values = [_percent(entry["iou"][name]) for entry in journal.history]
        scores.plot(steps, values, marker=".", linewidth=1, label=name, color=(red / 255, green / 255, blue / 255))
    scores.plot(steps, [_percent(entry["miou"]) for entry in journal.history], "k.-", linewidth=2, label="mean")
    scores.set(xlabel="step", ylabel="IoU %", title="validation")
    scores.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.01, 0.5))
    for panel in (losses, scores):
        panel.grid(alpha=0.3)
        panel.locator_params(axis="x", integer=True)  # there is no step 1.02
    return _png(figure)


def _percent(share: float | None) -> float:
    return float("nan") if share is None else 100 * share


def _confusion(confusion: Confusion, table: ClassTable) -> bytes:
    """Each row is a true class, its cells the parts of its pixels that were found to be each class."""
    totals = confusion.counts.sum(1, keepdims=True)
    shares = np.divide(confusion.counts, totals, out=np.zeros(confusion.counts.shape), where=totals > 0)
    side = 3 + 0.5 * len(table)
    figure, axes = _figure(1, 1, (side, side))
    panel = axes[0][0]
    panel.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    panel.set_xticks(range(len(table)), table.names, rotation=60, ha="right", fontsize=7)
    panel.set_yticks(range(len(table)), table.names, fontsize=7)
    panel.set(xlabel="found", ylabel="true", title="percent of each true class")
    for (row, column), share in np.ndenumerate(shares):
        if share >= 0.005:
            shade = "white" if share > 0.5 else "black"
            panel.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=6, color=shade)
    return _png(figure)


def _figure(rows: int, columns: int, size_inches: tuple[float, float]) -> tuple[Any, Any]:
    """A figure of its own, drawn by Agg: no window, no state that others share."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size_inches, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def _png(figure: Any) -> bytes:
    written = io.BytesIO()
    figure.savefig(written, format="png", dpi=110)
    return written.getvalue()
