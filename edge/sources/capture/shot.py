"""What a camera gives to the capture process, whatever kind it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import NamedTuple, Protocol

from edge.sources.capture.wire import Format


class CaptureError(Exception):
    """The camera cannot be opened or gives no more; `permanent` until its configuration or the camera changes."""

    def __init__(self, why: str, permanent: bool = False) -> None:
        super().__init__(why)
        self.permanent = permanent


class DamagedImage(Exception):
    """One image cannot be used; the next may be sound."""


class Shot(NamedTuple):
    """One frame, not yet written to its slot.

    Attributes:
        captured_ns: monotonic clock, `late_ns` already taken off.
        decode_ns: spent on it so far.
        corrupt: its data were incomplete.
        write: puts it into a slot of `format.slot_bytes` bytes; raises DamagedImage where it does not decode.
    """

    format: Format
    captured_ns: int
    late_ns: int
    decode_ns: int
    corrupt: bool
    write: Callable[[memoryview], None]


class Reader(Protocol):
    """An open camera.

    Iterating gives shots for as long as it gives frames.

    Raises:
        CaptureError: when it gives no more, or none at all.
    """

    def __enter__(self) -> Reader: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...

    def __iter__(self) -> Iterator[Shot]: ...
