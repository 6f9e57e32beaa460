"""The service: cameras that may come and go, an engine and outputs for each; reported to systemd, and ended by signals.

It is ready with its first published mask. Its watchdog is fed by progress alone: of each camera, results that were
handed to all outputs and that these take, or a camera that is known to give nothing. An inference or a sink that hangs
feeds no watchdog. SIGTERM ends it; SIGHUP reads the config again, and a config that is not in order changes nothing.
"""

from __future__ import annotations

import logging
import queue
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from edge.backends.shared import SharedEngines
from edge.errors import EdgeError, SourceError
from edge.gps import Gps
from edge.service.camera import CameraLoop
from edge.service.check import check
from edge.service.config import ServeConfig, load_config
from edge.service.notify import Notifier
from edge.service.reload import Next, Reload
from edge.service.swap import SwapRequest, Swaps
from edge.service.zones import saver
from edge.sources.capture.process import end_prespawned
from edge.sources.open import is_camera

if TYPE_CHECKING:
    from edge.web.server import WebServer
    from edge.web.zones import Save

TICK_S = 0.1  # so much later than the last mask the watchdog may have been fed, at most
FED_SHARE = 0.25  # of its period between two meals: the manager wakes for each
STUCK_S = 1.0  # a slow camera gives nothing between two looks; this long without progress is worth a word
TOLD_S = 2.0  # how often the manager hears how all is, at most
START_S = 10.0  # so much longer the manager waits for the first mask, each time that it is notified
LEAVE_S = 4.0  # for cameras to end; the manager gives five seconds in all

# Signals, requests, and None where a camera has its first result or has ended.
Inbox = queue.SimpleQueue["int | SwapRequest | None"]

log = logging.getLogger(__name__)


def serve(origin: Path | ServeConfig, on_page: Callable[[str], object] | None = None) -> int:
    """Serve what the config file says, or a config without a file, until SIGTERM or SIGINT; the exit code.

    With `on_page` a person waits at a terminal: it is called with the page's address when the page is served, and a
    port that is taken is an error at once.

    Raises:
        ConfigError: the config is not in order.
        EdgeError: the service cannot go on; systemd starts it anew.
    """
    path = origin if isinstance(origin, Path) else None
    config = load_config(origin, ServeConfig) if isinstance(origin, Path) else origin
    notifier, inbox = Notifier(), Inbox()
    check(config)
    if not any(map(is_camera, config.sources.values())):
        end_prespawned()
    serving, before, shared = Next(config, {}), None, SharedEngines()
    with _signals_into(inbox):
        while (following := _serve_one(serving, before, notifier, inbox, path, on_page, shared)) is not None:
            # One that is back has none before it: if it fails as well, a new process is worth more than a third try.
            serving, before = following, None if following.config is before else serving.config
            notifier.reloading(time.monotonic_ns())
    notifier.stopping()
    return 0


def _serve_one(
    serving: Next,
    before: ServeConfig | None,
    notifier: Notifier,
    inbox: Inbox,
    path: Path | None,
    on_page: Callable[[str], object] | None,
    shared: SharedEngines,
) -> Next | None:
    """What is to be served next. A new config that fails before its first mask gives way to the one `before` it."""
    service = Service(serving, notifier, inbox, path, on_page, shared)
    try:
        return service.run()
    except EdgeError as error:
        if before is None or service.is_ready:
            raise
        log.error("the new config failed, the old one is back: %s", error)
        return Next(before, {})


@contextmanager
def _signals_into(inbox: Inbox) -> Iterator[None]:
    """SIGTERM, SIGINT and SIGHUP are put into the inbox, which may be done at any moment."""

    def take(number: int, frame: FrameType | None) -> None:
        inbox.put(number)

    before = {number: signal.signal(number, take) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Service:
    """One config, served."""

    def __init__(
        self,
        serving: Next,
        notifier: Notifier,
        inbox: Inbox,
        path: Path | None,
        on_page: Callable[[str], object] | None = None,
        shared: SharedEngines | None = None,
    ) -> None:
        """`shared` are the engines that outlive it, where one service follows another."""
        self._config, self._notifier, self._inbox, self._path = serving.config, notifier, inbox, path

        def wake() -> None:
            inbox.put(None)

        self._gps = None if self._config.gps is None else Gps(self._config.gps)
        engines, shared = serving.engines, shared or SharedEngines()
        self._cameras = [
            CameraLoop(name, self._config, wake, engines.get(name), self._gps, shared) for name in self._config.sources
        ]
        self._reload = Reload(path, self._config, self._sizes, wake, shared)
        self._swaps = Swaps(self._cameras, self._config, self._reload)
        self._on_page = on_page
        self._server: WebServer | None = None
        self._tick_s = min(TICK_S, (notifier.watchdog_s or 3 * TICK_S) / 3)
        self.is_ready = False
        self._reported, self._reported_s = "", 0.0
        self._stuck: list[str] = []
        self._progress_s, self._fed_s = time.monotonic(), 0.0
        self._look_s = time.monotonic() + self._tick_s

    def run(self) -> Next | None:
        """Until a signal, the end of all sources, or a failure; what to go on with, where something is.

        Raises:
            EdgeError: what a camera failed with, where no other one goes on.
        """
        with ExitStack() as stack:
            if self._gps is not None:
                stack.enter_context(self._gps)
            stack.callback(self._end)
            for camera in self._cameras:  # first: while a camera is connected to, there is time for the rest
                camera.start()
            if self._config.web is not None:
                from edge.web.server import WebServer

                lives = {camera.name: camera.live for camera in self._cameras}
                retry = self._on_page is None
                page = WebServer(lives, self._config.web, retry=retry, save_zones=self._zone_saver())
                self._server = stack.enter_context(page)
                if self._on_page is not None:
                    self._on_page(self._server.url)
            if self._config.control is not None:
                from edge.service.control import Control

                stack.enter_context(Control(self._config.control, self._inbox.put))
            return self._attend()

    def _zone_saver(self) -> Save | None:
        """What the page saves zones with; None where a config has no file for them, or is no file itself."""
        events = self._config.events
        return saver(events) if self._path is not None and events is not None and events.zones_file else None

    def _end(self) -> None:
        self._reload.close()
        for camera in self._cameras:
            camera.stop()
        until_s = time.monotonic() + LEAVE_S
        for camera in self._cameras:
            if not camera.join(0.0 if camera.is_opening else until_s - time.monotonic()) and not camera.is_opening:
                log.error("%s does not end: %s", f"camera {camera.name}".strip(), camera.words())

    def _attend(self) -> Next | None:
        while True:
            asked = self._asked()
            if not asked.isdisjoint((signal.SIGTERM, signal.SIGINT)):
                return None
            for request in asked:
                if isinstance(request, SwapRequest):
                    self._swaps.request(request)
            if signal.SIGHUP in asked:
                self._swaps.reload()
            if (following := self._swaps.take(self._reload.take())) is not None:
                return following
            if self._is_over():
                return None
            self._say()

    def _asked(self) -> set[int | SwapRequest | None]:
        """All that came by the next tick, when a look at the cameras is due: a flood of signals does not put it off."""
        asked: set[int | SwapRequest | None] = set()
        with suppress(queue.Empty):
            asked.add(self._inbox.get(timeout=max(0.0, self._look_s - time.monotonic())))
            while True:
                asked.add(self._inbox.get_nowait())
        if time.monotonic() >= self._look_s:
            self._look()
            self._look_s = time.monotonic() + self._tick_s
        return asked

    def _sizes(self) -> dict[str, tuple[int, int]]:
        sources = self._config.sources
        return {sources[camera.name]: size for camera in self._cameras if (size := camera.size_wh) and all(size)}

    def _is_over(self) -> bool:
        """Whether every source came to its end. Raises what no camera can go on after."""
        for camera in self._cameras:
            if camera.failure is not None:
                raise camera.failure
        troubles = [camera.trouble for camera in self._cameras if not camera.has_ended]
        if troubles and all(troubles) and (faults := [one for one in troubles if not isinstance(one, SourceError)]):
            raise faults[0] or AssertionError
        return not troubles

    def _look(self) -> None:
        """Outputs hear how all is. When each camera got on since that was noted last, it is noted, and the watchdog is
        fed if that is due: what was hung since is not fed for what it did before.
        """
        self._stuck = [f"{camera.name} {why}".strip() for camera in self._cameras if (why := camera.stuck())]
        for camera in self._cameras:
            camera.tell_outputs()
            camera.watch_load()
        self._swaps.look()
        if self._stuck:
            return
        self._progress_s = time.monotonic()
        for camera in self._cameras:
            camera.mark_progress()
        if self._progress_s - self._fed_s >= FED_SHARE * (self._notifier.watchdog_s or 0):
            self._fed_s = self._progress_s
            self._notifier.progress()

    def _say(self) -> None:
        """The manager hears how all is, and of the first mask at once."""
        stuck = self._stuck if time.monotonic() - self._progress_s > STUCK_S else []
        text = "; ".join(
            f"{camera.name}: {camera.words()}" if camera.name else camera.words() for camera in self._cameras
        )
        text = f"{text}; {words}" if (words := self._swaps.words()) else text
        if self._server is not None and self._server.trouble:
            text = f"{text}, page lost ({self._server.trouble})"
        text = f"stuck: {', '.join(stuck)}; {text}" if stuck else text
        if not self.is_ready and any(camera.published for camera in self._cameras):
            self.is_ready = True
            self._notifier.ready(text)
        elif time.monotonic() - self._reported_s < TOLD_S:
            return
        elif self.is_ready and text != self._reported:
            self._notifier.status(text)
        elif not self.is_ready and not stuck:
            self._notifier.starting(text, START_S)
        self._reported, self._reported_s = text, time.monotonic()
