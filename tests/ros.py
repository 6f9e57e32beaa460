"""A router and a listener as ROS 2 has them: Zenoh's own session, which subscribes and asks as rmw_zenoh does."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import zenoh
from zenoh import ext

from edge.ros2.messages import typestore
from edge.ros2.wire import Topic

LONG_S = 20.0  # a test that waits so long has failed


def session(mode: str, *, listen: str = "", connect: str = "") -> zenoh.Session:
    config = zenoh.Config()
    settings: dict[str, Any] = {
        "mode": mode,
        "listen/endpoints": [listen] if listen else ["tcp/127.0.0.1:0"],
        "connect/endpoints": [connect] if connect else [],
        "scouting/multicast/enabled": False,
        "timestamping/enabled": True,
        "open/return_conditions/connect_scouted": False,
    }
    for key, value in settings.items():
        config.insert_json5(key, json.dumps(value))
    return zenoh.open(config)


@contextmanager
def router(endpoint: str) -> Iterator[zenoh.Session]:
    """What `ros2 run rmw_zenoh_cpp rmw_zenohd` is, on loopback."""
    running = session("router", listen=endpoint)
    try:
        yield running
    finally:
        running.close()


def free_endpoint() -> str:
    """Where nothing listens yet, and a router may later."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"tcp/127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def again_and_again(action: Callable[[], object]) -> Iterator[None]:
    """The action every 20 ms, in a thread of its own, until it is left."""
    done = threading.Event()

    def repeat() -> None:
        while not done.wait(0.02):
            action()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def await_(condition: Callable[[], object], what: str = "") -> None:
    until_s = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < until_s, what
        time.sleep(0.01)


class Heard(NamedTuple):
    """A message: its topic, its bytes in CDR, and its attachment."""

    topic: Topic
    cdr: bytes
    attachment: bytes

    def read(self, distribution: str = "ROS2_JAZZY") -> Any:
        return typestore(distribution).deserialize_cdr(self.cdr, self.topic.type)


class Listener:
    """A node that subscribes as rmw_zenoh's subscriptions do."""

    def __init__(self, endpoint: str) -> None:
        self.session = session("peer", connect=endpoint)
        self.heard: dict[str, list[Heard]] = defaultdict(list)
        self.slow, self.go_on = threading.Event(), threading.Event()
        self._subscribers: list[Any] = []
        await_(lambda: self.session.info.routers_zid(), "no router")

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *exception: object) -> None:
        self.go_on.set()
        self.session.close()

    def subscribe(self, key: str) -> None:
        """As a volatile subscription."""
        self._subscribers.append(self.session.declare_subscriber(key, self._take))

    def subscribe_transient_local(self, key: str, depth: int = 1) -> None:
        """As one that asks publishers for what they sent before."""
        self._subscribers.append(
            ext.declare_advanced_subscriber(
                self.session,
                key,
                self._take,
                history=ext.HistoryConfig(detect_late_publishers=True, max_samples=depth),
                recovery=ext.RecoveryConfig(heartbeat=True),
                subscriber_detection=True,
            )
        )

    def subscribe_slowly(self, key: str) -> None:
        """As one that takes the first message, sets `slow`, and no other until `go_on` is set."""

        def take(_: zenoh.Sample) -> None:
            self.slow.set()
            self.go_on.wait(LONG_S)

        self._subscribers.append(self.session.declare_subscriber(key, take))

    def tokens(self, domain: int = 0) -> list[str]:
        """The graph: who is alive in it."""
        answers = self.session.liveliness().get(f"@ros2_lv/{domain}/**", timeout=2.0)
        return sorted(str(answer.ok.key_expr) for answer in answers if answer.ok is not None)

    def _take(self, sample: zenoh.Sample) -> None:
        topic = Topic.of_key(str(sample.key_expr))
        assert topic is not None
        attachment = sample.attachment.to_bytes() if sample.attachment is not None else b""
        self.heard[topic.name].append(Heard(topic, sample.payload.to_bytes(), attachment))
