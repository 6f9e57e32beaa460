"""One of the masks that a replay shows of each frame: an engine's, or the recorded one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from edge.engine import Engine
from edge.errors import ConfigError
from edge.frame import Frame
from edge.replay.identity import engine_identity, machine_kind
from edge.segmentation import Segmentation
from edge.segmenter import Segmenter
from edge.sources.seek import Playable

RECORDED = "recorded"


@runtime_checkable
class HasMasks(Protocol):
    """A recording that holds masks."""

    def recorded(self, index: int) -> Segmentation | None:
        """The mask recorded with a frame; None where there is none."""
        ...


@dataclass(frozen=True)
class Lane:
    """`of` gives a recording's mask of a frame, None where it has none; any thread may call it.

    `identity` is all that its masks depend on, besides the recording.
    """

    name: str
    identity: list[str]
    of: Callable[[Playable, Frame], Segmentation | None]


def engine_lane(engine: Engine, name: str) -> Lane:
    """Masks computed anew, by the code that drives."""
    segmenter = Segmenter(engine)
    return Lane(name, [*engine_identity(engine), machine_kind()], lambda source, frame: segmenter.segment(frame))


def recorded_lane(source: Playable) -> Lane:
    """The masks in the recording itself.

    Raises:
        ConfigError: it holds none.
    """
    if not isinstance(source, HasMasks):
        raise ConfigError(f"{source.name}: holds no recorded masks. Compare with an engine: --diff road:f32")
    return Lane(RECORDED, [RECORDED], _recorded)


def _recorded(source: Playable, frame: Frame) -> Segmentation | None:
    assert isinstance(source, HasMasks)
    return source.recorded(frame.index)
