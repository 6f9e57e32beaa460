"""An engine that stands for another one, which may change between two frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.backends.predict import predict
from edge.card import Card
from edge.closing import Closing
from edge.engine import Engine, Identity

if TYPE_CHECKING:
    from edge.frame import Image
    from edge.outputs import Arrays, Output


class CurrentEngine(Closing):
    """Answers as the engine does that works now; see `edge.engine.Engine`. Who changes it and who calls `infer` takes
    turns, as one loop does.
    """

    predict = __call__ = predict

    def __init__(self, engine: Engine) -> None:
        """The engine is closed with this one."""
        self._now = engine

    @property
    def card(self) -> Card:
        """Of the engine that works now, as are all the others."""
        return self._now.card

    @property
    def identity(self) -> Identity:
        return self._now.identity

    @property
    def outputs(self) -> tuple[Output, ...]:
        return self._now.outputs

    @property
    def precision(self) -> str:
        return self._now.precision

    @property
    def threads(self) -> int:
        return self._now.threads

    @property
    def streams(self) -> int:
        return self._now.streams

    def await_turn(self) -> None:
        """Wait until it is this camera's turn, where the engine is shared; to be called before a frame is taken."""
        if isinstance(self._now, CurrentEngine):
            self._now.await_turn()

    def infer(self, image: Image) -> Arrays:
        """The outputs for an image of the present input size."""
        return self._now.infer(image)

    def close(self) -> None:
        """Close the engine that works now. It may be called twice."""
        self._now.close()
