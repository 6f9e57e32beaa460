"""Publishes results, masks, events and status; docs/mqtt.md has topics, payloads and a decoder.

The loop never waits for the network: what it hands over is put down, and one thread, which owns the connection, sends
it. Of results and masks the newest is kept, of events the last thousand. The broker acknowledges all messages (QoS 1):
so one that takes nothing is given nothing, and one that forbids a topic is heard.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import random
import secrets
import threading
import time
from typing import TYPE_CHECKING, Any

from edge.card import Card
from edge.errors import ConfigError
from edge.prediction import Prediction
from edge.sinks.mqtt.link import Link, LinkLost, Message
from edge.sinks.mqtt.options import MqttOptions, address_of, check_mqtt, journal_of
from edge.sinks.mqtt.outbox import Outbox, as_json, unix_ms
from edge.status import State, Status, StatusKeeper
from edge.timing import Stages

if TYPE_CHECKING:
    from edge.events import Event

CLOSING_S = 0.5  # of the second in which the whole service ends
BROKEN_S = (0.1, 1.0)  # first and longest wait before the next attempt: who is back is found within a second
REFUSED_S = (5.0, 60.0)  # where a person must do something first
RETRY_S = 30.0  # a topic that was refused is tried again after so long
SILENT_S = 2.0  # a broker that acknowledges nothing for so long is said to
_FRAMES_UNDERWAY = 8  # results, masks and further outputs together: they never take the room that events need
_SETTLED_S = 5.0  # a connection that lasted so long was a good one
_LEAST_LIMIT_BYTES = 16_384  # what we usually send is smaller: a broken line is no reason to hold it back

log = logging.getLogger(__name__)


class MqttSink:
    """Publishes each result, and the events it is given. It never raises after its start, and never waits."""

    def __init__(self, options: MqttOptions, card: Card, stages: Stages) -> None:
        """Reads the files that the options name, so that a bad one is known before any work is done.

        Raises:
            ConfigError: the options cannot be, or paho-mqtt is not installed.
        """
        check_mqtt(options)
        self.boot = secrets.token_hex(4)
        self._options, self._card, self._stages = options, card, stages
        self._box = Outbox(self.boot, options.topic, journal_of(options))
        self._lock = threading.Lock()
        self._keeper = StatusKeeper("lost", "starting", totals=["connections"])
        self._camera: tuple[str, str] = ("ok", "")
        self._closing, self._closing_s = threading.Event(), 0.0
        self._wake_fd: int | None = None
        self._thread = threading.Thread(target=self._work, name="mqtt", daemon=True)
        # What follows belongs to the thread.
        self._faults: dict[str, str] = {}
        self._paused_until_s: dict[str, float] = {}
        self._status_due, self._status_seq = True, 0
        self._last_event = 0  # of those given to this connection
        self._parts: list[Message] = []  # what is left to send of the newest result
        self._most_bytes = 1 << 28
        self._failures = 0

    def __enter__(self) -> MqttSink:
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._box.open()
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Send what waits and say goodbye, in half a second. A thread that hangs in a connection ends with that."""
        self._closing_s = time.monotonic()
        self._closing.set()
        self._wake()
        self._thread.join(CLOSING_S)
        self._box.close()
        self._become("stopped", "")

    @property
    def health(self) -> Status:
        """How the way to the broker is, and what went over it: docs/mqtt.md. Any thread may ask."""
        now, (totals, levels) = self._keeper.now, self._box.counts()
        return dataclasses.replace(now, totals={**now.totals, **totals}, levels=levels)

    def write(self, result: Prediction, dropped: int) -> None:
        """Put the result where the sending thread finds it."""
        self._box.put_result(result, dropped)
        self._wake()

    def event(self, event: Event, result: Prediction) -> None:
        """One began or ended. Any thread may tell."""
        self.announce(event.name, active=event.active, frame=event.frame, value=event.value, **event.about())

    def announce(self, name: str, **facts: Any) -> None:
        """Something that must not be lost happened; `facts` are what JSON takes. Any thread may tell."""
        self._box.put_event(name, facts)
        self._wake()

    def set_engine(self, card: Card, precision: str) -> None:
        """Another engine works, with the same classes. Any thread may tell."""
        self._card, self._status_due = card, True
        self._wake()

    def set_camera_state(self, health: Status) -> None:
        """What the status says of the camera from now on: its state, and why. Any thread may tell."""
        if self._camera != (health.state, health.reason):
            self._camera = (health.state, health.reason)
            self._status_due = True
            self._wake()

    def _wake(self) -> None:
        with self._lock:
            if self._wake_fd is not None:
                os.eventfd_write(self._wake_fd, 1)

    # -- the thread

    def _work(self) -> None:
        try:
            while not self._closing.is_set():
                self._live_once()
        finally:
            with self._lock:
                wake_fd, self._wake_fd = self._wake_fd, None
            if wake_fd is not None:
                os.close(wake_fd)

    def _live_once(self) -> None:
        """One connection from its beginning to its end, and the wait before the next."""
        began_s, refused = time.monotonic(), True
        try:
            self._connected()
            return
        except LinkLost as error:
            refused = error.refused
            self._become("lost", str(error))
        except ConfigError as error:  # a file that the options name has changed
            self._become("lost", str(error))
        except Exception as error:  # else the thread ends, and the health stays as it was before
            log.exception("mqtt: an error of our own")
            self._become("lost", f"an error of our own, see the log: {error!r}")
        self._failures = 1 if time.monotonic() - began_s > _SETTLED_S else self._failures + 1
        self._closing.wait(_wait_s(self._failures, refused))

    def _connected(self) -> None:
        will = self._status(online=False, reason="connection lost")
        link = Link(address_of(self._options), f"edge-{self.boot}", will, self._acknowledged)
        try:
            self._begin()
            while not self._closing.is_set():
                self._send_waiting(link)
                link.work(0.5, self._wake_fd)
                self._judge(link)
            self._say_goodbye(link, self._closing_s)
        except LinkLost as error:
            if error.too_large and link.in_flight:
                largest = max(message.size_bytes for message, _ in link.in_flight.values())
                self._most_bytes = max(largest - 1, _LEAST_LIMIT_BYTES)
            raise
        finally:
            link.drop()

    def _begin(self) -> None:
        self._faults.clear()
        self._paused_until_s.clear()
        self._parts.clear()
        self._status_due, self._last_event = True, 0
        self._keeper.count(connections=1)
        self._become("ok", "")

    def _send_waiting(self, link: Link) -> None:
        most_bytes = min(link.most_bytes, self._most_bytes)
        while link.has_room and (message := self._next(link)) is not None:
            if message.size_bytes <= most_bytes:
                link.publish(message)
            else:
                self._too_large(message, most_bytes)

    def _next(self, link: Link) -> Message | None:
        """What is to be sent next: the status, then events in their order, then the newest result."""
        if self._status_due and self._may("status"):
            self._status_due = False
            return self._status(online=True)
        if self._may("events") and (event := self._box.next_event(self._last_event)) is not None:
            self._last_event = event.seq
            return event
        underway = sum(message.kind in ("results", "masks", "outputs") for message, _ in link.in_flight.values())
        if underway >= _FRAMES_UNDERWAY:
            return None
        if not self._parts:
            self._parts = [part for part in self._box.newest_parts(self._stages) if self._may(part.kind)]
        return self._parts.pop(0) if self._parts else None

    def _may(self, kind: str) -> bool:
        return time.monotonic() >= self._paused_until_s.get(kind, 0.0)

    def _status(self, online: bool, reason: str = "") -> Message:
        self._status_seq += 1
        said: dict[str, Any] = {"online": online, "boot": self.boot, "seq": self._status_seq, "unix_ms": unix_ms()}
        if online:
            state, why = self._camera
            table = self._card.table
            said |= {"state": state, "reason": why, "engine": self._card.name, "classes": table.names}
            said["groups"] = dict(table.groups)
        else:
            said["reason"] = reason
        return Message("status", f"{self._options.topic}/status", as_json(said), self._status_seq, retain=True)

    def _acknowledged(self, message: Message, refusal: str | None) -> None:
        if refusal is not None:
            self._refused(message, refusal)
            return
        self._faults.pop(message.kind, None)
        if message.kind == "events":
            self._box.event_sent(message.seq)
        elif message.kind == "masks":
            self._box.frames_sent += 1

    def _refused(self, message: Message, why: str) -> None:
        """Not taken: tried again later, for a topic that is forbidden today may be allowed tomorrow."""
        self._box.refused += 1
        self._faults[message.kind] = f"{message.topic}: {why}"
        self._paused_until_s[message.kind] = time.monotonic() + RETRY_S
        if message.kind == "status":
            self._status_due = True
        elif message.kind == "events":
            self._last_event = 0

    def _too_large(self, message: Message, most_bytes: int) -> None:
        self._box.refused += 1
        self._faults[message.kind] = f"{message.topic}: {message.size_bytes} bytes, the broker takes {most_bytes}"
        if message.kind == "events":
            self._box.too_large(message.seq)

    def _judge(self, link: Link) -> None:
        oldest_ns = link.oldest_ns()
        if oldest_ns is not None and time.monotonic_ns() - oldest_ns > SILENT_S * 1e9:
            self._faults["broker"] = "the broker acknowledges nothing"
        else:
            self._faults.pop("broker", None)
        if self._box.fault:
            self._faults["journal"] = self._box.fault
        else:
            self._faults.pop("journal", None)
        self._become("degraded" if self._faults else "ok", "; ".join(self._faults.values()))

    def _become(self, state: State, reason: str) -> None:
        if self._keeper.become(state, reason):
            log.log(logging.INFO if state in ("ok", "stopped") else logging.WARNING, "mqtt: %s", self._keeper.now)

    def _say_goodbye(self, link: Link, closing_s: float) -> None:
        """Send what waits, then that we are gone; a broker that takes neither hears it as a broken line."""
        self._drain(link, closing_s + 0.4 * CLOSING_S)
        link.publish(self._status(online=False, reason="stopped"))
        self._drain(link, closing_s + 0.8 * CLOSING_S)
        if not any(message.kind == "status" for message, _ in link.in_flight.values()):
            link.leave()

    def _drain(self, link: Link, until_s: float) -> None:
        """Send what waits, until the broker has it all or the time is up."""
        while (left_s := until_s - time.monotonic()) > 0:
            self._send_waiting(link)
            if not link.in_flight:
                return
            link.work(left_s)


def _wait_s(failures: int, refused: bool) -> float:
    """Before the next attempt: doubled with each failure, shortened by chance so that a fleet does not come in step."""
    first_s, longest_s = REFUSED_S if refused else BROKEN_S
    return min(first_s * 2 ** min(failures - 1, 16), longest_s) * random.uniform(0.5, 1.0)
