"""A small engine whose answers can be worked out by hand, and results without an engine."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from edge.backends.predict import predict
from edge.card import Card
from edge.classes import CAMVID
from edge.closing import Closing
from edge.engine import Identity
from edge.frame import Frame, Image, Letterbox, ResizePolicy, Yuv420
from edge.outputs import SEMANTIC, Output
from edge.prediction import Prediction

SKY, ROAD, PEDESTRIAN = 0, 3, 9


class BrightnessEngine(Closing):
    """Sees road where the picture is dark, sky where it is bright; keeps a copy of all that it was shown."""

    precision = "f32"
    threads = 1
    streams = 1
    outputs: tuple[Output, ...] = (SEMANTIC,)
    identity = Identity("stand-in", "1", "here")
    predict = __call__ = predict

    def __init__(
        self, make_card: Any, input_wh: tuple[int, int] = (32, 24), resize: ResizePolicy = "letterbox"
    ) -> None:
        card = make_card(b"no graph", table=CAMVID, input_wh=input_wh, name="brightness")
        self.card: Card = dataclasses.replace(card, resize=resize)
        self.seen: list[Image] = []

    def infer(self, image: Image) -> dict[str, Image]:
        assert image.shape == (self.card.input_wh[1], self.card.input_wh[0], 3)
        assert image.flags.c_contiguous
        self.seen.append(image.copy())
        return {"semantic": np.where(image.mean(-1) < 100, ROAD, SKY).astype(np.uint8)}

    def close(self) -> None:
        pass


def result_of(
    index: int,
    classes: Image,
    *,
    image: Image | None = None,
    yuv: Yuv420 | None = None,
    media_ns: int | None = None,
    captured_ns: int = 5_000_000_000,
) -> Prediction:
    """What was seen in a picture, 20 ms after it was taken."""
    frame = Frame(index=index, captured_ns=captured_ns, source="test", bgr=image, yuv=yuv, media_ns=media_ns)
    box = Letterbox.fit(frame.size_wh, (classes.shape[1], classes.shape[0]))
    return Prediction(frame, {"semantic": classes}, box, CAMVID, captured_ns + 20_000_000)
