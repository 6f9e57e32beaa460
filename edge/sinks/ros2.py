"""Results as messages of ROS 2, on Zenoh in the form of rmw_zenoh. docs/ros2.md."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from edge.ros2.messages import (
    CAMERA_INFO,
    COMPRESSED,
    DETECTIONS,
    DIAGNOSTICS,
    ERROR,
    IMAGE,
    LABELS,
    OK,
    WARN,
    Messages,
)
from edge.ros2.session import Heartbeat, Node, Publisher
from edge.ros2.wire import Qos
from edge.status import Status

if TYPE_CHECKING:
    from edge.prediction import Prediction
    from edge.ros2.options import Ros2Options
    from edge.sinks.table import SinkContext

log = logging.getLogger(__name__)

NODE = "edge"
QUIET_S = 2.0  # without a result: diagnostics then report an error
_SENSOR_DEPTH = 5  # rmw_qos_profile_sensor_data
_KEPT_QOS, _PLAIN_QOS = Qos(depth=1, transient_local=True), Qos(depth=10)


class Shown(NamedTuple):
    """A result with what its messages share."""

    result: Prediction
    stamp_ns: int
    options: Ros2Options
    messages: Messages


class TopicKind(NamedTuple):
    """A topic of results.

    Attributes:
        name: below the namespace; type_name: of its messages.
        has: whether there is one of this result.
        make: the message, in CDR.
    """

    name: str
    type_name: str
    has: Callable[[Prediction], bool]
    make: Callable[[Shown], bytearray]


def _jpeg(seen: Shown) -> bytearray:
    image, quality = seen.result.frame.image, [cv2.IMWRITE_JPEG_QUALITY, int(seen.options.quality)]
    return seen.messages.compressed(seen.stamp_ns, "jpeg", cv2.imencode(".jpg", image, quality)[1])


def _raw(seen: Shown) -> bytearray:
    return seen.messages.image(seen.stamp_ns, "bgr8", seen.result.frame.image)


def _mask(seen: Shown) -> bytearray:
    return seen.messages.image(seen.stamp_ns, "mono8", seen.result.content("semantic"))


def _detections(seen: Shown) -> bytearray:
    return seen.messages.detections(seen.stamp_ns, seen.result.instances or ())


def _camera_info(seen: Shown) -> bytearray:
    assert seen.result.ground is not None
    return seen.messages.camera_info(seen.stamp_ns, seen.result.ground)


def _always(_: Prediction) -> bool:
    return True


# image_transport finds a compressed image below the name of the raw one.
_IMAGES = {
    "compressed": TopicKind("image/compressed", COMPRESSED, _always, _jpeg),
    "raw": TopicKind("image", IMAGE, _always, _raw),
}
_OF_RESULTS = {
    "mask": TopicKind("mask", IMAGE, _always, _mask),
    "detections": TopicKind("detections", DETECTIONS, lambda result: result.instances is not None, _detections),
    "camera_info": TopicKind("camera_info", CAMERA_INFO, lambda result: result.ground is not None, _camera_info),
}


class Ros2Sink:
    """Publishes each result. A message is made only where a node has subscribed to its topic."""

    def __init__(self, options: Ros2Options, context: SinkContext) -> None:
        self._options, self._stages = options, context.stages
        self._about = (context.source, context.card.name)
        self._messages = Messages(options.distribution, options.frame_id)
        self._kinds = {"image": _IMAGES[options.image], **_OF_RESULTS}
        self._kinds = {name: kind for name, kind in self._kinds.items() if name in options.chosen}
        self._table = context.card.table
        self._publishers: dict[str, Publisher] = {}
        self._owned = ExitStack()
        self._node: Node | None = None
        self._pulse = _Pulse()
        self._health = Status()

    def __enter__(self) -> Ros2Sink:
        """Raises:
        ConfigError: Zenoh cannot be opened.
        """
        options = self._options
        self._node = Node(options.router, int(options.domain), options.namespace, NODE, options.config_file)
        self._owned.callback(self._node.close)
        try:
            self._tell_labels()
            if "diagnostics" in options.chosen:
                self._publish_on("/diagnostics", DIAGNOSTICS, _PLAIN_QOS)
            self._owned.enter_context(Heartbeat(f"ros2 {options.namespace}", self._beat))
        except BaseException:  # Ctrl-C too: a session that is left open keeps the program from ending
            self._owned.close()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._owned.close()

    @property
    def health(self) -> Status:
        """Whether a router or a node is reached, as of the last second. Any thread may ask."""
        return self._health

    def write(self, result: Prediction, dropped: int) -> None:
        """Publish one result; see `edge.sinks.sink.Sink.write`."""
        self._pulse.add(result, dropped)
        if result.table.names != self._table.names:  # another engine was put in place
            self._table = result.table
            self._tell_labels()
        seen = Shown(result, capture_stamp_ns(result.frame.captured_ns), self._options, self._messages)
        qos = Qos(_SENSOR_DEPTH, reliable=self._options.qos == "reliable")
        for kind in self._kinds.values():
            if not kind.has(result):
                continue
            publisher = self._publish_on(f"{self._options.namespace}/{kind.name}", kind.type_name, qos)
            if publisher.is_heard:
                with self._stages["ros2"].span():
                    publisher.write(kind.make(seen))

    def _tell_labels(self) -> None:
        if "label_info" in self._options.chosen:
            publisher = self._publish_on(f"{self._options.namespace}/label_info", LABELS, _KEPT_QOS)
            publisher.write(self._messages.labels(time.time_ns(), self._table))

    def _publish_on(self, name: str, type_name: str, qos: Qos) -> Publisher:
        if name not in self._publishers:
            assert self._node is not None
            self._publishers[name] = self._node.publisher(self._messages.topic(name, type_name), qos)
        return self._publishers[name]

    def _beat(self) -> None:
        """Once a second: how the connection is, and the diagnostics."""
        node = self._node
        assert node is not None
        before, links = self._health, node.links
        totals = {"messages_sent": sum(publisher.sent for publisher in node.publishers)}
        state, reason = ("ok", "") if links else ("lost", f"no router of ROS 2 at {node.router}; it is tried again")
        self._health = Status(state, reason, totals=totals, levels={"links": links})
        if state != before.state:
            log.log(logging.INFO if links else logging.WARNING, "ros2: %s", self._health)
        publisher = self._publishers.get("/diagnostics")
        if publisher is not None and publisher.is_heard:
            source, engine = self._about
            level, message, values = self._pulse.report()
            status = (f"edge: {self._options.namespace.strip('/') or NODE}", source, level, message)
            publisher.write(self._messages.diagnostics(time.time_ns(), *status, {"engine": engine, **values}))


def capture_stamp_ns(captured_ns: int) -> int:
    """The time of a capture (monotonic) in ns since 1970, by the clock as it is set now."""
    return time.time_ns() - (time.monotonic_ns() - captured_ns)


class _Pulse:
    """What diagnostics say of the results of the last two seconds. One thread adds, another asks."""

    def __init__(self) -> None:
        self._recent: deque[tuple[int, float]] = deque(maxlen=1000)  # when (monotonic ns), the mask's age in ms
        self._dropped = self._dropped_before = 0

    def add(self, result: Prediction, dropped: int) -> None:
        self._recent.append((time.monotonic_ns(), result.age_ms))
        self._dropped = dropped

    def report(self) -> tuple[int, str, dict[str, str]]:
        """Level, message and values of a DiagnosticStatus."""
        now_ns = time.monotonic_ns()
        ages = [age_ms for at_ns, age_ms in tuple(self._recent) if now_ns - at_ns <= QUIET_S * 1e9]
        lost, self._dropped_before = self._dropped - self._dropped_before, self._dropped
        values = {"dropped": str(self._dropped)}
        if not ages:
            return ERROR, f"no masks for {QUIET_S:g} s", values
        values["rate_hz"] = f"{len(ages) / QUIET_S:.1f}"
        values["age_ms_p50"], values["age_ms_p99"] = (f"{age:.1f}" for age in np.percentile(ages, (50, 99)))
        return (WARN, f"{lost} frames dropped", values) if lost > 0 else (OK, "masks come", values)
