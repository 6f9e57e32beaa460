"""A browser's part, without one: requests with any header, and the feed's messages taken apart."""

from __future__ import annotations

import http.client
import json
import ssl
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from edge.frame import Image, bgr_from_yuv
from edge.prediction import Prediction
from edge.sources.planes import planes
from edge.web.state import Live

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

    from edge.web.server import WebServer


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def place_of(server: WebServer) -> tuple[str, int]:
    """Host and port."""
    host, _, port = server.url.split("//")[1].strip("/").rpartition(":")
    return host, int(port)


def ask(
    server: WebServer,
    path: str,
    *,
    method: str = "GET",
    headers: dict[str, str] | None = None,
    body: bytes | None = None,
    tls: ssl.SSLContext | None = None,
) -> Answer:
    host, port = place_of(server)
    if tls:
        line: http.client.HTTPConnection = http.client.HTTPSConnection(host, port, timeout=10, context=tls)
    else:
        line = http.client.HTTPConnection(host, port, timeout=10)
    try:
        line.request(method, path, body, headers or {})
        answer = line.getresponse()
        return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
    finally:
        line.close()


@contextmanager
def looking(server: WebServer, query: str = "", **options: Any) -> Iterator[ClientConnection]:
    """A viewer's line, before its first message."""
    from websockets.sync.client import connect

    url = server.url.replace("http", "ws", 1) + "feed" + query
    with connect(url, proxy=None, compression=None, max_size=None, **options) as line:
        yield line


@dataclass(frozen=True)
class Seen:
    """A frame as a browser has it: `picture` uint8 (h, w, 3) BGR, `classes` uint8 (h, w)."""

    head: dict[str, Any]
    picture: Image = field(repr=False)
    classes: Image = field(repr=False)


class H264Reader:
    """What a browser's decoder does with one stream."""

    def __init__(self) -> None:
        from av.codec import CodecContext

        self._decoder = CodecContext.create("h264", "r")
        self._decoder.thread_count, self._decoder.flags = 1, 0x00080000  # AV_CODEC_FLAG_LOW_DELAY: one in, one out
        self.newest: Any = None

    def read(self, chunks: list[dict[str, Any]], data: bytes) -> Image:
        """uint8 (h, w, 3) BGR: the newest of the chunks."""
        from av.packet import Packet

        for chunk in chunks:
            (self.newest,) = self._decoder.decode(Packet(data[: chunk["bytes"]]))  # type: ignore[attr-defined]
            data = data[chunk["bytes"] :]
        return bgr_from_yuv(planes(self.newest))


def unpack(message: bytes | None, reader: H264Reader | None = None) -> Seen:
    """`reader`: of the stream, for a viewer who asked for H.264."""
    assert message is not None
    (size,) = struct.unpack_from("<I", message)
    head = json.loads(message[4 : 4 + size])
    chunks = head["video"]["chunks"] if "video" in head else []
    image_bytes = sum(chunk["bytes"] for chunk in chunks) or head["jpeg_bytes"]
    image, deflated = message[4 + size :][:image_bytes], message[4 + size :][image_bytes:]
    if chunks:
        assert reader is not None
        picture = reader.read(chunks, image)
    else:
        picture = np.asarray(cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR), np.uint8)
    width, height = head["classes_wh"]
    classes = np.frombuffer(zlib.decompress(deflated), np.uint8).reshape(height, width)
    return Seen(head, picture, classes)


def next_frame(line: ClientConnection, reader: H264Reader | None = None) -> Seen:
    """The next frame, all else answered and passed over."""
    while True:
        message = line.recv(timeout=10)
        if isinstance(message, bytes):
            line.send("next")
            return unpack(message, reader)
        if json.loads(message)["type"] == "figures":
            line.send("next")


def next_figures(line: ClientConnection) -> dict[str, Any]:
    while True:
        message = line.recv(timeout=10)
        if isinstance(message, str) and (tree := json.loads(message))["type"] == "hello":
            continue
        line.send("next")
        if isinstance(message, str):
            return tree


@contextmanager
def publishing(live: Live, make: Callable[[int], Prediction], rate_hz: float = 100.0) -> Iterator[None]:
    """A camera that runs while the block does: results 0, 1, 2 … at that rate."""
    ends = threading.Event()

    def work() -> None:
        index = 0
        while not ends.wait(1 / rate_hz):
            live.publish(make(index), 0)
            index += 1

    thread = threading.Thread(target=work, name="camera of a test")
    thread.start()
    try:
        yield
    finally:
        ends.set()
        thread.join()


def soon(holds: Callable[[], bool], within_s: float = 10.0) -> bool:
    """Whether it comes to hold."""
    end_s = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > end_s:
            return False
        time.sleep(0.01)
    return True
