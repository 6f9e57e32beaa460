"""What can be known of a config before anything of it is opened, and before anything of the old one is closed."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from edge.appearance import Appearance
from edge.backends import choose_backend
from edge.classes import ClassTable
from edge.engine import find_bundle
from edge.errors import ConfigError, OutputError
from edge.events import EventOptions, Watcher
from edge.grouping import Instances
from edge.metres import Metres
from edge.outputs import select
from edge.paths import check_unheard, expanded, is_path, make_folder, shown, socket_path
from edge.replay.compare import Comparer
from edge.service.config import ServeConfig
from edge.service.outputs import Row, rows_of, within
from edge.sinks.collisions import check_outputs
from edge.sinks.flight import FlightOptions
from edge.sinks.recorder import RecorderOptions
from edge.sinks.table import SinkContext
from edge.sources.open import check_name, is_camera, open_source
from edge.timing import Stages

_ANY_HOST = frozenset({"0.0.0.0", "::"})


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
        with within("shadow."):
            expanded("engine", config.shadow.engine)
        Comparer(card.table, find_bundle(config.shadow.engine, config.trusted_keys).card.table)
    if config.control is not None:
        from edge.service.control import check_control

        check_control(config.control)
    rows = list(_rows(config))
    if not rows and config.events is None:
        raise ConfigError("the config names no output; add one, such as `web: {}` for the live page")
    for _, row in rows:
        _check_row(row, config, card.table)
    if config.events is not None:
        _check_events(config, config.events)
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


def _check_events(config: ServeConfig, events: EventOptions) -> None:
    if unknown := sorted(set(events.cameras) - set(config.cameras)):
        known = ", ".join(config.cameras) or "none; with `camera`, write `zone` and `tracks`"
        raise ConfigError(f"events.cameras.{unknown[0]}: expected a name in `cameras` ({known})")
    if events.zones_file is not None:
        expanded("events.zones_file", events.zones_file)
    has_objects = config.instances or all(config.geometry_of(name) for name in config.sources)
    if events.tracks is not None and not has_objects:
        raise ConfigError("events.tracks: follows people one by one: write `instances: true`, too")
    _check_metres(config, events)
    card = config.bundle().card
    for name in config.sources:
        Watcher(events.of_camera(name), card.table, card.fingerprint)


def _check_metres(config: ServeConfig, events: EventOptions) -> None:
    """Refuse events in metres and seconds where these cannot be known."""
    for name in events.in_metres():
        if without := [camera for camera in config.sources if config.geometry_of(camera) is None]:
            key = f"geometries: {{{without[0]}: ...}}" if without[0] else "geometry:"
            raise ConfigError(f"events.{name}: is in metres: write where the camera is, too, under `{key}`")
    if events.person_soon is not None and config.gps is None:
        raise ConfigError("events.person_soon: needs the car's speed: write `gps: {}`, too")


def _check_row(row: Row, config: ServeConfig, table: ClassTable) -> None:
    row.check()
    look = getattr(row.options, "look", None)
    if isinstance(look, Appearance):
        with within(f"{row.key}."):
            look.table(table)
    # Refuse an output that is a file of the engine or the recording that is played.
    try:
        check_outputs(_paths(row), config.sources.values(), [config.engine])
    except OutputError as error:  # which a restart does not mend
        raise ConfigError(f"{row.key}: {error}") from error


def _keyed_sources(config: ServeConfig) -> Iterator[tuple[str, str]]:
    for name, source in config.sources.items():
        yield f"cameras.{name}" if name else "camera", source


def _rows(config: ServeConfig) -> Iterator[tuple[str, Row]]:
    """Each camera's outputs, with the camera's source."""
    for name, source in config.sources.items():
        for row in rows_of(config, name):
            yield source, row


def _paths(row: Row) -> list[Path]:
    """What it writes to."""
    return [value.absolute() for value in getattr(row.options, "__dict__", {}).values() if isinstance(value, Path)]


def _folders(config: ServeConfig) -> Iterator[tuple[str, Path]]:
    """Each folder that a recorder fills, with its key."""
    for _, row in _rows(config):
        if isinstance(row.options, (RecorderOptions, FlightOptions)):
            yield f"{row.key}.folder", expanded(f"{row.key}.folder", row.options.folder)


def _listeners(config: ServeConfig) -> Iterator[tuple[str, str, int]]:
    """Each host and port that is listened on, with its key."""
    if config.web is not None:
        yield "web", config.web.address, config.web.port
    for _, row in _rows(config):
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
    held = {path for _, row in _rows(running) for path in _paths(row)}
    for source, row in _rows(config):
        if row.kind.probe is not None and not any(path in held and not path.is_dir() for path in _paths(row)):
            with within(f"{row.key}: "):
                row.kind.probe(row.options, SinkContext(source, None, card, Stages()))


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
