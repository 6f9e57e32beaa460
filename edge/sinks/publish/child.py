"""The publishing process: encodes the frames that it finds in shared memory, and sends them to a media server.

A process of its own, because FFmpeg connects with Python's lock held: a server that does not answer would stop the
frame loop. Whatever it is caught in, it ends when its parent does (PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import signal
import socket
import struct
import sys
from fractions import Fraction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
FRAME = struct.Struct("<q")  # from the parent: the memory holds the frame of this tick
TAKEN, FAILED = b".", b"!"  # to the parent: the frame was sent; the stream is lost, and why
LONGEST_MESSAGE = 65_536
_LONGEST_TEXT = 500
# What drives comes first: on busy cores a stream of fewer frames, not masks that are later. At 10 the p99 of their age
# was a fifth higher than without a stream; at 19 it is the same within 5 % (docs/results.md).
_NICE = 19


def main() -> None:
    """Arguments: the socket's file descriptor and the parent's process id."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(sys.argv[2]):  # it ended before the kernel was notified
        return
    os.nice(_NICE)
    link = socket.socket(fileno=int(sys.argv[1]))
    data, fds, _, _ = socket.recv_fds(link, LONGEST_MESSAGE, 1)
    if not data:
        return
    try:
        _publish(link, json.loads(data), mmap.mmap(fds[0], 0, prot=mmap.PROT_READ))
    except (BrokenPipeError, ConnectionResetError) as error:
        _report(link, error)  # the server's connection; where it is the parent's, there is no one to report to
    except Exception as error:  # noqa: BLE001 no one sees this process's traceback: it is reported, and retried
        _report(link, error)


def _report(link: socket.socket, error: Exception) -> None:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    try:
        link.send(FAILED + reason[:_LONGEST_TEXT].encode())
    except OSError:
        return  # the parent is gone


def _publish(link: socket.socket, request: dict[str, Any], memory: mmap.mmap) -> None:
    """Until the parent closes its end."""
    import av

    container = av.open(request["url"], "w", format=request["muxer"], options=request["options"])
    stream = _stream(container, request)
    image = av.VideoFrame(stream.width, stream.height, "yuv420p")
    image.time_base = Fraction(1, request["ticks_hz"])
    while message := link.recv(FRAME.size):
        _fill(image, memory)
        (image.pts,) = FRAME.unpack(message)
        container.mux(stream.encode(image))
        link.send(TAKEN)


def _stream(container: OutputContainer, request: dict[str, Any]) -> VideoStream:
    stream: VideoStream = container.add_stream("libx264", rate=Fraction(request["rate"]), options=request["encoder"])  # type: ignore[assignment]
    stream.width, stream.height, stream.pix_fmt = request["width"], request["height"], "yuv420p"
    context = stream.codec_context
    context.time_base = Fraction(1, request["ticks_hz"])
    context.sample_aspect_ratio = Fraction(request["aspect"])
    context.thread_count = 1
    context.colorspace, context.color_range = request["colorspace"], request["color_range"]
    return stream


def _fill(image: VideoFrame, memory: mmap.mmap) -> None:
    """The planes in the memory, one behind the other, into those of the image, whose rows may be longer."""
    import numpy as np

    at = 0
    for plane in image.planes:
        size = plane.width * plane.height
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)  # type: ignore[call-overload]
        rows[: plane.height, : plane.width] = np.frombuffer(memory, np.uint8, size, at).reshape(plane.height, -1)
        at += size
