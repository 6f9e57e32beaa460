"""What is to be sent to the broker, kept over any number of connections."""

from __future__ import annotations

import dataclasses
import json
import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

from edge.arrays import encode_array
from edge.errors import DataError
from edge.maskcodec import MaskError, encode_mask
from edge.prediction import Prediction
from edge.sinks.jsonl import as_record
from edge.sinks.mqtt.link import Message
from edge.timing import Stages

EVENTS_KEPT = 1000
STALE_S = 2  # results and masks older than that are not delivered

log = logging.getLogger(__name__)


class Outbox:
    """What is to be sent: the newest result, and the last events in their order. Any thread may put and take."""

    def __init__(self, boot: str, topic: str) -> None:
        self._boot, self._topic = boot, topic
        self._lock = threading.Lock()
        self._newest: tuple[int, Prediction, int] | None = None
        self._events: dict[int, Message] = {}
        self._result_seq = self._event_seq = 0
        self._superseded = self._dropped = self._events_sent = self._too_large = 0
        self.frames_sent = self.refused = 0  # the thread's

    def counts(self) -> dict[str, int]:
        """For `MqttHealth`."""
        with self._lock:
            return {
                "frames_sent": self.frames_sent,
                "frames_superseded": self._superseded,
                "events_sent": self._events_sent,
                "events_waiting": len(self._events),
                "events_dropped": self._dropped,
                "events_too_large": self._too_large,
                "refused": self.refused,
            }

    def put_result(self, result: Prediction, dropped: int) -> None:
        """The newest result, in the place of one that was not asked for yet."""
        with self._lock:
            self._result_seq += 1
            self._superseded += self._newest is not None
            self._newest = (self._result_seq, result, dropped)

    def newest_parts(self, stages: Stages) -> list[Message]:
        """The messages for the newest result, which is coded only now that it is needed; none before the first."""
        with self._lock:
            newest, self._newest = self._newest, None
        if newest is None:
            return []
        seq, result, dropped = newest
        head = {"boot": self._boot, "seq": seq, "captured_unix_ms": _captured_unix_ms(result)}
        parts = [Message("results", f"{self._topic}/results", as_json(head | as_record(result, dropped)), seq)]
        about = head | {"frame": result.frame.index, "age_ms": round(result.age_ms, 3)}
        about["source_wh"] = result.frame.size_wh
        try:
            with stages["encode"].span():
                mask = encode_mask(result.letterbox.content(result.semantic))
        except MaskError as error:
            log.warning("mqtt: frame %d has no mask that can be sent: %s", result.frame.index, error)
        else:
            parts.append(Message("masks", f"{self._topic}/masks", as_json(about) + b"\n" + mask, seq))
        parts += self._further_parts(result, about, seq, stages)
        return [dataclasses.replace(part, expiry_s=STALE_S) for part in parts]

    def _further_parts(self, result: Prediction, about: dict[str, Any], seq: int, stages: Stages) -> Iterator[Message]:
        """A message for each output besides the mask: what it is, and its array."""
        for output in result.further():
            array = result.content(output.name)
            head = about | {"output": output.name, "decoder": output.decoder, "meaning": output.meaning}
            head |= {"dtype": array.dtype.name, "shape": array.shape}
            try:
                with stages["encode"].span():
                    data = encode_array(array)
            except DataError as error:
                log.warning("mqtt: frame %d: %s cannot be sent: %s", result.frame.index, output.name, error)
                continue
            yield Message("outputs", f"{self._topic}/outputs/{output.name}", as_json(head) + b"\n" + data, seq)

    def put_event(self, name: str, facts: dict[str, Any]) -> None:
        """One more event; of more than `EVENTS_KEPT` the oldest goes. `facts` are what JSON takes."""
        with self._lock:
            self._event_seq += 1
            said = facts | {"boot": self._boot, "seq": self._event_seq, "unix_ms": unix_ms(), "event": name}
            event = Message("events", f"{self._topic}/events", as_json(said), self._event_seq)
            self._events[event.seq] = event
            if len(self._events) > EVENTS_KEPT:
                del self._events[next(iter(self._events))]
                self._dropped += 1

    def next_event(self, after_seq: int) -> Message | None:
        """The oldest one that is kept and came after that."""
        with self._lock:
            if self._event_seq <= after_seq or not self._events:
                return None
            # None is missing among those that were not sent yet, so that the search ends at once in all but a retry.
            oldest = max(after_seq + 1, next(iter(self._events)))
            return next((self._events[seq] for seq in range(oldest, self._event_seq + 1) if seq in self._events), None)

    def event_sent(self, seq: int) -> None:
        """The broker has it; an answer that comes twice counts once."""
        with self._lock:
            self._events_sent += self._events.pop(seq, None) is not None

    def too_large(self, seq: int) -> None:
        """No attempt would bring this event over, so it goes."""
        with self._lock:
            self._too_large += self._events.pop(seq, None) is not None


def _captured_unix_ms(result: Prediction) -> float:
    return round(unix_ms() - (time.monotonic_ns() - result.frame.captured_ns) / 1e6, 1)


def unix_ms() -> float:
    """The wall clock, to a tenth of a millisecond."""
    return round(time.time_ns() / 1e6, 1)


def as_json(said: dict[str, Any]) -> bytes:
    """UTF-8; what JSON has no form for, such as a path, is said in words."""
    return json.dumps(said, default=str).encode()
