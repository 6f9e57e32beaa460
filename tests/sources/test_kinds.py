"""The table of sources, and rows that other packages add."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from drives import write_drive
from videos import picture, write_video

from edge.errors import ConfigError, SourceNotFound
from edge.sources import kinds
from edge.sources.kinds import BUILTIN, kind_of
from edge.sources.open import check_name, is_camera, open_live, open_source
from edge.sources.seek import open_recording

sys.path.insert(0, str(Path(__file__).parents[1] / "drive"))

from test_bags import ROS1, plain, write_bag

PLUGIN = Path(__file__).parent / "plugin"


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PLUGIN))


@pytest.mark.parametrize("kind", BUILTIN, ids=lambda kind: kind.name)
def test_the_example_of_each_kind_is_of_that_kind(kind: kinds.SourceKind) -> None:
    assert kind_of(kind.example) is kind
    assert is_camera(kind.example) == kind.live


def test_every_recording_may_be_closed_twice(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", 2)
    cv2.imwrite(str(tmp_path / "a.png"), picture(0))
    write_drive(tmp_path / "a.mcap", 2)
    write_bag(tmp_path / "a.bag", {"/image": [plain(ROS1, 0)]})
    for name in ("a.mp4", "a.png", "a.mcap", "a.bag"):
        for opened in (open_source, open_recording):
            with opened(str(tmp_path / name)) as source:
                next(iter(source))
                source.close()


@pytest.mark.usefixtures("plugin")
def test_a_source_of_another_package_is_opened_by_its_scheme() -> None:
    with open_source("counter:3") as source:
        assert [int(frame.image[0, 0, 0]) for frame in source] == [0, 1, 2]
    assert source.is_closed  # type: ignore[attr-defined]
    check_name("counter:3")
    with pytest.raises(ConfigError, match="counter:x: expected a number"):
        check_name("counter:x")
    with pytest.raises(ConfigError, match="counter:3: expected a camera"):
        open_live("counter:3")


@pytest.mark.usefixtures("plugin")
def test_a_source_that_lacks_its_library_says_what_to_install() -> None:
    with pytest.raises(ConfigError, match=r"needs the library no_such_library. Try: .*pip install their-package"):
        open_source("lacking:1")


@pytest.mark.usefixtures("plugin")
def test_a_source_that_cannot_be_loaded_is_named() -> None:
    with pytest.raises(ConfigError, match=r"source 'broken' of edge-counter: cannot be loaded: AttributeError"):
        open_source("broken:1")


@pytest.mark.usefixtures("plugin")
def test_a_file_that_is_there_wins_over_a_scheme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("counter:3").write_text("")
    assert kind_of("counter:3").name == "video"


def test_names_of_our_own_kinds_look_for_no_other_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinds, "_plugins", lambda: pytest.fail("looked for other packages"))
    for kind in BUILTIN:
        kind_of(kind.example)
    with pytest.raises(SourceNotFound):
        open_source("nothing/there.mp4")


@pytest.mark.slow
def test_the_command_line_takes_a_source_of_another_package(tmp_path: Path) -> None:
    results = tmp_path / "r.jsonl"
    path = os.pathsep.join([str(PLUGIN), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "edge.cli", "run", "counter:4", "--results", str(results), "-q"]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, check=True, timeout=120)
    assert [json.loads(line)["frame"] for line in results.read_text().splitlines()] == [0, 1, 2, 3]
