"""What a camera says when it is not there. Frames of a real one need /dev/video0: see the last test."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

from edge.errors import SourceError, SourceNotFound
from edge.sources.camera import Camera


@pytest.mark.parametrize("name", ["98", "/dev/video98"])
def test_a_missing_camera_is_named_with_those_there_are_and_a_way_without(name: str) -> None:
    with pytest.raises(
        SourceNotFound, match=r"/dev/video98: there is no such camera; there are: .*edge run scene:street"
    ):
        Camera(name)


def test_a_camera_that_this_user_may_not_use_says_how_to_join_its_group(
    public_folder: Path, as_nobody: Callable
) -> None:
    device = public_folder / "video0"
    device.touch()
    device.chmod(0o600)
    with as_nobody():
        if os.access(device, os.R_OK, effective_ids=True):
            pytest.skip("this user may use everything")
        with pytest.raises(SourceError, match=r"may not use the camera\..* usermod -aG video"):
            Camera(str(device))


def test_a_device_that_is_no_camera_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SourceError, match=r"/dev/null: cannot be opened as a camera\..* fuser -v /dev/null"):
        Camera("/dev/null")
    capfd.readouterr()  # OpenCV's own warning


def test_a_real_camera_gives_frames_in_order_stamped_one_after_another() -> None:
    if not Path("/dev/video0").exists():
        pytest.skip("no /dev/video0 on this machine")
    with Camera("0") as camera:
        frames = list(islice(camera, 5))
    assert [frame.index for frame in frames] == [0, 1, 2, 3, 4]
    stamps = [frame.captured_ns for frame in frames]
    assert stamps == sorted(stamps)
    assert all(frame.size_wh == camera.size_wh for frame in frames)
