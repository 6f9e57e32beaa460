"""The inference side of the split service: results to whoever connects to its Unix socket."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import cv2

from edge.arrays import encode_array
from edge.card import Card, output_to_json
from edge.errors import ConfigError
from edge.maskcodec import encode_mask
from edge.paths import check_unheard, expanded, socket_path
from edge.prediction import Prediction
from edge.service.wire import IMAGES_S, OUTPUTS_MAX, TICK_S, Array, Camera, Hello, Result, message
from edge.sinks.table import SinkContext, SinkKind
from edge.status import Status
from edge.web.images import view_bgr

PUBLISHERS_MAX = 4
IMAGE_WIDTH = 1280  # the page shows no more
JPEG_QUALITY = 90

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SocketOptions:
    """Where the publisher connects."""

    path: str


class ResultsSocket:
    """Hands the newest result to each publisher. One that reads slowly gets fewer, and holds no other up.

    Its thread owns all connections. `write` and `set_camera_state` may come from any.
    """

    def __init__(self, options: SocketOptions, context: SinkContext) -> None:
        """Raises:
        ConfigError: the socket cannot be made there.
        OutputError: another program listens there.
        """
        self._source = context.source
        self._hello = self._hello_of(context.card, context.precision)
        self._camera = Camera(state="ok", reason="", since_ns=time.monotonic_ns())
        self._newest: tuple[Prediction, int] | None = None
        self._lock = threading.Lock()
        self._closing = self._lets_go = False
        self._path = expanded("socket", options.path)
        self._listener = _listen(self._path)
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._publishers: dict[int, _Publisher] = {}
        self._thread = threading.Thread(target=self._work, name="results socket", daemon=True)

    def __enter__(self) -> ResultsSocket:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._closing = True
        os.eventfd_write(self._wake_fd, 1)
        self._thread.join()
        for publisher in self._publishers.values():
            publisher.line.close()
        self._listener.close()
        os.close(self._wake_fd)
        self._path.unlink(missing_ok=True)

    def write(self, result: Prediction, dropped: int) -> None:
        """The newest result, which takes the place of one that was not sent yet."""
        with self._lock:
            self._newest = result, dropped
        os.eventfd_write(self._wake_fd, 1)

    def set_engine(self, card: Card, precision: str) -> None:
        """Another engine works: each publisher is let go, and gets its card when it connects again."""
        self._hello = self._hello_of(card, precision)
        self._lets_go = True
        os.eventfd_write(self._wake_fd, 1)

    def _hello_of(self, card: Card, precision: str) -> bytes:
        return message(Hello(source=self._source, precision=precision, card=card.to_json()))

    def set_camera_state(self, health: Status) -> None:
        """What is reported to publishers of the camera from now on."""
        self._camera = Camera.of(health)

    def _work(self) -> None:
        told_s = 0.0
        while not self._closing:
            self._attend()
            if self._lets_go:
                self._lets_go = False
                while self._publishers:
                    self._publishers.popitem()[1].line.close()
            with self._lock:
                newest, self._newest = self._newest, None
            if newest is not None:
                self._send_result(*newest)
            if time.monotonic() - told_s >= TICK_S:
                told_s = time.monotonic()
                self._send(message(self._camera))

    def _attend(self) -> None:
        """Wait for a result, a publisher or what one says."""
        poll = select.poll()
        for fd in (self._wake_fd, self._listener.fileno()):
            poll.register(fd, select.POLLIN)
        for fd, publisher in self._publishers.items():
            poll.register(fd, select.POLLIN | (select.POLLOUT if publisher.unsent else 0))
        for fd, _ in poll.poll(TICK_S * 1000):
            if fd == self._wake_fd:
                os.eventfd_read(fd)
            elif fd == self._listener.fileno():
                self._accept()
            elif not self._publishers[fd].attend():
                self._publishers.pop(fd).line.close()

    def _accept(self) -> None:
        line, _ = self._listener.accept()
        if len(self._publishers) >= PUBLISHERS_MAX:
            log.warning("%s: %d publishers are connected already", self._path, PUBLISHERS_MAX)
            line.close()
            return
        line.setblocking(False)
        publisher = self._publishers[line.fileno()] = _Publisher(line)
        publisher.send(self._hello)

    def _send_result(self, result: Prediction, dropped: int) -> None:
        if not any(publisher.is_idle for publisher in self._publishers.values()):
            return
        frame, box = result.frame, result.letterbox
        further = result.further()[:OUTPUTS_MAX]
        arrays = [encode_array(result.outputs[output.name]) for output in further]
        head = Result(
            index=frame.index,
            captured_ns=frame.captured_ns,
            media_ns=frame.media_ns,
            ready_ns=result.ready_ns,
            dropped=dropped,
            source_wh=frame.size_wh,
            input_wh=box.input_wh,
            content_xywh=box.content_xywh,
            instances=None if result.instances is None else [one.as_json() for one in result.instances],
            free_space=None if result.free_space is None else result.free_space.as_json(),
            lane=None if result.lane is None else result.lane.as_json(),
            fix=None if frame.fix is None else frame.fix.as_json(),
            outputs=tuple(
                Array(output=output_to_json(output), size_bytes=len(array))
                for output, array in zip(further, arrays, strict=True)
            ),
        )
        now_s = time.monotonic()
        wanted = any(publisher.wants_images_until_s > now_s for publisher in self._publishers.values())
        mask = encode_mask(result.semantic)
        self._send(message(head, b"".join([mask, *arrays]), _jpeg(result) if wanted else b""))

    def _send(self, data: bytes) -> None:
        for publisher in self._publishers.values():
            if publisher.is_idle:
                publisher.send(data)


class _Publisher:
    """One connection. What it could not take yet is `unsent`; until it has, nothing newer is begun."""

    def __init__(self, line: socket.socket) -> None:
        self.line, self.unsent = line, memoryview(b"")
        self.wants_images_until_s = 0.0

    @property
    def is_idle(self) -> bool:
        return not self.unsent

    def send(self, data: bytes) -> None:
        self.unsent = memoryview(data)
        self._push()

    def attend(self) -> bool:
        """Hear what it says, send what it can take; whether it is still there."""
        with contextlib.suppress(BlockingIOError):
            try:
                if not self.line.recv(4096):
                    return False
            except ConnectionError:
                return False
            self.wants_images_until_s = time.monotonic() + IMAGES_S
        self._push()
        return True

    def _push(self) -> None:
        try:
            while self.unsent:
                self.unsent = self.unsent[self.line.send(self.unsent) :]
        except BlockingIOError:
            pass
        except ConnectionError:
            self.unsent = memoryview(b"")  # its end is read next


def _jpeg(result: Prediction) -> bytes:
    done, jpeg = cv2.imencode(".jpg", view_bgr(result.frame, IMAGE_WIDTH), (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))
    return jpeg.tobytes() if done else b""


def _listen(path: Path) -> socket.socket:
    """A socket that the group may connect to. What a service that was killed left there is replaced."""
    check_unheard("socket", path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        listener.bind(str(path))
        path.chmod(0o660)
        listener.listen(PUBLISHERS_MAX)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"socket: {path}: cannot be listened on: {error.strerror or error}."
            " Under systemd it is /run/edge/results.sock"
        ) from error
    return listener


def _check(options: SocketOptions) -> None:
    path = socket_path("socket", options.path)
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise ConfigError(
            f"socket: {path.parent}: no such folder, or one that this user may not write."
            " Under systemd, expected /run/edge/results.sock"
        )


def _of_camera(options: SocketOptions, camera: str, cameras: int) -> SocketOptions:
    raise ConfigError("socket: hands on one camera; with `cameras`, leave it out")


KIND = SinkKind("socket", ResultsSocket, SocketOptions, check=_check, of_camera=_of_camera)
