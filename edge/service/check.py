"""What can be known of a config before anything of it is opened, and before anything of the old one is closed."""

from __future__ import annotations

import errno
import fcntl
import importlib.util
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from edge.backends import choose_backend
from edge.classes import ClassTable
from edge.engine import find_bundle
from edge.errors import ConfigError, OutputError
from edge.events import EventOptions, Watcher
from edge.grouping import Instances
from edge.install import install_command
from edge.metres import Metres
from edge.outputs import select
from edge.paths import check_unheard, expanded, is_path, make_folder, shown, socket_path
from edge.replay.compare import Comparer
from edge.secrets import redacted
from edge.service.config import ServeConfig
from edge.service.outputs import mqtt_of, publish_of, rows_of, sinks_of
from edge.sinks.collisions import check_outputs
from edge.sinks.flight import FlightOptions, check_flight
from edge.sinks.mqtt.options import check_mqtt
from edge.sinks.recorder import RecorderOptions, check_recorder
from edge.sinks.table import OverlayOptions, SinkContext, SinkKind, find_kind, options_of
from edge.sources.open import check_name, is_camera, open_source
from edge.timing import Stages

_ANY_HOST = frozenset({"0.0.0.0", "::"})
SERVE_PACKAGES = ("uvicorn", "starlette", "websockets", "prometheus_client")


def check(config: ServeConfig) -> None:
    """Refuse what only a person can mend.

    Nothing is refused that may pass by itself: a camera, host or file that is not there, or a port that is taken.

    Raises:
        ConfigError: naming the key.
        EngineError: there is no such engine, or its backend cannot run here.
    """
    for key, source in _keyed_sources(config):
        _check_source(key, source)
    expanded("engine", config.engine)
    card = config.bundle().card
    select(card.outputs, config.asked(card), config.engine)
    if config.instances:
        Instances(card.table)
    _check_geometry(config, card.table)
    choose_backend(config.backend)
    if config.shadow is not None:
        with _of("shadow."):
            expanded("engine", config.shadow.engine)
        Comparer(card.table, find_bundle(config.shadow.engine, config.trusted_keys).card.table)
    if config.control is not None:
        from edge.service.control import check_control

        check_control(config.control)
    asked = [name for name in OUTPUTS if getattr(config, name)]
    if not asked:
        raise ConfigError("the config names no output; add one, such as `web: {}` for the live page")
    for name in asked:
        OUTPUTS[name](config)
    _check_folders(config)
    _check_ports(config)


def probe(config: ServeConfig, running: ServeConfig) -> None:
    """Try what a new config names outside the process and the running one does not hold: ports, sockets, folders,
    devices and files.

    Raises:
        EdgeError: one of them is not to be had now.
    """
    _probe_ports(config, running)
    _probe_sinks(config, running)
    for key in ("socket", "control"):
        text, before = getattr(config, key), getattr(running, key)
        if text is not None and text != before:
            check_unheard(key, socket_path(key, text))
    held = {folder.absolute() for _, folder in _folders(running)}
    for key, folder in _folders(config):
        if folder.absolute() not in held:
            make_folder(key, folder)
            _probe_lock(key, folder)
    for key, source in _keyed_sources(config):
        if source not in running.sources.values():
            _probe_source(key, source)


def _check_geometry(config: ServeConfig, table: ClassTable) -> None:
    if config.geometry is not None and config.cameras:
        raise ConfigError("geometry: is of one camera only; with `cameras`, write `geometries: {NAME: {...}}`")
    if unknown := sorted(set(config.geometries) - set(config.cameras)):
        known = ", ".join(config.cameras) or "none; with `camera`, write `geometry`"
        raise ConfigError(f"geometries.{unknown[0]}: expected a name in `cameras` ({known})")
    for model in filter(None, (config.geometry, *config.geometries.values())):
        Metres(model, table)


def _check_source(key: str, source: str) -> None:
    if not source.startswith("gst:") and not source.isprintable():  # a pipeline may be written in several lines
        raise ConfigError(f"{key}: expected a device, an address or a pipeline in one line, got {shown(source)}")
    if "://" not in source and not source.startswith(("gst:", "csi:", "ros2:", "scene:")):
        _check_device(key, source)
    try:
        check_name(source)
    except ConfigError as error:
        raise ConfigError(f"{key}: {error}") from error


def _check_device(key: str, source: str) -> None:
    if source.startswith(("~", "$")):
        raise ConfigError(f"{key}: {shown(source)}: ~ and variables are not expanded here. Write the whole path")
    if not is_path(source):
        raise ConfigError(f"{key}: expected a device, an address or a pipeline, got {shown(source)}")


def _check_web(config: ServeConfig) -> None:
    """The page's options and the files that they name.

    Raises:
        ConfigError: they are not in order, or a library is missing.
    """
    from edge.web.options import read_files

    if missing := [name for name in SERVE_PACKAGES if importlib.util.find_spec(name) is None]:
        raise ConfigError(
            f"web: {', '.join(missing)} not installed. Run: {install_command('edge-segmentation[serve]')}"
        )
    assert config.web is not None
    read_files(config.web)


def _check_socket(config: ServeConfig) -> None:
    """Where the split service's publisher connects.

    Raises:
        ConfigError: there are several cameras, or something else lies there.
    """
    if "" not in config.sources:
        raise ConfigError("socket: hands on one camera; with `cameras`, leave it out")
    assert config.socket is not None
    path = socket_path("socket", config.socket)
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise ConfigError(
            f"socket: {path.parent}: no such folder, or one that this user may not write."
            " Under systemd, expected /run/edge/results.sock"
        )


def _check_mqtt(config: ServeConfig) -> None:
    assert config.mqtt is not None
    for name in config.sources:
        check_mqtt(mqtt_of(config.mqtt, name))


def _check_events(config: ServeConfig) -> None:
    assert config.events is not None
    if unknown := sorted(set(config.events.cameras) - set(config.cameras)):
        known = ", ".join(config.cameras) or "none; with `camera`, write `zone` and `tracks`"
        raise ConfigError(f"events.cameras.{unknown[0]}: expected a name in `cameras` ({known})")
    if config.events.zones_file is not None:
        expanded("events.zones_file", config.events.zones_file)
    has_objects = config.instances or all(config.geometry_of(name) for name in config.sources)
    if config.events.tracks is not None and not has_objects:
        raise ConfigError("events.tracks: follows people one by one: write `instances: true`, too")
    _check_metres(config, config.events)
    card = config.bundle().card
    for name in config.sources:
        Watcher(config.events.of_camera(name), card.table, card.fingerprint)


def _check_metres(config: ServeConfig, events: EventOptions) -> None:
    """Refuse events in metres and seconds where these cannot be known."""
    for name in events.in_metres():
        if without := [camera for camera in config.sources if config.geometry_of(camera) is None]:
            key = f"geometries: {{{without[0]}: ...}}" if without[0] else "geometry:"
            raise ConfigError(f"events.{name}: is in metres: write where the camera is, too, under `{key}`")
    if events.person_soon is not None and config.gps is None:
        raise ConfigError("events.person_soon: needs the car's speed: write `gps: {}`, too")


def _check_recorder(config: ServeConfig) -> None:
    assert config.recorder is not None
    check_recorder(config.recorder)
    if (look := config.recorder.look) is not None:
        with _of("recorder."):
            look.table(config.bundle().card.table)


def _check_flight(config: ServeConfig) -> None:
    assert config.flight is not None
    check_flight(config.flight)


def _check_publish(config: ServeConfig) -> None:
    table = config.bundle().card.table
    for name in config.sources:
        for options in publish_of(config, name):
            options.look.table(table)


def _check_sinks(config: ServeConfig) -> None:
    table = config.bundle().card.table
    for camera in config.sources:
        list(rows_of(config, camera))  # refuses what is asked for twice
        for name, given in sinks_of(config, camera).items():
            with _of(f"sinks.{redacted(name)}: "):
                options = options_of(kind := find_kind(name), given)
                if kind.check is not None:
                    kind.check(options)
                if isinstance(options, OverlayOptions):
                    options.look.table(table)
                _check_target(options, config)


def _check_target(options: Any, config: ServeConfig) -> None:
    """Refuse an output that is a file of the engine or the recording that is played."""
    targets = [value for value in getattr(options, "__dict__", {}).values() if isinstance(value, Path)]
    try:
        check_outputs(targets, config.sources.values(), [config.engine])
    except OutputError as error:  # which a restart does not mend
        raise ConfigError(str(error)) from error


@contextmanager
def _of(key: str) -> Iterator[None]:
    """What is refused, with that before it."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{key}{error}") from error
    except OutputError as error:
        raise OutputError(f"{key}{error}") from error


# Each output by its key, with what refuses a config of it.
OUTPUTS: dict[str, Callable[[ServeConfig], None]] = {
    "web": _check_web,
    "mqtt": _check_mqtt,
    "recorder": _check_recorder,
    "flight": _check_flight,
    "events": _check_events,
    "socket": _check_socket,
    "publish": _check_publish,
    "sinks": _check_sinks,
}


def _keyed_sources(config: ServeConfig) -> Iterator[tuple[str, str]]:
    for name, source in config.sources.items():
        yield f"cameras.{name}" if name else "camera", source


class _Row(NamedTuple):
    """An output of the table of sinks, its options checked."""

    key: str
    source: str
    kind: SinkKind
    options: Any

    @property
    def paths(self) -> list[Path]:
        """What it writes to."""
        return [value.absolute() for value in getattr(self.options, "__dict__", {}).values() if isinstance(value, Path)]


def _rows(config: ServeConfig) -> Iterator[_Row]:
    for name, source in config.sources.items():
        for label, kind_name, given in rows_of(config, name):
            kind = find_kind(kind_name)
            key = f"sinks.{label}" if kind_name in config.sinks else label
            yield _Row(key, source, kind, options_of(kind, given))


def _folders(config: ServeConfig) -> Iterator[tuple[str, Path]]:
    """Each folder that a recorder fills, with its key."""
    for row in _rows(config):
        if isinstance(row.options, (RecorderOptions, FlightOptions)):
            yield f"{row.key}.folder", expanded(f"{row.key}.folder", row.options.folder)


def _listeners(config: ServeConfig) -> Iterator[tuple[str, str, int]]:
    """Each host and port that is listened on, with its key."""
    if config.web is not None:
        yield "web", config.web.address, config.web.port
    for row in _rows(config):
        if row.kind.listens is not None:
            yield (row.key, *row.kind.listens(row.options))


def _check_ports(config: ServeConfig) -> None:
    seen: list[tuple[str, str, int]] = []
    for key, host, port in _listeners(config):
        for other, other_host, other_port in seen:
            is_one = host == other_host or not _ANY_HOST.isdisjoint((host, other_host))
            if port and port == other_port and is_one:
                raise ConfigError(f"{key}: {host}, port {port}: is {other}'s too. Give each a port of its own")
        seen.append((key, host, port))


def _check_folders(config: ServeConfig) -> None:
    seen: dict[Path, str] = {}
    for key, folder in _folders(config):
        if (other := seen.setdefault(folder.absolute(), key)) != key:
            raise ConfigError(f"{key}: {folder}: is {other} too. Give each a folder of its own")


def _probe_ports(config: ServeConfig, running: ServeConfig) -> None:
    held = {port for _, _, port in _listeners(running)}  # which become free, whatever their addresses are
    for key, host, port in _listeners(config):
        _probe_port(key, host, port, is_own=port in held)


def _probe_port(key: str, host: str, port: int, *, is_own: bool) -> None:
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind((host, port))
            tried.listen()
    except OSError as error:
        if error.errno == errno.EADDRINUSE and is_own:
            return
        raise ConfigError(
            f"{key}: {host}, port {port}: cannot be listened on: {error.strerror}."
            f" Who has it: ss -ltnp 'sport = :{port}'"
        ) from error


def _probe_sinks(config: ServeConfig, running: ServeConfig) -> None:
    """What sinks would write to. A file that a running sink writes to is left alone."""
    card = config.bundle().card
    held = {path for row in _rows(running) for path in row.paths}
    for row in _rows(config):
        if row.kind.probe is not None and not any(path in held and not path.is_dir() for path in row.paths):
            with _of(f"{row.key}: "):
                row.kind.probe(row.options, SinkContext(row.source, None, card, Stages()))


def _probe_lock(key: str, folder: Path) -> None:
    """Whether another recorder has the folder."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ConfigError(f"{key}: {folder}: another recorder writes here. Give each a folder of its own") from error
    finally:
        os.close(fd)


def _probe_source(key: str, source: str) -> None:
    """A device or file is there; a camera of the network may come later."""
    from edge.sources.camera import device_request

    if not is_camera(source):
        with open_source(source):
            return
    if source.startswith(("gst:", "csi:", "ros2:")) or "://" in source:
        return
    device = Path(device_request(source).target)
    if not device.exists():
        raise ConfigError(f"{key}: {device}: there is no such camera now")
