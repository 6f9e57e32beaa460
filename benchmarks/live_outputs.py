"""What live outputs cost the loop: the overlay to a media server, and a viewer of Foxglove's protocol.

    python -m benchmarks.live_outputs [--source drive.mp4] [--seconds 8] [--rounds 3]

Live runs of one source at its own rate, in turn without an output, published by UDP (to a socket that is not read: the
receiver's work is another machine's), and with a Foxglove viewer, a process of its own here, that has subscribed to
every topic and throws all away. The goal is an age p99 of at most 5 % more.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress

import cv2
import numpy as np

from benchmarks.drive import street_720p
from edge.backends import open_engine
from edge.pipeline import buffered, run
from edge.report import table
from edge.segmenter import Segmenter
from edge.sinks.foxglove_live import FoxgloveSink
from edge.sinks.sink import Sink
from edge.sinks.table import SinkContext, make_sink
from edge.sources.open import open_source
from edge.timing import Stages

WAYS = ("nothing", "publish", "foxglove, no viewer", "foxglove, a viewer")


def live(source: str, way: str, seconds: float) -> list[float]:
    """Age p50 and p99 in ms, processor ms a frame of this process, and frames dropped."""
    frames, stages = open_source(source), Stages()
    with ExitStack() as stack:
        engine = stack.enter_context(closing(open_engine("road", source_wh=frames.size_wh)))
        context = SinkContext(frames.name, frames.rate_hz, engine.card, stages)
        sinks = stack.enter_context(outputs(way, context))
        wanted = round(seconds * (frames.rate_hz or 10))
        summary = run(buffered(frames, True), Segmenter(engine), sinks, stages, max_frames=wanted)
    cpu_ms = summary.cpu_s * 1e3 / summary.frames_out
    return [summary.age.percentile_ms(50), summary.age.percentile_ms(99), cpu_ms, summary.dropped]


@contextmanager
def outputs(way: str, context: SinkContext) -> Iterator[list[Sink]]:
    with ExitStack() as stack:
        if way == "publish":
            port = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
            port.bind(("127.0.0.1", 0))
            yield [make_sink("publish", f"udp://127.0.0.1:{port.getsockname()[1]}", context)]
        elif way == "nothing":
            yield []
        else:
            port = stack.enter_context(socket.socket())
            port.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{port.getsockname()[1]}"
            port.close()
            sink = make_sink("foxglove", address, context)
            assert isinstance(sink, FoxgloveSink)
            if way.endswith("a viewer"):
                stack.enter_context(viewer(f"ws://{address}"))
            yield [sink]


@contextmanager
def viewer(url: str) -> Iterator[None]:
    """Subscribes to all there is, as soon as it is there."""
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.live_outputs", "--view", url])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def view(url: str) -> None:
    from websockets.sync.client import connect

    while True:
        with suppress(OSError), connect(url, subprotocols=["foxglove.sdk.v1"], max_size=None) as line:  # type: ignore[list-item]
            for message in line:
                if isinstance(message, str) and (channels := json.loads(message).get("channels")):
                    wishes = [{"id": channel["id"], "channelId": channel["id"]} for channel in channels]
                    line.send(json.dumps({"op": "subscribe", "subscriptions": wishes}))
        time.sleep(0.1)


def costs(source: str, seconds: float, rounds: int) -> str:
    """Each way in turn, round by round: what the machine does beside hits all alike. The median of the rounds."""
    figures: dict[str, list[list[float]]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way in WAYS:
            figures[way].append(live(source, way, seconds))
    medians = {way: np.median(rows, axis=0) for way, rows in figures.items()}
    plain_ms = medians["nothing"][1]
    rows = [
        [way, *(f"{value:.1f}" for value in row[:3]), f"{row[1] / plain_ms - 1:+.1%}", f"{row[3]:.0f}"]
        for way, row in medians.items()
    ]
    return table(["output", "age p50 ms", "p99 ms", "cpu ms/frame", "p99 more", "dropped"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", help="a recording; default: the rendered street, 720p H.264")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--view", metavar="URL", help=argparse.SUPPRESS)
    wishes = parser.parse_args()
    if wishes.view:
        view(wishes.view)
        return
    cv2.setNumThreads(1)
    print(costs(wishes.source or str(street_720p()), wishes.seconds, wishes.rounds))


if __name__ == "__main__":
    main()
