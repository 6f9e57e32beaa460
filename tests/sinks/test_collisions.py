"""Nothing that is read is overwritten, by whatever name it goes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

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


def test_a_folder_that_is_made_anew_holds_nothing_that_is_read(home: Path) -> None:
    check_replaced(home / "rec", [home / "drive.mp4", None])
    for path in (home / "frames" / "7.png", home / "also" / "7.png", home / "frames"):
        with pytest.raises(OutputError, match="would be lost"):
            check_replaced(home / "frames", [path])
