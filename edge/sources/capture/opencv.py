"""OpenCV as the capture process uses it: silent, and not waiting long for a device."""

from __future__ import annotations

import os

os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "2")  # seconds; OpenCV reads it when it is imported
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")

import cv2

__all__ = ["cv2"]
