"""Cameras through OpenCV: GStreamer pipelines as CSI cameras need them, and V4L2 devices that `v4l2` cannot read."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edge.sources.capture.opencv import cv2
from edge.sources.capture.shot import CaptureError, DamagedImage, Shot
from edge.sources.capture.v4l2 import fourcc, unmet
from edge.sources.capture.wire import CaptureRequest, Format

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
        self._format = self._format._replace(note=unmet(request, self._format, self._pixel_format()))

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
            yield Shot(self._format, captured_ns, 0, 0, False, self._write)
        raise CaptureError("stopped giving frames (is its cable in?)")

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


def _open_v4l2(request: CaptureRequest) -> cv2.VideoCapture:
    if not Path(request.target).exists():
        raise CaptureError("is not there (is its cable in?)")
    if not os.access(request.target, os.R_OK | os.W_OK):
        raise CaptureError("may not be used by this user: sudo usermod -aG video $USER, log in again", permanent=True)
    wishes = []
    if request.pixel_format:  # first: sizes and rates belong to a format
        wishes += [cv2.CAP_PROP_FOURCC, fourcc(request.pixel_format)]
    if request.size_wh:
        wishes += [cv2.CAP_PROP_FRAME_WIDTH, request.size_wh[0], cv2.CAP_PROP_FRAME_HEIGHT, request.size_wh[1]]
    if request.rate_hz:
        wishes += [cv2.CAP_PROP_FPS, round(request.rate_hz)]
    capture = cv2.VideoCapture(request.target, cv2.CAP_V4L2)
    if not capture.isOpened():
        raise CaptureError(f"cannot be opened as a camera: is it in use? Try: fuser -v {request.target}")
    for name, value in zip(wishes[::2], wishes[1::2], strict=True):
        capture.set(name, value)  # what came of it is in the note: drivers take the nearest that they can
    return capture


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
