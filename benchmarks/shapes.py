"""Accuracy on 16:9 frames: the engine at its own 4:3 input, with black bars, beside the input size that fits them.

    python -m benchmarks.shapes FRAMES LABELS [--precision int8]

The frames are cut to 16:9 around their middle row, and their labels with them.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import cv2

from edge.backends import open_engine
from edge.evaluate import evaluate
from edge.report import table


def cut(source: Path, target: Path) -> None:
    """Every picture of a folder at 16:9."""
    target.mkdir()
    for path in sorted(source.iterdir()):
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        height = image.shape[1] * 9 // 16
        top = (image.shape[0] - height) // 2
        cv2.imwrite(str(target / f"{path.stem}.png"), image[top : top + height])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("frames", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--engine", default="road")
    parser.add_argument("--precision")
    wish = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        frames, labels = Path(folder, "frames"), Path(folder, "labels")
        cut(wish.frames, frames)
        cut(wish.labels, labels)
        for source_wh in (None, (1280, 720)):
            options = {"precision": wish.precision, "side_by_side": True, "source_wh": source_wh}
            with open_engine(wish.engine, **options) as engine:
                score = evaluate(str(frames), labels, engine)
                width, height = engine.card.input_wh
                precision = engine.precision
            figures = score.figures()
            ious = [figures["miou"], *figures["group_iou"].values()]
            rows.append((f"{width}x{height}", *(f"{iou:.4f}" for iou in ious)))
    print(f"engine {wish.engine} ({precision}), {score.frames} frames of {wish.frames} cut to 16:9\n")
    print(table(("input", "mIoU", *figures["group_iou"]), rows))


if __name__ == "__main__":
    main()
