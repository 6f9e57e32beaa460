"""Every key of the service's config with every kind of wrong value: one line that names the key, and no secret."""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
import logging
import os
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from edge.config import load_yaml, parse_tree
from edge.driving import NAMES as IN_METRES
from edge.driving import LaneLimits, PersonLimits
from edge.engine import find_bundle
from edge.errors import ConfigError, EdgeError
from edge.events import EventOptions, Limits
from edge.gps import GpsOptions
from edge.ladder import LadderOptions
from edge.service.check import check
from edge.service.config import ServeConfig, ShadowOptions, SwapOptions, load_config
from edge.sinks.flight import FlightOptions
from edge.sinks.mqtt.options import MqttOptions, address_of
from edge.sinks.recorder import RecorderOptions
from edge.visits import VisitOptions
from edge.web.options import WebOptions, read_files, read_token

PASSWORD = "hunter2-SECRET"

# As they stand in a file: what JSON does not have is written as YAML has it.
WRONG = {
    "null": "null",
    "true": "true",
    "negative": "-1",
    "zero": "0",
    "fraction": "0.3",
    "huge": "1e300",
    "beyond a float": "1e999",
    "nan": ".nan",
    "inf": ".inf",
    "5,000 digits": "9" * 5000,
    "empty": '""',
    "blank": '"  "',
    "NUL": r'"a\0b"',
    "control": r'"a\e[2Jb"',
    "line break": r'"a\nb"',
    "unknown home": '"~unknown-user/x"',
    "unset variable": '"$EDGE_UNSET_HERE/x"',
    "list": '["a", "b"]',
    "empty list": "[]",
    "list of a secret": f'["rtsp://u:{PASSWORD}@cam/1"]',
    "empty mapping": "{}",
    "mapping": f'{{"password": "{PASSWORD}"}}',
    "deep": "[" * 60 + "]" * 60,
    "long name": '"' + "x" * 300 + '"',
    "long": '"' + "x" * 5000 + '"',
    "URL": f'"rtsp://u:{PASSWORD}@cam.invalid/1?size=1x1"',
    "pipeline": f'"gst:rtspsrc location=rtsp://cam user-id=u user-pw={PASSWORD} ! nothing"',
    "CSI": f'"csi:0?token={PASSWORD}"',
}
BASE: dict[str, Any] = {"camera": "scene:street?seed=1&frames=9&size=160x120&fps=20", "web": {"port": 0}}
SECTIONS: dict[str, tuple[type, dict[str, Any]]] = {
    "ladder": (LadderOptions, {}),
    "events": (EventOptions, {}),
    "events.tracks": (VisitOptions, {}),
    "events.road_gone": (Limits, {"begin": 0.5, "end": 0.2}),
    "events.out_of_domain": (Limits, {"begin": 0.5, "end": 0.2}),
    "events.person_soon": (PersonLimits, {"begin": 0.1, "end": 150.0}),
    "events.lane_departure": (LaneLimits, {"begin": -2.0, "end": 2.5}),
    "gps": (GpsOptions, {}),
    "mqtt": (MqttOptions, {"url": "mqtt://127.0.0.1", "topic": "edge/car"}),
    "recorder": (RecorderOptions, {"folder": "/srv/recordings"}),
    "flight": (FlightOptions, {"folder": "/srv/flight"}),
    "web": (WebOptions, {"port": 0}),
    "shadow": (ShadowOptions, {"engine": "road"}),
    "swap": (SwapOptions, {}),
    "cameras": (ServeConfig, {}),
    "sinks": (ServeConfig, {}),
    "sinks.results": (ServeConfig, {}),
}
# What looks wrong and may be meant. `.nan` is a text here, and a file or topic may be called so.
NUMBER, NAME, UNSET = {"fraction"}, {"nan", "inf"}, {"null"}
MEANT: dict[str, set[str]] = {
    "camera": {*NAME, "URL", "zero"},
    "cameras": {"mapping"},  # a camera named password
    "cameras.front": {*NAME, "URL", "zero"},
    "confidence": {"true"},
    "loop": {"true"},
    "instances": {"true"},
    "markings": {"true"},
    "geometry": UNSET,
    "geometries": {"empty mapping"},
    "steady": {"true", "null"},
    "gps": {"empty mapping", *UNSET},
    "gps.host": NAME,
    "gps.device": {"URL", "CSI", "pipeline", *UNSET},  # gpsd has receivers on the network, too
    "events.out_of_domain.begin": NUMBER,
    "events.road_gone.begin": NUMBER,
    "events.pedestrian_ahead": UNSET,
    "events.tracks": UNSET,
    "events.tracks.road": {"true"},
    "events.tracks.zones": {"empty mapping"},
    "events.tracks.hold_s": {*NUMBER, "zero"},
    "events.cameras": {"empty mapping"},
    "events.zones_file": {*NAME, *UNSET},
    "flight.cooldown_s": {*NUMBER, "zero"},
    "flight.deadline_ms": {*NUMBER, *UNSET},
    "flight.folder": NAME,
    "mqtt.events_file": {*NAME, *UNSET},
    "mqtt.topic": {*NAME, "unknown home", "CSI"},
    "publish": {"empty list", "list of a secret"},
    "recorder.folder": NAME,
    "recorder.overlay": {"true"},
    "recorder.legend": {"true"},
    "recorder.classes": {"empty list"},
    "recorder.alpha": {*NUMBER, *UNSET, "zero"},
    "shadow": UNSET,
    "shadow.precision": UNSET,
    "shadow.worst": NUMBER,
    "swap": {"empty mapping"},
    **{f"swap.{key}": NUMBER for key in ("trial_s", "disagreement", "unlike")},
    "control": {*NAME, *UNSET},
    "sinks": {"empty mapping"},
    "trusted_keys": UNSET,
    "sinks.masks": NAME,
    "sinks.results": NAME,
    "sinks.results.path": NAME,
    "socket": {*NAME, *UNSET},
    "web": {"empty mapping", *UNSET},
    "web.names": {"list", "empty list"},
    "web.port": {"zero"},
    **{key: {"empty mapping", *UNSET} for key in ("events", "ladder")},
    **{f"events.{name}": UNSET for name in ("road_gone", "out_of_domain", "pedestrian_ahead", *IN_METRES)},
    **{f"events.{name}.{key}": NUMBER for name in IN_METRES for key in ("begin", "end")},
    **{f"events.lane_departure.{key}": {*NUMBER, "zero", "negative"} for key in ("begin", "end", "lens_right_m")},
    **{f"events.{name}.hold_s": {*NUMBER, "zero"} for name in IN_METRES},
    **{f"events.{name}.end": {*NUMBER, "zero"} for name in ("road_gone", "out_of_domain")},
    **{f"events.{name}.hold_s": {*NUMBER, "zero"} for name in ("road_gone", "out_of_domain")},
    **dict.fromkeys(("trusted_keys", "precision", "backend", "threads", "mqtt", "recorder", "flight"), UNSET),
    **{f"web.{key}": UNSET for key in ("token_file", "certificate_file", "key_file")},
    **{f"mqtt.{key}": UNSET for key in ("credentials_file", "ca_file")},
    **dict.fromkeys(("ladder.deadline_ms", "web.ready_within_s", "recorder.quota_gb", "recorder.segment_s"), NUMBER),
    **{f"flight.{key}": NUMBER for key in ("seconds", "memory_mb", "quota_gb")},
}


def names_of(model: type) -> list[str]:
    if issubclass(model, BaseModel):
        return list(model.model_fields)
    return [field.name for field in dataclasses.fields(model)]


def keys() -> Iterator[str]:
    yield from names_of(ServeConfig)
    for section, (model, _) in SECTIONS.items():
        if model is not ServeConfig:
            yield from (f"{section}.{name}" for name in names_of(model))
    yield from ("cameras.front", "sinks.results", "sinks.masks", "sinks.results.path")


def text_with(key: str, value: str) -> str:
    """A config in which all is in order but that value."""
    tree = copy.deepcopy(BASE)
    *sections, name = key.split(".")
    if "cameras" in (*sections, name):
        del tree["camera"]
    if key == "web":
        tree["events"] = {}
    if key.startswith(tuple(f"events.{name}." for name in IN_METRES)):
        tree |= {"geometry": {"height_m": 1.3, "hfov_deg": 60}, "gps": {}}
    tree["instances"] = key.startswith("events.tracks.")
    node = tree
    for depth, section in enumerate(sections, 1):
        node = node.setdefault(section, copy.deepcopy(SECTIONS[".".join(sections[:depth])][1]))
    node[name] = "@value@"
    return json.dumps(tree).replace('"@value@"', value)


_find_bundle = functools.cache(find_bundle)


@pytest.fixture(autouse=True)
def _bundles_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.service.config.find_bundle", _find_bundle)


@pytest.mark.parametrize("key", list(keys()))
def test_a_wrong_value_is_refused_in_lines_that_name_its_key_and_no_secret(key: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    for kind, value in WRONG.items():
        path.write_text(text_with(key, value), encoding="utf-8")
        try:
            check(load_yaml(path, ServeConfig))
        except EdgeError as error:
            message = str(error).replace(str(path), "")
            first, *others = message.split("\n  ")
            lines = others or [first]
            told = f"{key}: {kind}: {message}"
            assert all(key in line or key.split(".")[-1] in line for line in lines), told
            # Only of a value that is a structure may several things be wrong.
            assert len(lines) == 1 or value[0] in "[{", told
            assert all(line.isprintable() and len(line) < 500 for line in (first, *others)), told
            assert PASSWORD not in message, told
        else:
            assert kind in MEANT.get(key, ()), f"{key}: {kind}: accepted in silence"


def test_every_key_of_the_shipped_config_is_known_to_this_test() -> None:
    shipped = Path(__file__).parents[2] / "systemd" / "edge.yaml"
    plain = "\n".join(
        line[1:] if line[:1] == "#" and line[1:2] != " " else line for line in shipped.read_text().splitlines()
    )
    found = yaml.safe_load(plain.replace("\n  #", "\n  "))
    nested = {f"{section}.{key}" for section, value in found.items() if isinstance(value, dict) for key in value}
    assert {*found, *(key for key in nested if not key.startswith(("cameras.", "geometries.")))} <= set(keys())


@pytest.mark.parametrize(
    "zone", [[[0.5, 0.5]] * 3, [[0, 0], [0.5, 0.5], [1, 1]], [[0, 0.3], [1, 0.3], [0.5, 0.3], [0.2, 0.3]]]
)
def test_a_zone_that_holds_no_pixel_is_refused(zone: list[list[float]]) -> None:
    with pytest.raises(ConfigError, match=r"events\.zone: the zone holds no pixel"):
        parse_tree({**BASE, "events": {"zone": zone}}, ServeConfig, "here")


def test_a_share_above_one_begins_no_event_and_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"events\.road_gone: begin is a share, expected at most 1, got 4"):
        parse_tree({**BASE, "events": {"road_gone": {"begin": 4.0, "end": 0.1}}}, ServeConfig, "here")


@pytest.mark.parametrize(
    "text",
    [
        f"cameras: {{'rtsp://u:{PASSWORD}@cam/1': front}}\nweb: {{}}",
        f"camera: x\nsinks: {{'rtmp://h/app/{PASSWORD}': x}}",
        f"camera: x\nsinks: {{results: {{'rtsp://u:{PASSWORD}@h/x': 1}}}}",
        f"camera: x\nmqtt: {{url: 'mqtts://user:{PASSWORD}', topic: t}}",
    ],
)
def test_an_address_in_the_place_of_a_key_or_port_is_refused_without_its_secret(text: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        check(load_yaml(tmp_path / "c.yaml", ServeConfig))
    assert PASSWORD not in str(caught.value)


def test_a_config_that_every_user_may_change_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "edge.yaml"
    path.write_text(json.dumps(BASE))
    for mode, warned in ((0o640, False), (0o646, True)):
        path.chmod(mode)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            load_config(path, ServeConfig)
        assert (f"may change it. Run: chmod o-w {path}" in caplog.text) is warned


def test_saved_zones_that_every_user_may_change_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    zones, path = tmp_path / "zones.json", tmp_path / "edge.yaml"
    path.write_text(json.dumps({**BASE, "events": {"zones_file": str(zones)}}))
    path.chmod(0o600)
    zones.write_text("{}")
    zones.chmod(0o666)
    with caplog.at_level(logging.WARNING):
        load_config(path, ServeConfig)
    assert f"{zones}: every user of this machine may change it" in caplog.text


@pytest.mark.parametrize(("mode", "is_open"), [(0o755, False), (0o777, True), (0o1777, False)])
def test_a_folder_in_which_every_user_may_replace_a_config_or_token_is_told(
    mode: int, tmp_path: Path, caplog: pytest.LogCaptureFixture, *, is_open: bool
) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    config, token = folder / "edge.yaml", folder / "token"
    config.write_text(json.dumps(BASE))
    token.write_text("a" * 40 + "\n")
    token.chmod(0o600)
    link = tmp_path / "link"
    link.symlink_to(token)
    folder.chmod(mode)
    with caplog.at_level(logging.WARNING):
        load_config(config, ServeConfig)
    assert (f"edge.yaml: every user of this machine may replace it. Run: chmod o-w {folder}" in caplog.text) is is_open
    for path in (token, link):
        with pytest.raises(ConfigError, match=f"may replace it. Run: chmod o-w {folder}") if is_open else nullcontext():
            read_token(path)


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o606])
def test_a_file_with_a_secret_that_every_user_may_read_or_change_is_refused(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("correct-horse-battery-staple\nanother-line\n")
    path.chmod(mode)
    certificate = tmp_path / "web.crt"
    certificate.touch()
    for key, read in (
        ("web.key_file", lambda: read_files(WebOptions(certificate_file=str(certificate), key_file=str(path)))),
        ("web.token_file", lambda: read_files(WebOptions(token_file=str(path)))),
        ("mqtt.credentials_file", lambda: address_of(MqttOptions("mqtt://127.0.0.1", "edge", str(path)))),
    ):
        with pytest.raises(ConfigError, match=rf"{key}: .*every user .* Run: chmod o-rwx {path}"):
            read()


@pytest.mark.parametrize(
    ("key", "options"),
    [
        ("web.token_file", {"web": {"token_file": "@pipe"}}),
        ("web.key_file", {"web": {"certificate_file": "@file", "key_file": "@pipe"}}),
        ("web.certificate_file", {"web": {"certificate_file": "@pipe", "key_file": "@file"}}),
        ("mqtt.credentials_file", {"mqtt": {"url": "mqtt://127.0.0.1", "topic": "edge", "credentials_file": "@pipe"}}),
        ("mqtt.ca_file", {"mqtt": {"url": "mqtts://broker.invalid", "topic": "edge", "ca_file": "@pipe"}}),
    ],
)
def test_a_pipe_in_place_of_a_file_is_refused_and_not_waited_for(
    key: str, options: dict[str, Any], tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "file").touch(0o600)
    text = json.dumps({**BASE, **options}).replace("@", f"{tmp_path}/")
    with pytest.raises(ConfigError, match=rf"{key}: .*pipe.*: expected a file, got a pipe"):
        check(parse_tree(json.loads(text), ServeConfig, "here"))


@pytest.mark.parametrize("target", ["clip.mkv", "engine/card.json"])
def test_an_output_over_the_recording_that_is_played_or_over_the_engine_is_refused(tmp_path: Path, target: str) -> None:
    (tmp_path / "engine").symlink_to(find_bundle("road").folder)
    (tmp_path / "clip.mkv").write_bytes(b"frames")
    tree = {"camera": str(tmp_path / "clip.mkv"), "engine": str(tmp_path / "engine"), "loop": True}
    config = parse_tree({**tree, "sinks": {"results": str(tmp_path / target)}}, ServeConfig, "here")
    with pytest.raises(ConfigError, match=r"sinks\.results: .* would be lost"):
        check(config)
