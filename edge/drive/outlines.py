"""The edges of road, pedestrians and the like over the frame, as Foxglove draws them."""

from __future__ import annotations

import cv2

from edge.drive.schema import message_class
from edge.prediction import Prediction

_LEAST_CELLS = 20.0  # a smaller region is a dot
_STRAYS_CELLS = 1.5  # so far a line may be from the edge: 2.5 KB a frame of a city, a cell exactly 3.3 KB
_LINE_LOOP = 2  # foxglove.PointsAnnotation.Type


def outlines_of(result: Prediction, time_ns: int) -> bytes:
    """A foxglove.ImageAnnotations: a closed line around each region that the overlay would tint."""
    annotations, table = message_class("foxglove.ImageAnnotations")(), result.table
    inside = result.letterbox.content(result.semantic)
    width, height = result.letterbox.source_wh
    across, down = width / inside.shape[1], height / inside.shape[0]
    for group, rgb in table.tints.items():
        mask = cv2.LUT(inside, table.membership(group))
        for edge in cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)[0]:
            if cv2.contourArea(edge) < _LEAST_CELLS:
                continue
            line = annotations.points.add(type=_LINE_LOOP, thickness=2)
            line.timestamp.FromNanoseconds(time_ns)
            line.outline_color.r, line.outline_color.g, line.outline_color.b = (part / 255 for part in rgb)
            line.outline_color.a = 1.0
            for x, y in cv2.approxPolyDP(edge, _STRAYS_CELLS, True)[:, 0].tolist():
                line.points.add(x=(x + 0.5) * across, y=(y + 0.5) * down)
    return annotations.SerializeToString()
