"""What a browser gets of one result: the frame, as H.264 or JPEG, and the class map, encoded once for all viewers."""

from __future__ import annotations

import asyncio
import json
import struct
import time
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import cv2

from edge.errors import OutputError
from edge.frame import Frame
from edge.shortage import check_shortage
from edge.timing import Durations
from edge.web.birds_eye import seen_in_metres
from edge.web.images import grey_maps, view_bgr
from edge.web.state import Live, Newest

TILE_WIDTH = 640  # where several cameras share a screen
JPEG_QUALITY = 80


class EncodedImage(Protocol):
    """The image of one frame, encoded; `size_wh` is its size in pixels, `place` that among the images of its stream."""

    @property
    def size_wh(self) -> tuple[int, int]: ...

    @property
    def place(self) -> int: ...

    def since(self, place: int) -> tuple[Mapping[str, object], bytes] | None:
        """What a head says of it, and its bytes, for a viewer whose last image has that place, 0 for none; None where
        that is too long ago.
        """
        ...


class Images(Protocol):
    """Encodes the images of one camera. One thread encodes and closes."""

    def encode(self, frame: Frame) -> EncodedImage:
        """The next image.

        Raises:
            OutputError: it cannot be encoded.
        """
        ...

    def ask_for_key(self) -> None:
        """Whoever has no image yet shall be able to begin with the next one; from any thread."""
        ...

    def close(self) -> None:
        """Keep nothing; the next image begins anew."""
        ...


@dataclass(frozen=True, slots=True)
class JpegImage:
    """An image that needs no other."""

    size_wh: tuple[int, int]
    data: bytes
    place: int = 0

    def since(self, place: int) -> tuple[Mapping[str, object], bytes]:
        """See `EncodedImage`."""
        return {"jpeg_bytes": len(self.data)}, self.data


class JpegImages:
    """Each frame as a JPEG, at most so wide."""

    def __init__(self, most_width: int) -> None:
        self._most_width = most_width

    def encode(self, frame: Frame) -> JpegImage:
        """See `Images`."""
        image = view_bgr(frame, self._most_width)
        try:
            done, jpeg = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))
        except cv2.error as error:
            check_shortage(error)
            raise OutputError(f"frame {frame.index}: cannot be made a JPEG: {error}") from error
        if not done:
            raise OutputError(f"frame {frame.index}: cannot be made a JPEG")
        return JpegImage((image.shape[1], image.shape[0]), jpeg.tobytes())

    def ask_for_key(self) -> None:
        """Each is one."""

    def close(self) -> None:
        """Nothing is kept."""


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """`image` is the frame; `classes` the deflated (RFC 1950) ids of the cells that the frame covers, row by row,
    and behind them the maps of the head's `layers`.

    It holds nothing of the result that it was made of: a camera may be waiting for the frame's memory.
    """

    number: int
    captured_ns: int
    head: Mapping[str, object]
    image: EncodedImage
    classes: bytes

    def message(self, after: int = 0) -> bytes | None:
        """The message for a browser whose last image has the place `after`: length of the head (uint32, little
        endian), head (JSON), image, class map. None where it needs an image to begin with: see `ask_for_key`.

        `age_ms` runs from capture to mask, `now_age_ms` from capture to now: the browser's clock is not ours.
        """
        if (found := self.image.since(after)) is None:
            return None
        about, image = found
        now_age_ms = round((time.monotonic_ns() - self.captured_ns) / 1e6, 2)
        text = json.dumps({**self.head, **about, "now_age_ms": now_age_ms}, separators=(",", ":")).encode()
        return b"".join((struct.pack("<I", len(text)), text, image, self.classes))


def encode_frame(newest: Newest, images: Images, with_maps: bool = True) -> EncodedFrame:
    """The frame and masks of a result for a browser; `with_maps`: with what else the engine gives of each pixel.

    Raises:
        OutputError: the frame cannot be encoded.
    """
    result, frame = newest.result, newest.result.frame
    image = images.encode(frame)
    classes = result.letterbox.content(result.semantic)
    maps = grey_maps(result) if with_maps else {}
    head = {
        "number": newest.number,
        "frame": frame.index,
        "media_s": None if frame.media_ns is None else round(frame.media_ns / 1e9, 3),
        "age_ms": round(result.age_ms, 2),
        "dropped": newest.dropped,
        "picture_wh": image.size_wh,
        "classes_wh": (classes.shape[1], classes.shape[0]),
        "metres": seen_in_metres(result) if with_maps else None,
        "layers": [
            {"name": name, "meaning": result.specs[name].meaning, "wh": (values.shape[1], values.shape[0])}
            for name, values in maps.items()
        ],
    }
    cells = b"".join(values.tobytes() for values in (classes, *maps.values()))
    return EncodedFrame(newest.number, frame.captured_ns, head, image, zlib.compress(cells, 1))


class FrameEncoder:
    """Encodes the newest result for any number of waiting viewers; belongs to one event loop.

    A frame is encoded when a viewer waits for it, in a background thread, and once for all that wait.
    """

    def __init__(self, live: Live, images: Images, with_maps: bool = True) -> None:
        self._live, self._images, self._with_maps = live, images, with_maps
        self._leave = ExitStack()
        self._arrived = asyncio.Event()
        self._viewers = 0
        self._waiting = 0  # viewers; without any, a result wakes no thread
        self._making: asyncio.Task[EncodedFrame] | None = None
        self._thread = ThreadPoolExecutor(1, "page encoder")
        self.encode = Durations()

    def __enter__(self) -> FrameEncoder:
        wake = partial(asyncio.get_running_loop().call_soon_threadsafe, self._wake)
        self._leave.enter_context(self._live.listening(lambda: self._waiting and wake()))
        return self

    def __exit__(self, *exception: object) -> None:
        self._leave.close()
        self._thread.shutdown(cancel_futures=True)
        self._images.close()

    @contextmanager
    def viewer(self) -> Iterator[None]:
        """One more looks while the block lasts. Behind the last one, nothing is kept for the next."""
        self._viewers += 1
        try:
            yield
        finally:
            self._viewers -= 1
            if not self._viewers:
                with suppress(RuntimeError):  # the thread ended, and closes them itself
                    self._thread.submit(self._images.close)

    def ask_for_key(self, encoded: EncodedFrame) -> None:
        """A viewer can do nothing with this one: what `newer` gives next needs no other, and may be of the same result,
        as no newer one may come. Where it is not the newest any more, nothing is done.
        """
        if _result_of(self._making) is encoded:
            self._making = None
            self._images.ask_for_key()

    async def newer(self, number: int) -> EncodedFrame:
        """The newest result, encoded, once there is a newer one than that number."""
        self._waiting += 1  # before it is looked whether one is there: none can come unseen
        try:
            while True:
                arrived, newest = self._arrived, self._live.newest
                if newest is None or newest.number <= number:
                    await arrived.wait()
                elif (encoded := await self._current(newest)).number > number:
                    return encoded
        finally:
            self._waiting -= 1

    async def _current(self, newest: Newest) -> EncodedFrame:
        """The frame that is being encoded, or is still the newest; else a new one is begun."""
        task = self._making
        if task is None or (task.done() and not _is_of(task, newest)):
            task = self._making = asyncio.create_task(self._make(newest))
        return await asyncio.shield(task)  # a viewer who leaves takes no frame from the others

    async def _make(self, newest: Newest) -> EncodedFrame:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._timed, newest)

    def _timed(self, newest: Newest) -> EncodedFrame:
        with self.encode.span():
            return encode_frame(newest, self._images, self._with_maps)

    def _wake(self) -> None:
        self._arrived.set()
        self._arrived = asyncio.Event()


def _is_of(task: asyncio.Task[EncodedFrame], newest: Newest) -> bool:
    return (encoded := _result_of(task)) is not None and encoded.number == newest.number


def _result_of(task: asyncio.Task[EncodedFrame] | None) -> EncodedFrame | None:
    if task is None or not task.done() or task.cancelled() or task.exception() is not None:
        return None
    return task.result()
