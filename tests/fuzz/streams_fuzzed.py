"""Live streams whose data are damaged on their way: no frame of another time, and well again when it is over."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from mutants import Finding, mutated

sys.path.insert(0, str(Path(__file__).parents[1] / "rtsp"))

from cameras import TestCamera, why_no_rtsp
from relay import Relay

from edge.barcode import read_barcode
from edge.frame import Frame
from edge.sources.open import open_live
from edge.sources.supervised import Supervised

_WELL_S = 15.0
_OLD_NS = 500_000_000


class Streams:
    """A camera of each kind behind a bad line, watched by edge all the time."""

    def __init__(self, folder: Path) -> None:
        self._stack = ExitStack()
        self._lines: list[tuple[str, Relay, Supervised]] = []
        for kind in ("http",) if why_no_rtsp() else ("http", "rtsp"):
            camera = self._stack.enter_context(TestCamera(kind))
            relay = self._stack.enter_context(Relay(camera.port))
            source = self._stack.enter_context(open_live(f"{kind}://127.0.0.1:{relay.port}/cam"))
            source.await_first(60.0)
            self._lines.append((kind, relay, source))

    def try_one(self, chance: random.Random) -> str:
        kind, relay, source = chance.choice(self._lines)
        before = source.health
        relay.damage = lambda data, _: mutated(data, chance)
        relay.damages.set()
        time.sleep(chance.uniform(0.02, 0.4))
        relay.damages.clear()
        until_s, frames = time.monotonic() + _WELL_S, iter(source)
        while not _is_true(source, frames):
            if time.monotonic() > until_s:
                raise Finding(f"{kind}: {source.health} {_WELL_S:g} s after the damage; {source.health.last_error}")
        health = source.health
        if "died of" in health.last_error and health.totals["restarts"] > before.totals["restarts"]:
            return f"{kind}: capture process {health.last_error}, replaced"
        if health.totals["restarts"] > before.totals["restarts"]:
            return f"{kind}: connected again"
        is_corrupt = health.totals["corrupt"] > before.totals["corrupt"]
        return f"{kind}: {'told as corrupt' if is_corrupt else 'passed'}"

    def close(self) -> None:
        self._stack.close()


def _is_true(source: Supervised, frames: Iterator[Frame]) -> bool:
    """Whether the next frame is one of now. While damaged JPEGs pass for pictures, their barcodes may say anything."""
    while source.health.state == "lost":
        time.sleep(0.01)
        if time.monotonic_ns() - source.health.since_ns > _WELL_S * 1e9:
            return False
    frame = next(frames)
    code = read_barcode(frame.image)
    return code is not None and 0 <= frame.captured_ns - code[1] < _OLD_NS and source.health.state in ("ok", "degraded")
