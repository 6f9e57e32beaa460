"""What of a frame is looked at: a track's mask or map over the image, two masks side by side, or where they differ."""

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
from edge.replay.mask_track import MaskTrack
from edge.replay.player import Shown
from edge.web.images import grey_maps, view_bgr

BOTH, DIFFERENCE = "side by side", "difference"
_LOOK = Appearance(legend=False)  # which a terminal's pixels cannot show
_DIFFERING_BGR = (255, 0, 255)  # no class table's colour, and seen on anything


def views(tracks: Sequence[MaskTrack]) -> list[str]:
    """What there is to look at, the most telling first."""
    names = [track.name for track in tracks]
    return [*(names if len(names) < 2 else [BOTH, *names, DIFFERENCE]), *map_views(tracks)]


def map_views(tracks: Sequence[MaskTrack]) -> dict[str, tuple[str, str]]:
    """The track and the output of each view that shows a map."""
    return {f"{track.name} {output}": (track.name, output) for track in tracks for output in track.maps}


def images_of(shown: Shown, view: str, tracks: Sequence[MaskTrack], comparer: Comparer | None) -> list[Image]:
    """uint8 (h, w, 3) BGR, one or two of equal size; none where the frame cannot be had."""
    if shown.frame is None:
        return []
    image, pair = view_bgr(shown.frame), [track.name for track in tracks[:2]]
    if view == DIFFERENCE and comparer is not None:
        return [_difference(image, [shown.results.get(name) for name in pair], comparer)]
    if view in (maps := map_views(tracks)):
        return [_grey_over(image, map_of(shown, *maps[view]))]
    return [_painted(image, shown.frame, shown.results.get(name)) for name in (pair if view == BOTH else [view])]


def map_of(shown: Shown, track: str, output: str) -> Image | None:
    """uint8 (h, w), the brighter the more; None where the frame has none."""
    result = shown.results.get(track)
    return None if result is None else grey_maps(result).get(output)


def _grey_over(image: Image, values: Image | None) -> Image:
    if values is None:
        return image
    grey = cv2.resize(values, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.addWeighted(image, 0.5, cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), 0.5, 0), np.uint8)


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
