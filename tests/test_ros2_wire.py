"""Names and bytes of ROS 2 on Zenoh, beside what rmw_zenoh documents and ROS publishes."""

from __future__ import annotations

from typing import Any

import pytest

from edge.errors import ConfigError
from edge.ros2.options import Ros2Options, TopicOptions
from edge.ros2.wire import NO_HASH, NodeName, Qos, Topic, attachment, gid_of, topic_of_token

STRING = "RIHS01_df668c740482bbd48fb39d76a70dfd4bd59db1288021743503259e948f6b1a18"
CHATTER = Topic("/chatter", "std_msgs/msg/String", STRING)
# From rmw_zenoh's docs/design.md.
KEYS = {
    (0, "/chatter"): f"0/chatter/std_msgs::msg::dds_::String_/{STRING}",
    (0, "/robot1/chatter"): f"0/robot1/chatter/std_msgs::msg::dds_::String_/{STRING}",
}
LISTENER = "@ros2_lv/2/aac3178e146ba6f1fc6e6a4085e77f21/0/0/NN/%/%/listener"
SUBSCRIPTION = (
    "@ros2_lv/2/aac3178e146ba6f1fc6e6a4085e77f21/0/10/MS/%/%/listener/%chatter/std_msgs::msg::dds_::String_/"
    f"{STRING}/::,10:,:,:,,"
)
PUBLISHER = (
    "@ros2_lv/2/8b20917502ee955ac4476e0266340d5c/0/10/MP/%/%/talker/%chatter/std_msgs::msg::dds_::String_/"
    f"{STRING}/::,7:,:,:,,"
)
# As ROS generates them: of String in rmw_zenoh's design.md, of the others in files that rosidl 4.6 made of them.
HASHES = {
    "std_msgs/msg/String": STRING,
    "std_msgs/msg/Header": "RIHS01_f49fb3ae2cf070f793645ff749683ac6b06203e41c891e17701b1cb597ce6a01",
    "sensor_msgs/msg/Image": "RIHS01_d31d41a9a4c4bc8eae9be757b0beed306564f7526c88ea6a4588fb9582527d47",
    "vision_msgs/msg/LabelInfo": "RIHS01_3d37df4015cdf660cc851c51897f2acd957e1ca6205ba0a99aebffb9406b0783",
    "vision_msgs/msg/Detection2DArray": "RIHS01_214274120007f4a683866481336b70310268cfa107aebe9d594a6acf75bda968",
}


@pytest.mark.parametrize(("place", "key"), KEYS.items())
def test_a_topic_has_the_key_expression_that_is_documented(place: tuple[int, str], key: str) -> None:
    domain, name = place
    topic = CHATTER._replace(name=name)
    assert topic.key(domain) == key
    assert Topic.of_key(key) == topic


@pytest.mark.parametrize(("kind", "depth", "token"), [("MS", 10, SUBSCRIPTION), ("MP", 7, PUBLISHER)])
def test_nodes_and_endpoints_have_the_tokens_that_are_documented(kind: str, depth: int, token: str) -> None:
    node = NodeName(2, token.split("/")[2], "", token.split("/")[8])
    assert node.endpoint_token(10, kind, CHATTER, Qos(depth)) == token
    assert topic_of_token(token) == CHATTER
    assert NodeName(2, LISTENER.split("/")[2], "", "listener").token() == LISTENER


@pytest.mark.parametrize(
    ("qos", "text"),
    [
        (Qos(42), "::,:,:,:,,"),
        (Qos(5, reliable=False), "2::,5:,:,:,,"),
        (Qos(1, transient_local=True), ":1:,1:,:,:,,"),
    ],
)
def test_a_qos_leaves_out_what_is_the_default(qos: Qos, text: str) -> None:
    assert str(qos) == text


def test_namespaces_are_in_a_token_with_other_slashes() -> None:
    token = NodeName(0, "1a", "/car/front", "edge").endpoint_token(1, "MP", Topic("/car/mask", "a/msg/B", "h"), Qos(1))
    assert token == "@ros2_lv/0/1a/0/1/MP/%/%car%front/edge/%car%mask/a::msg::dds_::B_/h/::,1:,:,:,,"


@pytest.mark.parametrize("key", ["0/chatter", "0/a/b/c", "@ros2_lv/0/1a/0/0/NN/%/%/x", ""])
def test_other_keys_are_no_topics(key: str) -> None:
    assert Topic.of_key(key) is None
    assert topic_of_token(key) is None


@pytest.mark.slow
@pytest.mark.parametrize("distribution", ["jazzy", "kilted"])
def test_types_have_the_hashes_that_ros_publishes(distribution: str) -> None:
    pytest.importorskip("rosbags", reason="needs the ros2 extra")
    from edge.ros2.messages import Messages

    messages = Messages(distribution, "camera")
    assert {name: messages.topic("/x", name).hash for name in HASHES} == HASHES


@pytest.mark.slow
def test_humble_knows_no_hashes() -> None:
    pytest.importorskip("rosbags", reason="needs the ros2 extra")
    from edge.ros2.messages import Messages

    assert Messages("humble", "camera").topic("/x", "sensor_msgs/msg/Image").hash == NO_HASH


def test_an_attachment_is_what_zenoh_serializes() -> None:
    ext = pytest.importorskip("zenoh.ext", reason="needs the ros2 extra")
    gid = bytes(range(16))
    expected = ext.z_serialize((ext.Int64(7), ext.Int64(1_800_000_000_123_456_789), gid)).to_bytes()
    assert attachment(7, 1_800_000_000_123_456_789, gid) == expected
    assert len(expected) == 33


def test_a_gid_is_the_hash_of_a_token_with_its_low_half_first() -> None:
    xxhash = pytest.importorskip("xxhash", reason="needs the ros2 extra")
    number = xxhash.xxh3_128_intdigest(PUBLISHER.encode())
    assert gid_of(PUBLISHER) == number.to_bytes(16, "little")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"router": "127.0.0.1"}, "expected an endpoint of Zenoh such as tcp/127.0.0.1:7447"),
        ({"router": "foo/127.0.0.1:1"}, "expected an endpoint"),
        ({"domain": 233}, "0 to 232"),
        ({"domain": "-1"}, "0 to 232"),
        ({"namespace": "/a//b"}, "expected a ROS name"),
        ({"namespace": "0car"}, "expected a ROS name"),
        ({"distribution": "foxy"}, "humble, jazzy, kilted"),
        ({"topics": "mask,masks"}, "expected one of image, mask"),
        ({"topics": 5}, "expected a list of names"),
        ({"config_file": 5}, "expected a path"),
        ({"image": "png"}, "compressed, raw"),
        ({"quality": 0}, "1 to 100"),
        ({"qos": "sure"}, "best_effort, reliable"),
    ],
)
def test_what_ros_does_not_take_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Ros2Options(**options)


def test_a_text_holds_options_behind_the_endpoint() -> None:
    options = Ros2Options(**Ros2Options.of_text("10.0.0.5:7447?domain=3&namespace=/car/front-left&topics=mask"))
    assert (options.router, options.domain, options.namespace) == ("tcp/10.0.0.5:7447", 3, "/car/front_left")
    assert options.chosen == ("mask",)


@pytest.mark.parametrize("topics", ["mask, label_info", ["mask", "label_info"], ("mask", "label_info")])
def test_topics_are_a_list_or_a_text(topics: Any) -> None:
    assert Ros2Options(topics=topics).chosen == ("mask", "label_info")
    assert "diagnostics" in Ros2Options().chosen


@pytest.mark.parametrize("text", ["tcp/a:1?domain", "tcp/a:1?domain=1&domain=2", "tcp/a:1?router=tcp/b:1"])
def test_a_text_that_says_no_option_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="ros2: "):
        Ros2Options.of_text(text)


@pytest.mark.parametrize("name", ["ros2:/camera/image_raw?domain=3", "ros2:camera/image_raw?domain=3"])
def test_a_topic_is_a_source(name: str) -> None:
    options = TopicOptions.of_name(name)
    assert (options.topic, options.domain, options.router) == ("/camera/image_raw", 3, "tcp/127.0.0.1:7447")
    assert TopicOptions.unpack(options.pack()) == options


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ros2:", "expected a topic such as ros2:/camera/image_raw, got none"),
        ("ros2:/a b", "expected a ROS name"),
        ("ros2:/a?fps=3", "no option 'fps'; there are: config_file, domain, router"),
        ("ros2:/a?domain=x", "0 to 232"),
    ],
)
def test_what_is_no_topic_is_refused(name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        TopicOptions.of_name(name)
