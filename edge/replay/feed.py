"""What a browser is sent of a replay, and what it may ask for, over one WebSocket.

To the browser: "hello", "state" and "timeline" as JSON; a frame with its masks as bytes. It answers each with "next"
(`edge.web.flow`), and may say a command, {"do": "seek", "index": 37}.
"""

from __future__ import annotations

import asyncio
import json
import math
import struct
import time
import zlib
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

import cv2
import numpy as np
from starlette.websockets import WebSocket, WebSocketDisconnect

import edge
from edge.classes import ClassTable
from edge.errors import EdgeError, OutputError
from edge.frame import Image
from edge.replay.background import BackgroundComparison
from edge.replay.compare import Disagreement
from edge.replay.player import SPEEDS, Player, Shown, State
from edge.replay.session import Session
from edge.replay.view import map_of, map_views
from edge.web.flow import FlowControl, until_one_ends
from edge.web.images import view_bgr

TIMELINE_EVERY_S = 0.5
LOOK_EVERY_S = 0.25
TIMELINE_COLUMNS, WORST = 1200, 12
VIEWERS_MAX = 16
JPEG_QUALITY = 90  # a frame that is looked at closely, and on this machine
REFUSED, FULL, FAILED = 1008, 1013, 1011  # codes of closing: "policy violation", "try again later", "internal error"

Send = Callable[["str | bytes"], Awaitable[None]]


class Feed:
    """Serves viewers; belongs to one event loop while it is entered."""

    def __init__(self, player: Player, session: Session, comparison: BackgroundComparison | None) -> None:
        self._player, self._comparison = player, comparison
        self._hello = hello(player, session)
        self._groups = session.timeline.comparer.groups if session.timeline else ()
        self._changed = asyncio.Event()
        self._viewers = 0
        self._thread = ThreadPoolExecutor(1, "replay images")
        self._made: asyncio.Task[bytes] | None = None
        self._made_number = 0

    def __enter__(self) -> Feed:
        self._wake = partial(asyncio.get_running_loop().call_soon_threadsafe, self._tell)
        self._player.listen(self._wake)
        return self

    def __exit__(self, *exception: object) -> None:
        self._player.unlisten(self._wake)
        self._thread.shutdown(cancel_futures=True)

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def serve(self, socket: WebSocket) -> None:
        """Until the viewer leaves or asks for what there is not, or the player fails."""
        await socket.accept()
        if self._viewers >= VIEWERS_MAX:
            await socket.close(FULL, f"{VIEWERS_MAX} are looking already")
            return
        self._viewers += 1
        try:
            await self._serve(socket)
        finally:
            self._viewers -= 1

    async def _serve(self, socket: WebSocket) -> None:
        flow = FlowControl(partial(obey, self._player))

        async def send(message: str | bytes) -> None:
            await flow.wait_for_capacity()
            flow.unanswered += 1
            await (socket.send_text(message) if isinstance(message, str) else socket.send_bytes(message))

        for end in await until_one_ends(flow.listen(socket), self._send_all(send)):
            if isinstance(end, (_NoCommand, EdgeError)):
                with suppress(RuntimeError, WebSocketDisconnect):  # the browser may have gone first
                    await socket.close(REFUSED if isinstance(end, _NoCommand) else FAILED, str(end)[:100])
            elif isinstance(end, Exception) and not isinstance(end, WebSocketDisconnect):
                raise end

    async def _send_all(self, send: Send) -> None:
        """Whatever is new to the viewer, one message after another."""
        await send(self._hello)
        number, said, timeline_version, timeline_s = 0, "", -1, -math.inf
        timeline = self._player.timeline
        while True:
            changed, state = self._changed, self._player.snapshot()
            text = _state_text(state, self._groups)
            if text != said:
                said = text
                await send(text)
            if state.shown.number > number:
                number = state.shown.number
                if state.shown.frame is not None:
                    await send(await self._image(state.shown))
                continue  # while that was made and sent, there may be a newer one
            if timeline and timeline.version != timeline_version and time.monotonic() - timeline_s > TIMELINE_EVERY_S:
                timeline_version, timeline_s = timeline.version, time.monotonic()
                await send(self._timeline_text())
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(changed.wait(), LOOK_EVERY_S)

    async def _image(self, shown: Shown) -> bytes:
        """Made once for all who look."""
        if self._made is None or self._made_number != shown.number:
            self._made_number, loop = shown.number, asyncio.get_running_loop()
            self._made = asyncio.ensure_future(loop.run_in_executor(self._thread, self._message, shown))  # type: ignore[assignment]
        assert self._made is not None
        return await asyncio.shield(self._made)  # a viewer who leaves takes no image from the others

    def _message(self, shown: Shown) -> bytes:
        timeline = self._player.timeline
        pair = [shown.results.get(track.name) for track in self._player.tracks[:2]]
        differ = None
        if timeline is not None and pair[0] is not None and pair[1] is not None:
            differ = timeline.comparer.differ(pair[0], pair[1]).view(np.uint8)
        maps = {view: map_of(shown, *of) for view, of in map_views(self._player.tracks).items()}
        return frame_message(shown, differ, {view: values for view, values in maps.items() if values is not None})

    def _timeline_text(self) -> str:
        timeline = self._player.timeline
        assert timeline is not None
        apart = max(1, round(self._player.rate_hz))
        mean = timeline.mean()
        worst = [(index, found.share) for index in timeline.worst(apart, WORST) if (found := timeline.at(index))]
        failure = self._comparison.failure if self._comparison else None
        return json.dumps(
            {
                "type": "timeline",
                "known": timeline.known,
                "columns": [
                    None if math.isnan(v) else round(v, 6) for v in timeline.columns(TIMELINE_COLUMNS).tolist()
                ],
                "worst": worst,
                "mean": None if mean is None else _disagreement(mean, self._groups),
                "failure": str(failure or ""),
            }
        )


class _NoCommand(ValueError):
    """A browser asked for what there is not."""


def obey(player: Player, text: str) -> None:
    """Do what a browser's command says.

    Raises:
        ValueError: it is not a command.
    """
    try:
        command = json.loads(text)
    except (ValueError, RecursionError):
        command = None
    if not isinstance(command, dict) or not isinstance(name := command.pop("do", None), str):
        raise _NoCommand("expected a command, such as {'do': 'seek', 'index': 37}")
    argument = next(iter(command.values()), 0)
    if name == "speed" and argument in SPEEDS:
        player.set_speed(float(argument))
        return
    if type(argument) is not int or abs(argument) >= 1 << 31:
        raise _NoCommand(f"{name}: expected a whole number")
    doing: dict[str, Callable[[], object]] = {
        "toggle": player.toggle,
        "pause": player.pause,
        "step": lambda: player.step(argument),
        "seek": lambda: player.seek(argument),
        "worst": lambda: player.seek_worst(argument),
    }
    if name not in doing:
        raise _NoCommand(f"there is no such command; there are: {', '.join([*doing, 'speed'])}")
    doing[name]()


def hello(player: Player, session: Session) -> str:
    """The first message: what is replayed, by whom, and what may be tinted."""
    card = session.engine.card
    return json.dumps(
        {
            "type": "hello",
            "version": edge.__version__,
            "recording": player.name,
            "frame_count": player.frame_count,
            "rate_hz": player.rate_hz,
            "size_wh": player.size_wh,
            "damage": player.damage,
            "engine": f"{card.name} · {card.net} · {session.engine.precision} · {'×'.join(map(str, card.input_wh))}",
            "tracks": [track.name for track in session.tracks],
            "layers": layers(session.tables),
            "maps": [*map_views(session.tracks)],
            "compares": session.timeline is not None,
            "speeds": SPEEDS,
        }
    )


def layers(tables: tuple[ClassTable, ...]) -> list[dict[str, object]]:
    """What can be tinted, by the first table: its tints, on, then classes that no tint covers, off. `ids` by track."""
    first = tables[0]
    covered = {i for name in first.tints for i in first.ids(name)}
    rest = [(name, first.colours_rgb[i]) for i, name in enumerate(first.names) if i not in covered]
    rows = [*((name, rgb, True) for name, rgb in first.tints.items()), *((name, rgb, False) for name, rgb in rest)]
    return [
        {"name": name, "rgb": rgb, "on": on, "ids": [_ids(table, name) for table in tables]} for name, rgb, on in rows
    ]


def _ids(table: ClassTable, name: str) -> tuple[int, ...]:
    return table.ids(name) if name in table.groups or name in table.names else ()


def _state_text(state: State, groups: tuple[str, ...]) -> str:
    shown = state.shown
    return json.dumps(
        {
            "type": "state",
            "playing": state.playing,
            "speed": state.speed,
            "skipped": state.skipped,
            "note": state.note,
            "frame": shown.index,
            "reason": shown.reason,
            "disagreement": None if shown.disagreement is None else _disagreement(shown.disagreement, groups),
        }
    )


def _disagreement(found: Disagreement, groups: tuple[str, ...]) -> dict[str, object]:
    iou = {group: None if value is None else round(value, 4) for group, value in zip(groups, found.iou, strict=True)}
    return {"share": round(found.share, 6), "iou": iou}


def frame_message(shown: Shown, differ: np.ndarray | None, greys: Mapping[str, Image]) -> bytes:
    """Length of the head (uint32, little endian), head (JSON), JPEG, then deflated maps (RFC 1950) as the head has
    them: class ids of each track, where the first two differ, and `greys`, uint8 (h, w) each, by view.

    Raises:
        OutputError: OpenCV cannot encode the frame.
    """
    frame = shown.frame
    assert frame is not None
    image = view_bgr(frame)
    done, jpeg = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))
    if not done:
        raise OutputError(f"frame {frame.index}: cannot be made a JPEG")
    maps = {name: mask.letterbox.content(mask.semantic) for name, mask in shown.results.items()}
    packed = {name: zlib.compress(classes.tobytes(), 1) for name, classes in maps.items()}
    tail = b"" if differ is None else zlib.compress(differ.tobytes(), 1)
    shades = {view: zlib.compress(values.tobytes(), 1) for view, values in greys.items()}
    head = {
        "frame": frame.index,
        "media_s": None if frame.media_ns is None else round(frame.media_ns / 1e9, 3),
        "image_wh": image.shape[1::-1],
        "jpeg_bytes": len(jpeg),
        "tracks": {
            name: {
                "wh": maps[name].shape[::-1],
                "bytes": len(packed[name]),
                "age_ms": round(mask.age_ms, 1),
            }
            for name, mask in shown.results.items()
        },
        "differ": None if differ is None else {"wh": differ.shape[::-1], "bytes": len(tail)},
        "maps": {view: {"wh": values.shape[::-1], "bytes": len(shades[view])} for view, values in greys.items()},
    }
    text, parts = json.dumps(head).encode(), (*packed.values(), tail, *shades.values())
    return b"".join((struct.pack("<I", len(text)), text, jpeg.tobytes(), *parts))
