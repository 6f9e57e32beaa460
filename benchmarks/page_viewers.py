"""What viewers of the live page cost the loop: age and memory without any, with silent ones, and with ones that read.

python -m benchmarks.page_viewers [--viewers 100] [--seconds 10] [--rate 30] [--rounds 10] [--kinds silent,returning]

A 720p street at a camera's rate goes through the road engine; the viewers are in a process of their own. Silent ones
open the feed and never read nor answer, until the server lets them go; those who return do the same, each goes after
4 to 12 s and comes back at once: a dozen a second, for each of whom a picture is drawn and coded. Also printed: how
long the server takes to stop with all of them connected. On a busy machine ages say little; processor time per frame,
of this process alone, still does.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import random
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from benchmarks.drive import street_720p
from edge.backends import open_engine
from edge.pipeline import Summary, run
from edge.segmenter import Segmenter
from edge.sources.flow import Latest, Paced
from edge.sources.recording import Recording
from edge.timing import Stages
from edge.web.options import WebOptions
from edge.web.server import WebServer
from edge.web.sink import WebSink
from edge.web.state import Live

HANDSHAKE = (
    "GET /feed HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def be_viewers(port: int, kind: str, count: int) -> None:
    """In a process of its own, until it is ended."""
    asyncio.run(_be_viewers(port, kind, count))


async def _be_viewers(port: int, kind: str, count: int) -> None:
    does = {"silent": _say_nothing, "returning": _return}.get(kind, _read)
    await asyncio.gather(*(does(port) for _ in range(count)))


async def _read(port: int) -> None:
    with suppress(ConnectionClosed):  # the server's end is the benchmark's
        async with connect(f"ws://127.0.0.1:{port}/feed", proxy=None, compression=None, max_size=None) as line:
            async for _ in line:
                await line.send("next")


async def _say_nothing(port: int, seconds: float = 3600.0) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
    writer.write(HANDSHAKE.encode())
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    await asyncio.sleep(seconds)
    writer.transport.abort()


async def _return(port: int) -> None:
    while True:
        await _say_nothing(port, random.uniform(4, 12))  # a hundred who come in the same moment are no hundred people


@contextmanager
def viewers(port: int, kind: str, count: int) -> Iterator[None]:
    if not count:
        yield
        return
    process = multiprocessing.get_context("spawn").Process(target=be_viewers, args=(port, kind, count), daemon=True)
    process.start()
    time.sleep(2)
    try:
        yield
    finally:
        process.kill()
        process.join()


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def drive(engine: Any, kind: str, count: int, frames: int, rate_hz: float) -> tuple[Summary, float, float, int]:
    """One run: its summary, resident MB before it and at its end, and ms to stop the server."""
    recording = Recording(str(street_720p()))
    recording.rate_hz = rate_hz
    source, segmenter, stages = Latest(Paced(recording)), Segmenter(engine), Stages()
    live = Live(engine, source.name, lambda: {"decode": source.decode, **segmenter.stages.by_name})
    server = WebServer(live, WebOptions(port=0))
    with server:
        port = int(server.url.rstrip("/").rpartition(":")[2])
        with viewers(port, kind, count):
            summary = run(source, segmenter, [WebSink(live)], stages, max_frames=frames)
            resident = resident_mb()
            sent = live.snapshot().sent.get("page", 0)
            start_s = time.perf_counter()
            server.__exit__(None, None, None)
            stop_ms = (time.perf_counter() - start_s) * 1e3
    return summary, resident, stop_ms, sent


def main() -> None:
    """Print the table; the kinds take turns, so that what else the machine does meets all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--viewers", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rate", type=float, default=30)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--kinds", default="silent,returning,one reads,ten read", help="beside nobody")
    wish = parser.parse_args()
    counts = {"nobody": 0, "silent": wish.viewers, "returning": wish.viewers, "one reads": 1, "ten read": 10}
    kinds = ["nobody", *wish.kinds.split(",")]
    frames = min(300, round(wish.seconds * wish.rate))
    rows: dict[str, list[tuple[float, ...]]] = {name: [] for name in kinds}
    with open_engine("road") as engine:
        drive(engine, "nobody", 0, 30, wish.rate)  # warms caches and allocators
        for number in range(wish.rounds):
            for name in kinds if number % 2 else kinds[::-1]:
                summary, resident, stop_ms, sent = drive(engine, name, counts[name], frames, wish.rate)
                age = summary.age
                cpu_ms = summary.cpu_s * 1e3 / summary.frames_out
                rows[name].append((age.percentile_ms(50), age.percentile_ms(99), cpu_ms, resident, stop_ms, sent))
    print(f"{wish.rounds} rounds of {frames} frames at {wish.rate:g} Hz; medians of the rounds, stop: the longest")
    print("viewers      age p50   age p99  cpu/frame   resident     stop  pictures sent")
    for name, runs in rows.items():
        p50, p99, cpu_ms, resident, _, sent = (statistics.median(column) for column in zip(*runs, strict=True))
        stop_ms = max(row[4] for row in runs)
        figures = (
            f"{p50:>6.1f} ms {p99:>6.1f} ms {cpu_ms:>7.1f} ms {resident:>7.1f} MB {stop_ms:>5.0f} ms {sent:>14.0f}"
        )
        print(f"{name:<10} {figures}")
    for name in kinds[1:]:
        ratios = sorted(some[1] / none[1] for none, some in zip(rows["nobody"], rows[name], strict=True))
        spread = f"{statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})"
        print(f"age p99, {name} to nobody in the same round: {spread}")


if __name__ == "__main__":
    main()
