"""What of a frame is looked at: a track's mask over the image, two side by side, or where they differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from edge.appearance import Appearance
from edge.frame import Frame, Image
from edge.overlay import paint_bgr
from edge.prediction import Prediction
from edge.replay.compare import Comparer
from edge.replay.player import Shown
from edge.web.images import view_bgr

BOTH, DIFFERENCE = "side by side", "difference"
_LOOK = Appearance(legend=False)  # which a terminal's pixels cannot show
_DIFFERING_BGR = (255, 0, 255)  # no class table's colour, and seen on anything


def views(tracks: Sequence[str]) -> list[str]:
    """What there is to look at, the most telling first."""
    return [*tracks] if len(tracks) < 2 else [BOTH, *tracks, DIFFERENCE]


def images_of(shown: Shown, view: str, tracks: Sequence[str], comparer: Comparer | None) -> list[Image]:
    """uint8 (h, w, 3) BGR, one or two of equal size; none where the frame cannot be had."""
    if shown.frame is None:
        return []
    image = view_bgr(shown.frame)
    names = tracks[:2] if view == BOTH else [view]
    if view == DIFFERENCE and comparer is not None:
        return [_difference(image, [shown.results.get(name) for name in tracks[:2]], comparer)]
    return [_painted(image, shown.frame, shown.results.get(name)) for name in names]


def _painted(image: Image, frame: Frame, mask: Prediction | None) -> Image:
    """An image without a mask is shown as it is."""
    if mask is None:
        return image
    size_wh = (image.shape[1], image.shape[0])
    return paint_bgr(image, mask.semantic, replace(mask.letterbox, source_wh=size_wh), mask.table, _LOOK)


def _difference(image: Image, masks: Sequence[Prediction | None], comparer: Comparer) -> Image:
    """The image in dim grey, and in one loud colour what the masks disagree on."""
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) // 2, cv2.COLOR_GRAY2BGR)
    first, second = masks
    if first is not None and second is not None:
        differ = comparer.differ(first, second).view(np.uint8) * 255
        shrinks = differ.shape[1] > image.shape[1]
        way = cv2.INTER_AREA if shrinks else cv2.INTER_NEAREST_EXACT  # one pixel that differs must not be passed over
        grey[cv2.resize(differ, (image.shape[1], image.shape[0]), interpolation=way) > 0] = _DIFFERING_BGR
    return np.asarray(grey, np.uint8)
