"""`edge evaluate` as a person types it, in this process."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import cv2
import pytest
from drives_made import FRAMES, make_drive
from videos import cut, noise, write_video

from edge.cli import make_app
from edge.engine import Bundle
from edge.errors import ConfigError, OutputError, SourceDamaged, SourceError
from edge.train.guess import guess_data
from edge.train.layouts import find_pairs
from edge.train.recipe import Folder


@pytest.fixture
def words(tmp_path: Path, colour_bundle: Bundle) -> list[str]:
    """A manifest of two drives, and the engine."""
    a, b = make_drive(tmp_path, "a"), make_drive(tmp_path, "b", ())
    manifest = tmp_path / "drives.yaml"
    manifest.write_text(
        f"drives:\n  - {{frames: {a.frames}, labels: {a.labels}, sparse_labels: true, name: a,"
        f" tags: {{time_of_day: dusk}}}}\n"
        f"  - {{frames: {b.frames}, name: b, tags: {{time_of_day: day}}}}\n"
    )
    return ["evaluate", str(manifest), "-e", str(colour_bundle.folder)]


def edge(*words: object) -> int:
    return make_app()([str(word) for word in words], standalone_mode=False) or 0


def test_a_report_is_told_and_written_in_every_form(
    words: list[str], tmp_path: Path, colour_bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    files = {kind: tmp_path / f"report.{kind}" for kind in ("json", "parquet", "html")}
    options = [option for kind, path in files.items() for option in (f"--{kind}", path)]
    assert edge(*words, *options, "--against", colour_bundle.folder) == 0
    said = capsys.readouterr().out
    for part in ("boundary F1", "by time of day", "dusk", "flicker", "100.00% of all pixels", f"{FRAMES} of {FRAMES}"):
        assert part in said
    report = json.loads(files["json"].read_text())
    assert (report["frame_count"], report["labelled_frames"]) == (2 * FRAMES, 4)
    rows = parquet.read_table(files["parquet"])
    assert rows.num_rows == 2 * FRAMES
    assert rows.column("labelled").to_pylist().count(True) == 4
    page = files["html"].read_text()
    assert not re.search(r"""(src|href)=["'](?!data:)""", page)
    assert page.count("<figure") == 3  # of four labelled frames, 3 and 4 are neighbours
    assert page.count('class="strip"') == 2


def test_the_gate_opens_for_equals_and_shuts_for_worse(words: list[str], tmp_path: Path) -> None:
    before = tmp_path / "before.json"
    assert edge(*words, "--json", before) == 0
    assert edge(*words, "--baseline", before, "--max-drop", "miou:0") == 0
    better = json.loads(before.read_text())
    better["miou"] += 0.02
    before.write_text(json.dumps(better))
    assert edge(*words, "--baseline", before, "--max-drop", "miou:1.9") == 3
    assert edge(*words, "--baseline", before, "--max-drop", "miou:2.1") == 0


def test_a_torn_drive_fails_behind_its_report_unless_it_may(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torn = cut(write_video(tmp_path / "whole.mkv", [noise(i) for i in range(FRAMES)]), 0.6)
    with pytest.raises(SourceDamaged, match=r"1 of 1 drives not whole"):
        edge("evaluate", torn, *words[2:])
    assert "NOT WHOLE" in capsys.readouterr().out
    assert edge("evaluate", torn, *words[2:], "--allow-damaged") == 0


def test_a_drive_that_is_not_there_is_named_and_the_others_reported(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SourceError, match=r"gone\.mp4.*1 of 2 drives failed"):
        edge("evaluate", tmp_path / "gone.mp4", tmp_path / "a.mp4", *words[2:])
    assert "FAILED" in capsys.readouterr().out
    with pytest.raises(SourceError, match=r"gone\.mp4: there is no such file"):
        edge("evaluate", tmp_path / "gone.mp4", *words[2:])
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_a_budget_is_measured_live_and_may_break(words: list[str], tmp_path: Path) -> None:
    report = tmp_path / "r.json"
    assert edge("evaluate", tmp_path / "a.mp4", *words[2:], "--budget-ms", "0.1", "--json", report) == 3
    (pace,) = json.loads(report.read_text())["budget"]
    assert pace["p99_ms"] > 0.1
    assert not pace["holds"]


def test_picked_frames_are_unlabelled_and_read_by_training(words: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "picked"
    assert edge(*words, "--pick", 5, "--to", folder) == 0
    rows = list(csv.DictReader((folder / "picked.csv").read_text().splitlines()))
    assert len(rows) == 5
    assert not [row for row in rows if row["drive"] == "a" and int(row["index"]) in (0, 3, 4, 11)]
    pairs = find_pairs(Folder(frames=str(folder / "frames"), labels=str(folder / "labels"), layout="pairs"))
    assert sorted(pair.frame.name for pair in pairs) == sorted(row["file"] for row in rows)
    assert {pair.drive for pair in pairs} <= {"a", "b"}
    for pair in pairs:
        assert cv2.imread(str(pair.mask), cv2.IMREAD_UNCHANGED).shape == (48, 64)
    assert guess_data(folder).classes == ["Blue", "Green", "Red"]
    with pytest.raises(OutputError, match="not empty"):
        edge(*words, "--pick", 5, "--to", folder)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--pick", "5"], "--to"),
        (["--max-drop", "miou:1"], "--baseline"),
        (["--baseline", "nowhere.json"], "nowhere.json"),
        (["--labels", "x"], "manifest"),
    ],
)
def test_what_could_not_be_done_at_the_end_is_refused_at_once(words: list[str], options: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        edge(*words, *options)
