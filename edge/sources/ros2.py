"""Topics of ROS 2 as cameras, on Zenoh in the form of rmw_zenoh. docs/ros2.md."""

from __future__ import annotations

from importlib.util import find_spec

from edge.ros2.options import TopicOptions
from edge.sources.capture.wire import CaptureRequest
from edge.sources.supervised import Supervised


def open_topic(name: str) -> Supervised:
    """The images of a topic: "ros2:/camera/image_raw?router=tcp/127.0.0.1:7447&domain=0". Capture begins at once.

    Raises:
        ConfigError: it is no topic, or asks for what cannot be.
        ModuleNotFoundError: a library is missing.
    """
    return Supervised(name, topic_request(name))


def topic_request(name: str) -> CaptureRequest:
    """What the capture process of that topic is asked for.

    Raises:
        ConfigError: it is no topic, or asks for what cannot be.
        ModuleNotFoundError: a library is missing.
    """
    options = TopicOptions.of_name(name)
    for module in ("zenoh", "rosbags"):  # the capture process loads them
        if find_spec(module) is None:
            raise ModuleNotFoundError(f"No module named {module!r}", name=module)
    return CaptureRequest("ros2", options.pack())
