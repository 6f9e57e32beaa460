"""What is seen, live, in Foxglove: the topics and messages of a drive over its WebSocket. docs/live.md."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, get_args

from edge.drive.location import fix_messages
from edge.drive.schema import EVENTS, IMAGE, MASKS, OUTLINES, RESULTS, VIDEO_SCHEMA, message_class, schema_of
from edge.errors import ConfigError, OutputError
from edge.paths import shown
from edge.sinks.drive import Codec, DriveOptions, FrameEncoder, seen_in
from edge.sinks.foxglove_server import Address, Certificate, FoxgloveServer, PortTakenError
from edge.sinks.stamps import DriveClock
from edge.status import Status

if TYPE_CHECKING:
    from foxglove import Channel
    from foxglove.websocket import ChannelView, Client

    from edge.events import Event
    from edge.location import Fix
    from edge.prediction import Prediction
    from edge.sinks.table import FoxgloveOptions, SinkContext

BACKLOG = 128  # messages that wait for one viewer: some five a frame, so not a second at 30 Hz
_ALWAYS = (IMAGE, MASKS, OUTLINES, RESULTS, EVENTS)  # can be subscribed to before there is a frame
_EVENTS_MAX = 1000
_RETRY_S = 5.0

log = logging.getLogger(__name__)


class FoxgloveSink:
    """Serves each result to who looks. A message is made only where a viewer has subscribed to its topic: without
    viewers nothing is encoded.
    """

    def __init__(self, options: FoxgloveOptions, context: SinkContext) -> None:
        """Raises:
        ConfigError: the options cannot be, a library is not installed, or the certificate cannot be read.
        """
        message_class(VIDEO_SCHEMA)
        self._frames = DriveOptions("edge", context.source, context.rate_hz, codec=_codec(options.codec))
        self._stages, self._viewers = context.stages, _Viewers()
        self._server = FoxgloveServer(
            context.source,
            Address.parse(options.address),
            self._viewers,
            backlog=BACKLOG,
            certificate=Certificate.read(options.certificate_file, options.key_file),
        )
        self._channels: dict[str, Channel] = {}
        self._events: deque[Event] = deque(maxlen=_EVENTS_MAX)
        self._fix: Fix | None = None  # that was served last
        self._waits, self._trouble, self._next_try_s = context.unattended, "", 0.0
        self._clock: DriveClock | None = None
        self._encoder: FrameEncoder | None = None

    def __enter__(self) -> FoxgloveSink:
        """Raises:
        ConfigError: the address cannot be listened on; unattended, one that may come is tried again by `write`.
        """
        try:
            self._server.__enter__()
        except PortTakenError as error:
            if not self._waits:
                raise
            self._wait(error)
            log.warning("%s", self._trouble)
        for topic in _ALWAYS:
            self._channel(topic)
        return self

    def __exit__(self, *exception: object) -> None:
        self._end_encoder()
        self._server.__exit__()

    @property
    def url(self) -> str:
        """Where it is served; known once it is entered."""
        return self._server.url

    @property
    def health(self) -> Status:
        """How many look. Any thread may ask."""
        trouble = self._trouble
        return Status("lost" if trouble else "ok", trouble, levels={"viewers": self._viewers.count})

    def write(self, result: Prediction, dropped: int) -> None:
        """Serve one result; see `edge.sinks.sink.Sink.write`."""
        if self._trouble and time.monotonic() >= self._next_try_s:
            self._try_again()
        self._clock = self._clock or DriveClock(result.frame)
        time_ns = self._clock.stamp_ns(result.frame)
        if (image := self._channel(IMAGE)).has_sinks():
            image.log(self._image(result, time_ns), log_time=time_ns)
        else:
            self._end_encoder()
        for topic, metadata, make in seen_in(result, dropped):
            if (channel := self._channel(topic, metadata)).has_sinks():
                channel.log(make(time_ns), log_time=time_ns)
        if result.frame.fix is not None and result.frame.fix is not self._fix:
            self._fix = result.frame.fix
            for topic, message in fix_messages(self._fix, time_ns):
                self._channel(topic).log(message, log_time=time_ns)
        while self._events:
            self._channel(EVENTS).log(json.dumps(self._events.popleft().as_json()).encode(), log_time=time_ns)

    def event(self, event: Event, result: Prediction) -> None:
        """Something began or ended; it is served with the next result. Any thread may call."""
        self._events.append(event)

    def _try_again(self) -> None:
        try:
            self._server.begin()
        except PortTakenError as error:
            self._wait(error)
        else:
            self._trouble = ""

    def _wait(self, error: PortTakenError) -> None:
        self._trouble, self._next_try_s = f"{str(error).rstrip('.')}; tried again", time.monotonic() + _RETRY_S

    def _channel(self, topic: str, metadata: Mapping[str, str] = {}) -> Channel:
        if topic not in self._channels:
            schema = schema_of(topic, self._frames.codec, metadata)
            self._channels[topic] = self._server.channel(topic, schema, metadata)
        return self._channels[topic]

    def _image(self, result: Prediction, time_ns: int) -> bytes:
        """The encoder begins anew, with a key frame, for a viewer that has just come and for frames of another size."""
        from av.error import FFmpegError

        if self._viewers.take_newcomer() or (self._encoder and self._encoder.size_wh != result.frame.size_wh):
            self._end_encoder()
        try:
            self._encoder = self._encoder or FrameEncoder(self._frames, result)
            return self._encoder.message(result.frame, time_ns, self._stages)[0]
        except FFmpegError as error:
            raise OutputError(f"foxglove: frame {result.frame.index} cannot be encoded: {error}") from error

    def _end_encoder(self) -> None:
        if self._encoder is not None:
            self._encoder.close()
            self._encoder = None


def _codec(name: str) -> Codec:
    known: tuple[Codec, ...] = get_args(Codec)
    for codec in known:
        if name == codec:
            return codec
    raise ConfigError(f"foxglove: codec: expected one of {', '.join(known)}, got {shown(name)}")


class _Viewers:
    """Who has subscribed, as the SDK tells it in threads of its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._topics: Counter[int] = Counter()  # by viewer
        self._newcomer = False

    @property
    def count(self) -> int:
        with self._lock:
            return len(+self._topics)

    def take_newcomer(self) -> bool:
        """Whether one subscribed to the images since the last call."""
        newcomer, self._newcomer = self._newcomer, False
        return newcomer

    def on_subscribe(self, client: Client, channel: ChannelView) -> None:
        """Called by the SDK."""
        with self._lock:
            self._topics[client.id] += 1
        if channel.topic == IMAGE:
            self._newcomer = True

    def on_unsubscribe(self, client: Client, channel: ChannelView) -> None:
        """Called by the SDK, also for each topic of a viewer that went."""
        with self._lock:
            self._topics[client.id] -= 1
            if not self._topics[client.id]:
                del self._topics[client.id]
