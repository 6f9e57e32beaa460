"""Cameras of this machine. What a real one does is in the last test; the rest of the way is walked with OpenCV's place
taken, in the capture process itself, by a camera that this file describes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import ConfigError, EdgeError, SourceError, SourceNotFound
from edge.sources.camera import csi_pipeline, csi_request, open_camera, pipeline_request
from edge.sources.capture import device
from edge.sources.capture.device import Device
from edge.sources.capture.shot import CaptureError
from edge.sources.capture.v4l2 import fourcc, open_v4l2
from edge.sources.capture.wire import CaptureRequest
from edge.sources.open import open_source


@pytest.mark.parametrize("name", ["98", "/dev/video98", "98?size=640x480", "/dev/video98?fps=30&format=mjpeg"])
def test_a_missing_camera_is_named_with_those_there_are_and_a_way_without(name: str) -> None:
    with pytest.raises(
        SourceNotFound, match=r"/dev/video98: there is no such camera; there are: .*edge run scene:street"
    ):
        open_camera(name)


def test_a_camera_that_this_user_may_not_use_says_how_to_join_its_group(
    public_folder: Path, as_nobody: Callable
) -> None:
    path = public_folder / "video0"
    path.touch()
    path.chmod(0o600)
    with as_nobody():
        if os.access(path, os.R_OK, effective_ids=True):
            pytest.skip("this user may use everything")
        with pytest.raises(SourceError, match=r"may not use the camera\..* usermod -aG video"):
            open_camera(str(path))


@pytest.mark.slow
def test_a_device_that_is_no_camera_is_refused() -> None:
    with open_camera("/dev/null") as source, pytest.raises(SourceError, match=r"cannot be opened as a camera.*fuser"):
        source.await_first(2.0)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("0?size=640", "size=640: expected WIDTHxHEIGHT"),
        ("0?size=0x480", "each 16 to 16384"),
        ("0?fps=fast", "fps=fast: expected frames per second"),
        ("0?fps=0", "at most 1000"),
        ("0?format=webp", "one of mjpeg, yuyv"),
        ("0?speed=9", "asks for 'speed'; expected each once of: size, fps, format"),
        ("0?fps=30&fps=60", "'fps' twice"),
    ],
)
def test_wishes_that_cannot_be_are_named(name: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        open_camera(name)


@pytest.mark.parametrize("name", ["csi:", "csi:front", "csi:0?format=mjpeg", "csi:0?size=big", "gst:", "gst:v4l2src"])
def test_a_csi_camera_or_pipeline_that_cannot_be_is_a_config_error(name: str) -> None:
    with pytest.raises(ConfigError):
        (csi_request if name.startswith("csi") else pipeline_request)(name)


@given(query=st.text(max_size=30))
def test_no_wishes_whatsoever_are_a_crash(query: str) -> None:
    for name in (f"98?{query}", f"csi:x?{query}"):
        with pytest.raises(EdgeError):
            (csi_request if name.startswith("csi") else open_camera)(name)


def test_a_csi_camera_gives_bgr_of_the_size_asked_for_and_its_newest_picture_only() -> None:
    pipeline = csi_pipeline(1, (1920, 1080), 29.97)
    assert pipeline.startswith("nvarguscamerasrc sensor-id=1 ")
    assert "width=1920,height=1080,framerate=29970/1000" in pipeline
    assert pipeline.endswith("video/x-raw,format=BGR ! appsink max-buffers=1 drop=true sync=false")


@pytest.mark.parametrize("name", ["csi:0", "gst:videotestsrc ! videoconvert ! video/x-raw,format=BGR ! appsink"])
def test_an_opencv_without_gstreamer_is_told_at_once(name: str) -> None:
    if cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        pytest.skip("this OpenCV has GStreamer")
    with pytest.raises(SourceError, match=r"no frame came: needs an OpenCV with GStreamer.*docs/cameras\.md"):
        open_source(name)


DEBIAN_PIPELINE = """
import sys
sys.path.insert(0, sys.argv[1])
from itertools import islice
from edge.sources.open import open_source
caps = "video/x-raw,width=320,height=240,framerate=30/1"
start = f"gst:videotestsrc is-live=true num-buffers=60 pattern=red ! {caps} ! videoconvert"
with open_source(f"{start} ! video/x-raw,format=BGR ! appsink max-buffers=1 drop=true sync=false") as camera:
    frames = list(islice(camera, 70))  # more than the pipeline gives before it is started again
    is_back = camera.health.totals["restarts"] >= 1
    print(*{frame.size_wh for frame in frames}, is_back, frames[-1].image[10, 10].argmax())
try:
    open_source(f"{start} ! video/x-raw,format=GRAY8 ! appsink")
except OSError as error:
    print(error)
"""


def test_a_pipeline_gives_pictures_ends_and_is_started_again() -> None:
    probe = "import cv2; assert cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER)"
    if subprocess.run(["/usr/bin/python3", "-c", probe], capture_output=True, check=False).returncode:
        pytest.skip("no OpenCV with GStreamer here: apt-get install python3-opencv gstreamer1.0-plugins-base")
    words = ["/usr/bin/python3", "-c", DEBIAN_PIPELINE, str(Path(__file__).parents[2])]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    first, second = done.stdout.splitlines()
    assert first == "(320, 240) True 2"
    assert "expected frames of (240, 320, 3) (height, width, channels), got (240, 320)" in second


class FakeCapture:
    """What OpenCV gives for a V4L2 camera that can do 640x480 and 1280x720, at 30 pictures per second at most."""

    def __init__(self, pictures: int = 3) -> None:
        self._left = pictures
        self.wishes: list[int] = []
        self.properties: dict[int, float] = {
            cv2.CAP_PROP_FRAME_WIDTH: 640.0,
            cv2.CAP_PROP_FRAME_HEIGHT: 480.0,
            cv2.CAP_PROP_FPS: 30.0,
            cv2.CAP_PROP_FOURCC: float(fourcc("yuyv")),
            cv2.CAP_PROP_POS_MSEC: 0.0,
        }
        self.shape: tuple[int, ...] = ()
        self.released = False

    def isOpened(self) -> bool:  # noqa: N802 OpenCV's name
        return True

    def set(self, name: int, value: float) -> bool:
        self.wishes.append(name)
        if name == cv2.CAP_PROP_FPS:
            value = min(value, 30.0)
        if name == cv2.CAP_PROP_FRAME_WIDTH:
            value = 1280.0 if value > 640 else 640.0
        if name == cv2.CAP_PROP_FRAME_HEIGHT:
            value = 720.0 if value > 480 else 480.0
        self.properties[name] = value
        return True

    def get(self, name: int) -> float:
        return self.properties.get(name, 0.0)

    def grab(self) -> bool:
        self._left -= 1
        return self._left >= 0

    def retrieve(self, target: np.ndarray) -> tuple[bool, np.ndarray]:
        if self.shape:
            return True, np.zeros(self.shape, np.uint8)
        target[:] = 10 + self._left
        return True, target

    def release(self) -> None:
        self.released = True


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeCapture:
    capture = FakeCapture()
    monkeypatch.setattr(device.cv2, "VideoCapture", lambda *words: capture)
    return capture


def order(**wishes: Any) -> CaptureRequest:
    return CaptureRequest("v4l2", "/dev/null", **wishes)


def test_format_then_size_then_rate_are_asked_for_and_all_granted_is_worth_no_word(fake: FakeCapture) -> None:
    with Device(order(size_wh=(1280, 720), rate_hz=30.0, pixel_format="mjpeg")) as camera:
        (shot, *_) = list(islice(camera, 1))
    assert fake.wishes == [
        cv2.CAP_PROP_FOURCC,
        cv2.CAP_PROP_FRAME_WIDTH,
        cv2.CAP_PROP_FRAME_HEIGHT,
        cv2.CAP_PROP_FPS,
    ]
    assert (shot.format.width, shot.format.height, shot.format.rate_hz, shot.format.note) == (1280, 720, 30.0, "")
    assert fake.released


def test_what_the_driver_did_not_grant_is_told(fake: FakeCapture) -> None:
    with Device(order(size_wh=(1920, 1080), rate_hz=60.0)) as camera:
        (shot, *_) = list(islice(camera, 1))
    assert shot.format.note == (
        "1920x1080 was asked for, 1280x720 is given; 60 frames per second were asked for, 30 are given"
    )


def test_another_pixel_format_than_asked_for_is_told(fake: FakeCapture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fake, "set", lambda name, value: False)
    with Device(order(pixel_format="mjpeg")) as camera:
        (shot, *_) = list(islice(camera, 1))
    assert shot.format.note == "mjpeg was asked for, yuyv is given"


def test_a_picture_is_converted_straight_into_its_slot(fake: FakeCapture) -> None:
    slot = bytearray(640 * 480 * 3)
    with Device(order()) as camera:
        for shot in islice(camera, 1):
            shot.write(memoryview(slot))
    assert set(slot) == {12}


def test_a_picture_of_another_shape_ends_the_attempt_and_is_never_rescaled(fake: FakeCapture) -> None:
    for shape in ((360, 640, 3), (480, 640), (480, 640, 4)):
        fake.shape, fake._left = shape, 3
        with Device(order()) as camera:
            shot = next(iter(camera))
            with pytest.raises(CaptureError, match=r"expected frames of \(480, 640, 3\) .*, got \(") as refusal:
                shot.write(memoryview(bytearray(640 * 480 * 3)))
            assert "videoconvert" not in str(refusal.value)


def test_the_drivers_time_is_taken_where_it_is_by_our_clock_and_ours_where_it_is_not(fake: FakeCapture) -> None:
    for driver_ago_ns, ours in ((20_000_000, False), (5_000_000_000, True), (-1_000_000_000, True)):
        fake._left = 1
        now_ns = time.monotonic_ns()
        fake.properties[cv2.CAP_PROP_POS_MSEC] = (now_ns - driver_ago_ns) / 1e6
        with Device(order()) as camera:
            captured_ns = next(iter(camera)).captured_ns
        assert captured_ns >= now_ns if ours else captured_ns == pytest.approx(now_ns - driver_ago_ns, abs=2000)


def test_a_camera_that_stops_is_an_error_and_no_end(fake: FakeCapture) -> None:
    with Device(order()) as camera, pytest.raises(CaptureError, match="stopped giving frames \\(is its cable in"):
        list(camera)


def test_a_device_that_is_gone_is_told_without_asking_opencv() -> None:
    with pytest.raises(CaptureError, match=r"is not there \(is its cable in"):
        Device(CaptureRequest("v4l2", "/dev/video98"))
    with pytest.raises(CaptureError, match=r"is not there \(is its cable in"):
        open_v4l2(CaptureRequest("v4l2", "/dev/video98"), 1.0)


def test_the_capture_process_of_a_stream_loads_neither_numpy_nor_opencv() -> None:
    code = (
        "import sys; import edge.sources.capture.child as child; child.reader_of('stream');"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()).isdisjoint({"numpy", "cv2", "openvino", "torch", "pydantic", "typer"})


def test_a_real_camera_gives_frames_in_order_stamped_one_after_another() -> None:
    if not Path("/dev/video0").exists():
        pytest.skip("no /dev/video0 on this machine")
    with open_source("0") as camera:
        frames = list(islice(camera, 5))
        assert all(frame.size_wh == camera.size_wh for frame in frames)
    indices, stamps = [frame.index for frame in frames], [frame.captured_ns for frame in frames]
    assert indices == sorted(set(indices))
    assert stamps == sorted(set(stamps))
