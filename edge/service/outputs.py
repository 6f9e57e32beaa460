"""Where one camera's results go, and how each of these outputs is."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any, NamedTuple, cast

import yaml

from edge.card import Card
from edge.errors import ConfigError, OutputError
from edge.events import Watcher
from edge.secrets import redacted
from edge.service.config import ServeConfig
from edge.sinks.background import Background
from edge.sinks.events import EventSink
from edge.sinks.sink import Announcer, EventListener, FollowsCamera, FollowsEngine, Reporting, Sink, Triggered
from edge.sinks.table import LATER, SinkContext, SinkKind, check_libraries, find_kind, make_sink, options_of
from edge.status import Status
from edge.timing import Stages
from edge.web.state import Live

LATE_S = 0.1  # at a single result: then the watchdog is not fed; a disk may wake up within WatchdogSec
HUNG_S = 10.0  # and then it is said to hang

# Sections of a config that only a service has: each module's KIND.
OWN = {"web": "edge.web.sink", "socket": "edge.service.results"}
SECTIONS = (*OWN, *LATER, "publish")

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
        context = SinkContext(
            live.source,
            rate_hz,
            card,
            stages,
            precision=live.precision,
            settings=settings_of(config),
            unattended=True,
            live=live,
        )
        for row in rows_of(config, name):
            sink = make_sink(row.kind, row.options, context)
            self._sinks.append(sink)
            self.all.append(Output(row.label, sink, _report_of(sink)))
        self._watcher: Watcher | None = None
        if config.events is not None:
            self._watcher = Watcher(config.events.of_camera(name), card.table, card.fingerprint)
            listeners = [sink.event for sink in self._sinks if isinstance(sink, EventListener)]
            sink = EventSink(self._watcher, listeners)
            self.all.append(Output("events", sink, (lambda: sink.health) if config.events.tracks else None))
        if not self.all:
            raise ConfigError("the config names no output; add one, such as `web: {}` for the live page")

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


class Row(NamedTuple):
    """One output of a camera.

    Attributes:
        label: its name in logs, on the page and in metrics; key: the one of the config that asks for it.
    """

    label: str
    key: str
    kind: SinkKind
    options: Any

    def check(self) -> None:
        """Refuse what can be known to fail before the sink is made.

        Raises:
            ConfigError: a library is missing, or the options are not in order.
        """
        with within(f"{self.key}: " if self.key not in SECTIONS else ""):
            check_libraries(self.kind)
            if self.kind.check is not None:
                self.kind.check(self.options)


def rows_of(config: ServeConfig, camera: str) -> Iterator[Row]:
    """What a camera's results go to, by the table of sinks.

    Raises:
        ConfigError: one is not in order or asked for twice, or cannot be shared by several cameras.
    """
    for key in SECTIONS:
        section = getattr(config, key)
        given = section if isinstance(section, list) else [] if section is None else [section]
        for number, one in enumerate(given, 1):
            kind = import_module(OWN[key]).KIND if key in OWN else find_kind(key)
            options = options_of(kind, one)
            if camera and kind.of_camera is not None:
                options = kind.of_camera(options, camera, len(config.sources))
            yield Row(f"{key}-{number}" if len(given) > 1 else key, key, kind, options)
    for name, given in sinks_of(config, camera).items():
        if name in LATER and getattr(config, name) is not None:
            raise ConfigError(f"sinks.{name}: `{name}:` names one already; leave one of them out")
        key = f"sinks.{redacted(name)}"
        with within(f"{key}: "):
            kind = find_kind(name)
            options = options_of(kind, given)
        yield Row(name, key, kind, options)


@contextmanager
def within(key: str) -> Iterator[None]:
    """What is refused, with that before it."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{key}{error}") from error
    except OutputError as error:
        raise OutputError(f"{key}{error}") from error


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
