"""Where one camera's results go, and how each of these outputs is."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import yaml

import edge
from edge.card import Card
from edge.errors import ConfigError
from edge.events import Event, Watcher
from edge.prediction import Prediction
from edge.secrets import redacted
from edge.service.config import ServeConfig
from edge.sinks.background import Background
from edge.sinks.drive import DriveOptions
from edge.sinks.events import EventSink
from edge.sinks.flight import FlightOptions, FlightRecorder
from edge.sinks.mqtt import MqttOptions, MqttSink
from edge.sinks.recorder import Recorder, RecorderOptions
from edge.sinks.sink import EventListener, Reporting, Sink
from edge.sinks.table import PublishOptions, SinkContext, find_kind, make_sink, options_of
from edge.status import Status
from edge.timing import Stages
from edge.web.state import Live

if TYPE_CHECKING:
    from edge.service.results import ResultsSocket

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
        self._mqtt: MqttSink | None = None
        self._flight: FlightRecorder | None = None
        self._on_engine: list[Callable[[Card, str], object]] = []
        listeners: list[Callable[[Event, Prediction], object]] = []
        if config.web is not None:
            from edge.web.sink import WebSink

            listeners.append(live.watch.event)
            self.all.append(Output("web", WebSink(live)))
        if config.mqtt is not None:
            mqtt = self._mqtt = MqttSink(mqtt_of(config.mqtt, name), card, stages)
            listeners.append(_without_result(partial(_publish, mqtt)))
            self._on_engine.append(lambda card, _: mqtt.set_card(card))
            self.all.append(Output("mqtt", mqtt, lambda: mqtt.health))
        self._results: ResultsSocket | None = None
        if config.socket is not None:
            if name:
                raise ConfigError("socket: hands on one camera; with `cameras`, leave it out")
            from edge.service.results import ResultsSocket

            self._results = ResultsSocket(config.socket, config.bundle().card, live)
            self._on_engine.append(self._results.set_engine)
            self.all.append(Output("socket", self._results))
        if config.recorder is not None:
            recorder = Recorder(recorder_of(config.recorder, name, len(config.sources)), rate_hz, stages)
            self.all.append(Output("recorder", recorder, lambda: recorder.health))
        if config.flight is not None:
            software = f"edge {edge.__version__}"
            drive = DriveOptions(software, live.source, rate_hz, card, live.precision, settings_of(config))
            flight = FlightRecorder(flight_of(config.flight, name, len(config.sources)), drive, stages)
            self._flight = flight
            self._on_engine.append(flight.set_engine)
            listeners.append(_without_result(flight.event))
            self.all.append(Output("flight", flight, lambda: flight.health))
        listeners += self._add_others(config, name, SinkContext(live.source, rate_hz, card, stages))
        if config.events is not None:
            watcher = Watcher(config.events.of_camera(name), card.table, card.fingerprint)
            self._on_engine.append(lambda card, _: watcher.set_fingerprint(card.fingerprint))
            sink = EventSink(watcher, listeners)
            self.all.append(Output("events", sink, (lambda: sink.health) if config.events.tracks else None))
        if not self.all:
            raise ConfigError("the config names no output; add one, such as `web: {}` for the live page")

    def _add_others(
        self, config: ServeConfig, name: str, context: SinkContext
    ) -> list[Callable[[Event, Prediction], object]]:
        """Those of the table of sinks; which of them take events."""
        published = publish_of(config, name)
        names = [f"publish-{number}" if len(published) > 1 else "publish" for number in range(1, len(published) + 1)]
        made = [(label, make_sink("publish", one, context)) for label, one in zip(names, published, strict=True)]
        made += [(kind, make_sink(kind, options, context)) for kind, options in sinks_of(config, name).items()]
        self.all += [Output(label, sink, _report_of(sink)) for label, sink in made]
        return [_without_result(sink.event) for _, sink in made if isinstance(sink, EventListener)]

    @property
    def backgrounds(self) -> list[Background]:
        """The threads that write, in the outputs' order."""
        return [output.background for output in self.all]

    def tell_camera(self, health: Status | None) -> None:
        """How the camera is, for outputs that pass it on. None: it is of a kind that is always there."""
        if self._results is not None and health is not None:
            self._results.set_camera_state(health)
        if self._mqtt is not None:
            self._mqtt.set_camera_state(health.state if health else "ok", health.reason if health else "")

    def set_engine(self, card: Card, precision: str) -> None:
        """Another engine works from the next frame on; its classes are those of the one before."""
        for follow in self._on_engine:
            follow(card, precision)

    def announce(self, name: str, step: str, facts: Mapping[str, Any]) -> None:
        """Something happened that is not in a frame: as an event to the broker."""
        if self._mqtt is not None:
            self._mqtt.event(name, step=step, **facts)

    def keep(self, reason: str) -> None:
        """What was seen just now is worth a drive of the flight recorder, where there is one."""
        if self._flight is not None:
            self._flight.trigger(reason)

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


def _publish(mqtt: MqttSink, event: Event) -> None:
    mqtt.event(event.name, active=event.active, frame=event.frame, value=event.value, **event.about())


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
