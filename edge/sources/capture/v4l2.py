"""V4L2 cameras, asked without a library between: OpenCV hides which buffers the driver flags as damaged."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import select
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from fractions import Fraction
from functools import partial
from typing import NamedTuple

import numpy as np

from edge.limits import size_error
from edge.sources.capture.opencv import cv2
from edge.sources.capture.shot import CaptureError, DamagedImage, Reader, Shot, jpeg_problem
from edge.sources.capture.wire import CaptureRequest, Format
from edge.sources.imagefile import image_size_wh
from edge.sources.jpegscan import JpegScans

# linux/videodev2.h where `long` has 64 bits; tests/sources/test_v4l2.py asks a C compiler for the same numbers.
CAPTURE, CAPTURE_PLANES, MMAP_MEMORY = 1, 9, 1
GET_FORMAT, SET_FORMAT, FORMAT_BYTES = 0xC0D05604, 0xC0D05605, 208
GET_PARM, SET_PARM, PARM_BYTES = 0xC0CC5615, 0xC0CC5616, 204
REQUEST_BUFFERS, REQUEST_BYTES = 0xC0145608, 20
QUERY_BUFFER, QUEUE, DEQUEUE, BUFFER_BYTES = 0xC0585609, 0xC058560F, 0xC0585611, 88
STREAM_ON, STREAM_OFF = 0x40045612, 0x40045613
FLAG_ERROR, FLAG_MONOTONIC = 0x40, 0x2000

_BUFFERS = 4  # with one, a camera halves its rate; more give a busy machine time
_QUIET_S = 2.0
_LATEST_NS = 1_000_000_000  # a driver's time that is further from ours is by another clock
_LARGEST_PX = 1 << 14


class NotReadable(Exception):
    """The device works in a way that this reader does not know, such as several planes; OpenCV may.

    `size_wh`: what its driver is set to, which OpenCV would change in silence; None if unknown.
    """

    def __init__(self, size_wh: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.size_wh = size_wh


class _Packed(NamedTuple):
    """A pixel format of rows: bytes in a row for each column, rows for each line (3/2 with half-size chroma)."""

    column_bytes: int
    lines: Fraction
    code: int | None  # of cv2.cvtColor; None where it is BGR already


_LINE, _LINE_AND_HALF = Fraction(1), Fraction(3, 2)
_PACKED = {
    "YUYV": _Packed(2, _LINE, cv2.COLOR_YUV2BGR_YUYV),
    "UYVY": _Packed(2, _LINE, cv2.COLOR_YUV2BGR_UYVY),
    "NV12": _Packed(1, _LINE_AND_HALF, cv2.COLOR_YUV2BGR_NV12),
    "NV21": _Packed(1, _LINE_AND_HALF, cv2.COLOR_YUV2BGR_NV21),
    "YU12": _Packed(1, _LINE_AND_HALF, cv2.COLOR_YUV2BGR_I420),
    "BGR3": _Packed(3, _LINE, None),
    "RGB3": _Packed(3, _LINE, cv2.COLOR_RGB2BGR),
    "GREY": _Packed(1, _LINE, cv2.COLOR_GRAY2BGR),
}
_NO_PADDING = ("YU12",)  # the rows of its chroma are half as long, so rows of one length do not hold them
_JPEG = ("MJPG", "JPEG")


class Layout(NamedTuple):
    """What the driver is set to; `row_bytes` is 0 for JPEGs."""

    size_wh: tuple[int, int]
    pixel_format: str
    row_bytes: int


class V4l2Camera:
    """A V4L2 device with buffers mapped from its driver. Without a wish its own format, size and rate are kept."""

    def __init__(self, request: CaptureRequest) -> None:
        """Raises NotReadable, or CaptureError: it cannot be opened."""
        self._owned, self._scans = ExitStack(), JpegScans()
        try:
            self._fd = _opened(request.target)
            self._owned.callback(os.close, self._fd)
            self._layout = _agreed_layout(self._fd, request)
            rate_hz = _agreed_rate_hz(self._fd, request.rate_hz)
            self._maps = self._mapped()
            self._start()
        except OSError as error:
            self._owned.close()
            raise _refusal(error, request.target) from error
        except BaseException:  # Ctrl-C too: the caller has no object to close yet
            self._owned.close()
            raise
        layout = Format(*self._layout.size_wh, bgr=True, rate_hz=rate_hz)
        self._format = layout._replace(note=unmet(request, layout, self._layout.pixel_format))

    def __enter__(self) -> V4l2Camera:
        return self

    def __exit__(self, *exception: object) -> None:
        self._owned.close()

    def __iter__(self) -> Iterator[Shot]:
        """Every frame, in the driver's order.

        Raises:
            CaptureError: it gives no more.
        """
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        while True:
            events = poll.poll(1000 * _QUIET_S)
            if not events:
                raise CaptureError(f"stopped giving frames (is its cable in?): none for {_QUIET_S:g} s")
            try:
                yield self._next_shot()
            except BlockingIOError:
                if not events[0][1] & select.POLLIN:
                    raise CaptureError("stopped giving frames (is its cable in?)") from None
            except OSError as error:
                raise CaptureError(f"stopped giving frames (is its cable in?): {error.strerror}") from error

    def _mapped(self) -> list[mmap.mmap]:
        wanted = bytearray(struct.pack("=III", _BUFFERS, CAPTURE, MMAP_MEMORY).ljust(REQUEST_BYTES, b"\0"))
        fcntl.ioctl(self._fd, REQUEST_BUFFERS, wanted)  # the driver may give more or fewer
        maps = []
        for index in range(struct.unpack_from("=I", wanted)[0]):
            buffer = _buffer(index)
            fcntl.ioctl(self._fd, QUERY_BUFFER, buffer)
            (offset,), (length,) = struct.unpack_from("=Q", buffer, 64), struct.unpack_from("=I", buffer, 72)
            maps.append(mmap.mmap(self._fd, length, mmap.MAP_SHARED, mmap.PROT_READ, offset=offset))
            self._owned.callback(maps[-1].close)  # one that stays mapped keeps the device busy
        if not maps:
            raise NotReadable
        return maps

    def _start(self) -> None:
        for index in range(len(self._maps)):
            fcntl.ioctl(self._fd, QUEUE, _buffer(index))
        fcntl.ioctl(self._fd, STREAM_ON, struct.pack("=I", CAPTURE))
        self._owned.callback(self._stop)

    def _stop(self) -> None:
        with suppress(OSError):  # it may be gone
            fcntl.ioctl(self._fd, STREAM_OFF, struct.pack("=I", CAPTURE))

    def _next_shot(self) -> Shot:
        """The next filled buffer's, which goes back to the driver at once."""
        buffer = _buffer(0)
        fcntl.ioctl(self._fd, DEQUEUE, buffer)
        now_ns = time.monotonic_ns()
        index, _, used_bytes, flags = struct.unpack_from("=IIII", buffer)
        shot = Shot(self._format, _filled_ns(buffer, flags, now_ns), 0, 0, bool(flags & FLAG_ERROR), _refuse)
        data = b"" if shot.corrupt else self._maps[index][:used_bytes]
        fcntl.ioctl(self._fd, QUEUE, _buffer(index))
        if shot.corrupt or self._layout.pixel_format in _JPEG:
            return shot if shot.corrupt else _jpeg_shot(shot, data, self._scans)
        if len(data) < image_bytes(self._layout):
            return shot._replace(corrupt=True)
        return shot._replace(write=partial(_write_packed, data, self._layout))


def _filled_ns(buffer: bytearray, flags: int, now_ns: int) -> int:
    """When the driver filled a buffer, by the monotonic clock; now, where it has another."""
    seconds, microseconds = struct.unpack_from("=qq", buffer, 24)
    driver_ns = seconds * 1_000_000_000 + microseconds * 1000
    return driver_ns if flags & FLAG_MONOTONIC and 0 <= now_ns - driver_ns < _LATEST_NS else now_ns


def open_v4l2(request: CaptureRequest, patience_s: float) -> Reader:
    """A V4L2 camera, read directly, or by OpenCV where it works in a way that only OpenCV knows.

    Raises:
        CaptureError: it cannot be opened.
    """
    try:
        return V4l2Camera(request)
    except NotReadable as error:
        from edge.sources.capture.device import Device

        return Device(request._replace(size_wh=request.size_wh or error.size_wh), patience_s)


def image_bytes(layout: Layout) -> int:
    """How many bytes an image that is not a JPEG has, without padding behind its last row."""
    width, height = layout.size_wh
    packed = _PACKED[layout.pixel_format]
    return (int(height * packed.lines) - 1) * layout.row_bytes + width * packed.column_bytes


_FOURCC = {"mjpeg": "MJPG", "yuyv": "YUYV", "uyvy": "UYVY", "nv12": "NV12", "bgr3": "BGR3", "h264": "H264"}


def fourcc(name: str) -> int:
    """V4L2's number of a pixel format, by its name ("mjpeg") or its four letters ("MJPG")."""
    letters = _FOURCC.get(name.lower(), name.upper()).ljust(4)
    return int.from_bytes(letters.encode("ascii"), "little")


def unmet(request: CaptureRequest, found: Format, pixel_format: str) -> str:
    """Which wishes the camera did not grant; "" when it did all."""
    faults = []
    if request.size_wh and request.size_wh != (found.width, found.height):
        faults.append(f"{request.size_wh[0]}x{request.size_wh[1]} was asked for, {found.width}x{found.height} is given")
    if request.rate_hz and found.rate_hz and abs(request.rate_hz - found.rate_hz) > 0.5:
        faults.append(f"{request.rate_hz:g} frames per second were asked for, {found.rate_hz:g} are given")
    if request.pixel_format and pixel_format and fourcc(request.pixel_format) != fourcc(pixel_format):
        faults.append(f"{request.pixel_format} was asked for, {pixel_format.lower()} is given")
    return "; ".join(faults)


def _opened(path: str) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise CaptureError("is not there (is its cable in?)") from None
    except PermissionError:
        advice = "sudo usermod -aG video $USER, log in again"
        raise CaptureError(f"may not be used by this user: {advice}", permanent=True) from None


def _refusal(error: OSError, path: str) -> Exception:
    if error.errno in (errno.ENOTTY, errno.EINVAL):
        return NotReadable()
    return CaptureError(f"cannot be opened as a camera ({error.strerror}): is it in use? Try: fuser -v {path}")


def _agreed_layout(fd: int, request: CaptureRequest) -> Layout:
    """Ask for what is wished; a format of the driver's own that cannot be read here is exchanged for one that can."""
    try:
        form = _driver_format(fd, CAPTURE)
    except OSError:
        raise NotReadable(_size_with_planes(fd)) from None
    if request.size_wh or request.pixel_format:
        form = _with_format(fd, form, request.size_wh, request.pixel_format)
    layout = _layout_of(form)
    others = iter((*_JPEG, *_PACKED))
    while not _is_known(layout):
        name = next(others, None)
        if name is None:
            raise NotReadable(layout.size_wh if min(layout.size_wh) > 0 else None)
        layout = _layout_of(_with_format(fd, form, request.size_wh, name))
    if fault := size_error(layout.size_wh):
        raise CaptureError(f"gives images that are too large: {fault}. Ask for smaller ones: ?size=1280x720")
    return layout


def _driver_format(fd: int, kind: int) -> bytearray:
    form = bytearray(struct.pack("=I", kind).ljust(FORMAT_BYTES, b"\0"))
    fcntl.ioctl(fd, GET_FORMAT, form)
    return form


def _size_with_planes(fd: int) -> tuple[int, int] | None:
    """What a camera that sends several planes is set to; None for other devices."""
    try:
        width, height = struct.unpack_from("=II", _driver_format(fd, CAPTURE_PLANES), 8)
    except OSError:
        return None
    return (width, height) if min(width, height) > 0 else None


def _with_format(fd: int, form: bytearray, size_wh: tuple[int, int] | None, pixel_format: str | None) -> bytearray:
    """What the driver makes of a wish."""
    before = struct.unpack_from("=III", form, 8)
    wanted = bytearray(struct.pack("=I", CAPTURE).ljust(FORMAT_BYTES, b"\0"))
    number = fourcc(pixel_format) if pixel_format else before[2]
    struct.pack_into("=III", wanted, 8, *(size_wh or before[:2]), number)
    fcntl.ioctl(fd, SET_FORMAT, wanted)
    return wanted


def _layout_of(form: bytearray) -> Layout:
    width, height, number, _, row_bytes = struct.unpack_from("=IIIII", form, 8)
    name = number.to_bytes(4, "little").decode("ascii", "replace").strip("\0 ")
    if name in _PACKED:
        row_bytes = max(row_bytes, width * _PACKED[name].column_bytes)  # some drivers say 0
    return Layout((width, height), name, 0 if name in _JPEG else row_bytes)


def _is_known(layout: Layout) -> bool:
    width, height = layout.size_wh
    if not (0 < width <= _LARGEST_PX and 0 < height <= _LARGEST_PX):
        return False
    if layout.pixel_format in _JPEG:
        return True
    packed = _PACKED.get(layout.pixel_format)
    if packed is None or (layout.pixel_format in _NO_PADDING and layout.row_bytes != width):
        return False
    return packed.lines == _LINE or (width % 2 == 0 and height % 2 == 0)


def _agreed_rate_hz(fd: int, wish_hz: float | None) -> float:
    """Frames per second as the driver says; 0 where it does not."""
    parm = bytearray(struct.pack("=I", CAPTURE).ljust(PARM_BYTES, b"\0"))
    try:
        if wish_hz:
            period_s = 1 / Fraction(wish_hz).limit_denominator(1001)
            struct.pack_into("=II", parm, 12, period_s.numerator, period_s.denominator)
            with suppress(OSError):  # its rate is fixed
                fcntl.ioctl(fd, SET_PARM, parm)
            parm = bytearray(struct.pack("=I", CAPTURE).ljust(PARM_BYTES, b"\0"))
        fcntl.ioctl(fd, GET_PARM, parm)
    except OSError:
        return 0.0
    numerator, denominator = struct.unpack_from("=II", parm, 12)
    return denominator / numerator if numerator else 0.0


def _buffer(index: int) -> bytearray:
    buffer = bytearray(BUFFER_BYTES)
    struct.pack_into("=II", buffer, 0, index, CAPTURE)
    struct.pack_into("=I", buffer, 60, MMAP_MEMORY)
    return buffer


def _jpeg_shot(shot: Shot, data: bytes, scans: JpegScans) -> Shot:
    """The image as the camera sent it: of its own size, which may be another than before."""
    size_wh = None if jpeg_problem(data) else image_size_wh(data)
    if size_wh is None:
        return shot._replace(corrupt=True)
    layout = shot.format._replace(width=size_wh[0], height=size_wh[1])
    return shot._replace(format=layout, write=partial(_write_jpeg, data, size_wh, scans))


def _write_jpeg(data: bytes, size_wh: tuple[int, int], scans: JpegScans, slot: memoryview) -> None:
    if not scans.is_whole(data):
        raise DamagedImage
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None or image.shape[1::-1] != size_wh:
        raise DamagedImage
    np.frombuffer(slot, np.uint8).reshape(image.shape)[:] = image


def _write_packed(data: bytes, layout: Layout, slot: memoryview) -> None:
    width, height = layout.size_wh
    packed = _PACKED[layout.pixel_format]
    lines, used = int(height * packed.lines), width * packed.column_bytes
    strides = (layout.row_bytes, 1)
    rows = np.lib.stride_tricks.as_strided(np.frombuffer(data, np.uint8), (lines, used), strides, writeable=False)
    image = np.frombuffer(slot, np.uint8).reshape(height, width, 3)
    if packed.code is None:
        image[:] = rows.reshape(height, width, 3)
        return
    source = rows.reshape(lines, width, packed.column_bytes) if packed.column_bytes > 1 else rows
    cv2.cvtColor(source, packed.code, dst=image)


def _refuse(_slot: memoryview) -> None:
    raise DamagedImage
