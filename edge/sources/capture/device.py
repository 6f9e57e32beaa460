"""Cameras of this machine through OpenCV: V4L2 devices, and GStreamer pipelines as CSI cameras need them."""

from __future__ import annotations

import fcntl
import os
import struct
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "2")  # seconds; OpenCV reads it when it is imported
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")

import cv2
import numpy as np

from edge.sources.capture.jpeg import jpeg_problem
from edge.sources.capture.shot import CaptureError, DamagedImage, Shot
from edge.sources.capture.wire import CaptureRequest, Format
from edge.sources.imagefile import image_size_wh

# linux/videodev2.h, 64 bits: struct v4l2_format is a type, and at byte 8 width and height of a plane.
_VIDEO_CAPTURE, _FORMAT_BYTES, _GET_FORMAT = 1, 208, 0xC0D05604
_LATEST_NS = 1_000_000_000  # a driver's time that is further from ours is by another clock


class Device:
    """A V4L2 camera or a GStreamer pipeline. OpenCV opens it in its own time, whatever the patience."""

    def __init__(self, request: CaptureRequest, _patience_s: float = 0.0) -> None:
        self._is_v4l2 = request.kind == "v4l2"
        self._capture = _open_v4l2(request) if self._is_v4l2 else _open_gstreamer(request)
        width = round(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        height = round(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        rate_hz = max(0.0, float(self._capture.get(cv2.CAP_PROP_FPS)))
        if width < 1 or height < 1:
            self._capture.release()
            raise CaptureError(f"gives frames of {width}x{height}")
        self._format = Format(width, height, bgr=True, rate_hz=rate_hz)
        pixel_format = self._pixel_format()
        self._format = self._format._replace(note=unmet(request, self._format, pixel_format))
        # OpenCV hands out the former image where one does not decode: a JPEG is taken as it is, and decoded here.
        self._sends_jpeg = pixel_format in ("MJPG", "JPEG") and self._capture.set(cv2.CAP_PROP_CONVERT_RGB, 0)

    def _pixel_format(self) -> str:
        code = int(self._capture.get(cv2.CAP_PROP_FOURCC)) if self._is_v4l2 else 0
        return code.to_bytes(4, "little").decode("ascii", "replace").strip("\0 ") if code > 0 else ""

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *exception: object) -> None:
        self._capture.release()

    def __iter__(self) -> Iterator[Shot]:
        while self._capture.grab():
            captured_ns = self._captured_ns(time.monotonic_ns())
            yield self._jpeg(captured_ns) if self._sends_jpeg else self._shot(captured_ns)
        raise CaptureError("stopped giving frames (is its cable in?)")

    def _shot(self, captured_ns: int) -> Shot:
        return Shot(self._format, captured_ns, 0, 0, False, self._write)

    def _jpeg(self, captured_ns: int) -> Shot:
        """The image as the camera sent it: of its own size, which may be another than before."""
        good, raw = self._capture.retrieve()
        data = raw.tobytes() if good and raw is not None else b""
        size_wh = None if jpeg_problem(data) else image_size_wh(data)
        if size_wh is None:
            return self._shot(captured_ns)._replace(corrupt=True)
        layout = self._format._replace(width=size_wh[0], height=size_wh[1])
        return Shot(layout, captured_ns, 0, 0, False, partial(_write_jpeg, data, size_wh))

    def _captured_ns(self, now_ns: int) -> int:
        """When the driver got the frame, by the clock that V4L2 drivers use, ours; now, where it has another."""
        if not self._is_v4l2:
            return now_ns
        driver_ns = round(self._capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6)
        return driver_ns if 0 <= now_ns - driver_ns < _LATEST_NS else now_ns

    def _write(self, slot: memoryview) -> None:
        wanted = np.frombuffer(slot, np.uint8).reshape(self._format.height, self._format.width, 3)
        good, image = self._capture.retrieve(wanted)
        if not good or image is None:
            raise DamagedImage
        if image.shape != wanted.shape or image.dtype != np.uint8:
            hint = "" if self._is_v4l2 else ". A pipeline ends in: videoconvert ! video/x-raw,format=BGR ! appsink"
            raise CaptureError(
                f"expected frames of {wanted.shape} (height, width, channels), got {image.shape} {image.dtype}{hint}"
            )
        if not np.shares_memory(image, wanted):
            wanted[:] = image


def _write_jpeg(data: bytes, size_wh: tuple[int, int], slot: memoryview) -> None:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None or image.shape[1::-1] != size_wh:
        raise DamagedImage
    np.frombuffer(slot, np.uint8).reshape(image.shape)[:] = image


def _open_v4l2(request: CaptureRequest) -> cv2.VideoCapture:
    if not Path(request.target).exists():
        raise CaptureError("is not there (is its cable in?)")
    if not os.access(request.target, os.R_OK | os.W_OK):
        raise CaptureError("may not be used by this user: sudo usermod -aG video $USER, log in again", permanent=True)
    wishes = []
    size_wh = request.size_wh or driver_size_wh(request.target)  # OpenCV sets 640x480 where it is not asked for another
    if request.pixel_format:  # first: sizes and rates belong to a format
        wishes += [cv2.CAP_PROP_FOURCC, fourcc(request.pixel_format)]
    if size_wh:
        wishes += [cv2.CAP_PROP_FRAME_WIDTH, size_wh[0], cv2.CAP_PROP_FRAME_HEIGHT, size_wh[1]]
    if request.rate_hz:
        wishes += [cv2.CAP_PROP_FPS, round(request.rate_hz)]
    capture = cv2.VideoCapture(request.target, cv2.CAP_V4L2)
    if not capture.isOpened():
        raise CaptureError(f"cannot be opened as a camera: is it in use? Try: fuser -v {request.target}")
    for name, value in zip(wishes[::2], wishes[1::2], strict=True):
        capture.set(name, value)  # what came of it is in the note: drivers take the nearest that they can
    return capture


def driver_size_wh(path: str) -> tuple[int, int] | None:
    """The size that a camera is set to (VIDIOC_G_FMT); None where its driver does not say, or takes several planes."""
    form = bytearray(_FORMAT_BYTES)
    struct.pack_into("=I", form, 0, _VIDEO_CAPTURE)
    try:
        with open(path, "rb+", buffering=0) as camera:  # noqa: PTH123 a device
            fcntl.ioctl(camera, _GET_FORMAT, form)
    except OSError:
        return None
    width, height = struct.unpack_from("=II", form, 8)
    return (width, height) if 0 < width <= 1 << 14 and 0 < height <= 1 << 14 else None


def _open_gstreamer(request: CaptureRequest) -> cv2.VideoCapture:
    if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        raise CaptureError(
            f"needs an OpenCV with GStreamer, as JetPack and Debian have it; this one, {cv2.__version__} in"
            f" {Path(str(cv2.__file__)).parent}, is without",
            permanent=True,
        )
    capture = cv2.VideoCapture(request.target, cv2.CAP_GSTREAMER)
    if not capture.isOpened():
        raise CaptureError("the pipeline does not start. Try it alone: gst-launch-1.0 ... ! fakesink")
    return capture


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
