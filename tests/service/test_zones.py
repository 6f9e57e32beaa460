"""Zones that were saved on the page: in a file beside the config, and in place of the config's."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from edge.errors import ConfigError, OutputError
from edge.events import CameraZones, EventOptions
from edge.service.config import ServeConfig, load_config
from edge.service.zones import saver, with_saved
from edge.web.zones import ZoneView

SQUARE = ((0.1, 0.2), (0.5, 0.2), (0.5, 0.8), (0.1, 0.8))
OTHER = ((0.2, 0.2), (0.6, 0.2), (0.6, 0.8))


@pytest.fixture
def hangups(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The signals that would have been sent."""
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda *what: sent.append(what))
    return sent


def options(path: Path, **more: Any) -> EventOptions:
    return EventOptions.model_validate({"zones_file": str(path), **more})


def test_zones_are_saved_and_hold_in_place_of_the_configs(tmp_path: Path, hangups: list[tuple[int, int]]) -> None:
    events = options(tmp_path / "zones.yaml", tracks={"zones": {"old": OTHER}})
    saver(events)("", CameraZones(zone=SQUARE, zones={"gate": OTHER}))
    found = with_saved(events)
    assert found.zone == SQUARE
    assert found.tracks is not None
    assert found.tracks.zones == {"gate": OTHER}
    assert hangups == [(os.getpid(), signal.SIGHUP)]
    assert (tmp_path / "zones.yaml").stat().st_mode & 0o077 == 0
    assert [path.name for path in tmp_path.iterdir()] == ["zones.yaml"]


def test_each_of_several_cameras_keeps_its_own(tmp_path: Path, hangups: list[tuple[int, int]]) -> None:
    events = options(tmp_path / "zones.yaml", tracks={}, cameras={"side": {"zone": OTHER}})
    save = saver(events)
    save("front", CameraZones(zone=SQUARE))
    save("rear", CameraZones(zones={"gate": OTHER}))
    save("front", CameraZones(zone=OTHER, zones={}))
    found = with_saved(events)
    assert found.of_camera("front").zone == OTHER
    assert ZoneView.of(found, "rear").as_json()["places"] == {"gate": OTHER}
    assert found.of_camera("rear").zone == EventOptions().zone
    assert found.of_camera("side").zone == OTHER


share = st.integers(0, 10_000).map(lambda value: value / 10_000)
corners = st.lists(st.tuples(share, share), min_size=3, max_size=8).map(tuple)
names = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,31}", fullmatch=True).filter(lambda name: name != "road")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(drawn=st.dictionaries(names, corners, max_size=4), ahead=st.none() | corners, camera=st.just("") | names)
@example(drawn={}, ahead=None, camera="on")
@example(drawn={}, ahead=None, camera="7")
def test_any_zones_are_read_as_they_were_saved(
    tmp_path: Path, hangups: list[tuple[int, int]], drawn: dict[str, Any], ahead: Any, camera: str
) -> None:
    try:
        zones = CameraZones(zone=ahead, zones=drawn)
    except ValueError:
        return  # a line, or a point
    path = tmp_path / "zones.yaml"
    path.unlink(missing_ok=True)
    events = options(path, tracks={})
    saver(events)(camera, zones)
    own = ZoneView.of(with_saved(events), camera).own
    assert own == CameraZones(zone=ahead or EventOptions().zone, zones=drawn)


def test_places_without_tracks_are_refused_before_anything_is_written(
    tmp_path: Path, hangups: list[tuple[int, int]]
) -> None:
    events = options(tmp_path / "zones.yaml")
    with pytest.raises(ConfigError, match=r"events\.tracks"):
        saver(events)("", CameraZones(zones={"gate": OTHER}))
    assert (list(tmp_path.iterdir()), hangups) == ([], [])


def test_a_folder_that_is_not_there_is_named(tmp_path: Path, hangups: list[tuple[int, int]]) -> None:
    events = options(tmp_path / "none" / "zones.yaml")
    with pytest.raises(OutputError, match=r"events.zones_file: .*zones.yaml: cannot be written: No such file"):
        saver(events)("", CameraZones(zone=SQUARE))
    assert hangups == []


def test_a_config_is_loaded_with_its_saved_zones_and_a_damaged_file_is_named(tmp_path: Path) -> None:
    config, zones = tmp_path / "edge.yaml", tmp_path / "zones.yaml"
    config.write_text(f"camera: 0\nevents: {{zones_file: {zones}}}\n")
    assert (loaded := load_config(config, ServeConfig).events) is not None
    assert loaded.zone == EventOptions().zone
    zones.write_text("zone: [[0, 0.5], [1, 0.5], [1, 1]]\n")
    assert (loaded := load_config(config, ServeConfig).events) is not None
    assert loaded.zone == ((0, 0.5), (1, 0.5), (1, 1))
    zones.write_text("zone: [[0, 0.5]]\n")
    with pytest.raises(ConfigError, match=r"zones\.yaml"):
        load_config(config, ServeConfig)
