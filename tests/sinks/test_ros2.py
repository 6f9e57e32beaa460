"""What a node of ROS 2 gets of a live run: Zenoh's own session subscribes and asks as rmw_zenoh does."""

from __future__ import annotations

import dataclasses
import struct
import time
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from bundles import MakeCard
from drives import RATE_HZ, mask_of, seen

pytest.importorskip("zenoh", reason="needs the ros2 extra")

from ros import Listener, await_, free_endpoint, router
from stand_in import result_of

from edge.classes import CAMVID
from edge.geometry.ground import GroundPlane
from edge.geometry.model import CameraModel
from edge.instances import Instance
from edge.prediction import Prediction
from edge.ros2.messages import ERROR, OK
from edge.ros2.wire import NO_HASH, gid_of
from edge.sinks.ros2 import Ros2Sink
from edge.sinks.table import SinkContext, make_sink
from edge.timing import Stages

pytestmark = pytest.mark.slow  # the types are read, and sessions opened
PERSON = Instance(1, 9, "Pedestrian", (10.0, 20.0, 16.0, 40.0), 90.0, (13.0, 30.0), 0.75, 77)
UNFOLLOWED = Instance(2, 9, "Pedestrian", (0.0, 0.0, 2.0, 4.0), 8.0, (1.0, 2.0))


@pytest.fixture
def context(make_card: MakeCard) -> SinkContext:
    return SinkContext("test", RATE_HZ, make_card(b"graph", table=CAMVID, name="road"), Stages())


@pytest.fixture
def endpoint() -> Iterator[str]:
    endpoint = free_endpoint()
    with router(endpoint):
        yield endpoint


def sink_at(endpoint: str, context: SinkContext, **options: object) -> Ros2Sink:
    sink = make_sink("ros2", {"router": endpoint, **options}, context)
    assert isinstance(sink, Ros2Sink)
    return sink


def taken_now(index: int, **fields: object) -> Prediction:
    result = seen(index)
    now_ns = time.monotonic_ns()
    frame = result_of(index, mask_of(index), image=result.frame.image, captured_ns=now_ns).frame
    return dataclasses.replace(result, frame=frame, ready_ns=now_ns + 20_000_000, **fields)  # type: ignore[arg-type]


def heard(sink: Ros2Sink, node: Listener, topic: str, result: Prediction) -> None:
    """Published until the node hears it: a subscription takes its time through the router."""

    def tried() -> bool:
        sink.write(result, 0)
        return bool(node.heard[topic])

    await_(tried, topic)


def test_a_node_reads_the_mask_the_image_and_their_labels(endpoint: str, context: SinkContext) -> None:
    result, before_ns = taken_now(5), time.time_ns()
    with sink_at(endpoint, context, domain=3) as sink, Listener(endpoint) as node:
        for topic in ("mask", "image/compressed"):
            node.subscribe(f"3/edge/{topic}/*/*")
        heard(sink, node, "/edge/mask", result)
        heard(sink, node, "/edge/image/compressed", result)
        node.subscribe_transient_local("3/edge/label_info/*/*")
        await_(lambda: node.heard["/edge/label_info"], "labels that were sent before")
    mask, image, labels = (
        node.heard[f"/edge/{topic}"][0].read() for topic in ("mask", "image/compressed", "label_info")
    )
    assert (mask.encoding, mask.width, mask.height, mask.step) == ("mono8", 16, 12, 16)
    assert np.array_equal(mask.data.reshape(12, 16), mask_of(5))
    assert image.format == "jpeg"
    assert np.allclose(cv2.imdecode(image.data, 1), result.frame.image, atol=12)
    assert [(one.class_id, one.class_name) for one in labels.class_map] == list(enumerate(CAMVID.names))
    stamps_ns = [one.header.stamp.sec * 10**9 + one.header.stamp.nanosec for one in (mask, image)]
    assert all(abs(stamp_ns - before_ns) < 2e9 for stamp_ns in stamps_ns)
    assert {one.header.frame_id for one in (mask, image, labels)} == {"camera"}


def test_the_graph_shows_the_node_and_each_topic(endpoint: str, context: SinkContext) -> None:
    with Listener(endpoint) as node:
        with sink_at(endpoint, context, namespace="/car/front-left", topics="mask,label_info", qos="reliable") as sink:
            sink.write(taken_now(1), 0)
            await_(lambda: len(node.tokens()) == 3, "tokens")
            tokens = node.tokens()
            session = str(sink._node.session.zid())  # type: ignore[union-attr]
        await_(lambda: not node.tokens(), "a node that left")
    begin = f"@ros2_lv/0/{session}/0"
    place = "%/%car%front_left/edge"
    assert tokens[0] == f"{begin}/0/NN/{place}"
    assert tokens[1].startswith(f"{begin}/1/MP/{place}/%car%front_left%label_info/vision_msgs::msg::dds_::LabelInfo_/")
    assert tokens[1].endswith("/:1:,1:,:,:,,")
    assert tokens[2].startswith(f"{begin}/2/MP/{place}/%car%front_left%mask/sensor_msgs::msg::dds_::Image_/RIHS01_")
    assert tokens[2].endswith("/::,5:,:,:,,")


def test_messages_are_numbered_and_say_who_sent_them(endpoint: str, context: SinkContext) -> None:
    with sink_at(endpoint, context, topics="mask") as sink, Listener(endpoint) as node:
        node.subscribe("0/edge/mask/*/*")
        heard(sink, node, "/edge/mask", taken_now(1))
        for index in range(3):
            sink.write(taken_now(index), 0)
        await_(lambda: len(node.heard["/edge/mask"]) >= 4)
        await_(lambda: any("/MP/" in token for token in node.tokens()))
        (token,) = [token for token in node.tokens() if "/MP/" in token]
    attachments = [struct.unpack("<qqB16s", one.attachment) for one in node.heard["/edge/mask"]]
    numbers = [number for number, *_ in attachments]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert {(size, gid) for *_, size, gid in attachments} == {(16, gid_of(token))}
    assert all(abs(stamp_ns - time.time_ns()) < 60e9 for _, stamp_ns, *_ in attachments)


def test_objects_are_detections_with_their_tracks_ids(endpoint: str, context: SinkContext) -> None:
    with sink_at(endpoint, context, topics="detections") as sink, Listener(endpoint) as node:
        node.subscribe("0/edge/detections/*/*")
        sink.write(taken_now(1), 0)  # objects were not asked for: there is no topic
        assert not [token for token in node.tokens() if "/MP/" in token]
        heard(sink, node, "/edge/detections", taken_now(1, instances=(PERSON, UNFOLLOWED)))
    first, second = node.heard["/edge/detections"][0].read().detections
    assert (first.id, second.id) == ("77", "")
    assert (first.bbox.center.position.x, first.bbox.center.position.y) == (13.0, 30.0)
    assert (first.bbox.size_x, first.bbox.size_y) == (6.0, 20.0)
    assert [(one.hypothesis.class_id, one.hypothesis.score) for one in first.results] == [("9", 0.75)]


def test_a_camera_model_is_a_camera_info(endpoint: str, context: SinkContext) -> None:
    distortion = (-0.1, 0.01, 0.0, 0.001)
    model = CameraModel(height_m=1.3, focal_px=50.0, image_wh=(64, 48), centre_px=(33.0, 24.5), distortion=distortion)
    with sink_at(endpoint, context, topics="camera_info") as sink, Listener(endpoint) as node:
        node.subscribe("0/edge/camera_info/*/*")
        heard(sink, node, "/edge/camera_info", taken_now(1, ground=GroundPlane(model, (64, 48))))
    info = node.heard["/edge/camera_info"][0].read()
    assert (info.width, info.height, info.distortion_model) == (64, 48, "plumb_bob")
    assert info.d.tolist() == [*distortion, 0.0]
    assert info.k.reshape(3, 3).tolist() == [[50.0, 0.0, 33.0], [0.0, 50.0, 24.5], [0.0, 0.0, 1.0]]
    assert info.p.reshape(3, 4)[:, :3].tolist() == info.k.reshape(3, 3).tolist()


def test_diagnostics_come_with_and_without_masks(endpoint: str, context: SinkContext) -> None:
    with sink_at(endpoint, context, topics="diagnostics") as sink, Listener(endpoint) as node:
        node.subscribe("0/diagnostics/*/*")
        await_(lambda: node.heard["/diagnostics"])
        sink.write(taken_now(1), 0)
        count = len(node.heard["/diagnostics"])
        await_(lambda: len(node.heard["/diagnostics"]) > count)
        levels = [one.read().status[0].level for one in node.heard["/diagnostics"]]
        status = node.heard["/diagnostics"][count].read().status[0]
    assert (levels[0], status.level) == (ERROR, OK)
    assert (status.name, status.hardware_id) == ("edge: edge", "test")
    values = {pair.key: pair.value for pair in status.values}
    assert values["engine"] == "road"
    assert float(values["age_ms_p50"]) == pytest.approx(20.0, abs=1.0)


def test_humble_gets_topics_without_hashes(endpoint: str, context: SinkContext) -> None:
    options = {"topics": "image", "image": "raw", "distribution": "humble"}
    with sink_at(endpoint, context, **options) as sink, Listener(endpoint) as node:
        node.subscribe(f"0/edge/image/sensor_msgs::msg::dds_::Image_/{NO_HASH}")
        heard(sink, node, "/edge/image", taken_now(2))
    image = node.heard["/edge/image"][0].read("ROS2_HUMBLE")
    assert (image.encoding, image.step) == ("bgr8", 3 * 64)
    assert np.array_equal(image.data.reshape(48, 64, 3), seen(2).frame.image)


def test_without_a_subscription_no_message_is_made(endpoint: str, context: SinkContext) -> None:
    with sink_at(endpoint, context) as sink:
        for index in range(3):
            sink.write(taken_now(index), 0)
        assert "ros2" not in context.stages.by_name


def test_a_router_that_comes_later_and_one_that_comes_back_are_found(context: SinkContext) -> None:
    endpoint = free_endpoint()
    with sink_at(endpoint, context, topics="mask") as sink:
        sink.write(taken_now(1), 0)
        await_(lambda: sink.health.state == "lost", "no router is reported")
        assert sink.health.reason == f"no router of ROS 2 at {endpoint}; it is tried again"
        for _ in range(2):
            with router(endpoint), Listener(endpoint) as node:
                node.subscribe("0/edge/mask/*/*")
                heard(sink, node, "/edge/mask", taken_now(1))
                await_(lambda: sink.health.state == "ok", "the router")


def test_a_listener_that_takes_nothing_holds_up_no_frame(endpoint: str, context: SinkContext) -> None:
    large = np.random.default_rng(0).integers(0, 255, (1080, 1920, 3), np.uint8)
    with sink_at(endpoint, context, topics="image", image="raw") as sink, Listener(endpoint) as node:
        node.subscribe_slowly("0/edge/image/*/*")
        await_(lambda: node.slow.is_set() or sink.write(result_of(0, mask_of(0), image=large), 0), "the first image")
        for index in range(40):  # 250 MB, which no queue holds
            sink.write(result_of(index, mask_of(0), image=large), 0)
        node.go_on.set()
