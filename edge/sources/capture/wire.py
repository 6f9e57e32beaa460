"""What the capture process and its supervisor tell each other.

They share a socket that keeps messages whole (SOCK_SEQPACKET). The supervisor sends one `CaptureRequest`, then two
bytes for each slot that it gives back: the ring's number and the slot. The process sends the messages below; with
`Opened` comes the file descriptor of the memory that holds the frames.
"""

from __future__ import annotations

import json
import struct
from typing import Any, Literal, NamedTuple

from edge.limits import max_pixels

Kind = Literal["stream", "v4l2", "gstreamer", "ros2"]

LONGEST_MESSAGE = 4096
_LONGEST_TEXT = 1000
_LONGEST_SIDE_PX = 16384
_MOST_SLOTS = 64


class WireError(ValueError):
    """A message that no capture process of ours sends: what it decodes may have taken it over."""


class CaptureRequest(NamedTuple):
    """What to capture. `target` is a URL, a device's path, a pipeline or a topic (`edge.ros2.options.TopicOptions`);
    None leaves a wish to the camera.

    `verify_tls`: a stream's certificate is verified.
    """

    kind: Kind
    target: str
    size_wh: tuple[int, int] | None = None
    rate_hz: float | None = None
    pixel_format: str | None = None
    verify_tls: bool = True

    def pack(self) -> bytes:
        """As `unpack` reads it."""
        return json.dumps(self).encode()

    @classmethod
    def unpack(cls, data: bytes) -> CaptureRequest:
        """The request that `pack` wrote."""
        kind, target, size_wh, *others = json.loads(data)
        return cls(kind, target, size_wh and (size_wh[0], size_wh[1]), *others)


class Format(NamedTuple):
    """What the frames are like.

    Attributes:
        bgr: rows of B, G, R; else Y, U and V one behind the other, chroma of half the size rounded up.
        bt709, full_range: how Y, U and V mean colours.
        rate_hz: frames per second as the camera says; 0 where it does not.
        note: how this differs from what was asked for.
    """

    width: int
    height: int
    bgr: bool
    bt709: bool = False
    full_range: bool = False
    rate_hz: float = 0.0
    note: str = ""

    @property
    def slot_bytes(self) -> int:
        """How many bytes a frame takes: BGR, or three planes."""
        if self.bgr:
            return 3 * self.width * self.height
        return self.width * self.height + 2 * ((self.width + 1) // 2) * ((self.height + 1) // 2)


class Opening(NamedTuple):
    """An attempt to open the camera begins."""


class Opened(NamedTuple):
    """Frames of this format follow, in the slots of the ring whose memory comes with this message."""

    ring: int
    slots: int
    format: Format


class FrameReady(NamedTuple):
    """A slot of a ring holds a frame, and belongs to the supervisor until it is given back.

    Attributes:
        number: counts what the camera gave to this process, unusable frames included.
        captured_ns: monotonic clock.
        late_ns: how much later than the quickest ones it came, by the camera's clock; already taken off `captured_ns`.
        decode_ns: how long it took to decode or convert it.
        brightness, spread: mean of a sample of its bytes, and the range that holds 99.6 % of them.
        digest: of that sample; the same twice means the same frame.
    """

    ring: int
    slot: int
    number: int
    captured_ns: int
    late_ns: int
    decode_ns: int
    brightness: int
    spread: int
    digest: int


class Unusable(NamedTuple):
    """A frame came that is not handed on: it is corrupt, or no slot was free for it."""

    number: int
    corrupt: bool


class Failed(NamedTuple):
    """The camera could not be opened, or gives no more. The next attempt comes in `retry_s`.

    `permanent`: it will fail in the same way until its configuration or the camera changes.
    """

    permanent: bool
    retry_s: float
    why: str


Message = Opening | Opened | FrameReady | Unusable | Failed

# Fields in order, without a text that ends the message. Sizes and counts have no sign.
_FORMS = {
    Opening: struct.Struct("<"),
    Opened: struct.Struct("<BBII???d"),
    FrameReady: struct.Struct("<BBQQQQBBI"),
    Unusable: struct.Struct("<Q?"),
    Failed: struct.Struct("<?d"),
}
_KINDS = tuple(_FORMS)


def packed(message: Message) -> bytes:
    """A message as it goes over the socket: its kind, its numbers, its text cut to what fits."""
    values: tuple = tuple(message)
    if isinstance(message, Opened):
        values = (message.ring, message.slots, *message.format)
    text = values[-1] if isinstance(message, (Opened, Failed)) else ""
    form = _FORMS[type(message)]
    numbers = values[:-1] if isinstance(message, (Opened, Failed)) else values
    return bytes([_KINDS.index(type(message))]) + form.pack(*numbers) + text[:_LONGEST_TEXT].encode()


def unpacked(data: bytes) -> Message:
    """The message; its format and slots are safe to map memory by.

    Raises:
        WireError: it is not a message.
    """
    try:
        kind: Any = _KINDS[data[0]]
        values, text = _FORMS[kind].unpack_from(data, 1), data[1 + _FORMS[kind].size :].decode("utf-8", "replace")
        text = "".join(sign if sign.isprintable() else " " for sign in text)  # it is logged: one line, no commands
    except (struct.error, LookupError) as error:
        raise WireError(f"{data[:40]!r}: {error}") from error
    if kind is Failed:
        return Failed._make((*values, text))
    if kind is Opened:
        return _safe(Opened(values[0], values[1], Format._make((*values[2:], text))))
    if text:
        raise WireError(f"{data[:40]!r}: {len(text)} characters too many")
    return kind(*values)


def _safe(opened: Opened) -> Opened:
    layout = opened.format
    sides_fit = 0 < layout.width <= _LONGEST_SIDE_PX and 0 < layout.height <= _LONGEST_SIDE_PX
    if not sides_fit or layout.width * layout.height > max_pixels():
        raise WireError(f"frames of {layout.width}x{layout.height}")
    if not 0 < opened.slots <= _MOST_SLOTS:
        raise WireError(f"{opened.slots} slots")
    return opened
