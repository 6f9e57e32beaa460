"""How well an engine sees a rendered street, whose truth is known."""

from __future__ import annotations

from edge.classes import CAMVID
from edge.engine import Engine
from edge.frame import Frame
from edge.metrics import Confusion
from edge.segmenter import Segmenter
from edge.street.render import StreetScene


def iou_of_street(engine: Engine) -> dict[str, float]:
    """By class, over fifteen frames of the default street at 640x360."""
    scene, segmenter, confusion = StreetScene(7, (640, 360)), Segmenter(engine), Confusion(11, (11, 255))
    for index in range(0, 300, 20):
        drawn = scene.render(index)
        result = segmenter.segment(Frame(index=index, captured_ns=0, source="street", bgr=drawn.image))
        confusion.add(drawn.classes, result.class_map())
    return dict(zip(CAMVID.names, confusion.iou().tolist(), strict=True))
