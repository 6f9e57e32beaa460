"""One of the masks that a replay shows of each frame: an engine's, or the recorded one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable
from weakref import WeakKeyDictionary

from numpy.typing import NDArray

from edge.backends.cpu import cpu_kind
from edge.card import Card
from edge.classes import ClassTable
from edge.engine import Engine
from edge.errors import SourceDamaged
from edge.frame import Frame, Image, Letterbox
from edge.geometry.free_space import FreeSpace
from edge.geometry.lane import EgoLane
from edge.instances import Instance
from edge.outputs import DECODERS, SEMANTIC, Output
from edge.prediction import Prediction
from edge.replay.identity import engine_identity
from edge.segmenter import Segmenter
from edge.sources.seek import Playable
from edge.steps import Steps

RECORDED = "recorded"


class RecordedMask(Protocol):
    """As `edge.sources.recorded.Recorded` is: class ids, uint8 (h, w), where in them the image lies, how old the
    mask was, and what else the engine gave.
    """

    @property
    def classes(self) -> Image: ...
    @property
    def letterbox(self) -> Letterbox: ...
    @property
    def age_ms(self) -> float: ...
    @property
    def instances(self) -> tuple[Instance, ...] | None: ...
    @property
    def free_space(self) -> FreeSpace | None: ...
    @property
    def lane(self) -> EgoLane | None: ...
    @property
    def outputs(self) -> Mapping[str, NDArray[Any]]: ...
    @property
    def specs(self) -> Mapping[str, Output]: ...


@runtime_checkable
class HasMasks(Protocol):
    """A recording that may hold masks; `card` is that of the engine they came from, None where there are none."""

    @property
    def card(self) -> Card | None: ...

    def recorded(self, index: int) -> RecordedMask | None:
        """The mask recorded with a frame; None where it is missing."""
        ...


@dataclass(frozen=True)
class MaskTrack:
    """`of` gives a recording's mask of a frame, None where it has none; any thread may call it.

    `identity` is all that its masks depend on, besides the recording. `maps` are the further outputs that are one value
    for each pixel, by name.
    """

    name: str
    identity: list[str]
    of: Callable[[Playable, Frame], Prediction | None]
    maps: tuple[str, ...] = ()


def engine_track(engine: Engine, name: str) -> MaskTrack:
    """Masks computed anew, by the code that drives."""
    segmenter = Segmenter(engine)
    steps: WeakKeyDictionary[Playable, Steps] = WeakKeyDictionary()  # each reader of the recording has its own state

    def of(source: Playable, frame: Frame) -> Prediction:
        result = segmenter.segment(frame)
        return steps.setdefault(source, Steps.of(engine)).update(result) if segmenter.steps else result

    maps = [one.name for one in engine.outputs if DECODERS[one.decoder].per_pixel and len(one.shape) == 2]
    return MaskTrack(name, [*engine_identity(engine), cpu_kind()], of, tuple(n for n in maps if n != SEMANTIC.name))


def recorded_track(source: Playable) -> tuple[MaskTrack, ClassTable] | None:
    """The masks in the recording itself and what their classes are; None where it holds none.

    Raises:
        EngineError: what it says of the engine they came from is not in order.
    """
    card = source.card if isinstance(source, HasMasks) else None
    if card is None:
        return None

    def of(source: Playable, frame: Frame) -> Prediction | None:
        """What the drive says of the frame, None where it says nothing."""
        assert isinstance(source, HasMasks)
        mask = source.recorded(frame.index)
        if mask is None:
            return None
        if mask.letterbox.source_wh != frame.size_wh:
            raise SourceDamaged(
                f"{source.name}: the mask of frame {frame.index} is of an image of {mask.letterbox.source_wh} pixels,"
                f" the frame is of {frame.size_wh}"
            )
        ready_ns = frame.captured_ns + round(mask.age_ms * 1e6)
        outputs, specs = {"semantic": mask.classes, **mask.outputs}, {"semantic": SEMANTIC, **mask.specs}
        seen = (mask.instances, mask.free_space, mask.lane)
        return Prediction(frame, outputs, mask.letterbox, card.table, ready_ns, specs, *seen)

    return MaskTrack(RECORDED, [RECORDED], of), card.table
