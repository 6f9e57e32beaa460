"""Drives from words and manifests."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.errors import ConfigError
from edge.evaluate.drives import list_drives
from edge.geometry.model import CameraModel

MANIFEST = """
drives:
  - {frames: a.mp4, labels: a-labels, sparse_labels: true, horizon: 0.45, tags: {time_of_day: dusk}}
  - {frames: "scene:street?seed=3&frames=5", name: street}
  - {frames: $EDGE_DATA/b.mp4}
"""


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "drives.yaml"
    path.write_text(MANIFEST)
    return path


def test_a_manifest_gives_drives_with_paths_relative_to_it(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_DATA", "/data")
    first, second, third = list_drives([str(manifest)])
    assert (first.name, first.frames, first.labels) == (
        "a.mp4",
        str(manifest.parent / "a.mp4"),
        manifest.parent / "a-labels",
    )
    assert first.sparse
    assert first.horizon == 0.45
    assert first.tags == {"time_of_day": "dusk"}
    assert (second.name, second.frames) == ("street", "scene:street?seed=3&frames=5")
    assert third.frames == "/data/b.mp4"


def test_a_camera_model_is_that_of_a_manifests_drive_or_of_all_named_ones(tmp_path: Path) -> None:
    (tmp_path / "cam.yaml").write_text("geometry: {height_m: 1.3, hfov_deg: 60}")
    (tmp_path / "m.yaml").write_text("drives:\n  - {frames: a.mp4, camera_model: cam.yaml}\n  - {frames: b.mp4}\n")
    other = CameraModel(height_m=1.5, hfov_deg=70)
    listed = list_drives([str(tmp_path / "m.yaml"), "c.mp4"], camera_model=other)
    assert [drive.camera_model for drive in listed] == [CameraModel(height_m=1.3, hfov_deg=60), None, other]


def test_a_wrong_key_is_told_with_the_one_that_was_meant(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text("drives:\n  - {frames: a.mp4, lables: b}\n")
    with pytest.raises(ConfigError, match=r"lables: no such key; did you mean 'labels'"):
        list_drives([str(path)])


def test_drives_of_one_file_name_go_by_their_paths() -> None:
    assert [drive.name for drive in list_drives(["x/a.mp4", "y/a.mp4", "b.mp4"])] == ["x/a.mp4", "y/a.mp4", "b.mp4"]


def test_a_drive_counts_once() -> None:
    with pytest.raises(ConfigError, match="is named 2 times"):
        list_drives(["a.mp4", "a.mp4"])


def test_labels_belong_to_one_drive(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_DATA", "/data")
    for words in (["a.mp4", "b.mp4"], [str(manifest)]):
        with pytest.raises(ConfigError, match="manifest"):
            list_drives(words, Path("labels"))
