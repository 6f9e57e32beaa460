"""A client of Foxglove's WebSocket protocol, as its app is one: written from the protocol, not with the server's SDK.

https://github.com/foxglove/ws-protocol/blob/main/docs/spec.md, and its successor's binary messages for playback.
"""

from __future__ import annotations

import base64
import json
import struct
from collections import defaultdict
from contextlib import ExitStack
from types import TracebackType
from typing import Any, NamedTuple

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from websockets.sync.client import connect

PROTOCOLS = ["foxglove.sdk.v1"]
MESSAGE, TIME, PLAYBACK = 1, 2, 5  # binary messages of the server
_CONTROL = 3  # binary message of the client
PLAY, PAUSE = 0, 1
PLAYING, PAUSED, _BUFFERING, ENDED = range(4)
PATIENCE_S = 20.0


class State(NamedTuple):
    """Of playback, as the server tells it."""

    status: int
    time_ns: int
    speed: float
    did_seek: bool
    request: str


class Client:
    """Subscribes, and keeps what comes.

    Attributes:
        info: the server's first message.
        channels: by topic, as advertised.
        messages: by topic, time in ns and content; states: of playback; order: of all these, ("message", topic, ...).
    """

    def __init__(self, url: str, **options: Any) -> None:
        self._stack = ExitStack()
        opened = connect(url, subprotocols=PROTOCOLS, max_size=None, **options)  # type: ignore[arg-type]
        self._socket = self._stack.enter_context(opened)
        assert self._socket.subprotocol == PROTOCOLS[0]
        self.info: dict[str, Any] = {}
        self.channels: dict[str, dict[str, Any]] = {}
        self.messages: dict[str, list[tuple[int, bytes]]] = defaultdict(list)
        self.states: list[State] = []
        self.times: list[int] = []
        self.order: list[tuple[str, Any]] = []
        self._topics: dict[int, str] = {}  # by the id of our subscription
        while not self.info:
            self.take()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self._stack.close()

    def take(self, timeout_s: float = PATIENCE_S) -> None:
        """One message of the server."""
        message = self._socket.recv(timeout=timeout_s)
        if isinstance(message, str):
            self._take_text(json.loads(message))
        else:
            self._take_binary(message)

    def take_until(self, condition: Any) -> None:
        while not condition():
            self.take()

    def drain(self, quiet_s: float = 0.3) -> None:
        """Until nothing comes any more."""
        try:
            while True:
                self.take(quiet_s)
        except TimeoutError:
            pass

    def subscribe(self, *topics: str) -> None:
        self.take_until(lambda: all(topic in self.channels for topic in topics))
        first = len(self._topics)
        self._topics |= dict(enumerate(topics, first))
        wishes = [{"id": first + n, "channelId": self.channels[topic]["id"]} for n, topic in enumerate(topics)]
        self._socket.send(json.dumps({"op": "subscribe", "subscriptions": wishes}))

    def control(self, command: int, speed: float = 1.0, seek_ns: int | None = None, request: str = "r") -> State:
        """Ask for another playback; the state that answers."""
        head = struct.pack("<BBfBQI", _CONTROL, command, speed, seek_ns is not None, seek_ns or 0, len(request))
        self._socket.send(head + request.encode())
        before = len(self.states)
        self.take_until(lambda: any(state.request == request for state in self.states[before:]))
        return next(state for state in self.states[before:] if state.request == request)

    def decoded(self, topic: str) -> list[Any]:
        """The messages of a topic, by the schema that the server advertised and nothing else."""
        channel = self.channels[topic]
        if channel["encoding"] == "json":
            return [json.loads(content) for _, content in self.messages[topic]]
        kind = message_kind(channel["schemaName"], schema_bytes(channel))
        return [kind.FromString(content) for _, content in self.messages[topic]]

    def _take_text(self, message: dict[str, Any]) -> None:
        if message["op"] == "serverInfo":
            self.info = message
        elif message["op"] == "advertise":
            self.channels |= {channel["topic"]: channel for channel in message["channels"]}

    def _take_binary(self, message: bytes) -> None:
        if message[0] == MESSAGE:
            number, time_ns = struct.unpack_from("<IQ", message, 1)
            topic = self._topics[number]
            self.messages[topic].append((time_ns, message[13:]))
            self.order.append(("message", topic))
        elif message[0] == TIME:
            self.times += struct.unpack_from("<Q", message, 1)
        elif message[0] == PLAYBACK:
            status, time_ns, speed, did_seek, length = struct.unpack_from("<BQfBI", message, 1)
            state = State(status, time_ns, speed, bool(did_seek), message[19 : 19 + length].decode())
            self.states.append(state)
            self.order.append(("state", state))


def schema_bytes(channel: dict[str, Any]) -> bytes:
    """As MCAP has them: a protobuf schema is sent in base64."""
    text = channel["schema"]
    return base64.b64decode(text) if channel["schemaEncoding"] == "protobuf" else text.encode()


def message_kind(name: str, file_set: bytes) -> Any:
    pool = descriptor_pool.DescriptorPool()
    for file in FileDescriptorSet.FromString(file_set).file:
        pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))
