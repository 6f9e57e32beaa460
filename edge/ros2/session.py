"""A Zenoh session as a ROS 2 node has it: a peer that looks for the router and is found through it."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge.errors import ConfigError, OutputError
from edge.paths import expanded, shown
from edge.ros2.wire import LIVELINESS, NodeName, Qos, Topic, attachment, gid_of, topic_of_token

if TYPE_CHECKING:
    import zenoh

ROUTER = "tcp/127.0.0.1:7447"  # where `ros2 run rmw_zenoh_cpp rmw_zenohd` listens
_ENDPOINT = re.compile(r"(?:tcp|udp|tls|quic|ws)/[^/?#\s]+:\d{1,5}(?:[?#]\S*)?|unixsock-stream/\S+")
_ADDRESS = re.compile(r"[^/?#\s]+:\d{1,5}")
_HEARTBEAT_S = 0.5  # as rmw_zenoh's publishers of transient-local topics
# DEFAULT_RMW_ZENOH_SESSION_CONFIG.json5, as far as it differs from Zenoh's own: known through the router alone,
# reached from this machine alone; other machines are served by the router. Opening waits for no answer.
_SETTINGS: dict[str, Any] = {
    "mode": "peer",
    "listen/endpoints": ["tcp/127.0.0.1:0"],
    "scouting/multicast/enabled": False,
    "timestamping/enabled": True,
    "open/return_conditions/connect_scouted": False,
    "open/return_conditions/declares": False,
}


def checked_router(what: str, router: str) -> str:
    """A Zenoh endpoint, such as "tcp/127.0.0.1:7447"; HOST:PORT is by TCP.

    Raises:
        ConfigError: it is no endpoint.
    """
    if _ADDRESS.fullmatch(router):
        return f"tcp/{router}"
    if not _ENDPOINT.fullmatch(router):
        raise ConfigError(f"{what}: expected an endpoint of Zenoh such as {ROUTER}, got {shown(router)}")
    return router


def open_session(router: str, config_file: str | None = None) -> zenoh.Session:
    """A session that connects to the router for as long as it takes, and again when it was lost. Close it: a program
    that leaves one open does not end.

    Args:
        router: a Zenoh endpoint.
        config_file: a configuration of Zenoh in JSON5, for TLS and passwords; all but the endpoints to connect to are
            then as it says.

    Raises:
        ConfigError: it cannot be opened.
    """
    import zenoh

    try:
        config = zenoh.Config() if config_file is None else _read_config(config_file)
        given = _SETTINGS if config_file is None else {}
        for key, value in {**given, "connect/endpoints": [router]}.items():
            config.insert_json5(key, json.dumps(value))
        return zenoh.open(config)
    except zenoh.ZError as error:
        raise ConfigError(f"ros2: {router}: Zenoh cannot be opened: {_brief(error)}") from error


def _read_config(name: str) -> zenoh.Config:
    import zenoh

    path: Path = expanded("ros2: config_file", name)
    try:
        return zenoh.Config.from_json5(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"ros2: config_file: {path}: cannot be read: {error}") from error


def _brief(error: Exception) -> str:
    """Zenoh's errors end with where in its code they were made."""
    return re.split(r"(?: -)? at /", str(error))[0].rstrip(".")


class Publisher:
    """One topic that is published. `write` is for one thread at a time."""

    def __init__(self, session: zenoh.Session, node: NodeName, number: int, topic: Topic, qos: Qos) -> None:
        import zenoh
        from zenoh import ext

        self.topic, self.sent = topic, 0
        token = node.endpoint_token(number, "MP", topic, qos)
        self._gid = gid_of(token)
        reliability = zenoh.Reliability.RELIABLE if qos.reliable else zenoh.Reliability.BEST_EFFORT
        how: dict[str, Any] = {"congestion_control": zenoh.CongestionControl.DROP, "reliability": reliability}
        self._keeps = qos.transient_local
        if qos.transient_local:  # rmw_zenoh's subscriptions of that durability ask for what was sent before they came
            how["cache"], how["publisher_detection"] = ext.CacheConfig(qos.depth), True
            how["sample_miss_detection"] = ext.MissDetectionConfig(sporadic_heartbeat=_HEARTBEAT_S)
            self._publisher: Any = ext.declare_advanced_publisher(session, topic.key(node.domain), **how)
        else:
            self._publisher = session.declare_publisher(topic.key(node.domain), **how)
        self._token = session.liveliness().declare_token(token)

    @property
    def is_heard(self) -> bool:
        """Whether there is a subscriber, or what is sent is kept for later ones."""
        return self._keeps or self._publisher.matching_status.matching

    def write(self, message: bytes | bytearray) -> None:
        """Send a message in CDR; it is dropped where the network takes no more.

        Raises:
            OutputError: the session is closed.
        """
        import zenoh

        self.sent += 1
        try:
            self._publisher.put(message, attachment=attachment(self.sent, time.time_ns(), self._gid))
        except zenoh.ZError as error:
            raise OutputError(f"ros2: {self.topic.name}: cannot be sent: {_brief(error)}") from error


class Node:
    """A node with its publishers, in the graph for as long as it is open."""

    def __init__(self, router: str, domain: int, namespace: str, name: str, config_file: str | None = None) -> None:
        """Raises:
        ConfigError: no session can be opened.
        """
        self.router = router
        self.session = open_session(router, config_file)
        try:
            self.name = NodeName(domain, str(self.session.zid()), namespace, name)
            self._token = self.session.liveliness().declare_token(self.name.token())
        except BaseException:  # Ctrl-C too: the caller has no node to close yet
            self.session.close()
            raise
        self.publishers: list[Publisher] = []
        self._others: list[Any] = []
        self._numbers = 0

    def publisher(self, topic: Topic, qos: Qos) -> Publisher:
        """A topic that is announced from now on."""
        made = Publisher(self.session, self.name, self._next(), topic, qos)
        self.publishers.append(made)
        return made

    def announce_subscription(self, topic: Topic, qos: Qos) -> None:
        """Have the graph know that this node listens to a topic; messages come with or without."""
        token = self.name.endpoint_token(self._next(), "MS", topic, qos)
        self._others.append(self.session.liveliness().declare_token(token))

    def published(self, within_s: float = 1.0) -> list[Topic]:
        """The topics that are in the graph now, as far as it is known in that time."""
        pattern = f"{LIVELINESS}/{self.name.domain}/**"
        answers = self.session.liveliness().get(pattern, timeout=within_s)
        topics = [topic_of_token(str(answer.ok.key_expr)) for answer in answers if answer.ok is not None]
        return sorted({topic for topic in topics if topic is not None})

    @property
    def links(self) -> int:
        """How many routers and nodes it is connected to."""
        return len(self.session.info.routers_zid()) + len(self.session.info.peers_zid())

    def close(self) -> None:
        """Leave the graph."""
        self.session.close()

    def _next(self) -> int:
        self._numbers += 1
        return self._numbers


class Heartbeat:
    """Calls something once a second, in a thread of its own, until it is left."""

    def __init__(self, name: str, beat: Callable[[], object], period_s: float = 1.0) -> None:
        self._beat, self._period_s, self._ending = beat, period_s, threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ending.wait(self._period_s):
            self._beat()
