"""V4L2 cameras through OpenCV."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import cv2

from edge.errors import SourceError, SourceNotFound
from edge.frame import Frame
from edge.timing import Durations


class Camera:
    """A camera by number or device path. Frames are stamped between grab and decode, and never buffered here."""

    live = True
    frame_count: int | None = None

    def __init__(self, device: str) -> None:
        self.name = device
        self.decode = Durations()
        path = f"/dev/video{device}" if device.isdecimal() else device
        _refuse_unreadable(path)
        self._capture = cv2.VideoCapture(path, cv2.CAP_V4L2)
        if not self._capture.isOpened():
            raise SourceError(f"{path}: cannot be opened as a camera. Is it in use elsewhere? Try: fuser -v {path}")
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        self.size_wh = (int(self._capture.get(3)), int(self._capture.get(4)))
        self.rate_hz: float | None = self._capture.get(cv2.CAP_PROP_FPS) or None

    def __enter__(self) -> Camera:
        return self

    def __exit__(self, *exception: object) -> None:
        self._capture.release()

    def __iter__(self) -> Iterator[Frame]:
        """Frames for as long as the camera gives them.

        Raises:
            SourceError: it stopped giving them.
        """
        index = 0
        while self._capture.grab():
            captured_ns = time.monotonic_ns()
            with self.decode.span():
                good, image = self._capture.retrieve()
            if not good:
                break
            yield Frame(index=index, captured_ns=captured_ns, source=self.name, bgr=image)
            index += 1
        raise SourceError(f"camera {self.name}: stopped giving frames after {index}. Check its cable, start again.")


def _refuse_unreadable(path: str) -> None:
    if not Path(path).exists():
        there = ", ".join(sorted(map(str, Path("/dev").glob("video*")))) or "none"
        raise SourceNotFound(f"{path}: there is no such camera; there are: {there}. Without one: edge run scene:street")
    if not os.access(path, os.R_OK | os.W_OK, effective_ids=True):
        raise SourceError(f"{path}: this user may not use the camera. Try: sudo usermod -aG video $USER, log in again")
