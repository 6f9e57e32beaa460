"""A recorded drive served to Foxglove, which plays, pauses, seeks and sets the speed. docs/live.md."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from queue import Empty, Queue
from typing import TYPE_CHECKING, NamedTuple

from edge.errors import SourceError
from edge.replay.clock import RecordedClock
from edge.replay.messages import Entry, RecordedMessages
from edge.sinks.foxglove_server import Address, FoxgloveServer

if TYPE_CHECKING:
    from foxglove import Channel
    from foxglove.websocket import ChannelView, Client, PlaybackControlRequest, PlaybackState

BACKLOG = 1024  # messages that wait for one viewer
_IDLE_S = 0.5
_PATIENCE_S = 5.0
_SPEEDS = (0.001, 1000.0)  # at which a recording's times are still times that can be waited for
# What follows a seek must come behind the state that announces it, which viewers begin anew at. The SDK sends both by
# queues of their own, and does not say when the state has gone; who drags the slider asks several times in this time.
_SETTLE_S = 0.05

log = logging.getLogger(__name__)


class _Joined(NamedTuple):
    """A viewer has subscribed to a topic."""

    topic: str


class _Control(NamedTuple):
    """A viewer asks for another playback, and waits for the state that comes of it."""

    asked: PlaybackControlRequest
    answer: Future[PlaybackState]


class _Requests:
    """What viewers ask for, as the SDK reports it in threads of its own, in their order."""

    def __init__(self) -> None:
        self.queue: Queue[_Control | _Joined | None] = Queue()

    def on_subscribe(self, client: Client, channel: ChannelView) -> None:
        """Called by the SDK."""
        self.queue.put(_Joined(channel.topic))

    def on_unsubscribe(self, client: Client, channel: ChannelView) -> None:
        """Called by the SDK."""

    def on_playback_control_request(self, request: PlaybackControlRequest) -> PlaybackState | None:
        """Called by the SDK, which sends the answer to all viewers."""
        control = _Control(request, Future())
        self.queue.put(control)
        try:
            return control.answer.result(_PATIENCE_S)
        except FutureTimeoutError:  # the server is ending
            return None


class FoxgloveReplay:
    """Serves a recording while it is entered; all viewers share one position. It waits, paused, at the beginning.

    One thread owns position, clock and state, and logs all messages.
    """

    def __init__(self, recording: RecordedMessages, address: Address, speed: float = 1.0) -> None:
        """Raises:
        ConfigError: the library is not installed.
        """
        self._recording, self._requests = recording, _Requests()
        self._server = FoxgloveServer(
            recording.name, address, self._requests, backlog=BACKLOG, time_range_ns=recording.range_ns
        )
        self._channels: dict[str, Channel] = {}
        self._clock, self._playing, self._now_ns = RecordedClock(speed), False, recording.range_ns[0]
        self._failure: BaseException | None = None
        self._damaged, self._sought = 0, False
        self._thread = threading.Thread(target=self._work, name="foxglove replay", daemon=True)

    def __enter__(self) -> FoxgloveReplay:
        """Raises:
        ConfigError: the address cannot be listened on.
        """
        self._server.__enter__()
        for name, topic in self._recording.topics.items():
            self._channels[name] = self._server.channel(name, topic.schema, topic.metadata)
        self._recording.seek(self._now_ns)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._requests.queue.put(None)
        self._thread.join()
        self._server.__exit__()

    @property
    def url(self) -> str:
        """Where it is served; known once it is entered."""
        return self._server.url

    def wait(self) -> None:
        """Until its thread ends, which it does only if it fails.

        Raises:
            BaseException: what ended it.
        """
        while self._thread.is_alive():
            self._thread.join(_IDLE_S)
        if self._failure is not None:
            raise self._failure

    # -- the thread

    def _work(self) -> None:
        try:
            while self._turn():
                pass
        except BaseException as error:  # noqa: BLE001 handed to whoever waits
            self._failure = error

    def _turn(self) -> bool:
        """One request of a viewer, or the messages that are due; False at the end."""
        try:
            request = self._requests.queue.get(timeout=self._wait_s())
        except Empty:
            self._show_all() if self._sought else self._send_due()
            return True
        if isinstance(request, _Joined):
            self._join(request)
        elif request is not None:
            request.answer.set_result(self._obey(request.asked))
        return request is not None

    def _wait_s(self) -> float:
        """Until the next message is due."""
        if self._sought:
            return _SETTLE_S
        if not self._playing:
            return _IDLE_S
        next_ns, now_ns = self._recording.next_ns, time.monotonic_ns()
        if next_ns is None:
            return 0.0
        return max(0.0, (self._clock.due_ns(next_ns, now_ns) - now_ns) / 1e9)

    def _send_due(self) -> None:
        """All messages of the next moment."""
        if not self._playing:
            return
        next_ns = self._recording.next_ns
        if next_ns is None:
            self._playing = False
            self._server.running.broadcast_playback_state(self._state())
            return
        self._now_ns = next_ns
        self._server.running.broadcast_time(next_ns)
        while self._recording.next_ns == next_ns and (entry := self._recording.next()) is not None:
            self._log(entry)

    def _join(self, viewer: _Joined) -> None:
        """Show the newcomer where all are. While it plays, the next messages do that."""
        self._server.running.broadcast_playback_state(self._state())
        if not self._playing:
            self._show(viewer.topic)

    def _obey(self, request: PlaybackControlRequest) -> PlaybackState:
        from foxglove.websocket import PlaybackCommand

        if _SPEEDS[0] <= request.playback_speed <= _SPEEDS[1]:  # so it is no NaN
            self._clock.speed = request.playback_speed
        self._playing = request.playback_command == PlaybackCommand.Play
        first_ns, last_ns = self._recording.range_ns
        seek_ns = request.seek_time
        if seek_ns is None and self._playing and self._recording.next_ns is None:
            seek_ns = first_ns  # to play on at the end is to begin anew
        if seek_ns is not None:
            self._now_ns = min(max(seek_ns, first_ns), last_ns)
            self._recording.seek(self._now_ns)
            self._sought = True
        self._clock.restart()
        return self._state(seek_ns is not None, request.request_id)

    def _show_all(self) -> None:
        self._sought = False
        for topic in self._channels:
            self._show(topic)

    def _state(self, did_seek: bool = False, request_id: str = "") -> PlaybackState:
        from foxglove.websocket import PlaybackState, PlaybackStatus

        at_end = self._recording.next_ns is None and not self._playing
        status = PlaybackStatus.Playing if self._playing else PlaybackStatus.Ended if at_end else PlaybackStatus.Paused
        return PlaybackState(status, self._now_ns, self._clock.speed, did_seek, request_id)

    def _show(self, topic: str) -> None:
        try:
            entries = list(self._recording.state_of(topic))
        except SourceError as error:
            self._note_damage(error)
            return
        for entry in entries:
            self._log(entry)

    def _log(self, entry: Entry) -> None:
        channel = self._channels[entry.topic]
        if not channel.has_sinks():
            return
        try:
            channel.log(entry.read(), log_time=entry.time_ns)
        except SourceError as error:
            self._note_damage(error)

    def _note_damage(self, error: SourceError) -> None:
        """Each is shown to the viewers, the first one logged, too."""
        from foxglove import StatusLevel

        self._damaged += 1
        if self._damaged == 1:
            log.warning("%s", error)
        self._server.running.publish_status(str(error), StatusLevel.Warning, id="damage")


def serve_drive(name: str, address: Address, speed: float, say: Callable[[str], object] = print) -> None:
    """Until Ctrl-C or SIGTERM.

    Raises:
        EdgeError: it is no recording with messages, or the address cannot be listened on.
    """
    recording = RecordedMessages(name)
    with FoxgloveReplay(recording, address, speed) as replay:
        say(f"{name}: open {replay.url} in Foxglove (Foxglove WebSocket); Ctrl-C ends it")
        if recording.damage:
            say(f"{name}: is damaged: {recording.damage}. What can be read of it is served")
        replay.wait()
