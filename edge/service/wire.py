"""What the inference service hands its publisher over a Unix socket; docs/service.md, "Split".

A message is three lengths (uint32, little endian), a head (JSON), arrays (edge/arrays.py: the mask, and behind it what
else the engine gives) and a JPEG image. The first one is a `Hello`; then come a `Result` with its arrays for each
frame, and a `Camera` about twice a second. The publisher sends bytes only to say that it wants images: each byte, for
the next `IMAGES_S` seconds.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import accumulate, pairwise
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from edge.config import StrictModel
from edge.errors import SourceError
from edge.instances import MOST
from edge.status import Status

VERSION = 2
IMAGES_S = 2.0
TICK_S = 0.5

_LENGTHS = struct.Struct("<III")
_MOST_BYTES = (1 << 20, 1 << 25, 1 << 24)  # of head, arrays and image: what a hostile sender can make us hold
OUTPUTS_MAX = 16

Side = Annotated[int, Field(ge=1, le=0xFFFF)]
Count = Annotated[int, Field(ge=0, lt=1 << 63)]
Offset = Annotated[int, Field(ge=0, le=0xFFFF)]


class WireError(SourceError):
    """Not a message of this protocol."""


class Hello(StrictModel):
    """Who sends: the camera's name and the engine's card, as its JSON text."""

    kind: Literal["hello"] = "hello"
    version: Literal[2] = VERSION
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

    @classmethod
    def of(cls, status: Status) -> Camera:
        """What is sent of a camera's status."""
        restarts = status.totals.get("restarts", 0)
        state = {"state": status.state, "reason": status.reason, "since_ns": status.since_ns, "restarts": restarts}
        return cls.model_validate(state)

    def status(self) -> Status:
        """What was sent."""
        return Status(self.state, self.reason, self.since_ns, {"restarts": self.restarts})


class Array(StrictModel):
    """A further output: what it is, as a card has it in JSON, and how long the message of its array is."""

    output: str = Field(max_length=4096)
    size_bytes: int = Field(ge=1, le=_MOST_BYTES[1])


class Result(StrictModel):
    """One frame's result; its mask is the class map at network size, black bars included. Its objects are as
    `edge.instances.Instance.as_json` says.
    """

    kind: Literal["result"] = "result"
    index: Count
    captured_ns: Count
    media_ns: Annotated[int, Field(gt=-(1 << 63), lt=1 << 63)] | None
    ready_ns: Count
    dropped: Count
    source_wh: tuple[Side, Side]
    input_wh: tuple[Side, Side]
    content_xywh: tuple[Offset, Offset, Side, Side]
    outputs: tuple[Array, ...] = Field(default=(), max_length=OUTPUTS_MAX)
    instances: list[dict[str, Any]] | None = Field(default=None, max_length=MOST)
    free_space: dict[str, Any] | None = None
    lane: dict[str, Any] | None = None
    fix: dict[str, Any] | None = None

    def parts(self, arrays: bytes) -> list[bytes]:
        """The message of the mask, and of each of the outputs.

        Raises:
            WireError: there are not so many bytes.
        """
        ends = list(accumulate((output.size_bytes for output in reversed(self.outputs)), initial=0))[::-1]
        if ends[0] >= len(arrays):
            raise WireError(f"frame {self.index}: expected a mask and {ends[0]} bytes of outputs, got {len(arrays)}")
        places = [0, *(len(arrays) - end for end in ends)]
        return [arrays[begin:end] for begin, end in pairwise(places)]


Head = Hello | Camera | Result
_READ: TypeAdapter[Head] = TypeAdapter(Annotated[Head, Field(discriminator="kind")])


def message(head: Head, arrays: bytes = b"", jpeg: bytes = b"") -> bytes:
    """The message that `Messages` reads."""
    text = head.model_dump_json().encode()
    return _LENGTHS.pack(len(text), len(arrays), len(jpeg)) + text + arrays + jpeg


class Messages:
    """Takes a stream of bytes apart: `feed` it, in any pieces."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[Head, bytes, bytes]]:
        """The messages that are complete by now: head, arrays, JPEG.

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
            text, arrays_end = parts[: lengths[0]], lengths[0] + lengths[1]
            yield _head(text), parts[lengths[0] : arrays_end], parts[arrays_end:]


def _head(text: bytes) -> Head:
    try:
        return _READ.validate_json(text)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        raise WireError(f"a message's head is wrong at {problem['loc']}: {problem['msg']}") from error
