from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from videos import picture, write_video

from edge.errors import ConfigError, EdgeError, SourceError, SourceNotFound
from edge.sources.images import ImageFiles
from edge.sources.open import is_camera, open_source
from edge.sources.recording import Recording


def test_a_file_is_a_recording(tmp_path: Path) -> None:
    with open_source(str(write_video(tmp_path / "drive.mp4"))) as source:
        assert isinstance(source, Recording)


@pytest.mark.parametrize("place", ["", "/a.png", "/*.png", "/a[1].png", "/a.*"])
def test_a_folder_a_picture_and_a_pattern_are_pictures(place: str, tmp_path: Path) -> None:
    for name in ("a.png", "a[1].png"):
        cv2.imwrite(str(tmp_path / name), picture(0))
    with open_source(f"{tmp_path}{place}") as source:
        assert isinstance(source, ImageFiles)


@pytest.mark.parametrize("name", ["drive[1].mp4", "what?.mp4", "all*.mkv"])
def test_a_video_whose_name_looks_like_a_pattern_is_that_video(name: str, tmp_path: Path) -> None:
    write_video(tmp_path / f"x{Path(name).suffix}", 3).rename(tmp_path / name)
    with open_source(str(tmp_path / name)) as source:
        assert isinstance(source, Recording)


def test_a_video_in_the_memory_file_system_is_no_camera() -> None:
    path = Path("/dev/shm/edge-test-drive.mp4")
    if not path.parent.is_dir():
        pytest.skip("no /dev/shm here")
    try:
        with open_source(str(write_video(path, 3))) as source:
            assert isinstance(source, Recording)
    finally:
        path.unlink()


@pytest.mark.parametrize("name", ["99", "/dev/video99", "99?size=640x480&fps=30", "/dev/video99?format=mjpeg"])
def test_a_number_and_a_video_device_are_cameras(name: str) -> None:
    assert is_camera(name)
    with pytest.raises(SourceNotFound, match="/dev/video99: there is no such camera"):
        open_source(name)


@pytest.mark.parametrize(
    "name",
    ["rtsp://camera/1", "http://camera/live.mjpg", "gst:rtspsrc location=rtsp://a ! appsink", "csi:0", "HTTPS://a"],
)
def test_an_address_a_pipeline_and_a_csi_camera_are_cameras(name: str) -> None:
    assert is_camera(name)


@pytest.mark.parametrize("name", ["drive.mp4", "scene:street?seed=1", "pictures/*.png", "what?.mp4", "csi", ""])
def test_what_has_an_end_is_no_camera(name: str) -> None:
    assert not is_camera(name)


@pytest.mark.parametrize("name", ["ftp://camera/1", "file:///etc/passwd", "s3://bucket/drive.mp4"])
def test_an_address_of_another_kind_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(SourceNotFound, match=r"is not supported, only rtsp, rtsps, http, https"):
        open_source(name)


def test_an_empty_name_is_refused_and_not_taken_for_this_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), picture(0))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceNotFound, match="name is empty"):
        open_source("")


def test_a_scene_is_read_by_its_words() -> None:
    with pytest.raises(ConfigError, match="sceen"):
        open_source("scene:sceen")


def test_a_place_that_may_not_be_looked_at_says_so(public_folder: Path, as_nobody: Callable) -> None:
    closed = public_folder / "closed"
    closed.mkdir()
    write_video(closed / "drive.mp4")
    closed.chmod(0)
    with as_nobody():
        for name in ("drive.mp4", "a.png", "*.png", "drives"):
            with pytest.raises(SourceError):
                open_source(str(closed / name))
    closed.chmod(0o755)


@settings(max_examples=150)
@given(name=st.text(max_size=20).filter(lambda name: not name.startswith("scene:")))
@example(name="\x00/0")
def test_no_name_whatsoever_is_a_crash(name: str) -> None:
    with contextlib.suppress(EdgeError):
        open_source(name).__exit__(None, None, None)
