"""The publishing side of the split service: results from the inference service's socket to page and broker.

One thread reads, decodes and hands on; the outputs work in threads of their own. It is ready with its first result.
Its watchdog is fed by results handed on, or while it is known that none can come: the inference service is away, or
says that its camera is.
"""

from __future__ import annotations

import logging
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from edge.arrays import decode_array
from edge.card import Card, output_from_json
from edge.config import StrictModel
from edge.errors import ConfigError, DataError, EdgeError, EngineError
from edge.events import EventOptions
from edge.frame import Frame, Image, Letterbox
from edge.geometry.free_space import free_space_from_json
from edge.geometry.lane import lane_from_json
from edge.instances import instances_from_json
from edge.location import fix_from_json
from edge.maskcodec import decode_mask
from edge.outputs import SEMANTIC, Output
from edge.paths import expanded, socket_path
from edge.prediction import Prediction
from edge.service.config import ServeConfig, load_config
from edge.service.notify import Notifier
from edge.service.outputs import Outputs, rows_of
from edge.service.wire import IMAGES_S, TICK_S, Array, Camera, Head, Hello, Messages, Result, WireError
from edge.service.zones import saver
from edge.sinks.mqtt.options import MqttOptions
from edge.sources.imagefile import ImageError, decode_image, image_size_wh, is_jpeg
from edge.status import Status
from edge.timing import Durations, Stages
from edge.web.images import VIEW_WIDTH
from edge.web.options import WebOptions
from edge.web.state import Live
from edge.web.zones import ZoneView

START_S = 10.0  # so much longer the manager waits, each time that it is notified
RETRY_S = (0.1, 2.0)  # first and longest wait: who was killed is back within a second, who sends nonsense is not
SLICE_S = 0.05  # of reading, before signals and the watchdog have their turn
JPEG_PIXELS_MAX = 1 << 23  # the inference service sends images at most 1280 wide
SILENT_S = 2.0  # the inference service says something about twice a second

log = logging.getLogger(__name__)


class PublishConfig(StrictModel):
    """Where results come from and where they go; systemd/publish.yaml shows every key.

    Attributes:
        socket: the inference service's `socket`.
        events, mqtt, web, sinks: as in edge.yaml.
    """

    socket: str = Field(min_length=1)
    events: EventOptions | None = None
    mqtt: MqttOptions | None = None
    web: WebOptions | None = None
    sinks: dict[str, str | dict[str, Any]] = Field(default_factory=dict)

    def outputs_of(self, source: str) -> ServeConfig:
        """A service's config with the same outputs."""
        return ServeConfig(camera=source, web=self.web, mqtt=self.mqtt, events=self.events, sinks=self.sinks)


@dataclass(frozen=True)
class _Remote:
    """The engine, as the inference service tells of it."""

    card: Card
    precision: str


def publish(path: Path) -> int:
    """Publish what the config file says until SIGTERM or SIGINT; the exit code. SIGHUP reads the config again.

    Raises:
        ConfigError: the config is not in order.
        EdgeError: an output failed; systemd starts it anew.
    """
    config, before, notifier = _load(path), None, Notifier()
    with _signals() as signals:
        while (following := _publish_one(config, before, path, notifier, signals)) is not None:
            config, before = following, config if following is not before else None
            notifier.reloading(time.monotonic_ns())
    notifier.stopping()
    return 0


def _publish_one(
    config: PublishConfig, before: PublishConfig | None, path: Path, notifier: Notifier, signals: socket.socket
) -> PublishConfig | None:
    """What is to be published next. A new config that fails before its first result gives way to that `before` it."""
    publisher = Publisher(config, path, notifier, signals)
    try:
        return publisher.run()
    except EdgeError as error:
        if before is None or publisher.is_ready:
            raise
        log.error("the new config failed, the old one is back: %s", error)
        return before


def _load(path: Path) -> PublishConfig:
    config = load_config(path, PublishConfig)
    socket_path("socket", config.socket)
    for row in rows_of(config.outputs_of(config.socket), ""):
        row.check()
    if config.events is not None and config.events.cameras:
        raise ConfigError("events.cameras: results are of one camera. Write `zone` and `zones` without its name")
    if not (config.web or config.mqtt or config.events or config.sinks):
        raise ConfigError(f"{path}: names no output; add one, such as `web: {{}}` for the live page")
    return config


@contextmanager
def _signals() -> Iterator[socket.socket]:
    """Gives a byte, its number, for each SIGTERM, SIGINT and SIGHUP."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before_fd = signal.set_wakeup_fd(theirs.fileno())
    before = {number: signal.signal(number, lambda number, frame: None) for number in numbers}
    try:
        with ours, theirs:
            yield ours
    finally:
        signal.set_wakeup_fd(before_fd)
        for number, handler in before.items():
            signal.signal(number, handler)


class Publisher:
    """One config, published. The inference service may come and go.

    Attributes:
        is_ready: a result was handed on.
    """

    def __init__(self, config: PublishConfig, path: Path, notifier: Notifier, signals: socket.socket) -> None:
        self._config, self._path, self._notifier, self._signals = config, path, notifier, signals
        self._line: socket.socket | None = None
        self._messages, self._heard_s, self._is_behind = Messages(), 0.0, False
        self._retry_s, self._next_try_s = RETRY_S[0], 0.0
        self._camera = _away(f"no service listens at {config.socket}")
        self._hello: Hello | None = None
        self._is_other = False
        self._outputs: Outputs | None = None
        self._stages = Stages()
        self.is_ready, self._reported_s = False, 0.0
        self._looked_at_s = self._asked_s = -IMAGES_S

    def run(self) -> PublishConfig | None:
        """Until a signal, or until another engine sends; the config to go on with, where one is."""
        with ExitStack() as self._stack:
            while not self._is_other:
                for number in self._await():
                    if number != signal.SIGHUP:
                        return None
                    if (following := self._reload()) is not None:
                        return following
                self._request_images()
                if time.monotonic() - self._reported_s >= TICK_S:
                    self._reported_s = time.monotonic()
                    self._tell()
            return self._config

    def _await(self) -> bytes:
        """Take in what the inference service says, for a while; the signals that came."""
        if self._line is None and time.monotonic() >= self._next_try_s:
            self._connect()
        poll = select.poll()
        poll.register(self._signals, select.POLLIN)
        if self._line is not None:
            poll.register(self._line, select.POLLIN)
        wait_s = RETRY_S[0] if self._line is None else TICK_S
        poll.poll(0 if self._is_behind else wait_s * 1000)
        if self._line is not None:
            self._hear(self._line)
        with suppress(BlockingIOError):
            return self._signals.recv(16)
        return b""

    def _connect(self) -> None:
        line = self._stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC))
        try:
            line.connect(str(expanded("socket", self._config.socket)))
        except OSError as error:
            line.close()
            if self._camera.state != "lost":
                self._camera = _away(f"{self._config.socket}: {error.strerror}")
            return
        line.setblocking(False)
        self._line, self._messages, self._heard_s = line, Messages(), time.monotonic()

    def _hear(self, line: socket.socket) -> None:
        """Take in what is there, for `SLICE_S` at most: signals and the watchdog do not wait for whoever floods."""
        until_s, data = time.monotonic() + SLICE_S, b""
        self._is_behind = False
        try:
            while self._take_messages(data, until_s):
                if not (data := line.recv(1 << 18)):
                    self._lose("it ended")
                    return
                self._heard_s = time.monotonic()
            self._is_behind = True
        except BlockingIOError:
            if time.monotonic() - self._heard_s > SILENT_S:
                self._lose(f"it said nothing for {SILENT_S:g} s")
        except (WireError, DataError, ConnectionError) as error:
            self._lose(str(error))

    def _take_messages(self, data: bytes, until_s: float) -> bool:
        """Take `data` and what is held of before; whether there is time for more."""
        for head, arrays, jpeg in self._messages.feed(data):
            self._take(head, arrays, jpeg)
            if time.monotonic() > until_s:
                return False
        return time.monotonic() <= until_s

    def _lose(self, why: str) -> None:
        away = _away(why)
        if away.reason != self._camera.reason:
            log.warning("%s: %s", self._config.socket, away.reason)
        if self._line is not None:
            self._line.close()
        self._line, self._camera = None, away
        self._next_try_s = time.monotonic() + self._retry_s
        self._retry_s = min(2 * self._retry_s, RETRY_S[1])

    def _take(self, head: Head, arrays: bytes, jpeg: bytes) -> None:
        if isinstance(head, Hello):
            self._begin(head)
        elif self._hello is None or self._outputs is None:
            raise WireError(f"a {head.kind} came before the hello")
        elif isinstance(head, Camera):
            self._camera = head.status()
        else:
            self._hand_on(self._outputs, head, arrays, jpeg)

    def _begin(self, hello: Hello) -> None:
        if self._hello is not None:
            self._is_other = self._hello != hello
            return
        try:
            self._card = Card.from_json(hello.card, f"{self._config.socket}: the card")
        except EdgeError as error:
            raise WireError(str(error)) from error
        log.info("results of %s from %s", hello.source, self._config.socket)
        self._hello, self._source, config = hello, hello.source, self._config
        engine, zones = _Remote(self._card, hello.precision), ZoneView.of(config.events, "") if config.events else None
        live = Live(engine, hello.source, self._stages_now, health=lambda: self._camera, zones=zones)
        if config.web is not None:
            from edge.web.server import WebServer

            save = saver(config.events) if config.events and config.events.zones_file else None
            page = WebServer({"": live}, config.web, retry=True, save_zones=save)
            self._server = self._stack.enter_context(page)
        self._live = live
        self._outputs = Outputs(config.outputs_of(hello.source), "", self._card, None, live, self._stages)
        for background in self._outputs.backgrounds:
            self._stack.enter_context(background)

    def _hand_on(self, outputs: Outputs, head: Result, arrays: bytes, jpeg: bytes) -> None:
        result = self._result(head, arrays, jpeg)
        self._retry_s = RETRY_S[0]
        for background in outputs.backgrounds:
            background.write(result, head.dropped)
        if not self.is_ready:
            self.is_ready = True
            self._notifier.ready(self._words())

    def _result(self, head: Result, arrays: bytes, jpeg: bytes) -> Prediction:
        """The result as the inference service had it.

        Raises:
            WireError: it contradicts itself.
            DataError: an array is damaged.
        """
        mask, *further = head.parts(arrays)
        classes = decode_mask(mask, len(self._card.table))
        x, y, width, height = head.content_xywh
        fits = x + width <= head.input_wh[0] and y + height <= head.input_wh[1]
        if classes.shape[::-1] != head.input_wh or not fits:
            raise WireError(f"a mask of {classes.shape[::-1]} for {head.input_wh}, image at {head.content_xywh}")
        if jpeg:
            check_jpeg(jpeg)
        if not head.captured_ns <= head.ready_ns <= time.monotonic_ns():
            raise WireError(f"frame {head.index} was captured at {head.captured_ns} ns, ready at {head.ready_ns} ns")
        box = Letterbox(head.source_wh, head.input_wh, head.content_xywh)
        frame = _SentFrame(head, self._source, jpeg, self._look)
        outputs, specs = {"semantic": classes}, {"semantic": SEMANTIC}
        for sent, data in zip(head.outputs, further, strict=True):
            output, array = _further(sent, data, head.input_wh)
            outputs[output.name], specs[output.name] = array, output
        instances = None if head.instances is None else instances_from_json(head.instances)
        free_space = None if head.free_space is None else free_space_from_json(head.free_space)
        lane = None if head.lane is None else lane_from_json(head.lane)
        return Prediction(frame, outputs, box, self._card.table, head.ready_ns, specs, instances, free_space, lane)

    def _look(self) -> None:
        self._looked_at_s = time.monotonic()

    def _request_images(self) -> None:
        now_s = time.monotonic()
        if self._line is not None and now_s - self._looked_at_s < IMAGES_S and now_s - self._asked_s > TICK_S:
            self._asked_s = now_s
            with suppress(OSError):  # a line that is lost is found so when it is read
                self._line.send(b"p")

    def _stages_now(self) -> Mapping[str, Durations]:
        return self._stages.by_name

    def _words(self) -> str:
        if self._hello is None:
            return f"waiting for results: {self._camera.reason}"
        health = self._outputs.health() if self._outputs else {}
        camera = f"camera {self._camera.state}" + (f" ({self._camera.reason})" if self._camera.reason else "")
        words = [f"masks of {self._hello.source}", camera, *(f"{name} {output}" for name, output in health.items())]
        return ", ".join(words)

    def _tell(self) -> None:
        """Outputs and the manager hear how all is. That this is reached is the progress that its watchdog waits for."""
        hung = ""
        if self._outputs is not None:
            self._live.look()
            self._outputs.tell_camera(self._camera)
            hung = self._outputs.late()
        if not self.is_ready:
            self._notifier.starting(self._words(), START_S)
        else:
            self._notifier.status(f"stuck: {hung}" if hung else self._words())
        if not hung:
            self._notifier.progress()

    def _reload(self) -> PublishConfig | None:
        try:
            return _load(self._path)
        except EdgeError as error:
            log.error("the new config is refused, the old one stays: %s", error)
            return None


def _further(sent: Array, data: bytes, input_wh: tuple[int, int]) -> tuple[Output, NDArray[Any]]:
    """A further output, and its array, which is as large as it says."""
    try:
        output = output_from_json(sent.output, "a further output")
    except EngineError as error:
        raise WireError(str(error)) from error
    array = decode_array(data, output.dtype, len(output.shape))
    if array.shape != output.shape_at(input_wh):
        raise WireError(f"output {output.name}: expected {output.shape_at(input_wh)}, got {array.shape}")
    return output, array


class _SentFrame(Frame):
    """A frame whose image was sent along only if a viewer had looked at one just before; else it is grey."""

    __slots__ = ("_jpeg", "_look")

    def __init__(self, head: Result, source: str, jpeg: bytes, look: Callable[[], None]) -> None:
        width, height = head.source_wh
        grey = np.broadcast_to(np.uint8(96), (height, width, 3))  # one byte, however large
        fix = None if head.fix is None else fix_from_json(head.fix)
        super().__init__(
            index=head.index, captured_ns=head.captured_ns, source=source, bgr=grey, media_ns=head.media_ns, fix=fix
        )
        self._jpeg, self._look = jpeg, look

    @property
    def image(self) -> Image:
        """uint8 (h, w, 3) BGR, at most as large as the frame; as JPEG left it."""
        self._look()
        if self._jpeg:
            with suppress(ImageError):  # damaged; its size was checked when it came
                return decode_image(self._jpeg)
        width, height = self.size_wh
        scale = min(1.0, VIEW_WIDTH / width, VIEW_WIDTH / height)  # what is grey needs no resolution
        return np.full((max(1, round(height * scale)), max(1, round(width * scale)), 3), 96, np.uint8)


def check_jpeg(data: bytes) -> None:
    """See how large a JPEG says that it is, before anything is allocated for it (ITU-T T.81, B.2.2: start of frame).

    Raises:
        WireError: it is no JPEG, or larger than the inference service sends.
    """
    size_wh = image_size_wh(data) if is_jpeg(data) else None
    if size_wh is None:
        raise WireError("expected a JPEG image, got something else")
    width, height = size_wh
    if not 0 < width * height <= JPEG_PIXELS_MAX:
        raise WireError(f"a JPEG of {width}x{height}; expected at most {JPEG_PIXELS_MAX} pixels")


def _away(reason: str) -> Status:
    return Status("lost", f"the inference service is away: {reason}", time.monotonic_ns())
