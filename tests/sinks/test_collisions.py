"""Nothing that is read is overwritten, by whatever name it goes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from edge.cli import make_app
from edge.engine import Bundle
from edge.errors import OutputError
from edge.sinks.collisions import check_outputs, check_replaced


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with sources of each kind in it."""
    monkeypatch.chdir(tmp_path)
    for name in ("drive.mp4", "drive.times.csv", "frames/7.png", "frames/8.jpg", "rec/0.mcap", "base.json"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    (tmp_path / "link.mp4").symlink_to("drive.mp4")
    os.link(tmp_path / "drive.mp4", tmp_path / "hard.mp4")
    (tmp_path / "also").symlink_to("frames")
    return tmp_path


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("drive.mp4", "drive.mp4"),
        ("drive.mp4", "frames/../drive.mp4"),
        ("drive.mp4", "link.mp4"),
        ("link.mp4", "drive.mp4"),
        ("drive.mp4", "hard.mp4"),
        ("drive.mp4", "drive.times.csv"),  # is read beside it
        ("frames", "frames"),
        ("frames", "also"),
        ("also", "frames"),
        ("frames", "frames/7.png"),
        ("frames/*.png", "frames"),
        ("frames/*.png", "frames/7.png"),
        ("frames/7.png", "frames"),
        ("rec", "rec/0.mcap"),
        ("rec/0.mcap?topic=/camera", "rec/0.mcap"),
        ("drive.mp4#stream=1", "drive.mp4"),
    ],
)
def test_an_output_that_is_read_is_refused(home: Path, source: str, output: str) -> None:
    with pytest.raises(OutputError, match="would be lost"):
        check_outputs([None, Path(output)], [None, source])
    with pytest.raises(OutputError, match="would be lost"):
        check_outputs([home / output], [source])


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("drive.mp4", "other.mp4"),
        ("drive.mp4", "frames"),
        ("frames", "masks"),
        ("frames", "frames/masks"),
        ("frames", "frames/results.jsonl"),
        ("frames/7.png", "frames/8.jpg"),
        ("scene:street?seed=1", "drive.mp4"),
        ("0", "drive.mp4"),
        ("#", "drive.mp4"),
        ("drive.mp4", "-"),
        ("frames\0", "drive.mp4"),
    ],
)
def test_an_output_that_is_not_read_is_taken(home: Path, source: str, output: str) -> None:
    check_outputs([Path(output)], [source])


def test_what_a_killed_run_left_half_written_can_be_read_and_is_not_begun_anew(home: Path) -> None:
    (home / ".out.mp4.part").touch()
    with pytest.raises(OutputError, match="would be lost"):
        check_outputs([Path("out.mp4")], [".out.mp4.part"])


@pytest.mark.parametrize(("one", "other"), [("a", "a"), ("a", "frames/../a"), ("-", "/dev/stdout"), ("base.json",) * 2])
def test_two_outputs_of_one_name_are_refused(home: Path, one: str, other: str) -> None:
    with pytest.raises(OutputError, match="is named for two outputs"):
        check_outputs([Path(one), Path(other)], [])


@pytest.mark.parametrize("name", ["rtsp://me:hunter2@10.0.0.7/live", "http://h/masks.jsonl", "mqtt://h/edge"])
def test_an_address_is_no_file_and_no_folder_is_made_of_it(home: Path, name: str) -> None:
    with pytest.raises(OutputError, match=r"://.* is an address, expected a file or folder.*--publish") as caught:
        check_outputs([Path(name)], [])
    assert "hunter2" not in str(caught.value)
    (home / "odd:").mkdir()
    check_outputs([Path("odd:/out.mp4"), Path("2026-12-01T10:00:00/out.mp4")], [])


def test_a_folder_that_is_made_anew_holds_nothing_that_is_read(home: Path) -> None:
    check_replaced(home / "rec", [home / "drive.mp4", None])
    for path in (home / "frames" / "7.png", home / "also" / "7.png", home / "frames"):
        with pytest.raises(OutputError, match="would be lost"):
            check_replaced(home / "frames", [path])


@pytest.mark.parametrize("name", ["card.json", "model.onnx", "card.sig"])
def test_a_file_of_the_engine_is_no_output(colour_bundle: Bundle, tmp_path: Path, name: str) -> None:
    (folder := tmp_path / "engine").symlink_to(colour_bundle.folder)
    for engine in (folder, folder / "card.json", str(folder)):
        if (folder / name).exists():
            with pytest.raises(OutputError, match="would be lost"):
                check_outputs([colour_bundle.folder / name], [], [engine])
        check_outputs([tmp_path / name], ["0"], [engine, None, "road", "unknown"])


# Commands with a file that they read in place of FILE, or an engine in place of BUNDLE.
_READING = (
    "run FILE",
    "run 0 --camera-model FILE",
    "run 0 --engine BUNDLE",
    "record FILE drive.mcap",
    "record 0 drive.mcap --camera-model FILE",
    "record 0 drive.mcap --engine BUNDLE",
    "replay FILE --fast",
    "replay drive.mp4 --fast --engine BUNDLE",
    "replay drive.mp4 --fast --diff BUNDLE:f32",
    "evaluate FILE",
    "evaluate drive.mp4 --baseline FILE",
    "evaluate drive.mp4 --camera-model FILE",
    "evaluate drive.mp4 --engine BUNDLE",
    "evaluate drive.mp4 --against BUNDLE:fp32",
    "camera calibrate FILE",
    "camera calibrate drive.mp4 --lens FILE",
    "camera calibrate drive.mp4 --engine BUNDLE",
    "inspect BUNDLE",
    "plan BUNDLE",
    "bench --source FILE",
    "bench --engine BUNDLE",
    "train FILE",
    "adapt BUNDLE drive.mp4 --to new",
    "adapt road FILE --to new",
    "adapt road drive.mp4 --to new --recipe FILE",
    "adapt road drive.mp4 --to new --teacher FILE?0=Road",
    "adapt road drive.mp4 --to new --teacher BUNDLE",
    "calibrate select city FILE",
    "calibrate run FILE",
    "calibrate run --onnx FILE",
    "calibrate run --torch a:b --weights FILE",
    "build FILE",
    "build a.yaml --run FILE",
    "build --onnx a.onnx --card FILE",
    "data check FILE",
)
_CAMERA = "geometry: {height_m: 1.4, hfov_deg: 60}\n"


@pytest.mark.parametrize("words", _READING)
def test_no_command_writes_its_figures_over_what_it_reads(home: Path, colour_bundle: Bundle, words: str) -> None:
    file = home / "drive.mp4" if "FILE" not in words else home / "read.mp4"
    file.write_text(_CAMERA)
    json_file = colour_bundle.folder / "card.json" if "BUNDLE" in words else file
    before = json_file.read_bytes()
    typed = words.replace("FILE", str(file)).replace("BUNDLE", str(colour_bundle.folder)).split()
    with pytest.raises(OutputError, match="would be lost"):
        make_app(typed)([*typed, "--json", str(json_file)], standalone_mode=False)
    assert json_file.read_bytes() == before


def test_every_command_that_writes_figures_is_tried_on_what_it_reads() -> None:
    tried = {
        " ".join(words.split()[: 2 if words.startswith(("camera", "data", "calibrate")) else 1]) for words in _READING
    }
    assert tried | {"doctor"} == set(_commands_with_json(typer.main.get_command(make_app()), ""))


def _commands_with_json(command: Any, name: str) -> Iterator[str]:
    if any("--json" in parameter.opts for parameter in command.params):
        yield name.strip()
    for inner, child in getattr(command, "commands", {}).items():
        yield from _commands_with_json(child, f"{name} {inner}")
