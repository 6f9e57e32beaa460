"""What can be set of ROS 2, as an output and as a camera."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from edge.errors import ConfigError
from edge.paths import shown
from edge.ros2.messages import checked_distribution
from edge.ros2.session import ROUTER, checked_router
from edge.ros2.wire import checked_domain, checked_name

TOPICS = ("image", "mask", "detections", "camera_info", "label_info", "diagnostics")


@dataclass(frozen=True)
class Ros2Options:
    """Where a Zenoh router of ROS 2 is, and what is published there.

    Attributes:
        router: the router's endpoint, such as tcp/127.0.0.1:7447; HOST:PORT is by TCP.
        domain: ROS_DOMAIN_ID.
        namespace: what the topics begin with; in a camera's name, a - becomes _.
        distribution: humble, jazzy or kilted: whose nodes listen.
        topics: which of `TOPICS`, as a list or with commas between them; all if empty.
        image: compressed (JPEG) or raw (bgr8).
        quality: of the JPEG, 1 to 100.
        qos: best_effort, as sensors have it, or reliable: of image, mask, detections and camera_info.
        frame_id: of all headers: the camera's optical frame.
        config_file: a configuration of Zenoh in JSON5, for TLS and passwords.
    """

    router: str = ROUTER
    domain: int | str = 0
    namespace: str = "/edge"
    distribution: str = "jazzy"
    topics: str | Sequence[str] = ()
    image: str = "compressed"
    quality: int | str = 90
    qos: str = "best_effort"
    frame_id: str = "camera"
    config_file: str | None = None

    def __post_init__(self) -> None:
        """Raises ConfigError: one of them cannot be."""
        set_ = object.__setattr__
        set_(self, "router", checked_router("ros2: router", self.router))
        set_(self, "domain", checked_domain("ros2: domain", self.domain))
        set_(self, "namespace", checked_name("ros2: namespace", self.namespace.replace("-", "_")))
        checked_distribution("ros2: distribution", self.distribution)
        _check_choice("image", self.image, ("compressed", "raw"))
        _check_choice("qos", self.qos, ("best_effort", "reliable"))
        if not isinstance(self.topics, (str, list, tuple)):
            raise ConfigError(f"ros2: topics: expected a list of names, got {shown(self.topics)}")
        for name in self.chosen:
            _check_choice("topics", name, TOPICS)
        if self.config_file is not None and not isinstance(self.config_file, str):
            raise ConfigError(f"ros2: config_file: expected a path, got {shown(self.config_file)}")
        quality = str(self.quality)
        if not quality.isascii() or not quality.isdecimal() or not 1 <= int(quality) <= 100:
            raise ConfigError(f"ros2: quality: expected 1 to 100, got {shown(self.quality)}")
        set_(self, "quality", int(quality))

    @property
    def chosen(self) -> tuple[str, ...]:
        """The topics to publish, by their names in `TOPICS`."""
        names = self.topics.split(",") if isinstance(self.topics, str) else self.topics
        return tuple(str(name).strip() for name in names if name) or TOPICS

    @classmethod
    def of_text(cls, text: str) -> dict[str, str]:
        """The options of ENDPOINT?option=value&…, as a command line has them.

        Raises:
            ConfigError: a part behind the ? is not option=value.
        """
        router, _, query = text.partition("?")
        options = options_of_query(query)
        if router and "router" in options:
            raise ConfigError(f"ros2: {shown(text)}: expected one router, got two")
        return {"router": router, **options} if router else options


def _check_choice(what: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(f"ros2: {what}: expected one of {', '.join(known)}, got {shown(value)}")


@dataclass(frozen=True)
class TopicOptions:
    """A topic with images, as a camera.

    Attributes:
        topic: its fully qualified name, such as /camera/image_raw.
        router, domain, config_file: as of `Ros2Options`.
    """

    topic: str
    router: str = ROUTER
    domain: int | str = 0
    config_file: str | None = None

    def __post_init__(self) -> None:
        """Raises ConfigError: one of them cannot be."""
        topic = checked_name("ros2: topic", self.topic)
        if not topic:
            raise ConfigError("ros2: expected a topic such as ros2:/camera/image_raw, got none")
        object.__setattr__(self, "topic", topic)
        object.__setattr__(self, "router", checked_router("ros2: router", self.router))
        object.__setattr__(self, "domain", checked_domain("ros2: domain", self.domain))

    @classmethod
    def of_name(cls, name: str) -> TopicOptions:
        """The options of a source's name: ros2:/camera/image_raw?router=tcp/127.0.0.1:7447&domain=0.

        Raises:
            ConfigError: one of them cannot be, or is unknown.
        """
        topic, _, query = name.removeprefix("ros2:").partition("?")
        options = options_of_query(query, {"router", "domain", "config_file"})
        return cls("/" + topic.lstrip("/"), **options)

    def pack(self) -> str:
        """As `unpack` reads it."""
        return json.dumps(asdict(self))

    @classmethod
    def unpack(cls, text: str) -> TopicOptions:
        """The options that `pack` wrote."""
        return cls(**json.loads(text))


def options_of_query(query: str, known: set[str] | None = None) -> dict[str, str]:
    """The options of "option=value&option=value".

    Raises:
        ConfigError: it is no such text, or one is not known or there twice.
    """
    options: dict[str, str] = {}
    for part in query.split("&") if query else ():
        name, equals, value = part.partition("=")
        if not (name and equals) or name in options:
            raise ConfigError(f"ros2: {shown(part)}: expected option=value behind the ?, each option once")
        if known is not None and name not in known:
            raise ConfigError(f"ros2: no option {shown(name)}; there are: {', '.join(sorted(known))}")
        options[name] = value
    return options
