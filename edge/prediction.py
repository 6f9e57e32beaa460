"""What was seen in one frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.classes import ClassTable
from edge.frame import Frame, Image, Letterbox
from edge.overlay import paint_bgr


@dataclass(frozen=True, slots=True)
class Prediction:
    """What was seen in one frame. Its arrays are its own: keep it as long as you like.

    Attributes:
        frame: the frame the masks belong to.
        classes: uint8 (h, w) class ids at network size, black bars included; see `letterbox`.
        letterbox: network pixels <-> frame pixels.
        table: what the ids mean.
        ready_ns: monotonic clock when the classes were complete.
        confidence: uint8 (h, w) at network size, 255 = certain; None unless the engine gives it.
    """

    frame: Frame
    classes: Image
    letterbox: Letterbox
    table: ClassTable
    ready_ns: int
    confidence: Image | None = None

    @property
    def age_ms(self) -> float:
        """Milliseconds from capture to finished mask."""
        return (self.ready_ns - self.frame.captured_ns) / 1e6

    def class_map(self) -> Image:
        """uint8 (H, W) class ids at source resolution."""
        return self.letterbox.to_source(self.classes)

    def mask(self, name: str) -> NDArray[np.bool_]:
        """bool (H, W) at source resolution: True where a class of the group (or the class) `name` was seen."""
        return self.table.membership(name).view(np.bool_)[self.class_map()]

    def shares(self) -> dict[str, float]:
        """The part of the image each class covers, 0 to 1, by class name."""
        inside = np.ascontiguousarray(self.letterbox.content(self.classes))
        counts = np.bincount(inside.reshape(-1), minlength=len(self.table))
        return {name: float(counts[i]) / inside.size for i, name in enumerate(self.table.names)}

    def overlay(self, alpha: float = 0.5) -> Image:
        """uint8 (H, W, 3) BGR: the frame with the card's groups tinted."""
        return paint_bgr(self.frame.image, self.classes, self.letterbox, self.table, alpha)
