"""A camera model in a drive, as Foxglove has it."""

from __future__ import annotations

import numpy as np

from edge.drive.schema import CALIBRATION_SCHEMA, FRAME_ID, message_class
from edge.geometry.ground import GroundPlane


def calibration_message(plane: GroundPlane, time_ns: int) -> bytes:
    """A foxglove.CameraCalibration: size, camera matrix and distortion of the frames, in OpenCV's convention: the
    middle of the first pixel is (0, 0). Where the camera stands is not in it, but in the drive's config.
    """
    message = message_class(CALIBRATION_SCHEMA)(frame_id=FRAME_ID, width=plane.size_wh[0], height=plane.size_wh[1])
    matrix = plane.matrix.copy()
    matrix[:2, 2] -= 0.5
    coefficients = plane.model.distortion
    message.distortion_model = "rational_polynomial" if len(coefficients) > 5 else "plumb_bob"
    message.D.extend((*coefficients, *[0.0] * (5 - len(coefficients))))
    message.K.extend(matrix.ravel().tolist())
    message.R.extend(np.eye(3).ravel().tolist())
    message.P.extend(np.hstack([matrix, np.zeros((3, 1))]).ravel().tolist())
    message.timestamp.FromNanoseconds(time_ns)
    return message.SerializeToString()
