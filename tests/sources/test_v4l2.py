"""V4L2 cameras, as their driver is asked. The driver's place is taken in `ioctl`; last comes a kernel's virtual camera:

modprobe vivid n_devs=1 node_types=0x1 && pytest tests/sources/test_v4l2.py
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import random
import shutil
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from videos import picture

from edge.doctor.access import query_capture
from edge.sources.camera import open_camera
from edge.sources.capture import v4l2
from edge.sources.capture.device import Device
from edge.sources.capture.shot import CaptureError, DamagedImage, Reader
from edge.sources.capture.v4l2 import V4l2Camera, fourcc, open_v4l2
from edge.sources.capture.wire import CaptureRequest

WH = (64, 48)
PAGE = mmap.PAGESIZE


class FakeDriver:
    """A driver that fills its buffers with `images`, one after another: bytes, or bytes and their flags.

    The device is a file that holds the buffers, so that they are mapped as a camera's are.
    """

    def __init__(self, path: Path, pixel_format: str = "YUYV", size_wh: tuple[int, int] = WH) -> None:
        self.path, self.length = path, -(-WH[0] * WH[1] * 8 // PAGE) * PAGE
        self.pixel_format, self.size_wh, self.padding = pixel_format, size_wh, 0
        self.can = [pixel_format]
        self.period = (1, 30)
        self.wishes: list[tuple[Any, ...]] = []
        self.buffers_given: int | None = None
        self.images: list[Any] = []
        self.driver_ago_ns = 0
        self.queued: list[int] = []
        self.is_on = False
        self.end: int = errno.ENODEV
        self.has_planes = False
        path.write_bytes(bytes(8 * self.length))

    def ioctl(self, fd: int, request: int, argument: Any) -> int:
        answers = {
            v4l2.GET_FORMAT: self._say_format,
            v4l2.SET_FORMAT: self._set_format,
            v4l2.GET_PARM: lambda parm: struct.pack_into("=II", parm, 12, *self.period),
            v4l2.SET_PARM: self._set_parm,
            v4l2.REQUEST_BUFFERS: self._request,
            v4l2.QUERY_BUFFER: self._query,
            v4l2.QUEUE: lambda buffer: self.queued.append(struct.unpack_from("=I", buffer)[0]),
            v4l2.DEQUEUE: self._dequeue,
            v4l2.STREAM_ON: lambda _: setattr(self, "is_on", True),
            v4l2.STREAM_OFF: lambda _: setattr(self, "is_on", False),
        }
        answers[request](argument)
        return 0

    def _say_format(self, form: bytearray) -> None:
        if struct.unpack_from("=I", form)[0] != (v4l2.CAPTURE_PLANES if self.has_planes else v4l2.CAPTURE):
            raise OSError(errno.EINVAL, "Invalid argument")
        packed = v4l2._PACKED.get(self.pixel_format)
        row_bytes = self.size_wh[0] * packed.column_bytes + self.padding if packed else 0
        struct.pack_into("=IIIII", form, 8, *self.size_wh, fourcc(self.pixel_format), 1, row_bytes)

    def _set_format(self, form: bytearray) -> None:
        width, height, number = struct.unpack_from("=III", form, 8)
        name = number.to_bytes(4, "little").decode()
        self.wishes.append((name, width, height))
        self.pixel_format = name if name in self.can else self.pixel_format
        self.size_wh = (width, height)
        self._say_format(form)

    def _set_parm(self, parm: bytearray) -> None:
        self.wishes.append(struct.unpack_from("=II", parm, 12))

    def _request(self, wanted: bytearray) -> None:
        self.wishes.append(("buffers", struct.unpack_from("=I", wanted)[0]))
        if self.buffers_given is not None:
            struct.pack_into("=I", wanted, 0, self.buffers_given)

    def _query(self, buffer: bytearray) -> None:
        (index,) = struct.unpack_from("=I", buffer)
        struct.pack_into("=Q", buffer, 64, index * self.length)
        struct.pack_into("=I", buffer, 72, self.length)

    def _dequeue(self, buffer: bytearray) -> None:
        assert self.is_on
        if not self.images:
            raise OSError(self.end, os.strerror(self.end))
        image = self.images.pop(0)
        data, flags = image if isinstance(image, tuple) else (image, 0)
        index = self.queued.pop(0)
        with self.path.open("rb+") as file:
            file.seek(index * self.length)
            file.write(data)
        struct.pack_into("=IIII", buffer, 0, index, 1, len(data), flags | v4l2.FLAG_MONOTONIC)
        at_us = (time.monotonic_ns() - self.driver_ago_ns) // 1000
        struct.pack_into("=qq", buffer, 24, *divmod(at_us, 1_000_000))


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    fake = FakeDriver(tmp_path / "video0")
    monkeypatch.setattr(v4l2.fcntl, "ioctl", fake.ioctl)
    return fake


def camera_of(driver: FakeDriver, **wishes: Any) -> V4l2Camera:
    return V4l2Camera(CaptureRequest("v4l2", str(driver.path), **wishes))


def taken(camera: Reader, count: int) -> list[np.ndarray | None]:
    """What the next shots put into their slots; None for one that is damaged."""
    images: list[np.ndarray | None] = []
    for shot in islice(camera, count):
        slot = bytearray(shot.format.slot_bytes)
        image = np.frombuffer(slot, np.uint8).reshape(shot.format.height, shot.format.width, 3)
        try:
            if shot.corrupt:
                raise DamagedImage
            shot.write(memoryview(slot))
        except DamagedImage:
            images.append(None)
        else:
            images.append(image)
    return images


def coded(pixel_format: str, bgr: np.ndarray, padding: int = 0) -> bytes:
    """An image as a camera of that format sends it."""
    height, width = bgr.shape[:2]
    yuv = cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV_I420)
    luma, (u, v) = yuv[:height], yuv[height:].reshape(2, height // 2, width // 2)
    chroma = np.dstack((u, v)).reshape(height // 2, width)
    wide = np.repeat(chroma.reshape(height // 2, width // 2, 2), 2, axis=0).reshape(height, width)
    rows = {
        "YUYV": np.dstack((luma, wide)),
        "UYVY": np.dstack((wide, luma)),
        "NV12": np.vstack((luma, chroma)),
        "NV21": np.vstack((luma, np.dstack((v, u)).reshape(height // 2, width))),
        "YU12": yuv,
        "BGR3": bgr,
        "RGB3": bgr[..., ::-1],
        "GREY": cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY),
    }[pixel_format]
    rows = rows.reshape(len(rows), -1)
    return np.pad(rows, ((0, 0), (0, padding))).tobytes()


@pytest.mark.parametrize("padding", [0, 32])
@pytest.mark.parametrize("pixel_format", v4l2._PACKED)
def test_an_image_of_each_format_has_its_colours(driver: FakeDriver, pixel_format: str, padding: int) -> None:
    if padding and pixel_format in v4l2._NO_PADDING:
        pytest.skip("its rows are never padded, or it is read by OpenCV")
    driver.pixel_format, driver.padding = pixel_format, padding
    smooth = cv2.GaussianBlur(picture(3, WH), (9, 9), 0)
    driver.images = [coded(pixel_format, smooth, padding)]
    with camera_of(driver) as camera:
        (image,) = taken(camera, 1)
    assert image is not None
    expected = smooth if pixel_format != "GREY" else np.dstack([cv2.cvtColor(smooth, cv2.COLOR_BGR2GRAY)] * 3)
    assert np.abs(image.astype(int) - expected).mean() < 4


@pytest.mark.parametrize("pixel_format", [*v4l2._PACKED, "MJPG"])
def test_what_the_driver_flags_as_damaged_is_counted_and_not_handed_on(driver: FakeDriver, pixel_format: str) -> None:
    driver.pixel_format = pixel_format
    image = jpeg() if pixel_format == "MJPG" else coded(pixel_format, picture(0, WH))
    driver.images = [image, (image, v4l2.FLAG_ERROR), image]
    with camera_of(driver) as camera:
        assert [image is None for image in taken(camera, 3)] == [False, True, False]


@pytest.mark.parametrize("pixel_format", v4l2._PACKED)
def test_an_image_that_is_too_short_is_damaged(driver: FakeDriver, pixel_format: str) -> None:
    driver.pixel_format = pixel_format
    image = coded(pixel_format, picture(0, WH))
    driver.images = [image[:-1], b"", image]
    with camera_of(driver) as camera:
        assert [image is None for image in taken(camera, 3)] == [True, True, False]


@pytest.mark.parametrize(("given", "expected"), [(None, 4), (2, 2), (8, 8)])
def test_four_buffers_are_asked_for_and_as_many_used_as_the_driver_gives(
    driver: FakeDriver, given: int | None, expected: int
) -> None:
    driver.buffers_given = given
    driver.images = [coded("YUYV", picture(0, WH))] * 20
    with camera_of(driver) as camera:
        assert ("buffers", 4) in driver.wishes
        for _ in islice(camera, 20):
            assert len(driver.queued) == expected  # none is kept back
    assert not driver.is_on


def test_without_a_wish_nothing_is_set(driver: FakeDriver) -> None:
    driver.size_wh, driver.images = (32, 24), [bytes(32 * 24 * 2)]
    with camera_of(driver) as camera:
        shot = next(iter(camera))
    assert (shot.format.width, shot.format.height, shot.format.rate_hz, shot.format.note) == (32, 24, 30.0, "")
    assert driver.wishes == [("buffers", 4)]


def test_wishes_are_asked_for_and_what_was_not_granted_is_in_the_note(driver: FakeDriver) -> None:
    driver.images = [bytes(32 * 24 * 2)]
    with camera_of(driver, size_wh=(32, 24), rate_hz=59.94, pixel_format="mjpeg") as camera:
        shot = next(iter(camera))
    assert driver.wishes[:2] == [("MJPG", 32, 24), (50, 2997)]
    assert shot.format.note == (
        "59.94 frames per second were asked for, 30 are given; mjpeg was asked for, yuyv is given"
    )


def test_a_format_that_is_not_known_is_exchanged_for_one_that_is(driver: FakeDriver) -> None:
    driver.pixel_format, driver.can = "H264", ["H264", "NV12"]
    driver.images = [coded("NV12", picture(0, WH))]
    with camera_of(driver) as camera:
        assert taken(camera, 1)[0] is not None


def test_what_cannot_be_read_directly_is_left_to_opencv_in_its_own_size(
    driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(Device, "__init__", lambda self, request, _: asked.append(request.size_wh))
    driver.pixel_format, driver.can = "RGGB", ["RGGB"]
    open_v4l2(CaptureRequest("v4l2", str(driver.path)), 1.0)
    driver.has_planes = True
    open_v4l2(CaptureRequest("v4l2", str(driver.path)), 1.0)
    open_v4l2(CaptureRequest("v4l2", str(driver.path), (1280, 720)), 1.0)
    assert asked == [WH, WH, (1280, 720)]


@pytest.mark.parametrize("end", [errno.ENODEV, errno.EIO])
def test_a_camera_that_is_unplugged_or_fails_is_an_error_and_may_be_opened_again(driver: FakeDriver, end: int) -> None:
    driver.end = end
    for _ in range(2):
        driver.images = [coded("YUYV", picture(0, WH))]
        with camera_of(driver) as camera, pytest.raises(CaptureError, match=r"stopped giving frames \(is its cable in"):
            list(camera)
    maps = Path("/proc/self/maps").read_text()
    assert str(driver.path) not in maps  # a buffer that stays mapped keeps the device busy


def test_a_camera_in_use_is_named_so(driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(_: object) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(driver, "_request", busy)
    with pytest.raises(CaptureError, match=r"resource busy.*in use\? Try: fuser -v .*video0"):
        camera_of(driver)


@pytest.mark.parametrize(("ago_ns", "ours"), [(20_000_000, False), (5_000_000_000, True), (-1_000_000_000, True)])
def test_the_drivers_time_is_taken_where_it_is_by_our_clock(driver: FakeDriver, ago_ns: int, *, ours: bool) -> None:
    driver.driver_ago_ns, driver.images = ago_ns, [coded("YUYV", picture(0, WH))]
    with camera_of(driver) as camera:
        captured_ns = next(iter(camera)).captured_ns
    age_ns = time.monotonic_ns() - captured_ns
    assert age_ns < ago_ns if ours and ago_ns > 0 else age_ns >= (0 if ours else ago_ns)


def jpeg(size_wh: tuple[int, int] = WH, index: int = 0) -> bytes:
    return cv2.imencode(".jpg", picture(index, size_wh))[1].tobytes()


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: b"",
        lambda data: b"\x00" * len(data),
        lambda data: data[: len(data) // 2] + data,
        lambda data: data[:200] + random.Random(1).randbytes(len(data) - 202) + data[-2:],
        lambda data: data.replace(b"\xff\xc0", b"\xff\xfe"),
        lambda data: data[: len(data) * 2 // 3] + data[len(data) * 2 // 3 + 300 :],  # a lost packet
        lambda data: data[:-500] + bytes(100) + data[-400:],
    ],
)
def test_a_damaged_jpeg_is_counted_and_no_former_image_takes_its_place(
    damage: Callable[[bytes], bytes], driver: FakeDriver
) -> None:
    driver.pixel_format = "MJPG"
    driver.images = [jpeg(index=0), damage(jpeg(index=9)), jpeg(index=20)]
    with camera_of(driver) as camera:
        first, damaged, last = taken(camera, 3)
    assert damaged is None
    assert first is not None
    assert last is not None
    assert np.abs(first.astype(int) - picture(0, WH)).mean() < 3
    assert np.abs(last.astype(int) - picture(20, WH)).mean() < 3


def test_a_jpeg_of_another_size_comes_in_its_own_size(driver: FakeDriver) -> None:
    driver.pixel_format = "MJPG"
    driver.images = [jpeg(), jpeg((32, 24)), jpeg()]
    with camera_of(driver) as camera:
        assert [image.shape for image in taken(camera, 3) if image is not None] == [
            (48, 64, 3),
            (24, 32, 3),
            (48, 64, 3),
        ]


def test_a_jpeg_that_claims_to_be_huge_is_not_decoded(driver: FakeDriver) -> None:
    driver.pixel_format = "MJPG"
    data = jpeg()
    at = data.index(b"\xff\xc0") + 5
    driver.images = [data[:at] + struct.pack(">HH", 16240, 16240) + data[at + 4 :]]
    with camera_of(driver) as camera, pytest.raises(CaptureError, match=r"16240x16240 is 263\.7 megapixels"):
        next(iter(camera))


@pytest.mark.slow
def test_the_drivers_structs_are_those_of_the_kernels_header(tmp_path: Path) -> None:
    if not Path("/usr/include/linux/videodev2.h").exists() or shutil.which("gcc") is None:
        pytest.skip("no C compiler, or no kernel headers: apt-get install gcc linux-libc-dev")
    expected = {
        "sizeof(struct v4l2_format)": v4l2.FORMAT_BYTES,
        "sizeof(struct v4l2_streamparm)": v4l2.PARM_BYTES,
        "sizeof(struct v4l2_requestbuffers)": v4l2.REQUEST_BYTES,
        "sizeof(struct v4l2_buffer)": v4l2.BUFFER_BYTES,
        "VIDIOC_G_FMT": v4l2.GET_FORMAT,
        "VIDIOC_S_FMT": v4l2.SET_FORMAT,
        "VIDIOC_G_PARM": v4l2.GET_PARM,
        "VIDIOC_S_PARM": v4l2.SET_PARM,
        "VIDIOC_REQBUFS": v4l2.REQUEST_BUFFERS,
        "VIDIOC_QUERYBUF": v4l2.QUERY_BUFFER,
        "VIDIOC_QBUF": v4l2.QUEUE,
        "VIDIOC_DQBUF": v4l2.DEQUEUE,
        "VIDIOC_STREAMON": v4l2.STREAM_ON,
        "VIDIOC_STREAMOFF": v4l2.STREAM_OFF,
        "V4L2_BUF_TYPE_VIDEO_CAPTURE": v4l2.CAPTURE,
        "V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE": v4l2.CAPTURE_PLANES,
        "offsetof(struct v4l2_format, fmt.pix_mp.width)": 8,
        "V4L2_MEMORY_MMAP": v4l2.MMAP_MEMORY,
        "V4L2_BUF_FLAG_ERROR": v4l2.FLAG_ERROR,
        "V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC": v4l2.FLAG_MONOTONIC,
        "offsetof(struct v4l2_format, fmt.pix.width)": 8,
        "offsetof(struct v4l2_format, fmt.pix.pixelformat)": 16,
        "offsetof(struct v4l2_format, fmt.pix.bytesperline)": 24,
        "offsetof(struct v4l2_streamparm, parm.capture.timeperframe)": 12,
        "offsetof(struct v4l2_buffer, bytesused)": 8,
        "offsetof(struct v4l2_buffer, flags)": 12,
        "offsetof(struct v4l2_buffer, timestamp)": 24,
        "offsetof(struct v4l2_buffer, memory)": 60,
        "offsetof(struct v4l2_buffer, m.offset)": 64,
        "offsetof(struct v4l2_buffer, length)": 72,
    }
    lines = "".join(f'printf("%lu\\n", (unsigned long)({name}));' for name in expected)
    head = "#include <stdio.h>\n#include <stddef.h>\n#include <linux/videodev2.h>\n"
    (tmp_path / "a.c").write_text(f"{head}int main(void) {{ {lines} return 0; }}")
    subprocess.run(["gcc", "-o", tmp_path / "a", tmp_path / "a.c"], check=True)
    said = subprocess.run([tmp_path / "a"], capture_output=True, text=True, check=True).stdout.split()
    assert dict(zip(expected, map(int, said), strict=True)) == expected


@pytest.fixture
def vivid() -> Path:
    path = Path("/dev/video0")
    with suppress(OSError):
        if query_capture(path) == ("vivid", True):
            return path
    pytest.skip("no kernel with a virtual camera: modprobe vivid n_devs=1 node_types=0x1")


def press(path: Path, control: str) -> None:
    """Set a control of the driver, a button, found by its name."""
    fd = os.open(path, os.O_RDWR)
    try:
        for number, name in controls(fd):
            if name == control:
                fcntl.ioctl(fd, 0xC008561C, struct.pack("=Ii", number, 1))  # VIDIOC_S_CTRL
                return
    finally:
        os.close(fd)
    pytest.fail(f"the driver has no {control!r}")


def controls(fd: int) -> Iterator[tuple[int, str]]:
    number = 0
    with suppress(OSError):  # after the last
        while True:
            query = bytearray(struct.pack("=I", number | 0x80000000).ljust(68, b"\0"))  # V4L2_CTRL_FLAG_NEXT_CTRL
            fcntl.ioctl(fd, 0xC0445624, query)  # VIDIOC_QUERYCTRL
            number, _, name = struct.unpack_from("=II32s", query)
            yield number, name.rstrip(b"\0").decode()


@pytest.mark.parametrize("pixel_format", [None, *v4l2._PACKED])
def test_a_kernels_virtual_camera_gives_frames_and_its_damaged_ones_are_counted(
    vivid: Path, pixel_format: str | None
) -> None:
    request = CaptureRequest("v4l2", str(vivid), (640, 360), None, pixel_format)
    with V4l2Camera(request) as camera:
        shots = iter(camera)
        good = [next(shots) for _ in range(3)]
        press(vivid, "Inject V4L2_BUF_FLAG_ERROR")
        damaged = [shot.corrupt for shot in islice(shots, 12)]
        slot = bytearray(good[0].format.slot_bytes)
        good[0].write(memoryview(slot))
    assert not any(shot.corrupt for shot in good)
    assert damaged.count(True) == 1
    assert np.ptp(np.frombuffer(slot, np.uint8)) > 100  # colour bars


def test_a_kernels_virtual_camera_is_a_source_whose_damaged_frames_are_counted(vivid: Path) -> None:
    with open_camera(str(vivid)) as camera:
        frames = list(islice(camera, 5))
        press(vivid, "Inject V4L2_BUF_FLAG_ERROR")
        frames += list(islice(camera, 15))
        assert camera.health.totals["corrupt"] == 1
    stamps = [frame.captured_ns for frame in frames]
    assert stamps == sorted(set(stamps))
