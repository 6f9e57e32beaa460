"""Images that are sent as rows of pixels, as ROS and Foxglove name their layouts."""

from __future__ import annotations

import cv2
import numpy as np

from edge.errors import SourceDamaged, SourceError
from edge.frame import Image
from edge.limits import size_error
from edge.shortage import check_shortage

# sensor_msgs/image_encodings.hpp. OpenCV names a Bayer pattern by its second row's second and third pixel.
_TO_BGR: dict[str, tuple[int, int | None]] = {
    "bgr8": (3, None),
    "8UC3": (3, None),
    "rgb8": (3, cv2.COLOR_RGB2BGR),
    "bgra8": (4, cv2.COLOR_BGRA2BGR),
    "rgba8": (4, cv2.COLOR_RGBA2BGR),
    "mono8": (1, cv2.COLOR_GRAY2BGR),
    "8UC1": (1, cv2.COLOR_GRAY2BGR),
    "yuv422": (2, cv2.COLOR_YUV2BGR_UYVY),
    "uyvy": (2, cv2.COLOR_YUV2BGR_UYVY),
    "yuv422_yuy2": (2, cv2.COLOR_YUV2BGR_YUYV),
    "yuyv": (2, cv2.COLOR_YUV2BGR_YUYV),
    "bayer_rggb8": (1, cv2.COLOR_BAYER_BG2BGR),
    "bayer_bggr8": (1, cv2.COLOR_BAYER_RG2BGR),
    "bayer_gbrg8": (1, cv2.COLOR_BAYER_GR2BGR),
    "bayer_grbg8": (1, cv2.COLOR_BAYER_GB2BGR),
}


def bgr_of_rows(encoding: str, size_wh: tuple[int, int], step: int, data: object, what: str) -> Image:
    """uint8 (H, W, 3) BGR, of rows of `step` bytes that may be padded; `what` names the image in errors.

    Raises:
        SourceError: the encoding is not known, or the image larger than allowed.
        SourceDamaged: the bytes do not fit the size.
    """
    if encoding not in _TO_BGR:
        raise SourceError(f"{what} is coded as {encoding!r}; expected one of: {', '.join(_TO_BGR)}")
    channels, conversion = _TO_BGR[encoding]
    width, height = size_wh
    rows = np.frombuffer(data, np.uint8) if isinstance(data, bytes) else np.asarray(data, np.uint8)
    if min(width, height) < 1 or width * channels > step or rows.size != height * step:
        raise SourceDamaged(f"{what} of {width}x{height} has {rows.size} bytes in rows of {step}.")
    if fault := size_error(size_wh):
        raise SourceError(f"{what}: {fault}")
    pixels = np.ascontiguousarray(rows.reshape(height, step)[:, : width * channels].reshape(height, width, channels))
    try:
        return pixels if conversion is None else cv2.cvtColor(pixels, conversion)
    except cv2.error as error:  # an odd width has no 4:2:2
        check_shortage(error)
        raise SourceDamaged(f"{what} of {width}x{height} cannot be {encoding}.") from error
