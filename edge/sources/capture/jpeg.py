"""JPEGs from a camera, checked before a decoder sees them."""

from __future__ import annotations

from edge.limits import size_error
from edge.sources.capture.shot import CaptureError
from edge.sources.imagefile import image_size_wh, jpeg_fault


def jpeg_problem(data: bytes) -> str:
    """Why an image is not to be decoded: damaged by its markers; "" where it may be.

    Raises:
        CaptureError: it is larger than allowed. A camera that sends such images is not to go on.
    """
    if fault := jpeg_fault(data):
        return fault
    size_wh = image_size_wh(data)
    if size_wh is None or min(size_wh) < 1:
        return "has no size"
    if fault := size_error(size_wh):
        raise CaptureError(f"sends images that are too large: {fault}")
    return ""
