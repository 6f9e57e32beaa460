"""What becomes of events while the MQTT broker is away, and how soon it is found when it is back.

    python -m benchmarks.broker_away [--away 60] [--rate 10]

A real Mosquitto is stopped for so many seconds, once by ending it and once by freezing it (SIGSTOP: connections stay,
nothing comes), while results come at 30 Hz and events at the given rate. Who listens has a persistent session, which
the broker keeps on its disk.
"""

from __future__ import annotations

import argparse
import json
import resource
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np

from edge.card import Card
from edge.engine import load_bundle
from edge.frame import Frame, Letterbox
from edge.prediction import Prediction
from edge.report import table
from edge.sinks.mqtt import MqttOptions, MqttSink
from edge.timing import Stages

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "sinks"))

from broker import Broker, soon

ROAD = Path(__file__).parents[1] / "edge" / "engines" / "road"


class Subscriber:
    """Counts each event's number; its session outlives broker and connection."""

    def __init__(self, port: int) -> None:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        self.seen: list[int] = []
        self._client = Client(CallbackAPIVersion.VERSION2, client_id="listener", clean_session=False)
        self._client.reconnect_delay_set(0.05, 0.05)  # type: ignore[arg-type]
        self._client.on_message = lambda client, data, message: self.seen.append(json.loads(message.payload)["value"])
        self._client.on_connect = lambda client, *rest: client.subscribe("edge/bench/events", 1)
        self._client.connect_async("127.0.0.1", port, 60)
        self._client.loop_start()
        assert soon(self._client.is_connected)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--away", type=float, default=60.0)
    words.add_argument("--rate", type=float, default=10.0)
    chosen = words.parse_args()
    rows = [outage(how, chosen.away, chosen.rate) for how in ("ended", "frozen")]
    head = ["broker", "events", "lost", "twice", "out of order", "back s", "memory MB"]
    print(f"\naway for {chosen.away:g} s, {chosen.rate:g} events/s, results at 30 Hz\n")
    print(table(head, rows))


def outage(how: str, away_s: float, rate_hz: float) -> list[str]:
    with tempfile.TemporaryDirectory() as scratch:
        lines = ["allow_anonymous true", "max_queued_messages 10000"]
        broker = Broker(Path(scratch), [*lines, f"persistence_location {scratch}/"])
        kept = Path(scratch, "mosquitto.conf")
        kept.write_text(kept.read_text().replace("persistence false", "persistence true"))
        broker.start()
        listener = Subscriber(broker.port)
        card = load_bundle(ROAD).card
        options = MqttOptions(url=f"mqtt://127.0.0.1:{broker.port}", topic="edge/bench")
        with MqttSink(options, card, Stages()) as sink:
            assert soon(lambda: sink.health.state == "ok")
            feed = Feed(sink, card, rate_hz)
            time.sleep(2)
            before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            broker.signal(signal.SIGSTOP if how == "frozen" else signal.SIGTERM)
            time.sleep(away_s)
            grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb) / 1024
            broker.thaw() if how == "frozen" else broker.start()
            back_s = until(lambda: sink.health.state == "ok")
            time.sleep(2)
            sent = feed.stop()
            soon(lambda: len(set(listener.seen)) >= sent)
        listener.close()
        broker.kill()
    twice = len(listener.seen) - len(set(listener.seen))
    first_seen = list(dict.fromkeys(listener.seen))
    unordered = sum(later < earlier for earlier, later in pairwise(first_seen))
    lost = sent - len(set(listener.seen))
    return [how, str(sent), str(lost), str(twice), str(unordered), f"{back_s:.2f}", f"{grown_mb:.1f}"]


def until(condition: Callable[[], object]) -> float:
    start_s = time.monotonic()
    soon(condition)
    return time.monotonic() - start_s


class Feed(threading.Thread):
    """Results at 30 Hz, events at their own rate, each with its number for a value."""

    def __init__(self, sink: MqttSink, card: Card, rate_hz: float) -> None:
        super().__init__(daemon=True)
        self._sink, self._card, self._rate_hz, self._ended = sink, card, rate_hz, threading.Event()
        self._sent = 0
        self.start()

    def run(self) -> None:
        width, height = self._card.input_wh
        classes = np.zeros((height, width), np.uint8)
        letterbox = Letterbox.fit((width, height), (width, height))
        start_s = time.monotonic()
        for index in range(10**9):
            now_ns = time.monotonic_ns()
            frame = Frame(index=index, captured_ns=now_ns, source="bench", bgr=np.zeros((height, width, 3), np.uint8))
            self._sink.write(Prediction(frame, {"semantic": classes}, letterbox, self._card.table, now_ns), 0)
            while self._sent < (time.monotonic() - start_s) * self._rate_hz:
                self._sink.announce("bench", active=True, frame=index, value=float(self._sent))
                self._sent += 1
            if self._ended.wait(1 / 30):
                return

    def stop(self) -> int:
        """How many events there were."""
        self._ended.set()
        self.join()
        return self._sent


if __name__ == "__main__":
    main()
