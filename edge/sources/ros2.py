"""Topics of ROS 2 as cameras, on Zenoh in the form of rmw_zenoh. docs/ros2.md."""

from __future__ import annotations

from importlib.util import find_spec

from edge.ros2.options import TopicOptions
from edge.sources.capture.wire import CaptureRequest


def topic_request(name: str) -> CaptureRequest:
    """What the capture process is asked for of a topic:
    "ros2:/camera/image_raw?router=tcp/127.0.0.1:7447&domain=0".

    Raises:
        ConfigError: it is no topic, or asks for what cannot be.
        ModuleNotFoundError: a library is missing.
    """
    options = TopicOptions.of_name(name)
    for module in ("zenoh", "rosbags"):  # the capture process loads them
        if find_spec(module) is None:
            raise ModuleNotFoundError(f"No module named {module!r}", name=module)
    return CaptureRequest("ros2", options.pack())
