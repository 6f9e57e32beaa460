"""Small drives with labels, for tests of evaluation; the engine is the one that sees colours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from videos import picture, write_video

from edge.evaluate.drives import Drive
from edge.frame import Image

FRAMES = 12


def label_of(index: int) -> Image:
    """uint8 (48, 64): some classes, others in every frame."""
    label = np.zeros((48, 64), np.uint8)
    label[:, 20 + index :] = 1
    label[30:, :] = 2
    label[:4] = 255
    return label


def write_labels(folder: Path, numbers: list[int]) -> Path:
    folder.mkdir(parents=True)
    for number in numbers:
        cv2.imwrite(str(folder / f"drive_{number:06d}.png"), label_of(number))
    return folder


def make_drive(folder: Path, name: str = "a", labelled: tuple[int, ...] = (0, 3, 4, 11)) -> Drive:
    """A video of twelve frames, some of them labelled."""
    folder.mkdir(parents=True, exist_ok=True)
    path = write_video(folder / f"{name}.mp4", [picture(index) for index in range(FRAMES)], rate=4)
    labels = write_labels(folder / f"{name}-labels", list(labelled)) if labelled else None
    return Drive(name, str(path), labels, sparse=True, tags={"time_of_day": "dusk" if name == "a" else "day"})


def without_times(report: Mapping[str, Any]) -> dict[str, Any]:
    """What must be equal however and wherever drives were measured."""
    return {key: value for key, value in report.items() if key != "times"}
