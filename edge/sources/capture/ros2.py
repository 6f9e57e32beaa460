"""A topic of ROS 2: its images as they are published, raw or compressed, of whatever distribution."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from queue import Empty, Full, Queue
from typing import TYPE_CHECKING, Any

import numpy as np

from edge.errors import ConfigError, SourceDamaged, SourceError
from edge.ros2.messages import COMPRESSED, IMAGE, typestore
from edge.ros2.options import TopicOptions
from edge.ros2.session import Node
from edge.ros2.wire import Qos, Topic
from edge.sources.capture.opencv import cv2  # before anything else imports it: it sets how OpenCV behaves here
from edge.sources.capture.shot import CaptureError, DamagedImage, Shot
from edge.sources.capture.wire import CaptureRequest, Format
from edge.sources.imagefile import ImageError
from edge.sources.jpegscan import decode_whole_image
from edge.sources.rawimage import bgr_of_rows

if TYPE_CHECKING:
    import zenoh

    from edge.frame import Image

_IMAGES = (IMAGE, COMPRESSED)
_SILENT_S = 2.0  # without a message: no slower topic is a camera
_OLDEST_NS = 2_000_000_000  # a stamp that is older, or to come, is by another clock
_WAITING = 2  # messages between the network and the decoder; more would be old
_NODE, _QOS = "edge_camera", Qos(depth=5, reliable=False)


def open_ros2(request: CaptureRequest, patience_s: float) -> TopicReader:
    """A topic, whose first message is awaited for so many seconds.

    Raises:
        CaptureError: none came; what is published there instead is in it.
    """
    cv2.setNumThreads(1)  # JPEGs of one camera do not need more, and the engine has the cores
    return TopicReader(TopicOptions.unpack(request.target), patience_s)


class TopicReader:
    """The messages of one topic."""

    def __init__(self, options: TopicOptions, patience_s: float) -> None:
        self._options, self._store = options, typestore("LATEST")
        self._waiting: Queue[tuple[int, Any]] = Queue(_WAITING)
        self._announced = False
        try:
            self._node = Node(options.router, int(options.domain), "", _NODE, options.config_file)
        except ConfigError as error:
            raise CaptureError(str(error).removeprefix("ros2: "), permanent=True) from error
        try:
            # Any type and hash: those of its messages say what they are, of every distribution.
            key = f"{options.domain}{options.topic}/*/*"
            self._subscriber = self._node.session.declare_subscriber(key, self._take_in)
            self._first = self._await(patience_s)
            if self._first is None:
                raise CaptureError(self._silence_reason(patience_s))
        except BaseException:  # Ctrl-C too: no other owner could close the session
            self._node.close()
            raise

    def __enter__(self) -> TopicReader:
        return self

    def __exit__(self, *exception: object) -> None:
        self._node.close()

    def __iter__(self) -> Iterator[Shot]:
        arrived, self._first = self._first, None
        while arrived is not None:
            yield self._shot(*arrived)
            arrived = self._await(_SILENT_S)
        raise CaptureError(f"gave nothing for {_SILENT_S:g} s")

    def _take_in(self, sample: zenoh.Sample) -> None:
        """Called by Zenoh: the newest messages wait."""
        arrived = (time.monotonic_ns(), sample)
        while True:
            with suppress(Full):
                self._waiting.put_nowait(arrived)
                return
            with suppress(Empty):
                self._waiting.get_nowait()

    def _await(self, seconds: float) -> tuple[int, Any] | None:
        with suppress(Empty):
            return self._waiting.get(timeout=seconds)
        return None

    def _shot(self, arrived_ns: int, sample: zenoh.Sample) -> Shot:
        topic = Topic.of_key(str(sample.key_expr))
        if topic is None or topic.type not in _IMAGES:
            found = topic.type if topic else str(sample.key_expr)
            raise CaptureError(f"holds {found}; expected {IMAGE} or {COMPRESSED}", permanent=True)
        if not self._announced:
            self._announced = True
            self._node.announce_subscription(topic, _QOS)
        begun_ns = time.monotonic_ns()
        try:
            stamp_ns, image = self._decoded(topic.type, sample.payload.to_bytes())
        except SourceDamaged:
            return Shot(Format(1, 1, bgr=True), arrived_ns, 0, 0, True, _refuse)
        except SourceError as error:
            raise CaptureError(str(error).removeprefix(f"{self._options.topic} "), permanent=True) from error
        layout = Format(image.shape[1], image.shape[0], bgr=True)
        decode_ns = time.monotonic_ns() - begun_ns
        return Shot(layout, _captured_ns(stamp_ns, arrived_ns), 0, decode_ns, False, partial(_write, image))

    def _decoded(self, type_name: str, cdr: bytes) -> tuple[int, Image]:
        """The stamp in ns since 1970, and uint8 (H, W, 3) BGR, which may be a view of the message.

        Raises:
            SourceDamaged: it is no such message, or its image does not decode.
            SourceError: its images can never be read.
        """
        what = self._options.topic
        try:
            message: Any = self._store.deserialize_cdr(cdr, type_name)
        except Exception as error:  # its generated parsers let through whatever damaged bytes make of them
            raise SourceDamaged(f"{what} is damaged: {error}") from error
        stamp_ns = message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec
        if type_name == IMAGE:
            size_wh = (message.width, message.height)
            return stamp_ns, bgr_of_rows(message.encoding, size_wh, message.step, message.data, what)
        try:
            image = decode_whole_image(bytes(message.data), live=True)
        except ImageError as error:
            raise SourceDamaged(f"{what} ({message.format}) {error}") from error
        return stamp_ns, image

    def _silence_reason(self, seconds: float) -> str:
        if not self._node.links:
            return f"no router of ROS 2 at {self._options.router}. Start one: ros2 run rmw_zenoh_cpp rmw_zenohd"
        there = self._node.published()
        held = [topic.type for topic in there if topic.name == self._options.topic]
        if any(kind in _IMAGES for kind in held):
            return f"is published, and gave nothing in {seconds:g} s"
        if held:
            return f"holds {held[0]}; expected {IMAGE} or {COMPRESSED}"
        names = ", ".join(sorted({topic.name for topic in there if topic.type in _IMAGES}))
        return f"is not published in domain {self._options.domain}; topics of images there: {names or 'none'}"


def _captured_ns(stamp_ns: int, arrived_ns: int) -> int:
    """When the image was taken, on the monotonic clock: by the header's stamp where that is by this machine's clock."""
    age_ns = time.time_ns() - stamp_ns
    now_ns = time.monotonic_ns()
    return now_ns - age_ns if 0 <= age_ns <= _OLDEST_NS else arrived_ns


def _write(image: Image, slot: memoryview) -> None:
    np.copyto(np.frombuffer(slot, np.uint8).reshape(image.shape), image)


def _refuse(_: memoryview) -> None:
    raise DamagedImage
