"""Sinks by name: those of edge, and those that another package adds."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from bundles import Edge, MakeCard
from stand_in import BrightnessEngine, result_of
from videos import picture, write_video

from edge.config import parse_tree
from edge.engine import Bundle
from edge.errors import ConfigError
from edge.service.check import check
from edge.service.config import ServeConfig
from edge.service.outputs import Outputs, rows_of, sinks_of
from edge.sinks.flight import FlightOptions
from edge.sinks.mqtt import MqttOptions
from edge.sinks.recorder import RecorderOptions
from edge.sinks.table import SinkContext, find_kind, make_sink, options_of
from edge.timing import Stages
from edge.web.options import WebOptions
from edge.web.state import Live

PACKAGE = Path(__file__).parent / "third_party"


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other package, as if it were installed."""
    monkeypatch.syspath_prepend(str(PACKAGE))


@pytest.fixture
def context(make_card: MakeCard) -> SinkContext:
    return SinkContext("drive.mp4", 10.0, make_card(b"graph"), Stages())


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize("separator", [None, ";"])
def test_a_sink_of_another_package_takes_results(separator: str | None, context: SinkContext, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    options = str(path) if separator is None else {"path": str(path), "separator": separator}
    with make_sink("csv", options, context) as sink:
        sink.write(result_of(3, np.zeros((12, 16), np.uint8), image=picture(0)), 0)
    head, line = path.read_text().splitlines()
    assert head.split(separator or ",") == ["frame", *context.card.table.names]
    assert line.split(separator or ",")[0] == "3"


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        (
            "scv",
            "a",
            "no sink is called 'scv'; there are: broken, csv, flight, foxglove, masks, mqtt, .*recorder, results",
        ),
        ("csv", {"pth": "a"}, "sink 'csv': no option 'pth'; there are: path, separator"),
        ("csv", {"separator": ";"}, "sink 'csv': .*missing.*'path'"),
        ("needy", "a", r"needs the library no_such_module. Try: .*pip install 'edge-needy\[all\]'"),
        ("broken", "a", "sink 'broken': edge_csv:absent cannot be loaded"),
        ("odd", "a", "sink 'odd': expected edge_csv:Options to be a SinkKind"),
        ("overlay", {"path": "a.mp4", "style": "blur"}, "style: expected one of tint, outline, mask, side-by-side"),
        ("overlay", {"path": "a.mp4", "classes": ["dog"]}, "classes: no group or class is called 'dog'"),
        ("masks", {"folder": "m", "form": "grey"}, "masks: expected one of ids, palette, colour, got 'grey'"),
    ],
)
def test_what_cannot_be_made_is_one_line(name: str, options: Any, words: str, context: SinkContext) -> None:
    with pytest.raises(ConfigError, match=words):
        make_sink(name, options, context)


def test_the_sinks_of_edge_are_found_without_looking_at_other_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.entry_points", None)
    assert [find_kind(name).name for name in ("overlay", "masks", "results")] == ["overlay", "masks", "results"]


@pytest.mark.slow
def test_the_command_line_takes_it(colour_bundle: Bundle, tmp_path: Path) -> None:
    words = ["run", "scene:street?frames=2&size=320x180", "-e", str(colour_bundle.folder), "-q"]
    command = [sys.executable, "-m", "edge.cli", *words, "--sink", f"csv={tmp_path / 'a.csv'}"]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": str(PACKAGE)}, check=True, timeout=120)
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 3


@pytest.mark.usefixtures("package")
def test_the_service_and_its_publisher_take_it(make_card: MakeCard, tmp_path: Path) -> None:
    config = ServeConfig(camera="0", sinks={"csv": {"path": str(tmp_path / "a.csv")}})
    outputs = Outputs(config, "", make_card(b"graph"), None, Live(BrightnessEngine(make_card), "0", dict), Stages())
    (background,) = outputs.backgrounds
    with background:
        background.write(result_of(0, np.zeros((12, 16), np.uint8), image=picture(0)), 0)
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 2


SEVERAL = {"front": "0", "rear": "1"}


@pytest.mark.parametrize(
    ("given", "rear"),
    [
        ("/data/{camera}.jsonl", "/data/rear.jsonl"),
        ({"path": "/data/{camera}.jsonl"}, {"path": "/data/rear.jsonl"}),
        ({"path": {"front": "/a", "rear": "/b"}, "form": "ids"}, {"path": "/b", "form": "ids"}),
    ],
)
def test_each_of_several_cameras_has_sinks_of_its_own(given: Any, rear: Any) -> None:
    config = ServeConfig(cameras=SEVERAL, sinks={"results": given})
    assert sinks_of(config, "rear") == {"results": rear}


def test_the_sinks_of_an_only_camera_are_as_they_are_written() -> None:
    given: dict[str, Any] = {"csv": {"path": "{camera}", "columns": {"a": 1}}}
    assert sinks_of(ServeConfig(camera="0", sinks=given), "") == given


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("/data/results.jsonl", "sinks.results: several cameras would share it. Write {camera}"),
        ({"path": "/data/a"}, "sinks.results: several cameras would share it"),
        ({"path": {"front": "/a"}}, "sinks.results.path: expected a value for each camera, got none for rear"),
    ],
)
def test_a_sink_that_several_cameras_would_share_is_refused(given: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        check(ServeConfig(cameras=SEVERAL, sinks={"results": given}))


@pytest.mark.slow
def test_the_service_gives_each_camera_and_each_start_its_own_results(make_card: MakeCard, tmp_path: Path) -> None:
    config = ServeConfig(cameras=SEVERAL, sinks={"results": str(tmp_path / "{camera}.jsonl")})
    for camera in 2 * list(SEVERAL):
        live = Live(BrightnessEngine(make_card), camera, dict)
        outputs = Outputs(config, camera, make_card(b"graph"), None, live, Stages())
        (background,) = outputs.backgrounds
        with background:
            background.write(result_of(0, np.zeros((12, 16), np.uint8), image=picture(0)), 0)
    assert sorted(path.name.partition("-")[0] for path in tmp_path.iterdir()) == ["front", "front", "rear", "rear"]
    assert all(path.read_text().count("\n") == 1 for path in tmp_path.iterdir())


@pytest.mark.usefixtures("package")
def test_a_service_refuses_a_sink_whose_library_is_missing_before_it_lets_go_of_anything() -> None:
    with pytest.raises(ConfigError, match=r"sinks\.needy: sink 'needy' needs the library no_such_module"):
        check(ServeConfig(camera="0", sinks={"needy": "a"}))


# ------------------------------------------------------------------------------------- what a service's sections name


def test_the_sections_of_a_config_are_rows_in_the_order_of_the_page(tmp_path: Path) -> None:
    socket = str(tmp_path / "results.sock")
    config = ServeConfig(camera="0", web=WebOptions(), socket=socket, publish=["rtsp://h/a", "rtsp://h/b"])
    rows = [(row.label, row.key, row.kind.name) for row in rows_of(config, "")]
    assert rows == [
        ("web", "web", "web"),
        ("socket", "socket", "socket"),
        ("publish-1", "publish", "publish"),
        ("publish-2", "publish", "publish"),
    ]


@pytest.mark.parametrize("name", ["web", "socket"])
def test_the_page_and_the_socket_are_a_services_sections_and_no_sinks_by_name(name: str) -> None:
    with pytest.raises(ConfigError, match=f"sinks.{name}: no sink is called '{name}'"):
        check(ServeConfig(camera="0", sinks={name: "a"}))


@pytest.mark.parametrize(
    ("name", "given", "options"),
    [
        ("mqtt", "mqtt://127.0.0.1:1/edge/car", MqttOptions("mqtt://127.0.0.1:1", "edge/car")),
        ("recorder", "out", RecorderOptions("out")),
        ("recorder", {"folder": "out", "quota_gb": 1}, RecorderOptions("out", quota_gb=1.0)),
        ("flight", {"folder": "out", "seconds": 5}, FlightOptions("out", seconds=5.0)),
    ],
)
def test_a_services_outputs_are_rows_of_the_table(name: str, given: Any, options: object) -> None:
    assert options_of(find_kind(name), given) == options


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("mqtt", {"url": "mqtt://u:SECRET@127.0.0.1"}, "sink 'mqtt': topic: Field required"),
        (
            "recorder",
            {"folder": "out", "quota_gb": "SECRET"},
            "sink 'recorder': quota_gb: Input should be a valid number",
        ),
        ("flight", {"folder": "out", "seconds": -1}, "sink 'flight': seconds: Input should be greater than 0"),
    ],
)
def test_options_of_theirs_are_checked_as_in_a_config_file(name: str, given: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        options_of(find_kind(name), given)
    assert "SECRET" not in str(caught.value)


def test_the_command_line_takes_a_recorder(edge_here: Edge, colour_bundle: Bundle, tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4")
    done = edge_here("run", video, "-e", colour_bundle.folder, "--sink", f"recorder={tmp_path / 'kept'}")
    assert done.returncode == 0, done.stderr
    (segment,) = (tmp_path / "kept").glob("*.mp4")
    with av.open(str(segment)) as file:
        assert len(list(file.decode(video=0))) == 12


def test_a_service_names_a_kind_once(tmp_path: Path) -> None:
    part = {"folder": str(tmp_path)}
    settings = {"camera": "/dev/video0", "recorder": part, "sinks": {"recorder": part}}
    with pytest.raises(ConfigError, match=r"sinks\.recorder: `recorder:` names one already"):
        check(parse_tree(settings, ServeConfig, "a test"))
