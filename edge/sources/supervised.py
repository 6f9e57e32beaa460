"""Cameras that hang, die and come back: each is captured in a process that is watched, killed and started again."""

from __future__ import annotations

import logging
import math
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import NamedTuple

from edge.closing import Closing
from edge.errors import SourceError
from edge.frame import Frame, Yuv420
from edge.sources.capture.backoff import Backoff
from edge.sources.capture.health import CameraStatus, Watch
from edge.sources.capture.process import CaptureProcess
from edge.sources.capture.ring import RingReader
from edge.sources.capture.wire import (
    CaptureRequest,
    Failed,
    Format,
    FrameReady,
    Message,
    Opened,
    Opening,
    Unusable,
    WireError,
)
from edge.timing import Durations

log = logging.getLogger(__name__)

WAIT_S = 5.0  # for the first frame, where a caller waits for it
# Without a frame: with the time to notice and kill, half a second. A driver of this machine under load takes longer.
# A topic may come rarely, and its reader reports its silence by itself.
_QUIET_S = {"stream": 0.4, "gstreamer": 0.4, "v4l2": 1.0, "ros2": 5.0}
_LEAVE_S = 0.9
_CALM_S = 10.0


class _Waiting(NamedTuple):
    """A frame that was not taken yet."""

    ready: FrameReady
    format: Format
    ring: RingReader
    index: int


class _Step(NamedTuple):
    """What the process is at, and how long that may take in seconds."""

    name: str
    limit_s: float


class Supervised(Closing):
    """A camera or stream as a source of its newest frame. It never ends by itself, however often the camera is lost.

    A frame's pixels are views of memory that the capture process wrote, read-only; it writes there again when the frame
    and all views of it are gone. Who keeps more than four frames gets copies.

    `health` is how the camera is, at any time, for any thread. `name` is fit to be shown: it holds no password.
    `size_wh` is (0, 0) before the first frame, and changes when the camera's frames do.

        with Supervised("rtsp://camera/1", CaptureRequest("stream", "rtsp://camera/1")) as camera:
            camera.await_first()
            for frame in camera:
                print(frame.index, camera.health)
    """

    live = True
    frame_count: int | None = None

    def __init__(self, name: str, request: CaptureRequest, hide: Callable[[str], str] = str) -> None:
        """Capture begins at once. `hide` takes the secrets out of what the camera or its library says."""
        self.name = name
        self.size_wh: tuple[int, int] = (0, 0)
        self.rate_hz: float | None = None
        self.decode = Durations()
        self._request, self._hide = request, hide
        self._watch = Watch(time.monotonic_ns())
        self._changed = threading.Condition()
        self._newest: _Waiting | None = None
        self._ring: RingReader | None = None
        self._format: Format | None = None
        self._permanent = False
        self._first_index = self._next_index = 0
        self._logged, self._logged_s = self._watch.look(time.monotonic_ns()), 0.0
        self._error: Exception | None = None
        self._stopping = threading.Event()
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._supervise, name=f"capture of {name}", daemon=True)
        self._thread.start()

    @property
    def health(self) -> CameraStatus:
        """How the camera is now."""
        return self._watch.look(time.monotonic_ns())

    def close(self) -> None:
        """End the capture; within a second, whatever the camera does. It may be called twice."""
        self.stop()
        self._thread.join(_LEAVE_S)
        self._wake.close()
        self._woken.close()

    def __iter__(self) -> Iterator[Frame]:
        """The newest frame each time, until the source is stopped; while the camera is lost, it waits."""
        while (frame := self._take()) is not None:
            yield frame
            del frame  # who asks for the next one has done with this one

    def stop(self) -> None:
        """Let whoever iterates come to the end, and capture cease. Any thread may ask for it, any number of times."""
        if not self._stopping.is_set():
            self._stopping.set()
            self._wake.send(b"!")
        with self._changed:
            self._changed.notify_all()

    def await_first(self, wait_s: float = WAIT_S) -> None:
        """Wait until there is a frame to take.

        Raises:
            SourceError: there was none in that time, or there will be none; why is in it.
        """
        with self._changed:
            self._changed.wait_for(self._is_settled, wait_s)
        if not self._has_given():
            error = self.health.last_error or self.health.reason
            within = "" if self._permanent else f" in {wait_s:g} s"
            raise SourceError(f"{self.name}: no frame came{within}: {error}. See docs/cameras.md")

    def _has_given(self) -> bool:
        return self.health.newest_ns is not None

    def _is_settled(self) -> bool:
        """Whether it is clear that there is a first frame, or will be none."""
        return self._has_given() or self._permanent or self._error is not None or self._stopping.is_set()

    def _take(self) -> Frame | None:
        with self._changed:
            self._changed.wait_for(lambda: self._newest or self._error or self._stopping.is_set())
            if self._error is not None:
                raise self._error
            waiting, self._newest = self._newest, None
            if waiting is None or self._stopping.is_set():
                return None
            return _frame(waiting, self.name)

    def _supervise(self) -> None:
        try:
            self._capture()
        except Exception as error:  # noqa: BLE001 a fault of ours: handed to who iterates, and no wait without end
            self._error = error
            self._watch.lost("its supervisor failed", time.monotonic_ns(), repr(error))
        else:
            self._watch.stopped(time.monotonic_ns())
        with self._changed:
            self._newest = self._ring = None
            self._changed.notify_all()

    def _capture(self) -> None:
        """Keep a capture process running until the source is stopped."""
        backoff = Backoff()
        while not self._stopping.is_set():
            try:
                process = CaptureProcess(self._request)
            except OSError as error:
                self._lose("its process cannot be started", str(error))
            else:
                with closing(process):
                    if self._listen(process):
                        backoff.reset()
                self._await_gone(process)
            self._stopping.wait(backoff.next_s())

    def _listen(self, process: CaptureProcess) -> bool:
        """Do what the process says until it ends, hangs or is to be stopped; whether it gave frames."""
        self._first_index = self._next_index
        step, began_s = _Step("its process does not start", 30.0), time.monotonic()
        ready = select.poll()
        ready.register(process, select.POLLIN)
        ready.register(self._woken, select.POLLIN)
        while not self._stopping.is_set():
            left_s = began_s + step.limit_s - time.monotonic()
            if not ready.poll(max(0, math.ceil(left_s * 1000))):
                self._lose(step.name)
                break
            if self._stopping.is_set():
                break
            try:
                message, fds = process.receive()
                next_step = self._take_in(message, fds, process)
            except (WireError, OSError, MemoryError) as error:  # it lies, or its frames do not fit into memory
                self._lose("its frames cannot be taken over", str(error) or type(error).__name__)
                break
            if next_step is None:
                self._lose("its process ended", f"the capture process {process.end()}")
                break
            step, began_s = next_step, time.monotonic()
        return self._next_index > self._first_index

    def _await_gone(self, process: CaptureProcess) -> None:
        """A process that waits for its driver holds the camera: another one would hang beside it."""
        while not process.is_gone() and not self._stopping.is_set():
            self._lose("its process cannot be killed: its driver hangs")
            self._stopping.wait(0.1)

    def _take_in(self, message: Message | None, fds: list[int], process: CaptureProcess) -> _Step | None:
        """Act on a message. The limits: a library that hangs does not come back, so it need not be waited for."""
        now_ns = time.monotonic_ns()
        try:
            if isinstance(message, Opened):
                self._open(message, fds, now_ns)
        finally:
            for fd in fds:
                os.close(fd)
        if isinstance(message, Opening):
            return _Step("opening it hangs", 8.0)
        if isinstance(message, Failed):
            self._permanent = message.permanent
            self._lose(self._hide(message.why))
            return _Step("its process hangs", message.retry_s + 2.0)
        if isinstance(message, FrameReady):
            self._offer(message, process, now_ns)
        elif isinstance(message, Unusable):
            self._next_index = self._first_index + message.number + 1
            self._watch.unusable(message.corrupt, now_ns)
        elif message is None:
            return None
        self._log_change()
        return _Step("frozen: no frames come", max(_QUIET_S[self._request.kind], self._watch.quiet_ns() / 1e9))

    def _open(self, message: Opened, fds: list[int], now_ns: int) -> None:
        if len(fds) != 1:
            raise WireError(f"frames announced with {len(fds)} memories")
        ring = RingReader(fds[0], message.ring, message.slots, message.format.slot_bytes)
        with self._changed:
            self._newest, self._ring, self._format = None, ring, message.format
            self.size_wh, self.rate_hz = (message.format.width, message.format.height), message.format.rate_hz or None
        self._watch.opened(message.format, now_ns)
        if message.format.note:
            log.warning("camera %s: %s", self.name, message.format.note)

    def _offer(self, ready: FrameReady, process: CaptureProcess, now_ns: int) -> None:
        """Put the frame where the next frame is taken from; one that still lies there makes room."""
        if ready.captured_ns > now_ns:
            raise WireError(f"a frame taken {(ready.captured_ns - now_ns) / 1e9:.3f} s from now")
        self._watch.frame(ready, now_ns)
        self.decode.add(ready.decode_ns)
        with self._changed:
            ring, layout = self._ring, self._format
            if ring is None or layout is None or ready.ring != ring.number or ready.slot >= ring.slots:
                raise WireError(f"a frame in slot {ready.slot} of ring {ready.ring}, which was not announced")
            if self._newest is not None:
                ring.skip(self._newest.ready.slot)
                self._watch.skipped()
            self._next_index = self._first_index + ready.number + 1
            self._newest = _Waiting(ready, layout, ring, self._next_index - 1)
            returned = ring.returned()
            self._changed.notify_all()
        process.give_back(ring.number, returned)

    def _lose(self, reason: str, error: str = "") -> None:
        """No more frames; one that was not taken yet goes too: it may be old by the time it is."""
        with self._changed:
            self._newest = None
        self._watch.lost(reason, time.monotonic_ns(), error or reason)
        self._log_change()
        with self._changed:
            self._changed.notify_all()

    def _log_change(self) -> None:
        """Log each change; one between ok and degraded only where the last line is not of just now.

        Before the first frame, the waiting caller reports it.
        """
        health, now_s = self.health, time.monotonic()
        is_calm = "lost" not in (health.state, self._logged.state) and now_s - self._logged_s < _CALM_S
        if is_calm or str(health) == str(self._logged):
            return
        self._logged, self._logged_s = health, now_s
        is_news = health.newest_ns is not None and (health.totals["restarts"] or health.state != "ok")
        log.log(logging.WARNING if is_news else logging.INFO, "camera %s: %s", self.name, health)


def _frame(waiting: _Waiting, name: str) -> Frame:
    """The frame as a frame whose arrays are views of its slot."""
    ready, layout, ring, index = waiting
    data = ring.lease(ready.slot)
    width, height = layout.width, layout.height
    if layout.bgr:
        image = data.reshape(height, width, 3)
        return Frame(index=index, captured_ns=ready.captured_ns, source=name, bgr=image)
    half_hw = (height + 1) // 2, (width + 1) // 2
    luma, chroma = data[: width * height], data[width * height :].reshape(2, *half_hw)
    matrix = "bt709" if layout.bt709 else "bt601"
    planes = Yuv420(luma.reshape(height, width), chroma[0], chroma[1], matrix, layout.full_range)
    return Frame(index=index, captured_ns=ready.captured_ns, source=name, yuv=planes)
