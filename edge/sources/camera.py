"""Cameras of this machine: V4L2 devices, GStreamer pipelines, and the CSI cameras of a Jetson."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edge.errors import ConfigError, SourceError, SourceNotFound
from edge.secrets import redacted
from edge.sources.capture.wire import CaptureRequest
from edge.sources.supervised import Supervised

_DEVICE = re.compile(r"(?P<device>\d+|/dev/[^?]+)(?:\?(?P<query>.*))?", re.DOTALL)
_CSI = re.compile(r"csi:(?P<device>\d{1,2})(?:\?(?P<query>.*))?", re.DOTALL)
_FORMATS = ("mjpeg", "yuyv", "uyvy", "nv12", "bgr3")


def open_camera(name: str) -> Supervised:
    """A camera by number or device path: "0", "/dev/video0?size=1280x720&fps=30&format=mjpeg". Capture begins at once.

    The driver takes the nearest to what is asked for; what it gives is in the source's `health.note`, and logged.

    Raises:
        SourceNotFound: there is no such device.
        SourceError: this user may not use it.
        ConfigError: the wishes behind "?" are none.
    """
    request = device_request(name)
    _refuse_unreadable(request.target)
    return Supervised(name, request)


def device_request(name: str) -> CaptureRequest:
    """What the capture process of that device is asked for; whether the device is there is not asked.

    Raises:
        ConfigError: the wishes behind "?" are none.
    """
    match = _DEVICE.fullmatch(name)
    device, query = (match["device"], match["query"]) if match else (name, None)
    path = f"/dev/video{device}" if device.isdecimal() else device
    wishes = _wishes(name, query, {"size": _size_wh, "fps": _rate_hz, "format": _pixel_format})
    return CaptureRequest("v4l2", path, wishes.get("size"), wishes.get("fps"), wishes.get("format"))


def pipeline_request(name: str) -> CaptureRequest:
    """What the capture process is asked for of a GStreamer pipeline that ends in an appsink of BGR images:
    "gst:v4l2src ! ... ! appsink".

    Raises:
        ConfigError: it has no appsink.
    """
    pipeline = name.removeprefix("gst:").strip()
    if "appsink" not in pipeline:
        raise ConfigError(
            f"{redacted(name)}: hands over no frames. Let it end in: videoconvert ! video/x-raw,format=BGR ! appsink"
        )
    return CaptureRequest("gstreamer", pipeline)


def csi_request(name: str) -> CaptureRequest:
    """What the capture process is asked for of a CSI camera of a Jetson, through NVIDIA's Argus:
    "csi:0?size=1280x720&fps=30".

    Raises:
        ConfigError: the number or the wishes behind "?" are none.
    """
    match = _CSI.fullmatch(name)
    if match is None:
        raise ConfigError(f"{redacted(name)}: is no CSI camera. One looks like this: csi:0?size=1280x720&fps=30")
    wishes = _wishes(name, match["query"], {"size": _size_wh, "fps": _rate_hz})
    size_wh, rate_hz = wishes.get("size") or (1280, 720), wishes.get("fps") or 30.0
    pipeline = csi_pipeline(int(match["device"]), size_wh, rate_hz)
    return CaptureRequest("gstreamer", pipeline, size_wh, rate_hz)


def csi_pipeline(sensor: int, size_wh: tuple[int, int], rate_hz: float) -> str:
    """The image is scaled and brought to BGRx by the Jetson's own hardware; one frame waits, the newest."""
    return (
        f"nvarguscamerasrc sensor-id={sensor}"
        f" ! video/x-raw(memory:NVMM),width={size_wh[0]},height={size_wh[1]},framerate={round(rate_hz * 1000)}/1000"
        " ! nvvidconv ! video/x-raw,format=BGRx ! videoconvert ! video/x-raw,format=BGR"
        " ! appsink max-buffers=1 drop=true sync=false"
    )


def _wishes(name: str, query: str | None, readers: Mapping[str, Callable[[str], Any]]) -> dict[str, Any]:
    wishes: dict[str, Any] = {}
    for part in query.split("&") if query else []:
        key, _, text = part.partition("=")
        if key not in readers or key in wishes:
            found = f"{key!r} twice" if key in wishes else f"{key!r}"
            raise ConfigError(f"{redacted(name)}: asks for {found}; expected each once of: {', '.join(readers)}")
        try:
            wishes[key] = readers[key](text)
        except ValueError as error:
            raise ConfigError(f"{redacted(name)}: {key}={text}: expected {error}") from None
    return wishes


def _size_wh(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if not match or not (16 <= int(match[1]) <= 16384 and 16 <= int(match[2]) <= 16384):
        raise ValueError("WIDTHxHEIGHT, as 1280x720, each 16 to 16384")
    return int(match[1]), int(match[2])


def _rate_hz(text: str) -> float:
    if not re.fullmatch(r"\d{1,4}(\.\d{1,3})?", text) or not 0 < float(text) <= 1000:
        raise ValueError("frames per second, as 30, at most 1000")
    return float(text)


def _pixel_format(text: str) -> str:
    if text.lower() not in _FORMATS:
        raise ValueError(f"one of {', '.join(_FORMATS)}")
    return text.lower()


def _refuse_unreadable(path: str) -> None:
    if not Path(path).exists():
        there = ", ".join(sorted(map(str, Path("/dev").glob("video*")))) or "none"
        raise SourceNotFound(
            f"{path}: there is no such camera; there are: {there}."
            " Without one: scene:street in its place, as in edge run scene:street"
        )
    if not os.access(path, os.R_OK | os.W_OK, effective_ids=True):
        raise SourceError(f"{path}: this user may not use the camera. Try: sudo usermod -aG video $USER, log in again")
