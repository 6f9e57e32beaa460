"""What the inference service hands its publisher over a Unix socket; docs/service.md, "Split".

A message is three lengths (uint32, little endian), a head (JSON), a mask (edge/maskcodec.py) and a JPEG picture. The
first one is a `Hello`; then come a `Result` with its mask for each frame, and a `Camera` about twice a second. The
publisher sends bytes only to say that it wants pictures: each byte, for the next `PICTURES_S` seconds.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from edge.config import StrictModel
from edge.errors import SourceError

VERSION = 1
PICTURES_S = 2.0
TICK_S = 0.5

_LENGTHS = struct.Struct("<III")
_MOST_BYTES = (1 << 20, 1 << 23, 1 << 24)  # of head, mask and picture: what a hostile sender can make us hold

Side = Annotated[int, Field(ge=1, le=0xFFFF)]
Count = Annotated[int, Field(ge=0, lt=1 << 63)]
Offset = Annotated[int, Field(ge=0, le=0xFFFF)]


class WireError(SourceError):
    """Not a message of this protocol."""


class Hello(StrictModel):
    """Who sends: the camera's name and the engine's card, as its JSON text."""

    kind: Literal["hello"] = "hello"
    version: Literal[1] = VERSION
    source: str
    precision: str
    card: str


class Camera(StrictModel):
    """How the camera is; `since_ns` is on the monotonic clock, which both ends share."""

    kind: Literal["camera"] = "camera"
    state: Literal["ok", "degraded", "lost", "stopped"]
    reason: str
    since_ns: Count
    restarts: Count = 0


class Result(StrictModel):
    """One frame's result; its mask is the class map at network size, black bars included."""

    kind: Literal["result"] = "result"
    index: Count
    captured_ns: Count
    media_ns: Annotated[int, Field(gt=-(1 << 63), lt=1 << 63)] | None
    ready_ns: Count
    dropped: Count
    source_wh: tuple[Side, Side]
    input_wh: tuple[Side, Side]
    content_xywh: tuple[Offset, Offset, Side, Side]


Head = Hello | Camera | Result
_READ: TypeAdapter[Head] = TypeAdapter(Annotated[Head, Field(discriminator="kind")])


def message(head: Head, mask: bytes = b"", jpeg: bytes = b"") -> bytes:
    """The message that `Messages` reads."""
    text = head.model_dump_json().encode()
    return _LENGTHS.pack(len(text), len(mask), len(jpeg)) + text + mask + jpeg


class Messages:
    """Takes a stream of bytes apart: `feed` it, in any pieces."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[Head, bytes, bytes]]:
        """The messages that are complete by now: head, mask, JPEG.

        Raises:
            WireError: this is not such a stream.
        """
        self._held += data
        while len(self._held) >= _LENGTHS.size:
            lengths = _LENGTHS.unpack_from(self._held)
            if any(found > most for found, most in zip(lengths, _MOST_BYTES, strict=True)):
                raise WireError(f"a message announces parts of {lengths} bytes; {_MOST_BYTES} are the most")
            if len(self._held) < (end := _LENGTHS.size + sum(lengths)):
                return
            parts = bytes(self._held[_LENGTHS.size : end])
            del self._held[:end]
            text, mask_end = parts[: lengths[0]], lengths[0] + lengths[1]
            yield _head(text), parts[lengths[0] : mask_end], parts[mask_end:]


def _head(text: bytes) -> Head:
    try:
        return _READ.validate_json(text)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        raise WireError(f"a message's head is wrong at {problem['loc']}: {problem['msg']}") from error
