"""What is to be sent to the broker, kept over any number of connections."""

from __future__ import annotations

import dataclasses
import json
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edge.arrays import encode_array
from edge.errors import DataError
from edge.maskcodec import MaskError, encode_mask
from edge.prediction import Prediction
from edge.sinks.jsonl import as_record
from edge.sinks.mqtt.link import Message
from edge.timing import Stages

if TYPE_CHECKING:
    from edge.sinks.mqtt.journal import Journal

EVENTS_KEPT = 1000
STALE_S = 2  # results and masks older than that are not delivered

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Kept:
    """An event that the broker has not acknowledged: its payload, and whether it was sent before all the same."""

    payload: bytes
    tried: bool = False


class Outbox:
    """What is to be sent: the newest result, and the last events in their order. Any thread may put and take.

    With a journal, events are on disk too, and begin with those that are left of earlier runs.
    """

    def __init__(self, boot: str, topic: str, journal: Journal | None = None) -> None:
        self._boot, self._topic, self._journal = boot, topic, journal
        self._lock = threading.Lock()
        self._newest: tuple[int, Prediction, int] | None = None
        self._events: dict[int, Kept] = {}  # by ascending keys
        self._last_key = 0
        self._result_seq = self._event_seq = 0
        self._superseded = self._dropped = self._events_sent = self._too_large = 0
        self.frames_sent = self.refused = 0  # the thread's

    def open(self) -> None:
        """Begin with the events that the journal has. Called once, before any event is put."""
        if self._journal is not None:
            self._events = self._journal.open(EVENTS_KEPT)
            self._last_key = max(self._events, default=0)

    def close(self) -> None:
        """No event comes any more."""
        with self._lock:
            if self._journal is not None:
                self._journal.close()

    @property
    def fault(self) -> str:
        """Why events are in memory alone, though they should be on disk; else ""."""
        return self._journal.fault if self._journal is not None else ""

    def counts(self) -> tuple[dict[str, int], dict[str, float]]:
        """Totals and levels, as `Status` has them.

        `frames_sent` are results whose mask the broker has, `frames_superseded` those whose place a newer one took;
        `events_sent` the broker has, `events_waiting` are kept for it, and of `events_dropped` more were waiting than
        are kept. It did not take `refused` messages; of these, events are kept and tried again, but for
        `events_too_large`, which no attempt would bring over.
        """
        with self._lock:
            totals = {
                "frames_sent": self.frames_sent,
                "frames_superseded": self._superseded,
                "events_sent": self._events_sent,
                "events_dropped": self._dropped,
                "events_too_large": self._too_large,
                "refused": self.refused,
            }
            return totals, {"events_waiting": len(self._events)}

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
            self._last_key += 1
            said = facts | {"boot": self._boot, "seq": self._event_seq, "unix_ms": unix_ms(), "event": name}
            kept = self._events[self._last_key] = Kept(as_json(said))
            if self._journal is not None:
                self._journal.put(self._last_key, kept.payload)
            if len(self._events) > EVENTS_KEPT:
                self._forget(next(iter(self._events)))
                self._dropped += 1

    def next_event(self, after_key: int) -> Message | None:
        """The oldest one that is kept and came after that; its `seq` is its key. One that was given before and may have
        come over says so.
        """
        with self._lock:
            if self._last_key <= after_key or not self._events:
                return None
            # None is missing among those that were not sent yet, so that the search ends at once in all but a retry.
            oldest = max(after_key + 1, next(iter(self._events)))
            key = next((key for key in range(oldest, self._last_key + 1) if key in self._events), None)
            if key is None:
                return None
            kept = self._events[key]
            payload = kept.payload[:-1] + b', "resent": true}' if kept.tried else kept.payload
            if not kept.tried:
                kept.tried = True
                if self._journal is not None:
                    self._journal.tried(key)
            return Message("events", f"{self._topic}/events", payload, key)

    def event_sent(self, key: int) -> None:
        """The broker has it; an answer that comes twice counts once."""
        with self._lock:
            self._events_sent += self._forget(key)

    def too_large(self, key: int) -> None:
        """No attempt would bring this event over, so it goes."""
        with self._lock:
            self._too_large += self._forget(key)

    def _forget(self, key: int) -> bool:
        if self._events.pop(key, None) is None:
            return False
        if self._journal is not None:
            self._journal.remove(key)
        return True


def _captured_unix_ms(result: Prediction) -> float:
    return round(unix_ms() - (time.monotonic_ns() - result.frame.captured_ns) / 1e6, 1)


def unix_ms() -> float:
    """The wall clock, to a tenth of a millisecond."""
    return round(time.time_ns() / 1e6, 1)


def as_json(said: dict[str, Any]) -> bytes:
    """UTF-8; what JSON has no form for, such as a path, is said in words."""
    return json.dumps(said, default=str).encode()
