"""`predict`, the method that every engine has for images that come one by one or as a list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

import numpy as np

if TYPE_CHECKING:
    from edge.engine import Engine
    from edge.frame import Image
    from edge.prediction import Prediction


@overload
def predict(self: Engine, images: Image) -> Prediction: ...


@overload
def predict(self: Engine, images: Sequence[Image]) -> list[Prediction]: ...


def predict(self: Engine, images: Image | Sequence[Image]) -> Prediction | list[Prediction]:
    """See `edge.engine.Engine.predict`."""
    from edge.segmenter import predict_images  # late: OpenCV, which an engine alone does not need

    if isinstance(images, np.ndarray) and images.ndim != 4:  # one image, or what is refused as one
        return predict_images(self, [images])[0]
    return predict_images(self, images)
