"""Messages of ROS 2 in CDR, by the definitions of a distribution; rosbags writes and reads them."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edge.errors import ConfigError
from edge.paths import shown
from edge.ros2.wire import NO_HASH, Topic

if TYPE_CHECKING:
    from rosbags.typesys.store import Typestore

    from edge.classes import ClassTable
    from edge.frame import Image
    from edge.geometry.ground import GroundPlane
    from edge.instances import Instance


class Distribution(NamedTuple):
    """The types of a ROS distribution, as rosbags calls them, and whether its rmw_zenoh knows their hashes."""

    store: str
    hashes: bool


DISTRIBUTIONS = {
    "humble": Distribution("ROS2_HUMBLE", hashes=False),
    "jazzy": Distribution("ROS2_JAZZY", hashes=True),
    "kilted": Distribution("ROS2_KILTED", hashes=True),
}

HEADER, TIME = "std_msgs/msg/Header", "builtin_interfaces/msg/Time"
IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
CAMERA_INFO, REGION = "sensor_msgs/msg/CameraInfo", "sensor_msgs/msg/RegionOfInterest"
DETECTIONS, LABELS = "vision_msgs/msg/Detection2DArray", "vision_msgs/msg/LabelInfo"
DIAGNOSTICS, STATUS = "diagnostic_msgs/msg/DiagnosticArray", "diagnostic_msgs/msg/DiagnosticStatus"
OK, WARN, ERROR = 0, 1, 2  # of a DiagnosticStatus

# vision_msgs 4.1, which Humble, Jazzy and Kilted share and rosbags has not. The fields' order and names are the type's.
_VISION = {
    "Point2D": "float64 x\nfloat64 y",
    "Pose2D": "vision_msgs/Point2D position\nfloat64 theta",
    "BoundingBox2D": "vision_msgs/Pose2D center\nfloat64 size_x\nfloat64 size_y",
    "ObjectHypothesis": "string class_id\nfloat64 score",
    "ObjectHypothesisWithPose": "vision_msgs/ObjectHypothesis hypothesis\ngeometry_msgs/PoseWithCovariance pose",
    "Detection2D": (
        "std_msgs/Header header\nvision_msgs/ObjectHypothesisWithPose[] results\nvision_msgs/BoundingBox2D bbox\n"
        "string id"
    ),
    "Detection2DArray": "std_msgs/Header header\nvision_msgs/Detection2D[] detections",
    "VisionClass": "uint16 class_id\nstring class_name",
    "LabelInfo": "std_msgs/Header header\nvision_msgs/VisionClass[] class_map\nfloat32 threshold",
}


def checked_distribution(what: str, name: str) -> str:
    """Raises ConfigError: no such distribution is known."""
    if name not in DISTRIBUTIONS:
        raise ConfigError(f"{what}: expected one of {', '.join(DISTRIBUTIONS)}, got {shown(name)}")
    return name


class Messages:
    """What is sent, as messages of a distribution; stamps are ns since 1970.

    Each method gives a message in CDR with its encapsulation header.
    """

    def __init__(self, distribution: str, frame_id: str) -> None:
        self._hashes = DISTRIBUTIONS[distribution].hashes
        self._store = typestore(DISTRIBUTIONS[distribution].store)
        self._frame_id = frame_id

    def topic(self, name: str, type_name: str) -> Topic:
        """The topic of that name with messages of that type."""
        return Topic(name, type_name, self._store.hash_rihs01(type_name) if self._hashes else NO_HASH)

    def compressed(self, stamp_ns: int, form: str, data: Image) -> bytearray:
        """A sensor_msgs/CompressedImage: uint8 (N,) as a file of that format, "jpeg" or "png"."""
        return self._written(COMPRESSED, self._header(stamp_ns), form, data)

    def image(self, stamp_ns: int, encoding: str, pixels: Image) -> bytearray:
        """A sensor_msgs/Image of uint8 (H, W) or (H, W, C), whose encoding is by sensor_msgs/image_encodings.hpp."""
        rows = np.ascontiguousarray(pixels)
        height, width = rows.shape[:2]
        step = rows.size // height
        return self._written(IMAGE, self._header(stamp_ns), height, width, encoding, 0, step, rows.reshape(-1))

    def labels(self, stamp_ns: int, table: ClassTable) -> bytearray:
        """A vision_msgs/LabelInfo: the name of each class id of a mask."""
        classes = [self._new("vision_msgs/msg/VisionClass", number, name) for number, name in enumerate(table.names)]
        return self._written(LABELS, self._header(stamp_ns), classes, 0.0)

    def detections(self, stamp_ns: int, instances: tuple[Instance, ...]) -> bytearray:
        """A vision_msgs/Detection2DArray: boxes in pixels of the image, `id` of the track, or "" of an object without,
        `class_id` as the labels count them, score 1 where the engine does not say how sure it is.
        """
        header = self._header(stamp_ns)
        return self._written(DETECTIONS, header, [self._detection(header, one) for one in instances])

    def camera_info(self, stamp_ns: int, plane: GroundPlane) -> bytearray:
        """A sensor_msgs/CameraInfo: size, camera matrix and distortion of the frames, as OpenCV has them."""
        matrix = plane.matrix.copy()
        matrix[:2, 2] -= 0.5  # the middle of the first pixel is (0, 0)
        coefficients = plane.model.distortion
        model = "rational_polynomial" if len(coefficients) > 5 else "plumb_bob"
        projection = np.hstack([matrix, np.zeros((3, 1))])
        width, height = plane.size_wh
        d = np.array([*coefficients, *[0.0] * (5 - len(coefficients))])
        arrays = (d, matrix.ravel(), np.eye(3).ravel(), projection.ravel())
        region = self._new(REGION, 0, 0, 0, 0, False)
        return self._written(CAMERA_INFO, self._header(stamp_ns), height, width, model, *arrays, 0, 0, region)

    def diagnostics(
        self, stamp_ns: int, name: str, hardware_id: str, level: int, message: str, values: dict[str, str]
    ) -> bytearray:
        """A diagnostic_msgs/DiagnosticArray with one status."""
        pairs = [self._new("diagnostic_msgs/msg/KeyValue", key, value) for key, value in values.items()]
        status = self._new(STATUS, level, name, message, hardware_id, pairs)
        return self._written(DIAGNOSTICS, self._header(stamp_ns), [status])

    def _detection(self, header: Any, one: Instance) -> Any:
        left, top, right, bottom = one.box
        centre = self._new("vision_msgs/msg/Point2D", (left + right) / 2, (top + bottom) / 2)
        pose = self._new("vision_msgs/msg/Pose2D", centre, 0.0)
        box = self._new("vision_msgs/msg/BoundingBox2D", pose, right - left, bottom - top)
        score = 1.0 if one.confidence is None else one.confidence
        guess = self._new("vision_msgs/msg/ObjectHypothesis", str(one.class_id), score)
        result = self._new("vision_msgs/msg/ObjectHypothesisWithPose", guess, self._nowhere())
        track = "" if one.track_id is None else str(one.track_id)
        return self._new("vision_msgs/msg/Detection2D", header, [result], box, track)

    def _nowhere(self) -> Any:
        """A pose that says nothing: a box has no place in space."""
        point = self._new("geometry_msgs/msg/Point", 0.0, 0.0, 0.0)
        turn = self._new("geometry_msgs/msg/Quaternion", 0.0, 0.0, 0.0, 1.0)
        pose = self._new("geometry_msgs/msg/Pose", point, turn)
        return self._new("geometry_msgs/msg/PoseWithCovariance", pose, np.zeros(36))

    def _header(self, stamp_ns: int) -> Any:
        return self._new(HEADER, self._new(TIME, *divmod(stamp_ns, 1_000_000_000)), self._frame_id)

    def _new(self, type_name: str, *fields: Any) -> Any:
        return self._store.types[type_name](*fields)

    def _written(self, type_name: str, *fields: Any) -> bytearray:
        return bytearray(self._store.serialize_cdr(self._new(type_name, *fields), type_name))


@cache
def typestore(name: str) -> Typestore:
    """The types of a distribution, as rosbags calls it, and those of vision_msgs."""
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store = get_typestore(Stores[name])
    added: dict[str, Any] = {}
    for short, definition in _VISION.items():
        added |= get_types_from_msg(definition, f"vision_msgs/msg/{short}")
    store.register(added)
    return store
