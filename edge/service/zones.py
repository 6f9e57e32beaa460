"""Zones that were drawn on the page, in a file of their own: what a person wrote is never written over."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from edge.config import load_yaml
from edge.errors import ConfigError, OutputError
from edge.events import CameraZones, EventOptions
from edge.paths import expanded
from edge.visits import Corners, PlaceName
from edge.web.zones import Save

KEY = "events.zones_file"
_HEAD = (
    "# Zones drawn on the live page, in place of those of the config's `events`; without this file, those hold again.\n"
)


class ZonesFile(CameraZones):
    """The only camera's zones, or each one's by its name."""

    cameras: dict[PlaceName, CameraZones] = Field(default_factory=dict)


def with_saved(options: EventOptions) -> EventOptions:
    """The options with the saved zones in place, where there are some.

    Raises:
        ConfigError: the file cannot be read or does not fit.
    """
    saved = _load(options)
    changes: dict[str, object] = {"cameras": {**options.cameras, **saved.cameras}}
    if saved.zone is not None:
        changes["zone"] = saved.zone
    if saved.zones is not None and options.tracks is not None:
        changes["tracks"] = options.tracks.model_copy(update={"zones": saved.zones})
    return options.model_copy(update=changes)


def saver(options: EventOptions) -> Save:
    """Saves the zones of a camera, and has the service read its config again."""

    def save(camera: str, zones: CameraZones) -> None:
        """Raises:
        ConfigError: what is saved already cannot be read, or places are drawn and no one is followed.
        OutputError: the file cannot be written.
        """
        if zones.zones and options.tracks is None:
            raise ConfigError("people are not followed into zones: write `events.tracks: {}` into the config, first")
        saved = _load(options)
        changes = {"cameras": {**saved.cameras, camera: zones}} if camera else zones.model_dump()
        _write(_path(options), "".join(_lines(saved.model_copy(update=changes))))
        os.kill(os.getpid(), signal.SIGHUP)  # as a person would

    return save


def _path(options: EventOptions) -> Path:
    assert options.zones_file is not None
    return expanded(KEY, options.zones_file)


def _load(options: EventOptions) -> ZonesFile:
    if options.zones_file is None or not _path(options).exists():
        return ZonesFile()
    return load_yaml(_path(options), ZonesFile)


def _lines(saved: ZonesFile) -> Iterator[str]:
    yield _HEAD
    yield from _zone_lines(saved, "")
    if saved.cameras:
        yield "cameras:\n"
    for name, zones in saved.cameras.items():
        yield f"  {json.dumps(name)}:\n"  # quoted: to YAML, on, no and 7 are no text
        yield from _zone_lines(zones, "    ")


def _zone_lines(zones: CameraZones, margin: str) -> Iterator[str]:
    if zones.zone is not None:
        yield f"{margin}zone: {_corners(zones.zone)}\n"
    if zones.zones is not None:
        yield f"{margin}zones:{'' if zones.zones else ' {}'}\n"
        yield from (f"{margin}  {json.dumps(name)}: {_corners(corners)}\n" for name, corners in zones.zones.items())


def _corners(corners: Corners) -> str:
    return json.dumps([[round(x, 4), round(y, 4)] for x, y in corners])


def _write(path: Path, text: str) -> None:
    """Whole or not at all: a power cut leaves the old zones."""
    fresh = path.with_name(f".{path.name}.new")
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise OutputError(f"{KEY}: {path}: cannot be written: {error.strerror or error}") from error
