"""The capture process: opens the camera, hands its frames over, and begins anew when it is lost.

It ends when its supervisor does: the kernel kills it (PR_SET_PDEATHSIG), even while a library hangs.
"""

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
import socket
import sys
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from itertools import count

from edge.sources.capture.backoff import Backoff
from edge.sources.capture.ring import RingWriter
from edge.sources.capture.shot import CaptureError, DamagedImage, Reader, Shot
from edge.sources.capture.wire import (
    CaptureRequest,
    Failed,
    Format,
    FrameReady,
    Kind,
    Message,
    Opened,
    Opening,
    Unusable,
    packed,
)

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PERMANENT_RETRY_S = 5.0  # a password that is tried too often locks the user out
# A camera that is away is given up soon, so that the next attempt finds it when it is back; a slow one gets its time.
_FIRST_PATIENCE_S, _LONGEST_PATIENCE_S = 1.0, 4.0
_MEMORY_MB = 2048
_ATTEMPTS = 200  # then a fresh process: libraries leak (GStreamer: 42 KB for each)
_SAMPLES = 2000


def main() -> None:
    """Arguments: the socket's file descriptor and the supervisor's process id."""
    parent = int(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the supervisor's to answer
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the kernel was notified
        return
    link = socket.socket(fileno=int(sys.argv[1]))
    if not select.select([link], [], [], 0)[0]:  # started ahead: there is time for a library that most cameras need
        with suppress(ImportError):  # reported by the first attempt
            reader_of("stream")
    data = link.recv(65536)
    if not data:  # the supervisor is gone
        return
    request = CaptureRequest.unpack(data)
    limit_memory()
    try:
        _capture_until_closed(link, request)
    except (BrokenPipeError, ConnectionResetError):
        return  # the supervisor has closed its end


def limit_memory() -> None:
    """Let memory that a camera's data make a library take end this process, not the machine.

    RLIMIT_DATA counts what is private and writable; images on their way to the supervisor are shared and bounded by
    `edge.limits`. EDGE_CAPTURE_MEMORY_MB changes it; 0 is no limit.
    """
    text = os.environ.get("EDGE_CAPTURE_MEMORY_MB", "")
    megabytes = int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else _MEMORY_MB
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    if megabytes and (most == resource.RLIM_INFINITY or megabytes << 20 < most):
        resource.setrlimit(resource.RLIMIT_DATA, (megabytes << 20, most))


def _capture_until_closed(link: socket.socket, request: CaptureRequest) -> None:
    backoff, outbox, patience_s = Backoff(), Outbox(link), _FIRST_PATIENCE_S
    with suppress(ImportError):  # reported by the first attempt; done now, because it takes longer than opening may
        reader_of(request.kind)
    for _ in range(_ATTEMPTS):
        began_s = time.monotonic()
        outbox.send(Opening())
        error = _attempt(request, patience_s, outbox)
        if outbox.has_given:
            backoff.reset()
        elif time.monotonic() - began_s >= patience_s:  # it may be slow, and not away
            patience_s = min(2 * patience_s, _LONGEST_PATIENCE_S)
        retry_s = _PERMANENT_RETRY_S if error.permanent else backoff.next_s()
        outbox.send(Failed(error.permanent, retry_s, str(error)))
        if not outbox.wait(retry_s):
            return


def _attempt(request: CaptureRequest, patience_s: float, outbox: Outbox) -> CaptureError:
    """Open the camera and hand on what it gives until it gives no more; why it does not."""
    try:
        with reader_of(request.kind)(request, patience_s) as reader:
            for shot in reader:
                outbox.put(shot)
    except CaptureError as error:
        return error
    except ImportError as error:
        from edge.shortage import shortage  # late: a capture process that lacks nothing does without

        lacking = shortage(error)
        return CaptureError(lacking or f"cannot be read without a library: {error}", permanent=not lacking)
    except (BrokenPipeError, ConnectionResetError):
        raise
    except MemoryError:
        return CaptureError("its data need more memory than the capture process may use (EDGE_CAPTURE_MEMORY_MB)")
    except Exception as error:  # noqa: BLE001 no one sees this process's traceback: it is reported, and retried
        return CaptureError(f"{type(error).__name__}: {error}")
    return CaptureError("gives no more frames")


def reader_of(kind: Kind) -> Callable[[CaptureRequest, float], Reader]:
    """What opens such a camera, given so many seconds; its library is imported at the first call."""
    if kind == "stream":
        from edge.sources.capture.network import Stream

        return Stream
    if kind == "v4l2":
        from edge.sources.capture.v4l2 import open_v4l2

        return open_v4l2
    if kind == "ros2":
        from edge.sources.capture.ros2 import open_ros2

        return open_ros2
    from edge.sources.capture.device import Device

    return Device


class Outbox:
    """Frames into slots, and messages about them to the supervisor."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._rings, self._numbers = count(), count()
        self._ring: RingWriter | None = None
        self._format: Format | None = None
        self.has_given = False

    def send(self, message: Message) -> None:
        """Tell the supervisor."""
        if isinstance(message, Opening):
            self._format, self.has_given = None, False  # the next frame tells its format again
        self._link.send(packed(message))

    def put(self, shot: Shot) -> None:
        """Hand a frame over, or say why not.

        Raises:
            CaptureError: it cannot be decoded.
        """
        number = next(self._numbers)
        self._take_back()
        if shot.corrupt:
            self.send(Unusable(number, corrupt=True))
            return
        ring = self._ring_for(shot.format)
        slot = ring.take()
        if slot is None:
            self.send(Unusable(number, corrupt=False))
            return
        start_ns = time.monotonic_ns()
        view = ring.view(slot)
        try:
            shot.write(view)
        except DamagedImage:
            ring.give_back(slot)
            self.send(Unusable(number, corrupt=True))
            return
        except CaptureError:
            ring.give_back(slot)
            raise
        self.has_given = True
        decode_ns = shot.decode_ns + time.monotonic_ns() - start_ns
        luma = view if shot.format.bgr else view[: shot.format.width * shot.format.height]
        self.send(FrameReady(ring.number, slot, number, shot.captured_ns, shot.late_ns, decode_ns, *_seen(luma)))

    def wait(self, seconds: float) -> bool:
        """Let time pass; False when the supervisor is gone."""
        until = time.monotonic() + seconds
        while (left_s := until - time.monotonic()) > 0:
            if select.select([self._link], [], [], left_s)[0] and not self._take_back():
                return False
        return True

    def _ring_for(self, layout: Format) -> RingWriter:
        if self._ring is not None and layout == self._format:
            return self._ring
        if self._ring is not None:
            self._ring.close()
        self._format, self._ring = layout, RingWriter(next(self._rings) % 256, layout.slot_bytes)
        opened = Opened(self._ring.number, self._ring.slots, layout)
        socket.send_fds(self._link, [packed(opened)], [self._ring.fd])
        return self._ring

    def _take_back(self) -> bool:
        """The slots that came back; False when the supervisor is gone."""
        while True:
            try:
                message = self._link.recv(16, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return True
            if not message:
                return False
            if self._ring is not None and message[0] == self._ring.number:
                self._ring.give_back(message[1])


def _seen(view: memoryview) -> tuple[int, int, int]:
    """Brightness, spread and digest of a sample; an odd step takes all columns and, of BGR, all colours in turn."""
    sample = bytes(view[:: max(1, len(view) // _SAMPLES) | 1])
    ranked = sorted(sample)
    edge = len(ranked) // 500
    return sum(sample) // len(sample), ranked[-1 - edge] - ranked[edge], zlib.crc32(sample)
