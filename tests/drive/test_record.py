"""`edge record`, as people type it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import pytest
import yaml

from edge.cli import main
from edge.engine import find_bundle
from edge.sources.drive import Drive
from edge.sources.open import open_source
from edge.sources.scene import SceneSource

STREET = "scene:street?seed=3&frames=12&size=160x120&fps=10"


def record(arguments: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> int:
    return edge("record", arguments, monkeypatch)


def edge(command: str, arguments: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["edge", command, *arguments])
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # the test keeps its own
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0)


@pytest.mark.slow
def test_a_street_is_recorded_with_its_masks_its_engine_and_what_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "drive.mcap"
    assert record([STREET, str(path), "--codec", "jpeg"], monkeypatch) == 0
    assert f"drive    {path}: 12 frames" in capsys.readouterr().out
    with Drive(str(path)) as drive, open_source(STREET) as street:
        frames = list(drive)
        assert [frame.media_ns for frame in frames] == [frame.media_ns for frame in street]
        seen = drive.recorded(11)
        assert seen is not None
        assert sum(seen.shares.values()) == pytest.approx(1, abs=0.001)
        assert drive.card is not None
        assert drive.card.name == drive.about["engine"] == "road"
        asked = yaml.safe_load(drive.config)["record"]
        assert asked == {"source": STREET, "codec": "jpeg", "live": False}


@pytest.mark.slow
@pytest.mark.parametrize(
    "size", ["320x240", "320x180", "320x160", "240x320", "180x320", "240x240", "160x480", "480x160"]
)
def test_a_drive_of_any_shape_is_recorded_replayed_and_evaluated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], size: str
) -> None:
    street = f"scene:street?seed=3&frames=3&size={size}&fps=10"
    path, labels = tmp_path / "drive.mcap", tmp_path / "labels"
    assert record([street, str(path), "-q"], monkeypatch) == 0
    with Drive(str(path)) as drive:
        assert drive.card is not None
        assert drive.card.input_wh == find_bundle().fitted(drive.size_wh).card.input_wh
    assert edge("replay", [str(path), "--fast", "--diff", "recorded"], monkeypatch) == 0
    labels.mkdir()
    with SceneSource(street) as scene:
        for index in range(3):
            cv2.imwrite(str(labels / f"{index:06d}.png"), scene.truth(index)[0])
    assert edge("evaluate", [str(path), "--labels", str(labels)], monkeypatch) == 0
    assert "damaged" not in capsys.readouterr().out


@pytest.mark.slow
def test_a_camera_alone_is_recorded_into_segments_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "drives"
    assert record([STREET, str(folder), "--no-masks", "--split-s", "0.5", "-q"], monkeypatch) == 0
    assert len(list(folder.glob("*.mcap"))) == 3
    with open_source(str(folder)) as drive:
        assert len(list(drive)) == 12
        assert isinstance(drive, Drive)
        assert drive.card is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--codec", "theora"], "codec theora: expected one of h264, jpeg"),
        (["--split-s", "3"], "is one file, which --split-s and --quota-gb have no say in"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_opened(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    assert record(["nothing.mp4", str(tmp_path / "a.mcap"), *arguments], monkeypatch) == 78
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_ctrl_c_ends_a_recording_with_a_whole_drive(tmp_path: Path) -> None:
    path = tmp_path / "drive.mcap"
    endless = STREET.replace("frames=12", "frames=100000")
    command = [sys.executable, "-m", "edge.cli", "record", endless, str(path), "--no-masks", "--live"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    for _ in range(600):
        if path.exists():
            break
        time.sleep(0.1)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    with Drive(str(path)) as drive:
        frames = list(drive)
    assert f"{len(frames)} frames" in said
