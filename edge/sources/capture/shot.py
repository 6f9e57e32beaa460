"""What a camera gives to the capture process, whatever kind it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import NamedTuple, Protocol

from edge.limits import size_error
from edge.sources.capture.wire import Format
from edge.sources.imagefile import image_size_wh, jpeg_fault


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


def jpeg_problem(data: bytes) -> str:
    """Why an image is not to be decoded: damaged by its markers; "" where it may be.

    Raises:
        CaptureError: it is larger than allowed. A camera that sends such images is not to go on.
    """
    if fault := jpeg_fault(data):
        return fault
    size_wh = image_size_wh(data)
    if size_wh is None or min(size_wh) < 1:
        return "has no size"
    if fault := size_error(size_wh):
        raise CaptureError(f"sends images that are too large: {fault}")
    return ""
