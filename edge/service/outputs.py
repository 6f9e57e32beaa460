"""Where one camera's results go, and how each of these outputs is."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import yaml

from edge.card import Card
from edge.errors import ConfigError
from edge.events import Event, Watcher
from edge.prediction import Prediction
from edge.secrets import redacted
from edge.service.config import ServeConfig
from edge.sinks.background import Background
from edge.sinks.events import EventSink
from edge.sinks.flight import FlightOptions
from edge.sinks.mqtt import MqttOptions
from edge.sinks.recorder import RecorderOptions
from edge.sinks.sink import Announcer, EventListener, FollowsCamera, FollowsEngine, Reporting, Sink, Triggered
from edge.sinks.table import LATER, PublishOptions, SinkContext, find_kind, make_sink, options_of
from edge.status import Status
from edge.timing import Stages
from edge.web.state import Live

LATE_S = 0.1  # at a single result: then the watchdog is not fed; a disk may wake up within WatchdogSec
HUNG_S = 10.0  # and then it is said to hang

log = logging.getLogger(__name__)


class Output:
    """One sink off the loop, and how it is: what it says of itself, unless it hangs."""

    def __init__(self, name: str, sink: Sink, report: Callable[[], Status] | None = None) -> None:
        self.name, self.speaks = name, report is not None
        self.background = Background(sink, drop=True)
        self._report = report

    @property
    def health(self) -> Status:
        """Its own report, and whether it hangs."""
        health = self._report() if self._report else Status()
        busy_s = self.background.busy_s
        if busy_s > HUNG_S:
            health = dataclasses.replace(health, state="hung", reason=f"at one result for {busy_s:.0f} s")
        return dataclasses.replace(health, totals={**health.totals, "frames_unwritten": self.background.dropped})


class Outputs:
    """All of one camera; they are entered by the loop."""

    def __init__(
        self, config: ServeConfig, name: str, card: Card, rate_hz: float | None, live: Live, stages: Stages
    ) -> None:
        """`name` is the camera's, empty for an only one.

        Raises:
            ConfigError: an output is asked for that cannot be, or none is.
            OutputError: recordings may not be written where they should be.
        """
        self.all: list[Output] = []
        self._sinks: list[Sink] = []
        listeners: list[Callable[[Event, Prediction], object]] = []
        if config.web is not None:
            from edge.web.sink import WebSink

            listeners.append(live.watch.event)
            self._add("web", WebSink(live))
        if config.socket is not None:
            if name:
                raise ConfigError("socket: hands on one camera; with `cameras`, leave it out")
            from edge.service.results import ResultsSocket

            self._add("socket", ResultsSocket(config.socket, config.bundle().card, live))
        settings, precision = settings_of(config), live.precision
        context = SinkContext(
            live.source, rate_hz, card, stages, precision=precision, settings=settings, unattended=True
        )
        for label, kind, options in rows_of(config, name):
            self._add(label, make_sink(kind, options, context))
        listeners += [_without_result(sink.event) for sink in self._sinks if isinstance(sink, EventListener)]
        self._watcher: Watcher | None = None
        if config.events is not None:
            self._watcher = Watcher(config.events.of_camera(name), card.table, card.fingerprint)
            sink = EventSink(self._watcher, listeners)
            self.all.append(Output("events", sink, (lambda: sink.health) if config.events.tracks else None))
        if not self.all:
            raise ConfigError("the config names no output; add one, such as `web: {}` for the live page")

    def _add(self, label: str, sink: Sink) -> None:
        self._sinks.append(sink)
        self.all.append(Output(label, sink, _report_of(sink)))

    @property
    def backgrounds(self) -> list[Background]:
        """The threads that write, in the outputs' order."""
        return [output.background for output in self.all]

    def tell_camera(self, health: Status | None) -> None:
        """How the camera is, for outputs that pass it on. None: it is of a kind that is always there."""
        for sink in self._sinks:
            if isinstance(sink, FollowsCamera):
                sink.set_camera_state(health or Status("ok"))

    def set_engine(self, card: Card, precision: str) -> None:
        """Another engine works from the next frame on; its classes are those of the one before."""
        for sink in self._sinks:
            if isinstance(sink, FollowsEngine):
                sink.set_engine(card, precision)
        if self._watcher is not None:
            self._watcher.set_fingerprint(card.fingerprint)

    def announce(self, name: str, step: str, facts: Mapping[str, Any]) -> None:
        """Something happened that is not in a frame."""
        for sink in self._sinks:
            if isinstance(sink, Announcer):
                sink.announce(name, step=step, **facts)

    def keep(self, reason: str) -> None:
        """What was seen just now is worth a drive of the flight recorder, where there is one."""
        for sink in self._sinks:
            if isinstance(sink, Triggered):
                sink.trigger(reason)

    def health(self) -> dict[str, Status]:
        """By name, of those that can tell, and of those that hang."""
        found = {output.name: output.health for output in self.all}
        speaks = {output.name for output in self.all if output.speaks}
        return {name: health for name, health in found.items() if name in speaks or health.state == "hung"}

    def late(self) -> str:
        """Which output is at one result for too long to be called progress; "" if none is."""
        busy_s = {output.name: output.background.busy_s for output in self.all}
        return ", ".join(f"{name} at one result for {for_s:.1f} s" for name, for_s in busy_s.items() if for_s > LATE_S)


def _report_of(sink: Sink) -> Callable[[], Status] | None:
    return (lambda: sink.health) if isinstance(sink, Reporting) else None


def _without_result(listener: Callable[[Event], object]) -> Callable[[Event, Prediction], object]:
    return lambda event, result: listener(event)


def rows_of(config: ServeConfig, camera: str) -> Iterator[tuple[str, str, object]]:
    """What a camera's results go to by the table of sinks: a label, the kind, and its options.

    Raises:
        ConfigError: one is asked for twice, or cannot be shared by several cameras.
    """
    cameras = len(config.sources)
    if config.mqtt is not None:
        yield "mqtt", "mqtt", mqtt_of(config.mqtt, camera)
    if config.recorder is not None:
        yield "recorder", "recorder", recorder_of(config.recorder, camera, cameras)
    if config.flight is not None:
        yield "flight", "flight", flight_of(config.flight, camera, cameras)
    published = publish_of(config, camera)
    for number, one in enumerate(published, 1):
        yield f"publish-{number}" if len(published) > 1 else "publish", "publish", one
    for kind, options in sinks_of(config, camera).items():
        if kind in LATER and getattr(config, kind) is not None:
            raise ConfigError(f"sinks.{kind}: `{kind}:` names one already; leave one of them out")
        yield kind, kind, options


def mqtt_of(options: MqttOptions, camera: str) -> MqttOptions:
    """Topics of one of several cameras are below a part of its name, and its events in a file of their own."""
    if not camera:
        return options
    path = None if options.events_file is None else Path(options.events_file)
    own = None if path is None else str(path.with_stem(f"{path.stem}-{camera}"))
    return dataclasses.replace(options, topic=f"{options.topic}/{camera}", events_file=own)


def publish_of(config: ServeConfig, camera: str) -> list[PublishOptions]:
    """Where a camera's overlay is published; of several, to an address with its name in it.

    Raises:
        ConfigError: it is no media server, or two cameras would share one. No message shows a secret.
    """
    kind, found = find_kind("publish"), list[PublishOptions]()
    for given in config.publish:
        options = cast("PublishOptions", options_of(kind, given))
        if camera and "{camera}" not in options.url:
            raise ConfigError(
                f"publish: {redacted(options.url)}: with several cameras, expected {{camera}} in the URL: their names"
            )
        found.append(dataclasses.replace(options, url=options.url.replace("{camera}", camera)))
    return found


def sinks_of(config: ServeConfig, camera: str) -> dict[str, Any]:
    """The options of a camera's `sinks:`. Of several cameras, {camera} in a text is the camera's name, and an option
    that is a mapping by camera has a value for each.

    Raises:
        ConfigError: two cameras would have the same options, or one has none. No message shows a value.
    """
    if not camera:
        return dict(config.sinks)
    found: dict[str, Any] = {}
    for kind, given in config.sinks.items():
        options = given if isinstance(given, dict) else {"": given}
        own = {key: _of_camera(f"sinks.{kind}.{key}".rstrip("."), value, camera) for key, value in options.items()}
        if own == options:
            raise ConfigError(
                f"sinks.{kind}: several cameras would share it. Write {{camera}}, which is the camera's name, into a"
                f" text; or give an option a value for each: {{{camera}: ..., ...}}"
            )
        found[kind] = own if isinstance(given, dict) else own[""]
    return found


def _of_camera(key: str, value: Any, camera: str) -> Any:
    if isinstance(value, str):
        return value.replace("{camera}", camera)
    if isinstance(value, dict):
        by_camera = cast("dict[str, Any]", value)
        if camera not in by_camera:
            raise ConfigError(f"{key}: expected a value for each camera, got none for {camera}")
        return by_camera[camera]
    return value


def recorder_of(options: RecorderOptions, camera: str, cameras: int) -> RecorderOptions:
    """Recordings of one of several cameras have a folder of their own, and an even part of the quota."""
    if not camera:
        return options
    folder = str(Path(options.folder) / camera)
    return dataclasses.replace(options, folder=folder, quota_gb=options.quota_gb / cameras)


def flight_of(options: FlightOptions, camera: str, cameras: int) -> FlightOptions:
    """Drives of one of several cameras have a folder of their own, and an even part of quota and memory."""
    if not camera:
        return options
    folder, quota_gb, memory_mb = str(Path(options.folder) / camera), options.quota_gb, options.memory_mb
    return dataclasses.replace(options, folder=folder, quota_gb=quota_gb / cameras, memory_mb=memory_mb / cameras)


def settings_of(config: ServeConfig) -> str:
    """What of the config goes with a drive, as YAML: nothing that names an address or a file of secrets."""
    parts = {
        "engine",
        "precision",
        "backend",
        "threads",
        "confidence",
        "instances",
        "geometry",
        "geometries",
        "ladder",
        "events",
        "recorder",
        "flight",
    }
    return yaml.safe_dump(config.model_dump(mode="json", include=parts, exclude_none=True), sort_keys=False)
