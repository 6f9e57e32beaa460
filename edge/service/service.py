"""The service: a camera that may come and go, an engine, outputs; one loop, told to systemd.

It is ready with its first published mask. Its watchdog is fed by progress alone: results that were handed to all
outputs, or a camera that is known to give nothing. An inference that hangs feeds nobody. SIGTERM ends it; SIGHUP reads
the config again, and a config that is not in order changes nothing.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

from edge.config import load_yaml
from edge.engine import Engine, find_bundle, open_engine
from edge.errors import ConfigError, EdgeError, SourceError
from edge.events import Event, Watcher
from edge.ladder import Heat, Ladder, LadderEngine
from edge.pipeline import Summary, flowing, run
from edge.segmentation import Segmentation
from edge.segmenter import Segmenter
from edge.serve.options import WebOptions
from edge.service.config import ServeConfig
from edge.service.notify import Notifier
from edge.sinks.events import EventSink
from edge.sinks.mqtt import MqttSink
from edge.sinks.recorder import Recorder
from edge.sinks.sink import Sink
from edge.sources.open import is_camera, open_live, open_source
from edge.sources.source import Source
from edge.sources.supervised import Supervised
from edge.timing import Stages

PATIENCE_S = 5.0  # each wait for a camera that is not there yet; the manager's patience is stretched by twice that
TICK_S = 0.5

log = logging.getLogger(__name__)


def serve(path: Path) -> int:
    """Serve what the config file says until SIGTERM or SIGINT; the exit code.

    Raises:
        ConfigError: the config is not in order.
        EdgeError: the service cannot go on; systemd starts it anew.
    """
    config, notifier = _load(path), Notifier()
    signals = _Signals(path)
    with signals:
        while True:
            try:
                summary = Service(config, notifier).run(signals)
            except KeyboardInterrupt:  # while all was being closed
                summary = Summary("", "", interrupted=True)
            if signals.next_config is None:
                break
            config, signals.next_config = signals.next_config, None
            notifier.reloading(time.monotonic_ns())
    notifier.stopping()
    if summary.failure:
        raise summary.failure
    return 0


def _load(path: Path) -> ServeConfig:
    """The config, and all in it that can be known to be wrong before a camera is opened."""
    config = load_yaml(path, ServeConfig)
    find_bundle(config.engine)
    if config.web is not None:
        from edge.serve.options import check_options

        check_options(config.web)
    return config


class _Signals:
    """SIGTERM and SIGINT end the loop, SIGHUP ends it for another config: each as KeyboardInterrupt in the main thread,
    which the pipeline takes as the wish to finish.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.next_config: ServeConfig | None = None
        self.ended = False

    def __enter__(self) -> _Signals:
        self._before = {
            number: signal.signal(number, self._take) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        }
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            try:
                self.next_config = _load(self._path)
            except EdgeError as error:
                log.error("the new config is refused, the old one stays: %s", error)
                return
        else:
            self.ended, self.next_config = True, None
        raise KeyboardInterrupt


class Service:
    """One config, served."""

    def __init__(self, config: ServeConfig, notifier: Notifier) -> None:
        self._config, self._notifier = config, notifier
        self._stages = Stages()
        self._published = 0
        self._camera: Supervised | None = None
        self._is_ready = False
        self._ladder: Ladder | None = None
        self._ladder_engine: LadderEngine | None = None
        self._heat = Heat()

    def run(self, signals: _Signals) -> Summary:
        """Until a signal, the end of a source that ends, or a failure."""
        if signals.ended:
            return Summary("", "")
        with ExitStack() as stack:
            try:
                source = self._open_source()
                stack.push(source)  # closed even if the engine cannot be opened
                engine = stack.enter_context(self._open_engine(source))
                segmenter = Segmenter(engine)
                sinks = self._sinks(stack, engine, source, segmenter)
            except KeyboardInterrupt:
                return Summary("", "", interrupted=True)
            stack.enter_context(_Watchdog(self._notifier, self._alive))
            return run(flowing(source, live=True), segmenter, sinks, self._stages, on_result=self._count)

    def _open_source(self) -> Source:
        """The camera, with its first picture; one that is not there is waited for."""
        name = self._config.camera
        if not is_camera(name):
            return open_source(name)
        camera = self._camera = open_live(name)
        try:
            while True:
                self._notifier.starting(f"waiting for {camera.name}: {camera.health}", 2 * PATIENCE_S)
                try:
                    camera.await_first(PATIENCE_S)
                    return camera
                except SourceError as error:
                    log.warning("%s", error)
                    if camera.health.state == "stopped":
                        raise
        except BaseException:  # a signal too: nobody else could close it
            camera.__exit__(None, None, None)
            raise

    def _open_engine(self, source: Source) -> Engine:
        config = self._config
        self._notifier.starting(f"opening engine {config.engine}", 600.0)  # TensorRT may have a plan to build
        sizes: list[tuple[int, int] | None] = [None]
        if config.ladder is not None:
            sizes = [step.card.input_wh for step in find_bundle(config.engine).steps(source.size_wh)]
        steps = [
            open_engine(
                config.engine,
                precision=config.precision,
                backend=config.backend,
                threads=config.threads,
                source_wh=source.size_wh,
                input_wh=size,
            )
            for size in sizes
        ]
        if config.ladder is None:
            return steps[0]
        self._ladder = Ladder(len(steps), config.ladder.deadline_ms)
        self._ladder_engine = LadderEngine(steps)
        return self._ladder_engine

    def _sinks(self, stack: ExitStack, engine: Engine, source: Source, segmenter: Segmenter) -> list[Sink]:
        config, sinks = self._config, list[Sink]()
        listeners: list[Callable[[Event], object]] = []
        if config.web is not None:
            sinks.append(self._web(stack, engine, source, segmenter, config.web))
        if config.mqtt is not None:
            mqtt = MqttSink(config.mqtt, engine.card, self._stages)
            listeners.append(lambda e: mqtt.event(e.name, active=e.active, frame=e.frame, value=e.value))
            stack.enter_context(_Every(TICK_S, lambda: self._tell_camera(mqtt)))
            sinks.append(mqtt)
        if config.recorder is not None:
            sinks.append(Recorder(config.recorder, source.rate_hz, self._stages))
        if config.events is not None:
            card = engine.card
            sinks.append(EventSink(Watcher(config.events, card.table, card.fingerprint), listeners))
        if not sinks:
            raise ConfigError("the config names no output; add one, such as `web: {}` for the live page")
        return sinks

    def _tell_camera(self, mqtt: MqttSink) -> None:
        health = self._camera.health if self._camera else None
        mqtt.camera_is(health.state if health else "ok", health.reason if health else "")

    def _web(self, stack: ExitStack, engine: Engine, source: Source, segmenter: Segmenter, options: WebOptions) -> Sink:
        from edge.serve.server import WebServer
        from edge.serve.sink import WebSink
        from edge.serve.state import Live

        stages = lambda: {"decode": source.decode, **segmenter.stages.by_name, **self._stages.by_name}  # noqa: E731
        camera = self._camera
        live = Live(engine, source.name, stages, health=(lambda: camera.health) if camera else None)
        if camera is None:
            live.camera_is("ok")
        server = stack.enter_context(WebServer(live, options))
        log.info("live page: %s", server.url)
        return WebSink(live)

    def _count(self, result: Segmentation) -> None:
        self._published += 1
        if self._ladder is not None and self._ladder_engine is not None:
            ladder = self._ladder
            if ladder.update(result.age_ms, result.ready_ns, self._heat.is_hot()):
                self._ladder_engine.use(ladder.step)
                log.warning("input is now %dx%d: %s", *self._ladder_engine.card.input_wh, ladder.reason)
        if not self._is_ready:
            self._is_ready = True
            self._notifier.ready(f"masks of {result.frame.source}, {result.age_ms:.0f} ms old")

    def _alive(self, last_published: int) -> tuple[bool, int]:
        """Whether there was progress since so many results, and how many there are now."""
        camera_gone = self._camera is not None and self._camera.health.state in ("lost", "stopped")
        return self._published > last_published or camera_gone, self._published


class _Every(threading.Thread):
    """Calls a function every so many seconds while it is entered."""

    def __init__(self, period_s: float, call: Callable[[], None]) -> None:
        super().__init__(name="every", daemon=True)
        self._period_s, self._call, self._left = period_s, call, threading.Event()

    def __enter__(self) -> _Every:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._left.set()
        self.join()

    def run(self) -> None:
        while not self._left.wait(self._period_s):
            self._call()


class _Watchdog(_Every):
    """Feeds systemd's watchdog as long as there is progress."""

    def __init__(self, notifier: Notifier, alive: Callable[[int], tuple[bool, int]]) -> None:
        super().__init__((notifier.watchdog_s or 3 * TICK_S) / 3, self._look)
        self._notifier, self._alive, self._published = notifier, alive, 0

    def _look(self) -> None:
        alive, self._published = self._alive(self._published)
        if alive:
            self._notifier.progress()
