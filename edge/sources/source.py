"""What every source of frames is."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Protocol, runtime_checkable

from edge.frame import Frame, display_wh
from edge.timing import Durations


def display_wh_of(source: Source) -> tuple[int, int]:
    """The size in square pixels in which a source's frames are shown: what an engine's input size is chosen by."""
    return display_wh(source.size_wh, getattr(source, "pixel_aspect", 1.0))


class Source(Protocol):
    """Frames, one after another. A context manager: leaving it closes it.

    Attributes:
        name: as the user named it.
        size_wh: of the frames.
        live: True when frames arrive whether or not they are taken.
        decode: how long each frame took to decode, render or convert; waiting for a camera is not counted.
    """

    name: str
    size_wh: tuple[int, int]
    live: bool
    decode: Durations

    @property
    def rate_hz(self) -> float | None:
        """Frames per second of the recording or camera; None where it is unknown."""
        ...

    @property
    def frame_count(self) -> int | None:
        """How many frames are expected; None for a camera."""
        ...

    def __iter__(self) -> Iterator[Frame]: ...

    def close(self) -> None:
        """Release the camera or file. It may be called twice."""
        ...

    def __enter__(self) -> Source: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


@runtime_checkable
class Stoppable(Protocol):
    """A source whose next frame may never come. `stop` ends the iteration, from any thread."""

    def stop(self) -> None:
        """End the iteration."""
        ...


@runtime_checkable
class Seekable(Protocol):
    """A recording whose frames can be taken by number, in any order.

    Attributes:
        frame_count: how many there are; the last is number `frame_count - 1`.
    """

    frame_count: int

    def at(self, index: int) -> Frame:
        """Frame `index`, whose own `index` is the same, as iterating gives it.

        Raises:
            SourceError: it cannot be decoded, or there is no such frame.
        """
        ...
