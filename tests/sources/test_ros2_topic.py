"""Topics of ROS 2 as cameras: what any node publishes, and what our own sink does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("zenoh", reason="needs the ros2 extra")

import zenoh
from ros import Listener, again_and_again, await_, free_endpoint, router
from stand_in import result_of

from edge.errors import ConfigError, SourceError
from edge.ros2.messages import COMPRESSED, IMAGE, Messages
from edge.ros2.options import TopicOptions
from edge.ros2.session import Node
from edge.ros2.wire import NO_HASH, Qos
from edge.sinks.ros2 import capture_stamp_ns
from edge.sinks.table import SinkContext, make_sink
from edge.sources import ros2 as ros2_source
from edge.sources.capture.ros2 import open_ros2
from edge.sources.capture.shot import CaptureError, Shot
from edge.sources.capture.wire import CaptureRequest
from edge.sources.kinds import kind_of
from edge.sources.open import open_source
from edge.timing import Stages

pytestmark = pytest.mark.slow  # the types are read, and sessions opened
BGR = np.kron(
    np.array([[[200, 30, 90], [10, 220, 60]], [[120, 120, 120], [40, 80, 250]]], np.uint8), np.ones((8, 8, 1), np.uint8)
)
GREY = cv2.cvtColor(BGR, cv2.COLOR_BGR2GRAY)
RAW = {
    "bgr8": (BGR, BGR),
    "rgb8": (np.ascontiguousarray(BGR[..., ::-1]), BGR),
    "rgba8": (cv2.cvtColor(BGR, cv2.COLOR_BGR2RGBA), BGR),
    "mono8": (GREY, cv2.cvtColor(GREY, cv2.COLOR_GRAY2BGR)),
    "yuv422_yuy2": (cv2.cvtColor(BGR, cv2.COLOR_BGR2YUV_YUYV), BGR),
}


@pytest.fixture
def endpoint() -> Iterator[str]:
    endpoint = free_endpoint()
    with router(endpoint):
        yield endpoint


def request(endpoint: str, topic: str = "/camera/image", **options: Any) -> CaptureRequest:
    return CaptureRequest("ros2", TopicOptions(topic, endpoint, **options).pack())


@contextmanager
def published(
    endpoint: str, type_name: str, cdr: Callable[[Messages], bytes | bytearray], distribution: str = "jazzy"
) -> Iterator[None]:
    """The message again and again, as a node publishes it, until it is left."""
    messages = Messages(distribution, "camera")
    node = Node(endpoint, 0, "", "camera")
    publisher = node.publisher(messages.topic("/camera/image", type_name), Qos(5))
    with closing(node), again_and_again(lambda: publisher.write(cdr(messages))):
        yield


def image_of(shot: Shot) -> np.ndarray:
    slot = bytearray(shot.format.slot_bytes)
    shot.write(memoryview(slot))
    return np.frombuffer(slot, np.uint8).reshape(shot.format.height, shot.format.width, 3)


def first_of(capture: CaptureRequest) -> Shot:
    with open_ros2(capture, 20.0) as reader:
        return next(iter(reader))


@pytest.mark.parametrize("encoding", RAW)
def test_raw_images_are_read_in_each_encoding(encoding: str, endpoint: str) -> None:
    pixels, expected = RAW[encoding]
    with published(endpoint, IMAGE, lambda messages: messages.image(time.time_ns(), encoding, pixels)):
        shot = first_of(request(endpoint))
    assert np.allclose(image_of(shot)[:, 1:-1].astype(int), expected[:, 1:-1], atol=45 if "yuv" in encoding else 0)
    assert image_of(shot).shape == (16, 16, 3)


@pytest.mark.parametrize(("form", "distribution"), [("jpeg", "jazzy"), ("png", "kilted"), ("png", "humble")])
def test_compressed_images_are_read_of_every_distribution(form: str, distribution: str, endpoint: str) -> None:
    data = cv2.imencode("." + form, BGR)[1]
    cdr = lambda messages: messages.compressed(time.time_ns(), form, data)  # noqa: E731
    with published(endpoint, COMPRESSED, cdr, distribution):
        shot = first_of(request(endpoint))
    expected = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert np.array_equal(image_of(shot), expected)


@pytest.mark.parametrize(("age_s", "is_taken"), [(0.3, True), (3600.0, False), (-60.0, False)])
def test_a_header_says_when_an_image_was_taken_if_its_clock_is_ours(
    age_s: float, is_taken: bool, endpoint: str
) -> None:
    def cdr(messages: Messages) -> bytes | bytearray:
        return messages.image(time.time_ns() - round(age_s * 1e9), "bgr8", BGR)

    with published(endpoint, IMAGE, cdr):
        shot = first_of(request(endpoint))
        late_s = (time.monotonic_ns() - shot.captured_ns) / 1e9
    assert late_s >= (0.3 if is_taken else 0.0)
    assert late_s < 30


@pytest.mark.parametrize(
    "damage",
    [lambda data: data[: len(data) // 2], lambda data: np.delete(data, slice(len(data) // 2, len(data) // 2 + 300))],
)
def test_a_damaged_image_is_corrupt_and_the_next_is_read(
    endpoint: str, damage: Callable[[np.ndarray], np.ndarray]
) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (48, 64, 3), np.uint8)
    data, count = cv2.imencode(".jpg", noise)[1], iter(range(10_000))

    def cdr(messages: Messages) -> bytes | bytearray:
        return messages.compressed(time.time_ns(), "jpeg", damage(data) if next(count) % 2 else data)

    with published(endpoint, COMPRESSED, cdr), open_ros2(request(endpoint), 20.0) as reader:
        shots = iter(reader)
        assert {next(shots).corrupt for _ in range(20)} == {False, True}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda m: m.image(0, "16UC1", np.zeros((4, 8), np.uint8)), "is coded as '16UC1'; expected one of: bgr8"),
        (lambda m: m.image(0, "bgr8", np.zeros((1, 3), np.uint8))[:20], ""),
    ],
)
def test_what_can_never_be_read_says_why(
    make: Callable[[Messages], bytes | bytearray], words: str, endpoint: str
) -> None:
    with published(endpoint, IMAGE, make):
        if not words:
            assert first_of(request(endpoint)).corrupt
            return
        with pytest.raises(CaptureError, match=words) as caught:
            first_of(request(endpoint))
    assert caught.value.permanent


def test_a_topic_without_a_publisher_names_those_that_are_there(endpoint: str) -> None:
    with published(endpoint, IMAGE, lambda messages: messages.image(0, "bgr8", BGR)):
        first_of(request(endpoint))
        with pytest.raises(CaptureError, match=r"is not published in domain 0; .*: /camera/image$"):
            open_ros2(request(endpoint, "/camera/other"), 0.3)
        with pytest.raises(CaptureError, match=r"is not published in domain 7; .*: none$"):
            open_ros2(request(endpoint, domain=7), 0.3)


def test_a_topic_of_another_type_says_so(endpoint: str, make_card: Any) -> None:
    context = SinkContext("test", 10, make_card(b"graph"), Stages())
    with make_sink("ros2", endpoint, context), Listener(endpoint) as node:
        await_(lambda: any("label_info" in token for token in node.tokens()))
        with pytest.raises(CaptureError, match="holds vision_msgs/msg/LabelInfo; expected sensor_msgs/msg/Image"):
            open_ros2(request(endpoint, "/edge/label_info"), 0.3)


def test_a_router_that_is_away_is_named() -> None:
    endpoint = free_endpoint()
    with pytest.raises(CaptureError, match=f"no router of ROS 2 at {endpoint}"):
        open_ros2(request(endpoint), 0.3)


def test_the_graph_shows_who_listens(endpoint: str) -> None:
    sent = published(endpoint, IMAGE, lambda messages: messages.image(0, "bgr8", BGR))
    with sent, Listener(endpoint) as node, open_ros2(request(endpoint), 20.0) as reader:
        next(iter(reader))
        await_(lambda: any("/MS/%/%/edge_camera/%camera%image/" in token for token in node.tokens()))


def test_another_publisher_that_is_no_ros_is_passed_over(endpoint: str) -> None:
    """Bytes of whoever is on the network cost a frame, and nothing else."""
    sent = published(endpoint, IMAGE, lambda messages: messages.image(0, "bgr8", BGR))
    with Listener(endpoint) as stranger, sent, open_ros2(request(endpoint), 20.0) as reader:
        shots = iter(reader)
        next(shots)
        key = f"0/camera/image/sensor_msgs::msg::dds_::Image_/{NO_HASH}"
        stranger.session.put(key, b"\x00\x01", congestion_control=zenoh.CongestionControl.BLOCK)
        await_(lambda: next(shots).corrupt)
        assert not next(shots).corrupt


def test_what_the_sink_publishes_is_a_camera_again(endpoint: str, make_card: Any) -> None:
    taken: dict[int, int] = {}
    context, done = SinkContext("test", 10, make_card(b"graph"), Stages()), threading.Event()

    def drive() -> None:
        with make_sink("ros2", f"{endpoint}?image=raw&domain=5", context) as sink:
            for index in range(1, 2000):
                if done.wait(0.03):
                    return
                taken[index % 250] = time.monotonic_ns()
                image = BGR.copy()
                image[0, 0] = index % 250
                sink.write(result_of(index, np.zeros((2, 2), np.uint8), image=image, captured_ns=taken[index % 250]), 0)

    driver = threading.Thread(target=drive)
    driver.start()
    try:
        with open_source(f"ros2:/edge/image?router={endpoint}&domain=5") as source:
            frames = iter(source)
            for frame in (next(frames) for _ in range(5)):
                number = int(frame.image[0, 0, 0])
                assert np.array_equal(frame.image[1:], BGR[1:])
                assert abs(frame.captured_ns - taken[number]) < 50e6
                assert frame.source.startswith("ros2:/edge/image")
    finally:
        done.set()
        driver.join()


def test_stamps_go_both_ways() -> None:
    captured_ns = time.monotonic_ns() - 200_000_000
    assert abs(time.time_ns() - capture_stamp_ns(captured_ns) - 200_000_000) < 50e6


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ros2_source, "find_spec", lambda _: None)
    kind = kind_of("ros2:/camera/image")
    assert (kind.name, kind.live, kind.supervised) == ("ros2", True, True)
    with pytest.raises(ConfigError, match=r"needs the library zenoh. Try: .*pip install .*\[ros2\]'"):
        kind.open("ros2:/camera/image")


def test_a_topic_without_a_publisher_ends_a_run_with_a_reason(endpoint: str) -> None:
    with pytest.raises(SourceError, match="is not published in domain 0"):
        open_source(f"ros2:/nothing?router={endpoint}")
