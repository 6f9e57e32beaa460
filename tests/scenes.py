"""How well an engine sees a rendered street, whose truth is known."""

from __future__ import annotations

import numpy as np

from edge.classes import CAMVID
from edge.engine import Engine
from edge.frame import Frame
from edge.metrics import Confusion
from edge.segmenter import Segmenter
from edge.street.render import StreetScene


def iou_of_street(engine: Engine) -> dict[str, float]:
    """Of the road, and where the engine knows it the sky, over fifteen frames of the default street at 640x360."""
    scene, segmenter = StreetScene(7, (640, 360)), Segmenter(engine)
    shown = {name for name in ("Road", "Sky") if name in engine.card.table.names}
    confusions = {name: Confusion(2, ()) for name in shown}
    for index in range(0, 300, 20):
        drawn = scene.render(index)
        result = segmenter.segment(Frame(index=index, captured_ns=0, source="street", bgr=drawn.image))
        for name, confusion in confusions.items():
            truth = drawn.classes == CAMVID.names.index(name)
            confusion.add(truth.astype(np.uint8), result.mask(name).astype(np.uint8))
    return {name: confusion.iou().tolist()[1] for name, confusion in confusions.items()}
