"""What a viewer is sent over its WebSocket: who we are, then frames and figures, the newest only.

One who reads slowly gets fewer frames (`edge.web.flow`), and one who does not read at all costs two messages and
then its place.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress

from starlette.websockets import WebSocket, WebSocketDisconnect

import edge
from edge.errors import OutputError
from edge.status import Status
from edge.timing import Durations
from edge.web.encoder import FrameEncoder
from edge.web.flow import FlowControl, until_one_ends
from edge.web.state import STEP_S, STEPS, Live, Step, rate_hz

SILENT_S = 5.0  # then a viewer who does not answer is let go
VIEWERS_MAX = 128
WINDOW_STEPS = 4  # of half a second: over which the times of the waterfall are averaged

# Codes of closing: ours; "try again later" (IANA's registry); ours, and the reason: come without H.264.
SILENT, FULL, NO_H264 = 4000, 1013, 4001
_REASON_BYTES = 120  # a WebSocket takes 123 (RFC 6455, 5.5)


class Feed:
    """Serves viewers. `viewers` are those there are."""

    def __init__(self, live: Live, jpeg: FrameEncoder, h264: FrameEncoder | None = None) -> None:
        """Without `h264`, who asks for it gets JPEG."""
        self._live, self._jpeg, self._h264 = live, jpeg, h264
        encoders = {"jpeg": jpeg} if h264 is None else {"jpeg": jpeg, "h264": h264}
        self._figures = Figures(live, {name: encoder.encode for name, encoder in encoders.items()})
        self.viewers = 0

    async def serve(self, socket: WebSocket, with_h264: bool = False) -> None:
        """Until the viewer leaves, is silent for too long, or the server ends."""
        await socket.accept()
        if self.viewers >= VIEWERS_MAX:
            await socket.close(FULL, f"{VIEWERS_MAX} are looking already")
            return
        self.viewers += 1
        encoder = self._h264 if with_h264 and self._h264 is not None else self._jpeg
        try:
            with encoder.viewer():
                await self._serve(socket, encoder)
        finally:
            self.viewers -= 1

    async def _serve(self, socket: WebSocket, encoder: FrameEncoder) -> None:
        flow = FlowControl()
        ends = await until_one_ends(flow.listen(socket), self._send(socket, flow, encoder))
        for end in ends:
            if isinstance(end, asyncio.TimeoutError):
                await _close(socket, SILENT, f"no answer for {SILENT_S:.0f} s")
            elif isinstance(end, OutputError) and encoder is self._h264:
                await _close(socket, NO_H264, str(end))
            elif isinstance(end, Exception) and not isinstance(end, WebSocketDisconnect):
                raise end

    async def _send(self, socket: WebSocket, flow: FlowControl, encoder: FrameEncoder) -> None:
        number, sent, due_s, shown = 0, 0, 0.0, None
        while True:
            if shown != (self._live.card, self._live.precision):  # at first, and when another one is at work
                shown = (self._live.card, self._live.precision)
                await asyncio.wait_for(socket.send_text(hello(self._live)), SILENT_S)
            await asyncio.wait_for(flow.wait_for_capacity(), SILENT_S)
            if time.monotonic() >= due_s:
                due_s = time.monotonic() + STEP_S
                sending = socket.send_text(self._figures.text())
            else:
                try:
                    encoded = await asyncio.wait_for(encoder.newer(number), due_s - time.monotonic())
                except asyncio.TimeoutError:
                    continue
                if (message := encoded.message(sent)) is None:
                    encoder.ask_for_key(encoded)
                    continue
                number, sent, sending = encoded.number, encoded.image.place, socket.send_bytes(message)
                self._live.count_sent("page")
            flow.unanswered += 1
            await asyncio.wait_for(sending, SILENT_S)


async def _close(socket: WebSocket, code: int, reason: str) -> None:
    with suppress(WebSocketDisconnect, asyncio.TimeoutError):
        reason = reason.encode()[:_REASON_BYTES].decode(errors="ignore")
        await asyncio.wait_for(socket.close(code, reason), 1.0)


def hello(live: Live) -> str:
    """The first message: what is shown, and what may be switched on and off."""
    card = live.card
    return json.dumps(
        {
            "type": "hello",
            "version": edge.__version__,
            "engine": card.name,
            "description": card.description,
            "net": card.net,
            "precision": live.precision,
            "input_wh": card.input_wh,
            "source": live.source,
            "stale_after_ms": round(live.stale_after_s * 1e3),
            "layers": layers(live),
            "zones": None if live.zones is None else live.zones.as_json(),
        }
    )


def layers(live: Live) -> list[dict[str, object]]:
    """What the page can tint: the card's tints, on, then every class that no tint covers, off."""
    table = live.card.table
    tinted = {name: list(table.ids(name)) for name in table.tints}
    covered = {i for ids in tinted.values() for i in ids}
    rows: list[dict[str, object]] = [
        {"name": name, "ids": ids, "rgb": table.tints[name], "on": True} for name, ids in tinted.items()
    ]
    return rows + [
        {"name": name, "ids": [i], "rgb": table.colours_rgb[i], "on": False}
        for i, name in enumerate(table.names)
        if i not in covered
    ]


class Figures:
    """The message with the figures, made at most once a step for all viewers."""

    def __init__(self, live: Live, encoding: Mapping[str, Durations]) -> None:
        """`encoding`: the times of the page's own stages, which run beside the loop."""
        self._live, self._encoding = live, encoding
        self._text, self._made_s = "", -STEP_S
        self._totals: deque[dict[str, tuple[int, int]]] = deque(maxlen=WINDOW_STEPS + 1)

    def text(self) -> str:
        """As JSON; half a step old at most."""
        if time.monotonic() - self._made_s >= STEP_S / 2:
            self._made_s = time.monotonic()
            self._text = json.dumps(self._make(), separators=(",", ":"))
        return self._text

    def _make(self) -> dict[str, object]:
        now = self._live.snapshot()
        newest_age_s = now.newest_age_s
        return {
            "type": "figures",
            "camera": {
                "state": now.camera.state,
                "reason": now.camera.reason,
                "for_s": round((now.at_ns - now.camera.since_ns) / 1e9, 1),
            },
            "unlike_training": now.unlike,
            "reduced": now.reduced,
            "events": now.events,
            "outputs": {name: _output(health) for name, health in now.outputs.items()},
            "newest_age_ms": None if newest_age_s is None else round(newest_age_s * 1e3, 1),
            "rate_hz": round(rate_hz(now.steps), 1),
            "frames": now.frames,
            "dropped": now.dropped,
            "age_p50_ms": _ms(now.age.percentile_ms(50)) if now.frames else None,
            "age_p99_ms": _ms(now.age.percentile_ms(99)) if now.frames else None,
            "stages": self._waterfall({**now.stages, **self._encoding}),
            "history": _history(now.steps),
        }

    def _waterfall(self, stages: Mapping[str, Durations]) -> list[dict[str, object]]:
        """Each stage's mean time over the last two seconds, and its 99th percentile since the start."""
        totals = {name: (stage.count, stage.total_ns) for name, stage in stages.items()}
        self._totals.append(totals)
        before = self._totals[0] if len(self._totals) > 1 else {}
        rows: list[dict[str, object]] = []
        for name, (count, total_ns) in totals.items():
            count_before, total_before_ns = before.get(name, (0, 0))
            if count > count_before:
                mean_ms = (total_ns - total_before_ns) / (count - count_before) / 1e6
                rows.append({"name": name, "mean_ms": _ms(mean_ms), "p99_ms": _ms(stages[name].percentile_ms(99))})
        return rows


def _output(health: Status) -> dict[str, object]:
    return {"state": health.state, "reason": health.reason, "counts": {**health.levels, **health.totals}}


def _history(steps: list[Step]) -> dict[str, object]:
    """`steps` is how many a full history has: those that it has not yet are missing at its beginning."""
    return {
        "steps": STEPS,
        "rate_hz": [round(step.frames / STEP_S) for step in steps],
        "age_ms": [_ms(step.age_sum_ns / step.frames / 1e6) if step.frames else None for step in steps],
        "age_max_ms": [_ms(step.age_max_ns / 1e6) if step.frames else None for step in steps],
        "dropped": [step.dropped for step in steps],
    }


def _ms(value: float) -> float:
    return round(value, 2)
